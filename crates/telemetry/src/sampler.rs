//! Which traces are recorded: the environment variables of OpenTelemetry.

use std::env;

use opentelemetry_sdk::trace::Sampler;

/// A sampler, and what is known about it.
#[derive(Debug)]
pub(crate) struct Sampling {
    pub(crate) sampler: Sampler,
    /// Whether nothing is recorded that the caller does not record.
    pub(crate) follows_callers: bool,
}

impl Sampling {
    /// As `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say. By default callers are followed, and what has no
    /// caller is recorded.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::of(&variable("OTEL_TRACES_SAMPLER"), &variable("OTEL_TRACES_SAMPLER_ARG"))
    }

    fn of(sampler: &str, argument: &str) -> Self {
        let (follows_callers, root) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None if sampler.is_empty() => (true, "always_on"),
            None => (false, sampler),
        };
        let root = match root {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(ratio(argument)),
            _ => {
                tracing::warn!(sampler, "OTEL_TRACES_SAMPLER is not supported: `parentbased_always_on` is used");
                return Self::of("", "");
            }
        };
        let sampler = if follows_callers { Sampler::ParentBased(Box::new(root)) } else { root };
        Self { sampler, follows_callers }
    }
}

fn ratio(argument: &str) -> f64 {
    if argument.is_empty() {
        return 1.0;
    }
    match argument.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            tracing::warn!(argument, "OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1: everything is recorded");
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_samplers() {
        for (sampler, argument, expected, follows_callers) in [
            ("", "", "ParentBased(AlwaysOn)", true),
            ("", "0.5", "ParentBased(AlwaysOn)", true),
            ("always_on", "", "AlwaysOn", false),
            ("always_off", "", "AlwaysOff", false),
            ("traceidratio", "0.25", "TraceIdRatioBased(0.25)", false),
            ("traceidratio", "", "TraceIdRatioBased(1.0)", false),
            ("traceidratio", "2", "TraceIdRatioBased(1.0)", false),
            ("traceidratio", "NaN", "TraceIdRatioBased(1.0)", false),
            ("parentbased_always_on", "", "ParentBased(AlwaysOn)", true),
            ("parentbased_always_off", "", "ParentBased(AlwaysOff)", true),
            ("parentbased_traceidratio", "0", "ParentBased(TraceIdRatioBased(0.0))", true),
            ("jaeger_remote", "", "ParentBased(AlwaysOn)", true),
            ("parentbased_jaeger_remote", "", "ParentBased(AlwaysOn)", true),
        ] {
            let found = Sampling::of(sampler, argument);
            assert_eq!((format!("{:?}", found.sampler).as_str(), found.follows_callers), (expected, follows_callers));
        }
    }
}
