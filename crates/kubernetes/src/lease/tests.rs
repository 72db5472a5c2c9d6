use prometheus::Registry;
use serde_json::json;
use tempfile::TempDir;
use usher_test_support::{ApiServer, Fault};

use super::*;

#[test]
fn servers_with_the_same_selector_share_a_lease() {
    let cases =
        [("", "e3b0c442"), ("authorino.kuadrant.io/managed-by=authorino", "61a2fd23")].map(|(selector, start)| {
            assert_eq!(name(selector), format!("{start}.authorino.kuadrant.io"));
            name(selector)
        });
    assert_ne!(cases[0], cases[1]);
}

#[test]
fn every_process_has_a_name_of_its_own() {
    let (one, other) = (identity(), identity());
    assert_ne!(one, other);
    let (host, uuid) = one.rsplit_once('_').unwrap();
    assert!(!host.is_empty() && !host.contains(char::is_whitespace), "{one}");
    let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{one}");
    assert_eq!(&uuid[14..15], "4", "{one}");
    assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{one}");
}

#[test]
fn the_pod_says_its_namespace_or_else_the_context() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let kubeconfig = |name: &str, namespace: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [], users: [],
              contexts: [{{name: c, context: {{cluster: x, user: y{namespace}}}}}]}}"
        );
        Cluster::from_kubeconfig(vec![file(name, &text)])
    };
    let of_context = kubeconfig("one", ", namespace: mine");
    let without = kubeconfig("two", "");
    let odd = kubeconfig("three", ", namespace: a/b");
    let pod = file("namespace", "pods\n");
    let none = directory.path().join("none");
    let cases = [
        (&pod, &of_context, Ok("pods")),
        (&none, &of_context, Ok("mine")),
        (&none, &without, Err(NoNamespace)),
        (&none, &odd, Err(NoNamespace)),
    ];
    for (file, cluster, expected) in cases {
        assert_eq!(namespace_of(file, cluster), expected.map(str::to_owned), "{file:?} {cluster:?}");
    }
}

#[tokio::test]
async fn whoever_is_alone_leads() {
    let mut leadership = always();
    assert!(*leadership.borrow_and_update());
    assert!(leadership.changed().await.is_err());
    assert!(*leadership.borrow());
}

const NAME: &str = "e3b0c442.authorino.kuadrant.io";

/// How long a test waits for something that should happen.
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    api: ApiServer,
    directory: TempDir,
    metrics: Arc<ControllerMetrics>,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry).unwrap();
        Self { api: ApiServer::start(), directory: tempfile::tempdir().unwrap(), metrics, registry }
    }

    /// A replica that takes part.
    fn elect(&self, identity: &str) -> (Leadership, Election) {
        let cluster = Cluster::from_kubeconfig(vec![self.api.write_kubeconfig(self.directory.path())]);
        let options = Options {
            lease_duration: Duration::from_secs(3),
            renew_deadline: Duration::from_millis(1500),
            retry_period: Duration::from_millis(100),
            ..Options::new("usher", NAME, identity)
        };
        elect(Arc::new(cluster), options, &self.metrics)
    }

    fn lease(&self) -> Value {
        self.api.get("leases", "usher", NAME).unwrap()
    }

    fn gauge(&self) -> String {
        let page = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = format!("leader_election_master_status{{name=\"{NAME}\"}} ");
        page.lines().find_map(|metric| metric.strip_prefix(&line)).unwrap_or_default().to_owned()
    }
}

async fn becomes(leadership: &mut Leadership, leads: bool) {
    let changed = tokio::time::timeout(DEADLINE, leadership.wait_for(|leading| *leading == leads)).await;
    assert_eq!(*changed.expect("nothing changed").expect("the election has ended"), leads);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_hands_over_when_it_ends() {
    let world = World::new();
    let (mut first, election) = world.elect("first");
    assert!(!*first.borrow());
    becomes(&mut first, true).await;
    assert_eq!(world.gauge(), "1");
    let lease = world.lease();
    assert_eq!(lease["spec"]["holderIdentity"], "first");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 3);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    let acquired = lease["spec"]["acquireTime"].clone();

    let (mut second, other) = world.elect("second");
    let begin = lease["spec"]["renewTime"].clone();
    world.api.wait_for(DEADLINE, |_| (world.lease()["spec"]["renewTime"] != begin).then_some(()));
    assert_eq!(world.lease()["spec"]["acquireTime"], acquired);
    assert!(!*second.borrow());

    election.release().await;
    assert!(!*first.borrow());
    becomes(&mut second, true).await;
    let lease = world.lease();
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    other.release().await;
    assert_eq!(world.lease()["spec"]["holderIdentity"], "");
    assert_eq!(world.gauge(), "0");
    let calls = world.api.calls();
    assert!(calls.iter().all(|call| ["get", "create", "update"].contains(&call.verb.as_str())), "{calls:?}");
    assert!(calls.iter().all(|call| call.resource == "leases"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_without_a_word_is_followed_when_the_lease_has_expired() {
    let world = World::new();
    let (mut first, election) = world.elect("first");
    becomes(&mut first, true).await;
    let (mut second, _other) = world.elect("second");
    let seen = world.api.count("get", "leases");
    world.api.wait_for(DEADLINE, |api| (api.count("get", "leases") > seen).then_some(()));
    let before = world.lease();
    drop(election);
    becomes(&mut first, false).await;
    becomes(&mut second, true).await;
    let lease = world.lease();
    let time = |time: &Value| chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
    let waited = time(&lease["spec"]["acquireTime"]) - time(&before["spec"]["renewTime"]);
    assert!(waited.num_milliseconds() >= 3000, "{waited}");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_write_stops_leading_and_comes_back() {
    let world = World::new();
    let (mut leadership, _election) = world.elect("us");
    for away in [true, false] {
        becomes(&mut leadership, true).await;
        let begin = Instant::now();
        if away {
            world.api.pause();
        } else {
            world.api.fail(Fault::hang().resource("leases"));
        }
        becomes(&mut leadership, false).await;
        assert!(begin.elapsed() < Duration::from_secs(3), "others may lead already: {:?}", begin.elapsed());
        assert_eq!(world.gauge(), "0");
        if away {
            world.api.resume();
        } else {
            world.api.clear_faults();
        }
    }
    becomes(&mut leadership, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_replaced_stops_leading_at_once() {
    let world = World::new();
    let (mut leadership, _election) = world.elect("us");
    becomes(&mut leadership, true).await;
    let mut lease = world.lease();
    lease["spec"]["holderIdentity"] = json!("intruder");
    lease["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    world.api.apply(lease);
    becomes(&mut leadership, false).await;
    assert_eq!(world.lease()["spec"]["holderIdentity"], "intruder");
    becomes(&mut leadership, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_forbidden_goes_on_trying() {
    let world = World::new();
    world.api.fail(Fault::forbid().resource("leases").times(3));
    let (mut leadership, _election) = world.elect("us");
    becomes(&mut leadership, true).await;
    assert_eq!(world.lease()["spec"]["holderIdentity"], "us");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_deleted_is_made_again() {
    let world = World::new();
    let (mut leadership, _election) = world.elect("us");
    becomes(&mut leadership, true).await;
    assert!(world.api.delete("leases", "usher", NAME));
    world.api.wait_for(DEADLINE, |api| api.get("leases", "usher", NAME));
    assert!(*leadership.borrow());
}
