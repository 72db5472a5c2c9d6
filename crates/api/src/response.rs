//! `spec.response`: what is answered, and what is passed on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::one_method;
use crate::schema::rules::one_of;
use crate::{CommonEvaluatorSpec, MethodError, NamedValuesOrSelectors, ValueOrSelector};

/// What is answered to requests that are denied, and added to those that are allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseSpec {
    /// The answer to requests that no authentication rule lets in. Default: 401 with a challenge for each rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated: Option<DenyWithSpec>,
    /// The answer to requests that an authorization rule denies. Default: 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthorized: Option<DenyWithSpec>,
    /// What is added to requests that are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<SuccessSpec>,
}

/// The answer to a denied request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyWithSpec {
    /// HTTP status code. Default: 401 for `unauthenticated`, 403 for `unauthorized`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 300, max = 599))]
    pub code: Option<u16>,
    /// Text of the header `X-Ext-Auth-Reason`, instead of the reason for the denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<ValueOrSelector>,
    /// Headers of the answer, by name; those of the answer itself are replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: NamedValuesOrSelectors,
    /// Body of the answer. Default: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<ValueOrSelector>,
    /// Data that the proxy hands to its other filters and logs, as dynamic metadata, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_metadata: NamedValuesOrSelectors,
}

/// What is added to requests that are allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuccessSpec {
    /// Headers that are added to the request, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Box<SuccessResponseSpec>>,
    /// Data that the proxy hands to its other filters, as dynamic metadata, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_metadata: BTreeMap<String, Box<SuccessResponseSpec>>,
    /// Headers that are taken out of the request, by name. One that is also in `headers` goes out with what the rules
    /// give it, and nothing of what the client sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_headers: Vec<String>,
    /// Headers that are added to the answer to the client, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, Box<SuccessResponseSpec>>,
    /// Changes to the query of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_parameters: Option<QueryParametersSpec>,
}

/// Changes to the query of a request. The gateway writes the query anew, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryParametersSpec {
    /// Parameters that are set, by name; they replace those of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Box<SuccessResponseSpec>>,
    /// Parameters that are taken out, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// One header, query parameter or member of the dynamic metadata. Exactly one method is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-usher-rules" = [one_of(&[&["wristband"], &["json"], &["plain"]])]))]
pub struct SuccessResponseSpec {
    /// Priority, condition, cache and metrics.
    #[serde(flatten)]
    pub common: CommonEvaluatorSpec,
    /// Name of the header, parameter or member. Default: the name of this item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What happens to a header of the same name that is there already; only for headers. Default: `overwrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<HeaderAction>,
    /// One value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<ValueOrSelector>,
    /// A JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonResponseSpec>,
    /// A signed token of our own about the identity: a Festival Wristband.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wristband: Option<WristbandSpec>,
}

/// What happens to a header that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeaderAction {
    /// It is replaced. Where there is no value to put in its place, it is made empty.
    #[default]
    Overwrite,
    /// It stays, and the value is added to it.
    Append,
    /// It stays as it is.
    AddIfAbsent,
}

/// The method of a [`SuccessResponseSpec`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SuccessResponseMethod<'a> {
    /// `plain`
    Plain(&'a ValueOrSelector),
    /// `json`
    Json(&'a JsonResponseSpec),
    /// `wristband`
    Wristband(&'a WristbandSpec),
}

impl SuccessResponseSpec {
    /// The one method that is given; an error if there is none or more than one.
    pub fn method(&self) -> Result<SuccessResponseMethod<'_>, MethodError> {
        one_method([
            ("plain", self.plain.as_ref().map(SuccessResponseMethod::Plain)),
            ("json", self.json.as_ref().map(SuccessResponseMethod::Json)),
            ("wristband", self.wristband.as_ref().map(SuccessResponseMethod::Wristband)),
        ])
    }
}

/// A JSON object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonResponseSpec {
    /// Members of the object, by name.
    pub properties: NamedValuesOrSelectors,
}

/// A JSON Web Token that we issue about the identity of the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WristbandSpec {
    /// The claim `iss`: URL of this server's discovery endpoint for this item,
    /// `https://HOST:PORT/NAMESPACE/AUTHCONFIG/ITEM`.
    pub issuer: String,
    /// Further claims, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_claims: NamedValuesOrSelectors,
    /// Seconds until the token expires. Default: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_duration: Option<i64>,
    /// Keys, of which the first signs and all are published.
    pub signing_key_refs: Vec<SigningKeyRef>,
}

/// A private key in a Secret of the AuthConfig's namespace, entry `key.pem`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningKeyRef {
    /// Name of the Secret; also the identifier (`kid`) of the key.
    pub name: String,
    /// Algorithm of the signature; must suit the key.
    pub algorithm: SigningAlgorithm,
}

/// Algorithm of a signature (RFC 7518, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA with P-384 and SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// ECDSA with P-521 and SHA-512.
    #[serde(rename = "ES512")]
    Es512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
}
