//! The AuthorizationPolicy of the Kyverno Envoy plugin: rules in CEL over the check request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ObjectMeta;

/// The `apiVersion` of an AuthorizationPolicy, the only one there is. The kind alone says little: others use it too.
pub const POLICY_API_VERSION: &str = "envoy.kyverno.io/v1alpha1";
/// The `kind` of an AuthorizationPolicy.
pub const POLICY_KIND: &str = "AuthorizationPolicy";

/// An AuthorizationPolicy whose fields were all checked against the schema.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicy {
    /// Name, labels and the rest of the object's metadata. The namespace is empty: policies have none.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: AuthorizationPolicySpec,
}

/// What a user asks for: which requests are denied, and which are allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationPolicySpec {
    /// What follows when an expression has no value for a request. Default: `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
    /// Conditions for the policy to apply to a request. All must hold. They cannot use variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_conditions: Vec<NamedExpression>,
    /// Expressions that others can use as `variables.NAME`; a variable can use those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<NamedExpression>,
    /// Rules that deny requests. The first that matches answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<PolicyRule>,
    /// Rules that allow requests that no deny rule matches. The first that matches answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<PolicyRule>,
}

/// What follows when an expression of a policy has no value for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// It cannot be decided: the request does not pass.
    #[default]
    Fail,
    /// The policy is left out for this request.
    Ignore,
}

/// A CEL expression with a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedExpression {
    /// Its name, unique in its list.
    pub name: String,
    /// The CEL expression.
    pub expression: String,
}

/// One rule of a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// Whether the rule matches a request, in CEL. Default: it does.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The answer, in CEL: a CheckResponse.
    pub response: String,
}
