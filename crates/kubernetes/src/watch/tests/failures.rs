//! The API server is away, forgets, or refuses.

use usher_test_support::Fault;

use super::*;

async fn loaded(api: &ApiServer) -> Running {
    for name in ["a", "b"] {
        api.apply(auth_config("ns", name, &format!("{name}.example.com")));
        api.apply(api_key(&format!("key-{name}"), "one"));
    }
    let mut running = Running::start(api, options());
    running.tells(&["config ns/a 1", "config ns/b 1", "secret key-a=one", "secret key-b=one", "done"]).await;
    running.is_connected(Watched::AuthConfigs).await;
    running.is_connected(Watched::Secrets).await;
    running
}

#[tokio::test]
async fn an_api_server_that_is_away_removes_nothing_and_is_not_asked_for_everything_again() {
    let api = ApiServer::start();
    let mut running = loaded(&api).await;
    api.pause();
    let reason = running.fails(Watched::AuthConfigs).await;
    assert!(reason.to_lowercase().contains("connection refused"), "{reason}");
    running.fails(Watched::Secrets).await;
    assert!(!running.health.connected());
    api.delete("authconfigs", "ns", "b");
    assert!(running.receiver.try_recv().is_err());
    api.resume();
    running.tells(&["config ns/b gone"]).await;
    running.is_connected(Watched::AuthConfigs).await;
    running.is_connected(Watched::Secrets).await;
    assert!(running.health.connected());
    assert_eq!((api.count("list", "authconfigs"), api.count("list", "secrets")), (1, 1));
    api.apply(auth_config("ns", "marker", "m.example.com"));
    running.tells(&["config ns/marker 1"]).await;
}

#[tokio::test]
async fn what_happened_in_a_time_that_is_forgotten_is_found_by_a_list() {
    for refuse in [false, true] {
        let api = ApiServer::start();
        api.refuse_expired_watches(refuse);
        let mut running = loaded(&api).await;
        api.pause();
        running.fails(Watched::AuthConfigs).await;
        running.fails(Watched::Secrets).await;
        api.delete("authconfigs", "ns", "a");
        api.apply(auth_config("ns", "b", "new.example.com"));
        api.apply(auth_config("ns", "c", "c.example.com"));
        api.delete("secrets", "ns", "key-a");
        api.apply(api_key("key-b", "two"));
        api.compact();
        api.resume();
        let expected = ["config ns/a gone", "config ns/b 2", "config ns/c 1", "secret key-a gone", "secret key-b=two"];
        running.tells(&expected).await;
        assert_eq!((api.count("list", "authconfigs"), api.count("list", "secrets")), (2, 2));
        running.is_connected(Watched::AuthConfigs).await;
        api.apply(auth_config("ns", "marker", "m.example.com"));
        running.tells(&["config ns/marker 1"]).await;
    }
}

#[tokio::test]
async fn watches_that_end_go_on_where_they_were() {
    let api = ApiServer::start();
    let mut running = loaded(&api).await;
    for number in 1..4 {
        let watches = api.count("watch", "authconfigs");
        api.drop_watches();
        api.apply(auth_config("ns", "a", &format!("h{number}.example.com")));
        running.tells(&[&format!("config ns/a {}", number + 1)]).await;
        eventually(|| (api.count("watch", "authconfigs") > watches).then_some(()).ok_or("watched again".to_owned()))
            .await;
    }
    assert_eq!(api.count("list", "authconfigs"), 1);
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_rest_goes_on() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.apply(api_key("k", "one"));
    api.fail(Fault::forbid().verb("list").resource("secrets"));
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/a 1"]).await;
    let reason = running.fails(Watched::Secrets).await;
    assert!(reason.contains("the permission to list `secrets` in all namespaces is missing"), "{reason}");
    api.apply(auth_config("ns", "b", "b.example.com"));
    running.tells(&["config ns/b 1"]).await;
    api.clear_faults();
    running.tells(&["secret k=one", "done"]).await;
    running.is_connected(Watched::Secrets).await;
}

#[tokio::test]
async fn without_the_permission_to_watch_lists_are_read_now_and_then() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.fail(Fault::forbid().verb("watch"));
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/a 1", "done"]).await;
    let reason = running.fails(Watched::AuthConfigs).await;
    assert!(reason.contains("permission to watch `authconfigs.authorino.kuadrant.io`"), "{reason}");
    api.delete("authconfigs", "ns", "a");
    running.tells(&["config ns/a gone"]).await;
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_waited_for() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.fail(Fault::answer(404).verb("list").resource("authconfigs"));
    let mut running = Running::start(&api, options());
    let reason = running.fails(Watched::AuthConfigs).await;
    assert!(reason.contains("is not installed: apply `deploy/crds`"), "{reason}");
    api.clear_faults();
    running.tells(&["config ns/a 1", "done"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_noticed() {
    let api = ApiServer::start();
    api.fail(Fault::hang().resource("authconfigs"));
    let timing = Timing { answer: Duration::from_millis(50), ..timing() };
    let mut running = Running::start_with(&api, options(), timing, None);
    let reason = running.fails(Watched::AuthConfigs).await;
    assert!(reason.contains("no answer within"), "{reason}");
    api.clear_faults();
    running.tells(&["done"]).await;
}

#[tokio::test]
async fn refusals_of_a_list_are_tried_again() {
    let api = ApiServer::start();
    api.load((0..700).map(|number| auth_config("ns", &format!("c{number}"), &format!("h{number}.example.com"))));
    for code in [500, 410, 429, 503] {
        api.fail(Fault::answer(code).verb("list").resource("authconfigs").times(1));
    }
    let mut running = Running::start(&api, options());
    assert_eq!(running.changes(701).await.len(), 701);
    running.is_connected(Watched::AuthConfigs).await;
    assert_eq!(api.count("list", "authconfigs"), 6);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_when_it_wants_to_be() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.fail(Fault::answer(429).retry_after(1).verb("list").resource("authconfigs").times(1));
    let begun = Instant::now();
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/a 1", "done"]).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    // That it is busy says nothing about the version, so the list is not read again.
    running.is_connected(Watched::AuthConfigs).await;
    let watches = api.count("watch", "authconfigs");
    api.fail(Fault::answer(503).verb("watch").resource("authconfigs").times(8));
    api.drop_watches();
    running.fails(Watched::AuthConfigs).await;
    running.is_connected(Watched::AuthConfigs).await;
    assert!(api.count("watch", "authconfigs") >= watches + 9);
    assert_eq!(api.count("list", "authconfigs"), 2);
}

#[tokio::test]
async fn a_watch_that_is_refused_again_and_again_begins_anew() {
    let api = ApiServer::start();
    let mut running = loaded(&api).await;
    api.fail(Fault::answer(500).verb("watch").resource("authconfigs").times(5));
    api.drop_watches();
    eventually(|| (api.count("list", "authconfigs") == 2).then_some(()).ok_or("listed again".to_owned())).await;
    running.is_connected(Watched::AuthConfigs).await;
    api.apply(auth_config("ns", "marker", "m.example.com"));
    running.tells(&["config ns/marker 1"]).await;
}

#[tokio::test]
async fn who_was_away_and_has_forgotten_is_asked_for_the_list_at_once() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    let backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(60) };
    let mut running = Running::start_with(&api, options(), Timing { backoff, ..timing() }, None);
    running.tells(&["config ns/a 1", "done"]).await;
    running.is_connected(Watched::AuthConfigs).await;
    api.fail(Fault::answer(503).verb("watch").resource("authconfigs").times(6));
    api.drop_watches();
    running.fails(Watched::AuthConfigs).await;
    api.apply(auth_config("ns", "a", "b.example.com"));
    api.compact();
    running.is_connected(Watched::AuthConfigs).await;
    let begun = Instant::now();
    running.tells(&["config ns/a 2"]).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "the next pause would be longer: {:?}", begun.elapsed());
}
