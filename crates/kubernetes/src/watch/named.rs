//! Secrets that AuthConfigs name: of each the present content, and nothing of all others.
//!
//! ```text
//!   Follow::set ──► entry ──► GET, until it is answered ──► NamedSecret
//!                     ▲            ▲
//!   watch of metadata ┴ a hint ────┘  another version than the one that was answered; gone
//! ```
//!
//! Only the answer to a `GET` (`asking`) is told. It is what is there now, so the order in which hints come does not
//! matter; a hint that comes while one is under way makes another one, unless the answer is what the hint was about.

mod asking;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::{Notify, mpsc, watch};
use usher_api::{Secret, SecretName};
use usher_source::Change;

pub(super) use self::asking::Asking;
use super::{
    item::Metadata,
    known::{Fingerprint, Fingerprints},
    list_watch::Event,
    told::{fingerprint_of, read_secret},
};
use crate::exchange::Failure;

/// Says which Secrets AuthConfigs name.
///
/// Cheap to clone; no call waits.
#[derive(Debug, Clone)]
pub struct Follow {
    followed: Arc<Followed>,
}

impl Follow {
    pub(super) fn new(followed: Arc<Followed>) -> Self {
        Self { followed }
    }

    /// These Secrets are named from now on (true), or no longer (false).
    pub fn set(&self, secrets: Vec<(SecretName, bool)>) {
        for (name, followed) in secrets {
            if followed {
                self.followed.follow(name);
            } else {
                self.followed.forget(&name);
            }
        }
    }
}

/// The Secrets that are followed.
#[derive(Debug)]
pub(super) struct Followed {
    entries: Mutex<Entries>,
    /// Names to ask for. Each is there at most once.
    wanted: mpsc::UnboundedSender<Wanted>,
    /// Whether any Secret is followed.
    any: watch::Sender<bool>,
    /// The server answers again.
    answers_again: Notify,
    fingerprints: Fingerprints,
}

/// What is to be asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    name: SecretName,
    /// For which time that it is followed: it may have been forgotten and followed again.
    number: u64,
}

/// What is told of a Secret that is followed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) name: SecretName,
    number: u64,
    pub(super) secret: Option<Arc<Secret>>,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<SecretName, Entry>,
    followed_ever: u64,
    /// Counts the lists of the watch.
    list: u64,
    /// What a snapshot remembers, until the server has told what is there.
    restored: HashMap<SecretName, Option<Arc<Secret>>>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    told: Version,
    asking: bool,
    /// What the watch said while it was being asked for.
    hint: Option<Version>,
    /// The last list that showed it.
    list: u64,
    /// To be told before anything is asked.
    restored: Option<Option<Arc<Secret>>>,
    /// Why it cannot be read was logged.
    complained: bool,
}

/// What is known of a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// Nothing.
    Unknown,
    /// There is none.
    Missing,
    /// It is there in this version, if that can be said.
    Present(Option<Fingerprint>),
}

impl Version {
    /// Whether both are surely the same.
    fn is(self, other: Self) -> bool {
        self == other && !matches!(self, Self::Unknown | Self::Present(None))
    }
}

/// What follows from an attempt.
struct Outcome {
    /// To be told.
    news: Option<Option<Arc<Secret>>>,
    /// It is to be tried again, not before the API wants that.
    later: Option<Duration>,
}

impl Followed {
    pub(super) fn new(fingerprints: Fingerprints) -> (Arc<Self>, mpsc::UnboundedReceiver<Wanted>) {
        let (wanted, receiver) = mpsc::unbounded_channel();
        let (entries, any, answers_again) = (Mutex::default(), watch::Sender::new(false), Notify::new());
        (Arc::new(Self { entries, wanted, any, answers_again, fingerprints }), receiver)
    }

    /// Whether any Secret is followed, now and as it changes.
    pub(super) fn any(&self) -> watch::Receiver<bool> {
        self.any.subscribe()
    }

    fn follow(&self, name: SecretName) {
        let mut entries = self.entries();
        if entries.by_name.contains_key(&name) {
            return;
        }
        entries.followed_ever += 1;
        let number = entries.followed_ever;
        let restored = entries.restored.remove(&name);
        let entry = Entry {
            number,
            told: Version::Unknown,
            asking: true,
            hint: None,
            list: entries.list,
            restored,
            complained: false,
        };
        entries.by_name.insert(name.clone(), entry);
        self.any.send_replace(true);
        drop(entries);
        self.want(name, number);
    }

    fn forget(&self, name: &SecretName) {
        let mut entries = self.entries();
        entries.by_name.remove(name);
        self.any.send_replace(!entries.by_name.is_empty());
    }

    /// Takes what a snapshot remembers; it counts for each Secret until the server has answered. What the server has
    /// answered already is taken out of the changes.
    pub(super) fn restore(&self, changes: &mut Vec<Change>) {
        let mut entries = self.entries();
        let mut restored = HashMap::new();
        changes.retain(|change| {
            let Change::NamedSecret { name, secret } = change else { return true };
            match entries.by_name.get_mut(name) {
                Some(entry) if entry.told != Version::Unknown => return false,
                Some(entry) => entry.told = self.version_of(secret.as_deref()),
                None => drop(restored.insert(name.clone(), secret.clone())),
            }
            true
        });
        entries.restored = restored;
    }

    /// The server has told what is there: snapshots are of no use any more.
    pub(super) fn drop_restored(&self) {
        self.entries().restored = HashMap::new();
    }

    /// Whether this answer is about something that is still followed.
    pub(super) fn is_current(&self, answer: &Answer) -> bool {
        self.entries().by_name.get(&answer.name).is_some_and(|entry| entry.number == answer.number)
    }

    /// The watch says something.
    pub(super) fn hint(&self, event: Event<Metadata>) {
        match event {
            Event::Restart => self.entries().list += 1,
            Event::Listed(objects) => objects.into_iter().for_each(|object| self.present(object)),
            Event::Changed(object) => self.present(object),
            Event::Deleted(object) => {
                let name = SecretName::new(&object.metadata.namespace, &object.metadata.name);
                self.compare(&mut self.entries(), &name, Version::Missing);
            }
            Event::Complete => {
                let mut entries = self.entries();
                let list = entries.list;
                let missing = entries.by_name.iter().filter(|(_, entry)| entry.list != list);
                let missing: Vec<_> = missing.map(|(name, _)| name.clone()).collect();
                for name in missing {
                    self.compare(&mut entries, &name, Version::Missing);
                }
            }
            Event::Connected => self.answers_again.notify_waiters(),
        }
    }

    fn present(&self, Metadata { metadata, .. }: Metadata) {
        let name = SecretName::new(&metadata.namespace, &metadata.name);
        let mut entries = self.entries();
        let list = entries.list;
        if let Some(entry) = entries.by_name.get_mut(&name) {
            entry.list = list;
            let (uid, version) = (metadata.uid.as_deref(), metadata.resource_version.as_deref());
            let version = Version::Present(self.fingerprints.of_version(uid, version));
            self.compare(&mut entries, &name, version);
        }
    }

    /// Asks for the Secret, or once more, unless it was told in this version.
    fn compare(&self, entries: &mut Entries, name: &SecretName, version: Version) {
        let Some(entry) = entries.by_name.get_mut(name) else { return };
        if entry.asking {
            entry.hint = Some(version);
        } else if !entry.told.is(version) {
            entry.asking = true;
            self.want(name.clone(), entry.number);
        }
    }

    fn want(&self, name: SecretName, number: u64) {
        // An error says that nobody asks any more.
        let _ = self.wanted.send(Wanted { name, number });
    }

    /// What the snapshot remembers of a Secret, to be told once.
    fn take_restored(&self, Wanted { name, number }: &Wanted) -> Option<Option<Arc<Secret>>> {
        let mut entries = self.entries();
        let entry = entries.by_name.get_mut(name).filter(|entry| entry.number == *number)?;
        let restored = entry.restored.take()?;
        entry.told = self.version_of(restored.as_deref());
        Some(restored)
    }

    fn version_of(&self, secret: Option<&Secret>) -> Version {
        secret.map_or(Version::Missing, |secret| Version::Present(fingerprint_of(&self.fingerprints, secret)))
    }

    /// What follows from an answer. None: the Secret is not followed any more.
    fn answered(&self, wanted: &Wanted, result: Result<Option<Arc<Secret>>, Failure>) -> Option<Outcome> {
        let mut entries = self.entries();
        let entry = entries.by_name.get_mut(&wanted.name).filter(|entry| entry.number == wanted.number)?;
        let (secret, later) = match result {
            Ok(secret) => {
                entry.complained = false;
                (secret, None)
            }
            Err(failure) => {
                // That the server is away is told by the watches.
                if !failure.is_of_the_api() && !entry.complained {
                    entry.complained = true;
                    tracing::warn!(secret = %wanted.name, reason = %failure, "a Secret that an AuthConfig names cannot be read");
                }
                let later = Some(failure.at_least(Duration::ZERO));
                // What was told before stays: a server that has just begun forbids everything until it has read the roles.
                if failure.status() != Some(StatusCode::FORBIDDEN) || entry.told != Version::Unknown {
                    return Some(Outcome { news: None, later });
                }
                // The permission may be given later, and nobody tells.
                (None, later)
            }
        };
        let version = self.version_of(secret.as_deref());
        let news = (!entry.told.is(version)).then_some(secret);
        entry.told = version;
        Some(Outcome { news, later })
    }

    /// The answer was told. Says whether that is all: no hint says something else.
    fn finished(&self, wanted: &Wanted) -> bool {
        let mut entries = self.entries();
        let entry = entries.by_name.get_mut(&wanted.name).filter(|entry| entry.number == wanted.number);
        let Some(entry) = entry else { return true };
        let finished = entry.hint.take().is_none_or(|hint| hint.is(entry.told));
        entry.asking = !finished;
        finished
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
