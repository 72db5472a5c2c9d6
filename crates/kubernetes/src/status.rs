//! What users see in `status` of their AuthConfigs.
//!
//! ```text
//!  what is compiled ── set, forget ───────────► Handle ──► Writer::run ──► PATCH authconfigs/NAME/status
//!  the watch ───────── observed, observed_gone ─►             │  ▲             │
//!                                                             ▼  └── answers ──┘
//!                                              queue: what is to be written, and when
//!                                                entry  of one AuthConfig: desired, observed, failures
//!                                                merge  what to write, or that nothing is to be
//!                                                rate   so many per second
//! ```
//!
//! **From a report to the patch.** A status that is told with [`Handle::set`] waits a moment for further news, for its
//! turn, and until this replica leads. Then it is merged with the status that was observed last; what is the same is not
//! written. The patch names the version of the object that was observed, so that the API refuses it when the object is
//! another one by now: the `uid` would not do, as the API ignores it in patches of `status`. The answer counts as
//! observed until the watch tells something newer.

mod merge;
mod queue;
mod rate;

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use http::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    select,
    sync::mpsc,
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, sleep_until},
};
use usher_api::AuthConfigStatus;

use self::queue::{Next, Queue};
use crate::{
    Cluster,
    exchange::{Cause, Failure, MAX_OBJECT, in_time, request},
    lease::Leadership,
    metrics::ControllerMetrics,
    resources::AUTH_CONFIGS,
};

/// How many writes may be under way at a time.
pub(crate) const CONCURRENCY: usize = 4;

/// How much news is taken in at a time.
const TOLD_AT_ONCE: usize = 256;

/// How long a write may take.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How much is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many statuses are written per second, in the long run. Default: 20.
    pub writes_per_second: NonZeroU32,
    /// How many may be written at once after a pause. Default: 30.
    pub burst: NonZeroU32,
    /// How long a status waits for further changes before it is written. Default: 100 ms.
    pub debounce: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            writes_per_second: NonZeroU32::MIN.saturating_add(19),
            burst: NonZeroU32::MIN.saturating_add(29),
            debounce: Duration::from_millis(100),
        }
    }
}

/// Writes what the [`Handle`]s are told, while this replica leads.
///
/// A status is written only where it differs from the one that is there, and only onto the version of the AuthConfig
/// that the watch told of last. What cannot be written is tried again, less and less often. Who else writes the same
/// statuses is written over less and less often, too. A write that is under way when this replica stops leading goes on:
/// it does no harm, as it is for one version only. It is counted as the controller `authconfig_status`.
pub struct Writer {
    cluster: Arc<Cluster>,
    leadership: Leadership,
    events: mpsc::UnboundedReceiver<Event>,
    queue: Queue,
}

impl Writer {
    /// A writer, and what to tell it by. It does nothing before it [runs](Self::run).
    ///
    /// Must be called within a runtime of tokio.
    pub fn new(
        cluster: Arc<Cluster>,
        leadership: Leadership,
        metrics: Arc<ControllerMetrics>,
        settings: &Settings,
    ) -> (Self, Handle) {
        let (sender, events) = mpsc::unbounded_channel();
        let queue = Queue::new(settings, metrics);
        (Self { cluster, leadership, events, queue }, Handle { events: sender })
    }

    /// Writes until all handles are gone. Dropping what this returns ends writes that are under way.
    pub async fn run(mut self) {
        let mut writes = JoinSet::new();
        let mut keys = HashMap::new();
        let mut told = Vec::new();
        let mut may_change = true;
        loop {
            let leading = *self.leadership.borrow_and_update();
            // What was told before this replica led counts before anything is written.
            for _ in 0..TOLD_AT_ONCE {
                let Ok(Event { key, news }) = self.events.try_recv() else { break };
                self.queue.tell(key, news, Instant::now());
            }
            self.queue.lead(leading, Instant::now());
            let wake = loop {
                match self.queue.next(Instant::now()) {
                    Next::Write(key, patch) => {
                        let task = writes.spawn(send(Arc::clone(&self.cluster), key.clone(), patch));
                        keys.insert(task.id(), key);
                    }
                    Next::Wait(until) => break until,
                }
            };
            // Thousands of entries may have to be looked at; the requests of users come in between.
            yield_now().await;
            select! {
                count = self.events.recv_many(&mut told, TOLD_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    let now = Instant::now();
                    told.drain(..).for_each(|Event { key, news }| self.queue.tell(key, news, now));
                }
                changed = self.leadership.changed(), if may_change => may_change = changed.is_ok(),
                Some(done) = writes.join_next_with_id() => {
                    let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                    let Some(key) = keys.remove(&id) else { continue };
                    let result = done.map_or_else(
                        |_| Err(Failure::new(Cause::NotAsked, "writing failed unexpectedly")),
                        |(_, result)| result,
                    );
                    self.queue.done(key, result, Instant::now());
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }
}

async fn send(cluster: Arc<Cluster>, Key { namespace, name }: Key, patch: Value) -> Result<Observed, Failure> {
    let path = format!("{}/status", AUTH_CONFIGS.object(&namespace, &name)?);
    let request = request(Method::PATCH, path, Some((MERGE_PATCH, patch)))?;
    observed(&in_time(WRITE_TIME, cluster.ask(request, AUTH_CONFIGS.kind, MAX_OBJECT)).await?)
}

const MERGE_PATCH: &str = "application/merge-patch+json";

/// What the API answers to a write.
fn observed(answer: &Value) -> Result<Observed, Failure> {
    let metadata = |name: &str| answer.get("metadata")?.get(name)?.as_str().map(str::to_owned);
    match (metadata("uid"), metadata("resourceVersion")) {
        (Some(uid), Some(resource_version)) => {
            let status = answer.get("status").and_then(|status| AuthConfigStatus::deserialize(status).ok());
            Ok(Observed { uid, resource_version, status })
        }
        _ => Err(Failure::new(Cause::Unreadable, "the answer is not an object with a version")),
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Tells the writer of what ought to be in `status` and of what is there.
///
/// Cheap to clone. No call waits; what is told after the writer has ended is lost.
#[derive(Debug, Clone)]
pub struct Handle {
    events: mpsc::UnboundedSender<Event>,
}

impl Handle {
    /// The status that this AuthConfig is to have, without times of transition.
    pub fn set(&self, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, status: AuthConfigStatus) {
        self.tell(namespace, name, News::Desired(Some(status)));
    }

    /// Nothing is to be written about this AuthConfig any more. What is there stays.
    pub fn forget(&self, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) {
        self.tell(namespace, name, News::Desired(None));
    }

    /// This AuthConfig is in the API as `observed` says. To be called with every version that the watch tells of, before
    /// or after [`Handle::set`], for AuthConfigs with and without problems.
    pub fn observed(&self, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, observed: Observed) {
        self.tell(namespace, name, News::Observed(Some(observed)));
    }

    /// This AuthConfig is no longer in the API, or is no longer one of this server's.
    pub fn observed_gone(&self, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) {
        self.tell(namespace, name, News::Observed(None));
    }

    fn tell(&self, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, news: News) {
        let key = Key { namespace: namespace.into(), name: name.into() };
        // An error says that the writer has ended.
        let _ = self.events.send(Event { key, news });
    }
}

/// What the API says about an AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// `metadata.uid`: tells objects apart that had the same name one after the other. Empty: unknown.
    pub uid: String,
    /// `metadata.resourceVersion`. A status is written onto this version and no other. Empty: unknown; then nothing is
    /// written.
    pub resource_version: String,
    /// `status`. None: there is none, or it is not one that can be read.
    pub status: Option<AuthConfigStatus>,
}

/// Which AuthConfig.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Debug)]
struct Event {
    key: Key,
    news: News,
}

#[derive(Debug)]
enum News {
    Desired(Option<AuthConfigStatus>),
    Observed(Option<Observed>),
}

#[cfg(test)]
mod tests;
