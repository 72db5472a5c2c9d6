//! What Usher answers, and what this gateway makes of it.

use serde_json::{Value, json};

use super::{HOST, Simple};

/// Everything that Usher can change about a request that passes.
#[test]
fn an_allowed_request_is_changed() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: changes}
spec:
  hosts: [told.test]
  response:
    success:
      headers:
        x-user: {plain: {value: ann}}
        x-via: {action: append, plain: {value: usher}}
        x-default: {action: addIfAbsent, plain: {value: default}}
      removeHeaders: [x-user, x-internal]
      responseHeaders:
        x-request-class: {plain: {value: gold}}
        cache-control: {action: addIfAbsent, plain: {value: private}}
      queryParameters:
        set: {tenant: {plain: {value: acme}}}
        remove: [debug]
"#;
    let world = Simple::start(CONFIG, &[], None, |_| {});
    let sent = [
        ("x-user", "forged"),
        ("x-user", "twice"),
        ("x-via", "cdn"),
        ("x-internal", "secret"),
        ("x-default", "given"),
        ("x-answer", "x-request-class: lead"),
        ("x-answer", "cache-control: public"),
    ];
    let response = world.proxy.get(HOST, "/a?debug=1&tenant=other&c=d", &sent);
    let seen = response.json();
    assert_eq!(seen["target"], "/a?c=d&tenant=acme");
    let headers = &seen["headers"];
    assert_eq!(
        (&headers["x-user"], &headers["x-via"], &headers["x-default"]),
        (&json!("ann"), &json!("cdn,usher"), &json!("given"))
    );
    assert_eq!(headers.get("x-internal"), None);
    assert_eq!(response.headers("x-request-class").collect::<Vec<_>>(), ["gold"]);
    // This gateway lets the response of the upstream never win.
    assert_eq!(response.headers("cache-control").collect::<Vec<_>>(), ["private"]);
}

/// A header without a value says nothing to this gateway, so it cannot empty one that the client sent. Removing it can.
#[test]
fn a_header_that_is_to_be_empty_has_to_be_removed() {
    let config = |remove: &str| {
        format!(
            r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: empty}}
spec:
  hosts: [told.test]
  response: {{success: {{headers: {{x-user: {{plain: {{selector: auth.identity.sub}}}}}}, removeHeaders: {remove}}}}}
"#
        )
    };
    for (remove, expected) in [("[]", Some("forged")), ("[x-user]", None)] {
        let world = Simple::start(&config(remove), &[], None, |_| {});
        let seen = world.proxy.get(HOST, "/", &[("x-user", "forged")]).json();
        assert_eq!(seen["headers"].get("x-user").and_then(Value::as_str), expected, "{remove}");
    }
}

/// Usher encodes values, as Envoy wants it; this gateway encodes what it is given.
#[test]
fn a_query_value_that_needs_encoding_is_encoded_twice() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: query}
spec:
  hosts: [told.test]
  response: {success: {queryParameters: {set: {name: {plain: {value: "ann lee"}}, id: {plain: {value: ann-7}}}}}}
"#;
    let world = Simple::start(CONFIG, &[], None, |_| {});
    let seen = world.proxy.get(HOST, "/?c=%20", &[]).json();
    assert_eq!(seen["target"], "/?c=+&id=ann-7&name=ann%2520lee");
}

/// Each of several ways to authenticate has its challenge; this gateway has room for one header.
#[test]
fn several_challenges_arrive_in_one_header() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: challenges}
spec:
  hosts: [told.test]
  authentication:
    first: {apiKey: {selector: {matchLabels: {group: first}}}, credentials: {authorizationHeader: {prefix: FIRST}}}
    second: {apiKey: {selector: {matchLabels: {group: second}}}, credentials: {authorizationHeader: {prefix: SECOND}}}
"#;
    for (flags, expected) in [
        (&[][..], r#"SECOND realm="second""#),
        (&["--join-challenges"], r#"FIRST realm="first", SECOND realm="second""#),
    ] {
        let world = Simple::start(CONFIG, flags, None, |_| {});
        let response = world.proxy.get(HOST, "/", &[]);
        assert_eq!(response.status, 401);
        assert_eq!(response.headers("www-authenticate").collect::<Vec<_>>(), [expected], "{flags:?}");
    }
}

/// It does not know the third kind of answer, so its own words take the place of ours.
#[test]
fn an_error_stops_the_request_too() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: undecidable}
spec:
  hosts: [told.test]
  authorization:
    broken: {when: [{predicate: 'request.headers["x-missing"] == "a"'}], patternMatching: {patterns: []}}
"#;
    for (flags, status, text) in [(&[][..], 503, ""), (&["--error-response"], 403, "external authorization failed")] {
        let world = Simple::start(CONFIG, flags, None, |_| {});
        let response = world.proxy.get(HOST, "/", &[]);
        assert_eq!((response.status, response.text().as_str()), (status, text), "{flags:?}");
        assert_eq!(response.headers("x-ext-auth-reason").count(), usize::from(flags.is_empty()));
        assert_eq!(world.upstream.requests(), 0);
    }
}

/// This gateway compares names of parameters when they are decoded.
#[test]
fn a_query_parameter_is_removed_however_it_is_spelled() {
    const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: query}
spec:
  hosts: [told.test]
  response: {success: {queryParameters: {set: {user: {plain: {value: ann}}}, remove: [debug, a b]}}}
"#;
    let world = Simple::start(CONFIG, &[], None, |_| {});
    for target in ["/?debug=1", "/?%64ebug=1&c", "/?a+b=1", "/?a%20b=1&%75ser=eve&user=eve"] {
        let seen = world.proxy.get(HOST, target, &[]).json();
        let seen = seen["target"].as_str().unwrap().trim_start_matches("/?").replace("c=&", "");
        assert_eq!(seen, "user=ann", "{target}");
    }
}
