//! What several targets need: a compiler of configurations, a request, and inputs made of lines.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use usher_api::{AuthConfigDocument, Document, Secret, SecretDocument, Selector};
use usher_compile::{Compiled, Compiler, Refused};
use usher_engine::{
    Context, Plan, Request, RequestParts, Verdict, check,
    context::{Identity, Phase},
    observe::Metrics,
    plan::OnConditionError,
    request::{Address, Metadata, Peer, Port, Time},
    verdict::Additions,
};
use usher_evaluators::{Resources, SecretReader, Secrets, build_context::Options, resources::http};

/// A compiler with resources of its own. Outbound requests may reach this machine only where `allow_loopback` says so.
pub fn compiler(allow_loopback: bool) -> Compiler {
    let client = http::Client::new(http::Options { allow_loopback, ..http::Options::default() }).expect("a client");
    let resources = Resources::new(client, Selector::default()).expect("random numbers");
    Compiler {
        resources: Arc::new(resources),
        metrics: Metrics::register(&prometheus::Registry::new()).expect("an empty registry takes all metrics"),
        options: Options { evaluator_cache_bytes: 64 << 10, deep_metrics: false, all_namespaces: true },
        on_condition_error: OnConditionError::default(),
        allow_route_lookup: false,
    }
}

/// Takes in a text that is known to be good: its Secrets become API keys and authorities, its AuthConfigs plans.
pub fn load(compiler: &Compiler, text: &str) -> Vec<Compiled> {
    let mut plans = Vec::new();
    let mut secrets = Secrets::complete();
    for document in usher_api::read_documents(text) {
        match document {
            Document::Secret(secret) => {
                let secret = secret.result.expect("a good Secret");
                compiler.resources.api_keys.apply(&secret);
                compiler.resources.authorities.apply(&secret);
                secrets.insert(Arc::new(secret));
            }
            Document::AuthConfig(config) => {
                let config = config.result.expect("a good AuthConfig");
                let reader = SecretReader::new(&secrets, &config.metadata.namespace);
                plans.push(compiler.compile(&config, &reader).expect("an AuthConfig that compiles"));
            }
            other => panic!("neither a Secret nor an AuthConfig: {other:?}"),
        }
    }
    plans
}

/// An AuthConfig of this specification, in the namespace `fuzz`. None where the schema refuses it.
pub fn compile(compiler: &Compiler, spec: Value, secrets: &Secrets) -> Option<Result<Compiled, Refused>> {
    let object = json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
        "metadata": {"name": "made", "namespace": "fuzz"}, "spec": spec,
    });
    let config = AuthConfigDocument::from_kubernetes(object).result.ok()?;
    Some(compiler.compile(&config, &SecretReader::new(secrets, "fuzz")))
}

/// A Secret of the namespace `fuzz` with one entry, and the label `group: made`.
pub fn secret(name: &str, key: &str, value: &[u8]) -> Secret {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "fuzz", "labels": {"group": "made"}},
    });
    let mut secret = SecretDocument::from_kubernetes(object).result.expect("a good Secret");
    secret.data.insert(key.to_owned(), value.to_vec());
    secret
}

/// What a plan says about a request. A panic that the engine catches has ended the process by now.
pub fn decide(runtime: &Runtime, plan: &Plan, request: &Request) -> Verdict {
    let verdict = runtime.block_on(check(plan, request, None, None));
    match &verdict {
        Verdict::Allow(allow) => can_be_delivered(allow.additions()),
        Verdict::Undecidable(undecided) => assert_ne!(undecided.reason, "internal error", "{undecided:?}"),
        Verdict::Deny(_) => {}
    }
    verdict
}

/// A runtime for the thread that calls.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What must hold for all changes of a request: gateways do not agree about what follows otherwise.
fn can_be_delivered(additions: &Additions) {
    let names: Vec<&String> = additions.headers.iter().map(|(name, _)| name).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "set twice: {additions:?}");
        assert!(!additions.remove_headers.contains(name), "set and removed: {additions:?}");
    }
    let parameters: Vec<&String> = additions.query_parameters.iter().map(|(name, _)| name).collect();
    for (index, name) in parameters.iter().enumerate() {
        assert!(!parameters[..index].contains(name), "set twice: {additions:?}");
    }
    let response = additions.response_headers.iter().map(|header| (&header.name, &header.value));
    let headers = additions.headers.iter().map(|(name, value)| (name, value)).chain(response);
    for (name, value) in headers.clone().chain(additions.query_parameters.iter().map(|(name, value)| (name, value))) {
        assert!(!value.contains(['\r', '\n', '\0']), "{name}: {value:?}");
    }
    for (name, _) in headers {
        assert_eq!(*name, name.to_ascii_lowercase());
    }
}

/// A request with something in every place.
pub static REQUEST: LazyLock<Request> = LazyLock::new(|| {
    let headers = [
        ("authorization", "Bearer a.b.c"),
        ("cookie", "sid=1; theme=\"dark\""),
        ("x-forwarded-for", "10.0.0.1,10.0.0.2"),
        ("x-json", r#"{"roles":["admin","dev"],"n":1}"#),
        ("x-base64", "eyJhIjoxfQ=="),
    ];
    let peer = |address: &str, port| Peer {
        address: Some(Address::Socket { protocol: 0, address: address.to_owned(), port: Port::Number(port) }),
        labels: [("app".to_owned(), "shop".to_owned())].into(),
        principal: "spiffe://test/ns/default".to_owned(),
        ..Peer::default()
    };
    Request::new(RequestParts {
        id: "f0d1".to_owned(),
        time: Some(Time { seconds: 1_700_000_000, nanos: 5 }),
        protocol: "HTTP/1.1".to_owned(),
        scheme: "https".to_owned(),
        host: "api.test:8443".to_owned(),
        method: "GET".to_owned(),
        path: "/pets/7/%C3%A9?name=rex&name=ada&q=a%20b".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        size: 12,
        body: r#"{"pet":{"id":7}}"#.to_owned(),
        source: peer("10.0.0.1", 5000),
        destination: peer("10.0.0.2", 443),
        context_extensions: [("host".to_owned(), "api.test".to_owned())].into(),
        metadata: Some(Metadata {
            filter_metadata: [("f.x".to_owned(), json!({"k": "v", "list": [1, 2.5, null]}))].into(),
            ..Metadata::default()
        }),
        ..RequestParts::default()
    })
});

/// What rules know about [`REQUEST`] after authentication.
pub fn context() -> Context<'static> {
    let mut context = Context::new(&REQUEST, None, None);
    let identity: Value = json!({
        "sub": "ada", "age": 42, "score": 1.5, "big": 9_007_199_254_740_993_i64, "active": true, "nothing": null,
        "iat": 1_700_000_000, "roles": ["admin", "dev"], "text": "Grüße, 世界 🙂",
        "teams": [{"name": "a", "size": 3}, {"name": "b", "size": 9}], "realm": {"access": {"x.y": [[1], [2, 3]]}},
    });
    context.set_identity(Identity { rule: "jwt".into(), value: Arc::new(identity) });
    context.add(Phase::Metadata, "geo".into(), Arc::new(json!({"country": "PT", "lines": "1\n2\n"})));
    context
}

/// The first line of a text, without its end, and the rest.
pub fn line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}
