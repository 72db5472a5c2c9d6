//! How the watches are doing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::metrics::ControllerMetrics;

/// How the watches of a [`Source`](super::Source) are doing, and where what is served comes from.
#[derive(Debug, Default)]
pub struct Health {
    auth_configs: Mutex<WatchState>,
    secrets: Mutex<WatchState>,
    named_secrets: Mutex<WatchState>,
    restored: Mutex<Option<String>>,
    metrics: Option<Arc<ControllerMetrics>>,
}

/// What a watch tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// AuthConfigs.
    AuthConfigs,
    /// Secrets with the labels of API keys and authorities.
    Secrets,
    /// The metadata of all Secrets: what changes where AuthConfigs name Secrets.
    NamedSecrets,
}

impl Watched {
    /// All watches.
    pub const ALL: [Self; 3] = [Self::AuthConfigs, Self::Secrets, Self::NamedSecrets];
}

impl fmt::Display for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AuthConfigs => "AuthConfigs",
            Self::Secrets => "Secrets with labels",
            Self::NamedSecrets => "named Secrets",
        })
    }
}

/// How one watch is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WatchState {
    /// Nobody needs it.
    #[default]
    NotNeeded,
    /// It is being set up, or the first list is being read.
    Connecting {
        /// Since when.
        since: SystemTime,
    },
    /// It tells of every change.
    Connected {
        /// Since when.
        since: SystemTime,
    },
    /// It cannot be set up; it is tried again and again. What was known before is served.
    Failing {
        /// Since when.
        since: SystemTime,
        /// Why the last attempt failed.
        reason: String,
    },
}

impl Health {
    /// Nothing is needed yet. Changes are told to the metrics.
    pub(super) fn new(metrics: Option<Arc<ControllerMetrics>>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// How this watch is doing.
    pub fn state(&self, watched: Watched) -> WatchState {
        self.cell(watched).clone()
    }

    /// Whether every watch that is needed tells of every change.
    pub fn connected(&self) -> bool {
        let fine = |watched| matches!(*self.cell(watched), WatchState::Connected { .. } | WatchState::NotNeeded);
        Watched::ALL.into_iter().all(fine) && *self.cell(Watched::AuthConfigs) != WatchState::NotNeeded
    }

    /// When the snapshot was written that is served instead of what is in the cluster. None: what is in the cluster is
    /// served.
    pub fn restored(&self) -> Option<String> {
        lock(&self.restored).clone()
    }

    pub(super) fn set_restored(&self, written: Option<String>) {
        let restored = written.is_some();
        *lock(&self.restored) = written;
        if let Some(metrics) = &self.metrics {
            metrics.restored_from_snapshot(restored);
        }
    }

    /// The watch is wanted.
    pub(super) fn connecting(&self, watched: Watched) {
        *self.cell(watched) = WatchState::Connecting { since: SystemTime::now() };
        self.measure();
    }

    /// The watch is no longer wanted.
    pub(super) fn not_needed(&self, watched: Watched) {
        *self.cell(watched) = WatchState::NotNeeded;
        self.measure();
    }

    /// The watch works.
    pub(super) fn works(&self, watched: Watched) {
        let now = SystemTime::now();
        let before = match &mut *self.cell(watched) {
            WatchState::Connected { .. } => return,
            state => std::mem::replace(state, WatchState::Connected { since: now }),
        };
        if let WatchState::Failing { since, .. } = before {
            let seconds = now.duration_since(since).unwrap_or_default().as_secs();
            tracing::info!(watch = %watched, seconds, "the watch of the Kubernetes API works again");
        }
        self.measure();
    }

    /// The watch does not work, for this reason.
    pub(super) fn fails(&self, watched: Watched, reason: String) {
        match &mut *self.cell(watched) {
            WatchState::Failing { reason: known, .. } => {
                *known = reason;
                return;
            }
            state => {
                tracing::warn!(watch = %watched, reason, "the watch of the Kubernetes API fails; it is tried again");
                *state = WatchState::Failing { since: SystemTime::now(), reason };
            }
        }
        self.measure();
    }

    fn measure(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.source_connected(self.connected());
        }
    }

    fn cell(&self, watched: Watched) -> MutexGuard<'_, WatchState> {
        lock(match watched {
            Watched::AuthConfigs => &self.auth_configs,
            Watched::Secrets => &self.secrets,
            Watched::NamedSecrets => &self.named_secrets,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_means_that_every_watch_that_is_needed_works() {
        let health = Health::default();
        assert!(!health.connected());
        for watched in [Watched::AuthConfigs, Watched::Secrets] {
            health.connecting(watched);
            assert!(!health.connected());
            health.works(watched);
        }
        assert!(health.connected());
        health.fails(Watched::NamedSecrets, "first".to_owned());
        let WatchState::Failing { since, .. } = health.state(Watched::NamedSecrets) else { panic!() };
        health.fails(Watched::NamedSecrets, "second".to_owned());
        assert_eq!(health.state(Watched::NamedSecrets), WatchState::Failing { since, reason: "second".to_owned() });
        assert!(!health.connected());
        health.works(Watched::NamedSecrets);
        assert!(health.connected());
        health.fails(Watched::NamedSecrets, "third".to_owned());
        health.not_needed(Watched::NamedSecrets);
        assert!(health.connected());
    }
}
