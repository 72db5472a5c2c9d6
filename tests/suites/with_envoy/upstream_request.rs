//! What the upstream gets: headers, credentials and query parameters that are set and taken out.

use serde_json::{Value, json};

use super::{Gateway, HOST, TALKER};
use crate::support::{
    envoy::{Envoy, Setup},
    usher::Usher,
};

const HEADERS: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: talker}
spec:
  hosts: [talker.test]
  authentication: {anyone: {anonymous: {}}}
  response:
    success:
      removeHeaders: [X-Secret, x-new, x-new-append, x-new-add, x-new-missing]
      headers:
        x-default: {plain: {value: ours}}
        x-overwrite: {action: overwrite, plain: {value: ours}}
        x-append: {action: append, plain: {value: ours}}
        x-add: {action: addIfAbsent, plain: {value: ours}}
        x-missing: {plain: {selector: auth.identity.no-such-thing}}
        x-new: {plain: {value: ours}}
        x-new-append: {action: append, plain: {value: ours}}
        x-new-add: {action: addIfAbsent, plain: {value: ours}}
        x-new-missing: {plain: {selector: auth.identity.no-such-thing}}
        cookies: {key: cookie, action: append, plain: {value: ours=1}}
"#;

#[test]
fn headers_are_replaced_added_to_kept_or_taken_out() {
    let Some(gateway) = Gateway::start_with(Usher::start(HEADERS), &Setup::default()) else { return };
    for (name, sent, expected) in [
        ("x-default", &[][..], Some("ours")),
        ("x-default", &["theirs", "too"], Some("ours")),
        ("x-overwrite", &[], Some("ours")),
        ("x-overwrite", &["theirs", "too"], Some("ours")),
        ("x-append", &[], Some("ours")),
        ("x-append", &[""], Some("ours")),
        ("x-append", &["theirs"], Some("theirs,ours")),
        ("x-append", &["theirs", "too"], Some("theirs,too,ours")),
        ("x-add", &[], Some("ours")),
        ("x-add", &[""], Some("")),
        ("x-add", &["theirs", "too"], Some("theirs,too")),
        // An item without a value sets nothing, but does not let through what it would have replaced.
        ("x-missing", &[], None),
        ("x-missing", &["theirs"], Some("")),
        ("x-secret", &["theirs"], None),
        ("x-secret", &["theirs", "too"], None),
        ("x-other", &["theirs", "too"], Some("theirs,too")),
        // What is taken out and set anew is ours alone.
        ("x-new", &["theirs"], Some("ours")),
        ("x-new-append", &["theirs"], Some("ours")),
        ("x-new-add", &["theirs"], Some("ours")),
        ("x-new-missing", &["theirs"], None),
        ("cookie", &[], Some("ours=1")),
        ("cookie", &["a=1; b=2"], Some("a=1; b=2; ours=1")),
    ] {
        let headers: Vec<_> = sent.iter().map(|value| (name, *value)).collect();
        let seen = gateway.envoy.get(HOST, "/", &headers).json();
        assert_eq!(seen["headers"].get(name).and_then(Value::as_str), expected, "{name}: the client sent {sent:?}");
    }
}

/// An AuthConfig for each place of the credential, and the Secret of [`TALKER`].
fn credentials() -> String {
    let (_, friends) = TALKER.split_once("---").unwrap();
    let mut config = friends.to_owned();
    for (name, credentials, items) in [
        ("scheme", "authorizationHeader: {prefix: APIKEY}", ""),
        ("header", "customHeader: {name: X-Key}", ""),
        ("query", "queryString: {name: key}", ""),
        ("cookie", "cookie: {name: session}", ""),
        ("set-anew", "customHeader: {name: X-Key}", "x-key: {action: append, plain: {value: ours}}"),
    ] {
        config.push_str(&format!(
            r#"---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  authentication:
    friends:
      apiKey: {{selector: {{matchLabels: {{group: friends}}}}}}
      credentials: {{{credentials}}}
      removeCredential: true
  response: {{success: {{headers: {{{items}}}}}}}
"#
        ));
    }
    config
}

#[test]
fn credentials_stay_with_the_gateway() {
    let Some(gateway) = Gateway::start_with(Usher::start(&credentials()), &Setup::default()) else { return };
    let validating = Setup { validate_mutations: true, ..Setup::default() };
    let validating = Envoy::start(&gateway.usher, &gateway.upstream, &validating).unwrap();
    type Headers = &'static [(&'static str, &'static str)];
    let cases: &[(&str, &str, Headers, &str, Headers)] = &[
        ("scheme.test", "/", &[("authorization", "APIKEY alices-key"), ("x-key", "k")], "/", &[("x-key", "k")]),
        ("header.test", "/?a=1", &[("X-KEY", "alices-key"), ("cookie", "c=1")], "/?a=1", &[("cookie", "c=1")]),
        ("set-anew.test", "/", &[("x-key", "alices-key")], "/", &[("x-key", "ours")]),
        ("cookie.test", "/", &[("cookie", "session=alices-key")], "/", &[]),
        ("cookie.test", "/", &[("cookie", "a=1; session=alices-key; b=2")], "/", &[("cookie", "a=1; b=2")]),
        ("cookie.test", "/", &[("cookie", "session=alices-key; session=alices-old")], "/", &[]),
        (
            "cookie.test",
            "/",
            &[("cookie", "a=1"), ("cookie", "session=alices-key"), ("cookie", "b=2")],
            "/",
            // The gateway joined them, and what it joined is not parted again.
            &[("cookie", "a=1,b=2")],
        ),
        ("query.test", "/x?key=alices-key", &[], "/x", &[]),
        ("query.test", "/x?b=2&key=alices-key&a=%26&B=3", &[], "/x?B=3&a=%26&b=2", &[]),
        ("query.test", "/x?%6bey=alices-key&key=alices-old&a=1", &[], "/x?a=1", &[]),
        ("query.test", "/x?key=alices%2Dkey&flag&empty=&key", &[], "/x?empty=&flag=", &[]),
        ("query.test", "/x?a=1&a=2&key=alices-key", &[], "/x?a=1&a=2", &[]),
    ];
    for (host, target, sent, expected_target, expected) in cases {
        for envoy in [&gateway.envoy, &validating] {
            let response = envoy.get(host, target, sent);
            assert_eq!(response.status, 200, "{host} {target} {sent:?}: {}", response.text());
            let seen = response.json();
            let headers: Vec<_> = ["authorization", "cookie", "x-key"]
                .into_iter()
                .filter_map(|name| Some((name, seen["headers"].get(name)?.as_str()?)))
                .collect();
            assert_eq!((&seen["target"], &*headers), (&json!(expected_target), *expected), "{host} {target} {sent:?}");
            assert!(!seen.to_string().contains("alices"), "{host} {target} {sent:?}: {seen}");
        }
    }
}

const QUERY: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: talker}
spec:
  hosts: [talker.test]
  authentication: {anyone: {anonymous: {}}}
  response:
    success:
      queryParameters:
        set:
          user:
            when: [{predicate: '!request.path.startsWith("/none")'}]
            plain: {expression: 'request.headers["x-value"]'}
          gone: {plain: {selector: auth.identity.no-such-thing}}
          odd-name: {key: the name, when: [{predicate: 'request.path.startsWith("/name")'}], plain: {value: x}}
        remove: [debug]
"#;

/// Envoy writes the query anew, in the order of the names. With `validate_mutations` it refuses what is encoded, and
/// with it the request: 500.
#[test]
fn query_parameters_are_set_and_taken_out() {
    let Some(gateway) = Gateway::start_with(Usher::start(QUERY), &Setup::default()) else { return };
    let validating = Setup { validate_mutations: true, ..Setup::default() };
    let validating = Envoy::start(&gateway.usher, &gateway.upstream, &validating).unwrap();
    for (target, value, expected, is_valid) in [
        ("/x", "alice", "/x?user=alice", true),
        ("/x?", "alice", "/x?user=alice", true),
        ("/x?z=1&a=2&B=%26&user=mallory", "alice", "/x?B=%26&a=2&user=alice&z=1", true),
        ("/x?user=mallory&%75ser=mallory&user=mallory", "alice", "/x?user=alice", true),
        ("/x?gone=1&%67one=2", "alice", "/x?user=alice", true),
        ("/x?debug=1&%64ebug=1&debug&a=1", "alice", "/x?a=1&user=alice", true),
        ("/none?debug=1&b=1&a=2", "", "/none?a=2&b=1", true),
        ("/none?debug=1", "", "/none", true),
        ("/none?b=1&a=2", "", "/none?b=1&a=2", true),
        ("/x", "", "/x?user=", true),
        ("/x", "a-b_c.d", "/x?user=a-b_c.d", true),
        ("/x", "a&b=c", "/x?user=a%26b%3Dc", false),
        ("/x", "two words", "/x?user=two%20words", false),
        ("/x", "100%", "/x?user=100%25", false),
        ("/x", "a~b", "/x?user=a~b", false),
        ("/x", "Zürich", "/x?user=Z%C3%BCrich", false),
        ("/name?the+name=y&the%20name=z", "alice", "/name?the%20name=x&user=alice", false),
    ] {
        let headers = [("x-value", value)];
        let response = gateway.envoy.get(HOST, target, &headers);
        assert_eq!(response.status, 200, "{target} {value}: {}", response.text());
        assert_eq!(response.json()["target"], expected, "{target} {value}");
        let response = validating.get(HOST, target, &headers);
        assert_eq!(response.status, if is_valid { 200 } else { 500 }, "{target} {value}: {}", response.text());
        if is_valid {
            assert_eq!(response.json()["target"], expected, "{target} {value}");
        }
    }
}
