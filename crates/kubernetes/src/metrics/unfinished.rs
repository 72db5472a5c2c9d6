//! Work that was begun and is not done yet: how long that is, computed when the page is made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto,
};

/// The families about unfinished work.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    sum: GaugeVec,
    longest: GaugeVec,
    queues: Arc<Mutex<Vec<Queue>>>,
}

/// Name, and what was begun.
type Queue = (&'static str, Arc<Started>);

impl Unfinished {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["name"]);
        Ok(Self {
            sum: family(
                "workqueue_unfinished_work_seconds",
                "How long all work that is not done yet has been going on, added up.",
            )?,
            longest: family(
                "workqueue_longest_running_processor_seconds",
                "How long the oldest work that is not done yet has been going on.",
            )?,
            queues: Arc::default(),
        })
    }

    /// What was begun of this queue.
    pub(super) fn of(&self, name: &'static str) -> Arc<Started> {
        let started = Arc::<Started>::default();
        lock(&self.queues).push((name, Arc::clone(&started)));
        started
    }
}

impl Collector for Unfinished {
    fn desc(&self) -> Vec<&Desc> {
        [self.sum.desc(), self.longest.desc()].concat()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        for (name, started) in &*lock(&self.queues) {
            let (sum, longest) = started.ages(Instant::now());
            self.sum.with_label_values(&[*name]).set(sum.as_secs_f64());
            self.longest.with_label_values(&[*name]).set(longest.as_secs_f64());
        }
        [self.sum.collect(), self.longest.collect()].concat()
    }
}

/// What was begun, by number, and when.
#[derive(Debug, Default)]
pub(super) struct Started(Mutex<BTreeMap<u64, Instant>>);

impl Started {
    /// Begins something. Returns its number.
    pub(super) fn begin(&self, now: Instant) -> u64 {
        let mut started = lock(&self.0);
        let number = started.last_key_value().map_or(0, |(number, _)| number + 1);
        started.insert(number, now);
        number
    }

    pub(super) fn end(&self, number: u64) {
        lock(&self.0).remove(&number);
    }

    /// All ages added up, and the greatest.
    fn ages(&self, now: Instant) -> (Duration, Duration) {
        let started = lock(&self.0);
        let ages = started.values().map(|begun| now.saturating_duration_since(*begun));
        (ages.clone().sum(), ages.max().unwrap_or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_what_is_not_done() {
        let started = Started::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let first = started.begin(at(0));
        let second = started.begin(at(2));
        assert_ne!(first, second);
        let seconds = |(sum, longest): (Duration, Duration)| (sum.as_secs(), longest.as_secs());
        assert_eq!(seconds(started.ages(at(5))), (8, 5));
        started.end(first);
        assert_eq!(seconds(started.ages(at(5))), (3, 3));
        started.end(second);
        assert_eq!(seconds(started.ages(at(9))), (0, 0));
    }
}
