//! From the authorization document to the values of the engine, and back to JSON.

use std::{collections::BTreeMap, sync::Arc};

use regorus::{Value, value::Object};
use serde_json::Value as Json;
use usher_expr::{Document, Node, Part};

use super::parts::{Member, Parts};

/// The deepest nesting of an input and of a result.
pub(super) const MAX_DEPTH: usize = 128;
/// The most values (counted with their members) of a result.
const MAX_VALUES: usize = 100_000;
/// The most bytes of text of a result.
const MAX_TEXT: usize = 4 << 20;

/// The input of a policy: of the authorization document what the policy can see of it, straight from the view. `None`
/// if that is nested too deeply.
pub(super) fn input(document: &dyn Document, parts: &Parts) -> Option<Value> {
    // The document itself does not count.
    seen(Node::Message(document, Part::ROOT), parts, MAX_DEPTH + 1)
}

/// What is seen of a value. Members that are not seen are left out; what has no members stays as it is, except that
/// nothing is seen of the elements of an array by looking for a member.
fn seen(node: Node<'_>, parts: &Parts, depth: usize) -> Option<Value> {
    let Parts::Members(members) = parts else { return from_node(node, depth) };
    match node {
        Node::Message(..) | Node::Json(Json::Object(_)) => members_seen(node, members, depth.checked_sub(1)?),
        Node::Json(Json::Array(_)) => Some(Value::new_array()),
        _ => from_node(node, depth),
    }
}

fn members_seen(node: Node<'_>, members: &[Member], depth: usize) -> Option<Value> {
    let mut object = Object::new();
    for member in members {
        if let Some(node) = node.member(member.name()) {
            object.insert(member.key.clone(), seen(node, &member.parts, depth)?);
        }
    }
    Some(Value::Object(Arc::new(object)))
}

/// A part of the document as a value of the engine. `None` if it is nested too deeply.
pub(super) fn from_node(node: Node<'_>, depth: usize) -> Option<Value> {
    Some(match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Integer(value) => Value::from(value),
        Node::Text(value) => Value::from(value),
        Node::Bytes(_) => from_json_within(&node.to_value(), depth)?,
        Node::Json(value) => from_json_within(value, depth)?,
        Node::Message(document, part) => {
            let depth = depth.checked_sub(1)?;
            let members = document
                .members(part)
                .into_iter()
                .map(|(key, node)| Some((Value::from(key.as_ref()), from_node(node, depth)?)))
                .collect::<Option<BTreeMap<_, _>>>()?;
            Value::from(members)
        }
    })
}

/// A JSON value as a value of the engine. `None` if it is nested too deeply.
pub(super) fn from_json(json: &Json) -> Option<Value> {
    from_json_within(json, MAX_DEPTH)
}

fn from_json_within(json: &Json, depth: usize) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        // Never by way of text: a number like 1e999999999 must not become an integer of a billion digits.
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Value::from(value),
            (None, Some(value), _) => Value::from(value),
            (None, None, Some(value)) if value.is_finite() => Value::from(value),
            _ => return None,
        },
        Json::String(value) => Value::from(value.as_str()),
        Json::Array(elements) => {
            let depth = depth.checked_sub(1)?;
            Value::from(elements.iter().map(|element| from_json_within(element, depth)).collect::<Option<Vec<_>>>()?)
        }
        Json::Object(members) => {
            let depth = depth.checked_sub(1)?;
            let members = members
                .iter()
                .map(|(key, value)| Some((Value::from(key.as_str()), from_json_within(value, depth)?)))
                .collect::<Option<BTreeMap<_, _>>>()?;
            Value::from(members)
        }
    })
}

/// A value of the engine as JSON: sets become arrays, undefined becomes null, keys become text. `None` if it is too
/// large or too deep; values share their parts, so a small policy can make a value that is huge when written out.
pub(super) fn to_json(value: &Value) -> Option<Json> {
    let mut left = Left { values: MAX_VALUES, text: MAX_TEXT };
    to_json_within(value, MAX_DEPTH, &mut left)
}

struct Left {
    values: usize,
    text: usize,
}

fn to_json_within(value: &Value, depth: usize, left: &mut Left) -> Option<Json> {
    left.values = left.values.checked_sub(1)?;
    Some(match value {
        Value::Null | Value::Undefined => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Json::from(value),
            (None, Some(value), _) => Json::from(value),
            (None, None, Some(value)) if value.is_finite() => Json::from(value),
            _ => return None,
        },
        Value::String(text) => {
            left.text = left.text.checked_sub(text.len())?;
            Json::String(text.to_string())
        }
        Value::Array(elements) => {
            let depth = depth.checked_sub(1)?;
            Json::Array(elements.iter().map(|element| to_json_within(element, depth, left)).collect::<Option<_>>()?)
        }
        Value::Set(elements) => {
            let depth = depth.checked_sub(1)?;
            Json::Array(
                elements.iter_sorted().map(|element| to_json_within(element, depth, left)).collect::<Option<_>>()?,
            )
        }
        Value::Object(members) => {
            let depth = depth.checked_sub(1)?;
            let mut object = serde_json::Map::new();
            for (key, value) in members.iter_sorted() {
                let key = match to_json_within(key, depth, left)? {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                object.insert(key, to_json_within(value, depth, left)?);
            }
            Json::Object(object)
        }
    })
}

/// The size of a value when written out: its values and their bytes, at most `limit`.
///
/// Stops counting at the limit, because shared parts can make the sum astronomical.
pub(super) fn weigh(value: &Value, limit: usize) -> usize {
    let mut weight: usize = 0;
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        weight = weight.saturating_add(match value {
            Value::String(text) => text.len() + 8,
            Value::Number(_) => digits(value) + 8,
            _ => 8,
        });
        if weight >= limit {
            return limit;
        }
        match value {
            Value::Array(elements) => pending.extend(elements.iter()),
            Value::Set(elements) => pending.extend(elements.iter()),
            Value::Object(members) => pending.extend(members.iter().flat_map(|(key, value)| [key, value])),
            _ => {}
        }
        if pending.len().saturating_mul(8) >= limit {
            return limit;
        }
    }
    weight
}

/// About how many digits a number has when written out; 0 for what is no number.
pub(super) fn digits(value: &Value) -> usize {
    let Value::Number(number) = value else { return 0 };
    if number.as_i64().is_some() || number.as_u64().is_some() {
        return 20;
    }
    match number.as_big() {
        Some(big) => usize::try_from(big.bits() / 3).unwrap_or(usize::MAX),
        None => 330,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_way_there_and_back() {
        for json in [
            json!(null),
            json!({"a": [1, -1, 1.5, u64::MAX, i64::MIN, "x", true, null, {"b": {}}], "": []}),
            json!("\u{0}\u{1F600}"),
        ] {
            assert_eq!(to_json(&from_json(&json).unwrap()).unwrap(), json);
        }
    }

    fn parts(paths: &[&str]) -> Parts {
        let mut parts = Parts::default();
        for path in paths {
            parts.add(&path.split('.').map(str::to_owned).collect::<Vec<_>>());
        }
        parts
    }

    #[test]
    fn only_what_is_seen_is_converted() {
        let document = json!({
            "request": {"method": "GET", "headers": {"a": "1", "b": "2"}, "size": 7},
            "auth": {"identity": {"sub": "a", "roles": ["x"]}},
        });
        for (paths, expected) in [
            (vec!["request", "other"], json!({"request": document["request"]})),
            (vec!["request.method"], json!({"request": {"method": "GET"}})),
            (vec!["request.headers.b", "auth"], json!({"request": {"headers": {"b": "2"}}, "auth": document["auth"]})),
            // A member of what has none.
            (vec!["request.method.x", "request.size.x"], json!({"request": {"method": "GET", "size": 7}})),
            (vec!["auth.identity.roles.x"], json!({"auth": {"identity": {"roles": []}}})),
            (vec!["request.nothing.x", "nothing.x"], json!({"request": {}})),
            (vec![], json!({})),
        ] {
            assert_eq!(to_json(&input(&document, &parts(&paths)).unwrap()).unwrap(), expected, "{paths:?}");
        }
        assert_eq!(to_json(&input(&document, &Parts::All).unwrap()).unwrap(), document);
    }

    #[test]
    fn the_depth_of_what_is_seen_is_limited() {
        let deep = |depth: usize| (0..depth).fold(json!(1), |value, _| json!({"a": value}));
        for (depth, path, expected) in [
            (MAX_DEPTH + 1, "a", true),
            (MAX_DEPTH + 2, "a", false),
            (MAX_DEPTH + 2, "a.a.a", false),
            (MAX_DEPTH + 2, "a.a.b", true),
        ] {
            assert_eq!(input(&deep(depth), &parts(&[path])).is_some(), expected, "{depth} {path}");
        }
    }

    #[test]
    fn sets_and_odd_keys_become_json() {
        let set = Value::from(BTreeSet::from([Value::from(2_u64), Value::from(1_u64)]));
        let object = Value::from(BTreeMap::from([
            (Value::from(1_u64), set.clone()),
            (Value::Bool(true), Value::Undefined),
            (set, Value::Null),
        ]));
        assert_eq!(to_json(&object).unwrap(), json!({"true": null, "1": [1, 2], "[1,2]": null}));
    }

    #[test]
    fn values_that_are_too_deep_or_too_large_when_written_out_are_refused() {
        let deep = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
        assert!(from_json(&deep(MAX_DEPTH)).is_some());
        assert!(from_json(&deep(MAX_DEPTH + 1)).is_none());
        assert!(input(&json!({"a": deep(MAX_DEPTH + 1)}), &Parts::All).is_none());

        let shared = (0..60).fold(Value::from("x"), |value, _| Value::from(vec![value.clone(), value]));
        assert_eq!(to_json(&shared), None);
        assert_eq!(weigh(&shared, 1_000_000), 1_000_000);
        assert_eq!(weigh(&Value::from(vec![Value::from("abc"), Value::from(1_u64)]), 1_000_000), 8 + 11 + 28);
        let long = Value::from("x".repeat(MAX_TEXT + 1));
        assert_eq!(to_json(&long), None);
    }
}
