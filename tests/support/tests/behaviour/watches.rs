//! Watches.

use std::time::Duration;

use serde_json::json;
use usher_test_support::ApiServer;

use crate::client::{AUTHCONFIGS, DEADLINE, METADATA, METADATA_LIST, SECRETS, ask, auth_config, secret};

fn from_now(server: &ApiServer) -> String {
    format!("{SECRETS}?watch=true&allowWatchBookmarks=true&resourceVersion={}", server.resource_version())
}

#[tokio::test]
async fn watches_tell_what_happens() {
    let server = ApiServer::start();
    let mut lines = ask(&server, "GET", from_now(&server)).watch().await;
    server.apply(secret("a", ""));
    server.apply(secret("a", "x=y"));
    server.delete("secrets", "ns", "a");
    server.apply(auth_config("other", "a.test"));
    let mut elsewhere = secret("z", "");
    elsewhere["metadata"]["namespace"] = json!("other");
    server.apply(elsewhere);
    server.apply(secret("b", ""));
    assert_eq!(lines.told().await, "ADDED a");
    let modified = lines.next().await.unwrap();
    assert_eq!((&modified["type"], &modified["object"]["kind"]), (&json!("MODIFIED"), &json!("Secret")));
    let deleted = lines.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    let version = |event: &serde_json::Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(version(&deleted) > version(&modified));
    assert_eq!(lines.told().await, "ADDED b");
}

#[tokio::test]
async fn watches_begin_where_they_are_asked_to() {
    let server = ApiServer::start();
    let before = server.resource_version();
    server.apply(secret("a", ""));
    server.apply(secret("b", ""));
    let path = format!("{SECRETS}?watch=1&resourceVersion={}", before + 1);
    assert_eq!(ask(&server, "GET", path).watch().await.told().await, "ADDED b");
    for version in ["", "0"] {
        let path = format!("{SECRETS}?watch=1&resourceVersion={version}");
        let mut lines = ask(&server, "GET", path).watch().await;
        assert_eq!(lines.told().await, "ADDED a");
        assert_eq!(lines.told().await, "ADDED b");
    }
}

#[tokio::test]
async fn labels_move_objects_in_and_out_of_a_watch() {
    let server = ApiServer::start();
    let mut lines = ask(&server, "GET", format!("{}&labelSelector=a%3Db", from_now(&server))).watch().await;
    server.apply(secret("s", ""));
    server.apply(secret("s", "a=b"));
    server.apply(secret("s", "a=b,c=d"));
    server.apply(secret("s", "a=c"));
    server.delete("secrets", "ns", "s");
    server.apply(secret("t", "a=b"));
    assert_eq!(lines.told().await, "ADDED s");
    assert_eq!(lines.told().await, "MODIFIED s");
    let deleted = lines.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    // As it was last in the watch, with the version at which it left.
    assert_eq!(deleted["object"]["metadata"]["labels"], json!({"a": "b", "c": "d"}));
    assert_eq!(lines.told().await, "ADDED t");
}

#[tokio::test]
async fn one_object_can_be_watched() {
    let server = ApiServer::start();
    let now = server.resource_version();
    let by_field = format!("{SECRETS}?watch=true&resourceVersion={now}&fieldSelector=metadata.name%3Db");
    let by_path = format!("{SECRETS}/b?watch=true&resourceVersion={now}");
    server.apply(secret("a", ""));
    server.apply(secret("b", ""));
    for path in [by_field, by_path] {
        assert_eq!(ask(&server, "GET", path).watch().await.told().await, "ADDED b");
    }
}

#[tokio::test]
async fn bookmarks_tell_the_version() {
    let server = ApiServer::builder().bookmark_interval(Duration::from_millis(10)).start();
    let mut lines = ask(&server, "GET", from_now(&server)).watch().await;
    let expected = json!({"type": "BOOKMARK", "object": {"kind": "Secret", "apiVersion": "v1", "metadata": {
        "resourceVersion": server.resource_version().to_string(), "creationTimestamp": null,
    }}});
    assert_eq!(lines.next().await.unwrap(), expected);

    let server = ApiServer::start();
    let mut lines = ask(&server, "GET", from_now(&server)).header("accept", METADATA).watch().await;
    // Others write: the watch hears of it only from the bookmark.
    server.apply(auth_config("other", "a.test"));
    server.send_bookmarks();
    let bookmark = lines.next().await.unwrap();
    assert_eq!(bookmark["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], server.resource_version().to_string());
}

#[tokio::test]
async fn watches_of_metadata_leave_the_rest_out() {
    let server = ApiServer::start();
    let mut lines = ask(&server, "GET", from_now(&server)).header("accept", METADATA_LIST).watch().await;
    server.apply(secret("s", "a=b"));
    let event = lines.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["metadata"]["labels"], json!({"a": "b"}));
    assert!(event["object"].get("data").is_none());
}

#[tokio::test]
async fn watches_end_at_their_time() {
    let server = ApiServer::start();
    let mut lines = ask(&server, "GET", format!("{}&timeoutSeconds=1", from_now(&server))).watch().await;
    assert_eq!(lines.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(lines.next().await, None);
    server.wait_for(DEADLINE, |server| (server.open_watches("secrets") == 0).then_some(()));
}

#[tokio::test]
async fn what_is_forgotten_is_too_old() {
    let server = ApiServer::start();
    let old = from_now(&server);
    let mut open = ask(&server, "GET", &old).watch().await;
    server.compact();
    server.apply(secret("s", ""));
    assert_eq!(open.told().await, "ADDED s");
    let mut lines = ask(&server, "GET", &old).watch().await;
    let event = lines.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!((&event["object"]["code"], &event["object"]["reason"]), (&json!(410), &json!("Expired")));
    assert!(event["object"]["message"].as_str().unwrap().starts_with("too old resource version: "));
    assert_eq!(lines.next().await, None);
    server.refuse_expired_watches(true);
    assert_eq!(ask(&server, "GET", &old).expect(410).await["reason"], "Expired");

    // Without a demand, when the history is full.
    let server = ApiServer::builder().history(3).start();
    let start = server.resource_version();
    server.load((0..5).map(|number| secret(&format!("s{number}"), "")));
    let path = |version: u64| format!("{SECRETS}?watch=true&resourceVersion={version}");
    assert_eq!(ask(&server, "GET", path(start + 1)).watch().await.told().await, "ERROR ");
    assert_eq!(ask(&server, "GET", path(start + 2)).watch().await.told().await, "ADDED s2");
}

#[tokio::test]
async fn old_servers_know_no_streaming_lists() {
    let server = ApiServer::start();
    let path = format!("{AUTHCONFIGS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    ask(&server, "GET", path).expect(422).await;
}

#[tokio::test]
async fn many_watches_see_many_events() {
    let server = ApiServer::start();
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(ask(&server, "GET", from_now(&server)).watch().await);
    }
    assert_eq!(server.open_watches("secrets"), 20);
    server.load((0..3000).map(|number| secret(&format!("s{number:04}"), "")));
    for lines in &mut watches {
        for number in 0..3000 {
            assert_eq!(lines.told().await, format!("ADDED s{number:04}"));
        }
    }
}
