//! Outgoing HTTP requests: metadata, callbacks, external policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::one_method;
use crate::schema::any_json_list;
use crate::schema::rules::{at_most_one, exactly_one};
use crate::{Credentials, MethodError, NamedValuesOrSelectors, SecretKeyReference, ValueOrSelector};

/// An HTTP request. Exactly one of `url` and `urlExpression` is given, and at most one of `body` and `bodyParameters`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-usher-rules" = [
    exactly_one(&["url", "urlExpression"], "Use exactly one of: url, urlExpression"),
    at_most_one(&["body", "bodyParameters"], "Use one of: body, bodyParameters"),
]))]
pub struct HttpEndpointSpec {
    /// The URL; paths into the authorization JSON in braces are replaced by their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// CEL expression that gives the URL, a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_expression: Option<String>,
    /// HTTP method. Default: `GET`.
    #[serde(default)]
    pub method: HttpMethod,
    /// Body of the request, sent as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<ValueOrSelector>,
    /// Parameters, by name, that make up the body in the format of `contentType`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub body_parameters: NamedValuesOrSelectors,
    /// Format of the body. Default: `application/x-www-form-urlencoded`.
    #[serde(default)]
    pub content_type: ContentType,
    /// Headers of the request, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: NamedValuesOrSelectors,
    /// The entry of a Secret, in the namespace of the AuthConfig, whose value is sent along as credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_secret_ref: Option<SecretKeyReference>,
    /// OAuth 2.0 client credentials grant that gets a token, which is sent along as credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2ClientAuthentication>,
    /// Where the credential of `sharedSecretRef` or `oauth2` stands in the request.
    /// Default: the `Authorization` header with the scheme `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The statuses of a successful answer: numbers such as `204`, and classes such as `2xx`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "any_json_list")]
    pub expect_status: Vec<serde_json::Value>,
    /// The most milliseconds that the request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Where the URL of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlSource<'a> {
    /// `url`: a template.
    Url(&'a str),
    /// `urlExpression`: CEL.
    Expression(&'a str),
}

impl HttpEndpointSpec {
    /// Where the URL comes from; an error if both or neither is given.
    pub fn url_source(&self) -> Result<UrlSource<'_>, MethodError> {
        one_method([
            ("url", self.url.as_deref().map(UrlSource::Url)),
            ("urlExpression", self.url_expression.as_deref().map(UrlSource::Expression)),
        ])
    }
}

/// Method of an HTTP request (RFC 9110, section 9; PATCH: RFC 5789).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET
    #[default]
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// HEAD
    Head,
    /// OPTIONS
    Options,
    /// CONNECT: refused, it makes no request.
    Connect,
    /// TRACE
    Trace,
}

impl HttpMethod {
    /// The method as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
        }
    }
}

/// Format of the body of an HTTP request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContentType {
    /// A form.
    #[default]
    #[serde(rename = "application/x-www-form-urlencoded")]
    Form,
    /// JSON.
    #[serde(rename = "application/json")]
    Json,
}

impl ContentType {
    /// The value of the header `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

/// OAuth 2.0 client credentials grant (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2ClientAuthentication {
    /// URL of the token endpoint.
    pub token_url: String,
    /// Identifier of the client.
    pub client_id: String,
    /// The entry of a Secret, in the namespace of the AuthConfig, that holds the secret of the client.
    pub client_secret_ref: SecretKeyReference,
    /// Scopes that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Further parameters of the token request, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_params: BTreeMap<String, String>,
    /// Keep the token until it expires, instead of getting one for every request. Default: true.
    #[serde(default = "default_cache")]
    pub cache: bool,
    /// The most milliseconds that the token request may take; 0 sets no limit of its own. Default: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

fn default_cache() -> bool {
    true
}
