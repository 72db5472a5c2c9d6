//! Which statuses are to be written, and when. No network; time comes from outside.

mod entry;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use self::entry::{Base, Entry, Judgement};
use super::{CONCURRENCY, Key, News, Observed, Settings, merge::keeps_generations, rate::Rate};
use crate::{
    backoff::{Backoff, jittered},
    exchange::Failure,
    metrics::{ControllerMetrics, Outcome},
};

/// What is to be written of all AuthConfigs, and what is there.
pub(super) struct Queue {
    entries: HashMap<Key, Entry>,
    /// What is looked at when. Empty while another replica leads.
    due: BTreeSet<(Instant, Key)>,
    leading: bool,
    writing: usize,
    debounce: Duration,
    rate: Rate,
    /// Whether the API keeps the fields about generations, as far as is known.
    generations: bool,
    /// The namespaces where nothing may be written, how often in a row that was so, and when it is tried again.
    forbidden: HashMap<Arc<str>, (u32, Instant)>,
    /// How often in a row the API was away, and until when it is left in peace.
    away: (u32, Option<Instant>),
    metrics: Arc<ControllerMetrics>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this patch.
    Write(Key, Value),
    /// Nothing before then, or before there is news.
    Wait(Option<Instant>),
}

/// Pauses of one AuthConfig whose status was refused.
const REFUSED: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(300) };

/// Pauses of all while the API is away.
const AWAY: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(60) };

/// Pauses of a namespace where writing is forbidden. Short at first: an API server that has just begun forbids everything
/// until it has read the roles.
const FORBIDDEN: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(300) };

/// Pauses of an AuthConfig that has another version than the watch has told of, should the watch never tell.
const OUTDATED: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(300) };

impl Queue {
    pub(super) fn new(settings: &Settings, metrics: Arc<ControllerMetrics>) -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            leading: false,
            writing: 0,
            debounce: settings.debounce,
            rate: Rate::new(settings.writes_per_second, settings.burst),
            generations: true,
            forbidden: HashMap::new(),
            away: (0, None),
            metrics,
        }
    }

    /// Whoever begins to lead looks at everything.
    pub(super) fn lead(&mut self, leading: bool, now: Instant) {
        if self.leading == leading {
            return;
        }
        self.leading = leading;
        for (key, entry) in &mut self.entries {
            entry.forget_own_write();
            // What is being written is looked at when that has ended.
            if leading && entry.is_complete() && !entry.is_being_written() {
                plan(&mut self.due, &self.metrics, key, entry, now, now);
            } else {
                unplan(&mut self.due, &self.metrics, key, entry, now);
            }
        }
    }

    pub(super) fn tell(&mut self, key: Key, news: News, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        let changed = match news {
            News::Desired(desired) => entry.desire(desired),
            News::Observed(observed) => {
                let status = observed.as_ref().and_then(|observed| observed.status.as_ref());
                self.generations |= status.is_some_and(|status| status.observed_generation.is_some());
                entry.observe(observed)
            }
        };
        if changed || entry.is_empty() {
            self.consider(key, now);
        }
    }

    /// What to do next. Looks at no more than some entries at a time, so that nobody waits for long.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if !self.leading || self.writing >= CONCURRENCY {
            return Next::Wait(None);
        }
        if let Some(until) = self.away.1.filter(|until| *until > now) {
            return Next::Wait(Some(until));
        }
        for _ in 0..64 {
            let Some((at, key)) = self.due.first().cloned() else { return Next::Wait(None) };
            if at > now {
                return Next::Wait(Some(at));
            }
            let Some(entry) = self.entries.get_mut(&key) else {
                self.due.remove(&(at, key));
                continue;
            };
            if let Some((_, until)) = self.forbidden.get(&key.namespace).filter(|(_, until)| *until > now) {
                entry.put_off(*until);
                plan(&mut self.due, &self.metrics, &key, entry, *until, now);
                continue;
            }
            if !entry.differs(self.generations) {
                unplan(&mut self.due, &self.metrics, &key, entry, now);
                continue;
            }
            if let Err(wait) = self.rate.take() {
                return Next::Wait(Some(now + wait));
            }
            unplan(&mut self.due, &self.metrics, &key, entry, now);
            let Some(patch) = entry.begin(&time(), now) else { continue };
            self.writing += 1;
            return Next::Write(key, patch);
        }
        Next::Wait(Some(now))
    }

    /// A write has ended, with this answer.
    pub(super) fn done(&mut self, key: Key, result: Result<Observed, Failure>, now: Instant) {
        self.writing = self.writing.saturating_sub(1);
        let Some(base) = self.entries.get_mut(&key).and_then(Entry::end) else { return };
        let begin = base.begin();
        let outcome = match result {
            Ok(answer) => {
                self.written(&key, *base, answer);
                Outcome::Success
            }
            Err(failure) => self.failed(&key, &base, &failure, now),
        };
        let controller = self.metrics.authconfig_status();
        controller.reconciled(1, now.saturating_duration_since(begin), outcome);
        if outcome != Outcome::Success {
            controller.retried(1);
        }
        self.consider(key, now);
    }

    fn written(&mut self, key: &Key, base: Base, answer: Observed) {
        self.answered(&base);
        if self.forbidden.remove(&key.namespace).is_some() {
            tracing::info!(namespace = %key.namespace, "the status of AuthConfigs can be written again");
        }
        if let Some(kept) = keeps_generations(base.sent(), answer.status.as_ref()) {
            if self.generations && !kept {
                tracing::info!(
                    "the API does not keep `status.observedGeneration` and `status.servedGeneration` of AuthConfigs: its \
                     resource definition is older"
                );
            }
            self.generations = kept;
        }
        tracing::debug!(namespace = %key.namespace, name = %key.name, "status written");
        if let Some(entry) = self.entries.get_mut(key) {
            entry.written(base, answer, self.generations);
        }
    }

    /// The API is there, unless a later answer has said that it is not.
    fn answered(&mut self, base: &Base) {
        let (_, until) = self.away;
        if until.is_none_or(|until| base.begin() >= until) {
            self.away = (0, None);
        }
    }

    fn failed(&mut self, key: &Key, base: &Base, failure: &Failure, now: Instant) -> Outcome {
        if !failure.is_of_the_api() {
            self.answered(base);
        }
        let Some(entry) = self.entries.get_mut(key) else { return Outcome::Error };
        let Key { namespace, name } = key;
        let failures = entry.failed();
        let refused = now + failure.at_least(jittered(REFUSED.pause(failures)));
        match failure.status() {
            // The watch may have been quicker, and have told of another version or of another object of this name.
            Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT) if entry.has_news_since(base) => {
                entry.put_off(refused);
                Outcome::Requeue
            }
            Some(StatusCode::NOT_FOUND) => {
                tracing::debug!(%namespace, %name, error = %failure, "there is no such AuthConfig any more");
                entry.observe(None);
                Outcome::Requeue
            }
            Some(StatusCode::CONFLICT) => {
                entry.await_news(now + jittered(OUTDATED.pause(failures)));
                Outcome::Requeue
            }
            Some(StatusCode::FORBIDDEN) => {
                let before = self.forbidden.get(namespace).copied();
                let again = before.is_none_or(|(_, until)| base.begin() >= until);
                let times = before.map_or(0, |(times, _)| times).saturating_add(u32::from(again));
                let until = now + jittered(FORBIDDEN.pause(times));
                entry.put_off(until);
                self.forbidden.insert(Arc::clone(namespace), (times, until));
                if before.is_none() {
                    tracing::warn!(%namespace, error = %failure, "the status of AuthConfigs cannot be written");
                }
                Outcome::TerminalError
            }
            _ => {
                let times =
                    if failure.is_of_the_api() { put_off_all(&mut self.away, base, failure, now) } else { failures };
                entry.put_off(refused);
                if times == 1 {
                    tracing::warn!(%namespace, %name, error = %failure, "status not written; will try again");
                } else {
                    tracing::debug!(%namespace, %name, error = %failure, times, "status not written; will try again");
                }
                Outcome::Error
            }
        }
    }

    /// Plans a write if there is something to write; forgets what nobody knows any more.
    fn consider(&mut self, key: Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.is_empty() {
            unplan(&mut self.due, &self.metrics, &key, entry, now);
            self.entries.remove(&key);
            return;
        }
        if !self.leading || entry.is_being_written() {
            return;
        }
        match entry.judge(self.generations, now) {
            Judgement::InPlace => unplan(&mut self.due, &self.metrics, &key, entry, now),
            Judgement::Differs => plan(&mut self.due, &self.metrics, &key, entry, now + self.debounce, now),
            Judgement::Overwritten { times, pause } => {
                let Key { namespace, name } = &key;
                if times == 1 {
                    tracing::warn!(%namespace, %name, "somebody else has overwritten the status; it is written again");
                } else {
                    tracing::debug!(%namespace, %name, times, ?pause, "somebody else has overwritten the status again");
                }
                plan(&mut self.due, &self.metrics, &key, entry, now + self.debounce, now);
            }
        }
    }
}

/// Leaves the API in peace for some time. Returns how often that was in a row; writes that were under way together count
/// once.
fn put_off_all(away: &mut (u32, Option<Instant>), base: &Base, failure: &Failure, now: Instant) -> u32 {
    let (before, until) = *away;
    let again = until.is_none_or(|until| base.begin() >= until);
    let times = if again { before.saturating_add(1) } else { before };
    let pause = now + failure.at_least(jittered(AWAY.pause(times)));
    *away = (times, Some(until.map_or(pause, |until| until.max(pause))));
    times
}

/// Has an entry looked at, at this time if that suits it.
fn plan(
    due: &mut BTreeSet<(Instant, Key)>,
    metrics: &ControllerMetrics,
    key: &Key,
    entry: &mut Entry,
    at: Instant,
    now: Instant,
) {
    let (before, at) = entry.plan(at, now);
    match before {
        Some(before) => _ = due.remove(&(before, key.clone())),
        None => metrics.authconfig_status().queued(1),
    }
    due.insert((at, key.clone()));
}

fn unplan(due: &mut BTreeSet<(Instant, Key)>, metrics: &ControllerMetrics, key: &Key, entry: &mut Entry, now: Instant) {
    if let Some((planned, since)) = entry.unplan() {
        due.remove(&(planned, key.clone()));
        metrics.authconfig_status().taken(1, now.saturating_duration_since(since));
    }
}

/// Now, as `Time` of `meta/v1`.
fn time() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
