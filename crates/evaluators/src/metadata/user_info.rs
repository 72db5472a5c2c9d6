//! `userInfo`: what the issuer of an access token tells about its holder.
//!
//! # What it does
//! Asks a UserInfo endpoint (OpenID Connect Core 1.0 §5.3) with the credential with which the caller was authenticated,
//! wherever that stands in the request. The metadata is the object that it answers.
//!
//! ```text
//!  GET endpoint
//!  Authorization: Bearer …
//! ```
//!
//! - `identitySource` names an authentication rule with `jwt.issuerUrl`: the endpoint is the `userinfo_endpoint` of the
//!   issuer's discovery document. It is asked only about callers who were authenticated by that rule, or by another one
//!   of the same issuer: nobody else's credential is its business.
//! - `userInfoUrl` is the endpoint itself. It gets the credential of whichever rule authenticated the caller, so it must
//!   be trusted with all of them.
//!
//! The status of the answer does not matter if its body is an object: `{"error": "invalid_token"}` becomes the metadata
//! just as an answer to a valid token does. What policies rely on must be in it, not absent from it.
//!
//! # Example
//! ```yaml
//! authentication:
//!   keycloak:
//!     jwt: {issuerUrl: https://keycloak.example/realms/pets}
//! metadata:
//!   user-info:
//!     userInfo: {identitySource: keycloak}
//! authorization:
//!   verified:
//!     patternMatching: {patterns: [{selector: auth.metadata.user-info.email_verified, operator: eq, value: "true"}]}
//! ```
//!
//! # Errors
//! Without metadata the check goes on, unless the rule says `onError: deny`.
//! - refused when loaded, `missing identity config …`: there is no such authentication rule. One without
//!   `jwt.issuerUrl` is worth a warning: there is never any metadata.
//! - `missing identity for oidc issuer`: the caller was authenticated otherwise. Nobody was asked.
//! - `credential not found`: the rule that authenticated the caller needs no credential, and there is none where it
//!   would look; or it has none that could be passed on (`plain`).
//! - undecidable, `missing openid connect configuration` or `missing userinfo endpoint`: where to ask is not known.
//! - undecidable, `userinfo request failed`: no answer in time, or one that is no JSON object (a signed one is not).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, AUTHORIZATION},
};
use usher_api::{UserInfoSource, UserInfoSpec};
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::{Credentials, NOT_FOUND},
    identity::Facts,
    json_answer::first_value,
    resources::{
        http::{Client, Onward, Request, parse_url, time_limit},
        oidc::Source,
    },
};

/// Asks a UserInfo endpoint about the caller.
#[derive(Debug)]
pub struct UserInfo {
    client: Client,
    endpoint: Endpoint,
    /// Where the credential stands, by the names of the authentication rules whose credentials the endpoint may get;
    /// none where a rule has no credential.
    credentials: BTreeMap<String, Option<Credentials>>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Endpoint {
    /// At this URL.
    Given(String),
    /// As the issuer says.
    Discovered(Arc<Source>),
    /// There is no way to know.
    Unknown,
}

/// Reads `userInfo` of a rule.
pub fn build(
    spec: &UserInfoSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<UserInfo> {
    let endpoint = endpoint(spec, at, context, problems)?;
    let may_be_told = |facts: &Facts| match &endpoint {
        Endpoint::Discovered(source) => facts.issuer.as_ref().is_some_and(|other| other.issuer() == source.issuer()),
        Endpoint::Given(_) | Endpoint::Unknown => true,
    };
    let credentials = context
        .identities
        .iter()
        .filter(|(_, facts)| may_be_told(facts))
        .map(|(name, facts)| (name.clone(), facts.credentials.clone()))
        .collect();
    let (client, timeout) = (context.resources.http.clone(), time_limit(spec.timeout));
    Some(UserInfo { client, endpoint, credentials, timeout })
}

fn endpoint(
    spec: &UserInfoSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Endpoint> {
    match problems.take(at, spec.source())? {
        UserInfoSource::UserInfoUrl(url) => {
            problems.take(&at.field("userInfoUrl"), parse_url(url))?;
            Some(Endpoint::Given(url.to_owned()))
        }
        UserInfoSource::IdentitySource(name) => {
            let at = &at.field("identitySource");
            let Some(facts) = context.identities.get(name) else {
                problems.add(at, format_args!("missing identity config {name}"));
                return None;
            };
            let Some(source) = &facts.issuer else {
                problems.warn(at, format_args!("there is never any user info: `{name}` has no `jwt.issuerUrl`"));
                return Some(Endpoint::Unknown);
            };
            Some(Endpoint::Discovered(Arc::clone(source)))
        }
    }
}

impl Evaluator for UserInfo {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.request(context) {
            Ok(request) => Evaluation::pending(self.ask(request)),
            Err(failure) => Evaluation::failure(failure),
        }
    }
}

impl UserInfo {
    fn request(&self, context: &Context<'_>) -> Result<Request, Failure> {
        let rule = context.identity().map(|identity| &*identity.rule).unwrap_or_default();
        let Some(credentials) = self.credentials.get(rule) else {
            return Err(Failure::denied("missing identity for oidc issuer"));
        };
        let token = credentials.as_ref().and_then(|credentials| credentials.find(context.request()));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(Failure::denied(NOT_FOUND));
        };
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Failure::denied("the credential cannot be sent in a header"))?;
        authorization.set_sensitive(true);
        let mut request = Request::get(self.endpoint()?, self.timeout);
        request.headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        Onward::of(context.request())?.put(&mut request.headers);
        Ok(request)
    }

    fn endpoint(&self) -> Result<String, Failure> {
        match &self.endpoint {
            Endpoint::Given(url) => Ok(url.clone()),
            Endpoint::Unknown => {
                Err(Failure::undecidable("missing openid connect configuration", "the identity source has no issuer"))
            }
            Endpoint::Discovered(source) => match &*source.keys() {
                Some(keys) => keys.user_info_endpoint.clone().ok_or_else(|| {
                    let detail = format!("{source:?}: the discovery document has no usable `userinfo_endpoint`");
                    Failure::undecidable("missing userinfo endpoint", detail)
                }),
                None => {
                    // Another rule knows the issuer's keys, and this one should too: sooner than by itself, perhaps.
                    let _ = source.refresh();
                    Err(source.unavailable())
                }
            },
        }
    }

    async fn ask(&self, request: Request) -> Outcome {
        let failed = |detail: String| Failure::undecidable("userinfo request failed", detail);
        let response = self.client.fetch(request).await.map_err(|error| failed(error.to_string()))?;
        let of_status = |what: String| failed(format!("status {}: {what}", response.status.as_u16()));
        let answer = first_value(response.body).await.map_err(of_status)?;
        if answer.is_object() { Ok(Arc::new(answer)) } else { Err(of_status("the answer is not an object".to_owned())) }
    }
}

#[cfg(test)]
mod tests;
