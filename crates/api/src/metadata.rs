//! `spec.metadata`: further data for the decision.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::one_method;
use crate::schema::rules::exactly_one;
use crate::{CommonEvaluatorSpec, HttpEndpointSpec, LocalObjectReference, MethodError};

/// One source of further data. Exactly one method is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-usher-rules" = [
    exactly_one(&["http", "userInfo", "uma"], "Use exactly one of: http, userInfo, uma"),
]))]
pub struct MetadataSpec {
    /// Priority, condition, cache and metrics.
    #[serde(flatten)]
    pub common: CommonEvaluatorSpec,
    /// The answer of an HTTP service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpEndpointSpec>,
    /// What an OpenID Connect provider tells about the user of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfoSpec>,
    /// Resources that a User-Managed Access server has registered for the path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uma: Option<UmaSpec>,
    /// What follows when the data cannot be had. Default: `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnMetadataError>,
}

/// What follows when the data of a metadata rule cannot be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnMetadataError {
    /// The check goes on without it.
    #[default]
    Skip,
    /// The request is not let in.
    Deny,
}

/// The method of a [`MetadataSpec`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetadataMethod<'a> {
    /// `http`
    Http(&'a HttpEndpointSpec),
    /// `userInfo`
    UserInfo(&'a UserInfoSpec),
    /// `uma`
    Uma(&'a UmaSpec),
}

impl MetadataSpec {
    /// The one method that is given; an error if there is none or more than one.
    pub fn method(&self) -> Result<MetadataMethod<'_>, MethodError> {
        one_method([
            ("http", self.http.as_ref().map(MetadataMethod::Http)),
            ("userInfo", self.user_info.as_ref().map(MetadataMethod::UserInfo)),
            ("uma", self.uma.as_ref().map(MetadataMethod::Uma)),
        ])
    }
}

/// OpenID Connect UserInfo (OpenID Connect Core 1.0, section 5.3). Exactly one of `identitySource` and `userInfoUrl`
/// is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [
    exactly_one(&["identitySource", "userInfoUrl"], "Use one of: identitySource, userInfoUrl"),
]))]
pub struct UserInfoSpec {
    /// Name of an authentication rule of this AuthConfig that uses `jwt.issuerUrl`; the endpoint is found through its
    /// discovery document, and asked only when a rule of that issuer authenticated the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_source: Option<String>,
    /// URL of the UserInfo endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info_url: Option<String>,
    /// The most milliseconds that a request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Which endpoint a [`UserInfoSpec`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserInfoSource<'a> {
    /// `identitySource`
    IdentitySource(&'a str),
    /// `userInfoUrl`
    UserInfoUrl(&'a str),
}

impl UserInfoSpec {
    /// Which endpoint is asked; an error if both or neither is given.
    pub fn source(&self) -> Result<UserInfoSource<'_>, MethodError> {
        one_method([
            ("identitySource", self.identity_source.as_deref().map(UserInfoSource::IdentitySource)),
            ("userInfoUrl", self.user_info_url.as_deref().map(UserInfoSource::UserInfoUrl)),
        ])
    }
}

/// Resource data of a User-Managed Access (UMA 2.0) server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UmaSpec {
    /// URL of the server; its configuration is found at `/.well-known/uma2-configuration` below it.
    pub endpoint: String,
    /// The Secret with the entries `clientID` and `clientSecret`, in the namespace of the AuthConfig.
    pub credentials_ref: LocalObjectReference,
    /// The most milliseconds that a request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}
