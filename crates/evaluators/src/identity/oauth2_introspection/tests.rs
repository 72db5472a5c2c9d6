use serde_json::json;

use super::*;
use crate::{
    resources::http::test_server::{Reply, TestServer},
    test_world::{Built, TestWorld, check, is_in_trace},
};

const PATH: &str = "/introspect";

fn world() -> TestWorld {
    TestWorld::new().secret("client", &[("clientID", "talker"), ("clientSecret", "s3cr3t")])
}

fn build_rule(world: &TestWorld, spec: Value) -> Built<OAuth2Introspection> {
    let spec = serde_json::from_value(spec).unwrap();
    world.build(|context, problems| {
        build(&spec, Some(Credentials::default()), &FieldPath::root("rule"), context, problems)
    })
}

fn rule(server: &TestServer, changes: &Value) -> OAuth2Introspection {
    let mut spec = json!({"endpoint": format!("{}{PATH}", server.url), "credentialsRef": {"name": "client"}});
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let (rule, problems, warnings) = build_rule(&world(), spec);
    assert_eq!((problems.len(), warnings.len()), (0, 0), "{problems:?} {warnings:?}");
    rule.unwrap()
}

async fn introspect(rule: &OAuth2Introspection, token: &str) -> Outcome {
    check(rule, "/", &[("authorization", &format!("Bearer {token}"))], "").await
}

#[tokio::test]
async fn the_endpoint_is_asked_as_the_standard_says() {
    let server = TestServer::start().await;
    server.set(PATH, Reply::json(&json!({"username": "john", "active": true, "n": {"b": 1, "a": 2}})));
    for (changes, token, body) in [
        (json!({}), "tok-1", "token=tok-1&token_type_hint=access_token"),
        (json!({"tokenTypeHint": ""}), "tok-1", "token=tok-1&token_type_hint=access_token"),
        (
            json!({"tokenTypeHint": "refresh token"}),
            "a+b/c=&d %",
            "token=a%2Bb%2Fc%3D%26d+%25&token_type_hint=refresh+token",
        ),
    ] {
        let identity = introspect(&rule(&server, &changes), token).await.unwrap();
        assert_eq!(identity.to_string(), r#"{"active":true,"n":{"a":2,"b":1},"username":"john"}"#);
        let request = server.last_request(PATH).unwrap();
        assert!(request.starts_with("POST /introspect HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{request}");
        // `talker:s3cr3t`
        assert!(request.contains("\r\nauthorization: Basic dGFsa2VyOnMzY3IzdA==\r\n"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
        assert!(is_in_trace(&request), "{request}");
    }
}

#[tokio::test]
async fn answers_decide_or_leave_undecided() {
    const FAILED: Option<&str> = Some("token introspection request failed");
    const INVALID: Option<&str> = Some("invalid token introspection response");
    let cases = [
        (Reply::text(200, r#"{"active":true} trailing"#), Ok(r#"{"active":true}"#)),
        (Reply::text(200, r#"{"active":true,"exp":1}"#), Ok(r#"{"active":true,"exp":1}"#)),
        (Reply::text(200, r#"{"active":false}"#), Err(None)),
        (Reply::text(200, r#"{"active":false,"username":"john"}"#), Err(None)),
        (Reply::text(200, r#"{"sub":"1"}"#), Err(INVALID)),
        (Reply::text(200, r#"{"active":"true"}"#), Err(INVALID)),
        (Reply::text(200, r#"{"active":1}"#), Err(INVALID)),
        (Reply::text(200, r#"{"active":null}"#), Err(INVALID)),
        (Reply::text(200, "null"), Err(INVALID)),
        (Reply::text(200, "true"), Err(INVALID)),
        (Reply::text(200, "[]"), Err(INVALID)),
        (Reply::text(200, r#"[{"active":true}]"#), Err(INVALID)),
        (Reply::text(200, ""), Err(INVALID)),
        (Reply::text(200, "hello"), Err(INVALID)),
        (Reply::text(200, &"[".repeat(1000)), Err(INVALID)),
        (Reply::text(201, r#"{"active":true}"#), Err(FAILED)),
        (Reply::text(204, ""), Err(FAILED)),
        (Reply::text(302, r#"{"active":true}"#).with_header("location", "/introspect"), Err(FAILED)),
        (Reply::text(400, r#"{"error":"unsupported_token_type"}"#), Err(FAILED)),
        (Reply::text(401, r#"{"error":"invalid_client"}"#), Err(FAILED)),
        (Reply::text(500, r#"{"active":true}"#), Err(FAILED)),
        (Reply::text(200, &"x".repeat((1 << 20) + 1)), Err(FAILED)),
    ];
    let server = TestServer::start().await;
    let rule = rule(&server, &json!({}));
    for (reply, expected) in cases {
        server.set(PATH, reply);
        match (introspect(&rule, "hush").await, expected) {
            (Ok(identity), Ok(expected)) => assert_eq!(identity.to_string(), expected),
            (Err(Failure::Denied(reason)), Err(None)) => assert_eq!(reason, "token is not active"),
            (Err(Failure::Undecidable(undecided)), Err(Some(reason))) => {
                assert_eq!(undecided.reason, reason);
                assert!(!undecided.detail.is_empty());
                for secret in ["hush", "s3cr3t", "invalid_client"] {
                    assert!(!undecided.detail.contains(secret), "{}", undecided.detail);
                }
            }
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_slow_or_away_leaves_undecided() {
    let server = TestServer::start().await;
    server.set(PATH, Reply::text(200, r#"{"active":true"#).stalled());
    let slow = introspect(&rule(&server, &json!({"timeout": 50})), "t").await.unwrap_err();
    let rule = rule(&server, &json!({"timeout": 0}));
    assert_eq!(rule.timeout, None);
    drop(server);
    let away = introspect(&rule, "t").await.unwrap_err();
    for (failure, detail) in [(slow, "no complete answer within 50ms"), (away, "")] {
        assert!(matches!(failure, Failure::Undecidable(_)), "{failure:?}");
        assert_eq!(failure.reason(), "token introspection request failed");
        assert!(failure.detail().contains(detail), "{failure:?}");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_what_is_no_token() {
    let server = TestServer::start().await;
    let rule = rule(&server, &json!({}));
    let long = format!("Bearer {}", "x".repeat(MAX_TOKEN + 1));
    for (headers, reason) in [
        (vec![], "credential not found"),
        (vec![("authorization", "Basic dGFsa2VyOg==")], "credential not found"),
        (vec![("authorization", "Bearer ")], "credential not found"),
        (vec![("authorization", &*long)], "token is not active"),
    ] {
        assert_eq!(check(&rule, "/", &headers, "").await, Err(Failure::denied(reason)), "{headers:?}");
    }
    let nested = [("authorization", "Bearer t"), ("x-usher-nesting", "3")];
    assert_eq!(check(&rule, "/", &nested, "").await.unwrap_err().reason(), "requests nested too deep");
    assert_eq!(server.count(PATH), 0);
}

#[tokio::test]
async fn the_credential_is_part_of_the_key_of_a_cache() {
    let server = TestServer::start().await;
    let rule = rule(&server, &json!({}));
    let headers = [("authorization".to_owned(), "Bearer t".to_owned())].into();
    let request = usher_engine::Request::new(usher_engine::RequestParts { headers, ..Default::default() });
    let context = Context::new(&request, None, None);
    assert_eq!(rule.credential(&context), Ok(Some("t".into())));
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_loaded() {
    let cases = [
        (
            json!({"endpoint": "ftp://h/i", "credentialsRef": {"name": "client"}}),
            "rule.endpoint: invalid URL: unsupported scheme \"ftp\" (only http and https are allowed)",
        ),
        (
            json!({"endpoint": "h/i", "credentialsRef": {"name": "client"}}),
            "rule.endpoint: invalid URL: missing scheme (expected http or https)",
        ),
        (
            json!({"endpoint": "http:///i", "credentialsRef": {"name": "client"}}),
            "rule.endpoint: invalid URL: missing host",
        ),
        (
            json!({"endpoint": "", "credentialsRef": {"name": "client"}}),
            "rule.endpoint: invalid URL: missing scheme (expected http or https)",
        ),
        (
            json!({"endpoint": "http://h/i", "credentialsRef": {"name": "none"}}),
            "rule.credentialsRef: Secret \"none\" not found",
        ),
    ];
    for (spec, problem) in cases {
        let (rule, problems, _) = build_rule(&world(), spec);
        assert!(rule.is_none());
        assert_eq!(problems, [problem]);
    }
    let empty = TestWorld::new().secret("client", &[("clientID", "c")]);
    let (rule, problems, warnings) =
        build_rule(&empty, json!({"endpoint": "http://h/i", "credentialsRef": {"name": "client"}}));
    assert!(rule.is_some_and(|rule| !format!("{rule:?}").contains("Basic")) && problems.is_empty());
    assert_eq!(warnings, ["rule.credentialsRef: Secret \"client\" has no entry \"clientSecret\""]);
}
