//! What evaluators of several phases have in common.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::PatternExpressionOrRef;
use crate::schema::{any_json, rules::alone};

/// What every evaluator has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonEvaluatorSpec {
    /// Evaluators of a phase run in the order of their priority, lowest first; those of equal priority run together.
    /// May be negative. Default: 0.
    #[serde(default)]
    pub priority: i64,
    /// Count and time this evaluator on its own in the metrics. Default: false.
    #[serde(default)]
    pub metrics: bool,
    /// Conditions for running this evaluator; it is skipped unless all hold. Default: it always runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<PatternExpressionOrRef>,
    /// Keep the result for later requests. Default: it is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<EvaluatorCaching>,
}

/// For how long a result is kept, and for which requests it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluatorCaching {
    /// Requests for which this has the same value share a result.
    pub key: ValueOrSelector,
    /// Seconds for which a result is kept; 0 means the default, and with a negative number nothing is kept. Default: 60.
    #[serde(default = "default_ttl")]
    pub ttl: i64,
}

fn default_ttl() -> i64 {
    60
}

/// A value: fixed, or taken from the authorization JSON of the request.
/// Of several members the first that is given and not empty counts: `expression`, `selector`, `value`.
/// Without any it is null. `jsonPath` cannot be combined with the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [alone("jsonPath", &["value", "selector", "expression"])]))]
pub struct ValueOrSelector {
    /// A fixed value: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_json")]
    pub value: Option<serde_json::Value>,
    /// Path into the authorization JSON, with modifiers such as `@base64:decode`, or a template with such paths in
    /// braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// CEL expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// JSONPath (RFC 9535) into the authorization JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
}

/// Values by name: of headers, claims, parameters, members of an object.
pub type NamedValuesOrSelectors = BTreeMap<String, ValueOrSelector>;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueSource<'a> {
    /// `expression`: CEL.
    Expression(&'a str),
    /// `selector`: path or template.
    Selector(&'a str),
    /// `jsonPath`: RFC 9535.
    JsonPath(&'a str),
    /// `value`: fixed.
    Static(&'a serde_json::Value),
}

impl ValueOrSelector {
    /// A fixed value.
    pub fn fixed(value: impl Into<serde_json::Value>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// Where the value comes from: the first of `expression`, `jsonPath`, `selector` and `value` that is given and not
    /// an empty string; a fixed null without any.
    pub fn source(&self) -> ValueSource<'_> {
        const NULL: &serde_json::Value = &serde_json::Value::Null;
        fn given(text: &Option<String>) -> Option<&str> {
            text.as_deref().filter(|text| !text.is_empty())
        }
        if let Some(expression) = given(&self.expression) {
            ValueSource::Expression(expression)
        } else if let Some(path) = given(&self.json_path) {
            ValueSource::JsonPath(path)
        } else if let Some(selector) = given(&self.selector) {
            ValueSource::Selector(selector)
        } else {
            ValueSource::Static(self.value.as_ref().unwrap_or(NULL))
        }
    }
}

/// Where a credential stands in a request. At most one member is given.
/// Default: the `Authorization` header with the scheme `Bearer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("maxProperties" = 1))]
pub struct Credentials {
    /// The `Authorization` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_header: Option<AuthorizationHeaderSpec>,
    /// Another header; its whole value is the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_header: Option<NamedLocation>,
    /// A parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_string: Option<NamedLocation>,
    /// A cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<NamedLocation>,
}

/// A credential in the `Authorization` header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationHeaderSpec {
    /// The scheme, which stands before the credential. Default: `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// The name of a header, a query parameter or a cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedLocation {
    /// The name.
    pub name: String,
}

/// Where a credential stands in a request, defaults filled in. An empty name or scheme is `Bearer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialLocation<'a> {
    /// In the `Authorization` header, after this scheme.
    AuthorizationHeader(&'a str),
    /// The value of this header.
    CustomHeader(&'a str),
    /// The value of this query parameter.
    QueryString(&'a str),
    /// The value of this cookie.
    Cookie(&'a str),
}

/// The scheme, or name, that stands in for an empty one.
const DEFAULT_IDENTIFIER: &str = "Bearer";

impl Default for CredentialLocation<'_> {
    fn default() -> Self {
        Self::AuthorizationHeader(DEFAULT_IDENTIFIER)
    }
}

impl<'a> CredentialLocation<'a> {
    /// The scheme or the name.
    pub fn identifier(&self) -> &'a str {
        match self {
            Self::AuthorizationHeader(identifier)
            | Self::CustomHeader(identifier)
            | Self::QueryString(identifier)
            | Self::Cookie(identifier) => identifier,
        }
    }
}

impl Credentials {
    /// Where the credential stands; an error if several members are given.
    pub fn location(&self) -> Result<CredentialLocation<'_>, MethodError> {
        fn name(name: &str) -> &str {
            if name.is_empty() { DEFAULT_IDENTIFIER } else { name }
        }
        let location = optional_method([
            (
                "authorizationHeader",
                self.authorization_header.as_ref().map(|header| {
                    CredentialLocation::AuthorizationHeader(name(header.prefix.as_deref().unwrap_or_default()))
                }),
            ),
            ("customHeader", self.custom_header.as_ref().map(|at| CredentialLocation::CustomHeader(name(&at.name)))),
            ("queryString", self.query_string.as_ref().map(|at| CredentialLocation::QueryString(name(&at.name)))),
            ("cookie", self.cookie.as_ref().map(|at| CredentialLocation::Cookie(name(&at.name)))),
        ])?;
        Ok(location.unwrap_or_default())
    }
}

/// An entry of a Secret in the namespace of the AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyReference {
    /// Name of the Secret.
    pub name: String,
    /// Name of the entry.
    pub key: String,
}

/// A Secret in the namespace of the AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalObjectReference {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Of several fields that exclude each other, not exactly one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodError {
    /// The fields that are given.
    pub given: Vec<&'static str>,
    /// The fields of which one is to be given.
    pub choices: Vec<&'static str>,
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exactly one of {} is needed, found {}", quoted(&self.choices), found(&self.given))
    }
}

impl std::error::Error for MethodError {}

/// `` `a`, `b` `` for messages.
pub(crate) fn quoted(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `` none `` or the names, for messages.
pub(crate) fn found(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() { "none".to_owned() } else { quoted(names) }
}

/// The one candidate that is given.
pub(crate) fn one_method<T, const N: usize>(candidates: [(&'static str, Option<T>); N]) -> Result<T, MethodError> {
    let choices = candidates.iter().map(|(name, _)| *name).collect();
    optional_method(candidates)?.ok_or(MethodError { given: Vec::new(), choices })
}

/// The one candidate that is given, or none.
pub(crate) fn optional_method<T, const N: usize>(
    candidates: [(&'static str, Option<T>); N],
) -> Result<Option<T>, MethodError> {
    let choices: Vec<_> = candidates.iter().map(|(name, _)| *name).collect();
    let mut given = Vec::new();
    let mut method = None;
    for (name, candidate) in candidates {
        if let Some(candidate) = candidate {
            given.push(name);
            method = Some(candidate);
        }
    }
    if given.len() > 1 { Err(MethodError { given, choices }) } else { Ok(method) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_value_comes_from_the_first_source_that_is_not_empty() {
        let (null, five, text, object) = (Value::Null, json!(5), json!("a"), json!({"a": [1]}));
        let table = [
            (json!({"value": "a", "selector": "auth.identity.x"}), ValueSource::Selector("auth.identity.x")),
            (json!({"value": "a", "selector": "s", "expression": "'e'"}), ValueSource::Expression("'e'")),
            (json!({"value": 5}), ValueSource::Static(&five)),
            (json!({"value": {"a": [1]}}), ValueSource::Static(&object)),
            (json!({}), ValueSource::Static(&null)),
            (json!({"value": null}), ValueSource::Static(&null)),
            (json!({"expression": "", "value": "a"}), ValueSource::Static(&text)),
            (json!({"expression": "", "selector": "", "jsonPath": ""}), ValueSource::Static(&null)),
            (json!({"jsonPath": "$.auth"}), ValueSource::JsonPath("$.auth")),
        ];
        for (input, expected) in table {
            let spec: ValueOrSelector = serde_json::from_value(input.clone()).unwrap();
            assert_eq!(spec.source(), expected, "{input}");
        }
    }

    #[test]
    fn credentials_stand_after_bearer_unless_said_otherwise() {
        let table = [
            (json!({}), CredentialLocation::AuthorizationHeader("Bearer")),
            (json!({"authorizationHeader": {}}), CredentialLocation::AuthorizationHeader("Bearer")),
            (json!({"authorizationHeader": {"prefix": ""}}), CredentialLocation::AuthorizationHeader("Bearer")),
            (json!({"authorizationHeader": {"prefix": "APIKEY"}}), CredentialLocation::AuthorizationHeader("APIKEY")),
            (json!({"customHeader": {"name": "x-key"}}), CredentialLocation::CustomHeader("x-key")),
            (json!({"customHeader": {"name": ""}}), CredentialLocation::CustomHeader("Bearer")),
            (json!({"queryString": {"name": "key"}}), CredentialLocation::QueryString("key")),
            (json!({"cookie": {"name": "KEY"}}), CredentialLocation::Cookie("KEY")),
        ];
        for (input, expected) in table {
            let credentials: Credentials = serde_json::from_value(input.clone()).unwrap();
            assert_eq!(credentials.location(), Ok(expected), "{input}");
        }
        let two: Credentials =
            serde_json::from_value(json!({"cookie": {"name": "a"}, "queryString": {"name": "b"}})).unwrap();
        assert_eq!(two.location().unwrap_err().given, ["queryString", "cookie"]);
    }

    #[test]
    fn a_missing_or_doubtful_method_is_an_error_that_names_the_choices() {
        let none = one_method([("a", None::<u8>), ("b", None)]).unwrap_err();
        assert_eq!(none.to_string(), "exactly one of `a`, `b` is needed, found none");
        let both = one_method([("a", Some(1)), ("b", Some(2))]).unwrap_err();
        assert_eq!(both.to_string(), "exactly one of `a`, `b` is needed, found `a`, `b`");
        assert_eq!(one_method([("a", None), ("b", Some(2))]), Ok(2));
        assert_eq!(optional_method([("a", None::<u8>)]), Ok(None));
    }
}
