//! Selecting objects by their labels, as Kubernetes does.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules::label_selector;

/// Labels that an object must have. All requirements must be met; without any, every object is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [label_selector()], "x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels with the values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelectorRequirement {
    /// Name of the label.
    pub key: String,
    /// `In`: the label has one of the values. `NotIn`: it has none of them, or is missing. `Exists`: it is there.
    /// `DoesNotExist`: it is missing.
    pub operator: String,
    /// The values for `In` and `NotIn`, at least one; none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// The requirements, checked; an error names the first that is wrong.
    pub fn selector(&self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::with_capacity(self.match_labels.len() + self.match_expressions.len());
        for (key, value) in &self.match_labels {
            let at = format!("matchLabels.{key}");
            requirements.push(Requirement::new(key, RequirementKind::In([value.clone()].into()), &at)?);
        }
        for (index, expression) in self.match_expressions.iter().enumerate() {
            let at = format!("matchExpressions[{index}]");
            let values = || expression.values.iter().cloned().collect::<BTreeSet<_>>();
            let kind = match expression.operator.as_str() {
                "In" => RequirementKind::In(values()),
                "NotIn" => RequirementKind::NotIn(values()),
                "Exists" => RequirementKind::Exists,
                "DoesNotExist" => RequirementKind::DoesNotExist,
                other => {
                    let message = format!("\"{other}\" is not a valid label selector operator");
                    return Err(SelectorError { path: format!("{at}.operator"), message });
                }
            };
            if matches!(kind, RequirementKind::Exists | RequirementKind::DoesNotExist) && !expression.values.is_empty()
            {
                let message = format!("must be empty for the operator `{}`", expression.operator);
                return Err(SelectorError { path: format!("{at}.values"), message });
            }
            requirements.push(Requirement::new(&expression.key, kind, &at)?);
        }
        Ok(Selector { requirements })
    }

    /// Whether an object with these labels is selected. A selector with a wrong requirement selects nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector().is_ok_and(|selector| selector.matches(labels))
    }
}

/// A label selector that was checked, ready to use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    kind: RequirementKind,
}

/// What a [`Requirement`] asks of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RequirementKind {
    /// It has one of these values.
    In(BTreeSet<String>),
    /// It has none of these values, or is missing.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
    /// It is a whole number greater than this.
    GreaterThan(i64),
    /// It is a whole number less than this.
    LessThan(i64),
}

/// Why a label selector makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// The field within the selector; empty for the textual form.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl std::error::Error for SelectorError {}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The requirements, all of which must be met.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Requirement {
    /// Checks the name of the label and the values as Kubernetes does; `at` is where the requirement stands.
    fn new(key: &str, kind: RequirementKind, at: &str) -> Result<Self, SelectorError> {
        let fail = |path: String, message: String| Err(SelectorError { path, message });
        if !is_label_key(key) {
            return fail(at.to_owned(), format!("`{key}` is not a valid name of a label"));
        }
        if let RequirementKind::In(values) | RequirementKind::NotIn(values) = &kind {
            if values.is_empty() {
                return fail(format!("{at}.values"), "for the operators `In` and `NotIn` values are needed".to_owned());
            }
            if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
                return fail(at.to_owned(), format!("`{value}` is not a valid value of a label"));
            }
        }
        Ok(Self { key: key.to_owned(), kind })
    }

    /// The name of the label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is asked of it.
    pub fn kind(&self) -> &RequirementKind {
        &self.kind
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let number = || label.and_then(|value| value.parse::<i64>().ok());
        match &self.kind {
            RequirementKind::In(values) => label.is_some_and(|value| values.contains(value)),
            RequirementKind::NotIn(values) => label.is_none_or(|value| !values.contains(value)),
            RequirementKind::Exists => label.is_some(),
            RequirementKind::DoesNotExist => label.is_none(),
            RequirementKind::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            RequirementKind::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// `name` or `prefix/name`, where the prefix is a DNS subdomain (Kubernetes: "qualified name").
fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) if crate::object_meta::is_dns_subdomain(prefix) => name,
        Some(_) => return false,
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

/// Empty, or at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_structured_form_selects_as_kubernetes_does() {
        let table = [
            (json!({}), "", true),
            (json!({}), "a=b", true),
            (json!({"matchLabels": {"a": "b"}}), "a=b c=d", true),
            (json!({"matchLabels": {"a": "b"}}), "a=c", false),
            (json!({"matchLabels": {"a": "b", "c": "d"}}), "a=b", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}), "a=y", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}), "a=z", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}), "", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}), "a=x", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}), "a=y", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}), "b=x", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), "a=", true),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), "b=a", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "a=b", false),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "b=a", true),
            (
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                "a=b",
                false,
            ),
        ];
        for (selector, object, expected) in table {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(parsed.matches(&labels(object)), expected, "{selector} on `{object}`");
        }
    }

    #[test]
    fn wrong_requirements_are_named_and_select_nothing() {
        let table = [
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}),
                "matchExpressions[0].operator: \"Like\" is not a valid label selector operator",
            ),
            (
                json!({"matchExpressions": [{"key": "b", "operator": "Exists"}, {"key": "a", "operator": "in", "values": ["b"]}]}),
                "matchExpressions[1].operator: \"in\" is not a valid label selector operator",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
                "matchExpressions[0].values: for the operators `In` and `NotIn` values are needed",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                "matchExpressions[0].values: must be empty for the operator `Exists`",
            ),
            (json!({"matchLabels": {"": "b"}}), "matchLabels.: `` is not a valid name of a label"),
            (json!({"matchLabels": {"a": "b c"}}), "matchLabels.a: `b c` is not a valid value of a label"),
            (json!({"matchLabels": {"X/a": "b"}}), "matchLabels.X/a: `X/a` is not a valid name of a label"),
        ];
        for (selector, expected) in table {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(parsed.selector().unwrap_err().to_string(), expected);
            assert!(!parsed.matches(&labels("a=b b=c")), "{selector}");
        }
    }
}
