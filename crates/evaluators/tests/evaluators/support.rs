//! A small world: Secrets, one AuthConfig, requests, and verdicts as JSON.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use usher_api::{AuthConfigSpec, ObjectMeta, Secret, Selector};
use usher_engine::{
    Plan, Request, RequestParts, Step, Verdict, check,
    observe::Metrics,
    plan::{OnConditionError, PlanKind, Priorities, Rules},
    request::Metadata,
    verdict::Additions,
};
use usher_evaluators::{
    BuildContext, FieldPath, Problem, Problems, Resources, SecretReader, Secrets, authorization,
    build_context::Options,
    conditions,
    identity::{self, Identities},
    resources::http,
    response,
};

pub(crate) struct World {
    pub(crate) resources: Arc<Resources>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) options: Options,
    metrics: Arc<Metrics>,
    secrets: Secrets,
}

impl World {
    /// A server that watches all Secrets of all namespaces.
    pub(crate) fn new() -> Self {
        let client = http::Client::new(http::Options::default()).unwrap();
        let resources = Resources::new(client, Selector::default()).unwrap();
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let options = Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true };
        Self { resources: Arc::new(resources), registry, options, metrics, secrets: Secrets::complete() }
    }

    pub(crate) fn with(mut self, secrets: &[Secret]) -> Self {
        for secret in secrets {
            self.resources.api_keys.apply(secret);
            self.resources.authorities.apply(secret);
            self.secrets.insert(Arc::new(secret.clone()));
        }
        self
    }

    /// Builds the AuthConfig `team/config` with this `spec`.
    pub(crate) fn build(&self, spec: &Value) -> (Plan, Vec<Problem>, Vec<Problem>) {
        let spec: AuthConfigSpec = serde_json::from_value(with_hosts(spec)).unwrap();
        let (namespace, name) = (Arc::from("team"), Arc::from("config"));
        let mut problems = Problems::default();
        let root = FieldPath::root("spec");
        let patterns = conditions::NamedSets::build(&spec.patterns, &root.field("patterns"), &mut problems);
        let reader = SecretReader::new(&self.secrets, &namespace);
        let mut identities = Identities::new();
        let context = BuildContext {
            namespace: &namespace,
            name: &name,
            patterns: &patterns,
            identities: &Identities::new(),
            secrets: &reader,
            resources: &self.resources,
            metrics: &self.metrics,
            options: &self.options,
        };
        let when = conditions::build(&spec.when, &root.field("when"), &context, &mut problems);
        let at = root.field("authentication");
        let mut identity_rules = Vec::new();
        for (name, rule) in &spec.authentication {
            if let Some((rule, facts)) = identity::build(name, rule, &at.key(name), &context, &mut problems) {
                identity_rules.push(rule);
                identities.insert(name.clone(), facts);
            }
        }
        let context = BuildContext { identities: &identities, ..context };
        let at = root.field("authorization");
        let mut authorizations = Vec::new();
        for (name, rule) in &spec.authorization {
            authorizations.extend(authorization::build(name, rule, &at.key(name), &context, &mut problems));
        }
        let success = spec.response.unwrap_or_default().success.unwrap_or_default();
        let at = root.field("response");
        let additions = response::build(&success, &at.field("success"), &context, &mut problems);
        let (problems, warnings) = problems.into_parts();
        let rules = Rules {
            when,
            on_condition_error: OnConditionError::default(),
            identity: Priorities::new(identity_rules, |rule| rule.step.order()),
            authorization: Priorities::new(authorizations, Step::order),
            response: Priorities::new(additions.items, |item| item.step.order()),
            remove_headers: additions.remove_headers,
            remove_query_parameters: additions.remove_query_parameters,
            token_issuers: additions.token_issuers,
            ..Rules::default()
        };
        let meters = self.metrics.plan(&namespace, &name);
        (Plan { namespace, name, kind: PlanKind::Rules(Box::new(rules)), meters }, problems, warnings)
    }

    pub(crate) fn plan(&self, spec: &Value) -> Plan {
        let (plan, problems, _) = self.build(spec);
        assert!(problems.is_empty(), "{spec}: {problems:?}");
        plan
    }

    /// Runs requests against the AuthConfig with this `spec` and compares the verdicts.
    pub(crate) fn expect(&self, spec: &Value, cases: &[(Value, Value)]) {
        let plan = self.plan(spec);
        for (request, expected) in cases {
            assert_eq!(&verdict(&plan, request), expected, "{spec}: {request}");
        }
    }
}

fn with_hosts(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["hosts"] = json!(["a.test"]);
    spec
}

/// The problems of a spec, as text.
pub(crate) fn problems(spec: &Value) -> Vec<String> {
    World::new().build(spec).1.iter().map(ToString::to_string).collect()
}

pub(crate) fn verdict(plan: &Plan, request: &Value) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(check(plan, &self::request(request), None, None)) {
        Verdict::Allow(allow) => {
            let additions = allow.into_additions();
            let headers = additions.headers.into_iter().map(|(name, value)| (name, value.into()));
            json!({"headers": headers.collect::<Map<String, Value>>(), "metadata": additions.dynamic_metadata})
        }
        Verdict::Deny(denial) => json!({"denied": denial.reason}),
        Verdict::Undecidable(undecided) => json!({"undecidable": undecided.detail}),
    }
}

/// What an allowed request is changed by.
pub(crate) fn additions(plan: &Plan, request: &Value) -> Additions {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(check(plan, &self::request(request), None, None)) {
        Verdict::Allow(allow) => allow.into_additions(),
        other => panic!("{other:?}"),
    }
}

/// `{"headers": …, "metadata": …}` of an allow that adds nothing.
pub(crate) fn allowed() -> Value {
    json!({"headers": {}, "metadata": {}})
}

pub(crate) fn denied(reason: &str) -> Value {
    json!({"denied": reason})
}

pub(crate) fn request(spec: &Value) -> Request {
    let text = |name: &str, default: &str| spec[name].as_str().unwrap_or(default).to_owned();
    let mut parts = RequestParts {
        id: "r1".to_owned(),
        host: "a.test".to_owned(),
        method: text("method", "GET"),
        path: text("path", "/"),
        body: text("body", ""),
        ..RequestParts::default()
    };
    for (name, value) in spec["headers"].as_object().into_iter().flatten() {
        parts.headers.insert(name.clone(), value.as_str().unwrap());
    }
    if let Some(metadata) = spec["metadata"].as_object() {
        let filter_metadata = metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        parts.metadata = Some(Metadata { filter_metadata, ..Metadata::default() });
    }
    Request::new(parts)
}

/// A Secret from `namespace/name`, labels as `a=b,c=d`, and its key.
pub(crate) fn secret(id: &str, labels: &str, key: &str) -> Secret {
    let (namespace, name) = id.split_once('/').unwrap();
    let labels = labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    Secret {
        metadata: ObjectMeta {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: labels.collect(),
            ..ObjectMeta::default()
        },
        data: [("api_key".to_owned(), key.as_bytes().to_vec())].into(),
        ..Secret::default()
    }
}
