//! The metric families whose series can have labels of the gateway's.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    Total,
    ResponseStatus,
    Duration,
    EvaluatorTotal,
    EvaluatorCancelled,
    EvaluatorIgnored,
    EvaluatorDenied,
    EvaluatorDuration,
}

/// How many buckets a histogram has, besides the last one that holds everything.
pub(super) const BUCKETS: usize = 20;

/// 0.001, 0.051 … 0.951 seconds, each the nearest number: adding up would show rounding in the labels.
pub(super) fn buckets() -> impl Iterator<Item = f64> {
    (0..BUCKETS as u32).map(|step| f64::from(1 + 50 * step) / 1000.0)
}

/// Every label name that some family has by itself, and the one that the buckets of histograms have.
pub(super) const BUILT_IN_LABELS: [&str; 6] =
    ["namespace", "authconfig", "status", "evaluator_type", "evaluator_name", "le"];

impl Family {
    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::Total,
        Self::ResponseStatus,
        Self::Duration,
        Self::EvaluatorTotal,
        Self::EvaluatorCancelled,
        Self::EvaluatorIgnored,
        Self::EvaluatorDenied,
        Self::EvaluatorDuration,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Total => "auth_server_authconfig_total",
            Self::ResponseStatus => "auth_server_authconfig_response_status",
            Self::Duration => "auth_server_authconfig_duration_seconds",
            Self::EvaluatorTotal => "auth_server_evaluator_total",
            Self::EvaluatorCancelled => "auth_server_evaluator_cancelled",
            Self::EvaluatorIgnored => "auth_server_evaluator_ignored",
            Self::EvaluatorDenied => "auth_server_evaluator_denied",
            Self::EvaluatorDuration => "auth_server_evaluator_duration_seconds",
        }
    }

    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Total => "Checks that a configuration applied to.",
            Self::ResponseStatus => "Verdicts by configuration and status.",
            Self::Duration => "Time to decide, by configuration.",
            Self::EvaluatorTotal => "Evaluators that were reached.",
            Self::EvaluatorCancelled => "Evaluators that were reached after the deadline.",
            Self::EvaluatorIgnored => "Evaluators whose conditions did not match.",
            Self::EvaluatorDenied => "Evaluators that did not succeed.",
            Self::EvaluatorDuration => "Time taken by an evaluator.",
        }
    }

    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Total | Self::Duration => &["namespace", "authconfig"],
            Self::ResponseStatus => &["namespace", "authconfig", "status"],
            _ => &["namespace", "authconfig", "evaluator_type", "evaluator_name"],
        }
    }

    /// The series without further labels of a family of counts.
    pub(super) fn counter(self, registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
        let family = IntCounterVec::new(Opts::new(self.name(), self.help()), self.labels())?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// The series without further labels of a family of durations.
    pub(super) fn histogram(self, registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(self.name(), self.help()).buckets(buckets().collect());
        let family = HistogramVec::new(options, self.labels())?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    }
}
