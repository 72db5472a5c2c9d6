//! `patternMatching`: comparisons and predicates.
//!
//! # What it does
//! Grants access if everything in `patterns` holds: comparisons of a selected value, CEL predicates, references to the
//! named sets of the AuthConfig, and combinations of these with `all` and `any`. They are looked at from left to right
//! until one does not hold. An empty list grants. The result is `true`.
//!
//! # Example
//! ```yaml
//! authorization:
//!   admins-only:
//!     patternMatching:
//!       patterns:
//!       - {selector: auth.identity.roles, operator: incl, value: admin}
//!       - {predicate: 'request.method != "DELETE" || auth.identity.email_verified'}
//! ```
//!
//! # Errors
//! - `Unauthorized`: a pattern does not hold.
//! - The error of a predicate that has no value, for example `no such key: roles`. Access is denied then as well.

use std::sync::Arc;

use serde_json::Value;
use usher_api::PatternMatchingSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure};
use usher_expr::Predicate;

use crate::{BuildContext, FieldPath, Problems, conditions};

/// Grants access where a predicate holds.
#[derive(Debug)]
pub struct Patterns {
    predicate: Predicate,
    granted: Arc<Value>,
}

/// Reads `patternMatching` of a rule.
pub fn build(
    spec: &PatternMatchingSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Patterns> {
    let predicate = conditions::all(&spec.patterns, &at.field("patterns"), context, problems)?;
    Some(Patterns { predicate, granted: Arc::new(Value::Bool(true)) })
}

impl Evaluator for Patterns {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.predicate.test(context) {
            Ok(true) => Evaluation::success(Arc::clone(&self.granted)),
            Ok(false) => Evaluation::failure(Failure::denied("Unauthorized")),
            Err(error) => Evaluation::failure(error.into()),
        }
    }
}
