//! Templates.
use crate::{document::Document, error::ParseError};
/// A template.
#[derive(Clone, Debug)]
pub struct Template { source: String }
impl Template {
    /// Is it.
    #[must_use]
    pub fn is_template(_: &str) -> bool { false }
    /// Parses.
    ///
    /// # Errors
    /// Never yet.
    pub fn parse(source: &str) -> Result<Self, ParseError> { Ok(Self { source: source.to_owned() }) }
    /// Renders.
    #[must_use]
    pub fn render(&self, _: &dyn Document) -> String { self.source.clone() }
}
