//! What can go wrong with an expression: when it is loaded, and when it is evaluated.

use thiserror::Error;

/// The text of an expression is refused: it cannot be parsed, or it cannot mean what it should.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong and where, for whoever wrote the expression.
    pub message: String,
}

impl ParseError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// An expression that was loaded has no value for this document.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct EvaluationError {
    /// Why there is no value, for example `no such key: roles`. Shown to callers as the reason of a denial, so it
    /// names keys and operators, never values.
    pub message: String,
}

impl EvaluationError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
