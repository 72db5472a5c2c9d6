//! Selectors.
use std::borrow::Cow;
use serde_json::Value;
use crate::{document::Document, error::ParseError};

/// A path.
#[derive(Clone, Debug)]
pub struct Selector { source: String }

impl Selector {
    /// Parses.
    ///
    /// # Errors
    /// Never yet.
    pub fn parse(source: &str) -> Result<Self, ParseError> { Ok(Self { source: source.to_owned() }) }
    /// Selects.
    #[must_use]
    pub fn select(&self, _: &dyn Document) -> Value { Value::Null }
    /// Selects text.
    #[must_use]
    pub fn select_text<'a>(&'a self, _: &'a dyn Document) -> Cow<'a, str> { Cow::Borrowed("") }
    /// The source.
    #[must_use]
    pub fn source(&self) -> &str { &self.source }
}
