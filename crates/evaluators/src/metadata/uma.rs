//! `uma`: what is registered about the resource that a request is for.
//!
//! # What it does
//! Asks a User-Managed Access 2.0 server for the resources that are registered for the path of the request (Federated
//! Authorization for UMA 2.0 §3, and the filter `uri`, which Keycloak offers). The metadata is the list of their
//! descriptions, in the order in which the server lists them; an empty one if nothing is registered.
//!
//! ```text
//!  at load, and every hour    GET  ENDPOINT/.well-known/uma2-configuration      its `issuer` must be ENDPOINT
//!  when the last one is old   POST token_endpoint                               with clientID and clientSecret
//!  with each request          GET  resource_registration_endpoint?uri=PATH      → ["a", "b"]
//!                             GET  resource_registration_endpoint/a, …/b        several at a time
//! ```
//!
//! - The path is that of the request without its query, decoded once, as the service behind the gateway reads it: a
//!   request for `/a%20b` asks for `/a b`, and one for `/a%2520b` for `/a%20b`.
//! - A token is kept as long as its `expires_in` says, less 10 seconds; without `expires_in` it is used for one request.
//!   A token that is not accepted any more is replaced, and the server is asked once more.
//! - A resource that cannot be fetched is left out.
//!
//! # Example
//! ```yaml
//! metadata:
//!   resource-data:
//!     uma:
//!       endpoint: https://keycloak.example/realms/pets
//!       credentialsRef: {name: pets-client}
//! authorization:
//!   owner:
//!     when: [{selector: "auth.metadata.resource-data.#", operator: neq, value: "0"}]
//!     opa: {rego: 'allow { input.auth.metadata["resource-data"][0].owner.id == input.auth.identity.sub }'}
//! ```
//!
//! # Errors
//! Without metadata the check goes on, unless the rule says `onError: deny`. All are undecidable:
//! - `missing uma configuration`: the server could not be found out about yet, or is not the one of this endpoint. As
//!   long as it never could, no request passes, whatever `onError` says.
//! - `missing protection api token`: it gives no token for this client.
//! - `uma request failed`: it does not answer, not with 200, not with a list of ids, or with more than 128 of them; or
//!   the descriptions are larger than 4 MiB together.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use serde_json::Value;
use url::Url;
use usher_api::UmaSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};

use crate::{
    BuildContext, FieldPath, Problems, basic_authorization,
    json_answer::first_value,
    resources::{
        background::FIRST_ATTEMPT_PATIENCE,
        http::{LONGEST_EXCHANGE, Onward, parse_url, time_limit},
        uma::{Endpoints, Token, UmaConfig, UmaServer},
    },
};

/// Looks up the resources that are registered for the path of a request.
#[derive(Debug)]
pub struct Uma {
    server: Arc<UmaServer>,
}

/// Reads `uma` of a rule.
pub fn build(spec: &UmaSpec, at: &FieldPath<'_>, context: &BuildContext<'_>, problems: &mut Problems) -> Option<Uma> {
    let endpoint = problems.take(&at.field("endpoint"), parse_url(&spec.endpoint));
    let authorization = basic_authorization::from_secret(&spec.credentials_ref, at, context, problems);
    endpoint?;
    let (endpoint, timeout) = (spec.endpoint.clone(), time_limit(spec.timeout));
    let config = UmaConfig { endpoint, authorization: authorization?, timeout };
    Some(Uma { server: context.resources.uma.server(config) })
}

/// How many resources of one path are looked at. Keycloak lists 100 at most.
const MAX_RESOURCES: usize = 128;

/// How many of them are fetched at a time.
const AT_A_TIME: usize = 8;

/// How many bytes their descriptions may have together.
const MAX_BYTES: usize = 4 << 20;

impl Evaluator for Uma {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let onward = match Onward::of(context.request()) {
            Ok(onward) => onward,
            Err(nested) => return Evaluation::failure(nested.into()),
        };
        let look_up = self.look_up(context.request().url_path(), onward);
        Evaluation::pending(async move {
            let in_time = tokio::time::timeout(LONGEST_EXCHANGE, look_up).await;
            in_time.unwrap_or_else(|_| Err(failed(format!("not done within {LONGEST_EXCHANGE:?}"))))
        })
    }

    fn is_prepared(&self) -> bool {
        self.server.endpoints().is_some()
    }
}

impl Uma {
    async fn look_up(&self, path: &str, onward: Onward) -> Outcome {
        if let Some(attempt) = self.server.first_attempt() {
            let _ = tokio::time::timeout(FIRST_ATTEMPT_PATIENCE, attempt).await;
        }
        let Some(endpoints) = self.server.endpoints().clone() else { return Err(self.server.unavailable()) };
        let token = self.server.token(&endpoints).await?;
        let resources = match self.resources(&endpoints, &token, path, &onward).await {
            Err(LookUpError::Unauthorized) => {
                // It was revoked, or the server forgot it.
                self.server.forget(&token).await;
                let token = self.server.token(&endpoints).await?;
                self.resources(&endpoints, &token, path, &onward).await
            }
            result => result,
        };
        match resources {
            Ok(resources) => Ok(Arc::new(Value::Array(resources))),
            Err(LookUpError::Failed(detail)) => Err(failed(detail)),
            Err(LookUpError::Unauthorized) => Err(failed("a new token is not accepted".to_owned())),
        }
    }

    async fn resources(
        &self,
        endpoints: &Endpoints,
        token: &Token,
        path: &str,
        onward: &Onward,
    ) -> Result<Vec<Value>, LookUpError> {
        let registration = &endpoints.resource_registration;
        let ids = self.ids(&query_url(registration, path), token, onward).await?;
        let (mut resources, mut bytes) = (Vec::with_capacity(ids.len()), 0);
        let fetches = ids.into_iter().map(|id| async move { self.resource(registration, &id, token, onward).await });
        let mut found = stream::iter(fetches).buffered(AT_A_TIME);
        while let Some(resource) = found.try_next().await? {
            let Some((resource, size)) = resource else { continue };
            bytes += size;
            if bytes > MAX_BYTES {
                return Err(LookUpError::Failed(format!("the resources have more than {MAX_BYTES} bytes")));
            }
            resources.push(resource);
        }
        Ok(resources)
    }

    /// The ids of the resources.
    async fn ids(&self, url: &Url, token: &Token, onward: &Onward) -> Result<Vec<String>, LookUpError> {
        let response =
            self.server.get(url, token, onward).await.map_err(|error| LookUpError::Failed(error.to_string()))?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED if !token.is_new() => return Err(LookUpError::Unauthorized),
            status => return Err(LookUpError::Failed(format!("query: status {} instead of 200", status.as_u16()))),
        }
        let answer = first_value(response.body).await.map_err(LookUpError::Failed)?;
        let ids = serde_json::from_value::<Vec<String>>(answer)
            .map_err(|_| LookUpError::Failed("the answer is not a list of ids".to_owned()))?;
        if ids.len() > MAX_RESOURCES {
            return Err(LookUpError::Failed(format!("more than {MAX_RESOURCES} resources")));
        }
        Ok(ids)
    }

    /// A resource and the size of its description; nothing if it cannot be had.
    async fn resource(
        &self,
        registration: &Url,
        id: &str,
        token: &Token,
        onward: &Onward,
    ) -> Result<Option<(Value, usize)>, LookUpError> {
        let left_out = |cause: String| {
            tracing::debug!(server = ?self.server, cause, "a uma resource is left out");
            Ok(None)
        };
        let Some(url) = resource_url(registration, id) else {
            return left_out("its id cannot be part of a URL".to_owned());
        };
        let response = match self.server.get(&url, token, onward).await {
            Ok(response) => response,
            Err(error) => return left_out(error.to_string()),
        };
        match response.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED if !token.is_new() => return Err(LookUpError::Unauthorized),
            status => return left_out(format!("status {} instead of 200", status.as_u16())),
        }
        let size = response.body.len();
        match first_value(response.body).await {
            Ok(resource) => Ok(Some((resource, size))),
            Err(error) => left_out(error),
        }
    }
}

/// Why there is no list of resources.
enum LookUpError {
    /// A kept token is not accepted.
    Unauthorized,
    /// For logs.
    Failed(String),
}

fn failed(detail: String) -> Failure {
    Failure::undecidable("uma request failed", detail)
}

/// Where the resources of a path are asked for.
fn query_url(registration: &Url, path: &str) -> Url {
    let mut url = registration.clone();
    let others = registration.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&"));
    url.set_query(Some(&format!("{}uri={}", others.unwrap_or_default(), escape(path))));
    url
}

/// Where one resource is described; nothing for an id that would be another place.
fn resource_url(registration: &Url, id: &str) -> Option<Url> {
    let mut url = registration.clone();
    if matches!(id, "" | "." | "..") {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().push(id);
    Some(url)
}

/// A path, decoded already, as the value of a query parameter. If an escape in it were left for the server to decode, a
/// caller could ask the service for one resource and have another one looked up.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.as_bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(*byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
