//! `oauth2Introspection`: tokens that only their issuer can read.
//!
//! # What it does
//! Takes the credential of the request for an access token and asks the introspection endpoint of its issuer about it
//! (RFC 7662). If the token is active the identity is the whole answer; nothing in it is looked at but `active`. Every
//! request is asked about anew, unless the rule has a `cache`.
//!
//! ```text
//!  POST endpoint
//!  Authorization: Basic …                              clientID and clientSecret of the Secret
//!  token=…&token_type_hint=access_token                the hint as the rule says
//! ```
//!
//! # Example
//! ```yaml
//! authentication:
//!   opaque:
//!     oauth2Introspection:
//!       endpoint: https://keycloak.example/realms/pets/protocol/openid-connect/token/introspect
//!       credentialsRef: {name: introspection-client}
//! ```
//!
//! # Errors
//! - `credential not found`: the request carries no token where the rule looks for it, or an empty one.
//! - `token is not active`: it is unknown, expired or revoked, as the endpoint says; or it is larger than 64 kB, and
//!   nobody was asked.
//! - undecidable, `token introspection request failed`: no answer in time, or one with another status than 200.
//! - undecidable, `invalid token introspection response`: an answer without a boolean `active`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;
use url::form_urlencoded;
use usher_api::OAuth2IntrospectionSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};

use crate::{
    BuildContext, FieldPath, Problems, basic_authorization,
    credentials::{Credentials, MAX_TOKEN, NOT_FOUND},
    json_answer::first_value,
    resources::http::{Client, Onward, Request, parse_url, time_limit},
};

/// Asks an introspection endpoint about the token of a request.
#[derive(Debug)]
pub struct OAuth2Introspection {
    credentials: Credentials,
    client: Client,
    endpoint: String,
    authorization: HeaderValue,
    token_type_hint: String,
    timeout: Option<Duration>,
}

/// Reads `oauth2Introspection` of a rule.
pub fn build(
    spec: &OAuth2IntrospectionSpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<OAuth2Introspection> {
    let endpoint = problems.take(&at.field("endpoint"), parse_url(&spec.endpoint));
    let authorization = basic_authorization::from_secret(&spec.credentials_ref, at, context, problems);
    endpoint?;
    Some(OAuth2Introspection {
        credentials: credentials?,
        client: context.resources.http.clone(),
        endpoint: spec.endpoint.clone(),
        authorization: authorization?,
        token_type_hint: spec.token_type_hint.clone().filter(|hint| !hint.is_empty()).unwrap_or("access_token".into()),
        timeout: time_limit(spec.timeout),
    })
}

const NOT_ACTIVE: &str = "token is not active";

impl Evaluator for OAuth2Introspection {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.credentials.require(context) {
            Ok(token) if token.is_empty() => Evaluation::failure(Failure::denied(NOT_FOUND)),
            Ok(token) if token.len() > MAX_TOKEN => Evaluation::failure(Failure::denied(NOT_ACTIVE)),
            Ok(token) => Evaluation::pending(self.introspect(token, context)),
            Err(failure) => Evaluation::failure(failure),
        }
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.credentials.require(context).map(Some)
    }
}

impl OAuth2Introspection {
    async fn introspect(&self, token: Cow<'_, str>, context: &Context<'_>) -> Outcome {
        let failed = |detail: String| Failure::undecidable("token introspection request failed", detail);
        let malformed = |detail: String| Failure::undecidable("invalid token introspection response", detail);
        let mut request = self.request(&token);
        Onward::of(context.request())?.put(&mut request.headers);
        let response = self.client.fetch(request).await.map_err(|error| failed(error.to_string()))?;
        if response.status != StatusCode::OK {
            return Err(failed(format!("status {} instead of 200", response.status.as_u16())));
        }
        let answer = first_value(response.body).await.map_err(malformed)?;
        match answer.get("active") {
            Some(Value::Bool(true)) => Ok(Arc::new(answer)),
            Some(Value::Bool(false)) => Err(Failure::denied(NOT_ACTIVE)),
            _ => Err(malformed("missing or non-boolean \"active\" field".to_owned())),
        }
    }

    fn request(&self, token: &str) -> Request {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", &self.token_type_hint)
            .finish();
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, self.authorization.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let timeout = self.timeout;
        Request { method: Method::POST, url: self.endpoint.clone(), headers, body: form.into(), timeout }
    }
}

#[cfg(test)]
mod tests;
