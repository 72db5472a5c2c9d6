use serde_json::json;

use super::{
    test_issuer::{DISCOVERY, KEYS, TestIssuer, issuers, issuers_with, until},
    *,
};
use crate::resources::{
    http::{Options, test_server::Reply},
    jwks::{Algorithm, test_keys::TestKey},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn key(id: &str) -> TestKey {
    TestKey::generate(Algorithm::EdDSA, id)
}

async fn refresh(source: &Source) {
    match source.refresh() {
        Refresh::Underway(refreshed) => refreshed.await,
        Refresh::Recent => panic!("keys cannot be refreshed yet"),
    }
}

fn error(source: &Source) -> String {
    source.unavailable().detail().to_owned()
}

#[tokio::test]
async fn keys_are_fetched_at_once_and_in_the_background() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let issuers = issuers(DAY);
    let source = issuer.source(&issuers).await;
    let keys = source.keys().clone().unwrap();
    assert_eq!((keys.issuer.as_deref(), keys.set.len()), (Some(issuer.url.as_str()), 1));
    assert!(source.first_attempt().is_none() && !source.is_failing());
    assert_eq!((issuer.server.count(DISCOVERY), issuer.server.count(KEYS)), (1, 1));
}

#[tokio::test]
async fn a_bare_key_set_needs_no_discovery_and_names_no_issuer() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let issuers = issuers(DAY);
    let source = issuers.source(SourceConfig { location: Location::KeySet(issuer.keys_url()), ..issuer.config() });
    assert!(issuers.wait_first_attempts(DAY).await);
    assert_eq!(source.keys().as_ref().unwrap().issuer, None);
    assert_eq!((issuer.server.count(DISCOVERY), issuer.server.count(KEYS)), (0, 1));
}

#[tokio::test]
async fn a_document_for_machines_only_is_enough() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    issuer.publish_document(&json!({"issuer": issuer.url, "jwks_uri": issuer.keys_url()}));
    let source = issuer.source(&issuers(DAY)).await;
    assert_eq!(source.keys().as_ref().unwrap().set.len(), 1);
}

#[tokio::test]
async fn what_an_issuer_publishes_must_be_right() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let good = Reply::json(&issuer.document());
    let of_another = json!({"issuer": format!("{}/", issuer.url), "jwks_uri": issuer.keys_url()});
    let guarded = json!({"issuer": issuer.url, "jwks_uri": "http://169.254.169.254/keys"});
    let not_http = json!({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"});
    let keys = Reply::json(&json!({"keys": []}));
    let large = Reply::text(200, &format!("{{\"keys\": [\"{}\"]}}", "x".repeat(1 << 20)));
    let moved = Reply::text(302, "").with_header("location", &issuer.keys_url());
    let cases = [
        (Reply::json(&of_another), keys.clone(), "the discovery document is that of another issuer"),
        (Reply::text(200, "<html>"), keys.clone(), "the discovery document is not a JSON object"),
        (Reply::text(404, "{}"), keys.clone(), "status 404 instead of 200"),
        (moved.clone(), keys.clone(), "status 302 (redirects are not followed) instead of 200"),
        (Reply::json(&guarded), keys.clone(), "the address 169.254.169.254 may not be reached: link-local"),
        (Reply::json(&not_http), keys, "invalid URL: unsupported scheme \"file\""),
        (good.clone(), Reply::text(500, ""), "status 500 instead of 200"),
        (good.clone(), moved, "status 302 (redirects are not followed) instead of 200"),
        (good.clone(), Reply::text(200, "[]"), "not a json web key set"),
        (good, large, "the body has more than 1048576 bytes"),
    ];
    for (document, keys, expected) in cases {
        issuer.server.set(DISCOVERY, document);
        issuer.server.set(KEYS, keys);
        let source = issuer.source(&issuers(DAY)).await;
        assert!(source.keys().is_none() && source.is_failing(), "{expected}");
        assert!(error(&source).contains(expected), "{} instead of {expected}", error(&source));
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_is_tried_again_until_it_is_back() {
    let issuer = TestIssuer::start(&[]).await;
    issuer.fail();
    let pause = Duration::from_millis(1);
    let issuers = issuers_with(Timing { first_pause: pause, longest_pause: pause, on_demand_interval: DAY });
    let source = issuer.source(&issuers).await;
    assert!(source.keys().is_none() && source.is_failing());
    let Failure::Undecidable(undecided) = source.unavailable() else { panic!("this is nobody's doing") };
    assert_eq!(undecided.reason, "missing openid connect configuration");
    assert_eq!(undecided.detail, format!("issuer {}: status 500 instead of 200", issuer.url));
    assert_eq!(undecided.retry_after, Some(Duration::from_secs(1)));
    until(|| issuer.server.count(DISCOVERY) >= 3).await;
    issuer.publish(&[&key("a")]);
    issuer.publish_document(&issuer.document());
    until(|| source.keys().is_some()).await;
    until(|| !source.is_failing()).await;
}

#[tokio::test]
async fn checks_make_an_issuer_that_is_away_be_tried_sooner() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    issuer.fail();
    let source = issuer.source(&issuers(Duration::ZERO)).await;
    issuer.publish_document(&issuer.document());
    issuer.publish(&[&key("a")]);
    refresh(&source).await;
    assert!(source.keys().is_some());
}

#[tokio::test]
async fn the_last_good_keys_stay() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let source = issuer.source(&issuers(Duration::ZERO)).await;
    let before = source.keys().clone().unwrap();
    issuer.fail();
    refresh(&source).await;
    assert!(source.is_failing());
    assert!(Arc::ptr_eq(&before, source.keys().as_ref().unwrap()));
}

#[tokio::test]
async fn what_was_verified_is_forgotten_only_with_the_keys() {
    let [a, b] = ["a", "b"].map(key);
    let issuer = TestIssuer::start(&[&a, &b]).await;
    let source = issuer.source(&issuers(Duration::ZERO)).await;
    let before = source.keys().clone().unwrap();
    issuer.publish(&[&b, &a]);
    refresh(&source).await;
    assert!(Arc::ptr_eq(&before, source.keys().as_ref().unwrap()), "the same keys in another order");
    issuer.publish(&[&a]);
    refresh(&source).await;
    let after = source.keys().clone().unwrap();
    assert!(!Arc::ptr_eq(&before, &after), "a key was revoked");
    assert_eq!(after.set.len(), 1);
}

#[tokio::test]
async fn a_new_place_for_user_info_is_followed_and_verified_tokens_stay() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let source = issuer.source(&issuers(Duration::ZERO)).await;
    assert_eq!(source.keys().as_ref().unwrap().user_info_endpoint, None);
    let hash = VerifiedTokens::hash("a token").unwrap();
    let token = VerifiedToken { claims: Arc::new(json!({})), expires: Some(i64::MAX), not_before: None };
    source.keys().as_ref().unwrap().verified.insert(hash, Arc::new(token));
    let mut document = issuer.document();
    document["userinfo_endpoint"] = "https://issuer.test/me".into();
    issuer.publish_document(&document);
    refresh(&source).await;
    let keys = source.keys().clone().unwrap();
    assert_eq!(keys.user_info_endpoint.as_deref(), Some("https://issuer.test/me"));
    assert!(keys.verified.get(&hash).is_some());
}

#[tokio::test]
async fn keys_are_fetched_again_after_the_ttl() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let issuers = issuers(DAY);
    let source = issuers.source(SourceConfig { ttl: Some(Duration::from_millis(1)), ..issuer.config() });
    until(|| issuer.server.count(KEYS) >= 3).await;
    issuer.publish(&[&key("b"), &key("c")]);
    until(|| source.keys().as_ref().is_some_and(|keys| keys.set.len() == 2)).await;
}

#[tokio::test]
async fn all_who_ask_at_once_share_one_fetch_and_the_next_must_wait() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let source = issuer.source(&issuers(DAY)).await;
    issuer.server.set_open(false);
    let waiting: Vec<_> = (0..50)
        .map(|_| match source.refresh() {
            Refresh::Underway(refreshed) => tokio::spawn(refreshed),
            Refresh::Recent => panic!("nobody asked before: the fetch at load does not count"),
        })
        .collect();
    until(|| issuer.server.count(DISCOVERY) == 2).await;
    assert!(matches!(source.refresh(), Refresh::Underway(_)));
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    issuer.server.set_open(true);
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert!(matches!(source.refresh(), Refresh::Recent));
    assert_eq!((issuer.server.count(DISCOVERY), issuer.server.count(KEYS)), (2, 2));
}

#[tokio::test]
async fn equal_configurations_share_a_source_and_the_last_user_ends_it() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    let issuers = issuers(DAY);
    let [one, two] = [(); 2].map(|()| issuers.source(issuer.config()));
    let other = issuers.source(SourceConfig { ttl: Some(DAY), ..issuer.config() });
    assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
    assert!(issuers.wait_first_attempts(DAY).await);
    assert_eq!(issuer.server.count(KEYS), 2);
    let keys = Arc::downgrade(one.keys().as_ref().unwrap());
    drop(one);
    assert!(two.keys().is_some());
    drop(two);
    until(|| keys.strong_count() == 0).await;
    let again = issuers.source(issuer.config());
    assert!(again.keys().is_none(), "it starts anew");
}

#[tokio::test]
async fn sources_out_of_use_do_not_pile_up() {
    let issuers = issuers(DAY);
    for number in 0..1000 {
        let location = Location::KeySet(format!("http://127.0.0.1:1/{number}"));
        drop(issuers.source(SourceConfig { location, ttl: None, timeout: None }));
    }
    assert!(issuers.sources.len() < 200);
}

#[tokio::test]
async fn waiting_for_first_attempts_is_bounded() {
    let issuer = TestIssuer::start(&[&key("a")]).await;
    issuer.server.set_open(false);
    let issuers = issuers(DAY);
    assert!(issuers.wait_first_attempts(Duration::ZERO).await, "there is nothing to wait for");
    let source = issuers.source(issuer.config());
    assert!(!issuers.wait_first_attempts(Duration::from_millis(1)).await);
    assert!(source.first_attempt().is_some() && error(&source).ends_with(": not fetched yet"));
    issuer.server.set_open(true);
    assert!(issuers.wait_first_attempts(DAY).await);
    assert!(source.keys().is_some());
}

#[test]
fn without_a_runtime_nothing_is_fetched_and_nobody_waits() {
    let issuers = Issuers::new(Client::new(Options::default()).unwrap());
    let location = Location::Issuer("https://issuer.test".to_owned());
    let source = issuers.source(SourceConfig { location, ttl: None, timeout: None });
    assert!(source.keys().is_none() && source.first_attempt().is_none());
    assert!(matches!(source.refresh(), Refresh::Recent));
    assert!(matches!(source.unavailable(), Failure::Undecidable(_)));
}

#[test]
fn sources_can_be_asked_for_outside_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (issuer, issuers) = runtime.block_on(async { (TestIssuer::start(&[&key("a")]).await, issuers(DAY)) });
    let source = std::thread::scope(|scope| scope.spawn(|| issuers.source(issuer.config())).join().unwrap());
    assert!(runtime.block_on(issuers.wait_first_attempts(DAY)));
    assert!(source.keys().is_some());
}

#[test]
fn locations_are_shown_without_secrets() {
    let shown = |location| format!("{location:?}");
    assert_eq!(shown(Location::Issuer("https://u:p@i.test/r?k=v".to_owned())), "issuer https://i.test/r");
    assert_eq!(shown(Location::KeySet("not a url".to_owned())), "key set");
}
