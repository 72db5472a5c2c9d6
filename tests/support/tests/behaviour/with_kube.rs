//! `kube` works with the server: its clients, its watches, its patches.

use std::pin::pin;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
    discovery::ApiResource,
    runtime::watcher::{self, Event},
};
use serde_json::json;
use usher_test_support::{ApiServer, Fault};

use crate::client::{DEADLINE, auth_config, secret};

async fn client(server: &ApiServer) -> Client {
    // Whichever test comes first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Kubeconfig::from_yaml(&server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn auth_configs() -> ApiResource {
    ApiResource {
        group: "authorino.kuadrant.io".to_owned(),
        version: "v1beta3".to_owned(),
        api_version: "authorino.kuadrant.io/v1beta3".to_owned(),
        kind: "AuthConfig".to_owned(),
        plural: "authconfigs".to_owned(),
    }
}

/// The next event of a watch, past errors, which it recovers from.
async fn next<K: kube::Resource>(events: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin)) -> String {
    loop {
        let event = tokio::time::timeout(DEADLINE, events.next()).await.expect("an event in time").unwrap();
        let name = |object: &K| object.meta().name.clone().unwrap_or_default();
        match event {
            Ok(Event::Init) => return "init".to_owned(),
            Ok(Event::InitApply(object)) => return format!("init {}", name(&object)),
            Ok(Event::InitDone) => return "done".to_owned(),
            Ok(Event::Apply(object)) => return format!("apply {}", name(&object)),
            Ok(Event::Delete(object)) => return format!("delete {}", name(&object)),
            Err(_) => {}
        }
    }
}

async fn expect<K: kube::Resource>(
    events: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin),
    expected: &[&str],
) {
    for expected in expected {
        assert_eq!(next(events).await, *expected);
    }
}

#[tokio::test]
async fn its_watcher_follows() {
    let server = ApiServer::start();
    server.load([secret("a", "x=y"), secret("b", "x=y"), secret("c", "")]);
    let api: Api<Secret> = Api::all(client(&server).await);
    let config = watcher::Config::default().labels("x=y").page_size(1);
    let mut events = pin!(watcher::watcher(api, config));
    expect(&mut events, &["init", "init a", "init b", "done"]).await;
    server.apply(secret("c", "x=y"));
    expect(&mut events, &["apply c"]).await;
    server.apply(secret("a", ""));
    expect(&mut events, &["delete a"]).await;
    server.delete("secrets", "ns", "b");
    expect(&mut events, &["delete b"]).await;

    // It is told where it stands, then dropped: it goes on from there.
    server.drop_watches();
    server.apply(secret("d", "x=y"));
    expect(&mut events, &["apply d"]).await;
    assert_eq!(server.count("list", "secrets"), 2);

    // What it knows is forgotten while the server is away: it lists again.
    server.pause();
    server.apply(secret("e", "x=y"));
    server.compact();
    server.resume();
    expect(&mut events, &["init", "init c", "init d", "init e", "done"]).await;
}

#[tokio::test]
async fn its_watcher_of_metadata_follows() {
    let server = ApiServer::start();
    server.apply(secret("a", ""));
    let api: Api<PartialObjectMeta<Secret>> = Api::all(client(&server).await);
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    expect(&mut events, &["init", "init a", "done"]).await;
    server.apply(secret("b", ""));
    expect(&mut events, &["apply b"]).await;
    server.delete("secrets", "ns", "b");
    expect(&mut events, &["delete b"]).await;
    assert!(server.calls().iter().all(|call| !call.path.contains("sendInitialEvents")));
}

#[tokio::test]
async fn its_watcher_survives_refusals() {
    let server = ApiServer::start();
    server.apply(auth_config("one", "a.test"));
    server.fail(Fault::answer(503).times(1));
    let api: Api<DynamicObject> = Api::all_with(client(&server).await, &auth_configs());
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    assert_eq!(next(&mut events).await, "init");
    expect(&mut events, &["init one", "done"]).await;
    server.apply(auth_config("two", "b.test"));
    expect(&mut events, &["apply two"]).await;
}

#[tokio::test]
async fn its_patches_of_the_status_arrive() {
    let server = ApiServer::start();
    let created = server.apply(auth_config("one", "a.test"));
    let api: Api<DynamicObject> = Api::namespaced_with(client(&server).await, "ns", &auth_configs());
    let params = PatchParams::default();
    let patch = json!({"metadata": {"uid": created["metadata"]["uid"]}, "status": {"summary": {"ready": true}}});
    let patched = api.patch_status("one", &params, &Patch::Merge(patch)).await.unwrap();
    assert_eq!(patched.data["status"], json!({"summary": {"ready": true}}));
    assert_eq!(patched.metadata.generation, Some(1));
    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "status": {}});
    let refused = api.patch_status("one", &params, &Patch::Merge(stale)).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"),
        "{refused}"
    );
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "one");
    let call = server.calls().into_iter().find(|call| call.verb == "patch").unwrap();
    assert_eq!(call.resource, "authconfigs/status");
}

#[tokio::test]
async fn its_api_reads_and_writes() {
    let server = ApiServer::start();
    let client = client(&server).await;
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    let leases: Api<Lease> = Api::namespaced(client.clone(), "ns");
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"},
    }))
    .unwrap();
    let mut created = leases.create(&PostParams::default(), &lease).await.unwrap();
    created.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
    let replaced = leases.replace("l", &PostParams::default(), &created).await.unwrap();
    assert_eq!(replaced.spec.unwrap().holder_identity.as_deref(), Some("b"));
    assert!(leases.replace("l", &PostParams::default(), &created).await.is_err());
    assert!(leases.get_opt("none").await.unwrap().is_none());
    leases.delete("l", &DeleteParams::default()).await.unwrap();

    let secrets: Api<Secret> = Api::all(client);
    server.apply(secret("a", ""));
    assert_eq!(secrets.list(&ListParams::default()).await.unwrap().items[0].name_any(), "a");
    assert_eq!(secrets.list_metadata(&ListParams::default()).await.unwrap().items[0].name_any(), "a");
    let watch = secrets.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
    let first = pin!(watch).try_next().await.unwrap();
    assert!(matches!(first, Some(kube::core::WatchEvent::Added(found)) if found.name_any() == "a"));
}
