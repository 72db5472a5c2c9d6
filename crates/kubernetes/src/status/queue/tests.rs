mod failures;

use std::num::NonZeroU32;

use prometheus::Registry;
use serde_json::json;
use tokio::time::advance;
use usher_api::{AuthConfigCondition, AuthConfigStatus, AuthConfigSummary};

use super::*;
use crate::exchange::Cause;

fn settings() -> Settings {
    let number = |number| NonZeroU32::new(number).unwrap();
    Settings { writes_per_second: number(20), burst: number(30), debounce: Duration::from_millis(100) }
}

/// A queue, and an API that does as it is told.
struct World {
    queue: Queue,
    registry: Registry,
    version: u64,
}

fn key(name: &str) -> Key {
    Key { namespace: "ns".into(), name: name.into() }
}

fn status(ready: bool) -> AuthConfigStatus {
    let text = if ready { "True" } else { "False" };
    let condition =
        AuthConfigCondition { kind: "Ready".to_owned(), status: text.to_owned(), ..AuthConfigCondition::default() };
    AuthConfigStatus {
        conditions: vec![condition],
        summary: Some(AuthConfigSummary { ready, ..AuthConfigSummary::default() }),
        observed_generation: Some(1),
        served_generation: Some(1),
    }
}

fn refused(status: u16) -> Failure {
    Failure::new(Cause::Refused(StatusCode::from_u16(status).unwrap()), "no")
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let queue = Queue::new(&settings(), ControllerMetrics::register(&registry).unwrap());
        Self { queue, registry, version: 0 }
    }

    /// One that leads.
    fn leading() -> Self {
        let mut world = Self::new();
        world.queue.lead(true, Instant::now());
        world
    }

    fn set(&mut self, name: &str, status: AuthConfigStatus) {
        self.queue.tell(key(name), News::Desired(Some(status)), Instant::now());
    }

    /// The watch tells of a new version.
    fn observe(&mut self, name: &str, status: Option<AuthConfigStatus>) {
        self.version += 1;
        self.observe_version(name, self.version, status);
    }

    fn observe_version(&mut self, name: &str, version: u64, status: Option<AuthConfigStatus>) {
        let observed = Observed { uid: "u".to_owned(), resource_version: version.to_string(), status };
        self.queue.tell(key(name), News::Observed(Some(observed)), Instant::now());
    }

    /// The patch that is to be written now.
    fn write(&mut self) -> Option<(String, Value)> {
        match self.queue.next(Instant::now()) {
            Next::Write(key, patch) => Some((key.name.to_string(), patch)),
            Next::Wait(_) => None,
        }
    }

    /// How long to wait, in milliseconds.
    fn wait(&mut self) -> Option<u64> {
        match self.queue.next(Instant::now()) {
            Next::Write(key, _) => panic!("{key:?} is to be written now"),
            Next::Wait(until) => until.map(|until| (until - Instant::now()).as_millis() as u64),
        }
    }

    /// Waits as long as it says and returns what is to be written then, and after how many milliseconds.
    async fn after_wait(&mut self) -> (u64, Value) {
        let begin = Instant::now();
        loop {
            let wait = match self.queue.next(Instant::now()) {
                Next::Write(_, patch) => return (begin.elapsed().as_millis() as u64, patch),
                Next::Wait(until) => until.unwrap() - Instant::now(),
            };
            advance(wait).await;
        }
    }

    /// The API did what the patch says. Returns the status that it has now.
    fn done(&mut self, name: &str, patch: &Value) -> AuthConfigStatus {
        let status: AuthConfigStatus = serde_json::from_value(patch["status"].clone()).unwrap();
        self.answer(name, Some(status.clone()));
        status
    }

    fn answer(&mut self, name: &str, status: Option<AuthConfigStatus>) {
        self.version += 1;
        let observed = Observed { uid: "u".to_owned(), resource_version: self.version.to_string(), status };
        self.queue.done(key(name), Ok(observed), Instant::now());
    }

    fn fail(&mut self, name: &str, failure: Failure) {
        self.queue.done(key(name), Err(failure), Instant::now());
    }

    fn metric(&self, line: &str) -> String {
        let page = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        page.lines().find_map(|metric| metric.strip_prefix(line)).unwrap_or_default().trim().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn quick_successions_become_one_write_and_a_status_in_place_none() {
    let mut world = World::leading();
    world.set("a", status(false));
    assert_eq!(world.wait(), None, "there is nothing to write it to");
    world.observe("a", None);
    assert_eq!(world.wait(), Some(100));
    advance(Duration::from_millis(60)).await;
    world.set("a", status(true));
    assert_eq!(world.wait(), Some(40), "what changes all the time is written all the same");
    assert_eq!(world.metric("workqueue_depth{name=\"authconfig_status\"}"), "1");
    advance(Duration::from_millis(40)).await;
    let (name, patch) = world.write().unwrap();
    assert_eq!(name, "a");
    assert_eq!(patch["metadata"], json!({"resourceVersion": "1"}));
    assert_eq!(patch["status"]["conditions"][0]["status"], "True");
    let written = world.done("a", &patch);
    assert_eq!(world.wait(), None);
    // The watch tells of what was written; then somebody adds a label.
    world.observe_version("a", world.version, Some(written.clone()));
    world.observe("a", Some(written));
    world.set("a", status(true));
    assert_eq!(world.wait(), None);
    assert_eq!(world.metric("workqueue_depth{name=\"authconfig_status\"}"), "0");
    let result = "controller_runtime_reconcile_total{controller=\"authconfig_status\",result=\"success\"}";
    assert_eq!(world.metric(result), "1");
}

#[tokio::test(start_paused = true)]
async fn one_write_per_object_at_a_time_and_the_latest_wins() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(false));
    let (_, first) = world.after_wait().await;
    world.set("a", status(true));
    assert_eq!(world.wait(), None, "it is being written");
    world.done("a", &first);
    let (after, second) = world.after_wait().await;
    assert_eq!(after, 100);
    assert_eq!(second["status"]["conditions"][0]["status"], "True");
    assert_eq!(second["metadata"]["resourceVersion"], "2", "of the answer: the watch may be late");
    let written = world.done("a", &second);
    // The watch is late.
    world.observe_version("a", 2, serde_json::from_value(first["status"].clone()).unwrap());
    assert_eq!(world.wait(), None);
    world.observe_version("a", 3, Some(written));
    assert_eq!(world.wait(), None);
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_writes() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.observe(name, None);
        world.set(name, status(true));
    }
    advance(Duration::from_secs(60)).await;
    assert_eq!(world.wait(), None);
    world.queue.lead(true, Instant::now());
    let mut written = Vec::new();
    while let Some((name, patch)) = world.write() {
        world.done(&name, &patch);
        written.push(name);
    }
    assert_eq!(written, ["a", "b", "c"]);
    world.set("a", status(false));
    world.queue.lead(false, Instant::now());
    advance(Duration::from_secs(60)).await;
    assert_eq!(world.wait(), None);
    assert_eq!(world.metric("workqueue_depth{name=\"authconfig_status\"}"), "0");
    world.queue.lead(true, Instant::now());
    let (name, patch) = world.write().unwrap();
    assert_eq!(name, "a");
    // It leads no more, and again, before that is answered.
    world.queue.lead(false, Instant::now());
    world.queue.lead(true, Instant::now());
    assert!(world.wait().is_none_or(|wait| wait == 0));
    assert_eq!(world.wait(), None, "it is being written");
    world.done("a", &patch);
    assert_eq!(world.wait(), None);
}

#[tokio::test(start_paused = true)]
async fn there_are_few_writes_at_a_time_and_so_many_per_second() {
    let mut world = World::leading();
    for number in 0..100 {
        world.observe(&format!("{number:03}"), None);
        world.set(&format!("{number:03}"), status(true));
    }
    advance(Duration::from_millis(100)).await;
    let mut under_way: Vec<_> = std::iter::from_fn(|| world.write()).collect();
    assert_eq!(under_way.len(), CONCURRENCY);
    let mut times = Vec::new();
    let begin = Instant::now();
    while let Some((name, patch)) = under_way.pop() {
        world.done(&name, &patch);
        times.push(begin.elapsed());
        if under_way.is_empty() && times.len() < 100 {
            while under_way.is_empty() {
                under_way = std::iter::from_fn(|| world.write()).collect();
                if under_way.is_empty() {
                    advance(Duration::from_millis(world.wait().unwrap() + 1)).await;
                }
            }
        }
    }
    assert_eq!(times.len(), 100);
    assert!(times[29] < Duration::from_millis(10), "a burst: {:?}", times[29]);
    let last = times[99];
    assert!(
        (Duration::from_millis(3400)..Duration::from_millis(3800)).contains(&last),
        "70 at 20 per second: {last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn fields_that_the_api_does_not_keep_are_not_written_for_ever() {
    let mut world = World::leading();
    let pruned = |mut status: AuthConfigStatus| {
        status.observed_generation = None;
        status.served_generation = None;
        status
    };
    world.observe("a", None);
    world.set("a", status(true));
    let (_, patch) = world.after_wait().await;
    let there = pruned(serde_json::from_value(patch["status"].clone()).unwrap());
    world.answer("a", Some(there.clone()));
    assert_eq!(world.wait(), None);
    // Nor of other AuthConfigs.
    world.observe("b", Some(there.clone()));
    world.set("b", status(true));
    assert_eq!(world.wait(), None);
    // They are sent all the same, and count again as soon as they are seen.
    world.set("a", AuthConfigStatus { observed_generation: Some(2), ..status(false) });
    let (_, patch) = world.after_wait().await;
    assert_eq!(patch["status"]["observedGeneration"], 2);
    let written = world.done("a", &patch);
    world.observe("a", Some(AuthConfigStatus { observed_generation: Some(1), ..written }));
    assert_eq!(world.after_wait().await.1["status"]["observedGeneration"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_alters_is_left_as_it_is() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(true));
    let (_, patch) = world.after_wait().await;
    let mut altered: AuthConfigStatus = serde_json::from_value(patch["status"].clone()).unwrap();
    altered.summary = None;
    world.answer("a", Some(altered.clone()));
    assert_eq!(world.wait(), None);
    world.observe("a", Some(altered.clone()));
    assert_eq!(world.wait(), None);
    world.set("a", status(false));
    assert_eq!(world.after_wait().await.0, 100);
}

#[tokio::test(start_paused = true)]
async fn many_entries_are_looked_at_in_parts() {
    let mut world = World::new();
    let mut there = status(true);
    there.conditions[0].last_transition_time = Some("2026-01-31T10:00:00Z".to_owned());
    for number in 0..1000 {
        world.observe(&number.to_string(), Some(there.clone()));
        world.set(&number.to_string(), status(true));
    }
    world.queue.lead(true, Instant::now());
    let mut parts = 0;
    while world.wait() == Some(0) {
        parts += 1;
    }
    assert_eq!(parts, 1000 / 64);
    assert!(world.queue.due.is_empty());
}
