//! Modifiers: `@name` or `@name:argument`, what they make of a value.
//!
//! Those that change text work on the text that a value means, not on its JSON notation: quotes, line breaks and
//! ampersands come through whole, and what comes out is a proper string.

mod base64;
mod json;

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use self::{base64::decode_leniently, json::Unambiguous};
use super::{
    Selected,
    budget::{Budget, Overrun},
    walk::{is_object, members, owned},
};
use crate::{document::Node, error::ParseError, text};

/// A modifier with its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Modifier {
    /// `@this`, `@valid`, `@ugly` and whatever has an argument that means nothing to it: the value as it is.
    This,
    /// `@pretty`: layout is not part of a value, so only the order of members can change.
    Pretty {
        sort_keys: bool,
    },
    Reverse,
    /// `@flatten`: the elements of arrays in an array.
    Flatten {
        deep: bool,
    },
    /// `@join`: one object of several. With `preserve`, the first of several members of one name is kept.
    Join {
        preserve: bool,
    },
    Keys,
    Values,
    /// `@tostr`: JSON as a string.
    ToString,
    /// `@fromstr`: a string as JSON.
    FromString,
    /// `@group`: an array of objects of an object of arrays.
    Group,
    /// `@extract`: one part of the text. `None` is a position before the first.
    Extract {
        separator: String,
        position: Option<usize>,
    },
    Replace {
        old: String,
        new: String,
    },
    Upper,
    Lower,
    Base64Encode,
    Base64Decode,
    /// `@strip`: without characters that cannot be printed.
    Strip,
}

impl Modifier {
    /// Whether there is a modifier of this name; `@anything-else` is the name of a member.
    pub(super) fn exists(name: &str) -> bool {
        const NAMES: [&str; 17] = [
            "this", "valid", "ugly", "pretty", "reverse", "flatten", "join", "keys", "values", "tostr", "fromstr",
            "group", "extract", "replace", "case", "base64", "strip",
        ];
        NAMES.contains(&name)
    }

    /// The modifier of this name with this argument. An argument that is not JSON where JSON is asked for counts as
    /// an empty one.
    ///
    /// # Errors
    /// When an option has a value that it cannot have.
    pub(super) fn new(name: &str, argument: Option<&str>) -> Result<Self, ParseError> {
        let options = Options::parse(argument.unwrap_or_default());
        Ok(match name {
            "pretty" => Self::Pretty { sort_keys: options.truth("sortKeys") },
            "reverse" => Self::Reverse,
            "flatten" => Self::Flatten { deep: options.truth("deep") },
            "join" => Self::Join { preserve: options.truth("preserve") },
            "keys" => Self::Keys,
            "values" => Self::Values,
            "tostr" => Self::ToString,
            "fromstr" => Self::FromString,
            "group" => Self::Group,
            "extract" => Self::Extract {
                separator: options.text("sep").unwrap_or_else(|| " ".to_owned()),
                position: options.position()?,
            },
            "replace" if argument.is_none() => Self::This,
            "replace" => Self::Replace {
                old: options.text("old").unwrap_or_default(),
                new: options.text("new").unwrap_or_default(),
            },
            "case" if argument == Some("upper") => Self::Upper,
            "case" if argument == Some("lower") => Self::Lower,
            "base64" if argument == Some("encode") => Self::Base64Encode,
            "base64" if argument == Some("decode") => Self::Base64Decode,
            "strip" => Self::Strip,
            _ => Self::This,
        })
    }

    /// What the modifier makes of a value, or of nothing: nothing has the empty text.
    pub(super) fn apply<'a>(&self, input: Selected<'a>, budget: &mut Budget) -> Result<Selected<'a>, Overrun> {
        match self {
            Self::This => Ok(input),
            Self::Pretty { sort_keys: false } => Ok(input),
            Self::Pretty { sort_keys: true } => change(input, budget, |value| Some(sorted(value))),
            Self::Reverse => change(input, budget, |value| {
                Some(match value {
                    Value::Array(elements) => Value::Array(elements.into_iter().rev().collect()),
                    Value::Object(members) => Value::Object(members.into_iter().rev().collect()),
                    other => other,
                })
            }),
            Self::Flatten { deep } => change(input, budget, |value| {
                Some(match value {
                    Value::Array(elements) => Value::Array(flattened(elements, *deep)),
                    other => other,
                })
            }),
            Self::Join { preserve } => change(input, budget, |value| {
                Some(match value {
                    Value::Array(elements) => Value::Object(joined(elements, *preserve)),
                    other => other,
                })
            }),
            Self::Keys => keys(&input, budget),
            Self::Values => Ok(match input.node() {
                None => Selected::Value(Value::Array(Vec::new())),
                Some(Node::Json(Value::Array(_))) => input,
                Some(_) => change(input, budget, |value| {
                    Some(Value::Array(match value {
                        Value::Object(members) => members.into_iter().map(|(_, member)| member).collect(),
                        scalar => vec![scalar],
                    }))
                })?,
            }),
            Self::ToString => {
                let json = match input.node() {
                    None => String::new(),
                    Some(_) => text::json(&owned(input, budget)?.unwrap_or_default()),
                };
                string(json, budget)
            }
            Self::FromString => {
                let text = text_of(input, budget)?;
                budget.charge(text.len().saturating_mul(2))?;
                Ok(serde_json::from_str::<Unambiguous>(&text)
                    .map_or(Selected::Missing, |Unambiguous(value)| Selected::Value(value)))
            }
            Self::Group => change(input, budget, grouped),
            Self::Extract { separator, position } => extract(input, separator, *position, budget),
            Self::Replace { old, new } => {
                let text = text_of(input, budget)?;
                budget.charge(text.matches(old.as_str()).count().saturating_mul(new.len()))?;
                string(text.replace(old.as_str(), new), budget)
            }
            Self::Upper => change_case(input, Case::Upper, budget),
            Self::Lower => change_case(input, Case::Lower, budget),
            Self::Base64Encode => {
                use ::base64::Engine as _;
                let text = text_of(input, budget)?;
                budget.charge(text.len().saturating_mul(2))?;
                string(::base64::engine::general_purpose::STANDARD.encode(text.as_bytes()), budget)
            }
            Self::Base64Decode => {
                let text = text_of(input, budget)?;
                budget.charge(text.len())?;
                string(String::from_utf8_lossy(&decode_leniently(&text)).into_owned(), budget)
            }
            Self::Strip => change(input, budget, |value| {
                Some(in_all_text(value, &|text| match NOT_PRINTABLE.as_ref() {
                    Some(expression) => expression.replace_all(text, "").into_owned(),
                    None => text.to_owned(),
                }))
            }),
        }
    }
}

/// Everything but letters, marks, numbers, punctuation, symbols and the space.
static NOT_PRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[^\p{L}\p{M}\p{N}\p{P}\p{S} ]+").ok());

/// The members of an argument that is a JSON object.
struct Options(Map<String, Value>);

impl Options {
    fn parse(argument: &str) -> Self {
        match serde_json::from_str(argument) {
            Ok(Unambiguous(Value::Object(members))) => Self(members),
            _ => Self(Map::new()),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| text::node_text(Node::Json(value)).into_owned())
    }

    fn truth(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => ["1", "t", "true"].iter().any(|truth| text.eq_ignore_ascii_case(truth)),
            _ => false,
        }
    }

    /// `pos`, a whole number, perhaps in quotes. What is below zero is no position.
    fn position(&self) -> Result<Option<usize>, ParseError> {
        let number = match self.0.get("pos") {
            None => return Ok(Some(0)),
            Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_f64().map(|double| double as i64)),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) => Ok(usize::try_from(number).ok()),
            None => Err(ParseError::new("`pos` of `@extract` must be a whole number")),
        }
    }
}

/// Lets `make` change an owned value; nothing stays nothing.
fn change<'a>(
    input: Selected<'a>,
    budget: &mut Budget,
    make: impl FnOnce(Value) -> Option<Value>,
) -> Result<Selected<'a>, Overrun> {
    // A value that was made already is gone through as well, so it is paid for like a copied one.
    if let Selected::Value(value) = &input {
        super::walk::charge(Node::Json(value), budget)?;
    }
    Ok(owned(input, budget)?.and_then(make).map_or(Selected::Missing, Selected::Value))
}

/// The text of what was selected, empty for nothing.
fn text_of<'a>(input: Selected<'a>, budget: &mut Budget) -> Result<Cow<'a, str>, Overrun> {
    let text = match input {
        Selected::Missing => Cow::Borrowed(""),
        Selected::Node(node) => text::node_text(node),
        Selected::Value(Value::String(text)) => Cow::Owned(text),
        Selected::Value(value) => Cow::Owned(text::node_text(Node::Json(&value)).into_owned()),
    };
    budget.charge(text.len())?;
    Ok(text)
}

fn string<'a>(text: String, budget: &mut Budget) -> Result<Selected<'a>, Overrun> {
    budget.charge(text.len())?;
    Ok(Selected::Value(Value::String(text)))
}

fn extract<'a>(
    input: Selected<'a>,
    separator: &str,
    position: Option<usize>,
    budget: &mut Budget,
) -> Result<Selected<'a>, Overrun> {
    let Some(position) = position else {
        return Ok(Selected::Missing);
    };
    Ok(match text_of(input, budget)? {
        Cow::Borrowed(text) => {
            part(text, separator, position).map_or(Selected::Missing, |part| Selected::Node(Node::Text(part)))
        }
        Cow::Owned(text) => part(&text, separator, position)
            .map_or(Selected::Missing, |part| Selected::Value(Value::String(part.to_owned()))),
    })
}

/// One part of a text. An empty separator parts the text into its characters.
fn part<'t>(text: &'t str, separator: &str, position: usize) -> Option<&'t str> {
    if separator.is_empty() {
        let (start, character) = text.char_indices().nth(position)?;
        text.get(start..start + character.len_utf8())
    } else {
        text.split(separator).nth(position)
    }
}

#[derive(Clone, Copy)]
enum Case {
    Upper,
    Lower,
}

/// Strings and the names of members in the other case. `TRUE` is not JSON, so `true` has no upper case.
fn change_case<'a>(input: Selected<'a>, case: Case, budget: &mut Budget) -> Result<Selected<'a>, Overrun> {
    change(input, budget, |value| match (&value, case) {
        (Value::Bool(_) | Value::Null, Case::Upper) => None,
        _ => Some(in_all_text(value, &|text| text.chars().map(|character| case.of(character)).collect())),
    })
}

impl Case {
    /// The character in this case, if that is one character too; others stay, so that a text keeps its length.
    fn of(self, character: char) -> char {
        fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
            mapped.next().filter(|_| mapped.next().is_none())
        }
        match self {
            Self::Upper => only(character.to_uppercase()),
            Self::Lower => only(character.to_lowercase()),
        }
        .unwrap_or(character)
    }
}

/// Changes strings and names of members wherever they are in a value.
fn in_all_text(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(elements) => {
            Value::Array(elements.into_iter().map(|element| in_all_text(element, change)).collect())
        }
        Value::Object(members) => {
            let mut changed = Map::new();
            for (name, member) in members {
                changed.entry(change(&name)).or_insert_with(|| in_all_text(member, change));
            }
            Value::Object(changed)
        }
        other => other,
    }
}

fn keys<'a>(input: &Selected<'a>, budget: &mut Budget) -> Result<Selected<'a>, Overrun> {
    let keys = match input.node() {
        None => Vec::new(),
        Some(node) if is_object(node) => members(node).into_iter().map(|(name, _)| Value::from(name)).collect(),
        Some(Node::Json(Value::Array(elements))) => vec![Value::Null; elements.len()],
        Some(_) => vec![Value::Null],
    };
    let keys = Value::Array(keys);
    super::walk::charge(Node::Json(&keys), budget)?;
    Ok(Selected::Value(keys))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(name, member)| (name, sorted(member))).collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn flattened(elements: Vec<Value>, deep: bool) -> Vec<Value> {
    let mut flat = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Value::Array(inner) if deep => flat.extend(flattened(inner, deep)),
            Value::Array(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    flat
}

fn joined(elements: Vec<Value>, preserve: bool) -> Map<String, Value> {
    let mut all = Map::new();
    for element in elements {
        let Value::Object(members) = element else {
            continue;
        };
        for (name, member) in members {
            if preserve {
                all.entry(name).or_insert(member);
            } else {
                all.insert(name, member);
            }
        }
    }
    all
}

/// `{"a":[1,2],"b":[3]}` becomes `[{"a":1,"b":3},{"a":2}]`. What is not an object has no groups.
fn grouped(value: Value) -> Option<Value> {
    let Value::Object(members) = value else {
        return None;
    };
    let mut groups: Vec<Map<String, Value>> = Vec::new();
    for (name, member) in members {
        let Value::Array(elements) = member else {
            continue;
        };
        for (index, element) in elements.into_iter().enumerate() {
            match groups.get_mut(index) {
                Some(group) => {
                    group.insert(name.clone(), element);
                }
                None => groups.push(Map::from_iter([(name.clone(), element)])),
            }
        }
    }
    Some(Value::Array(groups.into_iter().map(Value::Object).collect()))
}
