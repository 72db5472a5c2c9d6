use serde_json::json;

use super::{test_server::UmaTestServer, *};
use crate::resources::{background::tests::until, http::Options};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Servers that may be on this machine, are asked at once by checks, and are not tried again by themselves.
fn servers() -> UmaServers {
    let client = Client::new(Options { allow_loopback: true, ..Options::default() }).unwrap();
    let timing = Timing { first_pause: DAY, longest_pause: DAY, on_demand_interval: Duration::ZERO };
    UmaServers::with_timing(client, timing)
}

fn config(server: &UmaTestServer) -> UmaConfig {
    // `talker:pw:x`
    let authorization = HeaderValue::from_static("Basic dGFsa2VyOnB3Ong=");
    UmaConfig { endpoint: server.url.clone(), authorization, timeout: Some(Duration::from_secs(30)) }
}

async fn discovered(servers: &UmaServers, server: &UmaTestServer) -> (Arc<UmaServer>, Arc<Endpoints>) {
    let found = servers.server(config(server));
    assert!(servers.wait_first_attempts(DAY).await);
    let endpoints = found.endpoints().clone().unwrap();
    assert_eq!(server.calls(), ["GET /.well-known/uma2-configuration"]);
    (found, endpoints)
}

#[test]
fn configurations_are_read_and_those_of_others_refused() {
    let issuer = "https://h/uma/";
    let good = json!({
        "issuer": issuer,
        "token_endpoint": "https://h/token",
        "resource_registration_endpoint": "https://h/resources?a=1",
    });
    let changed = |name: &str, value: Value| {
        let mut document = good.clone();
        document[name] = value;
        document
    };
    let endpoints = read(&good, issuer).unwrap();
    assert_eq!(endpoints.token.as_str(), "https://h/token");
    assert_eq!(endpoints.resource_registration.as_str(), "https://h/resources?a=1");
    let cases = [
        (
            changed("issuer", json!("https://h/uma")),
            "uma endpoint does not match the issuer returned by provider, expected \"https://h/uma/\" got \"https://h/uma\"",
        ),
        (changed("issuer", json!(null)), "the uma configuration has no `issuer`"),
        (changed("token_endpoint", json!(7)), "the uma configuration has no `token_endpoint`"),
        (
            changed("token_endpoint", json!("/token")),
            "`token_endpoint` of the uma configuration: invalid URL: missing scheme (expected http or https)",
        ),
        (
            changed("resource_registration_endpoint", json!("")),
            "`resource_registration_endpoint` of the uma configuration: invalid URL: missing scheme (expected http or https)",
        ),
        (json!([]), "the uma configuration has no `issuer`"),
        (json!(null), "the uma configuration has no `issuer`"),
    ];
    for (document, expected) in cases {
        assert_eq!(read(&document, issuer), Err(expected.to_owned()), "{document}");
    }
}

#[tokio::test]
async fn a_server_is_found_out_about_once_for_all_who_use_it() {
    let server = UmaTestServer::start().await;
    let servers = servers();
    let (found, endpoints) = discovered(&servers, &server).await;
    assert_eq!(endpoints.token.as_str(), format!("{}/token", server.url));
    assert!(Arc::ptr_eq(&found, &servers.server(config(&server))));
    let other = UmaConfig { authorization: HeaderValue::from_static("Basic x"), ..config(&server) };
    assert!(!Arc::ptr_eq(&found, &servers.server(other)), "tokens of one client are not for another");
    assert!(!format!("{servers:?} {found:?} {:?}", config(&server)).contains("dGFsa2"));
}

#[tokio::test]
async fn a_slash_at_the_end_is_part_of_the_issuer_but_not_doubled() {
    let server = UmaTestServer::start().await;
    let servers = servers();
    let found = servers.server(UmaConfig { endpoint: format!("{}/", server.url), ..config(&server) });
    assert!(servers.wait_first_attempts(DAY).await);
    assert_eq!(server.calls(), ["GET /.well-known/uma2-configuration"]);
    assert!(found.unavailable().detail().contains("does not match the issuer"), "{:?}", found.unavailable());
}

#[tokio::test]
async fn a_server_that_is_away_is_looked_for_again() {
    const PATH: &str = "/.well-known/uma2-configuration";
    let server = UmaTestServer::start().await;
    let servers = servers();
    for (status, body, cause) in [
        (404, "", "status 404 instead of 200"),
        (201, "{}", "status 201 instead of 200"),
        (200, "<html>", "the answer is not json: expected value at line 1 column 1"),
        (200, "", "the answer is empty"),
    ] {
        server.answer_instead(PATH, status, body);
        let found = servers.server(config(&server));
        assert!(servers.wait_first_attempts(DAY).await);
        assert!(found.endpoints().is_none());
        let Failure::Undecidable(undecided) = found.unavailable() else { panic!("this is nobody's doing") };
        assert_eq!(undecided.reason, "missing uma configuration");
        assert_eq!(undecided.detail, format!("uma server {}: {cause}", server.url));
        assert!(undecided.retry_after.is_some());
    }
    let found = servers.server(config(&server));
    assert!(servers.wait_first_attempts(DAY).await);
    server.answer_as_usual();
    let _ = found.unavailable();
    until(|| found.endpoints().is_some()).await;
}

#[tokio::test]
async fn a_token_is_kept_until_it_expires_or_is_forgotten() {
    let server = UmaTestServer::start().await;
    let servers = servers();
    let (found, endpoints) = discovered(&servers, &server).await;
    let token = async || {
        let token = found.token(&endpoints).await.unwrap();
        (token.authorization().to_str().unwrap().to_owned(), token.is_new())
    };
    assert_eq!(token().await, ("Bearer pat-1".to_owned(), true));
    assert_eq!(token().await, ("Bearer pat-1".to_owned(), false));
    let old = found.token(&endpoints).await.unwrap();
    server.set_expires_in(json!("10"));
    found.forget(&old).await;
    assert_eq!(token().await, ("Bearer pat-2".to_owned(), true));
    server.set_expires_in(json!(null));
    assert_eq!(token().await, ("Bearer pat-3".to_owned(), true), "pat-2 expires too soon to be used again");
    server.set_expires_in(json!(11));
    assert_eq!(token().await, ("Bearer pat-4".to_owned(), true), "nobody said how long pat-3 lives");
    found.forget(&old).await;
    found.forget(&old).await;
    assert_eq!(token().await, ("Bearer pat-4".to_owned(), false), "it is not the one that was not accepted");
    assert_eq!(server.calls(), ["POST /token"; 4]);
    assert!(!format!("{old:?}").contains("pat"));
}

#[tokio::test]
async fn all_who_need_a_token_at_once_share_one_fetch_and_its_failure() {
    let server = UmaTestServer::start().await;
    let servers = servers();
    let (found, endpoints) = discovered(&servers, &server).await;
    for (fails, expected) in
        [(true, Err("missing protection api token".to_owned())), (false, Ok("Bearer pat-1".to_owned()))]
    {
        if fails {
            server.answer_instead("/token", 503, "");
        } else {
            server.answer_as_usual();
        }
        server.hold(Some("/token"));
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let (found, endpoints) = (Arc::clone(&found), Arc::clone(&endpoints));
                tokio::spawn(async move { found.token(&endpoints).await })
            })
            .collect();
        until(|| server.waiting() == 1).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        server.hold(None);
        for asking in asking {
            let token = asking.await.unwrap();
            let token = token.map(|token| token.authorization().to_str().unwrap().to_owned());
            assert_eq!(token.map_err(|failure| failure.reason().to_owned()), expected);
        }
        assert_eq!(server.calls(), ["POST /token"]);
    }
}

#[tokio::test]
async fn without_a_usable_answer_there_is_no_token() {
    let server = UmaTestServer::start().await;
    let servers = servers();
    let (found, endpoints) = discovered(&servers, &server).await;
    for (status, body, cause) in [
        (401, r#"{"error":"unauthorized_client"}"#, "token endpoint: status 401 instead of 200"),
        (201, r#"{"access_token":"t"}"#, "token endpoint: status 201 instead of 200"),
        (200, "access_token=t", "the answer is not json: expected value at line 1 column 1"),
        (200, "{}", "the answer has no `access_token`"),
        (200, r#"{"access_token":7}"#, "the answer has no `access_token`"),
        (200, r#"{"access_token":""}"#, "the answer has no `access_token`"),
        (200, r#"{"access_token":"a\nb"}"#, "the `access_token` cannot be sent in a header"),
    ] {
        server.answer_instead("/token", status, body);
        let failure = found.token(&endpoints).await.unwrap_err();
        assert_eq!(failure, Failure::undecidable("missing protection api token", cause));
    }
}

#[test]
fn without_a_runtime_nothing_is_fetched_and_nobody_waits() {
    let servers = servers();
    let authorization = HeaderValue::from_static("Basic x");
    let config = UmaConfig { endpoint: "https://uma.test".to_owned(), authorization, timeout: None };
    let found = servers.server(config);
    assert!(found.endpoints().is_none() && found.first_attempt().is_none());
    assert_eq!(found.unavailable().detail(), "uma server https://uma.test/: not fetched yet");
}
