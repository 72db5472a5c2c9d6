//! What is added to an identity: `defaults` where it lacks a property, `overrides` in any case.
//!
//! # What it does
//! Adds properties to the identity object, with values that may depend on the request and on the identity as it was
//! found. Properties do not see each other. An identity that is not an object cannot be extended: its rule fails.
//!
//! # Example
//! ```yaml
//! authentication:
//!   friends:
//!     apiKey: {selector: {matchLabels: {group: friends}}}
//!     defaults: {plan: {value: free}}
//!     overrides: {username: {selector: 'auth.identity.metadata.annotations.username'}}
//! ```
//!
//! # Errors
//! An expression that has no value fails the rule; a selector that finds nothing sets the property to null.

use usher_api::AuthenticationSpec;
use usher_engine::plan::Extension;

use crate::{FieldPath, Problems, values};

/// Reads `defaults` and `overrides` of a rule.
pub fn build(spec: &AuthenticationSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Extension {
    Extension {
        defaults: values::named(&spec.defaults, &at.field("defaults"), problems),
        overrides: values::named(&spec.overrides, &at.field("overrides"), problems),
    }
}
