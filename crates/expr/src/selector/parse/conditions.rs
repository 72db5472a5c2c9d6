//! Reading conditions: `(path operator value)` and what follows.

use super::{Parser, Read, end_of_string};
use crate::{
    error::ParseError,
    selector::{
        path::Link,
        query::{Comparison, Query, Test},
        wildcard::Wildcard,
    },
};

impl Parser {
    /// A condition in parentheses or brackets, perhaps `#` for all, perhaps a path into what fits.
    pub(super) fn query<'s>(&mut self, source: &'s str) -> Read<'s, Link> {
        self.step()?;
        let (condition, operator, after) = split(source)?;
        let (path, test) = match operator {
            None => (condition, Test::Exists),
            Some(at) => {
                let (path, test) = condition.split_at(at);
                (path, test_of(trim(test))?)
            }
        };
        let path = match trim(path) {
            "" => None,
            path => Some(self.whole_path(path)?),
        };
        let (all, after) = match after.strip_prefix('#') {
            Some(after) => (true, after),
            None => (false, after),
        };
        let is_name = is_name(source.strip_suffix(after).unwrap_or_default());
        let (then, after) = match after.as_bytes().first() {
            Some(b'.') => {
                let (path, after) = self.element_path(after.get(1..).unwrap_or_default())?;
                (Some(path), after)
            }
            _ => (None, after),
        };
        Ok((Link::Query(Box::new(Query { path, test, all, then, is_name })), after))
    }
}

/// What is inside the parentheses, where in it the operator starts, and what is after them.
fn split(source: &str) -> Result<(&str, Option<usize>, &str), ParseError> {
    let bytes = source.as_bytes();
    let mut depth = 1_usize;
    let mut operator = None;
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'!' | b'=' | b'<' | b'>' | b'%' if depth == 1 && operator.is_none() => operator = Some(at - 1),
            b'\\' => at += 1,
            b'[' | b'(' => depth += 1,
            b']' | b')' => depth -= 1,
            b'"' => at = end_of_string(bytes, at) - 1,
            _ => {}
        }
        if depth == 0 {
            let condition = source.get(1..at).unwrap_or_default();
            return Ok((condition, operator, source.get(at + 1..).unwrap_or_default()));
        }
        at += 1;
    }
    Err(ParseError::new(format!("condition `#{source}` is not closed")))
}

/// Whether a text has no separator that is not escaped.
fn is_name(text: &str) -> bool {
    let mut escaped = false;
    !text.bytes().any(|byte| {
        let separates = matches!(byte, b'.' | b'|') && !escaped;
        escaped = byte == b'\\' && !escaped;
        separates
    })
}

/// An operator and its right side.
fn test_of(source: &str) -> Result<Test, ParseError> {
    /// Longer operators first: they start like shorter ones.
    const OPERATORS: [(&str, Operator); 10] = [
        ("!=", Operator::Compare(Comparison::NotEqual)),
        ("!%", Operator::Like { negated: true }),
        ("<=", Operator::Compare(Comparison::LessOrEqual)),
        (">=", Operator::Compare(Comparison::GreaterOrEqual)),
        ("==", Operator::Compare(Comparison::Equal)),
        ("<", Operator::Compare(Comparison::Less)),
        (">", Operator::Compare(Comparison::Greater)),
        ("=", Operator::Compare(Comparison::Equal)),
        ("%", Operator::Like { negated: false }),
        ("!", Operator::None),
    ];
    let (operator, right) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((*operator, trim(source.strip_prefix(sign)?))))
        .unwrap_or((Operator::None, source));
    let quoted = right.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match operator {
        Operator::None => Err(ParseError::new(format!(
            "`{source}` is no operator with a value: use one of ==, !=, <, <=, >, >=, %, !%"
        ))),
        Operator::Like { negated } => {
            let pattern = match quoted {
                Some(text) => Wildcard::parse(&unescape(text)),
                None => Wildcard::parse(right),
            };
            Ok(Test::Like { pattern, negated })
        }
        Operator::Compare(comparison) => {
            let truth = match quoted.unwrap_or(right) {
                "~true" => Some(true),
                "~false" => Some(false),
                _ => None,
            };
            match (truth, quoted) {
                (Some(truth), _) => Ok(Test::Truth { comparison, truth }),
                (None, None) if right.starts_with('~') => {
                    Err(ParseError::new(format!("`{right}`: after `~` stands `true` or `false`")))
                }
                _ => {
                    let text = quoted.map_or_else(|| right.to_owned(), unescape);
                    Ok(Test::Compare { comparison, number: text.parse().ok(), text })
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Compare(Comparison),
    Like { negated: bool },
    None,
}

/// Without blanks and control characters on both sides.
fn trim(text: &str) -> &str {
    text.trim_matches(|character: char| character <= ' ')
}

/// The text of a JSON string. An escape that JSON does not know stays as it is, for patterns in which it has a
/// meaning (`\*`).
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    if let Ok(text) = serde_json::from_str(&format!("\"{text}\"")) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some(quoted @ ('"' | '/')) => plain.push(quoted),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            (other, false) => plain.push(other),
        }
    }
    plain
}
