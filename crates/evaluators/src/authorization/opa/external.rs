//! `externalPolicy`: a policy that a registry publishes.
//!
//! # What it does
//! Downloads the text of the policy in the background: when the AuthConfig is loaded, every `ttl` seconds, and after a
//! failure, with pauses that grow from one second to a minute. Nothing waits for it but the first checks, for
//! [`FIRST_ATTEMPT_PATIENCE`] at most, and the readiness of the process. The policy that was downloaded last is used
//! until a newer one is there *and* can be used: if the registry is away, or publishes what is too large, invalid or no
//! policy at all, the earlier one stays in force, and the log says why, once per cause.
//!
//! The request has all options of an HTTP request. It is made for no client's request, so expressions see an empty
//! authorization document; what cannot do without one is refused when it is loaded. The answer must have status 200,
//! unless `expectStatus` says otherwise. If it is `application/json`, the text is its member `result.raw`, as in the
//! policy API of Open Policy Agent; otherwise it is the body. Everything that holds for the text of `rego` holds for
//! it: limits, refused constructs, `version`, `allValues`.
//!
//! An AuthConfig that is loaded again keeps the policy, unless the rule's `opa` or one of its Secrets has changed.
//! A grant that the `cache` of the rule keeps is used for the ttl of that cache, also when a newer policy has come.
//!
//! # Example
//! ```yaml
//! authorization:
//!   company-rules:
//!     opa:
//!       externalPolicy:
//!         url: https://opa.example/v1/policies/company
//!         ttl: 300
//!         sharedSecretRef: {name: policy-registry, key: token}
//! ```
//!
//! # Errors
//! - `missing policy`: none was ever downloaded with success. Nothing is decided (503).
//! - Those of the policy itself.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use ::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use usher_api::{
    ExternalPolicySpec, HttpEndpointSpec, OpaSpec, RegoVersion, SecretKeyReference, UrlSource, ValueOrSelector,
    ValueSource,
};
use usher_engine::{Context, Evaluation, Evaluator, Outcome};
use usher_expr::{Expression, template::Template};

use super::{Begun, Opa, Outbound, builtins::http::HttpSend, policy::Policy};
use crate::{
    BuildContext, FieldPath, Problems, SecretUse,
    http_endpoint::{self, HttpEndpoint},
    resources::{
        background::FIRST_ATTEMPT_PATIENCE,
        external_policies::{Digest, ExternalPolicy, Origin, PolicyConfig, answer},
        http::parse_url,
    },
};

/// What expressions see of the request of a client when there is none.
const NO_REQUEST: Value = Value::Null;

/// Builds the evaluator of the rule `name`. What is wrong with the specification is noted at its fields.
pub(super) fn build(
    name: &str,
    spec: &OpaSpec,
    policy: &ExternalPolicySpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<External> {
    let (config, registry) = read(name, spec, policy, at, context, problems)?;
    Some(External { source: context.resources.external_policies.policy(config, registry) })
}

fn read(
    name: &str,
    spec: &OpaSpec,
    policy: &ExternalPolicySpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<(PolicyConfig, Registry)> {
    let endpoint = http_endpoint::build(&policy.endpoint, at, context, problems);
    warn_of_selectors(&policy.endpoint, at, problems);
    let ttl = policy.ttl.unwrap_or(0);
    if ttl < 0 {
        problems.warn(&at.field("ttl"), "the policy is downloaded once: it is negative");
    }
    let endpoint = endpoint?;
    check(&endpoint, &policy.endpoint, at, problems)?;
    let config = PolicyConfig {
        digest: problems.take(at, digest(name, spec, policy, at, context))?,
        authconfig: format!("{}/{}", context.namespace, context.name),
        rule: name.to_owned(),
        ttl: u64::try_from(ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs),
    };
    let registry = Registry {
        endpoint,
        any_status: !policy.endpoint.expect_status.is_empty(),
        version: spec.version,
        all_values: spec.all_values,
        http: Arc::new(Outbound(context.resources.http.clone())),
        runaways: Arc::default(),
    };
    Some((config, registry))
}

/// What is selected from an empty document is null: the URL has a gap, the header is left out. That is hardly meant.
fn warn_of_selectors(spec: &HttpEndpointSpec, at: &FieldPath<'_>, problems: &mut Problems) {
    const NOTHING: &str = "nothing is selected: a policy is downloaded without a request at hand";
    let mut escaped = false;
    let has_placeholder = spec.url.as_deref().unwrap_or_default().chars().any(|character| {
        let opens = character == '{' && !escaped;
        escaped = character == '\\' && !escaped;
        opens
    });
    if has_placeholder {
        problems.warn(&at.field("url"), NOTHING);
    }
    let selects =
        |value: &ValueOrSelector| matches!(value.source(), ValueSource::Selector(_) | ValueSource::JsonPath(_));
    if spec.body.as_ref().is_some_and(selects) {
        problems.warn(&at.field("body"), NOTHING);
    }
    for (field, values) in [("headers", &spec.headers), ("bodyParameters", &spec.body_parameters)] {
        for (name, _) in values.iter().filter(|(_, value)| selects(value)) {
            problems.warn(&at.field(field).key(name), NOTHING);
        }
    }
}

/// Refuses what will never work: nothing that the request depends on is still to come.
fn check(endpoint: &HttpEndpoint, spec: &HttpEndpointSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<()> {
    if let Err(error) = endpoint.request(&NO_REQUEST) {
        problems.add(at, format_args!("a policy is downloaded without a request at hand: {error}"));
        return None;
    }
    let (field, url) = match spec.url_source().ok()? {
        UrlSource::Url(template) => ("url", Template::parse(template).ok()?.render(&NO_REQUEST)),
        UrlSource::Expression(expression) => {
            ("urlExpression", Expression::cel(expression).ok()?.resolve_text(&NO_REQUEST).ok()?.into_owned())
        }
    };
    problems.take(&at.field(field), parse_url(&url)).map(drop)
}

/// Everything that the policy and its download depend on. The name of the rule is among it, so that every policy has
/// one rule that logs can name.
fn digest(
    rule: &str,
    spec: &OpaSpec,
    policy: &ExternalPolicySpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
) -> serde_json::Result<Digest> {
    #[derive(Serialize)]
    struct Dependencies<'a> {
        namespace: &'a str,
        name: &'a str,
        rule: &'a str,
        opa: &'a OpaSpec,
        secrets: [Option<&'a [u8]>; 2],
    }
    // Their problems are noted where they are used.
    let secret = |reference: &SecretKeyReference| {
        let SecretKeyReference { name, key } = reference;
        context.secrets.entry(name, key, SecretUse::Credential, at, &mut Problems::default())
    };
    let endpoint = &policy.endpoint;
    let secrets =
        [endpoint.shared_secret_ref.as_ref(), endpoint.oauth2.as_ref().map(|oauth2| &oauth2.client_secret_ref)];
    let dependencies = Dependencies {
        namespace: context.namespace,
        name: context.name,
        rule,
        opa: spec,
        secrets: secrets.map(|reference| reference.and_then(secret)),
    };
    serde_json::to_vec(&dependencies).map(|bytes| Digest::of(&bytes))
}

/// A policy that is downloaded decides.
#[derive(Debug)]
pub(super) struct External {
    source: Arc<ExternalPolicy<Registry>>,
}

impl Evaluator for External {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let Some(version) = &*self.source.version() else {
            return Evaluation::pending(self.evaluate_first(context));
        };
        match version.policy.begin(context) {
            Begun::Done(outcome) => outcome.into(),
            Begun::Long(input) => {
                let version = Arc::clone(version);
                Evaluation::pending(async move { version.policy.elsewhere(input, context.deadline()).await })
            }
        }
    }
}

impl External {
    /// Evaluates the policy that may be on its way.
    async fn evaluate_first(&self, context: &Context<'_>) -> Outcome {
        if let Some(attempt) = self.source.first_attempt() {
            // Whatever came of it, the policy is there or not.
            let _ = tokio::time::timeout(FIRST_ATTEMPT_PATIENCE, attempt).await;
        }
        let Some(version) = self.source.version().clone() else { return Err(self.source.missing()) };
        match version.policy.begin(context) {
            Begun::Done(outcome) => outcome,
            Begun::Long(input) => version.policy.elsewhere(input, context.deadline()).await,
        }
    }
}

/// Where the text of one policy comes from, and how it is to be understood.
pub(crate) struct Registry {
    endpoint: HttpEndpoint,
    /// Whether the endpoint itself knows which statuses are good.
    any_status: bool,
    version: RegoVersion,
    all_values: bool,
    http: Arc<dyn HttpSend>,
    runaways: Arc<AtomicUsize>,
}

impl Origin for Registry {
    type Policy = Opa;

    async fn download(&self) -> Result<String, String> {
        let response = self.endpoint.call(&NO_REQUEST).await.map_err(|error| error.to_string())?;
        if !self.any_status && response.status != StatusCode::OK {
            return Err(format!("status {} instead of 200", response.status.as_u16()));
        }
        answer::text(&response)
    }

    fn compile(&self, text: &str) -> Result<(Opa, Vec<String>), String> {
        let http = Some(Arc::clone(&self.http));
        let (policy, warnings) =
            Policy::compile(text, self.version, self.all_values, http).map_err(|error| error.to_string())?;
        Ok((Opa::new(policy).of_rule(Arc::clone(&self.runaways)), warnings))
    }
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
