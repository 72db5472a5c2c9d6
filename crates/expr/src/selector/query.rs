//! Conditions on the elements of an array: `#(path operator value)`.

use super::{
    Selected,
    budget::{Budget, Overrun},
    path::Path,
    walk::is_object,
    wildcard::Wildcard,
};
use crate::document::Node;
use serde_json::Value;

/// Which elements are wanted, and what of them.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// Where in the element the value is that is tested; `None` for the element itself, which then must not be an
    /// object or array.
    pub(super) path: Option<Path>,
    pub(super) test: Test,
    /// All elements that fit, not only the first.
    pub(super) all: bool,
    /// What is taken from an element that fits; `None` for all of it.
    pub(super) then: Option<Path>,
    /// Whether it could be the name of a member: an object takes it for one.
    pub(super) is_name: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists,
    /// Compares with the right side as the type of the left side has it.
    Compare {
        comparison: Comparison,
        text: String,
        number: Option<f64>,
    },
    /// Compares whether the value is truthy (missing values are not) with `true` or `false`.
    Truth {
        comparison: Comparison,
        truth: bool,
    },
    /// Strings that fit a pattern, or that do not.
    Like {
        pattern: Wildcard,
        negated: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Query {
    pub(super) fn fits(&self, element: Node<'_>, budget: &mut Budget) -> Result<bool, Overrun> {
        let container = is_object(element) || matches!(element, Node::Json(Value::Array(_)));
        let subject = match (&self.path, container) {
            (Some(path), true) => path.follow(Selected::Node(element), budget)?,
            (None, true) => Selected::Missing,
            (Some(_), false) => return Ok(false),
            (None, false) => Selected::Node(element),
        };
        self.test.accepts(subject.node(), budget)
    }
}

impl Test {
    fn accepts(&self, subject: Option<Node<'_>>, budget: &mut Budget) -> Result<bool, Overrun> {
        if let Self::Truth { comparison, truth } = self {
            return Ok(comparison.holds_for_booleans(subject.is_some_and(is_true), Some(*truth)));
        }
        let Some(subject) = subject else {
            return Ok(false);
        };
        let scalar = Scalar::of(subject);
        Ok(match self {
            Self::Exists => true,
            Self::Truth { .. } => false,
            Self::Compare { comparison, text, number } => match scalar {
                Scalar::Text(found) => comparison.holds(found.as_ref().cmp(text.as_str())),
                Scalar::Number(found) => match number.and_then(|number| found.partial_cmp(&number)) {
                    Some(ordering) => comparison.holds(ordering),
                    None => *comparison == Comparison::NotEqual,
                },
                Scalar::Bool(found) => comparison.holds_for_booleans(found, text.parse().ok()),
                Scalar::Other => false,
            },
            Self::Like { pattern, negated } => match scalar {
                Scalar::Text(found) => pattern.matches(&found, budget)? != *negated,
                _ => false,
            },
        })
    }
}

impl Comparison {
    fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// `false` is less than `true`. A right side that is neither (`None`) differs from both, and is not compared
    /// further: what is largest is at least anything, what is smallest at most anything.
    fn holds_for_booleans(self, left: bool, right: Option<bool>) -> bool {
        match right {
            Some(right) => self.holds(left.cmp(&right)),
            None => match self {
                Self::NotEqual => true,
                Self::GreaterOrEqual => left,
                Self::LessOrEqual => !left,
                Self::Equal | Self::Less | Self::Greater => false,
            },
        }
    }
}

enum Scalar<'a> {
    Text(std::borrow::Cow<'a, str>),
    Number(f64),
    Bool(bool),
    Other,
}

impl<'a> Scalar<'a> {
    fn of(node: Node<'a>) -> Self {
        match node {
            Node::Text(_) | Node::Bytes(_) | Node::Json(Value::String(_)) => Self::Text(crate::text::node_text(node)),
            Node::Integer(integer) => Self::Number(integer as f64),
            Node::Json(Value::Number(number)) => number.as_f64().map_or(Self::Other, Self::Number),
            Node::Bool(value) | Node::Json(&Value::Bool(value)) => Self::Bool(value),
            Node::Null | Node::Json(_) | Node::Message(..) => Self::Other,
        }
    }
}

/// Truthy: `true`, numbers other than zero, and the strings `1`, `t` and `true` in any case.
fn is_true(node: Node<'_>) -> bool {
    match Scalar::of(node) {
        Scalar::Text(text) => ["1", "t", "true"].iter().any(|truth| text.eq_ignore_ascii_case(truth)),
        Scalar::Number(number) => number != 0.0,
        Scalar::Bool(value) => value,
        Scalar::Other => false,
    }
}
