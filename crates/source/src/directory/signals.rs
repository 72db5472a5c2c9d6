//! What the file system tells, and when to look again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Timing;
use super::listing::{Identity, Listing, identity, is_configuration};

/// What was told, until the one who looks at the files asks for it. All paths here are absolute, as the file system
/// tells them.
#[derive(Debug)]
pub(super) struct Signals {
    timing: Timing,
    /// The paths of the source.
    roots: HashSet<PathBuf>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// When something happened that was not looked at yet: the first and the last time.
    restless: Option<(Instant, Instant)>,
    /// Files that were written to and not closed since, with the time of the last write.
    writing: HashMap<PathBuf, Instant>,
    watched: HashMap<PathBuf, Watched>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Watched {
    identity: Identity,
    /// Whether its files are of the source; otherwise only one of the paths of the source is in it.
    listed: bool,
}

/// Whether the file system tells when a file that was written to is closed.
const TELLS_OF_CLOSING: bool = cfg!(target_os = "linux");

impl Signals {
    pub(super) fn new(paths: &[PathBuf], timing: Timing) -> Self {
        Self {
            timing,
            roots: paths.iter().map(|path| absolute(path)).collect(),
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Ends all waiting, now and later.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.wake.notify_all();
    }

    /// Waits until something happened and it became quiet again, but no longer than `limit` if nothing happens. False:
    /// stop.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.state();
        loop {
            if state.stopped {
                return false;
            }
            let due = match state.restless {
                Some((first, last)) => Some((last + self.timing.quiet).min(first + self.timing.restless)),
                None => deadline,
            };
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => {
                    state.restless = None;
                    let open = self.timing.open;
                    state.writing.retain(|_, last| last.elapsed() < open);
                    return true;
                }
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// How long to leave a file alone because somebody is writing to it, unless it is closed before.
    pub(super) fn being_written(&self, file: &Path) -> Option<Duration> {
        let last = *self.state().writing.get(&absolute(file))?;
        Some(self.timing.open.saturating_sub(last.elapsed())).filter(|left| !left.is_zero())
    }

    /// Whether the file system tells what happens to a file.
    pub(super) fn tells_of(&self, file: &Path) -> bool {
        TELLS_OF_CLOSING && absolute(file).parent().is_some_and(|folder| self.state().watched.contains_key(folder))
    }

    /// Takes what the file system tells. Called on a thread of the watcher's.
    fn note(&self, event: notify::Result<Event>) {
        let mut state = self.state();
        let state = &mut *state;
        match event {
            // Reading is told too; most of it is our own.
            Ok(Event { kind: EventKind::Access(access), .. }) if access != AccessKind::Close(AccessMode::Write) => {
                return;
            }
            Ok(event) => {
                if !event.need_rescan() && !event.paths.iter().any(|path| self.concerns(state, path)) {
                    return;
                }
                for path in event.paths {
                    match event.kind {
                        EventKind::Modify(ModifyKind::Data(_))
                            if TELLS_OF_CLOSING && (is_configuration(&path) || self.roots.contains(&path)) =>
                        {
                            state.writing.insert(path, Instant::now());
                        }
                        EventKind::Access(_) => {
                            state.writing.remove(&path);
                        }
                        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                            state.writing.remove(&path);
                            // If it was a folder, another may take its place, and its watch is lost.
                            state.watched.remove(&path);
                        }
                        _ => {}
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the file system fails to tell of changes"),
        }
        let now = Instant::now();
        let first = state.restless.map_or(now, |(first, _)| first);
        state.restless = Some((first, now));
        self.wake.notify_all();
    }

    fn concerns(&self, state: &State, path: &Path) -> bool {
        let listed = |folder: &Path| state.watched.get(folder).is_some_and(|watched| watched.listed);
        self.roots.contains(path) || listed(path) || path.parent().is_some_and(listed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the file system tell of what happens in the folders of a source.
pub(super) struct Watcher {
    signals: Arc<Signals>,
    /// None if the file system is not asked, or cannot tell.
    inner: Option<RecommendedWatcher>,
    /// Folders that could not be watched; logged once.
    refused: HashSet<PathBuf>,
}

impl Watcher {
    pub(super) fn new(signals: &Arc<Signals>, notifications: bool) -> Self {
        let mut inner = None;
        if notifications {
            let told = Arc::clone(signals);
            match notify::recommended_watcher(move |event| told.note(event)) {
                Ok(watcher) => inner = Some(watcher),
                Err(error) => {
                    tracing::warn!(%error, "changes of files are only noticed by looking from time to time")
                }
            }
        }
        Self { signals: Arc::clone(signals), inner, refused: HashSet::new() }
    }

    /// Lists all files, after it is made sure that every change from here on is told.
    pub(super) fn list(&mut self, paths: &[PathBuf]) -> Listing {
        // How often folders may become more while they are being listed.
        const ATTEMPTS: usize = 8;
        let mut listing = Listing::of(paths);
        for _ in 0..ATTEMPTS {
            if !self.watch(&listing) {
                break;
            }
            // What is in a folder that was not watched may have changed since it was listed.
            listing = Listing::of(paths);
        }
        listing
    }

    /// Watches the folders of a listing and no others. True if one is new.
    fn watch(&mut self, listing: &Listing) -> bool {
        let Some(inner) = &mut self.inner else {
            return false;
        };
        let mut wanted: HashMap<PathBuf, Watched> = HashMap::new();
        // The folders around the paths tell when something takes their place.
        for folder in self.signals.roots.iter().filter_map(|root| root.parent()) {
            if let Ok(metadata) = fs::metadata(folder) {
                wanted.insert(folder.to_owned(), Watched { identity: identity(&metadata), listed: false });
            }
        }
        for folder in &listing.folders {
            wanted.insert(absolute(&folder.path), Watched { identity: folder.identity, listed: true });
        }
        // The lock must not be held while the watcher is asked: its thread may be waiting for it.
        let watched = self.signals.state().watched.clone();
        for path in watched.keys() {
            if wanted
                .get(path)
                .is_none_or(|folder| watched.get(path).is_some_and(|old| old.identity != folder.identity))
            {
                self.signals.state().watched.remove(path);
                // Fails if it went by itself.
                let _ = inner.unwatch(path);
            }
        }
        self.refused.retain(|path| wanted.contains_key(path));
        let mut any_new = false;
        for (path, folder) in wanted {
            let known = self.signals.state().watched.get(&path).copied();
            if known == Some(folder) {
                continue;
            }
            match inner.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    any_new |= folder.listed;
                    self.signals.state().watched.insert(path, folder);
                }
                Err(error) if self.refused.insert(path.clone()) => {
                    let folder = path.display();
                    tracing::warn!(%folder, %error, "changes of files are only noticed by looking from time to time");
                }
                Err(_) => {}
            }
        }
        any_new
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
