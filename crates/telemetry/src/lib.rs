//! Traces: which trace a call belongs to, and spans for those who collect them.
//!
//! ```text
//!  headers of a call ──► Incoming ──► Call ──► TraceContext ──► whatever is asked about the request
//!                                      │
//!                      Tracing on? ────┴─► two spans ──► batches ──► collector (OTLP over gRPC or HTTP)
//! ```
//!
//! Without a collector nothing is recorded, and what came in goes out unchanged: see [`Tracing::default`]. All that knows
//! OpenTelemetry is in this crate; others know [`Tracing`], [`Call`] and the engine's
//! [`TraceContext`](usher_engine::TraceContext).

mod call;
mod endpoint;
mod exporter;
mod propagation;
mod resource;
mod sampler;

#[cfg(test)]
mod collector;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use call::Call;
pub use endpoint::{Endpoint, EndpointError};
pub use exporter::ExporterError;
use sampler::Sampling;

/// Where spans go. Clones are the same.
///
/// The default is nowhere: calls are not recorded, and their context is passed on as it came.
#[derive(Clone, Default)]
pub struct Tracing(Option<Arc<Exporting>>);

struct Exporting {
    provider: SdkTracerProvider,
    /// For the spans of calls.
    calls: SdkTracer,
    /// For the spans of checks.
    checks: SdkTracer,
    /// Whether a caller that does not record a trace is followed in that, whatever else the sampler says.
    follows_callers: bool,
}

/// What is recorded, and where it goes.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Where the collector is.
    pub endpoint: Endpoint,
    /// Without TLS.
    pub insecure: bool,
    /// What describes this process, `name=value` each; without `=` they are left out.
    pub tags: &'a [String],
    /// The version of this process.
    pub version: &'static str,
}

impl Tracing {
    /// Records calls and sends them to a collector. To be called within a Tokio runtime with several threads, which
    /// also does the sending. Whether there is a collector shows only when something is sent.
    ///
    /// The variables `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`,
    /// `OTEL_BSP_*` and `OTEL_SPAN_*` apply as OpenTelemetry describes them.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(settings: &Settings<'_>) -> Result<Self, ExporterError> {
        let Sampling { sampler, follows_callers } = Sampling::from_environment();
        let resource = resource::describe(settings.tags, settings.version);
        let builder = SdkTracerProvider::builder().with_sampler(sampler).with_resource(resource);
        let provider = exporter::export_to(builder, &settings.endpoint, settings.insecure)?.build();
        Ok(Self::with_provider(provider, follows_callers))
    }

    fn with_provider(provider: SdkTracerProvider, follows_callers: bool) -> Self {
        let (calls, checks) = (provider.tracer("usher"), provider.tracer("AuthService"));
        Self(Some(Arc::new(Exporting { provider, calls, checks, follows_callers })))
    }

    /// Sends what is still to be sent, for `at_most`, and records nothing any more.
    pub async fn shutdown(&self, at_most: Duration) {
        let Some(exporting) = self.0.clone() else { return };
        // Waits without Tokio's knowledge.
        let flush = tokio::task::spawn_blocking(move || exporting.provider.shutdown_with_timeout(at_most));
        match tokio::time::timeout(at_most, flush).await {
            Ok(Ok(Ok(()))) => {}
            // What went wrong was told where it went wrong.
            Ok(Ok(Err(error))) => tracing::warn!(%error, "spans may be lost"),
            Ok(Err(_)) | Err(_) => tracing::warn!("spans may be lost: not all were sent in time"),
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Tracing(on)" } else { "Tracing(off)" })
    }
}
