//! What the AuthConfigs of the scenarios say beside their host.

use serde_json::{Value, json};

use super::configuration::{Configuration, auth_config, secret};
use crate::certificate::ORGANIZATION;
use crate::check::{CLIENT, HOST};
use crate::expected::{Changes, WRISTBAND};
use crate::token::{Issuer, SHARED_SECRET};
use crate::upstream::Upstream;

fn readers(jwt: Value) -> Configuration {
    let predicate = json!({"predicate": "'reader' in auth.identity.realm_access.roles"});
    let spec = json!({
        "hosts": [HOST],
        "authentication": {"idp": {"jwt": jwt}},
        "authorization": {"readers": {"patternMatching": {"patterns": [predicate]}}},
    });
    Configuration::default().and(&auth_config("bench", spec))
}

/// Tokens that keys of the issuer sign.
pub(super) fn of_issuer(issuer: &Issuer) -> Configuration {
    readers(json!({"jwksUrl": issuer.key_set_url()}))
}

/// Tokens that a shared secret signs.
pub(super) fn of_shared_secret() -> Configuration {
    let secret = secret("shared", json!({}), "key", SHARED_SECRET);
    readers(json!({"secretRef": {"name": "shared"}})).and(&secret)
}

/// Clients for which this authority vouches, in PEM.
pub(super) fn certified(authority: &str) -> Configuration {
    let labels = json!({"clients-of": "bench"});
    let pattern = json!({"selector": "auth.identity.Organization", "operator": "incl", "value": ORGANIZATION});
    let spec = json!({
        "hosts": [HOST],
        "authentication": {"clients": {"x509": {"selector": {"matchLabels": labels}}}},
        "authorization": {"organization": {"patternMatching": {"patterns": [pattern]}}},
    });
    Configuration::default().and(&auth_config("bench", spec)).and(&secret("authority", labels, "ca.crt", authority))
}

/// Authorization by one predicate.
pub(super) fn one_predicate() -> Value {
    let pattern = json!({"predicate": "request.method in ['GET', 'HEAD'] && request.path.startsWith('/v1/')"});
    json!({"authorization": {"one": {"patternMatching": {"patterns": [pattern]}}}})
}

/// Authorization by parts of what was sent: one segment of the path, the first of several addresses, the main language.
pub(super) fn selectors() -> Value {
    let pattern = |selector: &str, value: &str| json!({"selector": selector, "operator": "eq", "value": value});
    let patterns = [
        pattern(r#"request.url_path.@extract:{"sep":"/","pos":2}"#, "orders"),
        pattern(r#"request.headers.x-forwarded-for.@extract:{"sep":","}"#, CLIENT),
        pattern(r#"request.headers.accept-language.@extract:{"sep":","}|@case:lower"#, "en-gb"),
    ];
    json!({"authorization": {"parts": {"patternMatching": {"patterns": patterns}}}})
}

/// Authorization by a policy.
pub(super) fn policy(rego: &str) -> Value {
    json!({"authorization": {"policy": {"opa": {"rego": rego, "version": "v1"}}}})
}

/// Authorization by ten predicates.
pub(super) fn ten_predicates() -> Value {
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
    let patterns: Vec<Value> = predicates.map(|predicate| json!({"predicate": predicate})).into();
    json!({"authorization": {"ten": {"patternMatching": {"patterns": patterns}}}})
}

/// For longer than anything is measured.
const DAY: u32 = 24 * 3600;

pub(super) fn metadata(upstream: &Upstream) -> Value {
    let pattern = json!({"selector": "auth.metadata.account.status", "operator": "eq", "value": "good"});
    json!({
        "metadata": {"account": {
            "http": {"url": format!("{}{{auth.identity.metadata.name}}", upstream.accounts_url())},
            "cache": {"key": {"selector": "auth.identity.metadata.name"}, "ttl": DAY},
        }},
        "authorization": {"in-good-standing": {"patternMatching": {"patterns": [pattern]}}},
    })
}

pub(super) fn headers() -> Value {
    json!({"success": {"headers": {
        "x-route": {"plain": {"selector": "request.url_path"}},
        "x-auth-data": {"json": {"properties": {
            "method": {"selector": "request.method"},
            "client": {"expression": "source.address"},
            "anonymous": {"selector": "auth.identity.anonymous"},
            "plan": {"value": "gold"},
        }}},
    }}})
}

pub(super) fn headers_changes() -> Changes {
    let data = format!(r#"{{"anonymous":true,"client":"{CLIENT}","method":"GET","plan":"gold"}}"#);
    let headers = vec![pair("x-auth-data", &data), pair("x-route", "/v1/orders/42")];
    Changes { headers, ..Changes::default() }
}

pub(super) fn answers() -> Value {
    let key = json!({"removeCredential": true});
    json!({
        "authentication": {"keys": key},
        "response": {"success": {
            "headers": {
                "x-forwarded-for": {"action": "append", "plain": {"selector": "source.address"}},
                "via": {"action": "append", "plain": {"value": "1.1 usher"}},
            },
            "removeHeaders": ["referer"],
            "responseHeaders": {"cache-control": {"action": "addIfAbsent", "plain": {"value": "private"}}},
        }},
    })
}

pub(super) fn answers_changes() -> Changes {
    Changes {
        headers: vec![pair("via", "1.1 usher"), pair("x-forwarded-for", &format!("{CLIENT},{CLIENT}"))],
        removed: vec!["authorization".to_owned(), "referer".to_owned()],
        response_headers: vec![pair("cache-control", "private")],
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(super) fn wristband(kept: bool) -> Value {
    let name = json!({"selector": "auth.identity.metadata.name"});
    let mut item = json!({"wristband": {
        "issuer": format!("https://tokens.bench.example.com/bench/bench/{WRISTBAND}"),
        "customClaims": {"username": name},
        "tokenDuration": DAY,
        "signingKeyRefs": [{"name": "signing", "algorithm": "ES256"}],
    }});
    if let (true, Some(item)) = (kept, item.as_object_mut()) {
        item.insert("cache".to_owned(), json!({"key": name, "ttl": DAY}));
    }
    json!({"response": {"success": {"headers": {WRISTBAND: item}}}})
}

pub(super) fn callbacks(upstream: &Upstream) -> Value {
    json!({"callbacks": {"audit": {"http": {
        "url": upstream.decisions_url(),
        "method": "POST",
        "contentType": "application/json",
        "bodyParameters": {
            "who": {"selector": "auth.identity.metadata.name"},
            "path": {"selector": "request.path"},
            "allowed": {"selector": "auth.decision.allowed"},
            "status": {"selector": "auth.decision.status"},
        },
    }}}})
}
