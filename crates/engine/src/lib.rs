//! Runs a plan on a request.
//!
//! ```text
//!  Request ──► PlanIndex ──► Plan ──► check() ──► Verdict
//!                                       │
//!              when → identity → metadata → authorization → response
//!                                       │
//!                          callbacks ◄──┘ (after the answer)
//! ```
//!
//! The engine knows neither protobuf nor Kubernetes nor any concrete evaluator: it is given compiled [`Plan`]s and
//! canonical [`Request`]s. A verdict that lets a request in can only be made from a [`verdict::Grant`], and only the
//! pipeline makes grants.

pub mod cache;
pub mod callbacks;
pub mod context;
pub mod evaluator;
pub mod host;
pub mod index;
pub mod journal;
pub mod observe;
pub mod pipeline;
pub mod plan;
pub mod request;
pub mod route;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod upstream;
pub mod verdict;

pub use context::Context;
pub use evaluator::{Evaluation, Evaluator, Failure, Outcome};
pub use index::PlanIndex;
pub use journal::Journal;
pub use pipeline::{check, check_with_callbacks};
pub use plan::{Plan, Step};
pub use request::{Request, RequestParts};
pub use trace::TraceContext;
pub use verdict::Verdict;
