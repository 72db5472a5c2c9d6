//! Structural schemas of custom resources: `openAPIV3Schema`, as far as AuthConfigs use it.
//!
//! An object that is written goes through four steps:
//! unknown fields are dropped, nulls are dropped, defaults are filled in, and the rest is checked.
//! Rules in CEL (`x-kubernetes-validations`) are not evaluated.

mod validate;

use serde_json::Value;

pub(crate) use validate::validate;

/// Drops the fields that the schema does not know. Gives their paths.
pub(crate) fn prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    let preserve = preserves(schema);
    for_each_member(object, |name, value| {
        // Every object has these, whatever the schema says.
        matches!(name, "apiVersion" | "kind" | "metadata")
            || keep(name, value, schema["properties"].get(name), preserve, "", &mut dropped)
    });
    dropped
}

/// Drops nulls where they are not allowed, and fills in defaults.
pub(crate) fn fill(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if members.get(name).is_some_and(Value::is_null) && schema["nullable"] != true {
                    members.shift_remove(name);
                }
                if let (None, Some(default)) = (members.get(name), schema.get("default")) {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    fill(member, schema);
                }
            }
            let additional = &schema["additionalProperties"];
            if additional.is_object() {
                if additional["nullable"] != true {
                    members.retain(|_, member| !member.is_null());
                }
                for (_, member) in members.iter_mut() {
                    fill(member, additional);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for item in items {
                fill(item, &schema["items"]);
            }
        }
        _ => {}
    }
}

fn prune_value(value: &mut Value, schema: &Value, path: &str, dropped: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let preserve = preserves(schema);
            let properties = schema["properties"].as_object();
            let additional = &schema["additionalProperties"];
            members.retain(|name, member| match properties.and_then(|properties| properties.get(name)) {
                None if additional.is_object() => keep(name, member, Some(additional), preserve, path, dropped),
                known => keep(name, member, known, preserve || additional == true, path, dropped),
            });
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(item, &schema["items"], &format!("{path}[{index}]"), dropped);
            }
        }
        _ => {}
    }
}

fn for_each_member(object: &mut Value, mut keep: impl FnMut(&str, &mut Value) -> bool) {
    if let Some(members) = object.as_object_mut() {
        members.retain(|name, value| keep(name, value));
    }
}

fn keep(
    name: &str,
    value: &mut Value,
    schema: Option<&Value>,
    preserve: bool,
    path: &str,
    dropped: &mut Vec<String>,
) -> bool {
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match schema {
        Some(schema) => prune_value(value, schema, &path, dropped),
        None if preserve => {}
        None => {
            dropped.push(path);
            return false;
        }
    }
    true
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "metadata": {"type": "object"},
            "spec": {"type": "object", "required": ["hosts"], "properties": {
                "hosts": {"type": "array", "items": {"type": "string"}},
                "rules": {"type": "object", "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "priority": {"type": "integer", "default": 0},
                        "options": {"type": "object", "default": {}, "properties": {"deep": {"type": "boolean", "default": true}}},
                        "any": {"x-kubernetes-preserve-unknown-fields": true},
                        "maybe": {"type": "string", "nullable": true},
                    },
                }},
            }},
        }})
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {"hosts": ["h"], "other": 1, "rules": {"one": {"any": {"x": {"y": 1}}, "some": {}}}},
            "more": true,
        });
        let dropped = prune(&mut object, &schema());
        assert_eq!(dropped, ["spec.other", "spec.rules.one.some", "more"]);
        let expected = json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {"hosts": ["h"], "rules": {"one": {"any": {"x": {"y": 1}}}}},
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn defaults_stand_for_what_is_missing_or_null() {
        let mut object = json!({"spec": {"rules": {
            "one": {"priority": null, "any": null, "maybe": null}, "two": {"options": {"deep": false}}, "three": null,
        }}});
        fill(&mut object, &schema());
        let expected = json!({"spec": {"rules": {
            "one": {"maybe": null, "priority": 0, "options": {"deep": true}},
            "two": {"options": {"deep": false}, "priority": 0},
        }}});
        assert_eq!(object, expected);
    }
}
