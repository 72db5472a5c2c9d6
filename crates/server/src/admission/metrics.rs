//! Counters and durations of webhooks, by the names that dashboards of Kubernetes controllers know.

use std::time::Duration;

use ::http::StatusCode;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metric families of webhooks.
#[derive(Debug)]
pub struct WebhookMetrics {
    requests: IntCounterVec,
    latency: HistogramVec,
    in_flight: IntGaugeVec,
}

impl WebhookMetrics {
    /// The families, registered.
    ///
    /// # Errors
    ///
    /// When the registry holds families of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("controller_runtime_webhook_requests_total", "Admission requests by HTTP status.");
        let requests = IntCounterVec::new(requests, &["webhook", "code"])?;
        let latency =
            HistogramOpts::new("controller_runtime_webhook_latency_seconds", "Time to answer admission requests.");
        let latency = HistogramVec::new(latency, &["webhook"])?;
        let in_flight =
            Opts::new("controller_runtime_webhook_requests_in_flight", "Admission requests that are not answered yet.");
        let in_flight = IntGaugeVec::new(in_flight, &["webhook"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self { requests, latency, in_flight })
    }

    /// The series of one webhook.
    pub(super) fn of(&self, path: &str) -> Meters {
        // The usual ones are there from the start, so that rates can be computed from the first request on.
        for code in ["200", "500"] {
            self.requests.with_label_values(&[path, code]);
        }
        Meters {
            path: path.to_owned(),
            requests: self.requests.clone(),
            latency: self.latency.with_label_values(&[path]),
            in_flight: self.in_flight.with_label_values(&[path]),
        }
    }
}

/// The series of one webhook.
pub(super) struct Meters {
    path: String,
    requests: IntCounterVec,
    latency: Histogram,
    in_flight: IntGauge,
}

impl Meters {
    /// A request has come; it is in flight until the result is dropped, answered or not.
    pub(super) fn begun(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request is answered, after this time if it is known.
    pub(super) fn answered(&self, status: StatusCode, after: Option<Duration>) {
        self.requests.with_label_values(&[&self.path, status.as_str()]).inc();
        if let Some(after) = after {
            self.latency.observe(after.as_secs_f64());
        }
    }
}

/// A request that is in flight.
pub(super) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
