//! Rules as users write them, built and run by the engine on requests: what comes of each phase.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may stop at the first surprise")]

mod api_keys;
mod authorization;
mod conditions;
mod identity;
mod refusals;
mod response;
mod shared_secret;
mod steps;
mod support;
mod wristband;
