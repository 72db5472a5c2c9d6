//! JSONPath as RFC 9535 has it: `$.auth.identity.roles[?@.scope == 'admin'].name`.
//!
//! A query is parsed, checked for types (RFC 9535, section 2.4.3) and turned into a form of our own when it is loaded.
//! That form walks the document's view, so nothing that the query does not name is ever made into JSON, and it works
//! within a budget: segments that descend, and filters in filters, multiply.

mod compile;
mod evaluate;
mod references;

use serde_json::Value;

use self::evaluate::Evaluation;
use crate::{
    document::{Document, Node, Part},
    error::{EvaluationError, ParseError},
    selector::{
        Selected,
        budget::{Budget, Overrun},
    },
};

/// A JSONPath query.
#[derive(Clone, Debug)]
pub struct JsonPath {
    source: Box<str>,
    query: compile::Query,
}

impl JsonPath {
    /// Parses a query, which starts with `$`.
    ///
    /// # Errors
    /// When it is not a well-formed and well-typed query of RFC 9535, or longer or nested deeper than is allowed.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self { source: source.into(), query: compile::compile(source)? })
    }

    /// The query as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Of a singular query (names and indexes only), the value or null; of any other, an array of all values.
    #[must_use]
    pub fn select(&self, document: &dyn Document) -> Value {
        self.try_select(document).unwrap_or(Value::Null)
    }

    /// The value as [`select`](Self::select) gives it.
    ///
    /// # Errors
    /// When the query takes too much work for this document.
    pub fn try_select(&self, document: &dyn Document) -> Result<Value, EvaluationError> {
        Ok(match self.find(document)? {
            Selected::Missing => Value::Null,
            Selected::Node(node) => node.to_value(),
            Selected::Value(value) => value,
        })
    }

    /// Evaluates the query; a singular one without a copy.
    pub(crate) fn find<'a>(&self, document: &'a dyn Document) -> Result<Selected<'a>, EvaluationError> {
        let root = Node::Message(document, Part::ROOT);
        if let Some(steps) = &self.query.singular {
            return Ok(evaluate::walk(steps, root).map_or(Selected::Missing, Selected::Node));
        }
        self.collect(root).map(Selected::Value).map_err(|overrun| overrun.of("query", &self.source))
    }

    fn collect(&self, root: Node<'_>) -> Result<Value, Overrun> {
        let mut budget = Budget::new();
        let found = Evaluation { root, budget: &mut budget }.nodes(&self.query, root)?;
        let values = found.into_iter().map(|node| crate::selector::copy(node, &mut budget));
        Ok(Value::Array(values.collect::<Result<_, _>>()?))
    }
}
