use serde_json::{Value, json};

use super::*;
use crate::{
    resources::{
        http::test_server::{Reply, TestServer},
        oidc::test_issuer::{DISCOVERY, TestIssuer},
    },
    test_world::{Built, TestWorld, check, is_in_trace},
};

const PATH: &str = "/realm/userinfo";
const TOKEN: [(&str, &str); 2] = [("authorization", "Bearer hush"), ("cookie", "t=from-cookie")];

fn build_rule(world: &TestWorld, spec: Value) -> Built<UserInfo> {
    let spec = serde_json::from_value(spec).unwrap();
    world.build(|context, problems| build(&spec, &FieldPath::root("rule"), context, problems))
}

fn rule(world: &TestWorld, spec: Value) -> UserInfo {
    let (rule, problems, warnings) = build_rule(world, spec);
    assert_eq!((problems.len(), warnings.len()), (0, 0), "{problems:?} {warnings:?}");
    rule.unwrap()
}

/// An issuer with a UserInfo endpoint, and an AuthConfig with rules of all kinds.
async fn world() -> (TestIssuer, TestWorld) {
    let issuer = TestIssuer::start(&[]).await;
    let mut document = issuer.document();
    document["userinfo_endpoint"] = format!("{}/userinfo", issuer.url).into();
    issuer.publish_document(&document);
    issuer.server.set(PATH, Reply::json(&json!({"sub": "ann", "email": "ann@x.test"})));
    let world = TestWorld::new()
        .authentication(&json!({
            "idp": {"jwt": {"issuerUrl": issuer.url}},
            "again": {"jwt": {"issuerUrl": issuer.url, "ttl": 3600}, "credentials": {"cookie": {"name": "t"}}},
            "other": {"jwt": {"issuerUrl": format!("{}/other", issuer.url)}},
            "keys": {"jwt": {"jwksUrl": issuer.keys_url()}},
            "friends": {"apiKey": {"selector": {}}},
            "plain": {"plain": {"selector": "request.id"}},
        }))
        .await;
    (issuer, world)
}

#[tokio::test]
async fn the_issuer_of_the_caller_is_asked_with_the_callers_token() {
    let (issuer, world) = world().await;
    let rule = rule(&world, json!({"identitySource": "idp"}));
    for (identity, token) in [("idp", "hush"), ("again", "from-cookie")] {
        let found = check(&rule, "/", &TOKEN, identity).await.unwrap();
        assert_eq!(*found, json!({"sub": "ann", "email": "ann@x.test"}), "{identity}");
        let request = issuer.server.last_request(PATH).unwrap();
        assert!(request.starts_with("GET /realm/userinfo HTTP/1.1\r\n"), "{request}");
        assert!(is_in_trace(&request), "{request}");
        assert!(request.contains(&format!("\r\nauthorization: Bearer {token}\r\n")), "{request}");
        assert!(request.contains("\r\nx-usher-nesting: 1\r\n"), "{request}");
    }
    let nested = [TOKEN[0], ("x-usher-nesting", "3")];
    let failure = check(&rule, "/", &nested, "idp").await.unwrap_err();
    assert_eq!(failure.reason(), "requests nested too deep");
}

#[tokio::test]
async fn nobody_elses_credential_goes_to_the_issuer() {
    let (issuer, world) = world().await;
    let rule = rule(&world, json!({"identitySource": "idp"}));
    for identity in ["other", "keys", "friends", "plain", "unknown", ""] {
        let failure = check(&rule, "/", &TOKEN, identity).await.unwrap_err();
        assert_eq!(failure, Failure::denied("missing identity for oidc issuer"), "{identity}");
    }
    let no_token = check(&rule, "/", &[], "idp").await.unwrap_err();
    assert_eq!(no_token, Failure::denied("credential not found"));
    let unsendable = check(&rule, "/", &[("cookie", "t=a\u{1}b")], "again").await.unwrap_err();
    assert!(matches!(unsendable, Failure::Denied(_)), "{unsendable:?}");
    assert_eq!(issuer.server.count(PATH), 0);
}

#[tokio::test]
async fn a_given_url_gets_the_credential_of_whichever_rule_succeeded() {
    let (_issuer, world) = world().await;
    let server = TestServer::start().await;
    server.set("/me", Reply::json(&json!({"team": "blue"})));
    let rule = rule(&world, json!({"userInfoUrl": format!("{}/me?x=1", server.url), "timeout": 0}));
    for (identity, token) in [("keys", "hush"), ("again", "from-cookie"), ("other", "hush"), ("friends", "hush")] {
        let found = check(&rule, "/", &TOKEN, identity).await.unwrap();
        assert_eq!(*found, json!({"team": "blue"}), "{identity}");
        let request = server.last_request("/me").unwrap();
        assert!(request.contains(&format!("\r\nauthorization: Bearer {token}\r\n")), "{request}");
    }
    assert_eq!(server.last_target("/me").unwrap(), "/me?x=1");
    let plain = check(&rule, "/", &TOKEN, "plain").await.unwrap_err();
    assert_eq!(plain, Failure::denied("credential not found"));
}

#[tokio::test]
async fn the_body_counts_whatever_the_status() {
    let cases = [
        (Reply::text(200, r#"{"sub":"8317","email":"j@x"}"#), Some(r#"{"email":"j@x","sub":"8317"}"#)),
        (Reply::text(200, r#"{"sub":"a"} {"sub":"b"}"#), Some(r#"{"sub":"a"}"#)),
        (Reply::text(401, r#"{"error":"invalid_token"}"#), Some(r#"{"error":"invalid_token"}"#)),
        (Reply::text(500, "{}"), Some("{}")),
        (Reply::text(401, ""), None),
        (Reply::text(204, ""), None),
        (Reply::text(302, "").with_header("location", "/realm/userinfo"), None),
        (Reply::text(200, "[]"), None),
        (Reply::text(200, "null"), None),
        (Reply::text(200, r#""text""#), None),
        (Reply::text(200, "<html>"), None),
        (Reply::text(200, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln").with_header("content-type", "application/jwt"), None),
        (Reply::text(200, &"x".repeat((1 << 20) + 1)), None),
    ];
    let (issuer, world) = world().await;
    let rule = rule(&world, json!({"identitySource": "idp"}));
    for (reply, expected) in cases {
        issuer.server.set(PATH, reply);
        match check(&rule, "/", &TOKEN, "idp").await {
            Ok(found) => assert_eq!(Some(&*found.to_string()), expected),
            Err(failure) => {
                assert_eq!((None, "userinfo request failed"), (expected, failure.reason()), "{failure:?}");
                assert!(matches!(failure, Failure::Undecidable(_)));
                assert!(!failure.detail().contains("hush"), "{failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_slow_or_away_gives_nothing() {
    let (issuer, world) = world().await;
    issuer.server.set(PATH, Reply::text(200, "{}").stalled());
    let rule = rule(&world, json!({"identitySource": "idp", "timeout": 50}));
    let slow = check(&rule, "/", &TOKEN, "idp").await.unwrap_err();
    assert!(slow.detail().ends_with("no complete answer within 50ms"), "{slow:?}");
    drop(issuer);
    let away = check(&rule, "/", &TOKEN, "idp").await.unwrap_err();
    assert_eq!((slow.reason(), away.reason()), ("userinfo request failed", "userinfo request failed"), "{away:?}");
}

#[tokio::test]
async fn an_issuer_that_does_not_say_where_is_not_asked() {
    let issuer = TestIssuer::start(&[]).await;
    let authentication = json!({"idp": {"jwt": {"issuerUrl": issuer.url}}});
    let world = TestWorld::new().authentication(&authentication).await;
    let rule_of = |world: &TestWorld| rule(world, json!({"identitySource": "idp"}));
    let failure = check(&rule_of(&world), "/", &TOKEN, "idp").await.unwrap_err();
    assert_eq!(failure.reason(), "missing userinfo endpoint");
    assert!(failure.detail().contains(&issuer.url), "{failure:?}");

    issuer.fail();
    let world = TestWorld::new().authentication(&authentication).await;
    let failure = check(&rule_of(&world), "/", &TOKEN, "idp").await.unwrap_err();
    assert_eq!(failure.reason(), "missing openid connect configuration");
    assert!(issuer.server.count(DISCOVERY) >= 2);
}

#[tokio::test]
async fn what_cannot_work_is_refused_or_warned_of() {
    let (_issuer, world) = world().await;
    let never =
        |name: &str| format!("rule.identitySource: there is never any user info: `{name}` has no `jwt.issuerUrl`");
    let cases = [
        (json!({"identitySource": "nobody"}), Err("rule.identitySource: missing identity config nobody".to_owned())),
        (
            json!({"userInfoUrl": "/me"}),
            Err("rule.userInfoUrl: invalid URL: missing scheme (expected http or https)".to_owned()),
        ),
        (json!({"identitySource": "keys"}), Ok(never("keys"))),
        (json!({"identitySource": "friends"}), Ok(never("friends"))),
    ];
    for (spec, expected) in cases {
        let (rule, problems, warnings) = build_rule(&world, spec);
        match expected {
            Err(problem) => assert!(rule.is_none() && problems == [problem], "{problems:?}"),
            Ok(warning) => {
                assert!(problems.is_empty() && warnings == [warning], "{problems:?} {warnings:?}");
                let failure = check(&rule.unwrap(), "/", &TOKEN, "idp").await.unwrap_err();
                assert!(matches!(&failure, Failure::Undecidable(_)), "{failure:?}");
            }
        }
    }
    for spec in [json!({}), json!({"identitySource": "idp", "userInfoUrl": "http://h/"})] {
        let (rule, problems, _) = build_rule(&world, spec);
        assert!(rule.is_none() && problems.len() == 1, "{problems:?}");
    }
}
