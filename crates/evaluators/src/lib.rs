//! The evaluators, one file each: its documentation, how it is built from what users write, how it runs, its tests.
//!
//! | phase | evaluators |
//! | --- | --- |
//! | [`identity`] | anonymous, apiKey, jwt, plain |
//! | [`authorization`] | patternMatching, opa |
//! | [`response`] | plain, json |
//!
//! Each phase has one function that builds any of its evaluators: a `match` on the specification that reads as a
//! table of contents.

pub mod authorization;
pub mod build_context;
pub mod conditions;
pub mod credentials;
pub mod identity;
pub mod problem;
pub mod resources;
pub mod response;
mod step;
pub mod values;

pub use build_context::BuildContext;
pub use problem::{FieldPath, Problem, Problems};
pub use resources::Resources;
