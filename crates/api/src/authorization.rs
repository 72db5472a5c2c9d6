//! `spec.authorization`: what must hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::one_method;
use crate::schema::rules::{at_least_one, exactly_one, not_empty};
use crate::{
    CommonEvaluatorSpec, HttpEndpointSpec, MethodError, PatternExpressionOrRef, SecretKeyReference, ValueOrSelector,
};

/// One rule that must grant access. Exactly one method is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-usher-rules" = [exactly_one(
    &["patternMatching", "opa", "kubernetesSubjectAccessReview", "spicedb"],
    "Use exactly one of: patternMatching, opa, kubernetesSubjectAccessReview, spicedb",
)]))]
pub struct AuthorizationSpec {
    /// Priority, condition, cache and metrics.
    #[serde(flatten)]
    pub common: CommonEvaluatorSpec,
    /// Patterns and predicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern_matching: Option<PatternMatchingSpec>,
    /// A policy in Rego, the language of Open Policy Agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opa: Option<OpaSpec>,
    /// A question to the Kubernetes API: a SubjectAccessReview.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_subject_access_review: Option<KubernetesSubjectAccessReviewSpec>,
    /// A permission check with SpiceDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spicedb: Option<SpiceDbSpec>,
}

/// The method of an [`AuthorizationSpec`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AuthorizationMethod<'a> {
    /// `patternMatching`
    PatternMatching(&'a PatternMatchingSpec),
    /// `opa`
    Opa(&'a OpaSpec),
    /// `kubernetesSubjectAccessReview`
    KubernetesSubjectAccessReview(&'a KubernetesSubjectAccessReviewSpec),
    /// `spicedb`
    SpiceDb(&'a SpiceDbSpec),
}

impl AuthorizationSpec {
    /// The one method that is given; an error if there is none or more than one.
    pub fn method(&self) -> Result<AuthorizationMethod<'_>, MethodError> {
        use AuthorizationMethod as Method;
        one_method([
            ("patternMatching", self.pattern_matching.as_ref().map(Method::PatternMatching)),
            ("opa", self.opa.as_ref().map(Method::Opa)),
            (
                "kubernetesSubjectAccessReview",
                self.kubernetes_subject_access_review.as_ref().map(Method::KubernetesSubjectAccessReview),
            ),
            ("spicedb", self.spicedb.as_ref().map(Method::SpiceDb)),
        ])
    }
}

/// Patterns and predicates that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternMatchingSpec {
    /// What must hold, all of it. An empty list always grants.
    pub patterns: Vec<PatternExpressionOrRef>,
}

/// A Rego policy. Exactly one of `rego` and `externalPolicy` is given. Access is granted when its rule `allow` is true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [
    exactly_one(&["rego", "externalPolicy"], "Use exactly one of: rego, externalPolicy"),
]))]
pub struct OpaSpec {
    /// The text of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rego: Option<String>,
    /// Where the text of the policy is downloaded from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_policy: Option<ExternalPolicySpec>,
    /// Return the values of all rules of the policy, not only that of `allow`; they are then to be had as
    /// `auth.authorization.NAME`. Default: false.
    #[serde(default)]
    pub all_values: bool,
    /// The version of the Rego language: `v0`, as before OPA 1.0, or `v1`. Default: `v0`.
    #[serde(default)]
    pub version: RegoVersion,
}

/// Where the text of a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OpaPolicy<'a> {
    /// `rego`
    Rego(&'a str),
    /// `externalPolicy`
    ExternalPolicy(&'a ExternalPolicySpec),
}

impl OpaSpec {
    /// Where the text of the policy comes from; an error if both or neither is given.
    pub fn policy(&self) -> Result<OpaPolicy<'_>, MethodError> {
        one_method([
            ("rego", self.rego.as_deref().map(OpaPolicy::Rego)),
            ("externalPolicy", self.external_policy.as_ref().map(OpaPolicy::ExternalPolicy)),
        ])
    }
}

/// A policy that is downloaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalPolicySpec {
    /// The HTTP request that downloads the policy.
    #[serde(flatten)]
    pub endpoint: HttpEndpointSpec,
    /// Seconds after which the policy is downloaded again. Default: 0, never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// Version of the Rego language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RegoVersion {
    /// As before OPA 1.0: `if`, `contains`, `in` and `every` need an import.
    #[default]
    V0,
    /// As of OPA 1.0.
    V1,
}

/// A Kubernetes SubjectAccessReview: may this user do that? Without `resourceAttributes` it is about the path and the
/// method of the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [
    at_least_one(
        &["user", "groups", "authorizationGroups"],
        "At least one of user, groups, or authorizationGroups must be specified",
    ),
    not_empty("groups", "'groups' must not be empty"),
]))]
pub struct KubernetesSubjectAccessReviewSpec {
    /// The user in question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<ValueOrSelector>,
    /// Groups of the user, fixed. Superseded by `authorizationGroups`, which wins if both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Groups of the user: a list of strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_groups: Option<ValueOrSelector>,
    /// The Kubernetes resource in question, and what is to be done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_attributes: Option<ResourceAttributesSpec>,
    /// The most milliseconds that a review may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// The Kubernetes resource of a SubjectAccessReview. What is left out is empty in the review.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceAttributesSpec {
    /// Namespace of the resource; empty for all namespaces, or for resources without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ValueOrSelector>,
    /// API group of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<ValueOrSelector>,
    /// Type of the resource, in plural, such as `pods`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ValueOrSelector>,
    /// Name of the resource; empty for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ValueOrSelector>,
    /// Part of the resource, such as `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<ValueOrSelector>,
    /// What is to be done, such as `get` or `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<ValueOrSelector>,
}

/// A permission check with SpiceDB.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpiceDbSpec {
    /// `host:port` of the gRPC server. Without a port: 443; if it is empty: `grpc.authzed.com:443`.
    pub endpoint: String,
    /// Connect without TLS. Default: false.
    #[serde(default)]
    pub insecure: bool,
    /// The entry of a Secret that holds the preshared key, in the namespace of the AuthConfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_secret_ref: Option<SecretKeyReference>,
    /// Who asks. Required, with its kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<SpiceDbObjectSpec>,
    /// What is asked for. Required, with its kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<SpiceDbObjectSpec>,
    /// The permission, or relation, that the subject must have on the resource. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<ValueOrSelector>,
    /// How fresh the data must be on which the answer is based. Default: as the server is set up, usually
    /// `minimizeLatency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<SpiceDbConsistency>,
    /// The most milliseconds that the request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// How fresh the data of SpiceDB must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpiceDbConsistency {
    /// As fresh as the server's caches are.
    #[default]
    MinimizeLatency,
    /// With every change that was made before the request.
    FullyConsistent,
}

/// An object in SpiceDB: `kind:name`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpiceDbObjectSpec {
    /// Identifier of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ValueOrSelector>,
    /// Type of the object, as in the schema of the SpiceDB server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ValueOrSelector>,
}
