//! `spec.authentication`: who is asking.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{one_method, optional_method};
use crate::schema::any_json;
use crate::schema::rules::{at_most_one, exactly_one, one_of};
use crate::{
    CommonEvaluatorSpec, Credentials, LabelSelector, LocalObjectReference, MethodError, NamedValuesOrSelectors,
    SecretKeyReference, ValueSource,
};

/// One way to authenticate. Exactly one method is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-usher-rules" = [one_of(&[
    &["apiKey"], &["jwt"], &["oauth2Introspection"], &["kubernetesTokenReview"], &["x509"], &["spiffe"],
    &["plain"], &["anonymous"],
])]))]
pub struct AuthenticationSpec {
    /// Priority, condition, cache and metrics.
    #[serde(flatten)]
    pub common: CommonEvaluatorSpec,
    /// Where the credential stands in the request. Default: the `Authorization` header with the scheme `Bearer`.
    /// `x509`, `spiffe` and `plain` do not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Take the credential out of the request before it goes to the upstream, if this rule authenticated it.
    /// Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_credential: bool,
    /// Members that the identity gets where it lacks them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: NamedValuesOrSelectors,
    /// Members that the identity gets in any case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: NamedValuesOrSelectors,
    /// Keys that are kept in Secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeySpec>,
    /// JSON Web Tokens, of an OpenID Connect issuer or verified with a published key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSpec>,
    /// Tokens that an OAuth 2.0 authorization server is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2_introspection: Option<OAuth2IntrospectionSpec>,
    /// Tokens that the Kubernetes API is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_token_review: Option<KubernetesTokenReviewSpec>,
    /// Client certificates signed by authorities that are kept in Secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509: Option<X509Spec>,
    /// SPIFFE identities of callers, as the gateway or mesh has verified them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<SpiffeSpec>,
    /// An identity that the request already carries, taken as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<PlainIdentitySpec>,
    /// Anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousSpec>,
}

/// The method of an [`AuthenticationSpec`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AuthenticationMethod<'a> {
    /// `apiKey`
    ApiKey(&'a ApiKeySpec),
    /// `jwt`
    Jwt(&'a JwtSpec),
    /// `oauth2Introspection`
    OAuth2Introspection(&'a OAuth2IntrospectionSpec),
    /// `kubernetesTokenReview`
    KubernetesTokenReview(&'a KubernetesTokenReviewSpec),
    /// `x509`
    X509(&'a X509Spec),
    /// `spiffe`
    Spiffe(&'a SpiffeSpec),
    /// `plain`
    Plain(&'a PlainIdentitySpec),
    /// `anonymous`
    Anonymous(&'a AnonymousSpec),
}

impl AuthenticationSpec {
    /// The one method that is given; an error if there is none or more than one.
    pub fn method(&self) -> Result<AuthenticationMethod<'_>, MethodError> {
        use AuthenticationMethod as Method;
        one_method([
            ("apiKey", self.api_key.as_ref().map(Method::ApiKey)),
            ("jwt", self.jwt.as_ref().map(Method::Jwt)),
            ("oauth2Introspection", self.oauth2_introspection.as_ref().map(Method::OAuth2Introspection)),
            ("kubernetesTokenReview", self.kubernetes_token_review.as_ref().map(Method::KubernetesTokenReview)),
            ("x509", self.x509.as_ref().map(Method::X509)),
            ("spiffe", self.spiffe.as_ref().map(Method::Spiffe)),
            ("plain", self.plain.as_ref().map(Method::Plain)),
            ("anonymous", self.anonymous.as_ref().map(Method::Anonymous)),
        ])
    }
}

/// API keys: the entry `api_key` of Secrets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeySpec {
    /// The labels of the Secrets that hold keys. An empty selector takes every Secret in scope.
    pub selector: LabelSelector,
    /// Take Secrets of all namespaces instead of the AuthConfig's own. Needs a server that watches all namespaces.
    /// Default: false.
    #[serde(default)]
    pub all_namespaces: bool,
}

/// JSON Web Tokens. Exactly one of `jwksUrl`, `issuerUrl`, `jwks` and `secretRef` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [exactly_one(
    &["jwksUrl", "issuerUrl", "jwks", "secretRef"],
    "Use one of: jwksUrl, issuerUrl, jwks, secretRef",
)]))]
pub struct JwtSpec {
    /// URL of a JSON Web Key Set that verifies the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// URL of an OpenID Connect issuer; its keys are found through its discovery document,
    /// at `/.well-known/openid-configuration` below this URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// A JSON Web Key Set that verifies the tokens, given here or in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwksSpec>,
    /// The entry of a Secret, in the namespace of the AuthConfig, with the secret that signs the tokens (HS256, HS384,
    /// HS512).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<JwtSecretReference>,
    /// What the claim `iss` must be: a string, or a list of strings of which it must be one. Default: with `issuerUrl`
    /// the `issuer` of the discovery document, otherwise it is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_json")]
    pub issuer: Option<serde_json::Value>,
    /// Of these the claim `aud` must have one. Default: it is not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The signature algorithms that are accepted (RFC 7518, section 3.1), such as `ES256`. Default: all that the keys
    /// allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Seconds by which the clocks of issuer and server may differ when `exp` and `nbf` are checked. Default: 0 for
    /// `exp`, 300 for `nbf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leeway_seconds: Option<u64>,
    /// Seconds after which the issuer's discovery document and keys are fetched again. Default: 0, never.
    /// Used only with `issuerUrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The most milliseconds that a request to the issuer or for the key set may take; 0 sets no limit of its own.
    /// Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// A JSON Web Key Set that is not fetched. Exactly one of `inline` and `secretRef` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [one_of(&[&["inline"], &["secretRef"]])]))]
pub struct JwksSpec {
    /// The key set (RFC 7517, section 5), as an object or as its JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_json")]
    pub inline: Option<serde_json::Value>,
    /// The entry of a Secret, in the namespace of the AuthConfig, with the JSON text of the key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyReference>,
}

/// Where a [`JwksSpec`] has its keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JwksSource<'a> {
    /// `inline`
    Inline(&'a serde_json::Value),
    /// `secretRef`
    SecretRef(&'a SecretKeyReference),
}

impl JwksSpec {
    /// Where the keys are; an error if both or neither is given.
    pub fn source(&self) -> Result<JwksSource<'_>, MethodError> {
        one_method([
            ("inline", self.inline.as_ref().map(JwksSource::Inline)),
            ("secretRef", self.secret_ref.as_ref().map(JwksSource::SecretRef)),
        ])
    }
}

/// The entry of a Secret with a shared secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtSecretReference {
    /// Name of the Secret.
    pub name: String,
    /// Name of the entry. Default: `key`.
    #[serde(default = "default_secret_key")]
    pub key: String,
}

fn default_secret_key() -> String {
    "key".to_owned()
}

/// Where the keys of a [`JwtSpec`] come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JwtKeySource<'a> {
    /// `jwksUrl`
    JwksUrl(&'a str),
    /// `issuerUrl`
    IssuerUrl(&'a str),
    /// `jwks`
    Jwks(&'a JwksSpec),
    /// `secretRef`
    SecretRef(&'a JwtSecretReference),
}

impl JwtSpec {
    /// Where the keys come from; an error if none or more than one is given.
    pub fn key_source(&self) -> Result<JwtKeySource<'_>, MethodError> {
        one_method([
            ("jwksUrl", self.jwks_url.as_deref().map(JwtKeySource::JwksUrl)),
            ("issuerUrl", self.issuer_url.as_deref().map(JwtKeySource::IssuerUrl)),
            ("jwks", self.jwks.as_ref().map(JwtKeySource::Jwks)),
            ("secretRef", self.secret_ref.as_ref().map(JwtKeySource::SecretRef)),
        ])
    }

    /// The issuers of `issuer`; none if it is not given, an error text if it is neither a string nor a list of strings.
    pub fn issuers(&self) -> Result<Option<Vec<&str>>, &'static str> {
        const WRONG: &str = "must be a string or a list of strings";
        match &self.issuer {
            None => Ok(None),
            Some(serde_json::Value::String(issuer)) => Ok(Some(vec![issuer])),
            Some(serde_json::Value::Array(issuers)) if !issuers.is_empty() => {
                issuers.iter().map(serde_json::Value::as_str).collect::<Option<_>>().map(Some).ok_or(WRONG)
            }
            Some(_) => Err(WRONG),
        }
    }
}

/// OAuth 2.0 token introspection (RFC 7662).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2IntrospectionSpec {
    /// URL of the introspection endpoint.
    pub endpoint: String,
    /// The `token_type_hint` of the request. Default: `access_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
    /// The Secret with the entries `clientID` and `clientSecret`, in the namespace of the AuthConfig.
    pub credentials_ref: LocalObjectReference,
    /// The most milliseconds that a request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Kubernetes TokenReview.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesTokenReviewSpec {
    /// Audiences of which the token must be meant for at least one. Default: the host of the request, without its port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The most milliseconds that a review may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Client certificates, verified with the authorities in Secrets: their entry `tls.crt`, or else `ca.crt`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct X509Spec {
    /// The labels of the Secrets that hold certificates of authorities. An empty selector takes every Secret in scope.
    pub selector: LabelSelector,
    /// Take Secrets of all namespaces instead of the AuthConfig's own. Needs a server that watches all namespaces.
    /// Default: false.
    #[serde(default)]
    pub all_namespaces: bool,
    /// Where the certificate stands in the request. Default: the certificate of the connection, as the proxy tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<X509SourceSpec>,
}

/// Where a client certificate stands in the request. At most one member is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [at_most_one(
    &["xfccHeader", "clientCertHeader", "expression", "jsonPath"],
    "Use one of: xfccHeader, clientCertHeader, expression, jsonPath",
)]))]
pub struct X509SourceSpec {
    /// Name of a header in the format of Envoy's `x-forwarded-client-cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xfcc_header: Option<String>,
    /// Which element of `xfccHeader` counts: each hop that appends adds one. Default: `first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xfcc_element: Option<XfccElement>,
    /// Name of a header in the format of `Client-Cert` (RFC 9440).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_header: Option<String>,
    /// CEL expression that gives the certificate as PEM, percent-encoded or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// JSONPath (RFC 9535) that gives the certificate as PEM, percent-encoded or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
}

/// One element of an `x-forwarded-client-cert` header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum XfccElement {
    /// The one of the hop that is farthest away.
    #[default]
    First,
    /// The one of the hop that is nearest.
    Last,
}

/// Where a client certificate is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum X509Source<'a> {
    /// `xfccHeader`
    XfccHeader(&'a str),
    /// `clientCertHeader`
    ClientCertHeader(&'a str),
    /// `expression`
    Expression(&'a str),
    /// `jsonPath`
    JsonPath(&'a str),
}

impl X509Spec {
    /// Where the certificate is taken from; None for that of the connection, an error if several places are given.
    pub fn certificate_source(&self) -> Result<Option<X509Source<'_>>, MethodError> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        optional_method([
            ("xfccHeader", source.xfcc_header.as_deref().map(X509Source::XfccHeader)),
            ("clientCertHeader", source.client_cert_header.as_deref().map(X509Source::ClientCertHeader)),
            ("expression", source.expression.as_deref().map(X509Source::Expression)),
            ("jsonPath", source.json_path.as_deref().map(X509Source::JsonPath)),
        ])
    }
}

/// The SPIFFE identity of the caller. It is taken as the gateway tells it, without any proof: `trust` says who vouches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpiffeSpec {
    /// Who vouches for the identity: the TLS connection of the gateway with the caller, or the header
    /// `x-forwarded-client-cert`, which the gateway must then write itself.
    pub trust: SpiffeTrust,
    /// Which element of the header counts, if it has several: each hop that appends adds one. Default: a header with
    /// several elements is refused. Used only with `trust: xfcc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xfcc_element: Option<XfccElement>,
    /// The trust domains whose identities count, such as `cluster.local`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
}

/// The header in which proxies tell of the certificates of connections (Envoy).
pub const XFCC_HEADER: &str = "x-forwarded-client-cert";

/// Who vouches for a SPIFFE identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpiffeTrust {
    /// The gateway, which has verified the certificate of the connection: `source.principal`.
    Connection,
    /// The header `x-forwarded-client-cert`, in its field `URI`.
    Xfcc,
}

/// An identity taken from the request as it is. Exactly one member is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [exactly_one(
    &["selector", "expression", "jsonPath"],
    "Use exactly one of: selector, expression, jsonPath",
)]))]
pub struct PlainIdentitySpec {
    /// Path into the authorization JSON, or a template with such paths in braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// CEL expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// JSONPath (RFC 9535) into the authorization JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
}

impl PlainIdentitySpec {
    /// Where the identity is taken from; an error unless exactly one member is given.
    pub fn source(&self) -> Result<ValueSource<'_>, MethodError> {
        one_method([
            ("selector", self.selector.as_deref().map(ValueSource::Selector)),
            ("expression", self.expression.as_deref().map(ValueSource::Expression)),
            ("jsonPath", self.json_path.as_deref().map(ValueSource::JsonPath)),
        ])
    }
}

/// Anyone; there is nothing to set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnonymousSpec {}
