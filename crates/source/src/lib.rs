//! Where configuration comes from.
//!
//! ```text
//!   folder of YAML ──directory::Source──▶ Vec<Change> ──▶ whoever compiles and serves
//!                                              ▲                     │
//!                                              └──── Snapshot ◀──────┘ what was served last
//! ```
//!
//! A source knows the words users write and nothing of what they become. It delivers [`Change`]s in batches; the
//! changes of one batch are applied together. It never takes something away because it could not be read: only what
//! was removed goes.

mod change;
pub mod directory;
pub mod snapshot;

pub use change::{AuthConfigObject, AuthorizationPolicyObject, Change};
