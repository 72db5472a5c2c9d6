//! HTTP requests that users describe: those of metadata rules, of callbacks, and for policies that are kept elsewhere.
//!
//! ```text
//!  document ──► URL, headers, body ──► PreparedRequest ──► token, if asked for ──► credential ──► Client ──► Response
//!               all resolved at once   owns what is sent   shared by equal rules   in its place   guarded
//! ```
//!
//! # Fields
//! | field | meaning |
//! | --- | --- |
//! | `url` | the URL; `{selector}` is replaced by what the selector finds, as it is; `\{` and `\}` are braces |
//! | `urlExpression` | instead: CEL that gives the URL |
//! | `method` | `GET` (default), `POST`, `PUT`, `PATCH`, `DELETE`, `HEAD`, `OPTIONS`, `TRACE` |
//! | `body`, `bodyParameters`, `contentType` | the body of POST, PUT, PATCH and DELETE; the others send none |
//! | `headers` | further headers; `Content-Type` is always that of the body, and of requests without one `text/plain` |
//! | `sharedSecretRef` or `oauth2`, `credentials` | what is sent along as credential, and where: see below |
//! | `expectStatus` | the statuses of a success, for example `[2xx, 404]`; default: all |
//! | `timeout` | milliseconds for the request; default 5000; 0 leaves it to the time limit of the check, and to that of the client |
//!
//! `headers` that concern the connection (`Host`, `Content-Length`, `Transfer-Encoding`, `Trailer`, `Connection`,
//! `Keep-Alive`, `Proxy-Connection`, `TE`, `Upgrade`) have no effect, which is worth a warning. A header that takes the
//! name of the credential's replaces it.
//!
//! # Credentials
//! | `credentials` | where the secret stands |
//! | --- | --- |
//! | absent, `{}` | `Authorization: Bearer SECRET` |
//! | `authorizationHeader: {prefix: P}` | `Authorization: P SECRET` |
//! | `customHeader: {name: N}` | `N: SECRET` |
//! | `cookie: {name: N}` | `Cookie: N=SECRET` |
//! | `queryString: {name: N}` | the parameter `N`, in place of those of that name; the query is written anew, sorted by name |
//!
//! The secret is the entry of a Secret that `sharedSecretRef` names (none is sent if the entry is empty), or the token
//! that `oauth2` gets by the [client credentials grant](crate::resources::client_credentials), which has precedence. A
//! Secret whose entry cannot stand where it should, for example one with a line break at its end in a header, is
//! refused when it is loaded. With `oauth2: {cache: false}` every request has a token of its own. An answer with the
//! status 401 ends the use of a token that is ten seconds old or older; if the method is idempotent (RFC 9110 §9.2.2)
//! the request is made once more with another one, within the same time limit.
//!
//! # Traces
//! Requests that belong to a check carry its trace: `traceparent`, `tracestate` and `baggage`, in place of `headers` of
//! these names.
//!
//! # Where a request goes
//! Values come from callers, who may try to turn the request against another server. The scheme, the host and the port
//! that stand in `url` before its first placeholder are fixed: a request whose values change them is not sent. They are
//! fixed when a slash, a question mark or a port ends them, and also when the placeholder is the last before the query:
//! `http://h/{x}`, `http://h:80{x}`, `http://h{request.path}` and `http://h{request.path}?a=b`, but not
//! `http://tenant-{x}/`, which is worth a warning. Within path and query a value may be anything: `..` climbs, `?`
//! begins the query, `&` the next parameter, `#` ends the URL. Spaces and control characters are percent-encoded where
//! they may stand. Redirects are not followed, and addresses that mean this machine or services of the cloud are
//! refused.
//!
//! # Errors
//! - An expression that has no value, a URL that may not be asked for, a header value with a line break: the caller's
//!   doing, with the error as reason.
//! - No answer in time, one that is too large or has another status than expected, no token: the dependency's doing,
//!   with the reasons of [`FetchError::reason`], `unexpected response`, `invalid response`, `token request failed`.

mod answer;
mod body;
mod credential;
mod headers;
mod target;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, time::Duration};

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_LENGTH};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use usher_api::{HttpEndpointSpec, HttpMethod};
use usher_engine::Failure;
use usher_expr::{Document, EvaluationError};

use self::{
    answer::Statuses,
    body::Body,
    credential::{Credential, Source},
    headers::Headers,
    target::Target,
};
use crate::{
    BuildContext, FieldPath, Problems,
    resources::{
        client_credentials::{Token, TokenError},
        http::{
            Client, FetchError, FetchErrorKind, LONGEST_EXCHANGE, NestedTooDeep, Onward, Request, Response, time_limit,
        },
    },
};

/// A request that users describe, ready to be made again and again.
pub struct HttpEndpoint {
    client: Client,
    method: Method,
    target: Target,
    headers: Headers,
    body: Body,
    credential: Option<Credential>,
    expected: Statuses,
    time_limit: Option<Duration>,
}

/// Reads an endpoint.
pub fn build(
    spec: &HttpEndpointSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<HttpEndpoint> {
    let target = Target::build(spec, at, problems);
    let method = method(spec.method, &at.field("method"), problems);
    let body = Body::build(spec, at, problems);
    let headers = Headers::build(&spec.headers, body.content_type(spec), &at.field("headers"), problems);
    let credential = credential::build(spec, at, context, problems);
    let expected = Statuses::build(&spec.expect_status, &at.field("expectStatus"), problems);
    Some(HttpEndpoint {
        client: context.resources.http.clone(),
        method: method?,
        target: target?,
        headers: headers?,
        body,
        credential: credential?,
        expected: expected?,
        time_limit: time_limit(spec.timeout),
    })
}

fn method(method: HttpMethod, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Method> {
    match method {
        HttpMethod::Get => Some(Method::GET),
        HttpMethod::Post => Some(Method::POST),
        HttpMethod::Put => Some(Method::PUT),
        HttpMethod::Patch => Some(Method::PATCH),
        HttpMethod::Delete => Some(Method::DELETE),
        HttpMethod::Head => Some(Method::HEAD),
        HttpMethod::Options => Some(Method::OPTIONS),
        HttpMethod::Trace => Some(Method::TRACE),
        HttpMethod::Connect => {
            problems.add(at, "`CONNECT` asks a proxy for a tunnel: it has no answer that could be used");
            None
        }
    }
}

impl HttpEndpoint {
    /// Makes the request for `document` (that of a check, or `Value::Null` where there is none) and gives the answer.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub async fn call(&self, document: &dyn Document) -> Result<Response, EndpointError> {
        self.request(document)?.send().await
    }

    /// Resolves everything that depends on the document.
    ///
    /// # Errors
    /// When an expression has no value, or what it gives cannot stand in a URL or a header.
    pub fn request(&self, document: &dyn Document) -> Result<PreparedRequest<'_>, EndpointError> {
        let url = self.target.resolve(document)?;
        let body = self.body.resolve(document)?;
        let mut headers = self.headers.resolve(document)?;
        if body.is_empty() && self.body.may_be_sent() {
            // Some servers insist on it with methods that usually have a body (RFC 9110 §8.6).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(PreparedRequest { endpoint: self, url, headers, body })
    }

    /// The answer as a value: JSON if it says so, several JSON values as a list, anything else as a string. An answer
    /// without content, such as that to HEAD, is the empty string.
    ///
    /// # Errors
    /// When it is not the JSON that it says to be.
    pub fn read(&self, response: &Response) -> Result<Value, EndpointError> {
        let empty =
            self.method == Method::HEAD || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if empty && response.body.is_empty() {
            return Ok(Value::String(String::new()));
        }
        answer::read(response)
    }
}

/// A request with everything that depended on a document. Its credential is added when it is sent.
pub struct PreparedRequest<'a> {
    endpoint: &'a HttpEndpoint,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl PreparedRequest<'_> {
    /// The request as one that is made because of another: with the headers of its trace, and with how deep they are
    /// nested, in place of those that the configuration gives by the same names.
    ///
    /// # Errors
    /// When they are nested too deep.
    pub fn because_of(mut self, request: &usher_engine::Request) -> Result<Self, EndpointError> {
        Onward::of(request)?.put(&mut self.headers);
        Ok(self)
    }

    /// Sends the request and gives the answer, of an expected status.
    ///
    /// # Errors
    /// When there is no answer, no token, or another status than expected.
    pub async fn send(self) -> Result<Response, EndpointError> {
        let limit = self.endpoint.time_limit.unwrap_or(LONGEST_EXCHANGE);
        let response = match &self.endpoint.credential {
            None => self.exchange(None, limit).await?,
            Some(credential) => match &credential.source {
                Source::Secret(secret) => self.exchange(Some((credential, secret.reveal())), limit).await?,
                Source::NewToken(client) => {
                    let token = client.new_token().await?;
                    self.exchange(Some((credential, token.reveal())), limit).await?
                }
                Source::Token(client) => {
                    let token = client.token().await?;
                    let deadline = Instant::now() + limit.min(LONGEST_EXCHANGE);
                    let response = self.exchange(Some((credential, token.reveal())), limit).await?;
                    let rejected = response.status == StatusCode::UNAUTHORIZED && client.reject(&token);
                    // A new token may be what is missing. Nothing must be done twice for that.
                    if rejected && self.endpoint.method.is_idempotent() {
                        self.again(credential, client.token(), deadline).await.unwrap_or(response)
                    } else {
                        response
                    }
                }
            },
        };
        self.endpoint.expected.check(&response)?;
        Ok(response)
    }

    /// The answer to the same request with another token, if there is one in time.
    async fn again(
        &self,
        credential: &Credential,
        token: impl Future<Output = Result<Token, TokenError>>,
        deadline: Instant,
    ) -> Option<Response> {
        let token = tokio::time::timeout_at(deadline, token).await.ok()?.ok()?;
        let left = deadline.saturating_duration_since(Instant::now());
        self.exchange(Some((credential, token.reveal())), left).await.ok()
    }

    async fn exchange(
        &self,
        credential: Option<(&Credential, &str)>,
        limit: Duration,
    ) -> Result<Response, EndpointError> {
        let (mut url, mut headers) = (self.url.clone(), self.headers.clone());
        if let Some((credential, secret)) = credential {
            credential.place.put(secret, &mut url, &mut headers)?;
        }
        let method = self.endpoint.method.clone();
        let request = Request { method, url, headers, body: self.body.clone(), timeout: Some(limit) };
        Ok(self.endpoint.client.fetch(request).await?)
    }
}

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The doing of the caller or of the configuration: the request cannot be made. The text may be shown to callers.
    #[error("{0}")]
    Request(Cow<'static, str>),
    /// The doing of the server that was asked.
    #[error("{detail}")]
    Dependency {
        /// A stable short text that callers may see.
        reason: &'static str,
        /// What exactly happened: for logs, without secrets.
        detail: String,
    },
}

impl EndpointError {
    fn request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Request(message.into())
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Request(reason) => Self::Denied(reason),
            EndpointError::Dependency { reason, detail } => Self::undecidable(reason, detail),
        }
    }
}

impl From<NestedTooDeep> for EndpointError {
    fn from(error: NestedTooDeep) -> Self {
        Self::Dependency { reason: NestedTooDeep::REASON, detail: error.to_string() }
    }
}

impl From<EvaluationError> for EndpointError {
    fn from(error: EvaluationError) -> Self {
        Self::request(error.message)
    }
}

impl From<FetchError> for EndpointError {
    fn from(error: FetchError) -> Self {
        match error.kind() {
            FetchErrorKind::Url => Self::request(error.to_string()),
            FetchErrorKind::Address => Self::request(error.reason()),
            _ => Self::Dependency { reason: error.reason(), detail: error.to_string() },
        }
    }
}

impl From<TokenError> for EndpointError {
    fn from(error: TokenError) -> Self {
        Self::Dependency { reason: "token request failed", detail: error.to_string() }
    }
}

/// Without URL, headers and body, all of which may hold secrets.
impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpEndpoint")
            .field("method", &self.method)
            .field("credential", &self.credential)
            .field("expected", &self.expected)
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}
