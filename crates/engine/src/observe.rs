//! Counters and durations of configurations and rules, by the names that dashboards for this API know.
//!
//! Handles are resolved when a plan is built or, for series that should exist only once something happened, at their
//! first use; a check never looks a metric up by name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::Verdict;

/// The metric families of the decision engine.
#[derive(Debug)]
pub struct Metrics {
    total: IntCounterVec,
    response_status: IntCounterVec,
    duration: HistogramVec,
    evaluator_total: IntCounterVec,
    evaluator_cancelled: IntCounterVec,
    evaluator_ignored: IntCounterVec,
    evaluator_denied: IntCounterVec,
    evaluator_duration: HistogramVec,
    /// The evaluator series of each configuration, so that they can be removed with it.
    evaluators: Mutex<HashMap<PlanName, Vec<StepName>>>,
}

/// Namespace and name of a configuration.
type PlanName = (Arc<str>, Arc<str>);
/// Evaluator type and name of a rule.
type StepName = (&'static str, Arc<str>);

impl Metrics {
    /// The families, registered.
    ///
    /// # Errors
    /// When the registry holds families of these names already.
    pub fn register(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let plan = ["namespace", "authconfig"];
        let evaluator = ["namespace", "authconfig", "evaluator_type", "evaluator_name"];
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
            // 0.001, 0.051 … 0.951 seconds, each the nearest number: adding up would show rounding in the labels.
            let buckets = (0..20).map(|step| f64::from(1 + 50 * step) / 1000.0).collect();
            let family = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        Ok(Arc::new(Self {
            total: counter("auth_server_authconfig_total", "Checks that a configuration applied to.", &plan)?,
            response_status: counter(
                "auth_server_authconfig_response_status",
                "Verdicts by configuration and status.",
                &["namespace", "authconfig", "status"],
            )?,
            duration: histogram("auth_server_authconfig_duration_seconds", "Time to decide, by configuration.", &plan)?,
            evaluator_total: counter("auth_server_evaluator_total", "Evaluators that were reached.", &evaluator)?,
            evaluator_cancelled: counter(
                "auth_server_evaluator_cancelled",
                "Evaluators that were reached after the deadline.",
                &evaluator,
            )?,
            evaluator_ignored: counter(
                "auth_server_evaluator_ignored",
                "Evaluators whose conditions did not match.",
                &evaluator,
            )?,
            evaluator_denied: counter("auth_server_evaluator_denied", "Evaluators that did not succeed.", &evaluator)?,
            evaluator_duration: histogram(
                "auth_server_evaluator_duration_seconds",
                "Time taken by an evaluator.",
                &evaluator,
            )?,
            evaluators: Mutex::default(),
        }))
    }

    /// The handles of one configuration.
    #[must_use]
    pub fn plan(self: &Arc<Self>, namespace: &Arc<str>, name: &Arc<str>) -> PlanMeters {
        PlanMeters {
            metrics: Arc::clone(self),
            labels: [Arc::clone(namespace), Arc::clone(name)],
            total: OnceLock::new(),
            duration: OnceLock::new(),
            statuses: Default::default(),
        }
    }

    /// The handles of one rule; `kind` is one of the known evaluator types, for example `IDENTITY_APIKEY`.
    #[must_use]
    pub fn step(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        authconfig: &Arc<str>,
        kind: &'static str,
        rule: &Arc<str>,
    ) -> StepMeters {
        let mut evaluators = self.evaluators.lock().unwrap_or_else(PoisonError::into_inner);
        let known = evaluators.entry((Arc::clone(namespace), Arc::clone(authconfig))).or_default();
        if !known.iter().any(|(known_kind, name)| *known_kind == kind && name == rule) {
            known.push((kind, Arc::clone(rule)));
        }
        drop(evaluators);
        StepMeters {
            metrics: Arc::clone(self),
            namespace: Arc::clone(namespace),
            authconfig: Arc::clone(authconfig),
            kind,
            rule: Arc::clone(rule),
            total: OnceLock::new(),
            cancelled: OnceLock::new(),
            ignored: OnceLock::new(),
            denied: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }

    /// Removes all series of a configuration that is gone.
    pub fn forget(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let plan = [&**namespace, &**name];
        // An error only says that there was no such series.
        let _ = self.total.remove_label_values(&plan);
        let _ = self.duration.remove_label_values(&plan);
        for status in STATUSES {
            let _ = self.response_status.remove_label_values(&[namespace, name, status]);
        }
        let gone = self
            .evaluators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(Arc::clone(namespace), Arc::clone(name)))
            .unwrap_or_default();
        for (kind, rule) in gone {
            let labels = [&**namespace, &**name, kind, &*rule];
            for family in
                [&self.evaluator_total, &self.evaluator_cancelled, &self.evaluator_ignored, &self.evaluator_denied]
            {
                let _ = family.remove_label_values(&labels);
            }
            let _ = self.evaluator_duration.remove_label_values(&labels);
        }
    }
}

/// The `status` label of verdicts.
const STATUSES: [&str; 6] =
    ["OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAVAILABLE", "UNAUTHENTICATED"];

/// The series of one configuration.
#[derive(Debug)]
pub struct PlanMeters {
    metrics: Arc<Metrics>,
    labels: [Arc<str>; 2],
    total: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
    statuses: [OnceLock<IntCounter>; 6],
}

impl PlanMeters {
    /// The configuration applies to a request.
    pub(crate) fn started(&self) {
        self.total.get_or_init(|| self.metrics.total.with_label_values(&self.labels)).inc();
    }

    /// It was decided.
    pub(crate) fn decided(&self, verdict: &Verdict, took: Duration) {
        self.duration.get_or_init(|| self.metrics.duration.with_label_values(&self.labels)).observe(took.as_secs_f64());
        let name = verdict.code_name();
        let Some(counter) =
            STATUSES.iter().position(|status| *status == name).and_then(|index| self.statuses.get(index))
        else {
            return;
        };
        let [namespace, authconfig] = &self.labels;
        counter.get_or_init(|| self.metrics.response_status.with_label_values(&[&**namespace, authconfig, name])).inc();
    }
}

/// The series of one rule.
#[derive(Debug)]
pub struct StepMeters {
    metrics: Arc<Metrics>,
    namespace: Arc<str>,
    authconfig: Arc<str>,
    kind: &'static str,
    rule: Arc<str>,
    total: OnceLock<IntCounter>,
    cancelled: OnceLock<IntCounter>,
    ignored: OnceLock<IntCounter>,
    denied: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
}

impl StepMeters {
    fn labels(&self) -> [&str; 4] {
        [&self.namespace, &self.authconfig, self.kind, &self.rule]
    }

    /// The rule was reached.
    pub(crate) fn reached(&self) {
        self.total.get_or_init(|| self.metrics.evaluator_total.with_label_values(&self.labels())).inc();
    }

    /// It was reached too late.
    pub(crate) fn cancelled(&self) {
        self.cancelled.get_or_init(|| self.metrics.evaluator_cancelled.with_label_values(&self.labels())).inc();
    }

    /// Its conditions did not match.
    pub(crate) fn ignored(&self) {
        self.ignored.get_or_init(|| self.metrics.evaluator_ignored.with_label_values(&self.labels())).inc();
    }

    /// It ran.
    pub(crate) fn ran(&self, succeeded: bool, took: Duration) {
        if !succeeded {
            self.denied.get_or_init(|| self.metrics.evaluator_denied.with_label_values(&self.labels())).inc();
        }
        self.duration
            .get_or_init(|| self.metrics.evaluator_duration.with_label_values(&self.labels()))
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn series_exist_once_something_happened_and_go_with_their_configuration() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
        let plan = metrics.plan(&namespace, &name);
        let step = metrics.step(&namespace, &name, "IDENTITY_APIKEY", &"keys".into());
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(text(), "");
        plan.started();
        plan.decided(&Verdict::not_found(), Duration::from_millis(2));
        step.reached();
        step.ran(false, Duration::ZERO);
        let page = text();
        assert!(page.contains(
            r#"auth_server_authconfig_response_status{authconfig="pets",namespace="ns",status="NOT_FOUND"} 1"#
        ));
        assert!(page.contains(r#"auth_server_evaluator_denied{authconfig="pets",evaluator_name="keys",evaluator_type="IDENTITY_APIKEY",namespace="ns"} 1"#));
        assert!(page.contains(r#"le="0.951""#));
        metrics.forget(&namespace, &name);
        assert!(!text().contains("pets"));
    }
}
