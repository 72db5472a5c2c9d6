//! `plain`: one value.
//!
//! # What it does
//! Gives one value, fixed or taken from the authorization JSON. As a header, a string stands as it is, a number or a
//! boolean as its JSON text, a list or an object as compact JSON; with null the header is left out. In the dynamic
//! metadata the value keeps its type.
//!
//! # Example
//! ```yaml
//! response:
//!   success:
//!     headers:
//!       x-username: {plain: {selector: auth.identity.username}}
//! ```
//!
//! # Errors
//! The error of the expression; the item is left out then and access is granted all the same.

use serde_json::Value;
use usher_api::ValueOrSelector;
use usher_engine::{Context, Evaluation, Evaluator, Failure};
use usher_expr::Expression;

use crate::{FieldPath, Problems, values};

/// Gives one value.
#[derive(Debug)]
pub struct Plain {
    value: Expression,
}

/// Reads `plain` of an item.
pub fn build(spec: &ValueOrSelector, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Plain> {
    Some(Plain { value: values::build(spec, at, problems)? })
}

impl Evaluator for Plain {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        self.value.resolve(context).map(Value::into).map_err(Failure::from).into()
    }
}
