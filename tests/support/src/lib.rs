//! An API server of Kubernetes for tests.
//!
//! [`ApiServer`] keeps objects and tells of changes as kube-apiserver does, as far as Usher and its tests need it.
//!
//! ```text
//!  test ── ApiServer: apply, calls, faults ──┐
//!                                            v
//!  client ── HTTP ── faults ── token ── objects with history ── watches
//!                                            |
//!                              schemas, validating webhooks, scripted reviews
//! ```
//!
//! It differs from a real server in this:
//!
//! - All may do everything, but for what a [`Fault`] forbids. Any namespace exists, unless
//!   [`strict_namespaces`](Builder::strict_namespaces) is asked for.
//! - Rules in CEL (`x-kubernetes-validations`, `matchConditions`) are not evaluated.
//! - Built-in kinds are kept as they come, almost without checks. Strategic merge patches are applied as JSON merge
//!   patches; JSON patches and server-side apply are refused (415).
//! - There is no TLS, no conversion between versions, no streaming list (`sendInitialEvents`), no garbage collection,
//!   and no controller.
//!
//! The program `kubernetes-api-double` serves the same to other processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admission;
mod api_server;
mod builder;
mod calls;
mod failure;
mod faults;
mod filter;
mod http;
mod kind;
mod prepare;
mod reviews;
mod schema;
mod selector;
mod server;
mod state;
mod store;
mod write;

pub use api_server::ApiServer;
pub use builder::{Builder, read_yaml};
pub use calls::Call;
pub use faults::Fault;
pub use reviews::{ReviewAnswer, ReviewScript};
