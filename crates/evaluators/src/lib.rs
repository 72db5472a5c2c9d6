//! The evaluators, one file each: its documentation, how it is built from what users write, how it runs, its tests.
//!
//! | phase | evaluators |
//! | --- | --- |
//! | [`identity`] | anonymous, apiKey, jwt, kubernetesTokenReview, oauth2Introspection, plain, x509 |
//! | [`metadata`] | http, uma, userInfo |
//! | [`authorization`] | kubernetesSubjectAccessReview, opa, patternMatching, spicedb |
//! | [`response`] | json, plain, wristband |
//! | [`callbacks`] | http |
//!
//! Each phase has one function that builds any of its evaluators: a `match` on the specification that reads as a
//! table of contents.

pub mod authorization;
mod basic_authorization;
pub mod build_context;
pub mod callbacks;
mod clock;
pub mod conditions;
pub mod credentials;
pub mod http_endpoint;
pub mod identity;
mod json_answer;
pub mod metadata;
pub mod problem;
pub mod resources;
pub mod response;
pub mod secrets;
mod step;
#[cfg(test)]
mod test_world;
pub mod values;

pub use build_context::BuildContext;
pub use problem::{FieldPath, Problem, Problems};
pub use resources::Resources;
pub use secrets::{Lookup, SecretReader, SecretText, SecretUse, Secrets};
