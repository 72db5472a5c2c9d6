//! What is told about the work with the Kubernetes API, by the names that dashboards for controllers know.
//!
//! A controller is a queue of work and those who do it. There are three: `authconfig` and `secret` are changes of the
//! configuration, `authconfig_status` is the writing of `status`. Requests to the API, the election of a leader, and how
//! it stands with the source of configuration come on top.

mod requests;
mod unfinished;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

pub(crate) use self::requests::CountRequests;
use self::unfinished::{Started, Unfinished};

/// The metric families of everything that has to do with the Kubernetes API.
pub struct ControllerMetrics {
    authconfig: Controller,
    secret: Controller,
    authconfig_status: Controller,
    requests: IntCounterVec,
    leader: IntGaugeVec,
    connected: IntGauge,
    restored: IntGauge,
}

/// The series of one controller, looked up once.
pub struct Controller {
    /// In the order of [`RESULTS`].
    results: [IntCounter; RESULTS.len()],
    errors: IntCounter,
    terminal_errors: IntCounter,
    reconcile_seconds: Histogram,
    active: IntGauge,
    depth: IntGauge,
    adds: IntCounter,
    retries: IntCounter,
    queue_seconds: Histogram,
    work_seconds: Histogram,
    started: Arc<Started>,
}

/// What came of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Success,
    /// It failed and is tried again.
    Error,
    /// It failed, and trying again would not help: somebody has to change something first.
    TerminalError,
    /// It is to be looked at again when it is its turn.
    Requeue,
    /// It is to be looked at again after some time.
    RequeueAfter,
}

const RESULTS: [&str; 4] = ["success", "error", "requeue", "requeue_after"];

/// Seconds.
const RECONCILE_BUCKETS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];

/// Seconds.
const QUEUE_BUCKETS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0];

impl ControllerMetrics {
    /// The families, registered. Whatever can be known in advance is there with 0.
    ///
    /// # Errors
    ///
    /// When the registry holds families of these names already.
    pub fn register(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let families = Families::register(registry)?;
        for (name, help) in [
            ("certwatcher_read_certificate_total", "Certificates read by the watcher of controllers: there is none."),
            ("certwatcher_read_certificate_errors_total", "Certificates that this watcher could not read."),
        ] {
            registered(registry, IntCounter::new(name, help)?)?;
        }
        Ok(Arc::new(Self {
            authconfig: families.controller("authconfig", 1),
            secret: families.controller("secret", 1),
            authconfig_status: families.controller("authconfig_status", crate::status::CONCURRENCY),
            requests: counter(
                registry,
                "rest_client_requests_total",
                "Requests to the Kubernetes API.",
                &["code", "method", "host"],
            )?,
            leader: gauge(
                registry,
                "leader_election_master_status",
                "Whether this replica holds the lease.",
                &["name"],
            )?,
            connected: registered(
                registry,
                IntGauge::new(
                    "usher_source_connected",
                    "Whether changes of the configuration are being watched. 0: what was known last is served.",
                )?,
            )?,
            restored: registered(
                registry,
                IntGauge::new(
                    "usher_source_restored_from_snapshot",
                    "Whether what is served comes from the snapshot because the source could not be asked yet.",
                )?,
            )?,
        }))
    }

    /// Changes of AuthConfigs.
    pub fn authconfig(&self) -> &Controller {
        &self.authconfig
    }

    /// Changes of Secrets.
    pub fn secret(&self) -> &Controller {
        &self.secret
    }

    /// Writing of `status`.
    pub fn authconfig_status(&self) -> &Controller {
        &self.authconfig_status
    }

    /// Tells whether changes are being watched.
    pub fn source_connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// Tells whether what is served comes from a snapshot.
    pub fn restored_from_snapshot(&self, restored: bool) {
        self.restored.set(restored.into());
    }

    /// The gauge of the lease of this name, now 0.
    pub(crate) fn leadership(&self, lease: &str) -> IntGauge {
        self.leader.with_label_values(&[lease])
    }
}

impl Controller {
    /// So many pieces of work were put into the queue.
    pub fn queued(&self, count: usize) {
        self.adds.inc_by(count as u64);
        self.depth.add(signed(count));
    }

    /// So many pieces of work were taken out of the queue, where they had been for so long.
    pub fn taken(&self, count: usize, waited: Duration) {
        self.depth.sub(signed(count));
        observe(&self.queue_seconds, count, waited);
    }

    /// So many pieces of work are to be done once more.
    pub fn retried(&self, count: usize) {
        self.retries.inc_by(count as u64);
    }

    /// So many pieces of work were done, each in so much time, with this outcome.
    pub fn reconciled(&self, count: usize, each: Duration, outcome: Outcome) {
        let result = match outcome {
            Outcome::Success => 0,
            Outcome::Error | Outcome::TerminalError => 1,
            Outcome::Requeue => 2,
            Outcome::RequeueAfter => 3,
        };
        if let Some(counter) = self.results.get(result) {
            counter.inc_by(count as u64);
        }
        if matches!(outcome, Outcome::Error | Outcome::TerminalError) {
            self.errors.inc_by(count as u64);
        }
        if outcome == Outcome::TerminalError {
            self.terminal_errors.inc_by(count as u64);
        }
        observe(&self.reconcile_seconds, count, each);
        observe(&self.work_seconds, count, each);
    }

    /// A worker is busy until what this returns is dropped.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.active.inc();
        Busy {
            number: self.started.begin(Instant::now()),
            started: Arc::clone(&self.started),
            active: self.active.clone(),
        }
    }
}

/// A worker that is busy.
#[derive(Debug)]
pub struct Busy {
    number: u64,
    started: Arc<Started>,
    active: IntGauge,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.started.end(self.number);
        self.active.dec();
    }
}

fn observe(histogram: &Histogram, count: usize, time: Duration) {
    for _ in 0..count {
        histogram.observe(time.as_secs_f64());
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The families that have a series per controller.
struct Families {
    results: IntCounterVec,
    errors: IntCounterVec,
    terminal_errors: IntCounterVec,
    reconcile_seconds: HistogramVec,
    workers: IntGaugeVec,
    active: IntGaugeVec,
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    queue_seconds: HistogramVec,
    work_seconds: HistogramVec,
    unfinished: Unfinished,
}

impl Families {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help| counter(registry, name, help, &["controller"]);
        let gauges = |name, help| gauge(registry, name, help, &["controller"]);
        let histograms = |name: &str, help: &str, label: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(registry, HistogramVec::new(options, &[label])?)
        };
        Ok(Self {
            results: counter(
                registry,
                "controller_runtime_reconcile_total",
                "Pieces of work that were done, by result.",
                &["controller", "result"],
            )?,
            errors: counters("controller_runtime_reconcile_errors_total", "Pieces of work that failed.")?,
            terminal_errors: counters(
                "controller_runtime_terminal_reconcile_errors_total",
                "Pieces of work that failed and are not tried again before something changes.",
            )?,
            reconcile_seconds: histograms(
                "controller_runtime_reconcile_time_seconds",
                "Time that a piece of work took.",
                "controller",
                &RECONCILE_BUCKETS,
            )?,
            workers: gauges("controller_runtime_max_concurrent_reconciles", "How many may work at a time.")?,
            active: gauges("controller_runtime_active_workers", "How many are working.")?,
            depth: gauge(registry, "workqueue_depth", "Pieces of work that wait.", &["name"])?,
            adds: counter(registry, "workqueue_adds_total", "Pieces of work that came.", &["name"])?,
            retries: counter(registry, "workqueue_retries_total", "Pieces of work that came again.", &["name"])?,
            queue_seconds: histograms(
                "workqueue_queue_duration_seconds",
                "Time that a piece of work waited.",
                "name",
                &QUEUE_BUCKETS,
            )?,
            work_seconds: histograms(
                "workqueue_work_duration_seconds",
                "Time that a piece of work took.",
                "name",
                &QUEUE_BUCKETS,
            )?,
            unfinished: registered(registry, Unfinished::new()?)?,
        })
    }

    fn controller(&self, name: &'static str, workers: usize) -> Controller {
        self.workers.with_label_values(&[name]).set(signed(workers));
        Controller {
            results: RESULTS.map(|result| self.results.with_label_values(&[name, result])),
            errors: self.errors.with_label_values(&[name]),
            terminal_errors: self.terminal_errors.with_label_values(&[name]),
            reconcile_seconds: self.reconcile_seconds.with_label_values(&[name]),
            active: self.active.with_label_values(&[name]),
            depth: self.depth.with_label_values(&[name]),
            adds: self.adds.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            queue_seconds: self.queue_seconds.with_label_values(&[name]),
            work_seconds: self.work_seconds.with_label_values(&[name]),
            started: self.unfinished.of(name),
        }
    }
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

impl fmt::Debug for ControllerMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ControllerMetrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Controller").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
