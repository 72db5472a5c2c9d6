//! The Kubernetes API: where the configuration comes from, where its status goes, and who answers reviews.
//!
//! ```text
//!  changes ◄── watch ──────────┐
//!  statuses ─► status ─────────┤
//!                ▲ who leads   ├─► exchange: one request, one answer, bounded ──► Cluster: the client ──► the API
//!              lease ──────────┤                                                     └─► metrics
//!  rules ────► reviews ────────┘
//! ```
//!
//! * [`Cluster`] finds out where the API is and makes the client with the first request. It implements
//!   [`Reviews`](usher_evaluators::resources::kubernetes::Reviews) for rules (`reviews`).
//! * [`watch`] tells of AuthConfigs and Secrets as they change. A change comes in as a line of a watch (`watch::lines`),
//!   becomes an event (`watch::list_watch`), becomes a [`Change`](usher_source::Change) if it is news (`watch::told`), and
//!   goes into the channel in a batch (`watch::batches`).
//! * [`status`] writes what users see. A report is told to the [`status::Handle`], waits in `status::queue`, and leaves as
//!   a patch of what is different (`status::merge`), on the replica that leads.
//! * [`lease`] says which replica leads.
//! * [`ControllerMetrics`] counts it all.
//!
//! Everything that is asked goes through `exchange`, which bounds what is read and turns everything but a good answer into
//! one kind of failure; paths and names of kinds come from `resources`. Pauses between attempts are those of `backoff`.
//!
//! Nothing here ends because the API is away, and nothing that is served depends on who leads.

mod backoff;
mod cluster;
mod exchange;
pub mod lease;
mod metrics;
mod resources;
mod reviews;
pub mod status;
pub mod watch;

pub use cluster::{Cluster, NoClient};
pub use metrics::{Busy, Controller, ControllerMetrics, Outcome};
