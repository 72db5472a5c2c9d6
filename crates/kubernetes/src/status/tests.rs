use prometheus::Registry;
use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use usher_api::{AuthConfigCondition, AuthConfigSummary};
use usher_test_support::{ApiServer, Fault};

use super::*;

/// How long a test waits for something that should happen.
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    api: ApiServer,
    handle: Handle,
    leading: watch::Sender<bool>,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with_definition(&usher_api::crds())
    }

    fn with_definition(definition: &Value) -> Self {
        let api = ApiServer::builder().definitions(&definition.to_string()).start();
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::from_kubeconfig(vec![api.write_kubeconfig(directory.path())]);
        let metrics = ControllerMetrics::register(&Registry::new()).unwrap();
        let (leading, leadership) = watch::channel(true);
        let settings = Settings { debounce: Duration::from_millis(10), ..Settings::default() };
        let (writer, handle) = Writer::new(Arc::new(cluster), leadership, metrics, &settings);
        Self { api, handle, leading, task: tokio::spawn(writer.run()), _directory: directory }
    }

    /// An AuthConfig that is made, and seen.
    fn create(&self, name: &str) -> Value {
        let object = self.api.apply(json!({
            "apiVersion": "authorino.kuadrant.io/v1beta3",
            "kind": "AuthConfig",
            "metadata": {"namespace": "ns", "name": name},
            "spec": {"hosts": [format!("{name}.io")]},
        }));
        self.see(&object);
        object
    }

    /// The watch tells of this version.
    fn see(&self, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.handle.observed("ns", name, observed(object).unwrap());
    }

    fn get(&self, name: &str) -> Value {
        self.api.get("authconfigs", "ns", name).unwrap()
    }

    /// Waits until the status says this.
    fn wait(&self, name: &str, ready: &str) -> Value {
        self.api.wait_for(DEADLINE, |api| {
            let object = api.get("authconfigs", "ns", name)?;
            (object["status"]["conditions"][0]["status"] == ready).then_some(object)
        })
    }

    fn writes(&self) -> usize {
        self.api.count("patch", "authconfigs/status")
    }

    /// Waits until this many writes were asked for.
    fn wait_for_writes(&self, writes: usize) {
        self.api.wait_for(DEADLINE, |_| (self.writes() >= writes).then_some(()));
        assert_eq!(self.writes(), writes);
    }

    /// Waits until all that was told is done: then the writer writes this one, too.
    fn settle(&self) {
        self.create("last");
        self.handle.set("ns", "last", status(true));
        self.wait("last", "True");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn status(ready: bool) -> AuthConfigStatus {
    let condition = AuthConfigCondition {
        kind: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        reason: Some(if ready { "Reconciled" } else { "Invalid" }.to_owned()),
        ..AuthConfigCondition::default()
    };
    AuthConfigStatus {
        conditions: vec![condition],
        summary: Some(AuthConfigSummary { ready, hosts_ready: Vec::new(), ..AuthConfigSummary::default() }),
        observed_generation: Some(1),
        served_generation: ready.then_some(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_once_and_nothing_else_is() {
    let world = World::new();
    let before = world.create("a");
    world.handle.set("ns", "a", status(false));
    let object = world.wait("a", "False");
    assert_eq!(object["status"]["summary"]["hostsReady"], json!([]));
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert!(object["status"].get("servedGeneration").is_none());
    let since = object["status"]["conditions"][0]["lastTransitionTime"].clone();
    assert!(since.as_str().unwrap().ends_with('Z'), "{since}");
    for part in ["/spec", "/metadata/generation", "/metadata/uid"] {
        assert_eq!(object.pointer(part), before.pointer(part));
    }
    // The watch tells of it; the same is told again.
    world.see(&object);
    world.handle.set("ns", "a", status(false));
    world.settle();
    assert_eq!(world.writes(), 2);
    let calls = world.api.calls();
    let call = calls.first().unwrap();
    assert_eq!(call.content_type.as_deref(), Some("application/merge-patch+json"));
    assert_eq!(call.path, "/apis/authorino.kuadrant.io/v1beta3/namespaces/ns/authconfigs/a/status");
    assert_eq!(
        call.body.as_ref().unwrap()["metadata"],
        json!({"resourceVersion": before["metadata"]["resourceVersion"]})
    );
    assert_eq!(calls.len(), 2, "nothing is read: {calls:?}");

    world.handle.set("ns", "a", status(true));
    let object = world.wait("a", "True");
    assert_eq!(object["status"]["servedGeneration"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_others_stay() {
    let world = World::new();
    let mut object = world.create("a");
    let audited = json!({"type": "Audited", "status": "True", "lastTransitionTime": "2026-01-31T10:00:00Z"});
    object["status"] = json!({"conditions": [audited]});
    world.see(&world.api.apply_status(object));
    world.handle.set("ns", "a", status(true));
    world.api.wait_for(DEADLINE, |_| (world.get("a")["status"]["conditions"][1]["type"] == "Ready").then_some(()));
    assert_eq!(world.get("a")["status"]["conditions"][0], audited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_does_not_get_the_status_of_the_old_one() {
    let world = World::new();
    world.create("a");
    world.api.delete("authconfigs", "ns", "a");
    let again = world.api.apply(json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"namespace": "ns", "name": "a"},
        "spec": {"hosts": ["other.io"]},
    }));
    // The watch has not told yet.
    world.handle.set("ns", "a", status(true));
    world.wait_for_writes(1);
    world.settle();
    assert!(world.get("a").get("status").is_none());
    world.see(&again);
    world.wait("a", "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_not_written_to() {
    let world = World::new();
    let mut object = world.create("a");
    object["metadata"]["labels"] = json!({"new": "yes"});
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let newer = world.api.apply(object);
    world.handle.set("ns", "a", status(true));
    world.wait_for_writes(1);
    world.settle();
    assert!(world.get("a").get("status").is_none());
    world.see(&newer);
    assert_eq!(world.wait("a", "True")["metadata"]["labels"]["new"], "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again() {
    let world = World::new();
    for fault in [Fault::answer(500), Fault::answer(429).retry_after(1), Fault::answer(503)] {
        world.api.fail(fault.verb("patch").times(1));
    }
    world.create("a");
    world.handle.set("ns", "a", status(true));
    world.wait("a", "True");
    assert_eq!(world.writes(), 4);
    world.api.pause();
    world.handle.set("ns", "a", status(false));
    tokio::task::yield_now().await;
    world.api.resume();
    world.wait("a", "False");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_leads_writes() {
    let world = World::new();
    world.leading.send_replace(false);
    world.create("a");
    world.handle.set("ns", "a", status(false));
    world.create("b");
    world.handle.set("ns", "b", status(true));
    world.handle.forget("ns", "b");
    world.handle.set("ns", "a", status(true));
    world.leading.send_replace(true);
    world.wait("a", "True");
    world.settle();
    assert!(world.get("b").get("status").is_none());
    assert_eq!(world.writes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_definition_is_no_reason_to_write_for_ever() {
    let mut definition = usher_api::crds();
    let status_schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties");
    let fields = status_schema.unwrap().as_object_mut().unwrap();
    assert!(fields.remove("observedGeneration").is_some() && fields.remove("servedGeneration").is_some());
    let world = World::with_definition(&definition);
    world.create("a");
    world.handle.set("ns", "a", status(true));
    let object = world.wait("a", "True");
    assert!(object["status"].get("observedGeneration").is_none());
    world.settle();
    // Another AuthConfig that has all that the API keeps.
    let mut other = world.create("b");
    other["status"] = object["status"].clone();
    world.see(&world.api.apply_status(other));
    world.see(&object);
    world.handle.set("ns", "b", status(true));
    world.handle.set("ns", "a", AuthConfigStatus { observed_generation: Some(2), ..status(true) });
    world.handle.set("ns", "last", status(false));
    world.wait("last", "False");
    assert_eq!(world.writes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_would_lead_elsewhere_are_not_asked_for() {
    let world = World::new();
    let seen = Observed { uid: "u".to_owned(), resource_version: "1".to_owned(), status: None };
    world.handle.observed("ns", "../../secrets/x?", seen);
    world.handle.set("ns", "../../secrets/x?", status(true));
    world.settle();
    assert_eq!(world.api.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_ends_with_its_handles() {
    let cluster = Cluster::from_kubeconfig(Vec::new());
    let metrics = ControllerMetrics::register(&Registry::new()).unwrap();
    let (writer, handle) = Writer::new(Arc::new(cluster), crate::lease::always(), metrics, &Settings::default());
    let task = tokio::spawn(writer.run());
    drop(handle);
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
}
