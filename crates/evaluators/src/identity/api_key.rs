//! `apiKey`: keys that are kept in Secrets.
//!
//! # What it does
//! Takes the credential of the request for an API key and looks for the Secret that holds it in its entry `api_key`.
//! The Secret must be one that the server watches, in the namespace of the AuthConfig (in any, with `allNamespaces`,
//! if the server watches all), with labels that `selector` selects. Its identity is the Secret itself, as the
//! Kubernetes API writes it, so that labels and annotations can say more about the caller. Where several Secrets hold
//! one key, the oldest is the identity, and the key works until the last of them is gone.
//!
//! Every byte of the entry counts: a newline at its end is part of the key.
//!
//! # Example
//! ```yaml
//! authentication:
//!   friends:
//!     apiKey: {selector: {matchLabels: {group: friends}}}
//!     credentials: {authorizationHeader: {prefix: APIKEY}}
//! ```
//!
//! # Errors
//! - `credential not found`: the request carries no key where the rule looks for it.
//! - `the API Key provided is invalid`: no Secret in reach holds the key.

use std::{borrow::Cow, sync::Arc};

use usher_api::{ApiKeySpec, Selector};
use usher_engine::{Context, Evaluation, Evaluator, Failure};

use crate::{BuildContext, FieldPath, Problems, credentials::Credentials, resources::api_keys::ApiKeys};

/// Finds the Secret with the key of a request.
#[derive(Debug)]
pub struct ApiKey {
    credentials: Credentials,
    keys: Arc<ApiKeys>,
    /// Where Secrets count; nothing for everywhere.
    namespace: Option<Arc<str>>,
    selector: Selector,
}

/// Reads `apiKey` of a rule.
pub fn build(
    spec: &ApiKeySpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<ApiKey> {
    let selector = problems.take(&at.field("selector"), spec.selector.selector());
    let namespace = context.namespace_of_secrets(spec.all_namespaces, at, problems);
    Some(ApiKey {
        credentials: credentials?,
        keys: Arc::clone(&context.resources.api_keys),
        namespace,
        selector: selector?,
    })
}

impl Evaluator for ApiKey {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let key = match self.credentials.require(context) {
            Ok(key) => key,
            Err(failure) => return Evaluation::failure(failure),
        };
        match self.keys.find(&key, self.namespace.as_deref(), &self.selector) {
            Some(identity) => Evaluation::success(identity),
            None => Evaluation::failure(Failure::denied("the API Key provided is invalid")),
        }
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.credentials.require(context).map(Some)
    }
}
