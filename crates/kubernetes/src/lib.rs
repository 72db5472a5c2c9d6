//! The Kubernetes API, for evaluators that ask it something.
//!
//! ```text
//!  evaluators ── Reviews ──► Cluster ──► one kube client, made with the first question
//! ```
//!
//! [`Cluster`] finds out where the API is and how to speak with it, and implements
//! [`Reviews`](usher_evaluators::resources::kubernetes::Reviews).

mod cluster;
mod reviews;

pub use cluster::{Cluster, NoClient};
