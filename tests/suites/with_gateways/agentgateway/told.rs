//! What Usher is told by this gateway, and what it makes of it. In `answers`: what this gateway makes of what Usher answers.

mod answers;

use std::{
    collections::BTreeMap,
    io::{BufReader, Write as _},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    claims_of_the_gateway,
    expression::Expression,
    ext_authz::{BodyOptions, Checks, ExtAuthz},
    proxy::{Configuration, Path, Proxy, Route},
};
use crate::support::{
    http::{self, Request, Response},
    upstream::Upstream,
    usher::Usher,
};

const HOST: &str = "told.test";

/// Tells the upstream all that rules can read.
const TOLD: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: told}
spec:
  hosts: [told.test]
  authentication: {anyone: {anonymous: {}}}
  response: {success: {headers: {x-told: {plain: {selector: '@this'}}}}}
"#;

/// One AuthConfig, one way to check, one upstream for everything.
struct Simple {
    proxy: Proxy,
    upstream: Upstream,
    _usher: Usher,
}

impl Simple {
    fn start(config: &str, flags: &[&str], claims: Option<Value>, change: impl FnOnce(&mut ExtAuthz)) -> Self {
        Self::of(config, flags, Configuration { claims, ..Configuration::default() }, change)
    }

    fn of(config: &str, flags: &[&str], known: Configuration, change: impl FnOnce(&mut ExtAuthz)) -> Self {
        let (usher, upstream) = (Usher::start_with(config, flags), Upstream::start());
        let mut check = ExtAuthz::of(usher.grpc_port());
        change(&mut check);
        let route = Route {
            name: "all".to_owned(),
            matches: vec![Path::Prefix("/".to_owned())],
            checks: Checks(vec![(None, Arc::new(check))]),
            upstream: upstream.port(),
        };
        let configuration = Configuration { routes: vec![route], ..known };
        Self { proxy: Proxy::start(configuration), upstream, _usher: usher }
    }
}

/// What the upstream learned from the header.
fn told(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.json();
    serde_json::from_str(seen["headers"]["x-told"].as_str().unwrap()).unwrap()
}

#[test]
fn rules_read_what_this_gateway_tells() {
    let world = Simple::start(TOLD, &[], None, |_| {});
    let headers = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-proto", "https")];
    let told = told(&world.proxy.get("TOLD.test:8080", "/a?b=%20", &headers));
    let request = &told["request"];
    assert_eq!(request["headers"]["x-a"], "1, 2");
    assert_eq!(request["headers"]["cookie"], "a=1; b=2");
    assert_eq!(
        (&request["host"], &request["path"], &request["method"]),
        (&json!("TOLD.test:8080"), &json!("/a?b=%20"), &json!("GET"))
    );
    assert_eq!((&request["scheme"], &request["protocol"]), (&json!("http"), &json!("HTTP/1.1")));
    let id = told["context"]["request"]["http"]["id"].as_str().unwrap();
    let parts: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2], "{id} is a `traceparent`");
    assert_eq!(told["source"]["address"], "127.0.0.1");
    assert_eq!(told["destination"]["port"], world.proxy.port());
    assert_eq!(told["source"].get("principal"), None);
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let world = Simple::start(TOLD, &[], None, |_| {});
    let mut stream = http::connect(world.proxy.port()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: told.test\r\nconnection: close\r\nx-odd: a\xffb\r\n\r\n").unwrap();
    let (first, _, body) = http::read_message(&mut BufReader::new(stream), true).unwrap();
    assert_eq!(first, "HTTP/1.1 200 OK");
    let seen: Value = serde_json::from_slice(&body).unwrap();
    let told: Value = serde_json::from_str(seen["headers"]["x-told"].as_str().unwrap()).unwrap();
    assert_eq!(told["request"]["headers"]["x-odd"], "a\u{fffd}b");
}

#[test]
fn a_body_is_whole_or_said_to_be_cut() {
    let cut = BodyOptions { max_request_bytes: 4, allow_partial_message: true, pack_as_bytes: false };
    let world = Simple::start(TOLD, &[], None, |check| check.body = Some(cut));
    for (body, size, passed_on) in [("abcd", json!(4), "abcd"), ("abcdefgh", json!(-1), "abcd")] {
        let response = world.proxy.post(HOST, "/", &[], body);
        assert_eq!(response.json()["body"], body, "the upstream gets all of it");
        let told = told(&response);
        assert_eq!((&told["request"]["size"], &told["request"]["body"]), (&size, &json!(passed_on)));
    }
}

/// A policy of the gateway verified a token; its claims are the identity here, by the AuthConfig of the guide.
#[test]
fn claims_of_a_token_that_the_gateway_verified_are_an_identity() {
    let config = claims_of_the_gateway(HOST);
    let status = |claims: Option<Value>| {
        let world = Simple::start(&config, &[], claims, |_| {});
        world.proxy.get(HOST, "/", &[])
    };
    let response = status(Some(json!({"sub": "ann", "roles": ["admin"]})));
    assert_eq!(response.json()["headers"]["x-user"], "ann", "{}", response.text());
    assert_eq!(status(Some(json!({"sub": "bob", "roles": []}))).status, 403);
    assert_eq!(status(None).status, 401);
}

/// The certificate of a workload, verified by the gateway.
#[test]
fn a_workload_is_known_by_its_principal() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: workloads}
spec:
  hosts: [told.test]
  authentication: {workload: {spiffe: {trust: connection, trustDomains: [cluster.local]}}}
  authorization:
    planners: {patternMatching: {patterns: [{predicate: auth.identity.serviceAccount == "planner"}]}}
  response: {success: {headers: {x-namespace: {plain: {selector: auth.identity.namespace}}}}}
"#;
    let get = |principal: &str| {
        let known = Configuration { principal: principal.to_owned(), ..Configuration::default() };
        Simple::of(CONFIG, &[], known, |_| {}).proxy.get(HOST, "/", &[])
    };
    let response = get("spiffe://cluster.local/ns/ai/sa/planner");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["headers"]["x-namespace"], "ai");
    assert_eq!(get("spiffe://cluster.local/ns/ai/sa/cleaner").status, 403);
    assert_eq!(get("spiffe://elsewhere/ns/ai/sa/planner").status, 401);
    assert_eq!(get("").status, 401);
}

#[test]
fn metadata_are_what_expressions_of_the_gateway_say() {
    let expressions =
        [("example.caller", r#"{"address": source.address, "path": request.path}"#), ("example.jwt", "jwt")];
    let expressions: BTreeMap<_, _> =
        expressions.into_iter().map(|(name, source)| (name.to_owned(), Expression::new(source))).collect();
    let world = Simple::start(TOLD, &[], None, |check| check.metadata = Some(expressions));
    let told = told(&world.proxy.get(HOST, "/a?b", &[]));
    let expected = json!({"example.caller": {"address": "127.0.0.1", "path": "/a"}});
    assert_eq!(told["metadata"]["filter_metadata"], expected, "what cannot be evaluated is not there");
}

/// A client of the gateway cannot say what only the gateway may say.
#[test]
fn what_the_client_says_about_itself_is_no_context() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: inside}
spec: {hosts: [inside.test], authentication: {keys: {apiKey: {selector: {matchLabels: {group: nobody}}}}}}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: outside}
spec: {hosts: [outside.test]}
"#;
    let context = [("host".to_owned(), "inside.test".to_owned())];
    let world = Simple::start(CONFIG, &[], None, |check| check.context = context.into());
    for headers in [&[][..], &[("x-forwarded-host", "outside.test")]] {
        let request = Request { host: "outside.test", headers, ..Request::default() };
        assert_eq!(world.proxy.send(request).status, 401, "{headers:?}");
    }
    assert_eq!(world.upstream.requests(), 0);
}
