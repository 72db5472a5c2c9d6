//! The Common Expression Language.

use serde_json::Value;

use crate::{
    document::Document,
    error::{EvaluationError, ParseError},
};

/// A CEL program.
#[derive(Clone, Debug)]
pub struct Program {
    source: String,
}

impl Program {
    /// An expression of any type.
    ///
    /// # Errors
    /// Always, until there is an evaluator.
    pub fn expression(source: &str) -> Result<Self, ParseError> {
        Err(ParseError::new(format!("cel is not there yet: `{source}`")))
    }

    /// An expression that must be boolean.
    ///
    /// # Errors
    /// Always, until there is an evaluator.
    pub fn predicate(source: &str) -> Result<Self, ParseError> {
        Self::expression(source)
    }

    /// The value.
    ///
    /// # Errors
    /// Always, until there is an evaluator.
    pub fn evaluate(&self, _: &dyn Document) -> Result<Value, EvaluationError> {
        Err(EvaluationError::new(format!("cel is not there yet: `{}`", self.source)))
    }

    /// The truth.
    ///
    /// # Errors
    /// Always, until there is an evaluator.
    pub fn test(&self, _: &dyn Document) -> Result<bool, EvaluationError> {
        Err(EvaluationError::new(format!("cel is not there yet: `{}`", self.source)))
    }
}
