//! What is told of what happens in the cluster.

use super::*;

#[tokio::test]
async fn everything_is_told_page_by_page_and_then_that_this_was_all() {
    let api = ApiServer::start();
    api.load((0..1201).map(|number| auth_config("ns", &format!("c{number}"), &format!("h{number}.example.com"))));
    api.load((0..1102).map(|number| api_key(&format!("k{number}"), "x")));
    api.load((0..50).map(|number| secret(&format!("other{number}"), "x")));
    let mut running = Running::start(&api, options());
    let changes = running.changes(1201 + 1102 + 1).await;
    let told: BTreeSet<_> = changes.iter().map(short).collect();
    assert_eq!((changes.len(), told.len()), (2304, 2304));
    assert!(matches!(changes.last(), Some(Change::InitialLoadDone)));
    assert!(!told.iter().any(|change| change.contains("other")));
    assert_eq!((api.count("list", "authconfigs"), api.count("list", "secrets")), (3, 3));
    assert!(api.calls().iter().filter(|call| call.verb == "list").all(|call| call.path.contains("limit=500")));
    running.is_connected(Watched::AuthConfigs).await;
    running.is_connected(Watched::Secrets).await;
    assert_eq!(running.health.state(Watched::NamedSecrets), WatchState::NotNeeded);
    assert!(running.health.connected());
}

#[tokio::test]
async fn what_is_in_the_api_reaches_the_channel_as_it_happens() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.apply(api_key("k", "one"));
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/a 1", "secret k=one", "done"]).await;

    api.apply(auth_config("ns", "a", "b.example.com"));
    running.tells(&["config ns/a 2"]).await;
    api.apply(api_key("k", "two"));
    running.tells(&["secret k=two"]).await;
    api.apply(auth_config("ns", "b", "c.example.com"));
    running.tells(&["config ns/b 1"]).await;
    api.delete("authconfigs", "ns", "a");
    running.tells(&["config ns/a gone"]).await;
    api.delete("secrets", "ns", "k");
    running.tells(&["secret k gone"]).await;
    api.apply(auth_config("ns", "a", "a.example.com"));
    running.tells(&["config ns/a 1"]).await;
}

#[tokio::test]
async fn statuses_labels_and_annotations_of_auth_configs_are_not_told() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/a 1", "done"]).await;
    let mut written = auth_config("ns", "a", "a.example.com");
    for number in 0..10 {
        written["status"] =
            json!({"conditions": [{"type": "Ready", "status": "True", "reason": format!("R{number}")}]});
        api.apply_status(written.clone());
    }
    written["metadata"]["annotations"] = json!({"note": "new"});
    written["metadata"]["labels"] = json!({"team": "new"});
    api.apply(written);
    api.apply(auth_config("ns", "marker", "m.example.com"));
    running.tells(&["config ns/marker 1"]).await;
    assert!(running.receiver.try_recv().is_err());
}

#[tokio::test]
async fn statuses_are_told_to_who_writes_them_and_to_nobody_else() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    let (cluster, directory) = cluster(&api);
    let registry = prometheus::Registry::new();
    let metrics = ControllerMetrics::register(&registry).unwrap();
    let (_leads, leadership) = tokio::sync::watch::channel(true);
    let settings = status::Settings { debounce: Duration::ZERO, ..status::Settings::default() };
    let (writer, handle) = status::Writer::new(Arc::clone(&cluster), leadership, Arc::clone(&metrics), &settings);
    let writer = tokio::spawn(writer.run());
    let source = Source::new(cluster, options(), Some(handle.clone()), Some(metrics));
    let mut running = Running::of(source, None, directory);
    running.tells(&["config ns/a 1", "done"]).await;

    let desired = usher_api::AuthConfigStatus { observed_generation: Some(1), ..Default::default() };
    handle.set("ns", "a", desired.clone());
    let written = || match api.get("authconfigs", "ns", "a").unwrap()["status"]["observedGeneration"].as_i64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(written).await;
    // Somebody else writes; the watch tells of it.
    let mut other = auth_config("ns", "a", "a.example.com");
    other["status"] = json!({"observedGeneration": 7});
    api.apply_status(other);
    eventually(written).await;
    // Another object of that name.
    api.delete("authconfigs", "ns", "a");
    running.tells(&["config ns/a gone"]).await;
    api.apply(auth_config("ns", "a", "a.example.com"));
    running.tells(&["config ns/a 1"]).await;
    handle.set("ns", "a", desired);
    eventually(written).await;
    assert!(running.receiver.try_recv().is_err());

    running.is_connected(Watched::Secrets).await;
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(page.contains("usher_source_connected 1\n"), "{page}");
    writer.abort();
}

#[tokio::test]
async fn labels_move_objects_in_and_out() {
    let api = ApiServer::start();
    let config = |team: &str| labelled(auth_config("ns", "a", "a.example.com"), json!({"team": team}));
    api.apply(config("red"));
    api.apply(labelled(auth_config("ns", "b", "b.example.com"), json!({"team": "blue"})));
    api.apply(secret("k", "one"));
    let options = Options { auth_config_label_selector: Selector::parse("team in (red, green)").unwrap(), ..options() };
    let mut running = Running::start(&api, options);
    running.tells(&["config ns/a 1", "done"]).await;
    running.is_connected(Watched::Secrets).await;

    api.apply(config("blue"));
    running.tells(&["config ns/a gone"]).await;
    api.apply(config("green"));
    running.tells(&["config ns/a 1"]).await;
    api.apply(api_key("k", "one"));
    running.tells(&["secret k=one"]).await;
    api.apply(secret("k", "one"));
    running.tells(&["secret k gone"]).await;
}

#[tokio::test]
async fn with_a_namespace_nothing_else_is_looked_at() {
    let api = ApiServer::start();
    api.apply(auth_config("ns", "a", "a.example.com"));
    api.apply(auth_config("other", "b", "b.example.com"));
    api.apply(api_key("k", "one"));
    let mut elsewhere = api_key("l", "two");
    elsewhere["metadata"]["namespace"] = json!("other");
    api.apply(elsewhere);
    api.apply(secret("n", "three"));
    let mut running = Running::start(&api, Options { watch_namespace: Some("ns".to_owned()), ..options() });
    running.tells(&["config ns/a 1", "secret k=one", "done"]).await;
    running.follow.set(vec![(SecretName::new("ns", "n"), true), (SecretName::new("other", "l"), true)]);
    running.tells(&["named n=three", "named l none"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    assert!(api.calls().iter().all(|call| call.namespace.as_deref() == Some("ns")), "{:#?}", api.calls());
}

#[tokio::test]
async fn without_a_selector_every_secret_counts() {
    let api = ApiServer::start();
    api.apply(secret("any", "one"));
    let mut running = Running::start(&api, Options::default());
    running.tells(&["secret any=one", "done"]).await;
    assert!(!api.calls().iter().any(|call| call.path.contains("labelSelector")), "{:#?}", api.calls());
}

#[tokio::test]
async fn bad_objects_stop_nothing() {
    let api = ApiServer::start();
    let mut bad = auth_config("ns", "bad", "a.example.com");
    bad["spec"] = json!({"hosts": [7], "authentication": "x"});
    api.apply(bad.clone());
    let mut running = Running::start(&api, options());
    running.tells(&["config ns/bad 1 (bad)", "done"]).await;
    api.apply(auth_config("ns", "good", "g.example.com"));
    running.tells(&["config ns/good 1"]).await;
    api.apply(auth_config("ns", "bad", "a.example.com"));
    running.tells(&["config ns/bad 2"]).await;
    api.apply(bad);
    running.tells(&["config ns/bad 3 (bad)"]).await;
}

#[tokio::test]
async fn it_ends_with_the_receiver() {
    let api = ApiServer::start();
    let mut running = Running::start(&api, options());
    running.tells(&["done"]).await;
    running.follow("n", true);
    running.tells(&["named n none"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    drop(running.receiver);
    timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
    eventually(|| match api.open_watches("secrets") + api.open_watches("authconfigs") {
        0 => Ok(()),
        open => Err(format!("{open} watches are open")),
    })
    .await;
}
