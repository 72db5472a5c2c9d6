//! The series that have labels of the gateway's.
//!
//! A family of the metrics library has the same label names in all of its series; these do not, so they are kept here
//! and join the families of the same name when the page is made.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{
    IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto,
};

use super::{
    PlanName,
    family::{BUCKETS, Family, buckets},
    labels::Labels,
};

/// The most series of one configuration.
const PER_CONFIGURATION: usize = 1000;

/// The most series of all configurations.
const PER_PROCESS: usize = 10_000;

/// The series of all configurations.
#[derive(Clone, Debug)]
pub(super) struct Series {
    configurations: Arc<Mutex<HashMap<PlanName, Arc<PlanSeries>>>>,
    /// How many series there are.
    count: Arc<AtomicUsize>,
    /// Samples for which there was no room.
    dropped: IntCounterVec,
}

impl Series {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let dropped = IntCounterVec::new(
            Opts::new(
                "usher_metric_labels_dropped_total",
                "Samples that were counted without the labels of the gateway because there are too many series.",
            ),
            &["namespace", "authconfig"],
        )?;
        Ok(Self { configurations: Arc::default(), count: Arc::default(), dropped })
    }

    /// The series of one configuration.
    pub(super) fn of(&self, namespace: &Arc<str>, name: &Arc<str>) -> Arc<PlanSeries> {
        let plan = (Arc::clone(namespace), Arc::clone(name));
        let new = || PlanSeries {
            plan: plan.clone(),
            count: Arc::clone(&self.count),
            dropped: self.dropped.clone(),
            dropped_here: OnceLock::new(),
            samples: Mutex::new(Some(HashMap::new())),
        };
        Arc::clone(lock(&self.configurations).entry(plan.clone()).or_insert_with(|| Arc::new(new())))
    }

    /// Removes the series of a configuration that is gone.
    pub(super) fn forget(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let removed = lock(&self.configurations).remove(&(Arc::clone(namespace), Arc::clone(name)));
        if let Some(removed) = removed {
            removed.end();
        }
        // An error only says that there was no such series.
        let _ = self.dropped.remove_label_values(&[&**namespace, &**name]);
    }
}

impl Collector for Series {
    /// Says nothing of the families that are joined: they are registered already.
    fn desc(&self) -> Vec<&Desc> {
        self.dropped.desc()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let configurations: Vec<_> = lock(&self.configurations).values().cloned().collect();
        let mut families: HashMap<Family, Vec<proto::Metric>> = HashMap::new();
        for configuration in configurations {
            for (key, sample) in configuration.copy() {
                let metric = metric(&configuration.plan, &key, &sample);
                families.entry(key.family).or_default().push(metric);
            }
        }
        let joined = families.into_iter().map(|(family, metrics)| {
            let mut page = proto::MetricFamily::default();
            page.set_name(family.name().to_owned());
            page.set_help(family.help().to_owned());
            page.set_field_type(match family {
                Family::Duration | Family::EvaluatorDuration => proto::MetricType::HISTOGRAM,
                _ => proto::MetricType::COUNTER,
            });
            page.set_metric(metrics);
            page
        });
        self.dropped.collect().into_iter().chain(joined).collect()
    }
}

/// The series of one configuration.
#[derive(Debug)]
pub(super) struct PlanSeries {
    plan: PlanName,
    count: Arc<AtomicUsize>,
    dropped: IntCounterVec,
    dropped_here: OnceLock<IntCounter>,
    /// `None` once the configuration is gone; requests may still be in flight.
    samples: Mutex<Option<HashMap<Key, Sample>>>,
}

/// Which series of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) family: Family,
    pub(super) subject: Subject,
    pub(super) labels: Labels,
}

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The whole configuration.
    Configuration,
    /// Verdicts with this status.
    Status(&'static str),
    /// A rule: evaluator type and name.
    Rule(&'static str, Arc<str>),
}

#[derive(Clone, Debug)]
enum Sample {
    Count(u64),
    Durations(Box<Durations>),
}

/// A histogram.
#[derive(Clone, Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: f64,
}

impl PlanSeries {
    /// Counts one more. Says whether that is done; if not, there is no room for the series.
    pub(super) fn count(&self, key: Key) -> bool {
        self.update(
            key,
            || Sample::Count(0),
            |sample| {
                if let Sample::Count(count) = sample {
                    *count += 1;
                }
            },
        )
    }

    /// Adds a duration. Says whether that is done; if not, there is no room for the series.
    pub(super) fn observe(&self, key: Key, took: Duration) -> bool {
        self.update(
            key,
            || Sample::Durations(Box::default()),
            |sample| {
                if let Sample::Durations(durations) = sample {
                    durations.add(took.as_secs_f64());
                }
            },
        )
    }

    fn update(&self, key: Key, new: impl FnOnce() -> Sample, change: impl FnOnce(&mut Sample)) -> bool {
        let mut samples = lock(&self.samples);
        let Some(known) = &mut *samples else { return true };
        if let Some(sample) = known.get_mut(&key) {
            change(sample);
            return true;
        }
        if known.len() < PER_CONFIGURATION && self.take_room() {
            change(known.entry(key).or_insert_with(new));
            return true;
        }
        drop(samples);
        self.drop_labels();
        false
    }

    /// Takes room for one more series of this process, if there is any.
    fn take_room(&self) -> bool {
        let more = |count: usize| (count < PER_PROCESS).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn drop_labels(&self) {
        let (namespace, name) = &self.plan;
        let dropped = self.dropped_here.get_or_init(|| {
            tracing::warn!(
                authconfig = format!("{namespace}/{name}"),
                "too many metric series with labels of the gateway: further ones are counted without these labels"
            );
            self.dropped.with_label_values(&[namespace, name])
        });
        dropped.inc();
    }

    /// Removes everything, for good.
    fn end(&self) {
        let removed = lock(&self.samples).take();
        self.count.fetch_sub(removed.map_or(0, |removed| removed.len()), Ordering::Relaxed);
    }

    /// What there is now, sorted, so that nobody has to wait until it is written.
    fn copy(&self) -> Vec<(Key, Sample)> {
        let mut samples: Vec<_> = match &*lock(&self.samples) {
            Some(samples) => samples.iter().map(|(key, sample)| (key.clone(), sample.clone())).collect(),
            None => Vec::new(),
        };
        samples.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        samples
    }
}

impl Durations {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some((bucket, _)) = self.buckets.iter_mut().zip(buckets()).find(|(_, bound)| seconds <= *bound) {
            *bucket += 1;
        }
    }

    fn metric(&self) -> proto::Histogram {
        let mut below = 0;
        let buckets = self.buckets.iter().zip(buckets()).map(|(count, bound)| {
            below += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum);
        histogram
    }
}

/// A line of the page, or those of a histogram.
fn metric((namespace, name): &PlanName, key: &Key, sample: &Sample) -> proto::Metric {
    let mut labels: Vec<(&str, &str)> = key.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    labels.extend([("namespace", &**namespace), ("authconfig", &**name)]);
    match &key.subject {
        Subject::Configuration => {}
        Subject::Status(status) => labels.push(("status", status)),
        Subject::Rule(kind, rule) => labels.extend([("evaluator_type", *kind), ("evaluator_name", &**rule)]),
    }
    labels.sort_unstable();
    let pair = |(name, value): (&str, &str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut metric = proto::Metric::from_label(labels.into_iter().map(pair).collect());
    match sample {
        Sample::Count(count) => {
            let mut counter = proto::Counter::default();
            // The format has no other numbers than these.
            counter.set_value(*count as f64);
            metric.set_counter(counter);
        }
        Sample::Durations(durations) => metric.set_histogram(durations.metric()),
    }
    metric
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
