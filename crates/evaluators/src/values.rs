//! Values that a configuration asks for: from the words that users write to expressions that can be evaluated.

use usher_api::{NamedValuesOrSelectors, ValueOrSelector, ValueSource};
use usher_expr::Expression;

use crate::{FieldPath, Problems};

/// The expression of a value. Of several members the first that is given and not empty counts: `expression`,
/// `jsonPath`, `selector`, `value`; without any the value is null.
pub fn build(spec: &ValueOrSelector, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Expression> {
    source(spec.source(), at, problems)
}

/// The expression of a value that comes from there.
pub fn source(source: ValueSource<'_>, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Expression> {
    match source {
        ValueSource::Expression(text) => problems.take(&at.field("expression"), Expression::cel(text)),
        ValueSource::JsonPath(text) => problems.take(&at.field("jsonPath"), Expression::json_path(text)),
        ValueSource::Selector(text) => problems.take(&at.field("selector"), Expression::selector(text)),
        ValueSource::Static(value) => Some(Expression::value(value.clone())),
    }
}

/// The expressions of named values, in the order of their names. What is wrong is noted and left out.
pub fn named(specs: &NamedValuesOrSelectors, at: &FieldPath<'_>, problems: &mut Problems) -> Vec<(String, Expression)> {
    specs.iter().filter_map(|(name, spec)| Some((name.clone(), build(spec, &at.key(name), problems)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resolve(spec: Value) -> Value {
        let spec: ValueOrSelector = serde_json::from_value(spec).unwrap();
        let mut problems = Problems::default();
        let expression = build(&spec, &FieldPath::root("v"), &mut problems).unwrap();
        let document = json!({"auth": {"identity": {"name": "ann"}}, "request": {"method": "GET"}});
        expression.resolve(&document).unwrap()
    }

    #[test]
    fn the_first_source_that_is_not_empty_counts() {
        let cases = [
            (json!({"value": "a", "selector": "auth.identity.name"}), json!("ann")),
            (json!({"value": "a", "selector": "request.method", "expression": "'e'"}), json!("e")),
            (json!({"value": 5}), json!(5)),
            (json!({"value": {"a": [1]}}), json!({"a": [1]})),
            (json!({}), Value::Null),
            (json!({"value": null}), Value::Null),
            (json!({"expression": "", "value": "a"}), json!("a")),
            (json!({"selector": "", "value": "a"}), json!("a")),
            (json!({"selector": "Hello, {auth.identity.name}!"}), json!("Hello, ann!")),
            (json!({"selector": "auth.identity.missing"}), Value::Null),
            (json!({"jsonPath": "$.request.method"}), json!("GET")),
        ];
        for (spec, expected) in cases {
            assert_eq!(resolve(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn problems_name_the_field() {
        let specs: NamedValuesOrSelectors = serde_json::from_value(json!({
            "good": {"value": 1},
            "a.b": {"expression": "request.method +"},
            "path": {"jsonPath": "$["},
        }))
        .unwrap();
        let mut problems = Problems::default();
        let named = named(&specs, &FieldPath::root("properties"), &mut problems);
        assert_eq!(named.len(), 1);
        let (problems, _) = problems.into_parts();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [r#"properties["a.b"].expression"#, "properties.path.jsonPath"]);
    }
}
