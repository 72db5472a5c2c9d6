//! From AuthConfigs and Secrets to plans.
//!
//! ```text
//!   AuthConfig ──compile()──► Plan, or all problems with their field paths
//!
//!   AuthorizationPolicies ──► one plan together, for hosts of no AuthConfig
//!
//!   changes ──► Workspace ──► Update ──► PlanIndex
//!                  │            ├── reports: what is served, what is wrong
//!                  │            └── Secrets that are named from now on, or no longer
//!                  ├── last good plan of each AuthConfig
//!                  ├── Secrets, and which AuthConfigs name them
//!                  └── Claims: whose host, short name or route is it?
//! ```
//!
//! Compiling is synchronous, pure and without I/O. Validating a configuration *is* compiling it.

mod compile;
pub mod hosts;
mod id;
pub mod needs;
mod places;
mod policies;
mod references;
mod report;
mod routes;
mod workspace;

pub use compile::{Compiled, Compiler, Refused};
pub use id::AuthConfigId;
pub use places::Places;
pub use policies::PolicyReport;
pub use report::{Contest, Given, MOST_CONTESTS, Report, State};
pub use workspace::{SecretChange, Update, Workspace};
