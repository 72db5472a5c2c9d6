//! The Kubernetes API: where the configuration comes from, where its status goes, and who answers reviews.
//!
//! ```text
//!  configuration ◄─ watch ─────────┐
//!  statuses ──────► status ────────┤
//!                      ▲ who leads │
//!                    lease ────────┼──► Cluster ──► one kube client, made with the first question
//!  evaluators ── Reviews ──────────┘                    └─► metrics
//! ```
//!
//! [`Cluster`] finds out where the API is and how to speak with it, and implements
//! [`Reviews`](usher_evaluators::resources::kubernetes::Reviews). [`watch`] tells of AuthConfigs and Secrets as they
//! change. [`status`] writes what users see, on the replica that leads by [`lease`]. [`ControllerMetrics`] counts it all.

mod backoff;
mod cluster;
mod exchange;
pub mod lease;
mod metrics;
mod reviews;
pub mod status;
pub mod watch;

pub use cluster::{Cluster, NoClient};
pub use metrics::{Busy, Controller, ControllerMetrics, Outcome};
