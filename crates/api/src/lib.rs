//! The words users write: AuthConfigs (`authorino.kuadrant.io/v1beta3`) and the Secrets that they name, and
//! AuthorizationPolicies (`envoy.kyverno.io/v1alpha1`).
//!
//! ```text
//!   text of a file ──read_documents──▶ Document ─┬─ AuthConfigDocument ── hosts, AuthConfig or its problems
//!   object of the  ──from_kubernetes─────────────┴─ SecretDocument ────── Secret or its problems
//!   Kubernetes API
//!
//!   the types ──derive──▶ Schema ─┬─ what documents are checked against
//!                                 └─ crds(): the CustomResourceDefinition
//! ```
//!
//! The types are the only source: the schema is derived from them, and one schema both checks documents and makes the
//! CustomResourceDefinition. Nothing here runs anything: no expression is parsed, no reference is followed.

mod auth_config;
mod authentication;
mod authorization;
mod authorization_policy;
mod callbacks;
mod claimed;
mod common;
mod conditions;
mod crd;
mod http_endpoint;
mod label_selector;
mod lines;
mod metadata;
mod object_meta;
mod problem;
mod read;
mod response;
mod schema;
mod secret;
mod sound_secret;
mod status;
mod validate;
mod yaml;

pub use auth_config::{API_VERSION, AuthConfig, AuthConfigSpec, KIND};
pub use authentication::{
    AnonymousSpec, ApiKeySpec, AuthenticationMethod, AuthenticationSpec, JwksSource, JwksSpec, JwtKeySource,
    JwtSecretReference, JwtSpec, KubernetesTokenReviewSpec, OAuth2IntrospectionSpec, PlainIdentitySpec, SpiffeSpec,
    SpiffeTrust, X509Source, X509SourceSpec, X509Spec, XFCC_HEADER, XfccElement,
};
pub use authorization::{
    AuthorizationMethod, AuthorizationSpec, ExternalPolicySpec, KubernetesSubjectAccessReviewSpec, OpaPolicy, OpaSpec,
    PatternMatchingSpec, RegoVersion, ResourceAttributesSpec, SpiceDbConsistency, SpiceDbObjectSpec, SpiceDbSpec,
};
pub use authorization_policy::{
    AuthorizationPolicy, AuthorizationPolicySpec, FailurePolicy, NamedExpression, POLICY_API_VERSION, POLICY_KIND,
    PolicyRule,
};
pub use callbacks::CallbackSpec;
pub use claimed::{Claimed, HostAliases, RouteKind, RouteReference};
pub use common::{
    AuthorizationHeaderSpec, CommonEvaluatorSpec, CredentialLocation, Credentials, EvaluatorCaching,
    LocalObjectReference, MethodError, NamedLocation, NamedValuesOrSelectors, SecretKeyReference, ValueOrSelector,
    ValueSource,
};
pub use conditions::{Comparison, Condition, Operator, PatternExpression, PatternExpressionOrRef};
pub use crd::{crds, crds_yaml, schema};
pub use http_endpoint::{ContentType, HttpEndpointSpec, HttpMethod, OAuth2ClientAuthentication, UrlSource};
pub use label_selector::{
    LabelSelector, LabelSelectorRequirement, Requirement, RequirementKind, Selector, SelectorError,
};
pub use lines::Lines;
pub use metadata::{MetadataMethod, MetadataSpec, OnMetadataError, UmaSpec, UserInfoSource, UserInfoSpec};
pub use object_meta::ObjectMeta;
pub use problem::Problem;
pub use read::{
    AuthConfigDocument, AuthorizationPolicyDocument, Document, IgnoredDocument, SecretDocument, UnreadableDocument,
    read_documents,
};
pub use response::{
    DenyWithSpec, HeaderAction, JsonResponseSpec, QueryParametersSpec, ResponseSpec, SigningAlgorithm, SigningKeyRef,
    SuccessResponseMethod, SuccessResponseSpec, SuccessSpec, WristbandSpec,
};
pub use secret::{Secret, SecretName};
pub use sound_secret::SoundSecret;
pub use status::{AuthConfigCondition, AuthConfigStatus, AuthConfigSummary};
