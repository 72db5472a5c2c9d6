//! Policies as people write them, on requests.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may stop at the first surprise")]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use usher_api::{Document, read_documents};
use usher_engine::{
    Request, RequestParts,
    plan::{Policy as _, PolicyDecision},
    request::{Address, Metadata, Peer, Port},
};
use usher_policy::{Policies, compile};

/// The tokens of the tutorial of the plugin, signed with `secret`: roles guest and admin.
const ALICE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6Imd1ZXN0Iiwic3ViIjoiWVd4cFkyVT0ifQ.ja1bgvIt47393ba_WbSBm35NrUhdxM4mOVQN8iXz8lk";
const BOB: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.veMeVDYlulTdieeX-jxFZ_tCmqQ_K8rwx2OktUHv5Z0";

/// Policies of these names and specifications.
fn policies(specifications: &[(&str, &str)]) -> Result<Policies, Vec<String>> {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for (name, specification) in specifications {
        let lines: String = specification.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "apiVersion: envoy.kyverno.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n{lines}"
        );
        let documents = read_documents(&text);
        let [Document::AuthorizationPolicy(document)] = documents.as_slice() else { panic!("{text}") };
        match document.result.clone().and_then(|policy| compile(&policy)) {
            Ok(policy) => good.push(Arc::new(policy)),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() { Ok(Policies::new(good)) } else { Err(problems) }
}

fn request(headers: &[(&str, &str)]) -> Request {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request::new(RequestParts {
        method: "GET".to_owned(),
        host: "http.test".to_owned(),
        path: "/get?a=1".to_owned(),
        headers,
        source: Peer {
            address: Some(Address::Socket { protocol: 0, address: "10.0.0.1".to_owned(), port: Port::Number(8080) }),
            principal: "spiffe://a".to_owned(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..Peer::default()
        },
        context_extensions: [("route".to_owned(), "r1".to_owned())].into(),
        metadata: Some(Metadata { filter_metadata: [("x".to_owned(), json!({"n": 1}))].into(), ..Metadata::default() }),
        ..RequestParts::default()
    })
}

/// A decision in words.
fn decide(policies: &Policies, headers: &[(&str, &str)]) -> String {
    match policies.decide(&request(headers), None) {
        PolicyDecision::Allowed(changes) => format!("allowed {changes:?}"),
        PolicyDecision::Denied(denial) => {
            let rule = denial.rule.as_deref().unwrap_or("-").to_owned();
            format!("{} {rule} [{}] {:?} {}", denial.http_status(), denial.reason, denial.headers, denial.body)
        }
        PolicyDecision::Undecidable(undecided) => format!("undecidable {}", undecided.detail),
    }
}

/// Decides with one policy, named `p`.
fn decide_with(specification: &str, headers: &[(&str, &str)]) -> String {
    decide(&policies(&[("p", specification)]).unwrap(), headers)
}

fn allow_if(expression: &str) -> String {
    format!("allow:\n- match: |\n    {expression}\n  response: envoy.Allowed().Response()")
}

const TUTORIAL: &str = r#"
failurePolicy: Fail
variables:
- name: authorization
  expression: object.attributes.request.http.headers[?"authorization"].orValue("").split(" ")
- name: token
  expression: >
    size(variables.authorization) == 2 && variables.authorization[0].lowerAscii() == "bearer"
      ? jwt.Decode(variables.authorization[1], "secret")
      : null
deny:
- match: >
    variables.token == null || !variables.token.Valid
  response: >
    envoy.Denied(401).Response()
- match: variables.token.Claims.?role.orValue("") != "admin"
  response: envoy.Denied(403).Response()
allow:
- response: >
    envoy
      .Allowed()
      .WithHeader("X-Validated-By", "my-security-checkpoint")
      .WithoutHeader("x-force-authorized")
      .WithResponseHeader("x-add-custom-response-header", "added")
      .Response()
      .WithMetadata({"my-new-metadata": "my-new-value"})
"#;

#[test]
fn the_tutorial_answers_as_it_says() {
    let policies = policies(&[("demo", TUTORIAL)]).unwrap();
    for (authorization, expected) in [
        ("", "401 demo: spec.deny[0] [] [] "),
        ("Bearer garbage", "401 demo: spec.deny[0] [] [] "),
        (&format!("Bearer {BOB}x"), "401 demo: spec.deny[0] [] [] "),
        (&format!("Bearer {BOB} x"), "401 demo: spec.deny[0] [] [] "),
        (&format!("Basic {BOB}"), "401 demo: spec.deny[0] [] [] "),
        (&format!("Bearer {ALICE}"), "403 demo: spec.deny[1] [] [] "),
    ] {
        assert_eq!(decide(&policies, &[("authorization", authorization)]), expected, "{authorization}");
    }
    let PolicyDecision::Allowed(changes) =
        policies.decide(&request(&[("authorization", &format!("bEARER {BOB}"))]), None)
    else {
        panic!("an administrator is let in")
    };
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(changes.headers, pair("x-validated-by", "my-security-checkpoint"));
    assert_eq!(changes.remove_headers, ["x-force-authorized"]);
    assert_eq!(changes.response_headers, pair("x-add-custom-response-header", "added"));
    assert_eq!(Value::from(changes.dynamic_metadata), json!({"my-new-metadata": "my-new-value"}));
}

#[test]
fn nothing_is_allowed_without_a_rule_that_says_so() {
    for specification in [
        "{}",
        "deny: [{match: 'false', response: envoy.Denied(401).Response()}]",
        "allow: [{match: 'false', response: envoy.Allowed().Response()}]",
        "{matchConditions: [{name: no, expression: 'false'}], allow: [{response: envoy.Allowed().Response()}]}",
        "{failurePolicy: Ignore, matchConditions: [{name: bad, expression: 1 / 0 == 1}], allow: [{response: envoy.Allowed().Response()}]}",
        // What fails while it denies does not allow either.
        "{failurePolicy: Ignore, deny: [{match: 1 / 0 == 1, response: envoy.Denied(403).Response()}], allow: [{response: envoy.Allowed().Response()}]}",
        "{failurePolicy: Ignore, deny: [{response: envoy.Allowed().Response()}], allow: [{response: envoy.Allowed().Response()}]}",
    ] {
        assert_eq!(decide_with(specification, &[]), "403 - [no rule allows the request] [] ", "{specification}");
    }
    assert_eq!(decide(&Policies::new(Vec::new()), &[]), "403 - [no rule allows the request] [] ");
}

#[test]
fn errors_are_undecidable_unless_they_are_to_be_ignored() {
    for (specification, expected) in [
        (
            "{matchConditions: [{name: bad, expression: 1 / 0 == 1}], allow: [{response: envoy.Allowed().Response()}]}",
            "match condition `bad`: division by zero",
        ),
        ("deny: [{match: 1 / 0 == 1, response: envoy.Denied(403).Response()}]", "spec.deny[0].match: division by zero"),
        (
            "allow: [{response: 'envoy.Allowed().WithHeader(\"a\", object.attributes.nothing).Response()'}]",
            "spec.allow[0].response: no such key: nothing",
        ),
        (
            "{variables: [{name: x, expression: 1 / 0}], allow: [{match: variables.x == 1, response: envoy.Allowed().Response()}]}",
            "spec.allow[0].match: variables.x: division by zero",
        ),
        ("deny: [{response: envoy.Allowed().Response()}]", "spec.deny[0].response: a deny rule cannot allow"),
        (
            "allow: [{match: 'jwt.Decode(\"a\", \"\").Valid', response: envoy.Allowed().Response()}]",
            "spec.allow[0].match: jwt.Decode: the key is empty",
        ),
        (
            "allow: [{match: object.attributes.request.http.method, response: envoy.Allowed().Response()}]",
            "spec.allow[0].match: type error: got string, wanted bool output type",
        ),
    ] {
        let expected = format!("undecidable AuthorizationPolicy `p`: {expected}");
        assert_eq!(decide_with(specification, &[]), expected, "{specification}");
    }
    // A condition that does not hold decides, whatever the others do. So does a rule that comes before the error.
    let specification = "{matchConditions: [{name: bad, expression: 1 / 0 == 1}, {name: no, expression: 'false'}]}";
    assert!(decide_with(specification, &[]).starts_with("403 - "));
    let specification = "{variables: [{name: x, expression: 1 / 0}], deny: [{response: envoy.Denied(404).Response()}, {match: variables.x == 1, response: envoy.Denied(401).Response()}]}";
    assert!(decide_with(specification, &[]).starts_with("404 p: spec.deny[0]"));
}

#[test]
fn policies_run_in_the_order_of_their_names_and_deny_comes_first() {
    let deny = |condition: &str, code: u16| {
        format!("deny: [{{match: '{condition}', response: envoy.Denied({code}).Response()}}]")
    };
    let allow = "allow: [{response: 'envoy.Allowed().WithHeader(\"by\", \"NAME\").Response()'}]";
    let all = policies(&[
        ("c", &deny("true", 410)),
        ("b", &deny("object.attributes.request.http.headers[?\"x-b\"].hasValue()", 411)),
        ("a", &allow.replace("NAME", "a")),
    ])
    .unwrap();
    assert!(decide(&all, &[]).starts_with("410 c: spec.deny[0]"));
    assert!(decide(&all, &[("x-b", "")]).starts_with("411 b: spec.deny[0]"));
    let two = policies(&[("z", &allow.replace("NAME", "z")), ("a", &allow.replace("NAME", "a"))]).unwrap();
    assert!(decide(&two, &[]).contains(r#"headers: [("by", "a")]"#));
    // One that is ignored leaves the others alone.
    let ignored = "{failurePolicy: Ignore, deny: [{match: 1 / 0 == 1, response: envoy.Denied(403).Response()}]}";
    let mixed = policies(&[("a", ignored), ("b", &allow.replace("NAME", "b"))]).unwrap();
    assert!(decide(&mixed, &[]).contains(r#"headers: [("by", "b")]"#));
}

#[test]
fn the_check_request_is_there_with_its_own_names() {
    for expression in [
        r#"object.attributes.request.http.method == "GET" && object.attributes.request.http.path == "/get?a=1""#,
        r#"object.attributes.request.http.host == "http.test" && object.attributes.request.http.body == """#,
        r#"object.attributes.request.http.size == 0 && !has(object.attributes.request.http.body)"#,
        r#"object.attributes.request.http.headers["x-a"] == "1" && "x-a" in object.attributes.request.http.headers"#,
        r#"object.attributes.request.http.headers.exists(name, name == "x-a")"#,
        r#"object.attributes.source.address.socket_address.address == "10.0.0.1""#,
        r#"object.attributes.source.address.socket_address.port_value == 8080"#,
        r#"object.attributes.source.principal == "spiffe://a" && object.attributes.source.labels.app == "web""#,
        r#"object.attributes.destination.principal == "" && size(object.attributes.destination.labels) == 0"#,
        r#"object.attributes.destination.address.socket_address.port_value == 0"#,
        r#"!has(object.attributes.destination.address) && !has(object.attributes.source.address.pipe)"#,
        r#"object.attributes.source.address.pipe.path == """#,
        r#"object.attributes.context_extensions["route"] == "r1""#,
        r#"object.attributes.metadata_context.filter_metadata["x"].n == 1"#,
        r#"size(object.attributes.route_metadata_context.filter_metadata) == 0"#,
        r#"object.attributes.tls_session.sni == "" && object.attributes.request.time.seconds == 0"#,
        r#"[object].all(o, o.attributes.request.http.headers["x-a"] == "1")"#,
    ] {
        let found = decide_with(&allow_if(expression), &[("x-a", "1")]);
        assert!(found.starts_with("allowed"), "{expression}: {found}");
    }
}

#[test]
fn answers_are_put_together_as_documented() {
    let with = |response: &str| {
        let rule = json!([{"response": response}]);
        decide_with(&format!("allow: {rule}"), &[])
    };
    for (response, expected) in [
        (
            r#"envoy.Response(envoy.Allowed().WithHeader(envoy.Header("A", "").KeepEmptyValue()))"#,
            r#"headers: [("a", "")]"#,
        ),
        (
            r#"envoy.Allowed().WithHeader("a", "1").WithHeader("a", "2").Response()"#,
            r#"headers: [("a", "1"), ("a", "2")]"#,
        ),
        (
            r#"envoy.Allowed().WithResponseHeader(envoy.Header("a", "1").KeepEmptyValue(false)).Response()"#,
            r#"response_headers: [("a", "1")]"#,
        ),
        (
            r#"envoy.Allowed().WithQueryParam("A", "1").WithoutQueryParam("b").Response()"#,
            r#"query_parameters: [("A", "1")], remove_query_parameters: ["b"]"#,
        ),
        (
            r#"envoy.Allowed().WithQueryParam(envoy.QueryParam("a", "1")).Response()"#,
            r#"query_parameters: [("a", "1")]"#,
        ),
        (
            r#"envoy.Response(0).WithMessage("m").WithMetadata({"a": {"b": [1, true, null]}})"#,
            r#"{"a": Object {"b": Array [Number(1), Bool(true), Null]}}"#,
        ),
        (r#"envoy.Response(7)"#, "403 p: spec.allow[0] [] [] "),
        (r#"envoy.Response(16)"#, "403 p: spec.allow[0] [] [] "),
        (r#"envoy.Response(envoy.Denied(429)).WithMessage("slow down")"#, "429 p: spec.allow[0] [slow down] [] "),
        (
            r#"envoy.Denied(401).WithBody("Who?").WithHeader("WWW-Authenticate", "Bearer").WithHeader(envoy.Header("a", "b")).Response().WithMetadata({"a": "b"})"#,
            r#"401 p: spec.allow[0] [] [("www-authenticate", "Bearer"), ("a", "b")] Who?"#,
        ),
        // What is no refusal is answered as one.
        ("envoy.Denied(200).Response()", "403 p: spec.allow[0] [] [] "),
        ("envoy.Denied(-1).Response()", "403 p: spec.allow[0] [] [] "),
        ("envoy.Denied(99999).Response()", "403 p: spec.allow[0] [] [] "),
        (
            r#"object.attributes.request.http.method == "GET" ? envoy.Denied(405).Response() : envoy.Allowed().Response()"#,
            "405 p: ",
        ),
    ] {
        let found = with(response);
        assert!(found.contains(expected), "{response}: {found}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    for (specification, path, message) in [
        ("deny: [{match: 'true'}]", "spec.deny[0].response", "Required value"),
        ("failurePolicy: Maybe", "spec.failurePolicy", "Unsupported value"),
        ("rules: []", "spec.rules", "unknown field"),
        ("allow: [{response: \"'bye'\"}]", "spec.allow[0].response", "wanted envoy.CheckResponse"),
        ("allow: [{response: envoy.Allowed()}]", "spec.allow[0].response", "got envoy.OkHttpResponse"),
        ("allow: [{response: envoy.Denied(\"401\").Response()}]", "spec.allow[0].response", "'envoy.Denied'"),
        ("deny: [{match: \"'x'\", response: envoy.Denied(401).Response()}]", "spec.deny[0].match", "wanted bool"),
        (
            "matchConditions: [{name: a, expression: variables.x}]\nvariables: [{name: x, expression: 'true'}]",
            "spec.matchConditions[0].expression",
            "undefined field 'x'",
        ),
        (
            "matchConditions: [{name: a, expression: 'true'}, {name: a, expression: 'true'}]",
            "spec.matchConditions[1].name",
            "name of another one",
        ),
        (
            "variables: [{name: a, expression: variables.b}, {name: b, expression: '1'}]",
            "spec.variables[0].expression",
            "undefined field 'b'",
        ),
        (
            "variables: [{name: a, expression: '1'}, {name: a, expression: '1'}]",
            "spec.variables[1].expression",
            "`a` is defined already",
        ),
        (
            "variables: [{name: a, expression: request.method}]",
            "spec.variables[0].expression",
            "undeclared reference to 'request'",
        ),
        (
            "variables: [{name: a, expression: 'http.Get(\"http://a\")'}]",
            "spec.variables[0].expression",
            "the library `http` is not supported",
        ),
        (
            "variables: [{name: a, expression: 'jwt.Decode(\"a\", jwks.Fetch(\"http://a\"))'}]",
            "spec.variables[0].expression",
            "the library `jwks` is not supported",
        ),
        (
            "variables: [{name: a, expression: 'image(\"a\")'}]",
            "spec.variables[0].expression",
            "the library `image` is not supported",
        ),
        (
            "variables: [{name: a, expression: 'math.least(1, 2)'}]",
            "spec.variables[0].expression",
            "the library `math` is not supported",
        ),
        (
            "allow: [{response: 'envoy.OkResponse{}'}]",
            "spec.allow[0].response",
            "undeclared reference to 'envoy.OkResponse'",
        ),
    ] {
        let problems = policies(&[("p", specification)]).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.starts_with(&format!("{path}: ")) && problem.contains(message)),
            "{specification}: {problems:#?}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_written_ends_with_a_decision(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..12),
        kind in 0..5_usize,
        token in "[a-zA-Z0-9_.-]{0,60}",
    ) {
        let source = pieces.concat();
        let specification = match kind {
            0 => json!({"deny": [{"match": source, "response": "envoy.Denied(401).Response()"}]}),
            1 => json!({"deny": [{"response": source}]}),
            2 => json!({"allow": [{"match": "false", "response": source}]}),
            3 => json!({"variables": [{"name": "v", "expression": source}], "deny": [{"match": "variables.v == variables.v", "response": "envoy.Denied(401).Response()"}]}),
            _ => json!({"failurePolicy": "Ignore", "matchConditions": [{"name": "c", "expression": source}]}),
        };
        if let Ok(policies) = policies(&[("p", &specification.to_string())]) {
            let found = decide(&policies, &[("authorization", &token)]);
            prop_assert!(!found.starts_with("allowed"), "{source}: {found}");
        }
    }
}

/// What expressions are made of.
const PIECES: [&str; 33] = [
    "envoy",
    ".Allowed()",
    ".Denied(",
    "401)",
    ".Response()",
    ".WithHeader(",
    ".WithBody(",
    ".WithMetadata(",
    "\"a\"",
    ", ",
    ")",
    "(",
    "jwt.Decode(",
    "object",
    ".attributes",
    ".request.http.headers",
    "[\"authorization\"]",
    "[?\"x\"]",
    ".Valid",
    ".Claims",
    ".?role",
    ".orValue(\"\")",
    " == ",
    " ? ",
    " : ",
    "null",
    "true",
    "!",
    " && ",
    "variables.v",
    "{\"a\": ",
    "}",
    "[1].map(x, x",
];

#[test]
fn a_policy_cannot_take_all_the_time() {
    let slow = "[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, jwt.Decode(object.attributes.request.http.headers[\"x\"], \"k\").Valid)))";
    let variables: Vec<Value> = (0..20).map(|index| json!({"name": format!("v{index}"), "expression": slow})).collect();
    let used: Vec<String> = (0..20).map(|index| format!("size(variables.v{index}) == 10")).collect();
    let specification = json!({"variables": variables, "allow": [{"match": used.join(" && "), "response": "envoy.Allowed().Response()"}]});
    let found = decide_with(&specification.to_string(), &[("x", &"a".repeat(8000))]);
    assert_eq!(found, "undecidable AuthorizationPolicy `p`: spec.allow[0].match: cost limit exceeded");
}
