//! What the server does, seen from outside: over HTTP, and with `kube`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admission;
mod client;
mod faults;
mod lists;
mod objects;
mod program;
mod reviews;
mod schemas;
mod watches;
mod with_kube;
