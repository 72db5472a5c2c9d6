//! One AuthConfig to one plan: phase by phase, collecting everything that is wrong.

use std::{collections::BTreeMap, sync::Arc};

use usher_api::{AuthConfig, AuthenticationSpec, Claimed, DenyWithSpec};
use usher_engine::{
    Plan, Step,
    observe::Metrics,
    plan::{DenyWith, OnConditionError, PlanKind, Priorities, Rules},
};
use usher_evaluators::{
    BuildContext, FieldPath, Problem, Problems, Resources, SecretReader, authorization,
    build_context::Options,
    callbacks, conditions,
    identity::{self, Identities},
    metadata, response, values,
};

use crate::Places;

/// Compiles AuthConfigs.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// What is shared by all plans and outlives them.
    pub resources: Arc<Resources>,
    /// Where counters come from.
    pub metrics: Arc<Metrics>,
    /// Choices of the operator that concern evaluators.
    pub options: Options,
    /// What follows when a condition cannot be evaluated.
    pub on_condition_error: OnConditionError,
    /// Whether AuthConfigs may claim routes, which come before all hosts.
    pub allow_route_lookup: bool,
}

/// An AuthConfig that can be served.
#[derive(Debug)]
pub struct Compiled {
    /// What runs.
    pub plan: Plan,
    /// What it claims.
    pub places: Places,
    /// What works, but probably not as meant.
    pub warnings: Vec<Problem>,
}

/// An AuthConfig that cannot be served.
#[derive(Debug)]
pub struct Refused {
    /// What it claims all the same, as far as that can be read: requests there are answered with *undecidable*, never
    /// left unprotected.
    pub places: Places,
    /// Everything that is wrong. Where a Secret is waited for ([`SecretReader::is_waiting`]) there may be no problem at
    /// all, or one that is there only because of that.
    pub problems: Vec<Problem>,
}

impl Compiler {
    /// Compiles an AuthConfig, with the Secrets that it names.
    ///
    /// # Errors
    /// All problems of the AuthConfig, each with the path of its field. Or a Secret is waited for.
    pub fn compile(&self, auth_config: &AuthConfig, secrets: &SecretReader<'_>) -> Result<Compiled, Refused> {
        let namespace: Arc<str> = auth_config.metadata.namespace.as_str().into();
        let name: Arc<str> = auth_config.metadata.name.as_str().into();
        let mut problems = Problems::default();
        let root = FieldPath::root("spec");
        let patterns = conditions::NamedSets::build(&auth_config.spec.patterns, &root.field("patterns"), &mut problems);
        let context = BuildContext {
            namespace: &namespace,
            name: &name,
            patterns: &patterns,
            identities: &Identities::new(),
            secrets,
            resources: &self.resources,
            metrics: &self.metrics,
            options: &self.options,
        };
        let places = self.places(&auth_config.spec.claimed(), &namespace, &mut problems);
        let rules = self.rules(auth_config, &context, &mut problems);
        let (list, warnings) = problems.into_parts();
        // What was built without a Secret that may be there lacks what needs it: it must not run.
        if !list.is_empty() || secrets.is_waiting() {
            return Err(Refused { places, problems: list });
        }
        let meters = self.metrics.plan(&namespace, &name);
        Ok(Compiled {
            plan: Plan { namespace, name, kind: PlanKind::Rules(Box::new(rules)), meters },
            places,
            warnings,
        })
    }

    /// What can be read of a claim; the rest are problems.
    pub(crate) fn places(&self, claimed: &Claimed, namespace: &str, problems: &mut Problems) -> Places {
        let mut places = Places::build(claimed, namespace, problems);
        if !claimed.routes.is_empty() && !self.allow_route_lookup {
            places.routes.clear();
            problems.add(
                &FieldPath::root("spec").field("routes"),
                "routes are not looked up: the server runs without `--allow-route-lookup`",
            );
        }
        places
    }

    fn rules(&self, auth_config: &AuthConfig, context: &BuildContext<'_>, problems: &mut Problems) -> Rules {
        let spec = &auth_config.spec;
        let root = FieldPath::root("spec");
        let when = conditions::build(&spec.when, &root.field("when"), context, problems);

        let at = root.field("authentication");
        let anonymous = BTreeMap::from([(
            "anonymous".to_owned(),
            Box::new(AuthenticationSpec {
                anonymous: Some(usher_api::AnonymousSpec {}),
                ..AuthenticationSpec::default()
            }),
        )]);
        let authentication = if spec.authentication.is_empty() { &anonymous } else { &spec.authentication };
        let mut identity_rules = Vec::with_capacity(authentication.len());
        let mut identities = Identities::new();
        for (name, rule) in authentication {
            if let Some((rule, facts)) = identity::build(name, rule, &at.key(name), context, problems) {
                identity_rules.push(rule);
                identities.insert(name.clone(), facts);
            }
        }
        let context = &BuildContext { identities: &identities, ..*context };

        let at = root.field("metadata");
        let metadata_rules = spec
            .metadata
            .iter()
            .filter_map(|(name, rule)| metadata::build(name, rule, &at.key(name), context, problems))
            .collect();

        let at = root.field("authorization");
        let authorization_rules = spec
            .authorization
            .iter()
            .filter_map(|(name, rule)| authorization::build(name, rule, &at.key(name), context, problems))
            .collect();

        let at = root.field("response");
        let response_spec = spec.response.clone().unwrap_or_default();
        let success =
            response::build(&response_spec.success.unwrap_or_default(), &at.field("success"), context, problems);
        let unauthenticated = deny_with(response_spec.unauthenticated.as_ref(), &at.field("unauthenticated"), problems);
        let unauthorized = deny_with(response_spec.unauthorized.as_ref(), &at.field("unauthorized"), problems);

        let at = root.field("callbacks");
        let callbacks = spec
            .callbacks
            .iter()
            .filter_map(|(name, callback)| callbacks::build(name, callback, &at.key(name), context, problems))
            .collect();

        Rules {
            when,
            on_condition_error: self.on_condition_error,
            identity: Priorities::new(identity_rules, |rule| rule.step.order()),
            metadata: Priorities::new(metadata_rules, |rule| rule.step.order()),
            authorization: Priorities::new(authorization_rules, Step::order),
            response: Priorities::new(success.items, |item| item.step.order()),
            remove_headers: success.remove_headers,
            remove_query_parameters: success.remove_query_parameters,
            unauthenticated,
            unauthorized,
            callbacks: Priorities::new(callbacks, Step::order),
            token_issuers: success.token_issuers,
        }
    }
}

fn deny_with(spec: Option<&DenyWithSpec>, at: &FieldPath<'_>, problems: &mut Problems) -> DenyWith {
    let Some(spec) = spec else { return DenyWith::default() };
    let message = spec.message.as_ref().and_then(|value| values::build(value, &at.field("message"), problems));
    let body = spec.body.as_ref().and_then(|value| values::build(value, &at.field("body"), problems));
    let headers_at = at.field("headers");
    let mut headers = Vec::new();
    for (name, value) in &spec.headers {
        let name_at = headers_at.key(name);
        let built = values::build(value, &name_at, problems);
        if let (Some(name), Some(value)) = (problems.take(&name_at, response::response_header_name(name)), built) {
            headers.push((name, value));
        }
    }
    let dynamic_metadata = values::named(&spec.dynamic_metadata, &at.field("dynamicMetadata"), problems);
    DenyWith { status: spec.code.filter(|code| *code != 0), message, headers, body, dynamic_metadata }
}
