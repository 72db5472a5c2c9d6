//! The last good configuration, kept in a file: a server that starts while its source is away serves what it served
//! before.
//!
//! ```text
//!   Entry ──▶ SnapshotWriter ──▶ Snapshot ──restore──▶ Restored { changes }
//!             (its own thread)   (one file)
//!
//!   file     the file and its folder: who may read them, and what is done with a file that cannot be used
//!   tables   puts objects into the file, and gets them out
//!   stored   how one object is written, and what of it is read back
//!   writer   writes changes behind the server's back, so that nothing waits for the disk
//! ```
//!
//! The file is a database of three tables (AuthConfigs, Secrets taken by their labels, Secrets taken by their name),
//! each by namespace and name, objects as the Kubernetes API writes them in JSON. One change costs the same whatever
//! else is in the file, and what was written once survives a crash of the process and of the machine.
//!
//! **Secrets are in the file as they are, not encrypted.** Only its owner may read it (mode 0600); keep it on an
//! encrypted volume where that is not enough.

mod file;
mod stored;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use redb::Database;
use thiserror::Error;
use usher_api::{AuthConfig, Secret, SecretName};

pub use file::FILE_NAME;
pub use writer::SnapshotWriter;

use crate::{AuthConfigObject, Change};
use tables::Unreadable;

/// The last good configuration, in a file.
///
/// It belongs to one process: while it is open, no other can open it.
pub struct Snapshot {
    path: PathBuf,
    /// None after an error: the database has to be opened again then.
    database: Mutex<Option<Database>>,
}

/// What is to be kept, or no longer to be kept.
#[derive(Debug, Clone)]
pub enum Entry {
    /// The version of an AuthConfig that is served. Its status is not kept.
    AuthConfig(Arc<AuthConfig>),
    /// An AuthConfig of which no version can be served. Its hosts are kept, so that after a start they are refused as
    /// before instead of being left to others.
    UnservedAuthConfig(Arc<AuthConfigObject>),
    /// An AuthConfig is gone.
    AuthConfigGone {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// A Secret that was told as [`Change::LabelledSecret`].
    LabelledSecret(Arc<Secret>),
    /// A Secret that was told as [`Change::LabelledSecretGone`].
    LabelledSecretGone {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// A Secret that was told as [`Change::NamedSecret`].
    NamedSecret {
        /// Which Secret.
        name: SecretName,
        /// The Secret. None: there is none of that name.
        secret: Option<Arc<Secret>>,
    },
    /// No AuthConfig names this Secret any more.
    NamedSecretGone(SecretName),
}

/// What was in a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Everything in it: Secrets that are named, Secrets with labels, then AuthConfigs, the oldest first. An AuthConfig
    /// that cannot be served comes with problems instead of a specification. [`Change::InitialLoadDone`] is not among
    /// them.
    pub changes: Vec<Change>,
    /// When the snapshot was last written or found to be up to date. None: never.
    pub written: Option<SystemTime>,
    /// Whether it ever held everything that a source had ([`Snapshot::replace_all`]). If not, it may lack some.
    pub complete: bool,
    /// The number of AuthConfigs among the changes, those with problems included.
    pub auth_configs: usize,
    /// The number of Secrets among the changes; one that is both named and labelled counts twice.
    pub secrets: usize,
    /// The number of AuthConfigs and Secrets that are in the file and cannot be read, as after a change of version.
    /// Such Secrets are not among the changes, such AuthConfigs are, with problems. The log names them.
    pub unreadable: usize,
}

/// Why a snapshot cannot be used. Shows nothing of what is in it.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The folder is not there and cannot be made.
    #[error("the folder `{}` for the snapshot cannot be made: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why, as the operating system tells.
        error: std::io::Error,
    },
    /// Another process has it open, or this one has it open already.
    #[error("the snapshot `{}` is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened, read or written.
    #[error("the snapshot `{}` cannot be {action}: {reason}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written` or `set aside`.
        action: &'static str,
        /// Why.
        reason: String,
    },
}

impl Snapshot {
    /// Opens the snapshot in a folder, [`FILE_NAME`]; begins a new one if there is none.
    ///
    /// A missing folder is made, for its owner only (mode 0700), as is the file (0600). A file that others may read is
    /// taken from them, with a warning. A file that is damaged, or of another version, is renamed to
    /// `usher-snapshot.redb.unusable` with a warning, and a new one is begun. Checks the whole file, which takes a
    /// moment if it is large. Blocks.
    ///
    /// # Errors
    /// Another process has it open, or folder or file cannot be made, opened or written.
    pub fn open(folder: &Path) -> Result<Self, SnapshotError> {
        let (path, database) = file::open(folder)?;
        Ok(Self { path, database: Mutex::new(Some(database)) })
    }

    /// Writes all of these, or none if it fails; a later one counts before an earlier one of the same object. Returns
    /// when it is safe on the disk. Blocks.
    ///
    /// # Errors
    /// It cannot be written, as when the disk is full. What was in it before is still there.
    pub fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        self.apply(entries, false)
    }

    /// Like [`Self::write`], with everything that there is: what is in the file and not among these goes. Objects that
    /// are in the file already are not written again. Blocks.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn replace_all(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        self.apply(entries, true)
    }

    /// Reads everything. Objects that cannot be read are told in the log, by name. Blocks.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn restore(&self) -> Result<Restored, SnapshotError> {
        let (restored, unreadable) = self.with_database("read", tables::read_everything)?;
        let shown = unreadable.iter().take(MOST_UNREADABLE_LOGGED);
        for Unreadable { object, reason } in shown {
            tracing::warn!(file = %self.path.display(), "{object} in the snapshot cannot be read: {reason}");
        }
        if let Some(more @ 1..) = unreadable.len().checked_sub(MOST_UNREADABLE_LOGGED) {
            tracing::warn!(file = %self.path.display(), "{more} more objects in the snapshot cannot be read");
        }
        Ok(restored)
    }

    fn apply<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>, replace: bool) -> Result<(), SnapshotError> {
        self.with_database("written", |database| {
            let transaction = database.begin_write()?;
            if tables::put_and_remove(&transaction, entries, replace)? {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(())
        })
    }

    /// Runs something on the database. After an error it is closed, to be opened again the next time: it may refuse to
    /// work until then.
    fn with_database<T>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, SnapshotError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match slot.take() {
            Some(database) => database,
            None => file::reopen(&self.path)?,
        };
        // The database takes what it reads for its own writing. A disk that lies must not end the process.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&database)));
        let reason = match outcome {
            Ok(Ok(value)) => {
                *slot = Some(database);
                return Ok(value);
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        // Nothing is lost if closing fails: the file is then repaired when it is opened.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(database)));
        let error = reason.unwrap_or_else(|| redb::Error::Corrupted(String::new()));
        Err(file::failed(&self.path, action, &error))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Snapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Of how many unreadable objects the log tells the names.
const MOST_UNREADABLE_LOGGED: usize = 20;

/// An object of which two entries tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// Which table an object is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    AuthConfig,
    LabelledSecret,
    NamedSecret,
}

impl Entry {
    fn key(&self) -> Key {
        let (kind, namespace, name) = self.place();
        Key { kind, namespace: namespace.into(), name: name.into() }
    }

    fn place(&self) -> (Kind, &str, &str) {
        match self {
            Self::AuthConfig(config) => (Kind::AuthConfig, &config.metadata.namespace, &config.metadata.name),
            Self::UnservedAuthConfig(object) => {
                (Kind::AuthConfig, &object.document.metadata.namespace, &object.document.metadata.name)
            }
            Self::AuthConfigGone { namespace, name } => (Kind::AuthConfig, namespace, name),
            Self::LabelledSecret(secret) => (Kind::LabelledSecret, &secret.metadata.namespace, &secret.metadata.name),
            Self::LabelledSecretGone { namespace, name } => (Kind::LabelledSecret, namespace, name),
            Self::NamedSecret { name, .. } | Self::NamedSecretGone(name) => {
                (Kind::NamedSecret, &name.namespace, &name.name)
            }
        }
    }

    /// What is to be in the file. None: nothing.
    fn row(&self) -> Option<Vec<u8>> {
        match self {
            Self::AuthConfig(config) => Some(stored::auth_config(config)),
            Self::UnservedAuthConfig(object) => {
                Some(stored::unserved_auth_config(&object.document.metadata, &object.document.claimed))
            }
            Self::LabelledSecret(secret) => Some(stored::secret(secret)),
            Self::NamedSecret { secret: Some(secret), .. } => Some(stored::secret(secret)),
            Self::NamedSecret { secret: None, .. } => Some(stored::NO_SECRET.to_vec()),
            Self::AuthConfigGone { .. } | Self::LabelledSecretGone { .. } | Self::NamedSecretGone(_) => None,
        }
    }
}
