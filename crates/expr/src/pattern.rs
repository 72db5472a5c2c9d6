//! Patterns.
use crate::{cel, document::Document, error::EvaluationError};
/// A predicate.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// All.
    All(Vec<Predicate>),
    /// Any.
    Any(Vec<Predicate>),
    /// CEL.
    Cel(cel::Program),
}
impl Predicate {
    /// Always true.
    #[must_use]
    pub fn always() -> Self { Self::All(Vec::new()) }
    /// Tests.
    ///
    /// # Errors
    /// From CEL.
    pub fn test(&self, _: &dyn Document) -> Result<bool, EvaluationError> { Ok(true) }
}
