//! What each step of a decision did. Collected only when someone asked for an explanation.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The steps of one decision, in the order in which they ended.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Mutex<Vec<Entry>>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `when`, `authentication`, `metadata`, `authorization`, `response` or `callbacks`.
    pub phase: &'static str,
    /// The name of the rule; empty for the conditions of the whole configuration.
    pub rule: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// How long it took.
    pub took: Duration,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It succeeded.
    Succeeded,
    /// Its conditions do not match this request.
    Skipped,
    /// Its conditions could not be evaluated; the text says why.
    ConditionFailed(String),
    /// It said no; the text says why.
    Denied(String),
    /// It could not decide; the text says why, with details that callers do not see.
    Undecidable(String),
}

impl Journal {
    /// Writes a step down.
    pub fn record(&self, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// The steps so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
