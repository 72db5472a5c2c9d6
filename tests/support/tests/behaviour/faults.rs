//! What the server does when it is told to fail.

use std::time::{Duration, Instant};

use serde_json::json;
use usher_test_support::{ApiServer, Fault};

use crate::client::{DEADLINE, SECRETS, ask, secret};

#[tokio::test]
async fn it_goes_away_and_comes_back() {
    let server = ApiServer::start();
    let url = server.url();
    let path = format!("{SECRETS}?watch=true&resourceVersion={}", server.resource_version());
    let mut lines = ask(&server, "GET", &path).watch().await;
    server.pause();
    assert_eq!(lines.next().await, None);
    assert_eq!(server.open_watches("secrets"), 0);
    assert!(ask(&server, "GET", SECRETS).send().await.is_err());
    // Meanwhile others write.
    server.apply(secret("s", ""));
    server.resume();
    assert_eq!(server.url(), url);
    assert_eq!(ask(&server, "GET", &path).watch().await.told().await, "ADDED s");
}

#[tokio::test]
async fn watches_can_be_dropped() {
    let server = ApiServer::start();
    let path = format!("{SECRETS}?watch=true&resourceVersion={}", server.resource_version());
    let mut lines = ask(&server, "GET", &path).watch().await;
    server.drop_watches();
    assert_eq!(lines.next().await, None);
    let mut lines = ask(&server, "GET", &path).watch().await;
    server.apply(secret("s", ""));
    assert_eq!(lines.told().await, "ADDED s");
}

#[tokio::test]
async fn requests_fail_as_often_as_asked_for() {
    let server = ApiServer::start();
    server.fail(Fault::answer(429).verb("list").resource("secrets").times(2).retry_after(7));
    ask(&server, "GET", format!("{SECRETS}/s")).expect(404).await;
    for _ in 0..2 {
        let said = ask(&server, "GET", SECRETS).said().await;
        assert_eq!((said.code, &said.headers["retry-after"]), (429, &"7".parse().unwrap()));
        assert_eq!(said.body["reason"], "TooManyRequests");
    }
    ask(&server, "GET", SECRETS).expect(200).await;
    for code in [500, 503] {
        server.fail(Fault::answer(code).times(1));
        assert_eq!(ask(&server, "GET", SECRETS).expect(code).await["kind"], "Status");
    }
    assert_eq!(server.count("list", "secrets"), 5);
}

#[tokio::test]
async fn roles_can_be_missing() {
    let server = ApiServer::start();
    server.fail(Fault::forbid().resource("secrets").namespace("ns"));
    let said = ask(&server, "GET", SECRETS).expect(403).await;
    assert_eq!(said["reason"], "Forbidden");
    assert_eq!(
        said["message"],
        "secrets is forbidden: User \"test\" cannot list resource \"secrets\" in API group \"\" in the namespace \"ns\""
    );
    ask(&server, "GET", "/api/v1/secrets").expect(200).await;
    server.clear_faults();
    ask(&server, "GET", SECRETS).expect(200).await;
}

#[tokio::test]
async fn answers_come_late_or_not_at_all() {
    let server = ApiServer::start();
    server.fail(Fault::delay(Duration::from_millis(50)).times(1));
    let began = Instant::now();
    ask(&server, "GET", SECRETS).expect(200).await;
    assert!(began.elapsed() >= Duration::from_millis(50));

    server.fail(Fault::hang().verb("list"));
    let hangs = tokio::spawn(ask(&server, "GET", "/api/v1/secrets").expect(200));
    server.eventually(DEADLINE, |server| (server.count("list", "secrets") == 2).then_some(())).await;
    ask(&server, "GET", "/version").expect(200).await;
    assert!(!hangs.is_finished());
    server.clear_faults();
    hangs.await.unwrap();
}

#[tokio::test]
async fn tokens_are_looked_at() {
    let server = ApiServer::builder().token("right").start();
    for (token, code) in [(None, 401), (Some("Bearer wrong"), 401), (Some("Bearer right"), 200)] {
        let mut asked = ask(&server, "GET", SECRETS);
        if let Some(token) = token {
            asked = asked.header("authorization", token);
        }
        let said = asked.expect(code).await;
        assert!(code == 200 || said["reason"] == "Unauthorized");
    }
    assert!(server.kubeconfig().contains("right"));
    server.set_token(None);
    ask(&server, "GET", SECRETS).expect(200).await;
}

#[tokio::test]
async fn calls_are_recorded() {
    let server = ApiServer::start();
    let body = secret("s", "");
    ask(&server, "POST", SECRETS).header("user-agent", "tests/1").json(&body).expect(201).await;
    ask(&server, "GET", "/apis/authorino.kuadrant.io/v1beta3/authconfigs?limit=500").expect(200).await;
    let calls = server.calls();
    assert_eq!((calls[0].verb.as_str(), calls[0].resource.as_str()), ("create", "secrets"));
    assert_eq!(calls[0].namespace.as_deref(), Some("ns"));
    assert_eq!(calls[0].user_agent.as_deref(), Some("tests/1"));
    assert_eq!(calls[0].body, Some(body));
    assert_eq!((calls[1].verb.as_str(), calls[1].group.as_str()), ("list", "authorino.kuadrant.io"));
    assert!(calls[1].path.ends_with("authconfigs?limit=500"));
    server.forget_calls();
    assert_eq!(server.calls(), []);
}

#[tokio::test]
async fn other_processes_can_do_the_same() {
    let server = ApiServer::builder().token("secret").start();
    let control = |method, path: &str| ask(&server, method, format!("/double/{path}"));
    control("PUT", "token").json(&json!({"token": null})).expect(200).await;
    control("PUT", "faults").json(&json!([{"code": 503, "resource": "secrets", "times": 1}])).expect(200).await;
    ask(&server, "GET", SECRETS).expect(503).await;
    ask(&server, "GET", SECRETS).expect(200).await;
    control("PUT", "faults").json(&json!([{"code": 500, "retryAfterSeconds": 1}])).expect(200).await;
    control("DELETE", "faults").expect(200).await;
    ask(&server, "GET", SECRETS).expect(200).await;
    control("PUT", "faults").json(&json!([{}])).expect(400).await;
    let calls = control("GET", "calls").expect(200).await;
    assert_eq!(calls["calls"].as_array().unwrap().len(), 3);
    control("DELETE", "calls").expect(200).await;
    assert_eq!(server.calls().len(), 0);

    let path = format!("{SECRETS}?watch=true&allowWatchBookmarks=true&resourceVersion={}", server.resource_version());
    let mut lines = ask(&server, "GET", &path).watch().await;
    control("POST", "bookmarks").expect(200).await;
    assert_eq!(lines.told().await, "BOOKMARK ");
    control("POST", "drop-watches").expect(200).await;
    assert_eq!(lines.next().await, None);
    control("POST", "compact").expect(200).await;
    let mut lines = ask(&server, "GET", &path).watch().await;
    assert_eq!(lines.told().await, "ERROR ");
    let path = format!("{SECRETS}?watch=true&resourceVersion={}", server.resource_version());
    let mut lines = ask(&server, "GET", &path).watch().await;
    control("POST", "away?milliseconds=1").expect(200).await;
    assert_eq!(lines.next().await, None);
    while ask(&server, "GET", SECRETS).send().await.is_err() {
        tokio::task::yield_now().await;
    }
    control("GET", "nothing").expect(404).await;
}
