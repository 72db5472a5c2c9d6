//! What a snapshot remembers is served while the API server is away.

use std::sync::atomic::{AtomicBool, Ordering};

use usher_test_support::Fault;

use super::*;

fn restore(after: Duration, snapshot: Option<Vec<Change>>) -> Restore {
    Restore { after, load: Box::new(|| snapshot.map(|changes| (changes, "2026-01-02T03:04:05Z".to_owned()))) }
}

/// What a source tells of two AuthConfigs, an API key and a named Secret.
async fn snapshot(api: &ApiServer) -> Vec<Change> {
    for name in ["kept", "gone"] {
        api.apply(auth_config("ns", name, &format!("{name}.example.com")));
    }
    api.apply(api_key("k", "one"));
    api.apply(api_key("old", "one"));
    api.apply(secret("n", "one"));
    let mut running = Running::start(api, options());
    running.follow("n", true);
    let mut changes = running.changes(6).await;
    changes.retain(|change| !matches!(change, Change::InitialLoadDone));
    changes
}

#[tokio::test]
async fn the_snapshot_is_served_until_the_api_server_is_back() {
    let api = ApiServer::start();
    let snapshot = snapshot(&api).await;
    api.pause();
    let restore = restore(Duration::from_millis(100), Some(snapshot));
    let mut running = Running::start_with(&api, options(), timing(), Some(restore));
    let expected = ["config ns/kept 1", "config ns/gone 1", "secret k=one", "secret old=one", "named n=one", "done"];
    running.tells(&expected).await;
    assert_eq!(running.health.restored().as_deref(), Some("2026-01-02T03:04:05Z"));
    assert!(!running.health.connected());
    running.follow("n", true);
    running.tells(&["named n=one"]).await;

    api.delete("authconfigs", "ns", "gone");
    api.delete("secrets", "ns", "old");
    api.apply(auth_config("ns", "new", "new.example.com"));
    api.apply(secret("n", "two"));
    api.resume();
    running.tells(&["config ns/gone gone", "secret old gone", "config ns/new 1", "named n=two"]).await;
    running.is_connected(Watched::AuthConfigs).await;
    running.is_connected(Watched::Secrets).await;
    assert_eq!(running.health.restored(), None);
    api.apply(auth_config("ns", "marker", "m.example.com"));
    running.tells(&["config ns/marker 1"]).await;
}

#[tokio::test]
async fn what_is_listed_by_then_counts_more_than_the_snapshot() {
    let api = ApiServer::start();
    let snapshot = snapshot(&api).await;
    api.delete("authconfigs", "ns", "gone");
    api.apply(auth_config("ns", "kept", "changed.example.com"));
    api.fail(Fault::answer(503).verb("list").resource("secrets"));
    let restore = restore(Duration::from_millis(200), Some(snapshot));
    let mut running = Running::start_with(&api, options(), timing(), Some(restore));
    running.tells(&["config ns/kept 2"]).await;
    running.tells(&["secret k=one", "secret old=one", "named n=one", "done"]).await;
    api.delete("secrets", "ns", "old");
    api.clear_faults();
    running.tells(&["secret old gone"]).await;
}

#[tokio::test]
async fn a_server_that_is_slow_is_not_away() {
    let api = ApiServer::start();
    api.load((0..2600).map(|number| auth_config("ns", &format!("c{number}"), &format!("h{number}.example.com"))));
    api.fail(Fault::delay(Duration::from_millis(500)).verb("list").resource("authconfigs"));
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    let load = Box::new(move || {
        flag.store(true, Ordering::SeqCst);
        None
    });
    // Six pages take three seconds.
    let restore = Restore { after: Duration::from_secs(2), load };
    let mut running = Running::start_with(&api, options(), timing(), Some(restore));
    assert_eq!(running.changes(2601).await.len(), 2601);
    assert!(!asked.load(Ordering::SeqCst));
    assert_eq!(running.health.restored(), None);
}

#[tokio::test]
async fn without_a_snapshot_the_api_server_is_waited_for() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.pause();
    let asked = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&asked);
    let load = Box::new(move || {
        notify.notify_one();
        None
    });
    let mut running = Running::start_with(&api, options(), timing(), Some(Restore { after: Duration::ZERO, load }));
    timeout(PATIENCE, asked.notified()).await.unwrap();
    assert!(running.receiver.try_recv().is_err());
    api.resume();
    running.tells(&["config ns/a 1", "done"]).await;
}
