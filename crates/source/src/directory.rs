//! Configuration in a folder of YAML files.
//!
//! ```text
//!   listing    which files there are
//!   contents   the text of one file, and the documents in it
//!   scanner    which files changed, and whether to believe it yet
//!   objects    which document counts for each object; what differs from what was told
//!   signals    what the file system tells, and when to look again
//! ```
//!
//! **Which files.** All `*.yaml`, `*.yml` and `*.json` in the folder and in the folders below it, through symbolic
//! links too; a path may also name a single file. Names that begin with a dot are left out, so volumes of Kubernetes,
//! which hold links to `..data/NAME`, give each file once. The order is that of the names, level by level.
//!
//! **What removes.** Only the removal of a file, or of a document from a file that can be read, removes an object.
//! Whatever cannot be read (a file without permission, a text that is not YAML, a document without a name, a folder
//! that is missing) leaves what was there before as it was and is told as a problem.
//!
//! **When a change is believed.** At once for a file that was renamed into its place or was closed after writing. A
//! file that is open for writing is left alone until it is closed, one that became empty or vanished gets a moment to
//! come back, and where the file system tells nothing a file must look the same twice: a half-written file could
//! otherwise be a valid one with fewer rules.
//!
//! **Which document counts** when two define the same object: the first in the order of files, and afterwards the one
//! that was there first. The other is told as a problem.

mod contents;
mod listing;
mod objects;
mod problem;
mod scanner;
mod signals;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use usher_api::{ObjectMeta, Secret, Selector};

pub use contents::MAX_FILE_SIZE;
pub use listing::{MAX_DEPTH, MAX_FILES};
pub use problem::{FileProblem, Severity};

use crate::{AuthConfigObject, AuthorizationPolicyObject, Change};
use listing::Listing;
use scanner::Scanner;
use signals::{Signals, Watcher};

/// Folders and files with configuration.
#[derive(Debug, Clone)]
pub struct Source {
    paths: Vec<PathBuf>,
    options: Options,
    timing: Timing,
}

/// What is taken from the files, and how changes are noticed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Take only objects of this namespace. Default: of all.
    pub watch_namespace: Option<String>,
    /// Take only AuthConfigs with these labels. Default: all.
    pub auth_config_label_selector: Selector,
    /// Whether the file system is asked to tell of changes. Default: true. Without it, and where it cannot tell (some
    /// network file systems, exhausted limits of the kernel), changes are found by looking.
    pub notifications: bool,
    /// How often to look for changes that the file system did not tell of. Default: 2 seconds.
    pub poll_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            watch_namespace: None,
            auth_config_label_selector: Selector::default(),
            notifications: true,
            poll_interval: Duration::from_secs(2),
        }
    }
}

/// What [`Source::load`] found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The objects in their order, AuthConfigs with problems included; ready to be applied as one batch. The last is
    /// [`Change::InitialLoadDone`], even if a path could not be read.
    pub changes: Vec<Change>,
    /// Everything that is wrong with the files and the documents, in the order of the files; also what is wrong with
    /// the AuthConfigs among `changes`.
    pub problems: Vec<FileProblem>,
}

impl Loaded {
    /// The AuthConfigs, in their order.
    pub fn auth_configs(&self) -> impl Iterator<Item = &Arc<AuthConfigObject>> {
        self.changes.iter().filter_map(|change| match change {
            Change::AuthConfig(object) => Some(object),
            _ => None,
        })
    }

    /// The AuthorizationPolicies, in their order.
    pub fn authorization_policies(&self) -> impl Iterator<Item = &Arc<AuthorizationPolicyObject>> {
        self.changes.iter().filter_map(|change| match change {
            Change::AuthorizationPolicy(object) => Some(object),
            _ => None,
        })
    }

    /// The Secrets, in their order.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Secret(secret) => Some(secret),
            _ => None,
        })
    }

    /// Whether any of the problems is an error.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl Source {
    /// A source of these folders and files, in their order. Nothing is read yet.
    pub fn new(mut paths: Vec<PathBuf>, options: Options) -> Self {
        let mut seen = std::collections::HashSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        Self { paths, options, timing: Timing::default() }
    }

    /// Reads everything once. Blocks until it is done.
    pub fn load(&self) -> Loaded {
        let mut scanner = self.scanner();
        let mut changes = scanner.scan(Listing::of(&self.paths), None).changes;
        changes.retain(|change| !matches!(change, Change::Problems(_) | Change::InitialLoadDone));
        changes.push(Change::InitialLoadDone);
        Loaded { changes, problems: scanner.into_problems() }
    }

    /// Tells everything there is, then every change, until the receiver is dropped.
    ///
    /// The first batch ends with [`Change::InitialLoadDone`] unless one of the paths cannot be read; then that comes as
    /// soon as all can. Problems are logged when they are new. Files are read on a thread of its own, which ends when
    /// the future is dropped.
    ///
    /// # Errors
    /// The thread cannot be started, or ended by itself.
    pub async fn watch(self, sender: mpsc::Sender<Vec<Change>>) -> io::Result<()> {
        let signals = Arc::new(Signals::new(&self.paths, self.timing));
        let _stop = StopWhenDropped(Arc::clone(&signals));
        let (finished, finish) = oneshot::channel();
        let changes = sender.clone();
        std::thread::Builder::new().name("configuration".to_owned()).spawn(move || {
            self.run(&signals, &changes);
            // Nobody waits any more if the future was dropped.
            let _ = finished.send(());
        })?;
        tokio::select! {
            result = finish => result.map_err(|_| io::Error::other("watching the configuration ended unexpectedly")),
            () = sender.closed() => Ok(()),
        }
    }

    fn run(self, signals: &Arc<Signals>, sender: &mpsc::Sender<Vec<Change>>) {
        let mut watcher = Watcher::new(signals, self.options.notifications);
        let mut scanner = self.scanner();
        loop {
            let scan = scanner.scan(watcher.list(&self.paths), Some(signals));
            if !scan.changes.is_empty() && sender.blocking_send(scan.changes).is_err() {
                return;
            }
            if !signals.wait(scan.look_again_in.unwrap_or(Duration::MAX).min(self.options.poll_interval)) {
                return;
            }
        }
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(Filter::new(&self.options), self.timing)
    }
}

struct StopWhenDropped(Arc<Signals>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// For more to happen, after something did: changes that belong together are taken together.
    quiet: Duration,
    /// The longest for things to become quiet.
    restless: Duration,
    /// For a file that vanished, or that cannot be read, to come back: some editors remove before they write.
    missing: Duration,
    /// For a file that became empty to be filled: others empty before they write.
    emptied: Duration,
    /// For a file to look the same twice, where the file system does not tell when writing ends.
    untold: Duration,
    /// For a file that was written to to be closed, after the last write.
    open: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(25),
            restless: Duration::from_millis(500),
            missing: Duration::from_millis(100),
            emptied: Duration::from_millis(300),
            untold: Duration::from_millis(300),
            open: Duration::from_secs(3),
        }
    }
}

/// Which objects this server is to take.
#[derive(Debug, Clone)]
struct Filter {
    namespace: Option<String>,
    auth_configs: Selector,
}

impl Filter {
    fn new(options: &Options) -> Self {
        Self {
            namespace: options.watch_namespace.clone().filter(|namespace| !namespace.is_empty()),
            auth_configs: options.auth_config_label_selector.clone(),
        }
    }

    fn takes_secret(&self, metadata: &ObjectMeta) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == metadata.namespace)
    }

    fn takes_auth_config(&self, metadata: &ObjectMeta) -> bool {
        self.takes_secret(metadata) && self.auth_configs.matches(&metadata.labels)
    }

    /// Policies belong to no namespace.
    fn takes_policy(&self, metadata: &ObjectMeta) -> bool {
        self.auth_configs.matches(&metadata.labels)
    }
}
