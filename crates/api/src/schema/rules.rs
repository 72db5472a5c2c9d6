//! Rules about fields together: exactly one of these, at most one, and so on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::LabelSelector;
use crate::common::{found, quoted};

/// The member of a JSON Schema that holds the [`Rule`]s of an object.
pub(super) const RULES: &str = "x-usher-rules";
/// The member of a JSON Schema that keeps its rules out of the schema for the Kubernetes API.
pub(super) const NOT_PUBLISHED: &str = "x-usher-rules-not-published";

/// One rule about the fields of an object. A field counts as given even if it is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Rule {
    /// Exactly one of the fields is given.
    ExactlyOne { fields: Vec<String>, message: String },
    /// At most one of the fields is given.
    AtMostOne { fields: Vec<String>, message: String },
    /// At least one of the fields is given.
    AtLeastOne { fields: Vec<String>, message: String },
    /// The list is not empty, if it is given.
    NotEmpty { field: String, message: String },
    /// Of exactly one set of fields all are given.
    OneOf { branches: Vec<Vec<String>> },
    /// If the field is given, the others are not. Not in the schema for the Kubernetes API, which limits the number of
    /// such rules.
    Alone { field: String, others: Vec<String> },
    /// The object is a label selector that makes sense. Not in the schema for the Kubernetes API.
    LabelSelector,
}

/// Makes a [`Rule::ExactlyOne`].
pub(crate) fn exactly_one(fields: &[&str], message: &str) -> Rule {
    Rule::ExactlyOne { fields: owned(fields), message: message.to_owned() }
}

/// Makes a [`Rule::AtMostOne`].
pub(crate) fn at_most_one(fields: &[&str], message: &str) -> Rule {
    Rule::AtMostOne { fields: owned(fields), message: message.to_owned() }
}

/// Makes a [`Rule::AtLeastOne`].
pub(crate) fn at_least_one(fields: &[&str], message: &str) -> Rule {
    Rule::AtLeastOne { fields: owned(fields), message: message.to_owned() }
}

/// Makes a [`Rule::NotEmpty`].
pub(crate) fn not_empty(field: &str, message: &str) -> Rule {
    Rule::NotEmpty { field: field.to_owned(), message: message.to_owned() }
}

/// Makes a [`Rule::OneOf`].
pub(crate) fn one_of(branches: &[&[&str]]) -> Rule {
    Rule::OneOf { branches: branches.iter().map(|fields| owned(fields)).collect() }
}

/// Makes a [`Rule::Alone`].
pub(crate) fn alone(field: &str, others: &[&str]) -> Rule {
    Rule::Alone { field: field.to_owned(), others: owned(others) }
}

/// Makes a [`Rule::LabelSelector`].
pub(crate) fn label_selector() -> Rule {
    Rule::LabelSelector
}

/// Keeps the rules for the items of a list out of the schema for the Kubernetes API.
pub(crate) fn not_published_below(field: &'static str) -> impl Fn(&mut schemars::Schema) {
    move |schema| {
        if let Some(Value::Object(items)) = schema.pointer_mut(&format!("/properties/{field}/items")) {
            items.insert(NOT_PUBLISHED.to_owned(), true.into());
        }
    }
}

fn owned(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}

impl Rule {
    /// What is wrong with an object: field within the object, if it is one, and message.
    pub(crate) fn check(&self, object: &Map<String, Value>) -> Option<(String, String)> {
        let given = |fields: &[String]| -> Vec<String> {
            fields.iter().filter(|field| object.contains_key(*field)).cloned().collect()
        };
        let whole = |message: String| Some((String::new(), message));
        match self {
            Self::ExactlyOne { fields, message } => match given(fields).as_slice() {
                [_] => None,
                several => whole(format!("{message}; found {}", found(several))),
            },
            Self::AtMostOne { fields, message } => match given(fields).as_slice() {
                [] | [_] => None,
                several => whole(format!("{message}; found {}", found(several))),
            },
            Self::AtLeastOne { fields, message } => given(fields).is_empty().then(|| (String::new(), message.clone())),
            Self::NotEmpty { field, message } => match object.get(field) {
                Some(Value::Array(list)) if list.is_empty() => Some((field.clone(), message.clone())),
                _ => None,
            },
            Self::OneOf { branches } => {
                let names = |branch: &Vec<String>| branch.join(" and ");
                let met: Vec<_> = branches
                    .iter()
                    .filter(|branch| branch.iter().all(|field| object.contains_key(field)))
                    .map(names)
                    .collect();
                if met.len() == 1 {
                    return None;
                }
                let choices: Vec<_> = branches.iter().map(names).collect();
                whole(format!(
                    "must validate one and only one schema (oneOf): exactly one of {} is needed, found {}",
                    quoted(&choices),
                    found(&met)
                ))
            }
            Self::Alone { field, others } => {
                let others = given(others);
                (object.contains_key(field) && !others.is_empty())
                    .then(|| (field.clone(), format!("cannot be combined with {}", quoted(&others))))
            }
            Self::LabelSelector => {
                // Of the wrong type: that is a problem of its own.
                let selector: LabelSelector = serde_json::from_value(Value::Object(object.clone())).ok()?;
                selector.selector().err().map(|error| (error.path, error.message))
            }
        }
    }
}

/// Adds rules to a schema for the Kubernetes API: `oneOf`, and validations in CEL.
pub(super) fn publish(rules: &[Rule], schema: &mut Map<String, Value>) {
    let mut validations = Vec::new();
    for rule in rules {
        let (cel, message) = match rule {
            Rule::OneOf { branches } => {
                let branches = branches.iter().map(|fields| json!({"required": fields})).collect();
                schema.insert("oneOf".to_owned(), branches);
                continue;
            }
            Rule::Alone { .. } | Rule::LabelSelector => continue,
            Rule::ExactlyOne { fields, message } => (exactly_one_given(fields), message),
            Rule::AtMostOne { fields, message } => (at_most_one_given(fields), message),
            Rule::AtLeastOne { fields, message } => (any_given(fields), message),
            Rule::NotEmpty { field, message } => (format!("!has(self.{field}) || size(self.{field}) > 0"), message),
        };
        validations.push(json!({"rule": cel, "message": message}));
    }
    if !validations.is_empty() {
        schema.insert("x-kubernetes-validations".to_owned(), validations.into());
    }
}

/// CEL that is true if exactly one of the fields is given. Kubernetes allows only so much work for all rules of a schema
/// together, estimated for the largest objects, and estimates much more for counting in a list than for nested conditions.
fn exactly_one_given(fields: &[String]) -> String {
    match fields {
        [] => "false".to_owned(),
        [one] => given(one),
        [one, other] => format!("{} != {}", given(one), given(other)),
        [one, others @ ..] => format!("{} ? !({}) : {}", given(one), any_given(others), exactly_one_given(others)),
    }
}

/// CEL that is true if no more than one of the fields is given.
fn at_most_one_given(fields: &[String]) -> String {
    match fields {
        [] | [_] => "true".to_owned(),
        [one, other] => format!("!({} && {})", given(one), given(other)),
        [one, others @ ..] => format!("{} ? !({}) : {}", given(one), any_given(others), at_most_one_given(others)),
    }
}

fn any_given(fields: &[String]) -> String {
    fields.iter().map(|field| given(field)).collect::<Vec<_>>().join(" || ")
}

fn given(field: &str) -> String {
    format!("has(self.{field})")
}

#[cfg(test)]
mod tests {
    use cel::{Context, Program};

    use super::*;

    /// The rules mean the same in the API server as here.
    #[test]
    fn rules_mean_the_same_in_cel() {
        let fields: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        for count in 2..=fields.len() {
            let fields = &fields[..count];
            for given in 0..1_u32 << count {
                let object: Map<String, Value> = (0..count)
                    .filter(|index| given & (1 << index) != 0)
                    .map(|index| (fields[index].clone(), Value::from("x")))
                    .collect();
                let message = String::new();
                for rule in [
                    Rule::ExactlyOne { fields: fields.to_vec(), message: message.clone() },
                    Rule::AtMostOne { fields: fields.to_vec(), message: message.clone() },
                    Rule::AtLeastOne { fields: fields.to_vec(), message: message.clone() },
                ] {
                    let mut schema = Map::new();
                    publish(std::slice::from_ref(&rule), &mut schema);
                    let cel = schema["x-kubernetes-validations"][0]["rule"].as_str().unwrap();
                    let mut context = Context::default();
                    context.add_variable("self", Value::Object(object.clone())).unwrap();
                    let holds = Program::compile(cel).unwrap().execute(&context).unwrap();
                    assert_eq!(holds, rule.check(&object).is_none().into(), "{cel} {object:?}");
                }
            }
        }
    }
}
