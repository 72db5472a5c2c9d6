//! The road through a real Envoy: what a client gets, what an upstream sees, what is logged.

mod authority;
mod callbacks;
mod client_answer;
mod client_certificates;
mod traces;
mod upstream_request;
mod wristband;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use authority::Authority;
use serde_json::json;

use crate::support::{
    envoy::{Envoy, Setup},
    http::Request,
    upstream::Upstream,
    usher::Usher,
    wait::until,
};

const HOST: &str = "talker.test";

const TALKER: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: talker}
spec:
  hosts: [talker.test]
  authentication:
    friends:
      apiKey: {selector: {matchLabels: {group: friends}}}
      credentials: {authorizationHeader: {prefix: APIKEY}}
  authorization:
    no-secrets:
      patternMatching: {patterns: [{selector: request.path, operator: neq, value: /secret}]}
  response:
    unauthorized:
      headers: {x-why: {value: secret}}
      body: {value: "this one is not for you\n"}
      dynamicMetadata:
        who: {selector: auth.identity.metadata.annotations.name}
        why: {value: {forbidden: [secret]}}
    unauthenticated:
      dynamicMetadata: {path: {selector: request.path}}
    success:
      headers:
        x-user: {plain: {selector: auth.identity.metadata.annotations.name}}
      dynamicMetadata:
        subject: {json: {properties: {name: {selector: auth.identity.metadata.annotations.name}}}}
---
apiVersion: v1
kind: Secret
metadata:
  name: alice
  labels: {group: friends, authorino.kuadrant.io/managed-by: authorino}
  annotations: {name: Alice}
stringData: {api_key: alices-key}
"#;

const KEY: (&str, &str) = ("authorization", "APIKEY alices-key");

/// Usher with [`TALKER`], an upstream, and Envoy between the client and both.
struct Gateway {
    envoy: Envoy,
    upstream: Upstream,
    usher: Usher,
}

impl Gateway {
    fn start() -> Option<Self> {
        Self::start_with(Usher::start(TALKER), &Setup::default())
    }

    fn start_with(usher: Usher, setup: &Setup) -> Option<Self> {
        let upstream = Upstream::start();
        let envoy = Envoy::start(&usher, &upstream, setup)?;
        Some(Self { envoy, upstream, usher })
    }
}

#[test]
fn a_known_key_passes_and_the_upstream_sees_whose_it_is() {
    let Some(gateway) = Gateway::start() else { return };
    let response = gateway.envoy.get(HOST, "/hello?a=1", &[KEY, ("x-user", "Mallory"), ("x-other", "kept")]);
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.json();
    assert_eq!(seen["target"], "/hello?a=1");
    assert_eq!(seen["headers"]["x-user"], "Alice", "a forged value is replaced, not joined");
    assert_eq!(seen["headers"]["x-other"], "kept");
    assert_eq!(gateway.envoy.filter_counter("ok"), 1);
}

#[test]
fn without_a_credential_the_client_is_challenged() {
    let Some(gateway) = Gateway::start() else { return };
    for (headers, reason) in [
        (&[][..], "credential not found"),
        (&[("authorization", "APIKEY somebody-elses")][..], "the API Key provided is invalid"),
        (&[("authorization", "Bearer alices-key")][..], "credential not found"),
    ] {
        let response = gateway.envoy.get(HOST, "/hello", headers);
        assert_eq!(response.status, 401, "{headers:?}: {}", response.text());
        assert_eq!(response.headers("www-authenticate").collect::<Vec<_>>(), [r#"APIKEY realm="friends""#]);
        assert_eq!(response.header("x-ext-auth-reason"), Some(reason), "{headers:?}");
    }
    assert_eq!(gateway.upstream.requests(), 0);
    assert_eq!(gateway.envoy.filter_counter("denied"), 3);
    assert_eq!(gateway.envoy.filter_counter("error"), 0);
}

#[test]
fn a_denial_carries_its_own_headers_and_body() {
    let Some(gateway) = Gateway::start() else { return };
    let response = gateway.envoy.get(HOST, "/secret", &[KEY]);
    assert_eq!((response.status, response.text().as_str()), (403, "this one is not for you\n"));
    assert_eq!(response.header("x-why"), Some("secret"));
    assert_eq!(gateway.upstream.requests(), 0);
    let logged = gateway.envoy.access_log("/secret");
    assert_eq!((&logged[0]["details"], &logged[0]["flags"]), (&json!("ext_authz_denied"), &json!("UAEX")));
}

#[test]
fn a_host_that_nobody_configured_is_not_found() {
    let Some(gateway) = Gateway::start() else { return };
    let response = gateway.envoy.get("stranger.test", "/hello", &[KEY]);
    assert_eq!(response.status, 404, "{}", response.text());
    assert_eq!(gateway.upstream.requests(), 0);
}

#[test]
fn routes_choose_whether_to_check_and_as_which_host() {
    let Some(gateway) = Gateway::start() else { return };
    for (target, headers, expected) in [
        ("/open", &[][..], 200),
        ("/renamed", &[][..], 401),
        ("/renamed", &[KEY][..], 200),
        ("/other", &[KEY][..], 404),
    ] {
        let response = gateway.envoy.get("stranger.test", target, headers);
        assert_eq!(response.status, expected, "{target} {headers:?}: {}", response.text());
    }
}

#[test]
fn later_filters_and_logs_read_the_dynamic_metadata() {
    let Some(gateway) = Gateway::start() else { return };
    let response = gateway.envoy.get(HOST, "/logged", &[KEY]);
    assert_eq!(response.json()["headers"]["x-subject"], "Alice");
    let logged = gateway.envoy.access_log("/logged");
    assert_eq!(logged[0]["code"], 200);
    assert_eq!(logged[0]["ext_authz"]["subject"], json!({"name": "Alice"}));

    for (target, headers, status, expected) in [
        ("/secret", &[KEY][..], 403, json!({"who": "Alice", "why": {"forbidden": ["secret"]}})),
        ("/unknown", &[][..], 401, json!({"path": "/unknown"})),
    ] {
        assert_eq!(gateway.envoy.get(HOST, target, headers).status, status, "{target}");
        let logged = gateway.envoy.access_log(target);
        let logged = logged[0]["ext_authz"].as_object().unwrap();
        let ours = expected.as_object().unwrap();
        assert!(ours.iter().all(|(name, value)| logged.get(name) == Some(value)), "{target}: {logged:?}");
    }
}

#[test]
fn rules_read_the_body_that_is_passed_on() {
    let config = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: talker}
spec:
  hosts: [talker.test]
  authentication: {anyone: {anonymous: {}}}
  authorization:
    small-orders:
      when: [{predicate: request.path == "/orders"}]
      opa: {rego: "allow { json.unmarshal(input.context.request.http.body).amount <= 10 }"}
    known-bytes:
      when: [{predicate: request.path == "/bytes"}]
      patternMatching: {patterns: [{selector: context.request.http.raw_body, operator: eq, value: /wA=}]}
"#;
    let post = |envoy: &Envoy, target: &str, body: &[u8]| {
        envoy.send(Request { method: "POST", host: HOST, target, body, ..Request::default() }).unwrap()
    };

    let text = Setup { with_request_body: Some(json!({"max_request_bytes": 1024})), ..Setup::default() };
    let Some(gateway) = Gateway::start_with(Usher::start(config), &text) else { return };
    let body = br#"{"amount": 7}"#;
    let response = post(&gateway.envoy, "/orders", body);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["body"].as_str().unwrap().as_bytes(), body, "the upstream gets it too");
    assert_eq!(post(&gateway.envoy, "/orders", br#"{"amount": 70}"#).status, 403);
    assert_eq!(post(&gateway.envoy, "/orders", b"no JSON").status, 403);

    let bytes = json!({"max_request_bytes": 1024, "pack_as_bytes": true});
    let bytes = Setup { with_request_body: Some(bytes), ..Setup::default() };
    let envoy = Envoy::start(&gateway.usher, &gateway.upstream, &bytes).unwrap();
    assert_eq!(post(&envoy, "/bytes", &[0xff, 0x00]).status, 200);
    assert_eq!(post(&envoy, "/bytes", &[0xff, 0x01]).status, 403);
}

#[test]
fn checks_travel_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let [authority, other] =
        [("ca.crt", Authority::new()), ("other-ca.crt", Authority::new())].map(|(name, authority)| {
            fs::write(file(name), authority.pem()).unwrap();
            (file(name), authority)
        });
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    authority.1.server().write(&certificate, &key);
    let flags = ["--tls-cert", certificate.to_str().unwrap(), "--tls-cert-key", key.to_str().unwrap()];
    let usher = Usher::start_with(TALKER, &flags);

    let setup = |authority: &Path| Setup { certificate_authority: Some(authority.to_owned()), ..Setup::default() };
    let Some(gateway) = Gateway::start_with(usher, &setup(&authority.0)) else { return };
    assert_eq!(gateway.envoy.get(HOST, "/hello", &[KEY]).status, 200, "{}", gateway.envoy.output());
    assert_eq!(gateway.envoy.get(HOST, "/hello", &[]).status, 401);

    for (why, setup) in [("another authority", setup(&other.0)), ("no TLS", Setup::default())] {
        let envoy = Envoy::start(&gateway.usher, &gateway.upstream, &setup).unwrap();
        assert_eq!(envoy.get(HOST, "/hello", &[KEY]).status, 403, "{why}");
        assert_eq!((envoy.filter_counter("error"), envoy.filter_counter("ok")), (1, 0), "{why}");
    }
    assert_eq!(gateway.upstream.requests(), 1);
}

/// While the configuration changes again and again, every request is answered by some version of it, by none that is
/// older than one seen before, and never by one that cannot be compiled.
#[test]
fn no_request_fails_while_the_configuration_changes() {
    const LAST: u32 = 15;
    const BROKEN: u32 = 8;
    let version = |number: u32| {
        let operator = if number == BROKEN { "no-such-operator" } else { "neq" };
        format!(
            r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: talker}}
spec:
  hosts: [talker.test]
  authentication: {{anyone: {{anonymous: {{}}}}}}
  authorization:
    no-secrets: {{patternMatching: {{patterns: [{{selector: request.path, operator: {operator}, value: /secret}}]}}}}
  response: {{success: {{headers: {{x-version: {{plain: {{value: "{number}"}}}}}}}}}}
"#
        )
    };
    let Some(gateway) = Gateway::start_with(Usher::start(&version(0)), &Setup::default()) else { return };
    let envoy = &gateway.envoy;
    let seen_version = || -> u32 {
        let response = envoy.get(HOST, "/hello", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["headers"]["x-version"].as_str().unwrap().parse().unwrap()
    };

    let is_over = AtomicBool::new(false);
    // Also when this thread stops at a failure: the others must not go on for ever.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let over = Over(&is_over);
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut requests, mut newest) = (0, 0);
                    while !is_over.load(Ordering::Relaxed) {
                        let version = seen_version();
                        assert!(version >= newest, "version {version} after {newest}");
                        assert_ne!(version, BROKEN);
                        newest = version;
                        assert_eq!(envoy.get(HOST, "/secret", &[]).status, 403);
                        requests += 2;
                    }
                    requests
                })
            })
            .collect();
        for number in 1..=LAST {
            gateway.usher.write("config.yaml", &version(number));
            // Other objects come and go beside it.
            gateway.usher.write("other.yaml", &version(number).replace("talker", &format!("other-{number}")));
            if number == BROKEN {
                until("a word about the broken version", || {
                    let output = gateway.usher.output();
                    if output.contains("no-such-operator") { Ok(()) } else { Err(output) }
                });
                continue;
            }
            until("the new version", || match seen_version() {
                seen if seen == number => Ok(()),
                seen => Err(format!("version {seen} instead of {number}")),
            });
        }
        drop(over);
        let requests: Vec<u32> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(requests.iter().all(|count| *count > LAST), "too few requests to tell anything: {requests:?}");
    });
    assert_eq!(envoy.filter_counter("error"), 0);
}

#[test]
fn while_usher_is_down_nobody_passes() {
    let Some(mut gateway) = Gateway::start() else { return };
    let pass = |gateway: &Gateway| {
        let response = gateway.envoy.get(HOST, "/hello", &[KEY]);
        if response.status == 200 { Ok(()) } else { Err(format!("{} {}", response.status, response.text())) }
    };
    pass(&gateway).unwrap();
    for how in ["killed", "asked to end"] {
        if how == "killed" {
            gateway.usher.kill();
        } else {
            let status = gateway.usher.terminate();
            assert!(status.success(), "{how}: {status}");
        }
        let before = gateway.upstream.requests();
        assert_eq!(gateway.envoy.get(HOST, "/hello", &[KEY]).status, 403, "{how}");
        assert_eq!(gateway.upstream.requests(), before, "{how}");
        gateway.usher.restart();
        until("requests pass again", || pass(&gateway));
        assert_eq!(gateway.envoy.get(HOST, "/hello", &[]).status, 401, "{how}");
    }
}
