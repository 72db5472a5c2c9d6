//! Lists: selectors, pages, and the moment that they show.

use serde_json::{Value, json};
use usher_test_support::ApiServer;

use crate::client::{METADATA_LIST, SECRETS, ask, auth_config, secret};

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_select() {
    let server = ApiServer::start();
    let mut elsewhere = secret("z", "a=b");
    elsewhere["metadata"]["namespace"] = json!("other");
    server.load([secret("x", "a=b"), secret("y", "a=c"), secret("w", ""), elsewhere]);
    for (path, expected) in [
        (SECRETS.to_owned(), "w,x,y"),
        ("/api/v1/secrets".to_owned(), "w,x,y,z"),
        ("/api/v1/secrets?labelSelector=a%3Db".to_owned(), "x,z"),
        (format!("{SECRETS}?labelSelector=a+in+(b,c)"), "x,y"),
        (format!("{SECRETS}?labelSelector=!a"), "w"),
        ("/api/v1/secrets?fieldSelector=metadata.name%3Dz".to_owned(), "z"),
        ("/api/v1/secrets?fieldSelector=metadata.namespace%3Dns,metadata.name!%3Dx".to_owned(), "w,y"),
        (format!("{SECRETS}?resourceVersion=0"), "w,x,y"),
        ("/api/v1/namespaces/none/secrets".to_owned(), ""),
    ] {
        let list = ask(&server, "GET", &path).expect(200).await;
        assert_eq!(names(&list).join(","), expected, "{path}");
        assert_eq!(list["kind"], "SecretList");
        assert_eq!(list["metadata"]["resourceVersion"], server.resource_version().to_string());
    }
    ask(&server, "GET", format!("{SECRETS}?labelSelector=a%3D%3D%3Db")).expect(400).await;
    ask(&server, "GET", format!("{SECRETS}?fieldSelector=spec.x%3Db")).expect(400).await;
    ask(&server, "GET", format!("{SECRETS}?limit=x")).expect(400).await;
    let future = ask(&server, "GET", format!("{SECRETS}?resourceVersion=100000")).expect(504).await;
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn items_name_their_kind_where_a_real_server_does() {
    let server = ApiServer::start();
    server.apply(secret("s", ""));
    server.apply(auth_config("a", "a.test"));
    let secrets = ask(&server, "GET", SECRETS).expect(200).await;
    assert!(secrets["items"][0].get("kind").is_none());
    let path = "/apis/authorino.kuadrant.io/v1beta3/authconfigs";
    let configs = ask(&server, "GET", path).expect(200).await;
    assert_eq!(configs["kind"], "AuthConfigList");
    assert_eq!(configs["items"][0]["kind"], "AuthConfig");
    let partial = ask(&server, "GET", SECRETS).header("accept", METADATA_LIST).expect(200).await;
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    assert!(partial["items"][0].get("data").is_none());
}

#[tokio::test]
async fn pages_show_one_moment() {
    let server = ApiServer::start();
    server.load((0..10).map(|number| secret(&format!("s{number}"), "")));
    let first = ask(&server, "GET", format!("{SECRETS}?limit=4")).expect(200).await;
    assert_eq!(names(&first), ["s0", "s1", "s2", "s3"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    // What happens between the pages is not seen by them.
    server.delete("secrets", "ns", "s5");
    server.apply(secret("s45", ""));
    server.apply(secret("s6", "new=label"));
    server.apply(secret("s99", ""));
    let mut token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    loop {
        let page = ask(&server, "GET", format!("{SECRETS}?limit=4&continue={token}")).expect(200).await;
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        seen.extend(names(&page));
        let s6 = page["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "s6");
        assert!(s6.is_none_or(|s6| s6["metadata"]["labels"].get("new").is_none()));
        match page["metadata"]["continue"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, ["s4", "s5", "s6", "s7", "s8", "s9"]);

    server.compact();
    let gone = ask(&server, "GET", format!("{SECRETS}?limit=4&continue={token}")).expect(410).await;
    assert_eq!(gone["reason"], "Expired");
    ask(&server, "GET", format!("{SECRETS}?continue=nonsense")).expect(400).await;
}

#[tokio::test]
async fn many_objects_are_listed_in_pages() {
    const MANY: usize = 110_000;
    let server = ApiServer::start();
    server.load((0..MANY).map(|number| secret(&format!("s{number:06}"), "a=b")));
    let (mut token, mut count) = (String::new(), 0);
    loop {
        let path = format!("/api/v1/secrets?limit=500&labelSelector=a%3Db&continue={token}");
        let page = ask(&server, "GET", path).header("accept", METADATA_LIST).expect(200).await;
        count += page["items"].as_array().unwrap().len();
        match page["metadata"]["continue"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(count, MANY);
}
