//! Evaluating a query on the view of a document.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::compile::{Comparison, Filter, Operand, Query, Segment, Selector, Start, Step};
use crate::{
    document::Node,
    pattern::regular_expression::RegularExpression,
    selector::{
        budget::{Budget, Overrun},
        is_object, members,
    },
    text,
};

/// The document and what may still be spent on it.
pub(super) struct Evaluation<'a, 'b> {
    pub(super) root: Node<'a>,
    pub(super) budget: &'b mut Budget,
}

/// What a singular query leads to.
pub(super) fn walk<'a>(steps: &[Step], start: Node<'a>) -> Option<Node<'a>> {
    steps.iter().try_fold(start, |node, step| child(step, node))
}

impl<'a> Evaluation<'a, '_> {
    /// All that a query finds, in the order of RFC 9535.
    pub(super) fn nodes(&mut self, query: &Query, current: Node<'a>) -> Result<Vec<Node<'a>>, Overrun> {
        let start = self.start(query.start, current);
        if let Some(steps) = &query.singular {
            self.budget.charge(1 + steps.len())?;
            return Ok(walk(steps, start).into_iter().collect());
        }
        let mut nodes = vec![start];
        for segment in &query.segments {
            let mut found = Vec::new();
            for node in nodes {
                self.segment(segment, node, &mut found)?;
            }
            nodes = found;
        }
        Ok(nodes)
    }

    fn start(&self, start: Start, current: Node<'a>) -> Node<'a> {
        match start {
            Start::Root => self.root,
            Start::Current => current,
        }
    }

    fn segment(&mut self, segment: &Segment, node: Node<'a>, found: &mut Vec<Node<'a>>) -> Result<(), Overrun> {
        // Parents before their children, children in order: the next one is on top.
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            for selector in &segment.selectors {
                self.selector(selector, node, found)?;
            }
            if segment.descends {
                let below = waiting.len();
                self.children(node, |_, child| {
                    waiting.push(child);
                    Ok(())
                })?;
                if let Some(children) = waiting.get_mut(below..) {
                    children.reverse();
                }
            }
        }
        Ok(())
    }

    fn selector(&mut self, selector: &Selector, node: Node<'a>, found: &mut Vec<Node<'a>>) -> Result<(), Overrun> {
        self.budget.charge(1)?;
        match selector {
            Selector::Step(step) => {
                found.extend(child(step, node));
                Ok(())
            }
            Selector::Wildcard => self.children(node, |_, child| {
                found.push(child);
                Ok(())
            }),
            Selector::Slice { start, end, step } => {
                let Node::Json(Value::Array(elements)) = node else {
                    return Ok(());
                };
                for index in slice(*start, *end, *step, elements.len()) {
                    self.budget.charge(1)?;
                    found.extend(elements.get(index).map(Node::Json));
                }
                Ok(())
            }
            Selector::Filter(filter) => self.children(node, |evaluation, child| {
                if evaluation.fits(filter, child)? {
                    found.push(child);
                }
                Ok(())
            }),
        }
    }

    fn children(
        &mut self,
        node: Node<'a>,
        mut visit: impl FnMut(&mut Self, Node<'a>) -> Result<(), Overrun>,
    ) -> Result<(), Overrun> {
        match node {
            Node::Json(Value::Array(elements)) => {
                for element in elements {
                    self.budget.charge(1)?;
                    visit(self, Node::Json(element))?;
                }
            }
            Node::Json(Value::Object(members)) => {
                for member in members.values() {
                    self.budget.charge(1)?;
                    visit(self, Node::Json(member))?;
                }
            }
            Node::Message(..) => {
                for (_, member) in members(node) {
                    self.budget.charge(1)?;
                    visit(self, member)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fits(&mut self, filter: &Filter, current: Node<'a>) -> Result<bool, Overrun> {
        self.budget.charge(1)?;
        match filter {
            Filter::All(operands) => {
                for operand in operands {
                    if !self.fits(operand, current)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Any(operands) => {
                for operand in operands {
                    if self.fits(operand, current)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(operand) => Ok(!self.fits(operand, current)?),
            Filter::Exists(query) => Ok(!self.nodes(query, current)?.is_empty()),
            Filter::Compare(comparison, left, right) => {
                let left = self.operand(left, current)?;
                let right = self.operand(right, current)?;
                self.compare(*comparison, left, right)
            }
            Filter::Fits(text, expression) => {
                let (Some(expression), Some(text)) = (expression, self.text(text, current)?) else {
                    return Ok(false);
                };
                self.budget.charge(text.len())?;
                Ok(expression.is_match(&text))
            }
            Filter::FitsFound { text, expression, whole } => {
                /// What compiling costs, in units, for each byte of an expression.
                const COMPILING: usize = 1_000;
                let (Some(text), Some(expression)) = (self.text(text, current)?, self.text(expression, current)?)
                else {
                    return Ok(false);
                };
                self.budget.charge((100 + expression.len()).saturating_mul(COMPILING).saturating_add(text.len()))?;
                Ok(RegularExpression::interoperable(&expression, *whole)
                    .is_ok_and(|expression| expression.is_match(&text)))
            }
        }
    }

    /// The value of an operand, or nothing.
    fn operand<'o>(&mut self, operand: &'o Operand, current: Node<'a>) -> Result<Option<Node<'o>>, Overrun>
    where
        'a: 'o,
    {
        self.budget.charge(1)?;
        Ok(match operand {
            Operand::Literal(value) => Some(Node::Json(value)),
            Operand::Query(steps, start) => walk(steps, self.start(*start, current)),
            Operand::Length(value) => self.operand(value, current)?.and_then(length).map(Node::Integer),
            Operand::Count(query) => {
                let count = self.nodes(query, current)?.len();
                Some(Node::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            Operand::Value(query) => match self.nodes(query, current)?.as_slice() {
                [node] => Some(*node),
                _ => None,
            },
        })
    }

    fn text<'o>(&mut self, operand: &'o Operand, current: Node<'a>) -> Result<Option<Cow<'o, str>>, Overrun>
    where
        'a: 'o,
    {
        Ok(self.operand(operand, current)?.and_then(as_text))
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: Option<Node<'_>>,
        right: Option<Node<'_>>,
    ) -> Result<bool, Overrun> {
        let equal = |evaluation: &mut Self| match (left, right) {
            (None, None) => Ok(true),
            (Some(left), Some(right)) => evaluation.equal(left, right),
            _ => Ok(false),
        };
        let ordering = match (left, right) {
            (Some(left), Some(right)) => order(left, right),
            _ => None,
        };
        Ok(match comparison {
            Comparison::Equal => equal(self)?,
            Comparison::NotEqual => !equal(self)?,
            Comparison::Less => ordering == Some(Ordering::Less),
            Comparison::Greater => ordering == Some(Ordering::Greater),
            Comparison::LessOrEqual => ordering == Some(Ordering::Less) || equal(self)?,
            Comparison::GreaterOrEqual => ordering == Some(Ordering::Greater) || equal(self)?,
        })
    }

    fn equal(&mut self, left: Node<'_>, right: Node<'_>) -> Result<bool, Overrun> {
        self.budget.charge(1)?;
        if let (Some(left), Some(right)) = (as_text(left), as_text(right)) {
            self.budget.charge(left.len().min(right.len()))?;
            return Ok(left == right);
        }
        if let (Some(left), Some(right)) = (as_number(left), as_number(right)) {
            return Ok(left.cmp(right) == Some(Ordering::Equal));
        }
        match (left, right) {
            (Node::Null | Node::Json(Value::Null), Node::Null | Node::Json(Value::Null)) => Ok(true),
            (
                Node::Bool(left) | Node::Json(&Value::Bool(left)),
                Node::Bool(right) | Node::Json(&Value::Bool(right)),
            ) => Ok(left == right),
            (Node::Json(Value::Array(left)), Node::Json(Value::Array(right))) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !self.equal(Node::Json(left), Node::Json(right))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ if is_object(left) && is_object(right) => {
                let (left, others) = (members(left), members(right).len());
                if left.len() != others {
                    return Ok(false);
                }
                for (name, member) in left {
                    let Some(other) = right.member(&name) else {
                        return Ok(false);
                    };
                    if !self.equal(member, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// One step down. An index below zero counts from the end.
fn child<'a>(step: &Step, node: Node<'a>) -> Option<Node<'a>> {
    match (step, node) {
        (Step::Name(name), _) => node.member(name),
        (Step::Index(index), Node::Json(Value::Array(elements))) => {
            let index = match usize::try_from(*index) {
                Ok(index) => index,
                Err(_) => elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
            };
            elements.get(index).map(Node::Json)
        }
        (Step::Index(_), _) => None,
    }
}

/// The indexes of a slice (RFC 9535, section 2.3.4.2.2).
fn slice(start: Option<i64>, end: Option<i64>, step: i64, length: usize) -> Vec<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = |index: i64| {
        if index >= 0 { index } else { length.saturating_add(index) }
    };
    let mut indexes = Vec::new();
    if step > 0 {
        let mut index = from_start(start.unwrap_or(0)).clamp(0, length);
        let end = from_start(end.unwrap_or(length)).clamp(0, length);
        while index < end {
            indexes.extend(usize::try_from(index));
            index = index.saturating_add(step);
        }
    } else if step < 0 {
        let mut index = from_start(start.unwrap_or(length - 1)).clamp(-1, length - 1);
        let end = match end {
            Some(end) => from_start(end).clamp(-1, length - 1),
            None => -1,
        };
        while index > end {
            indexes.extend(usize::try_from(index));
            index = index.saturating_add(step);
        }
    }
    indexes
}

/// The number of characters, elements or members.
fn length(node: Node<'_>) -> Option<i64> {
    let length = match node {
        Node::Json(Value::Array(elements)) => elements.len(),
        _ if is_object(node) => members(node).len(),
        _ => as_text(node)?.chars().count(),
    };
    i64::try_from(length).ok()
}

fn as_text(node: Node<'_>) -> Option<Cow<'_, str>> {
    match node {
        Node::Text(_) | Node::Bytes(_) | Node::Json(Value::String(_)) => Some(text::node_text(node)),
        _ => None,
    }
}

/// Integers are compared as such: neighbours beyond 2^53 differ.
#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Double(f64),
}

impl Number {
    fn cmp(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            (left, right) => left.double().partial_cmp(&right.double()),
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
        }
    }
}

fn as_number(node: Node<'_>) -> Option<Number> {
    match node {
        Node::Integer(integer) => Some(Number::Integer(integer.into())),
        Node::Json(Value::Number(number)) => {
            number.as_i128().map(Number::Integer).or_else(|| number.as_f64().map(Number::Double))
        }
        _ => None,
    }
}

/// Which of two numbers or two texts is less. Other values have no order.
fn order(left: Node<'_>, right: Node<'_>) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (as_number(left), as_number(right)) {
        return left.cmp(right);
    }
    Some(as_text(left)?.cmp(&as_text(right)?))
}
