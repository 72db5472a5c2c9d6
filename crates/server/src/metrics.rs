//! Counters and durations of the servers, by the names that dashboards for this API know.
//!
//! Handles are resolved once: at start for series that exist from the start, at first use for those that appear with their
//! first sample. The path of a check looks nothing up by name.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use tonic::Code;
use usher_engine::Verdict;

/// The metric families of the servers.
#[derive(Debug)]
pub struct Metrics {
    response_status: IntCounterVec,
    response_statuses: [OnceLock<IntCounter>; VERDICTS.len()],
    methods: [Method; METHODS.len()],
    http_handled: IntCounterVec,
    http_seconds: HistogramVec,
    pub(crate) oidc_requests: IntCounterVec,
    pub(crate) oidc_status: IntCounterVec,
}

/// The gRPC methods that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrpcMethod {
    Check,
    HealthCheck,
    HealthList,
    HealthWatch,
}

/// Type, service and name of each method, in the order of [`GrpcMethod`].
const METHODS: [[&str; 3]; 4] = [
    ["unary", "envoy.service.auth.v3.Authorization", "Check"],
    ["unary", "grpc.health.v1.Health", "Check"],
    ["unary", "grpc.health.v1.Health", "List"],
    ["server_stream", "grpc.health.v1.Health", "Watch"],
];

const VERDICTS: [&str; 6] =
    ["OK", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "INVALID_ARGUMENT", "UNAVAILABLE"];

/// Names of `google.rpc.Code` as gRPC servers report them, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[derive(Debug)]
struct Method {
    labels: [&'static str; 3],
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled: Vec<IntCounter>,
    family: HistogramVec,
    seconds: OnceLock<Histogram>,
}

impl Metrics {
    /// The families, registered.
    ///
    /// # Errors
    ///
    /// When the registry holds families of these names already.
    pub fn register(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let histogram = |options: HistogramOpts, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
            let family = HistogramVec::new(options, labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let method = ["grpc_type", "grpc_service", "grpc_method"];
        let started = counter("grpc_server_started_total", "Calls that were started.", &method)?;
        let received = counter("grpc_server_msg_received_total", "Messages that were received.", &method)?;
        let sent = counter("grpc_server_msg_sent_total", "Messages that were sent.", &method)?;
        let handled = counter(
            "grpc_server_handled_total",
            "Calls that were completed, whatever came of them.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        )?;
        let seconds = histogram(HistogramOpts::new("grpc_server_handling_seconds", "Time to answer a call."), &method)?;
        let buckets = prometheus::linear_buckets(0.001, 0.05, 20)?;
        let http =
            HistogramOpts::new("http_server_handling_seconds", "Time to answer a raw HTTP check.").buckets(buckets);
        Ok(Arc::new(Self {
            response_status: counter("auth_server_response_status", "Answers by status.", &["status"])?,
            response_statuses: Default::default(),
            methods: METHODS.map(|labels| Method {
                labels,
                started: started.with_label_values(&labels),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                handled: CODES
                    .iter()
                    .map(|code| {
                        let [kind, service, method] = labels;
                        handled.with_label_values(&[kind, service, method, code])
                    })
                    .collect(),
                family: seconds.clone(),
                seconds: OnceLock::new(),
            }),
            http_handled: counter("http_server_handled_total", "Answers to raw HTTP checks by status.", &["status"])?,
            http_seconds: histogram(http, &[])?,
            oidc_requests: counter(
                "oidc_server_requests_total",
                "Requests for discovery documents and keys.",
                &["namespace", "authconfig", "wristband", "path"],
            )?,
            oidc_status: counter("oidc_server_response_status", "Answers about discovery by status.", &["status"])?,
        }))
    }

    /// Counts an answer to a check.
    pub(crate) fn answered(&self, verdict: &Verdict) {
        let name = verdict.code_name();
        let known = VERDICTS.iter().position(|known| *known == name);
        match known.and_then(|position| self.response_statuses.get(position)) {
            Some(counter) => counter.get_or_init(|| self.response_status.with_label_values(&[name])).inc(),
            None => self.response_status.with_label_values(&[name]).inc(),
        }
    }

    /// Counts the beginning of a call.
    pub(crate) fn start(self: &Arc<Self>, method: GrpcMethod) -> InFlight {
        let in_flight = InFlight { metrics: Arc::clone(self), method, started: Instant::now(), is_complete: false };
        if let Some(method) = in_flight.method() {
            method.started.inc();
        }
        in_flight
    }

    /// Counts an answer to a raw HTTP check; `since` is when its body had been read.
    pub(crate) fn http_answered(&self, status: http::StatusCode, since: Option<Instant>) {
        let name: String = match status.canonical_reason() {
            Some(reason) => reason.chars().filter(char::is_ascii_alphanumeric).collect(),
            None => status.as_str().to_owned(),
        };
        self.http_handled.with_label_values(&[&name]).inc();
        if let Some(since) = since {
            self.http_seconds.with_label_values::<&str>(&[]).observe(since.elapsed().as_secs_f64());
        }
    }
}

/// A gRPC call that has been started. Dropped before it is complete, it was cancelled by the caller.
#[derive(Debug)]
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    method: GrpcMethod,
    started: Instant,
    is_complete: bool,
}

impl InFlight {
    /// When the call came.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Counts the end of the call.
    pub(crate) fn complete(mut self, code: Code) {
        self.is_complete = true;
        self.count(code);
    }

    fn count(&self, code: Code) {
        let Some(method) = self.method() else { return };
        if let Some(handled) = usize::try_from(code as i32).ok().and_then(|code| method.handled.get(code)) {
            handled.inc();
        }
        if code == Code::Ok {
            method.received.inc();
            method.sent.inc();
        }
        let seconds = method.seconds.get_or_init(|| method.family.with_label_values(&method.labels));
        seconds.observe(self.started.elapsed().as_secs_f64());
    }

    fn method(&self) -> Option<&Method> {
        self.metrics.methods.get(self.method as usize)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_complete {
            self.count(Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn counters_of_calls_exist_from_the_start_and_others_do_not() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let before = text(&registry);
        let check = r#"grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary""#;
        for expected in [
            format!("grpc_server_started_total{{{check}}} 0\n"),
            format!("grpc_server_msg_sent_total{{{check}}} 0\n"),
            format!(r#"grpc_server_handled_total{{grpc_code="Canceled",{check}}} 0"#),
            r#"grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"} 0"#.to_owned(),
        ] {
            assert!(before.contains(&expected), "{expected} in {before}");
        }
        assert_eq!(before.matches("grpc_server_handled_total{").count(), 4 * 17);
        for absent in ["grpc_server_handling_seconds", "auth_server_response_status", "http_server_", "oidc_server_"] {
            assert!(!before.contains(absent), "{absent} in {before}");
        }

        metrics.start(GrpcMethod::Check).complete(Code::Ok);
        drop(metrics.start(GrpcMethod::Check));
        metrics.answered(&Verdict::not_found());
        metrics.http_answered(http::StatusCode::PAYLOAD_TOO_LARGE, None);
        metrics.http_answered(http::StatusCode::OK, Some(Instant::now()));
        let after = text(&registry);
        for expected in [
            format!("grpc_server_started_total{{{check}}} 2\n"),
            format!("grpc_server_msg_received_total{{{check}}} 1\n"),
            format!(r#"grpc_server_handled_total{{grpc_code="OK",{check}}} 1"#),
            format!(r#"grpc_server_handled_total{{grpc_code="Canceled",{check}}} 1"#),
            format!("grpc_server_handling_seconds_count{{{check}}} 2\n"),
            r#"auth_server_response_status{status="NOT_FOUND"} 1"#.to_owned(),
            r#"http_server_handled_total{status="PayloadTooLarge"} 1"#.to_owned(),
            r#"http_server_handled_total{status="OK"} 1"#.to_owned(),
            "http_server_handling_seconds_count 1\n".to_owned(),
            "http_server_handling_seconds_bucket{le=\"0.101\"}".to_owned(),
        ] {
            assert!(after.contains(&expected), "{expected} in {after}");
        }
    }

    #[test]
    fn every_verdict_has_a_handle() {
        for verdict in [Verdict::not_found(), Verdict::invalid(), Verdict::undecidable("", "")] {
            assert!(VERDICTS.contains(&verdict.code_name()));
        }
    }
}
