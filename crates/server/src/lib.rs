//! What listens.
//!
//! ```text
//!  gateway ── gRPC ──► ext_authz ──┐                       ┌─► ext_authz/response ──► CheckResponse
//!                                  ├─► Request ─► Decide ──┤        (answer: one table of statuses)
//!  anyone ── HTTP ───► raw_http ───┘                       └─► raw_http ──► HTTP status, headers, body
//! ```
//!
//! Everything here works in two moments: [`Listener::bind`] takes the port, so that failures are known before anything runs;
//! a `serve` function makes it a [`Running`] server, which is stopped with [`Running::shutdown`].
//!
//! | module | listens for |
//! |---|---|
//! | [`ext_authz`] | Envoy's external authorization and gRPC health, over HTTP/2 |
//! | [`raw_http`] | `/check` over HTTP, and Kubernetes admission reviews that rules decide |
//! | [`admission`] | Kubernetes admission reviews of configurations: what is wrong is refused |
//! | [`oidc`] | discovery documents and keys of the tokens that configurations issue |
//! | [`admin`] | probes, and metrics |
//!
//! Who decides is behind the trait [`Decide`]; the servers know requests and verdicts, not configurations.

mod answer;
mod decide;
mod grpc;
mod headers;
mod http;

pub mod admin;
pub mod admission;
pub mod ext_authz;
pub mod listener;
pub mod metrics;
pub mod oidc;
pub mod raw_http;
pub mod tls;

#[cfg(test)]
mod testing;

pub use admin::{Readiness, ReadinessCheck};
pub use decide::{Call, Decide};
pub use listener::{BindError, Listener, ListenerSettings, Running};
pub use metrics::Metrics;
pub use tls::{ClientCertificates, Tls, TlsError, TlsSettings};
pub use usher_telemetry::Tracing;
