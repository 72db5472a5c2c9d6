//! Where callbacks wait until it is their turn.
//!
//! Each namespace has a lane of its own: a number of decisions whose callbacks run, and behind them those that wait.
//! So a receiver that does not answer keeps nobody waiting but those who chose it. What does not fit is dropped and
//! counted; nobody ever waits for room.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::Due;
use crate::Request;

/// How much may run and wait. Everything is counted in decisions, each with all of its callbacks. A namespace of which
/// nothing runs may always run one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Running at a time.
    pub running: usize,
    /// Running at a time for one namespace.
    pub running_of_namespace: usize,
    /// Waiting at a time.
    pub waiting: usize,
    /// Waiting at a time for one namespace.
    pub waiting_of_namespace: usize,
    /// Memory of all that run or wait, in bytes, as far as it can be estimated.
    pub bytes: usize,
    /// The same for one namespace.
    pub bytes_of_namespace: usize,
    /// The most time that one callback may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 4_096,
            running_of_namespace: 64,
            waiting: 10_000,
            waiting_of_namespace: 1_000,
            bytes: 256 << 20,
            bytes_of_namespace: 32 << 20,
            time: Duration::from_secs(60),
        }
    }
}

/// Runs callbacks in the background.
#[derive(Debug, Default)]
pub struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    lanes: Mutex<Lanes>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    by_namespace: HashMap<Arc<str>, Lane>,
    running: usize,
    waiting: usize,
    bytes: usize,
    closed: bool,
}

/// Exists as long as something of the namespace runs. Nothing waits where nothing runs.
#[derive(Debug, Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Job>,
    bytes: usize,
}

struct Job {
    due: Due,
    request: Arc<Request>,
    bytes: usize,
}

/// The request is not shown: it holds credentials.
impl std::fmt::Debug for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.due.fmt(formatter)
    }
}

impl Queue {
    /// A queue with limits of its own.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, ..Shared::default() }))
    }

    /// Runs callbacks as soon as it is their turn, or drops them at once. Never waits. To be called within a Tokio
    /// runtime.
    pub fn push(&self, due: Due, request: Arc<Request>) {
        let bytes = request.size() + due.known.size();
        let namespace = Arc::clone(&due.plan.namespace);
        match self.0.admit(Job { due, request, bytes }) {
            Admitted::Runs(job) => {
                tokio::spawn(work(Arc::clone(&self.0), namespace, job));
            }
            Admitted::Waits => {}
            Admitted::Not(job) => job.due.plan.meters.callbacks_dropped(),
        }
    }

    /// Waits until all callbacks have run, for `grace` at most, and takes in no more. Gives the number of decisions
    /// whose callbacks did not come to their end; those that wait are dropped.
    pub async fn flush(&self, grace: Duration) -> usize {
        let _ = tokio::time::timeout(grace, self.0.is_idle()).await;
        let mut lanes = self.0.lanes();
        lanes.closed = true;
        let dropped: Vec<Job> = lanes.by_namespace.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        lanes.waiting = 0;
        let running = lanes.running;
        drop(lanes);
        for job in &dropped {
            job.due.plan.meters.callbacks_dropped();
        }
        running + dropped.len()
    }
}

/// What becomes of callbacks.
enum Admitted {
    /// This job is to be run now: the one that was given, or one that has waited longer.
    Runs(Job),
    /// The one that was given waits.
    Waits,
    /// There is no room for the one that was given.
    Not(Job),
}

/// Runs a job and then, one after the other, what waits in its lane.
async fn work(shared: Arc<Shared>, namespace: Arc<str>, mut job: Job) {
    loop {
        let Job { due, request, bytes } = job;
        let run = AssertUnwindSafe(due.run(request, shared.limits.time)).catch_unwind();
        if run.await.is_err() {
            tracing::error!(namespace = &*namespace, "callbacks panicked");
        }
        match shared.ended(&namespace, bytes) {
            Some(next) => job = next,
            None => return,
        }
        // Callbacks that need not wait for anything must not keep others of this thread waiting.
        tokio::task::yield_now().await;
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, job: Job) -> Admitted {
        let limits = &self.limits;
        let mut guard = self.lanes();
        let lanes = &mut *guard;
        if lanes.closed {
            return Admitted::Not(job);
        }
        let lane = lanes.by_namespace.entry(Arc::clone(&job.due.plan.namespace)).or_default();
        let is_first = lane.running == 0;
        let has_memory = lanes.bytes + job.bytes <= limits.bytes && lane.bytes + job.bytes <= limits.bytes_of_namespace;
        let runs = is_first || lane.running < limits.running_of_namespace && lanes.running < limits.running;
        let may_wait = lane.waiting.len() < limits.waiting_of_namespace && lanes.waiting < limits.waiting;
        if !(is_first || has_memory && (runs || may_wait)) {
            return Admitted::Not(job);
        }
        lane.bytes += job.bytes;
        lanes.bytes += job.bytes;
        if !runs {
            lane.waiting.push_back(job);
            lanes.waiting += 1;
            return Admitted::Waits;
        }
        lane.running += 1;
        lanes.running += 1;
        match lane.waiting.pop_front() {
            Some(earlier) => {
                lane.waiting.push_back(job);
                Admitted::Runs(earlier)
            }
            None => Admitted::Runs(job),
        }
    }

    /// A job of this size has ended. Gives the next one of its lane.
    fn ended(&self, namespace: &Arc<str>, bytes: usize) -> Option<Job> {
        let mut guard = self.lanes();
        let lanes = &mut *guard;
        lanes.bytes = lanes.bytes.saturating_sub(bytes);
        let lane = lanes.by_namespace.get_mut(namespace)?;
        lane.bytes = lane.bytes.saturating_sub(bytes);
        if let Some(next) = lane.waiting.pop_front() {
            lanes.waiting = lanes.waiting.saturating_sub(1);
            return Some(next);
        }
        lane.running = lane.running.saturating_sub(1);
        if lane.running == 0 {
            lanes.by_namespace.remove(namespace);
        }
        lanes.running = lanes.running.saturating_sub(1);
        if lanes.running == 0 {
            self.idle.notify_waiters();
        }
        None
    }

    async fn is_idle(&self) {
        loop {
            let changed = self.idle.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.lanes().running == 0 {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
impl Queue {
    /// Waits until nothing runs, and gives the memory that is counted then.
    pub(super) async fn bytes_when_idle(&self) -> usize {
        self.0.is_idle().await;
        self.0.lanes().bytes
    }
}
