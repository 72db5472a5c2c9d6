//! Documents of other servers, fetched in the background and kept up to date.
//!
//! ```text
//!  plan ──► Arc<V> ◄── weak ── Registry<K, V>     one V per configuration K, however many plans name it
//!             │
//!             └─ Kept<F> ─┬─ value    what a check reads, without waiting: what was fetched last with success
//!                         └─ task     fetches, tries again; ends when the last plan lets go of V
//! ```
//!
//! Checks never fetch. They may ask the task to fetch: one fetch serves all who ask while it is under way, and such
//! fetches are at least [`Timing::on_demand_interval`] apart, so that made-up requests cannot turn this process against
//! another server. What was fetched last stays in use until something newer was fetched with success.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use usher_engine::{Failure, evaluator::Undecided};

use crate::resources::in_use::InUse;

/// How something is fetched. Displayed in logs: as what it is and where, without secrets.
pub(crate) trait Fetch: fmt::Display + Send + Sync + 'static {
    /// What is fetched.
    type Value: Send + Sync + 'static;

    /// Fetches it. `last` is what was fetched last with success; nothing is the answer when that still holds.
    fn fetch(&self, last: Option<Arc<Self::Value>>)
    -> impl Future<Output = Result<Option<Self::Value>, String>> + Send;

    /// After what time it is fetched again though nobody asks for it; never if not given.
    fn ttl(&self) -> Option<Duration>;

    /// Tells that it could not be fetched, and when that is tried again.
    fn log_failure(&self, error: &str, retry_in: Duration)
    where
        Self: Sized,
    {
        tracing::warn!(what = %self, error, ?retry_in, "cannot be fetched");
    }
}

/// Something that is kept up to date as long as this lives.
pub(crate) struct Kept<F: Fetch> {
    shared: Arc<Shared<F>>,
    task: Option<AbortHandle>,
}

struct Shared<F: Fetch> {
    fetch: F,
    timing: Timing,
    value: ArcSwapOption<F::Value>,
    on_demand: Mutex<OnDemand>,
    wake: Notify,
    progress: watch::Receiver<Progress>,
}

/// Fetches that checks asked for.
#[derive(Default)]
struct OnDemand {
    /// The number of the latest.
    number: u64,
    /// When it was asked for.
    at: Option<Instant>,
}

/// How far the task is.
#[derive(Default)]
struct Progress {
    /// How often it tried, with or without success.
    attempts: u64,
    /// The latest [`OnDemand::number`] that an attempt came after.
    answered: u64,
    /// Why the last attempt failed, if it did.
    error: Option<Arc<str>>,
    /// When it tries again by itself.
    next: Option<Instant>,
}

/// What came of asking for something newer.
pub enum Refresh<F> {
    /// It is being fetched: wait, then look again.
    Underway(F),
    /// That was done moments ago: what is there is all there is.
    Recent,
}

/// What a task needs to run.
#[derive(Clone)]
pub(crate) struct Start {
    runtime: Option<Handle>,
    timing: Timing,
}

impl<F: Fetch> Kept<F> {
    /// Fetches it, at once and in the background, if there is a runtime to do so.
    pub(crate) fn start(fetch: F, start: Start) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            fetch,
            timing: start.timing,
            value: ArcSwapOption::empty(),
            on_demand: Mutex::default(),
            wake: Notify::new(),
            progress,
        });
        let task = start.runtime.map(|runtime| runtime.spawn(Arc::clone(&shared).keep_fresh(sender)).abort_handle());
        Self { shared, task }
    }

    /// How it is fetched.
    pub(crate) fn fetch(&self) -> &F {
        &self.shared.fetch
    }

    /// What was fetched last with success.
    pub(crate) fn value(&self) -> Guard<Option<Arc<F::Value>>> {
        self.shared.value.load()
    }

    /// Asks for something newer.
    pub(crate) fn refresh(&self) -> Refresh<impl Future<Output = ()> + Send + use<F>> {
        let number = {
            let mut on_demand = self.shared.on_demand.lock().unwrap_or_else(PoisonError::into_inner);
            let (answered, ended) =
                (self.shared.progress.borrow().answered, self.shared.progress.has_changed().is_err());
            let recent = on_demand.at.is_some_and(|at| at.elapsed() < self.shared.timing.on_demand_interval);
            if ended || on_demand.number == answered && recent {
                return Refresh::Recent;
            }
            if on_demand.number == answered {
                on_demand.number += 1;
                on_demand.at = Some(Instant::now());
                self.shared.wake.notify_one();
            }
            on_demand.number
        };
        let mut progress = self.shared.progress.clone();
        Refresh::Underway(async move {
            // An error means that nobody fetches any more.
            let _ = progress.wait_for(|progress| progress.answered >= number).await;
        })
    }

    /// Waits for the end of the first attempt, if that is still to come.
    pub(crate) fn first_attempt(&self) -> Option<impl Future<Output = ()> + Send + use<F>> {
        let mut progress = self.shared.progress.clone();
        if progress.borrow().attempts > 0 || progress.has_changed().is_err() {
            return None;
        }
        Some(async move {
            let _ = progress.wait_for(|progress| progress.attempts > 0).await;
        })
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.shared.progress.borrow().error.is_some()
    }

    /// The failure of whoever needs it while it could not be fetched; `reason` is for callers.
    pub(crate) fn unavailable(&self, reason: &'static str) -> Failure {
        let progress = self.shared.progress.borrow();
        let cause = progress.error.as_deref().unwrap_or("not fetched yet");
        let wait = progress.next.map(|next| next.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)));
        Failure::Undecidable(Undecided { reason, detail: format!("{}: {cause}", self.shared.fetch), retry_after: wait })
    }
}

impl<F: Fetch> Drop for Kept<F> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<F: Fetch> Shared<F> {
    /// Fetches at once; then again after the ttl, sooner after a failure, and when asked to.
    async fn keep_fresh(self: Arc<Self>, progress: watch::Sender<Progress>) {
        let mut failures = 0;
        loop {
            let asked = self.asked();
            // A panic must not leave the value to grow old.
            let attempt = AssertUnwindSafe(self.attempt()).catch_unwind().await;
            let error = attempt.unwrap_or_else(|_| Err("the attempt broke off".to_owned())).err();
            let pause = match &error {
                None => {
                    failures = 0;
                    self.fetch.ttl()
                }
                Some(error) => {
                    let pause = self.timing.pause_after(failures);
                    failures = failures.saturating_add(1);
                    self.fetch.log_failure(error, pause);
                    Some(pause)
                }
            };
            let next = pause.and_then(|pause| Instant::now().checked_add(pause));
            progress.send_modify(|progress| {
                progress.attempts += 1;
                progress.answered = asked;
                progress.error = error.map(Arc::from);
                progress.next = next;
            });
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let demanded = async {
                while self.asked() == asked {
                    self.wake.notified().await;
                }
            };
            tokio::select! {
                () = due => {}
                () = demanded => {}
            }
        }
    }

    fn asked(&self) -> u64 {
        self.on_demand.lock().unwrap_or_else(PoisonError::into_inner).number
    }

    async fn attempt(&self) -> Result<(), String> {
        if let Some(newer) = self.fetch.fetch(self.value.load_full()).await? {
            self.value.store(Some(Arc::new(newer)));
        }
        Ok(())
    }
}

/// What is in use, by its configuration, with what its tasks need.
pub(crate) struct Registry<K, V> {
    start: Start,
    in_use: InUse<K, V>,
}

impl<K: Eq + Hash, V> Registry<K, V> {
    /// Nothing yet. Background tasks run on the runtime in which this is called; without one (as when a configuration
    /// is only validated) on the runtime in which something is asked for, and if there is none either, nothing is ever
    /// fetched.
    pub(crate) fn new(timing: Timing) -> Self {
        Self { start: Start { runtime: Handle::try_current().ok(), timing }, in_use: InUse::default() }
    }

    /// What there is for that configuration; made, if nobody uses it.
    pub(crate) fn get(&self, key: K, make: impl FnOnce(Start) -> V) -> Arc<V> {
        self.in_use.get(key, || {
            let mut start = self.start.clone();
            start.runtime = start.runtime.or_else(|| Handle::try_current().ok());
            make(start)
        })
    }

    /// Everything in use.
    pub(crate) fn in_use(&self) -> Vec<Arc<V>> {
        self.in_use.all()
    }

    /// How many are remembered, in use or not.
    pub(crate) fn len(&self) -> usize {
        self.in_use.len()
    }
}

/// Waits for all of them. False if that takes longer than `at_most`.
pub(crate) async fn wait_for_all(events: Vec<impl Future<Output = ()>>, at_most: Duration) -> bool {
    tokio::time::timeout(at_most, futures_util::future::join_all(events)).await.is_ok()
}

/// How long a check waits for the first attempt to fetch what it needs. Servers that answer at all do so within; for the
/// others checks do not queue up.
pub(crate) const FIRST_ATTEMPT_PATIENCE: Duration = Duration::from_secs(1);

/// How patient and how insistent tasks are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// The pause after the first failure; it doubles with each further one.
    pub(crate) first_pause: Duration,
    /// The longest pause.
    pub(crate) longest_pause: Duration,
    /// How far apart fetches are that checks ask for.
    pub(crate) on_demand_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            on_demand_interval: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// The pause after so many failures before this one, some of it by chance: servers that went away together are not
    /// asked together when they come back.
    fn pause_after(&self, failures: u32) -> Duration {
        let pause = self.first_pause.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest_pause);
        let mut chance = [0];
        // Without chance all are asked together, which works too.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        pause.mul_f64(0.75 + 0.25 * f64::from(chance[0]) / 255.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns when the condition holds; fails if that takes long.
    pub(crate) async fn until(condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the condition never holds");
    }

    /// Something of which newer versions come with each fetch, up to a failure.
    struct Numbers {
        until: u32,
    }

    impl Fetch for Numbers {
        type Value = u32;

        async fn fetch(&self, last: Option<Arc<u32>>) -> Result<Option<u32>, String> {
            let next = last.map_or(0, |last| *last + 1);
            assert!(next <= self.until, "this is a bug in the fetch");
            Ok(Some(next))
        }

        fn ttl(&self) -> Option<Duration> {
            None
        }
    }

    impl fmt::Display for Numbers {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("numbers")
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_the_last_value_stays() {
        let timing = Timing { on_demand_interval: Duration::ZERO, ..Timing::default() };
        let registry = Registry::<&str, Kept<Numbers>>::new(timing);
        let numbers = registry.get("a", |start| Kept::start(Numbers { until: 1 }, start));
        numbers.first_attempt().unwrap().await;
        for expected in [1, 1, 1] {
            let Refresh::Underway(refreshed) = numbers.refresh() else { panic!("there is no interval") };
            refreshed.await;
            assert_eq!(**numbers.value().as_ref().unwrap(), expected);
        }
        assert!(numbers.is_failing());
        assert_eq!(numbers.unavailable("no numbers").detail(), "numbers: the attempt broke off");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let timing = Timing::default();
        for (failures, longest) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (7, 60), (u32::MAX, 60)] {
            let (pause, longest) = (timing.pause_after(failures), Duration::from_secs(longest));
            assert!(pause <= longest && pause >= longest.mul_f64(0.74), "{failures}: {pause:?}");
        }
    }
}
