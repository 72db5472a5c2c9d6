//! What is counted: configurations, and what is asked with them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use usher_engine::{
    Verdict,
    verdict::{Additions, DenialKind},
};

use crate::{
    request::{CLIENT, HOST, Question, URL_PATH},
    token::{SHARED_SECRET, token},
};

/// One kind of check.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) material: fn() -> Material,
    pub(crate) road: Road,
    /// Whether all requests are allowed, or none is.
    pub(crate) allows: bool,
    /// Whether a verdict shows that the rules did their work.
    pub(crate) is_expected: fn(&Verdict) -> bool,
}

/// What is decided with, and about.
#[derive(Debug)]
pub(crate) struct Material {
    /// YAML of AuthConfigs.
    pub(crate) configuration: String,
    /// Secrets as the Kubernetes API has them: where instructions are counted, reading thousands from a text takes minutes.
    pub(crate) secrets: Vec<Value>,
    /// Asked in turn.
    pub(crate) questions: Vec<Question>,
}

/// What happens for each request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Road {
    /// A plan decides.
    Check,
    /// The plan of the request's host is found, and decides.
    LookupAndCheck,
}

/// All scenarios.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "anonymous", material: || alone(anonymous(json!({}))), ..ALLOWED },
    Scenario { name: "api-key", material: || api_keys(0..API_KEYS), ..ALLOWED },
    Scenario {
        name: "unknown-key",
        // Numbers that no key has.
        material: || api_keys(API_KEYS..API_KEYS + 1000),
        allows: false,
        is_expected: |verdict| matches!(verdict, Verdict::Deny(denial) if denial.kind == DenialKind::Unauthenticated),
        ..ALLOWED
    },
    Scenario { name: "jwt-seen", material: tokens, ..ALLOWED },
    Scenario { name: "cel-10", material: || alone(anonymous(ten_predicates())), ..ALLOWED },
    Scenario { name: "pattern", material: || alone(anonymous(patterns())), ..ALLOWED },
    Scenario {
        name: "response-headers",
        material: || alone(anonymous(headers())),
        is_expected: |verdict| additions(verdict).is_some_and(has_headers),
        ..ALLOWED
    },
    Scenario { name: "host-lookup", material: many_hosts, road: Road::LookupAndCheck, ..ALLOWED },
];

/// What most scenarios have in common.
const ALLOWED: Scenario = Scenario {
    name: "",
    material: || alone(String::new()),
    road: Road::Check,
    allows: true,
    is_expected: |verdict| additions(verdict).is_some(),
};

fn additions(verdict: &Verdict) -> Option<&Additions> {
    match verdict {
        Verdict::Allow(allow) => Some(allow.additions()),
        Verdict::Deny(_) | Verdict::Undecidable(_) => None,
    }
}

/// A configuration that is asked the same again and again.
fn alone(configuration: String) -> Material {
    Material { configuration, secrets: Vec::new(), questions: vec![Question::anonymous()] }
}

const API_KEYS: usize = 10_000;

fn api_keys(asked: std::ops::Range<usize>) -> Material {
    let configuration = auth_config(
        "bench",
        &[HOST.to_owned()],
        json!({
            "authentication": {"keys": {
                "apiKey": {"selector": {"matchLabels": {"group": "bench"}}},
                "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
            }},
            "authorization": {"only-reading": {"patternMatching": {"patterns": [
                {"selector": "request.method", "operator": "eq", "value": "GET"},
            ]}}},
        }),
    );
    let labels = json!({"group": "bench"});
    let secret = |number| secret(&format!("key-{number}"), labels.clone(), "api_key", &api_key(number));
    let secrets = (0..API_KEYS).map(secret).collect();
    // Far apart, so that a few of them stand for all.
    let step = (asked.len() / 1000).max(1);
    let asked = asked.step_by(step);
    let questions = asked.map(|number| Question::authorization(format!("APIKEY {}", api_key(number)))).collect();
    Material { configuration, secrets, questions }
}

fn api_key(number: usize) -> String {
    format!("{number:08x}ndyBzreUzF4zqDQsqSPMHkRh")
}

fn tokens() -> Material {
    /// Fewer than any cache holds.
    const SEEN: usize = 100;
    let configuration = auth_config(
        "bench",
        &[HOST.to_owned()],
        json!({
            "authentication": {"idp": {"jwt": {"secretRef": {"name": "shared"}}}},
            "authorization": {"readers": {"patternMatching": {"patterns": [
                {"predicate": "'reader' in auth.identity.realm_access.roles"},
            ]}}},
        }),
    );
    let secrets = vec![secret("shared", json!({}), "key", SHARED_SECRET)];
    let questions = (0..SEEN).map(|number| Question::authorization(format!("Bearer {}", token(number)))).collect();
    Material { configuration, secrets, questions }
}

fn ten_predicates() -> Value {
    let predicates = [
        "request.method == 'GET'",
        "request.host == 'api.bench.example.com'",
        "request.path.startsWith('/v1/')",
        "request.url_path == '/v1/orders/42'",
        "request.headers['x-forwarded-proto'] == 'https'",
        "request.headers['accept-language'].contains('en')",
        "!('x-debug' in request.headers)",
        "source.address.startsWith('203.0.113.')",
        "request.url_path.split('/').size() == 4",
        "has(auth.identity.anonymous) && auth.identity.anonymous",
    ];
    let predicates: Vec<Value> = predicates.map(|predicate| json!({"predicate": predicate})).into();
    json!({"authorization": {"ten": {"patternMatching": {"patterns": predicates}}}})
}

/// One pattern of each kind that is usual: plain, a header, with a modifier, a regular expression.
fn patterns() -> Value {
    json!({"authorization": {"four": {"patternMatching": {"patterns": [
        {"selector": "request.method", "operator": "neq", "value": "DELETE"},
        {"selector": "request.headers.x-forwarded-proto", "operator": "eq", "value": "https"},
        {"selector": r#"request.url_path.@extract:{"sep":"/","pos":2}"#, "operator": "eq", "value": "orders"},
        {"selector": "request.path", "operator": "matches", "value": r"^/v1/orders/\d+\?"},
    ]}}}})
}

fn headers() -> Value {
    json!({"response": {"success": {"headers": {
        "x-route": {"plain": {"selector": "request.url_path"}},
        "x-auth-data": {"json": {"properties": {
            "method": {"selector": "request.method"},
            "client": {"expression": "source.address"},
            "anonymous": {"selector": "auth.identity.anonymous"},
            "plan": {"value": "gold"},
        }}},
    }}}})
}

fn has_headers(additions: &Additions) -> bool {
    let data = format!(r#"{{"anonymous":true,"client":"{CLIENT}","method":"GET","plan":"gold"}}"#);
    let expected = [("x-auth-data", data.as_str()), ("x-route", URL_PATH)];
    let found: Vec<_> = additions.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    found == expected
}

/// A hundred AuthConfigs with a hundred hosts each, every tenth of which is a wildcard.
fn many_hosts() -> Material {
    let (mut configuration, mut questions) = (String::new(), Vec::new());
    for config in 0..100 {
        let mut hosts = Vec::new();
        for number in 0..100 {
            let domain = format!("service-{number}.tenant-{config}.example.com");
            let is_wildcard = number % 10 == 0;
            hosts.push(if is_wildcard { format!("*.{domain}") } else { domain.clone() });
            // All wildcards are asked for, and as many others.
            if is_wildcard {
                questions.push(Question { host: format!("www.{domain}"), ..Question::anonymous() });
            } else if number % 10 == 5 {
                questions.push(Question { host: domain, ..Question::anonymous() });
            }
        }
        let spec = json!({"authentication": {"anyone": {"anonymous": {}}}});
        configuration.push_str(&auth_config(&format!("tenant-{config}"), &hosts, spec));
    }
    Material { configuration, secrets: Vec::new(), questions }
}

/// An AuthConfig that everybody passes, with more in its `spec`.
fn anonymous(mut spec: Value) -> String {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("authentication".to_owned(), json!({"anyone": {"anonymous": {}}}));
    }
    auth_config("bench", &[HOST.to_owned()], spec)
}

/// A document: an AuthConfig with this `spec` for these hosts.
fn auth_config(name: &str, hosts: &[String], mut spec: Value) -> String {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("hosts".to_owned(), json!(hosts));
    }
    let auth_config = json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": name, "namespace": "bench"},
        "spec": spec,
    });
    format!("---\n{auth_config}\n")
}

/// A Secret with these labels and one entry.
fn secret(name: &str, mut labels: Value, entry: &str, value: &str) -> Value {
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("authorino.kuadrant.io/managed-by".to_owned(), json!("authorino"));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "bench", "labels": labels},
        "data": {entry: BASE64_STANDARD.encode(value)},
    })
}
