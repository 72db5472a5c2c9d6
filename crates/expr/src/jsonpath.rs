//! JSONPath.
use serde_json::Value;
use crate::{document::Document, error::ParseError};
/// A query.
#[derive(Clone, Debug)]
pub struct JsonPath { source: String }
impl JsonPath {
    /// Parses.
    ///
    /// # Errors
    /// Never yet.
    pub fn parse(source: &str) -> Result<Self, ParseError> { Ok(Self { source: source.to_owned() }) }
    /// Selects.
    #[must_use]
    pub fn select(&self, _: &dyn Document) -> Value { let _ = &self.source; Value::Null }
}
