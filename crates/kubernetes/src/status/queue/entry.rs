//! One AuthConfig: what its status ought to be, what it is, and how writing goes.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use usher_api::AuthConfigStatus;

use super::super::{
    Observed,
    merge::{in_place, merged, patch},
};
use crate::backoff::Backoff;

/// One AuthConfig.
#[derive(Debug, Default)]
pub(super) struct Entry {
    desired: Option<AuthConfigStatus>,
    observed: Option<Observed>,
    /// `observed` is the answer to a write; the watch has not told of it yet.
    ahead: bool,
    /// What is desired was written, by this replica.
    own: bool,
    /// When it is looked at, and since when that has been planned.
    planned: Option<(Instant, Instant)>,
    /// While it is being written.
    writing: Option<Box<Base>>,
    /// What went wrong lately.
    trouble: Option<Box<Trouble>>,
}

/// What a write started from.
#[derive(Debug)]
pub(super) struct Base {
    /// Of the version that is written to.
    resource_version: String,
    sent: AuthConfigStatus,
    begin: Instant,
    /// Something else is desired meanwhile.
    superseded: bool,
}

impl Base {
    /// What becomes of `status`.
    pub(super) fn sent(&self) -> &AuthConfigStatus {
        &self.sent
    }

    pub(super) fn begin(&self) -> Instant {
        self.begin
    }
}

#[derive(Debug, Default)]
struct Trouble {
    /// Failures in a row.
    failures: u32,
    /// Not to be written before.
    not_before: Option<Instant>,
    /// `not_before` ends with the next version that the watch tells of.
    until_news: bool,
    /// How often, and when last, somebody overwrote what was written here.
    overwritten: u32,
    overwritten_at: Option<Instant>,
    /// What the API made of what was written, where that is something else. Writing again would not help.
    altered: Option<AuthConfigStatus>,
}

/// What is to be done about a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing.
    InPlace,
    /// It is to be written.
    Differs,
    /// It is to be written again, but not before this pause is over: somebody else overwrote it, this often.
    Overwritten { times: u32, pause: Duration },
}

/// Pauses before a status is written again that somebody else overwrote.
const OVERWRITTEN: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

/// How long nobody must overwrite a status until that is forgotten.
const QUIET: Duration = Duration::from_secs(900);

impl Entry {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.desired.is_none() && self.observed.is_none() && self.writing.is_none()
    }

    /// Whether there is something to write, and something to write it to.
    pub(super) fn is_complete(&self) -> bool {
        self.desired.is_some() && self.observed.is_some()
    }

    /// Whether the API has something else than what is desired, in a version that can be written to.
    pub(super) fn differs(&self, generations: bool) -> bool {
        let (Some(desired), Some(observed)) = (&self.desired, &self.observed) else { return false };
        if observed.resource_version.is_empty() {
            return false;
        }
        let altered = self.trouble.as_ref().and_then(|trouble| trouble.altered.as_ref());
        let status = observed.status.as_ref();
        !in_place(desired, status, generations) && (altered.is_none() || altered != status)
    }

    /// What to do, after something has changed.
    pub(super) fn judge(&mut self, generations: bool, now: Instant) -> Judgement {
        if !self.differs(generations) {
            return Judgement::InPlace;
        }
        if !std::mem::take(&mut self.own) {
            return Judgement::Differs;
        }
        let trouble = self.trouble.get_or_insert_default();
        if trouble.overwritten_at.is_some_and(|at| now.saturating_duration_since(at) > QUIET) {
            trouble.overwritten = 0;
        }
        trouble.overwritten = trouble.overwritten.saturating_add(1);
        trouble.overwritten_at = Some(now);
        let pause = OVERWRITTEN.pause(trouble.overwritten);
        trouble.not_before = Some(now + pause);
        Judgement::Overwritten { times: trouble.overwritten, pause }
    }

    /// Returns whether that is something new.
    pub(super) fn desire(&mut self, desired: Option<AuthConfigStatus>) -> bool {
        if self.desired == desired {
            return false;
        }
        self.desired = desired;
        self.own = false;
        if let Some(base) = &mut self.writing {
            base.superseded = true;
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.altered = None;
            // What was refused is not what is to be written now.
            if trouble.overwritten == 0 && !trouble.until_news {
                trouble.failures = 0;
                trouble.not_before = None;
            }
        }
        true
    }

    /// Returns whether that is something new.
    pub(super) fn observe(&mut self, observed: Option<Observed>) -> bool {
        match (&self.observed, &observed) {
            (None, None) => return false,
            (Some(there), Some(new)) if there.uid == new.uid => {
                if self.ahead && is_older(&new.resource_version, &there.resource_version) {
                    return false;
                }
                self.ahead = false;
                if there == new {
                    return false;
                }
            }
            // Another object of the same name, or none: what went wrong with the one before does not count.
            _ => {
                self.ahead = false;
                self.own = false;
                self.trouble = None;
            }
        }
        self.observed = observed;
        if let Some(trouble) = self.trouble.as_mut().filter(|trouble| trouble.until_news) {
            trouble.until_news = false;
            trouble.not_before = None;
        }
        true
    }

    /// What is there may have been written by another replica.
    pub(super) fn forget_own_write(&mut self) {
        self.own = false;
    }

    /// Begins a write, at this time (RFC 3339 and by our clock). Returns the patch; none if there is nothing to write.
    pub(super) fn begin(&mut self, time: &str, now: Instant) -> Option<Value> {
        let (desired, observed) = (self.desired.as_ref()?, self.observed.as_ref()?);
        let sent = merged(desired, observed.status.as_ref(), time);
        let resource_version = observed.resource_version.clone();
        let patch = patch(&sent, &resource_version);
        self.writing = Some(Box::new(Base { resource_version, sent, begin: now, superseded: false }));
        Some(patch)
    }

    /// The write has ended.
    pub(super) fn end(&mut self) -> Option<Box<Base>> {
        self.writing.take()
    }

    pub(super) fn is_being_written(&self) -> bool {
        self.writing.is_some()
    }

    /// The write was answered with this.
    pub(super) fn written(&mut self, base: Base, answer: Observed, generations: bool) {
        if let Some(trouble) = &mut self.trouble {
            trouble.failures = 0;
            trouble.not_before = None;
            trouble.until_news = false;
        }
        let same_object = self.observed.as_ref().is_some_and(|observed| observed.uid == answer.uid);
        if !base.superseded && same_object {
            self.own = true;
            let altered = self.desired.as_ref().is_some_and(|it| !in_place(it, answer.status.as_ref(), generations));
            if altered {
                self.trouble.get_or_insert_default().altered = answer.status.clone();
            }
        }
        // Otherwise the watch has been quicker.
        if let Some(observed) = self.observed.as_mut().filter(|it| it.resource_version == base.resource_version) {
            self.ahead = observed.resource_version != answer.resource_version;
            *observed = answer;
        }
    }

    /// Whether the watch has told of another version than the one that was written to.
    pub(super) fn has_news_since(&self, base: &Base) -> bool {
        self.observed.as_ref().is_none_or(|observed| observed.resource_version != base.resource_version)
    }

    /// The write has failed. Returns how many have in a row.
    pub(super) fn failed(&mut self) -> u32 {
        self.ahead = false;
        let trouble = self.trouble.get_or_insert_default();
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.failures
    }

    /// Not to be written before.
    pub(super) fn put_off(&mut self, until: Instant) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.not_before = Some(trouble.not_before.map_or(until, |before| before.max(until)));
    }

    /// Not to be written before the watch has told of another version, or before this time.
    pub(super) fn await_news(&mut self, until: Instant) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.not_before = Some(until);
        trouble.until_news = true;
    }

    /// Plans to look at it then, or earlier if that was planned, but not before it may be written. Returns the times
    /// before and after.
    pub(super) fn plan(&mut self, at: Instant, now: Instant) -> (Option<Instant>, Instant) {
        let before = self.planned;
        let at = before.map_or(at, |(planned, _)| planned.min(at));
        let at = self.trouble.as_ref().and_then(|trouble| trouble.not_before).map_or(at, |before| before.max(at));
        self.planned = Some((at, before.map_or(now, |(_, since)| since)));
        (before.map(|(planned, _)| planned), at)
    }

    /// Plans nothing any more. Returns what was planned, and since when.
    pub(super) fn unplan(&mut self) -> Option<(Instant, Instant)> {
        self.planned.take()
    }
}

/// Whether one version of an object is older than another. Versions are numbers that grow; others cannot be compared.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}
