//! A check costs what `budget.toml` says, in instructions: not more, and not less without saying so.
//!
//! ```text
//!   cargo build --profile instructions ──► usher-instructions ──► callgrind: instructions per check ─┐
//!                                                                                                    ├─► judged
//!                                                                                    budget.toml ────┘
//! ```
//!
//! With `UPDATE=1` the budget is written anew.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

#[path = "budget/callgrind.rs"]
mod callgrind;
#[path = "budget/file.rs"]
mod file;
#[path = "budget/with_valgrind.rs"]
mod with_valgrind;
