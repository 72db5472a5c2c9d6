//! `json`: an object.
//!
//! # What it does
//! Gives a JSON object with the properties named. A selector that finds nothing gives null. As a header, the object is
//! compact JSON; in the dynamic metadata it is an object.
//!
//! # Example
//! ```yaml
//! response:
//!   success:
//!     dynamicMetadata:
//!       identity:
//!         json:
//!           properties:
//!             username: {selector: auth.identity.username}
//!             plan: {value: free}
//! ```
//!
//! # Errors
//! The error of an expression; the whole item is left out then and access is granted all the same.

use serde_json::{Map, Value};
use usher_api::JsonResponseSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure};
use usher_expr::Expression;

use crate::{FieldPath, Problems, values};

/// Gives an object.
#[derive(Debug)]
pub struct Json {
    properties: Vec<(String, Expression)>,
}

/// Reads `json` of an item.
pub fn build(spec: &JsonResponseSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Json> {
    Some(Json { properties: values::named(&spec.properties, &at.field("properties"), problems) })
}

impl Evaluator for Json {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let properties = self.properties.iter();
        let object = properties.map(|(name, value)| Ok((name.clone(), value.resolve(context)?)));
        object.collect::<Result<Map<_, _>, Failure>>().map(|object| Value::Object(object).into()).into()
    }
}
