//! Conditions: `when`, `patterns` and `patternMatching`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::MethodError;
use crate::schema::{nested_conditions, rules::one_of};

/// A condition. Exactly one of these is given: `selector` (or `jsonPath`) with `operator`, `predicate`, `patternRef`,
/// `all`, `any`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [one_of(&[
    &["patternRef"], &["operator", "selector"], &["operator", "jsonPath"], &["all"], &["any"], &["predicate"],
])]))]
pub struct PatternExpressionOrRef {
    /// Path into the authorization JSON, or a template with such paths in braces: what is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// JSONPath (RFC 9535) into the authorization JSON: what is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// How it is compared: `eq` equal, `neq` not equal, `incl` the list includes the value, `excl` it does not,
    /// `matches` the value is a regular expression that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// With what it is compared. Default: the empty string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Name of a list in `spec.patterns`; all of its patterns must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern_ref: Option<String>,
    /// CEL expression that gives true or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// Conditions that must all hold; true if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "nested_conditions")]
    pub all: Option<Vec<PatternExpressionOrRef>>,
    /// Conditions of which at least one must hold; true if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "nested_conditions")]
    pub any: Option<Vec<PatternExpressionOrRef>>,
}

/// A pattern of a named list in `spec.patterns`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternExpression {
    /// Path into the authorization JSON, or a template with such paths in braces: what is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// JSONPath (RFC 9535) into the authorization JSON: what is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// How it is compared: `eq` equal, `neq` not equal, `incl` the list includes the value, `excl` it does not,
    /// `matches` the value is a regular expression that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// With what it is compared. Default: the empty string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a pattern compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// The list includes the value.
    Incl,
    /// The list does not include the value.
    Excl,
    /// The regular expression matches.
    Matches,
}

/// A condition, sorted out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition<'a> {
    /// `selector` or `jsonPath`, `operator`, `value`
    Comparison(Comparison<'a>),
    /// `predicate`
    Predicate(&'a str),
    /// `patternRef`
    PatternRef(&'a str),
    /// `all`
    All(&'a [PatternExpressionOrRef]),
    /// `any`
    Any(&'a [PatternExpressionOrRef]),
}

/// One comparison. What is compared is given either as selector or as JSONPath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison<'a> {
    /// `selector` is compared.
    Selector(&'a str, Operator, &'a str),
    /// `jsonPath` is compared.
    JsonPath(&'a str, Operator, &'a str),
}

/// What a condition can be, for messages.
const CHOICES: [&str; 6] = ["patternRef", "operator and selector", "operator and jsonPath", "all", "any", "predicate"];

impl PatternExpressionOrRef {
    /// What kind of condition this is; an error unless it is exactly one kind.
    pub fn condition(&self) -> Result<Condition<'_>, MethodError> {
        let [selector, json_path] = comparisons(&self.selector, &self.json_path, self.operator, &self.value);
        let [pattern_ref, operator_and_selector, operator_and_json_path, all, any, predicate] = CHOICES;
        crate::common::one_method([
            (pattern_ref, self.pattern_ref.as_deref().map(Condition::PatternRef)),
            (operator_and_selector, selector.map(Condition::Comparison)),
            (operator_and_json_path, json_path.map(Condition::Comparison)),
            (all, self.all.as_deref().map(Condition::All)),
            (any, self.any.as_deref().map(Condition::Any)),
            (predicate, self.predicate.as_deref().map(Condition::Predicate)),
        ])
    }
}

impl PatternExpression {
    /// What is compared; an error if a part is missing, or both selector and JSONPath are given.
    pub fn comparison(&self) -> Result<Comparison<'_>, MethodError> {
        let [selector, json_path] = comparisons(&self.selector, &self.json_path, self.operator, &self.value);
        let [_, operator_and_selector, operator_and_json_path, ..] = CHOICES;
        crate::common::one_method([(operator_and_selector, selector), (operator_and_json_path, json_path)])
    }
}

fn comparisons<'a>(
    selector: &'a Option<String>,
    json_path: &'a Option<String>,
    operator: Option<Operator>,
    value: &'a Option<String>,
) -> [Option<Comparison<'a>>; 2] {
    let value = value.as_deref().unwrap_or_default();
    let selector = selector.as_deref().zip(operator).map(|(path, how)| Comparison::Selector(path, how, value));
    let json_path = json_path.as_deref().zip(operator).map(|(path, how)| Comparison::JsonPath(path, how, value));
    [selector, json_path]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_condition_is_exactly_one_kind() {
        fn parse(value: Value) -> PatternExpressionOrRef {
            serde_json::from_value(value).unwrap()
        }
        let comparison = parse(json!({"selector": "request.method", "operator": "eq", "value": "GET"}));
        let expected = Comparison::Selector("request.method", Operator::Eq, "GET");
        assert_eq!(comparison.condition(), Ok(Condition::Comparison(expected)));

        let without_value = parse(json!({"jsonPath": "$.request.method", "operator": "neq"}));
        let expected = Comparison::JsonPath("$.request.method", Operator::Neq, "");
        assert_eq!(without_value.condition(), Ok(Condition::Comparison(expected)));

        assert_eq!(parse(json!({"predicate": "true"})).condition(), Ok(Condition::Predicate("true")));
        assert_eq!(parse(json!({"patternRef": "p"})).condition(), Ok(Condition::PatternRef("p")));
        assert_eq!(parse(json!({"any": []})).condition(), Ok(Condition::Any(&[])));
        let nested = parse(json!({"all": [{"predicate": "true"}]}));
        assert!(matches!(nested.condition(), Ok(Condition::All([_]))));

        for (wrong, given) in [
            (json!({}), vec![]),
            (json!({"operator": "eq", "value": "GET"}), vec![]),
            (json!({"selector": "request.method", "value": "GET"}), vec![]),
            (json!({"predicate": "true", "patternRef": "p"}), vec!["patternRef", "predicate"]),
            (json!({"all": [], "any": []}), vec!["all", "any"]),
            (
                json!({"selector": "s", "jsonPath": "$.s", "operator": "eq"}),
                vec!["operator and selector", "operator and jsonPath"],
            ),
        ] {
            assert_eq!(parse(wrong.clone()).condition().unwrap_err().given, given, "{wrong}");
        }
    }

    #[test]
    fn a_pattern_of_a_named_list_needs_a_path_and_an_operator() {
        fn parse(value: Value) -> PatternExpression {
            serde_json::from_value(value).unwrap()
        }
        let whole = parse(json!({"selector": "a", "operator": "incl", "value": "v"}));
        assert_eq!(whole.comparison(), Ok(Comparison::Selector("a", Operator::Incl, "v")));
        for wrong in [json!({}), json!({"selector": "a"}), json!({"operator": "eq"})] {
            assert!(parse(wrong.clone()).comparison().is_err(), "{wrong}");
        }
    }
}
