//! Writes changes behind the server's back, so that nothing waits for the disk.
//!
//! What is sent waits in a map with one place for each object, so that memory is bounded by the number of objects
//! however slow the disk is, and an object that changes ten times while the disk is busy is written once. What cannot be
//! written stays there.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Entry, Key, Snapshot, SnapshotError};

/// Writes to a [`Snapshot`] on a thread of its own. Dropping it ends the thread once it has written what was sent; to
/// wait for that, use [`Self::flush_and_stop`].
#[derive(Debug)]
pub struct SnapshotWriter {
    shared: Arc<Shared>,
}

impl SnapshotWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(snapshot: Arc<Snapshot>) -> io::Result<Self> {
        let write = move |batch: &Batch| snapshot.apply(batch.entries.values(), batch.replace);
        Self::start_with(write, Timing::default())
    }

    fn start_with(
        write: impl FnMut(&Batch) -> Result<(), SnapshotError> + Send + 'static,
        timing: Timing,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("snapshot".to_owned()).spawn(move || of_thread.run(write, timing))?;
        Ok(Self { shared })
    }

    /// Hands over what is to be written, in order. Never waits for the disk. What is sent after
    /// [`Self::flush_and_stop`] is not written.
    pub fn send(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        state.pending.entries.extend(entries.into_iter().map(|entry| (entry.key(), entry)));
        self.shared.wake.notify_all();
    }

    /// Hands over everything that there is: what is in the file and not among these goes, as does what was sent before
    /// and is not yet written. See [`Snapshot::replace_all`].
    pub fn replace_all(&self, entries: Vec<Entry>) {
        let entries = entries.into_iter().map(|entry| (entry.key(), entry)).collect();
        let mut state = self.shared.state();
        state.pending = Batch { entries, replace: true };
        self.shared.wake.notify_all();
    }

    /// Whether the file lacks something because it could not be written. It is tried again, and the log tells why.
    pub fn is_behind(&self) -> bool {
        self.shared.behind.load(Ordering::Relaxed)
    }

    /// Waits until what was sent is written, then ends the thread. Blocks. Returns whether everything was written; not if
    /// the time is over first, or if it could not be written.
    pub fn flush_and_stop(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.shared.state();
        state.stop = true;
        self.shared.wake.notify_all();
        while !state.ended {
            let Some(deadline) = deadline else {
                state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return false;
            }
            state = self.shared.wake.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        !self.is_behind()
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
    }
}

/// How long to wait before trying again what failed.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// The first time; then twice as long each time.
    first: Duration,
    /// The longest.
    longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

/// What is written at once.
#[derive(Debug, Default)]
struct Batch {
    /// Sorted: a file that is written in order is written faster.
    entries: BTreeMap<Key, Entry>,
    /// Whether these are all that there is.
    replace: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.replace
    }

    /// Adds what came before and could not be written.
    fn put_back(&mut self, earlier: Batch) {
        if self.replace {
            return;
        }
        self.replace = earlier.replace;
        for (key, entry) in earlier.entries {
            self.entries.entry(key).or_insert(entry);
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something of the state is different.
    wake: Condvar,
    behind: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pending: Batch,
    stop: bool,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut write: impl FnMut(&Batch) -> Result<(), SnapshotError>, timing: Timing) {
        let mut failures: u32 = 0;
        while let Some(batch) = self.next(retry_after(failures, timing)) {
            match write(&batch) {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!("the snapshot is written again");
                    }
                    failures = 0;
                    self.behind.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!("{error}; it is tried again, and until then a restart finds an older state");
                    }
                    failures = failures.saturating_add(1);
                    self.behind.store(true, Ordering::Relaxed);
                    let mut state = self.state();
                    state.pending.put_back(batch);
                    if state.stop {
                        break;
                    }
                }
            }
        }
        // Whoever waits for the end may open the file then.
        drop(write);
        self.state().ended = true;
        self.wake.notify_all();
    }

    /// What is to be written next, as soon as there is something and the time to wait after a failure is over. None when
    /// it is time to end. A failure does not delay the end.
    fn next(&self, wait: Option<Duration>) -> Option<Batch> {
        let not_before = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut state = self.state();
        loop {
            let rest = not_before.map(|time| time.saturating_duration_since(Instant::now()));
            let rest = rest.filter(|rest| !rest.is_zero() && !state.stop);
            if rest.is_none() && !state.pending.is_empty() {
                return Some(mem::take(&mut state.pending));
            }
            if state.stop {
                return None;
            }
            state = match rest {
                Some(rest) => self.wake.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn retry_after(failures: u32, timing: Timing) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?;
    Some(timing.first.saturating_mul(2u32.saturating_pow(doublings)).min(timing.longest))
}

#[cfg(test)]
mod tests;
