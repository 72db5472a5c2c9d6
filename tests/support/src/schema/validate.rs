//! Checks a value against a schema. The texts are those of the API server.

use regex::Regex;
use serde_json::Value;

use crate::failure::Cause;

/// What is wrong with `value`, which stands at `path` (empty for the whole object).
pub(crate) fn validate(value: &Value, schema: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(value, schema, path, &mut causes);
    causes
}

fn check(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if !has_type(value, schema, path, causes) {
        return;
    }
    check_enum(value, schema, path, causes);
    check_combinations(value, schema, path, causes);
    match value {
        Value::Object(members) => {
            check_count(members.len(), schema, ["minProperties", "maxProperties"], "properties", path, causes);
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    causes.push(Cause::required(&below(path, name), ""));
                }
            }
            for (name, member) in members {
                match schema["properties"].get(name) {
                    Some(schema) => check(member, schema, &below(path, name), causes),
                    None if schema["additionalProperties"].is_object() => {
                        check(member, &schema["additionalProperties"], &below(path, name), causes);
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            check_count(items.len(), schema, ["minItems", "maxItems"], "items", path, causes);
            for (index, item) in items.iter().enumerate() {
                check(item, &schema["items"], &format!("{path}[{index}]"), causes);
            }
        }
        Value::String(text) => {
            check_count(text.chars().count(), schema, ["minLength", "maxLength"], "characters", path, causes);
            check_text(text, schema, path, causes);
        }
        Value::Number(number) => check_number(number, schema, path, causes),
        Value::Bool(_) | Value::Null => {}
    }
}

fn has_type(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        if value.is_string() || is_integer(value) {
            return true;
        }
        causes.push(Cause::invalid(
            path,
            &shown(value),
            &format!("{path} in body must be of type integer,string: {}", name_of(value)),
        ));
        return false;
    }
    let Some(wanted) = schema["type"].as_str() else { return true };
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        _ => true,
    };
    if !fits {
        let found = name_of(value);
        let mut cause = Cause::invalid(
            path,
            &format!("\"{found}\""),
            &format!("{path} in body must be of type {wanted}: \"{found}\""),
        );
        cause.reason = "FieldValueTypeInvalid";
        causes.push(cause);
    }
    fits
}

fn check_enum(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(allowed) = schema["enum"].as_array() else { return };
    if !allowed.contains(value) {
        let supported: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause {
            reason: "FieldValueNotSupported",
            field: path.to_owned(),
            message: format!("Unsupported value: {value}: supported values: {}", supported.join(", ")),
        });
    }
}

fn check_combinations(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let valid = |schemas: &Value| -> Option<usize> {
        let schemas = schemas.as_array()?;
        Some(schemas.iter().filter(|schema| validate(value, schema, path).is_empty()).count())
    };
    let shown = if value.is_object() || value.is_array() { "\"\"".to_owned() } else { shown(value) };
    match valid(&schema["oneOf"]) {
        None | Some(1) => {}
        Some(found) => {
            let found = if found == 0 { "none valid".to_owned() } else { format!("{found} valid alternatives") };
            let text = format!("\"{path}\" must validate one and only one schema (oneOf). Found {found}");
            causes.push(Cause::invalid(path, &shown, &text));
        }
    }
    if valid(&schema["anyOf"]) == Some(0) {
        causes.push(Cause::invalid(path, &shown, &format!("\"{path}\" must validate at least one schema (anyOf)")));
    }
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        check(value, schema, path, causes);
    }
    if let Some(not) = schema.get("not")
        && validate(value, not, path).is_empty()
    {
        causes.push(Cause::invalid(path, &shown, &format!("\"{path}\" must not validate the schema (not)")));
    }
}

fn check_count(
    count: usize,
    schema: &Value,
    [least, most]: [&str; 2],
    what: &str,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    if let Some(least) = bound(least).filter(|least| count < *least) {
        let text = format!("{path} in body should have at least {least} {what}");
        causes.push(Cause::invalid(path, &count.to_string(), &text));
    }
    if let Some(most) = bound(most).filter(|most| count > *most) {
        let (reason, message) = if what == "characters" {
            ("FieldValueTooLong", format!("Too long: may not be more than {most} bytes"))
        } else {
            ("FieldValueTooMany", format!("Too many: {count}: must have at most {most} items"))
        };
        causes.push(Cause { reason, field: path.to_owned(), message });
    }
}

fn check_text(text: &str, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(pattern) = schema["pattern"].as_str()
        && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        causes.push(Cause::invalid(path, &format!("{text:?}"), &format!("{path} in body should match '{pattern}'")));
    }
    if schema["format"] == "date-time" && chrono::DateTime::parse_from_rfc3339(text).is_err() {
        let said = format!("{path} in body must be of type date-time: {text:?}");
        causes.push(Cause::invalid(path, &format!("{text:?}"), &said));
    }
}

fn check_number(number: &serde_json::Number, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let value = number.as_f64().unwrap_or_default();
    if let Some(least) = schema["minimum"].as_f64().filter(|least| value < *least) {
        let text = format!("{path} in body should be greater than or equal to {least}");
        causes.push(Cause::invalid(path, &number.to_string(), &text));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| value > *most) {
        let text = format!("{path} in body should be less than or equal to {most}");
        causes.push(Cause::invalid(path, &number.to_string(), &text));
    }
    let fits = match schema["format"].as_str() {
        Some("int32") => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Some("int64") => number.as_i64().is_some() || number.is_f64(),
        _ => true,
    };
    if !fits {
        let text =
            format!("{path} in body must be of type {}: \"{number}\"", schema["format"].as_str().unwrap_or_default());
        causes.push(Cause::invalid(path, &number.to_string(), &text));
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(value: &Value) -> String {
    if value.is_object() || value.is_array() { format!("\"{}\"", name_of(value)) } else { value.to_string() }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let one_of = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        for (value, schema, expected) in [
            (
                json!("x"),
                json!({"type": "array"}),
                "Invalid value: \"string\": f in body must be of type array: \"string\"",
            ),
            (json!({}), json!({"type": "object", "required": ["g"]}), "Required value"),
            (json!("x"), json!({"enum": ["a", "b"]}), "Unsupported value: \"x\": supported values: \"a\", \"b\""),
            (
                json!({}),
                one_of.clone(),
                "Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found none valid",
            ),
            (
                json!({"a": 1, "b": 1}),
                one_of.clone(),
                "Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ),
            (json!({"a": 1}), one_of, ""),
            (
                json!(1),
                json!({"anyOf": [{"type": "string"}]}),
                "Invalid value: 1: \"f\" must validate at least one schema (anyOf)",
            ),
            (
                json!(-1),
                json!({"type": "integer", "minimum": 0}),
                "Invalid value: -1: f in body should be greater than or equal to 0",
            ),
            (
                json!(9),
                json!({"type": "integer", "maximum": 8}),
                "Invalid value: 9: f in body should be less than or equal to 8",
            ),
            (
                json!(1.5),
                json!({"type": "integer"}),
                "Invalid value: \"number\": f in body must be of type integer: \"number\"",
            ),
            (
                json!({"a": 1, "b": 2}),
                json!({"type": "object", "maxProperties": 1}),
                "Too many: 2: must have at most 1 items",
            ),
            (json!("x"), json!({"pattern": "^[0-9]+$"}), "Invalid value: \"x\": f in body should match '^[0-9]+$'"),
            (
                json!("x"),
                json!({"format": "date-time"}),
                "Invalid value: \"x\": f in body must be of type date-time: \"x\"",
            ),
            (json!(null), json!({"type": "string", "nullable": true}), ""),
            (
                json!({"a": {"b": [1]}}),
                json!({"additionalProperties": {"properties": {"b": {"items": {"type": "string"}}}}}),
                "Invalid value: \"integer\": f.a.b[0] in body must be of type string: \"integer\"",
            ),
        ] {
            let causes: Vec<String> = validate(&value, &schema, "f").into_iter().map(|cause| cause.message).collect();
            assert_eq!(causes.join("; "), expected, "{value} by {schema}");
        }
    }
}
