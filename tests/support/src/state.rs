//! What the HTTP side and the handle of a server share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{calls::Journal, faults::Faults, reviews::Reviews, store::Store};

/// The state of a server.
pub(crate) struct State {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    journal: Mutex<Journal>,
    reviews: Mutex<Reviews>,
    settings: Mutex<Settings>,
    /// Tells watches and held requests that there is something to look at.
    pub(crate) signal: watch::Sender<Signal>,
    /// Counts what those who wait for something look at again; the second for those who wait in tasks.
    changes: Mutex<u64>,
    changed: Condvar,
    async_changes: watch::Sender<u64>,
}

/// What can be set while the server runs.
pub(crate) struct Settings {
    /// The bearer token that requests must have.
    pub(crate) token: Option<String>,
    pub(crate) bookmark_interval: Duration,
    /// Whether a watch that begins too early is answered with HTTP 410, instead of an event that says so.
    pub(crate) refuse_expired_watches: bool,
    /// Whether objects can only be created in namespaces that exist.
    pub(crate) strict_namespaces: bool,
    /// Where services can be reached, by namespace and name: `HOST:PORT`.
    pub(crate) services: BTreeMap<(String, String), String>,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) writes: u64,
    /// Demands to send bookmarks.
    pub(crate) bookmarks: u64,
    /// Demands to end all watches.
    pub(crate) cuts: u64,
    /// Changes of the faults.
    pub(crate) faults: u64,
}

impl State {
    pub(crate) fn new(history: usize, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(Store::new(history)),
            faults: Mutex::default(),
            journal: Mutex::default(),
            reviews: Mutex::default(),
            settings: Mutex::new(settings),
            signal: watch::Sender::new(Signal::default()),
            changes: Mutex::new(0),
            changed: Condvar::new(),
            async_changes: watch::Sender::new(0),
        })
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub(crate) fn reviews(&self) -> MutexGuard<'_, Reviews> {
        lock(&self.reviews)
    }

    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// Tells watches, and those who wait for something.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Signal)) {
        self.signal.send_modify(change);
        self.poke();
    }

    /// Has those who wait for something look again.
    pub(crate) fn poke(&self) {
        *lock(&self.changes) += 1;
        self.changed.notify_all();
        self.async_changes.send_modify(|changes| *changes += 1);
    }

    /// Waits until `look` finds something, but no longer than `deadline`.
    pub(crate) fn wait<T>(&self, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let end = Instant::now() + deadline;
        loop {
            let seen = *lock(&self.changes);
            if let Some(found) = look() {
                return Some(found);
            }
            let mut changes = lock(&self.changes);
            while *changes == seen {
                let left = end.checked_duration_since(Instant::now())?;
                changes = self.changed.wait_timeout(changes, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl State {
    /// As [`wait`](Self::wait), for tasks.
    pub(crate) async fn wait_in_task<T>(&self, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let mut changes = self.async_changes.subscribe();
        let found = async {
            loop {
                if let Some(found) = look() {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(deadline, found).await.ok().flatten()
    }
}

/// A test that fails while it holds the lock must not make every other answer fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
