use serde_json::json;

use super::*;
use crate::{
    resources::{background::tests::until, uma::test_server::UmaTestServer},
    test_world::{Built, TestWorld, check},
};

fn world() -> TestWorld {
    TestWorld::new().secret("talker", &[("clientID", "talker"), ("clientSecret", "pw:x")])
}

fn build_rule(world: &TestWorld, spec: Value) -> Built<Uma> {
    let spec = serde_json::from_value(spec).unwrap();
    world.build(|context, problems| build(&spec, &FieldPath::root("rule"), context, problems))
}

/// A rule, and the server that it asks.
async fn start() -> (UmaTestServer, Arc<Uma>) {
    let server = UmaTestServer::start().await;
    let rule = rule(&server);
    (server, rule)
}

fn rule(server: &UmaTestServer) -> Arc<Uma> {
    let spec = json!({"endpoint": server.url, "credentialsRef": {"name": "talker"}});
    let (rule, problems, warnings) = build_rule(&world(), spec);
    assert_eq!((problems.len(), warnings.len()), (0, 0), "{problems:?} {warnings:?}");
    Arc::new(rule.unwrap())
}

async fn look_up(rule: &Uma, path: &str) -> Outcome {
    check(rule, path, &[], "").await
}

fn description(id: &str, owner: &str) -> Value {
    json!({"_id": id, "name": format!("pet {id}"), "owner": {"id": owner}, "ownerManagedAccess": true})
}

#[tokio::test]
async fn resources_of_the_path_are_described_in_their_order() {
    let (server, rule) = start().await;
    for id in ["z", "a", "m"] {
        server.register(id, &["/pets/1", &format!("/only/{id}")], description(id, "ann"));
    }
    let found = look_up(&rule, "/pets/1?verbose=true").await.unwrap();
    assert_eq!(*found, json!([description("z", "ann"), description("a", "ann"), description("m", "ann")]));
    let mut calls = server.calls();
    calls[3..].sort_unstable();
    assert_eq!(
        calls,
        [
            "GET /.well-known/uma2-configuration",
            "POST /token",
            "GET /resource_set?uri=/pets/1",
            "GET /resource_set/a",
            "GET /resource_set/m",
            "GET /resource_set/z",
        ]
    );
    assert_eq!(server.calls_in_trace(), 4, "all for resources, none for what is shared");
    let failure = check(&*rule, "/pets/1", &[("x-usher-nesting", "3")], "").await.unwrap_err();
    assert_eq!(failure.reason(), "requests nested too deep");
    assert_eq!(server.calls(), [""; 0]);
    assert_eq!(*look_up(&rule, "/nothing/here").await.unwrap(), json!([]));
    assert_eq!(server.calls(), ["GET /resource_set?uri=/nothing/here"], "the token is kept");
}

#[tokio::test]
async fn the_server_reads_the_path_as_it_is_meant() {
    let (server, rule) = start().await;
    for (path, registered) in [
        ("/a%20b", "/a b"),
        ("/%2561%252fb", "/%61%2fb"),
        ("/a+b", "/a+b"),
        ("/a&uri=/other", "/a&uri=/other"),
        ("/a=b;c,d", "/a=b;c,d"),
        ("/100%", "/100%"),
        ("/%zz%4", "/%zz%4"),
        ("/b\u{fc}cher", "/b\u{fc}cher"),
        ("/b%C3%BCcher", "/b\u{fc}cher"),
        ("/x?uri=/other", "/x"),
        ("//evil/admin", "//evil/admin"),
    ] {
        server.register(registered, &[registered], json!({"of": registered}));
        let found = look_up(&rule, path).await.unwrap();
        assert_eq!(found.get(0), Some(&json!({"of": registered})), "{path}: {:?}", server.calls());
    }
}

#[test]
fn urls_are_made_within_the_endpoint() {
    let registration = Url::parse("https://h/r/?tenant=1").unwrap();
    assert_eq!(query_url(&registration, "/a&b").as_str(), "https://h/r/?tenant=1&uri=/a%26b");
    for (id, expected) in [
        ("44f9", Some("https://h/r/44f9?tenant=1")),
        ("a/../b?c#d", Some("https://h/r/a%2F..%2Fb%3Fc%23d?tenant=1")),
        ("%2e%2e", Some("https://h/r/%252e%252e?tenant=1")),
        ("..", None),
        (".", None),
        ("", None),
    ] {
        let url = resource_url(&registration, id);
        assert_eq!(url.as_ref().map(Url::as_str), expected, "{id}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once() {
    let (server, rule) = start().await;
    server.register("a", &["/pets/1"], description("a", "ann"));
    look_up(&rule, "/pets/1").await.unwrap();
    server.calls();
    server.revoke_tokens();
    assert_eq!(*look_up(&rule, "/pets/1").await.unwrap(), json!([description("a", "ann")]));
    let query = "GET /resource_set?uri=/pets/1";
    assert_eq!(server.calls(), [query, "POST /token", query, "GET /resource_set/a"]);

    // One that is accepted for the list but not for a description.
    server.answer_instead("/resource_set/a", 401, "");
    assert_eq!(*look_up(&rule, "/pets/1").await.unwrap(), json!([]));
    assert_eq!(server.calls(), [query, "GET /resource_set/a", "POST /token", query, "GET /resource_set/a"]);

    server.answer_instead("/resource_set", 401, "");
    let failure = look_up(&rule, "/pets/1").await.unwrap_err();
    assert_eq!(failure, Failure::undecidable("uma request failed", "query: status 401 instead of 200"));
    assert_eq!(server.calls(), [query, "POST /token", query]);
}

#[tokio::test]
async fn a_token_of_unknown_life_serves_one_request() {
    let (server, rule) = start().await;
    server.set_expires_in(json!(null));
    server.register("a", &["/pets/1"], description("a", "ann"));
    for _ in 0..2 {
        look_up(&rule, "/pets/1").await.unwrap();
        let calls = server.calls();
        assert_eq!(calls[calls.len() - 3..], ["POST /token", "GET /resource_set?uri=/pets/1", "GET /resource_set/a"]);
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_is_left_out() {
    let (server, rule) = start().await;
    for id in ["a", "b", "c", "d", "e", ".."] {
        server.register(id, &["/pets"], description(id, "ann"));
    }
    server.answer_instead("/resource_set/a", 404, r#"{"error":"not_found"}"#);
    server.answer_instead("/resource_set/b", 200, "<html>");
    server.answer_instead("/resource_set/d", 200, "null");
    server.answer_instead("/resource_set/e", 200, &"x".repeat((1 << 20) + 1));
    assert_eq!(*look_up(&rule, "/pets").await.unwrap(), json!([description("c", "ann"), null]));
}

#[tokio::test]
async fn a_registry_that_fails_gives_nothing() {
    let (server, rule) = start().await;
    let many = |count: usize| json!(vec!["a"; count]).to_string();
    for (path, status, body, reason, cause) in [
        ("/resource_set", 403, r#"{"error":"hush"}"#, "uma request failed", "query: status 403 instead of 200"),
        ("/resource_set", 204, "", "uma request failed", "query: status 204 instead of 200"),
        ("/resource_set", 200, "{}", "uma request failed", "the answer is not a list of ids"),
        ("/resource_set", 200, r#"[{"_id":"a"}]"#, "uma request failed", "the answer is not a list of ids"),
        (
            "/resource_set",
            200,
            "<html>",
            "uma request failed",
            "the answer is not json: expected value at line 1 column 1",
        ),
        ("/resource_set", 200, &many(129), "uma request failed", "more than 128 resources"),
        ("/token", 401, "", "missing protection api token", "token endpoint: status 401 instead of 200"),
    ] {
        server.answer_as_usual();
        server.revoke_tokens();
        server.answer_instead(path, status, body);
        assert_eq!(look_up(&rule, "/x").await, Err(Failure::undecidable(reason, cause)));
    }
    server.answer_as_usual();
    server.answer_instead("/resource_set", 200, &many(128));
    server.register("a", &[], description("a", "ann"));
    assert_eq!(look_up(&rule, "/x").await.unwrap().as_array().map(Vec::len), Some(128));

    server.answer_instead("/resource_set/a", 200, &json!("x".repeat(100_000)).to_string());
    let failure = look_up(&rule, "/x").await.unwrap_err();
    assert_eq!(failure.detail(), "the resources have more than 4194304 bytes");

    drop(server);
    let failure = look_up(&rule, "/x").await.unwrap_err();
    assert_eq!(failure.reason(), "uma request failed");
}

#[tokio::test]
async fn some_resources_are_fetched_at_a_time() {
    let (server, rule) = start().await;
    let ids: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for id in &ids {
        server.register(id, &["/pets"], json!(id));
    }
    server.hold(Some("/resource_set/"));
    let looking = tokio::spawn({
        let rule = Arc::clone(&rule);
        async move { look_up(&rule, "/pets").await }
    });
    until(|| server.waiting() == AT_A_TIME).await;
    server.hold(None);
    assert_eq!(*looking.await.unwrap().unwrap(), json!(ids));
    assert!(server.most_waiting() <= AT_A_TIME, "{}", server.most_waiting());
}

#[tokio::test]
async fn a_server_that_is_not_known_gives_nothing_until_it_is() {
    let server = UmaTestServer::start().await;
    let path = "/.well-known/uma2-configuration";
    server.answer_instead(path, 200, &json!({"issuer": "https://other.test"}).to_string());
    let unknown = rule(&server);
    let failure = look_up(&unknown, "/x").await.unwrap_err();
    assert_eq!(failure.reason(), "missing uma configuration");
    assert!(failure.detail().contains("got \"https://other.test\""), "{failure:?}");
    assert!(!unknown.is_prepared(), "nobody is let in by half a configuration");
    server.answer_as_usual();
    until(|| unknown.is_prepared()).await;
    assert_eq!(*look_up(&unknown, "/x").await.unwrap(), json!([]));
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_loaded() {
    for (spec, problem) in [
        (
            json!({"endpoint": "h/uma", "credentialsRef": {"name": "talker"}}),
            "rule.endpoint: invalid URL: missing scheme (expected http or https)",
        ),
        (
            json!({"endpoint": "http://h/uma", "credentialsRef": {"name": "none"}}),
            "rule.credentialsRef: Secret \"none\" not found",
        ),
    ] {
        let (rule, problems, _) = build_rule(&world(), spec);
        assert!(rule.is_none());
        assert_eq!(problems, [problem]);
    }
    let empty = TestWorld::new().secret("talker", &[("clientSecret", "pw:x")]);
    let (rule, problems, warnings) =
        build_rule(&empty, json!({"endpoint": "http://h/uma", "credentialsRef": {"name": "talker"}}));
    assert!(rule.is_some() && problems.is_empty());
    assert_eq!(warnings, ["rule.credentialsRef: Secret \"talker\" has no entry \"clientID\""]);
}
