//! Patterns: `selector operator value`, and how conditions combine.

pub mod regular_expression;

use std::sync::Arc;

use std::str::FromStr;

use serde_json::Value;

use self::regular_expression::RegularExpression;
use crate::{
    cel,
    document::{Document, Node},
    error::{EvaluationError, ParseError},
    jsonpath::JsonPath,
    selector::{Selected, Selector},
    text,
};

/// A condition on a document: true, false, or an error.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// True unless one is false; looks no further than the first that is false or errs.
    All(Vec<Predicate>),
    /// False unless one is true; looks no further than the first that is true or errs.
    Any(Vec<Predicate>),
    /// A comparison of a selected value.
    Pattern(Pattern),
    /// A CEL program that yields a boolean.
    Cel(cel::Program),
    /// A condition that several others refer to.
    Shared(Arc<Predicate>),
}

impl Predicate {
    /// The condition that every document meets.
    #[must_use]
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// Whether the document meets the condition.
    ///
    /// # Errors
    /// Of the first operand that was reached and has no answer.
    pub fn test(&self, document: &dyn Document) -> Result<bool, EvaluationError> {
        match self {
            Self::All(operands) => {
                for operand in operands {
                    if !operand.test(document)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(operands) => {
                for operand in operands {
                    if operand.test(document)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Pattern(pattern) => pattern.test(document),
            Self::Cel(program) => program.test(document),
            Self::Shared(predicate) => predicate.test(document),
        }
    }
}

/// How a pattern compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `eq`: the text of the value is this one.
    Eq,
    /// `neq`: the text of the value is another one.
    Neq,
    /// `incl`: an element of the array has this text.
    Incl,
    /// `excl`: no element of the array has this text.
    Excl,
    /// `matches`: the regular expression is found in the text of the value.
    Matches,
}

impl FromStr for Operator {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        match name {
            "eq" => Ok(Self::Eq),
            "neq" => Ok(Self::Neq),
            "incl" => Ok(Self::Incl),
            "excl" => Ok(Self::Excl),
            "matches" => Ok(Self::Matches),
            _ => Err(ParseError::new(format!("unsupported operator for json authorization: `{name}`"))),
        }
    }
}

/// What a pattern looks at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The value of a selector.
    Selector(Selector),
    /// The value of a singular JSONPath query, or the array of what another one finds.
    JsonPath(JsonPath),
}

impl From<Selector> for Subject {
    fn from(selector: Selector) -> Self {
        Self::Selector(selector)
    }
}

impl From<JsonPath> for Subject {
    fn from(path: JsonPath) -> Self {
        Self::JsonPath(path)
    }
}

/// A comparison of a selected value with a text that was written down.
#[derive(Clone, Debug)]
pub struct Pattern {
    subject: Subject,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Is { value: Box<str>, negated: bool },
    Includes { value: Box<str>, negated: bool },
    Matches(RegularExpression),
}

impl Pattern {
    /// Prepares a comparison.
    ///
    /// # Errors
    /// When the operator is [`Operator::Matches`] and the value is not a regular expression.
    pub fn new(subject: impl Into<Subject>, operator: Operator, value: &str) -> Result<Self, ParseError> {
        let test = match operator {
            Operator::Eq | Operator::Neq => Test::Is { value: value.into(), negated: operator == Operator::Neq },
            Operator::Incl | Operator::Excl => {
                Test::Includes { value: value.into(), negated: operator == Operator::Excl }
            }
            Operator::Matches => Test::Matches(RegularExpression::parse(value)?),
        };
        Ok(Self { subject: subject.into(), test })
    }

    /// Whether the document fits. A missing value has the empty text and no elements.
    ///
    /// # Errors
    /// When finding the value takes too much work for this document.
    pub fn test(&self, document: &dyn Document) -> Result<bool, EvaluationError> {
        let selected = match &self.subject {
            Subject::Selector(selector) => selector.find(document)?,
            Subject::JsonPath(path) => path.find(document)?,
        };
        Ok(self.test.accepts(&selected))
    }
}

impl Test {
    fn accepts(&self, selected: &Selected<'_>) -> bool {
        let node = selected.node().unwrap_or(Node::Null);
        match self {
            Self::Is { value, negated } => text::node_text_is(node, value) != *negated,
            Self::Includes { value, negated } => includes(node, value) != *negated,
            Self::Matches(expression) => expression.is_match(&text::node_text(node)),
        }
    }
}

/// Whether an element has this text. What is not an array is its own only element, and null has none.
fn includes(node: Node<'_>, value: &str) -> bool {
    match node {
        Node::Null | Node::Json(Value::Null) => false,
        Node::Json(Value::Array(elements)) => {
            elements.iter().any(|element| text::node_text_is(Node::Json(element), value))
        }
        other => text::node_text_is(other, value),
    }
}
