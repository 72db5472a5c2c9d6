//! What rules are built with, and checks of one rule, for tests.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use usher_api::{ObjectMeta, Secret, Selector};
use usher_engine::{
    Context, Evaluation, Evaluator, Outcome, Request, RequestParts, TraceContext, context::Identity, observe::Metrics,
};

use crate::{
    BuildContext, FieldPath, Problems, Resources, SecretReader, Secrets,
    build_context::Options,
    conditions::NamedSets,
    identity::{self, Identities},
    resources::http::{self, Client},
};

/// The AuthConfig `team/a` in a process that may reach this machine.
pub(crate) struct TestWorld {
    pub(crate) resources: Arc<Resources>,
    pub(crate) identities: Identities,
    secrets: Secrets,
    metrics: Arc<Metrics>,
}

/// What came of building something: it, if it could be built, the problems and the warnings.
pub(crate) type Built<T> = (Option<T>, Vec<String>, Vec<String>);

impl TestWorld {
    pub(crate) fn new() -> Self {
        let client = Client::new(http::Options { allow_loopback: true, ..http::Options::default() }).unwrap();
        let resources = Arc::new(Resources::new(client, Selector::default()).unwrap());
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Self { resources, identities: Identities::new(), secrets: Secrets::complete(), metrics }
    }

    /// A Secret of the AuthConfig's namespace.
    pub(crate) fn secret(mut self, name: &str, entries: &[(&str, &str)]) -> Self {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        let metadata = ObjectMeta { namespace: "team".to_owned(), name: name.to_owned(), ..ObjectMeta::default() };
        self.secrets.insert(Arc::new(Secret { metadata, data, ..Secret::default() }));
        self
    }

    /// The authentication rules of the AuthConfig, and the first attempts at what they need.
    pub(crate) async fn authentication(mut self, rules: &Value) -> Self {
        for (name, spec) in rules.as_object().unwrap() {
            let at = FieldPath::root("authentication");
            let spec = serde_json::from_value(spec.clone()).unwrap();
            let (built, problems, _) =
                self.build(|context, problems| identity::build(name, &spec, &at, context, problems));
            assert_eq!(problems, [""; 0], "{name}");
            self.identities.insert(name.clone(), built.unwrap().1);
        }
        assert!(self.resources.wait_first_attempts(std::time::Duration::from_secs(30)).await);
        self
    }

    /// Calls `build` with what a rule is built with.
    pub(crate) fn build<T>(&self, build: impl FnOnce(&BuildContext<'_>, &mut Problems) -> Option<T>) -> Built<T> {
        let patterns = NamedSets::build(&BTreeMap::new(), &FieldPath::root("patterns"), &mut Problems::default());
        let mut problems = Problems::default();
        let context = BuildContext {
            namespace: &Arc::from("team"),
            name: &Arc::from("a"),
            patterns: &patterns,
            identities: &self.identities,
            secrets: &SecretReader::new(&self.secrets, "team"),
            resources: &self.resources,
            metrics: &self.metrics,
            options: &Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
        };
        let built = build(&context, &mut problems);
        let (problems, warnings) = problems.into_parts();
        let texts = |list: Vec<crate::Problem>| list.iter().map(ToString::to_string).collect();
        (built, texts(problems), texts(warnings))
    }
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Whether a request that a server got belongs to the trace of [`check`].
pub(crate) fn is_in_trace(request: &str) -> bool {
    let values = |name: &str| {
        let headers = request.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    values("traceparent") == [TRACEPARENT] && values("baggage") == ["k=v"] && values("tracestate").is_empty()
}

/// What a rule makes of a request with these headers, from a caller who was authenticated by the rule `identity`.
pub(crate) async fn check(rule: &dyn Evaluator, path: &str, headers: &[(&str, &str)], identity: &str) -> Outcome {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut request = Request::new(RequestParts { path: path.to_owned(), headers, ..RequestParts::default() });
    request.set_trace(TraceContext::new(TRACEPARENT.to_owned(), String::new(), "k=v".to_owned()));
    let mut context = Context::new(&request, None, None);
    context.set_identity(Identity { rule: identity.into(), value: Arc::new(json!({"sub": "ann"})) });
    match rule.evaluate(&context) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(outcome) => outcome.await,
    }
}
