//! The schema of an AuthConfig, derived from its types.
//!
//! ```text
//!   types ──schemars──▶ JSON Schema ──parse──▶ Schema ─┬─ validate.rs  checks documents
//!                                                      └─ to_json()    the schema that the Kubernetes API uses
//! ```
//!
//! What JSON Schema cannot say stands at the types as `x-usher-rules` ([`rules::Rule`]).

pub(crate) mod rules;

use std::sync::OnceLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{AuthConfigSpec, AuthConfigStatus, PatternExpressionOrRef};
use rules::{NOT_PUBLISHED, RULES, Rule};

/// Marks a field that takes any JSON, for the Kubernetes API too.
const ANY_JSON: &str = "x-kubernetes-preserve-unknown-fields";
/// Marks conditions within conditions: a schema for the Kubernetes API cannot be recursive.
const NESTED_CONDITION: &str = "x-usher-nested-condition";
/// What all fields for the Kubernetes API begin with; they are passed on.
const KUBERNETES_PREFIX: &str = "x-kubernetes-";

/// What one value must be like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema {
    pub(crate) description: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) default: Option<Value>,
    pub(crate) rules: Vec<Rule>,
    /// Whether the rules are part of the schema for the Kubernetes API.
    rules_published: bool,
    /// Further fields for the Kubernetes API, passed on as they are.
    kubernetes: Map<String, Value>,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// An object with these members and no others.
    Object { properties: Vec<(String, Schema)>, required: Vec<String>, max_properties: Option<u64> },
    /// An object whose members are named by the user.
    Map(Box<Schema>),
    /// A list.
    Array(Box<Schema>),
    /// A text: one of these values, if there are any.
    String { values: Vec<String>, format: Option<String> },
    /// A whole number.
    Integer { minimum: Option<i64>, maximum: Option<i64> },
    /// True or false.
    Boolean,
    /// Any JSON.
    Any,
    /// A condition within a condition: checked as one by us, any object for the Kubernetes API.
    NestedCondition,
}

impl Schema {
    /// The schema of `spec` of an AuthConfig.
    pub(crate) fn spec() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(Schema::of::<AuthConfigSpec>)
    }

    /// The schema of `status` of an AuthConfig.
    pub(crate) fn status() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(Schema::of::<AuthConfigStatus>)
    }

    /// The schema of a condition.
    pub(crate) fn condition() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(Schema::of::<PatternExpressionOrRef>)
    }

    /// The schema of a type.
    pub(crate) fn of<T: schemars::JsonSchema>() -> Schema {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let schema = settings.into_generator().into_root_schema_for::<T>();
        Schema::parse(schema.as_object().unwrap_or(&Map::new()))
    }

    /// Reads the JSON Schema of one of our types, as schemars makes it.
    fn parse(json: &Map<String, Value>) -> Schema {
        // An optional enumeration is `anyOf: [the enumeration, null]`.
        let inner = json.get("anyOf").and_then(Value::as_array).and_then(|alternatives| {
            alternatives.iter().filter_map(Value::as_object).find(|it| it.get("type") != Some(&json!("null")))
        });
        let mut schema = match inner {
            Some(inner) => Schema::parse(inner),
            None => Schema {
                description: None,
                kind: Kind::parse(json),
                default: None,
                rules: json.get(RULES).and_then(|rules| serde_json::from_value(rules.clone()).ok()).unwrap_or_default(),
                rules_published: json.get(NOT_PUBLISHED).is_none(),
                kubernetes: json
                    .iter()
                    .filter(|(name, _)| name.starts_with(KUBERNETES_PREFIX))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            },
        };
        if let Some(description) = json.get("description").and_then(Value::as_str) {
            schema.description = Some(description.replace('\n', " "));
        }
        if let Some(default) = json.get("default").filter(|default| !default.is_null()) {
            schema.default = Some(default.clone());
        }
        schema
    }

    /// The schema for the Kubernetes API: "structural", without references.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = Map::new();
        let mut put = |name: &str, value: Value| json.insert(name.to_owned(), value);
        if let Some(description) = &self.description {
            put("description", description.as_str().into());
        }
        if let Some(default) = &self.default {
            put("default", default.clone());
        }
        match &self.kind {
            Kind::Object { properties, required, max_properties } => {
                put("type", "object".into());
                if let Some(max) = max_properties {
                    put("maxProperties", (*max).into());
                }
                if !properties.is_empty() {
                    let members = properties.iter().map(|(name, schema)| (name.clone(), schema.to_json())).collect();
                    put("properties", Value::Object(members));
                }
                if !required.is_empty() {
                    put("required", required.clone().into());
                }
            }
            Kind::Map(values) => {
                put("type", "object".into());
                put("additionalProperties", values.to_json());
            }
            Kind::Array(items) => {
                put("type", "array".into());
                put("items", items.to_json());
            }
            Kind::String { values, format } => {
                put("type", "string".into());
                if let Some(format) = format {
                    put("format", format.as_str().into());
                }
                if !values.is_empty() {
                    put("enum", values.clone().into());
                }
            }
            Kind::Integer { minimum, maximum } => {
                put("type", "integer".into());
                put("format", "int64".into());
                if let Some(minimum) = minimum {
                    put("minimum", (*minimum).into());
                }
                if let Some(maximum) = maximum {
                    put("maximum", (*maximum).into());
                }
            }
            Kind::Boolean => {
                put("type", "boolean".into());
            }
            Kind::Any => {}
            Kind::NestedCondition => {
                put("type", "object".into());
            }
        }
        for (name, value) in &self.kubernetes {
            json.insert(name.clone(), value.clone());
        }
        if self.rules_published {
            rules::publish(&self.rules, &mut json);
        }
        Value::Object(json)
    }
}

impl Kind {
    fn parse(json: &Map<String, Value>) -> Kind {
        if json.contains_key(NESTED_CONDITION) {
            return Kind::NestedCondition;
        }
        // An enumeration whose values are described is `oneOf: [{const: …, description: …}]`.
        let values: Vec<String> = match (json.get("oneOf"), json.get("enum")) {
            (Some(Value::Array(one_of)), _) => one_of.iter().filter_map(|value| value.get("const")).collect(),
            (_, Some(Value::Array(values))) => values.iter().collect(),
            _ => Vec::new(),
        }
        .into_iter()
        .filter_map(|value: &Value| value.as_str().map(str::to_owned))
        .collect();
        // An optional value has the types `[its type, null]`.
        let kind = match json.get("type") {
            Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            Some(Value::String(name)) => Some(name.as_str()),
            _ if !values.is_empty() => Some("string"),
            _ => None,
        };
        let child = |name: &str| json.get(name).and_then(Value::as_object).map(|json| Box::new(Schema::parse(json)));
        match kind {
            Some("object") => match child("additionalProperties") {
                Some(values) => Kind::Map(values),
                None => Kind::Object {
                    properties: json
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flatten()
                        .filter_map(|(name, json)| Some((name.clone(), Schema::parse(json.as_object()?))))
                        .collect(),
                    required: json
                        .get("required")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect(),
                    max_properties: json.get("maxProperties").and_then(Value::as_u64),
                },
            },
            Some("array") => child("items").map_or(Kind::Any, Kind::Array),
            Some("string") => {
                Kind::String { values, format: json.get("format").and_then(Value::as_str).map(str::to_owned) }
            }
            Some("integer") => Kind::Integer {
                minimum: json.get("minimum").and_then(Value::as_i64),
                maximum: json.get("maximum").and_then(Value::as_i64),
            },
            Some("boolean") => Kind::Boolean,
            _ => Kind::Any,
        }
    }
}

/// For fields that take any JSON.
pub(crate) fn any_json(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ ANY_JSON: true })
}

/// For lists of what may be any JSON.
pub(crate) fn any_json_list(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "items": { ANY_JSON: true } })
}

/// For lists of conditions within conditions.
pub(crate) fn nested_conditions(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": { "type": "object", ANY_JSON: true, NESTED_CONDITION: true },
    })
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// A document in which every field of the schema occurs, with a value that is not its default. `seed` chooses among
    /// the values of an enumeration.
    fn sample(schema: &Schema, seed: usize) -> Value {
        match &schema.kind {
            Kind::Object { properties, .. } => {
                properties.iter().map(|(name, schema)| (name.clone(), sample(schema, seed))).collect()
            }
            Kind::Map(values) => {
                json!({"one": sample(values, seed), "two": sample(values, seed + 1)})
            }
            Kind::Array(items) => json!([sample(items, seed), sample(items, seed + 1)]),
            Kind::String { values, .. } if values.is_empty() => "text".into(),
            Kind::String { values, .. } => values[seed % values.len()].as_str().into(),
            Kind::Integer { minimum, .. } => (minimum.unwrap_or(-9) + 1).into(),
            Kind::Boolean => (schema.default != Some(json!(true))).into(),
            Kind::Any => json!({"any": [1, {"b": null, "a": "order"}]}),
            Kind::NestedCondition => json!({"predicate": "true"}),
        }
    }

    fn types_know_the_fields_of<T: Serialize + DeserializeOwned>(schema: &Schema) {
        for seed in 0..9 {
            let document = sample(schema, seed);
            let parsed: T = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), document);
        }
    }

    #[test]
    fn types_and_schema_name_the_same_fields() {
        // Every field of the schema survives the types.
        types_know_the_fields_of::<AuthConfigSpec>(Schema::spec());
        types_know_the_fields_of::<AuthConfigStatus>(Schema::status());
        types_know_the_fields_of::<PatternExpressionOrRef>(Schema::condition());
        // Every field of the types is in the schema: whatever the types write passes the check for unknown fields.
        let text = sample(Schema::spec(), 0).to_string();
        let spec: AuthConfigSpec = serde_json::from_str(&text).unwrap();
        let mut written = serde_json::to_value(spec).unwrap();
        let mut problems = crate::problem::Problems::default();
        crate::validate::check(
            Schema::spec(),
            &mut written,
            "spec",
            crate::validate::UnknownFields::Refuse,
            &mut problems,
        );
        let unknown: Vec<_> = problems
            .into_sorted(&crate::Lines::default())
            .into_iter()
            .filter(|problem| problem.message.starts_with("unknown field"))
            .collect();
        assert!(unknown.is_empty(), "{unknown:#?}");
    }

    #[test]
    fn defaults_of_the_schema_are_those_of_the_types() {
        fn check<T: Serialize + DeserializeOwned>(minimal: Value, schema: &Schema) {
            let parsed: T = serde_json::from_value(minimal).unwrap();
            let written = serde_json::to_value(parsed).unwrap();
            let Kind::Object { properties, .. } = &schema.kind else { panic!("{schema:?}") };
            let mut count = 0;
            for (name, schema) in properties {
                if let Some(default) = &schema.default {
                    assert_eq!(&written[name], default, "{name}");
                    count += 1;
                }
            }
            assert!(count > 0);
        }
        check::<crate::CommonEvaluatorSpec>(json!({}), &Schema::of::<crate::CommonEvaluatorSpec>());
        check::<crate::HttpEndpointSpec>(json!({"url": "u"}), &Schema::of::<crate::HttpEndpointSpec>());
        check::<crate::OpaSpec>(json!({"rego": "r"}), &Schema::of::<crate::OpaSpec>());
        check::<crate::ApiKeySpec>(json!({"selector": {}}), &Schema::of::<crate::ApiKeySpec>());
        check::<crate::X509Spec>(json!({"selector": {}}), &Schema::of::<crate::X509Spec>());
        check::<crate::SpiceDbSpec>(json!({"endpoint": "e"}), &Schema::of::<crate::SpiceDbSpec>());
        check::<crate::EvaluatorCaching>(json!({"key": {}}), &Schema::of::<crate::EvaluatorCaching>());
        check::<crate::OAuth2ClientAuthentication>(
            json!({"tokenUrl": "t", "clientId": "c", "clientSecretRef": {"name": "n", "key": "k"}}),
            &Schema::of::<crate::OAuth2ClientAuthentication>(),
        );
    }

    #[test]
    fn only_fields_that_say_so_take_any_json() {
        fn walk(path: &str, schema: &Schema, found: &mut Vec<String>) {
            match &schema.kind {
                Kind::Any => {
                    assert_eq!(schema.kubernetes.get(ANY_JSON), Some(&json!(true)), "{path}");
                    found.push(path.to_owned());
                }
                Kind::Object { properties, .. } => {
                    properties.iter().for_each(|(name, schema)| walk(&format!("{path}.{name}"), schema, found));
                }
                Kind::Map(inner) | Kind::Array(inner) => walk(path, inner, found),
                _ => {}
            }
        }
        let mut found = Vec::new();
        walk("spec", Schema::spec(), &mut found);
        let others: Vec<_> = found.iter().filter(|path| !path.ends_with(".value")).collect();
        let expected = [
            "spec.authentication.jwt.jwks.inline",
            "spec.authentication.jwt.issuer",
            "spec.metadata.http.expectStatus",
            "spec.authorization.opa.externalPolicy.expectStatus",
            "spec.callbacks.http.expectStatus",
        ];
        assert_eq!(others, expected);
        assert!(found.contains(&"spec.response.success.headers.plain.value".to_owned()));
    }

    #[test]
    fn every_field_is_described() {
        fn walk(path: &str, schema: &Schema) {
            if let Kind::Object { properties, .. } = &schema.kind {
                for (name, schema) in properties {
                    assert!(schema.description.is_some(), "{path}.{name}");
                    walk(&format!("{path}.{name}"), schema);
                }
            }
            if let Kind::Map(inner) | Kind::Array(inner) = &schema.kind {
                walk(path, inner);
            }
        }
        walk("spec", Schema::spec());
        walk("status", Schema::status());
    }
}
