//! What Usher is told by this gateway, and what it makes of it. In `answers`: what this gateway makes of what Usher answers.

mod answers;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, Write as _},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    FOLDER, PLANNER, World, claims_of_the_gateway,
    expression::Expression,
    ext_authz::{BodyOptions, Checks, ExtAuthz},
    proxy::{Configuration, Path, Proxy, Route},
};
use crate::support::{
    documents::Folder,
    http::{self, Request, Response},
    upstream::Upstream,
    usher::Usher,
    workspace::root,
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

/// This gateway joins the values of a header before Usher sees them. What comes of two credentials is none, whichever of them is
/// right: the API might believe the other one.
#[test]
fn joined_credentials_are_none() {
    let world = World::start();
    let token = fs::read_to_string(root().join("deploy/examples/quickstart/ann.jwt")).unwrap();
    let [key, bearer] = [format!("APIKEY {PLANNER}"), format!("Bearer {}", token.trim())];
    let get = |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        world.proxy.get("ai.example.com", "/v1/models", &headers).status
    };
    let [twice, both] = [format!("{bearer}, {bearer}"), format!("{key}, {bearer}")];
    for values in [
        &[&*key, &*key][..],
        &[&bearer, &bearer],
        &[&key, &bearer],
        &[&bearer, &key],
        &[&key, "APIKEY of-nobody"],
        &["APIKEY of-nobody", &key],
        &["Bearer of-nobody", &bearer],
        &["Basic YTpi", &bearer],
        &[&bearer, "Basic YTpi"],
        &[&key, ""],
        &["", &key],
        &[&bearer, ""],
        &["", &bearer],
        &[&twice],
        &[&both],
    ] {
        assert_eq!(get(values), 401, "{values:?}");
    }
    assert_eq!(world.models.requests(), 0);
    assert_eq!((get(&[&key]), get(&[&bearer])), (200, 200), "each alone");

    let post = |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        world.proxy.post("ai.example.com", "/mcp", &headers, r#"{"method": "tools/list"}"#).status
    };
    let bearer = format!("Bearer {PLANNER}");
    assert_eq!((post(&[&bearer]), post(&[&bearer, &bearer]), post(&["Bearer of-nobody", &bearer])), (200, 401, 401));
}

/// Cookies are joined as a client would send them in one header. Of several with one name the first one counts.
#[test]
fn cookies_are_found_in_any_of_several_headers() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: cookies, namespace: ai}
spec:
  hosts: [told.test]
  authentication: {keys: {apiKey: {selector: {matchLabels: {group: agents}}}, credentials: {cookie: {name: key}}}}
"#;
    let secret = Folder::read(FOLDER).one("Secret", "planner").to_string();
    let world = Simple::start(&format!("{CONFIG}---\n{secret}"), &[], None, |_| {});
    let key = format!("key={PLANNER}");
    for (cookies, status) in [
        (&[&*key][..], 200),
        (&["a=1", &key], 200),
        (&[&key, "b=2"], 200),
        (&["a=1"], 401),
        (&[&key, "key=of-nobody"], 200),
        (&["key=of-nobody", &key], 401),
    ] {
        let headers: Vec<_> = cookies.iter().map(|value| ("cookie", *value)).collect();
        assert_eq!(world.proxy.get(HOST, "/", &headers).status, status, "{cookies:?}");
    }
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

/// What a workload gets with this certificate, which the gateway has verified, and these rules beside that for SPIFFE IDs.
fn answer_to(principal: &str, rules: &str) -> Response {
    let config = format!(
        "\
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: workloads}}
spec:
  hosts: [told.test]
  authentication: {{workload: {{spiffe: {{trust: connection, trustDomains: [cluster.local]}}}}}}
{rules}"
    );
    let known = Configuration { principal: principal.to_owned(), ..Configuration::default() };
    Simple::of(&config, &[], known, |_| {}).proxy.get(HOST, "/", &[])
}

#[test]
fn a_workload_is_known_by_its_principal() {
    const RULES: &str = r#"
  authorization:
    planners: {patternMatching: {patterns: [{predicate: auth.identity.serviceAccount == "planner"}]}}
  response: {success: {headers: {x-namespace: {plain: {selector: auth.identity.namespace}}}}}
"#;
    let response = answer_to("spiffe://cluster.local/ns/ai/sa/planner", RULES);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["headers"]["x-namespace"], "ai");
    for (principal, expected) in [
        ("spiffe://cluster.local/ns/ai/sa/cleaner", 403),
        ("spiffe://cluster.local/planner", 403),
        ("spiffe://cluster.local/ns/ai/sa/planner/more", 403),
        ("spiffe://elsewhere/ns/ai/sa/planner", 401),
        ("", 401),
    ] {
        assert_eq!(answer_to(principal, RULES).status, expected, "{principal}");
    }
}

/// Releases after 1.4.1 tell SPIFFE IDs of any form. Those that name no account have none, and who asks for one must find it.
#[test]
fn a_workload_without_an_account_is_known_by_its_id() {
    let id = "spiffe://cluster.local/planner";
    let rules = "  response: {success: {headers: {x-identity: {plain: {selector: auth.identity}}}}}\n";
    let response = answer_to(id, rules);
    assert_eq!(response.status, 200, "{}", response.text());
    let identity: Value = serde_json::from_str(response.json()["headers"]["x-identity"].as_str().unwrap()).unwrap();
    assert_eq!(
        identity,
        json!({"id": id, "trustDomain": "cluster.local", "path": "/planner", "namespace": null, "serviceAccount": null})
    );
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
