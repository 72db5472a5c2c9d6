//! From the text of a query to the form that is evaluated.

use jsonpath_rust::parser::{self, model};
use serde_json::Value;

use crate::{error::ParseError, pattern::regular_expression::RegularExpression};

/// The longest query, in bytes.
const LENGTH: usize = 4 << 10;
/// How deep brackets and parentheses may nest. The grammar reads some nested parts up to three times, once more on
/// each level.
const NESTING: usize = 8;

/// A query that starts at the root or at the element that a filter looks at.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) start: Start,
    pub(super) segments: Vec<Segment>,
    /// The steps of a query that leads to at most one value.
    pub(super) singular: Option<Vec<Step>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Root,
    Current,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Name(String),
    Index(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Whether it is applied to everything below as well.
    pub(super) descends: bool,
    pub(super) selectors: Vec<Selector>,
}

#[derive(Clone, Debug)]
pub(super) enum Selector {
    Step(Step),
    Wildcard,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Filter),
}

#[derive(Clone, Debug)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Query),
    Compare(Comparison, Operand, Operand),
    /// The text fits an expression that stands in the query; `None` if that is not one, so that nothing fits.
    Fits(Operand, Option<RegularExpression>),
    /// The text fits an expression that is found in the document.
    FitsFound {
        text: Operand,
        expression: Operand,
        whole: bool,
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

/// What a comparison compares: a value, or nothing.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// The value of a singular query.
    Query(Vec<Step>, Start),
    Length(Box<Operand>),
    Count(Query),
    /// The value of a query that finds exactly one.
    Value(Query),
}

pub(super) fn compile(source: &str) -> Result<Query, ParseError> {
    if source.len() > LENGTH {
        return Err(ParseError::new(format!("query is longer than {LENGTH} bytes")));
    }
    if nesting(source) > NESTING {
        return Err(ParseError::new(format!("query nests deeper than {NESTING} levels")));
    }
    let parsed = parser::parse_json_path(source).map_err(|error| ParseError::new(describe(source, &error)))?;
    query(Start::Root, &parsed.segments)
}

fn query(start: Start, segments: &[model::Segment]) -> Result<Query, ParseError> {
    let segments = segments.iter().map(|part| segment(part, false)).collect::<Result<Vec<_>, _>>()?;
    let singular = segments
        .iter()
        .map(|segment| match segment.selectors.as_slice() {
            [Selector::Step(step)] if !segment.descends => Some(step.clone()),
            _ => None,
        })
        .collect();
    Ok(Query { start, segments, singular })
}

fn segment(segment_model: &model::Segment, descends: bool) -> Result<Segment, ParseError> {
    match segment_model {
        model::Segment::Descendant(inner) => segment(inner, true),
        model::Segment::Selector(one) => Ok(Segment { descends, selectors: vec![selector(one)?] }),
        model::Segment::Selectors(several) => {
            Ok(Segment { descends, selectors: several.iter().map(selector).collect::<Result<_, _>>()? })
        }
    }
}

fn selector(selector: &model::Selector) -> Result<Selector, ParseError> {
    Ok(match selector {
        model::Selector::Name(name) => Selector::Step(Step::Name(name.clone())),
        model::Selector::Index(index) => Selector::Step(Step::Index(*index)),
        model::Selector::Wildcard => Selector::Wildcard,
        model::Selector::Slice(start, end, step) => {
            Selector::Slice { start: *start, end: *end, step: step.unwrap_or(1) }
        }
        model::Selector::Filter(inner) => Selector::Filter(filter(inner)?),
    })
}

fn filter(filter_model: &model::Filter) -> Result<Filter, ParseError> {
    Ok(match filter_model {
        model::Filter::Or(operands) => Filter::Any(operands.iter().map(filter).collect::<Result<_, _>>()?),
        model::Filter::And(operands) => Filter::All(operands.iter().map(filter).collect::<Result<_, _>>()?),
        model::Filter::Atom(model::FilterAtom::Filter { expr, not }) => negated(filter(expr)?, *not),
        model::Filter::Atom(model::FilterAtom::Test { expr, not }) => negated(test(expr)?, *not),
        model::Filter::Atom(model::FilterAtom::Comparison(comparison)) => compare(comparison)?,
    })
}

fn negated(filter: Filter, not: bool) -> Filter {
    if not { Filter::Not(Box::new(filter)) } else { filter }
}

fn test(test: &model::Test) -> Result<Filter, ParseError> {
    match test {
        model::Test::RelQuery(segments) => query(Start::Current, segments).map(Filter::Exists),
        model::Test::AbsQuery(inner) => query(Start::Root, &inner.segments).map(Filter::Exists),
        model::Test::Function(function) => match function.as_ref() {
            model::TestFunction::Match(text, expression) => fits(text, expression, true),
            model::TestFunction::Search(text, expression) => fits(text, expression, false),
            model::TestFunction::Custom(name, _) => Err(unknown(name)),
            _ => Err(ParseError::new("the value of a function must be compared: it is not true or false by itself")),
        },
    }
}

fn fits(text: &model::FnArg, expression: &model::FnArg, whole: bool) -> Result<Filter, ParseError> {
    let text = argument(text)?;
    Ok(match argument(expression)? {
        Operand::Literal(Value::String(expression)) => {
            Filter::Fits(text, Some(RegularExpression::interoperable(&expression, whole)?))
        }
        Operand::Literal(_) => Filter::Fits(text, None),
        expression => Filter::FitsFound { text, expression, whole },
    })
}

fn compare(comparison: &model::Comparison) -> Result<Filter, ParseError> {
    let (kind, left, right) = match comparison {
        model::Comparison::Eq(left, right) => (Comparison::Equal, left, right),
        model::Comparison::Ne(left, right) => (Comparison::NotEqual, left, right),
        model::Comparison::Lt(left, right) => (Comparison::Less, left, right),
        model::Comparison::Lte(left, right) => (Comparison::LessOrEqual, left, right),
        model::Comparison::Gt(left, right) => (Comparison::Greater, left, right),
        model::Comparison::Gte(left, right) => (Comparison::GreaterOrEqual, left, right),
    };
    Ok(Filter::Compare(kind, operand(left)?, operand(right)?))
}

fn operand(comparable: &model::Comparable) -> Result<Operand, ParseError> {
    match comparable {
        model::Comparable::Literal(value) => literal(value),
        model::Comparable::Function(call) => function(call),
        model::Comparable::SingularQuery(model::SingularQuery::Current(steps)) => {
            Ok(Operand::Query(steps.iter().map(step).collect(), Start::Current))
        }
        model::Comparable::SingularQuery(model::SingularQuery::Root(steps)) => {
            Ok(Operand::Query(steps.iter().map(step).collect(), Start::Root))
        }
    }
}

fn step(segment: &model::SingularQuerySegment) -> Step {
    match segment {
        model::SingularQuerySegment::Name(name) => Step::Name(name.clone()),
        model::SingularQuerySegment::Index(index) => Step::Index(*index),
    }
}

/// A function that yields a value.
fn function(function: &model::TestFunction) -> Result<Operand, ParseError> {
    match function {
        model::TestFunction::Length(value) => Ok(Operand::Length(Box::new(argument(value)?))),
        model::TestFunction::Count(nodes) => Ok(Operand::Count(nodes_argument(nodes, "count")?)),
        model::TestFunction::Value(nodes) => Ok(Operand::Value(nodes_argument(nodes, "value")?)),
        model::TestFunction::Custom(name, _) => Err(unknown(name)),
        model::TestFunction::Search(..) | model::TestFunction::Match(..) => {
            Err(ParseError::new("`match` and `search` are true or false: they cannot be compared"))
        }
    }
}

/// An argument that must be a value: a literal, a singular query, a function that yields a value.
fn argument(argument: &model::FnArg) -> Result<Operand, ParseError> {
    let singular = |query: Query| match (query.singular, query.start) {
        (Some(steps), start) => Ok(Operand::Query(steps, start)),
        (None, _) => {
            Err(ParseError::new("a query that may find several values is no argument here: use `value` or `count`"))
        }
    };
    match argument {
        model::FnArg::Literal(value) => literal(value),
        model::FnArg::Test(test) => match test.as_ref() {
            model::Test::RelQuery(segments) => singular(query(Start::Current, segments)?),
            model::Test::AbsQuery(inner) => singular(query(Start::Root, &inner.segments)?),
            model::Test::Function(call) => function(call),
        },
        model::FnArg::Filter(_) => Err(ParseError::new("a condition is no argument of a function")),
    }
}

/// An argument that must be a query, whatever it finds.
fn nodes_argument(argument: &model::FnArg, function: &str) -> Result<Query, ParseError> {
    if let model::FnArg::Test(test) = argument {
        match test.as_ref() {
            model::Test::RelQuery(segments) => return query(Start::Current, segments),
            model::Test::AbsQuery(inner) => return query(Start::Root, &inner.segments),
            model::Test::Function(_) => {}
        }
    }
    Err(ParseError::new(format!("the argument of `{function}` must be a query")))
}

fn literal(literal: &model::Literal) -> Result<Operand, ParseError> {
    Ok(Operand::Literal(match literal {
        model::Literal::Int(integer) => Value::from(*integer),
        model::Literal::Float(double) if double.is_finite() => Value::from(*double),
        model::Literal::Float(_) => return Err(ParseError::new("a number is out of range")),
        model::Literal::String(text) => Value::from(text.as_str()),
        model::Literal::Bool(value) => Value::from(*value),
        model::Literal::Null => Value::Null,
    }))
}

fn unknown(function: &str) -> ParseError {
    ParseError::new(format!(
        "`{function}` is no function of JSONPath: there are `length`, `count`, `match`, `search` and `value`"
    ))
}

/// The deepest nesting of brackets and parentheses outside of strings.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest, mut quote) = (0_usize, 0, None);
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(opened), closed) if opened == closed => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '(' | '[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    deepest
}

/// What is wrong with a query, in a line of our own: the parser draws a picture and names its rules.
fn describe(source: &str, error: &parser::errors::JsonPathError) -> String {
    let text = error.to_string();
    let column = text
        .split_once("--> 1:")
        .and_then(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<usize>().ok());
    match column {
        Some(column) => {
            let rest: String = source.chars().skip(column.saturating_sub(1)).collect();
            if rest.is_empty() {
                format!("`{source}` is no JSONPath query: it ends too early")
            } else {
                format!("`{source}` is no JSONPath query: unexpected `{rest}`")
            }
        }
        None => format!("`{source}` is no JSONPath query"),
    }
}
