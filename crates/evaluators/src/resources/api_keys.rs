//! The API keys of all Secrets: one index for all rules.
//!
//! ```text
//!   Secret event ──apply, remove──► names ──┐
//!                                           ├─► index by MAC of the key ◄──find── check
//!                                           │         (read without locks)         │ selector, namespace
//!                                           └─► packed Secret ─────────────────────┴──► identity, perhaps ready
//! ```
//!
//! An event costs the same with one key and with a million, and concerns no plan: a rule holds its label selector and
//! asks the index, which compares labels when a key was found. A key takes about 450 bytes. The identities of keys that
//! are in use take some more, up to a limit that all keys share (see `api_keys/ready.rs`).

mod index;
mod ready;
mod record;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{hmac, rand::SystemRandom};
use serde_json::Value;
use usher_api::{Secret, Selector};

use index::{Entry, Index, Mac, Surplus};
use ready::Identities;
use record::Record;

/// The entry of a Secret that holds the key. All of its bytes count, a newline at the end included.
pub const ENTRY: &str = "api_key";

/// API keys by their value.
pub struct ApiKeys {
    /// What labels a Secret must have to be noticed at all.
    watched: Selector,
    /// Keys are found by a keyed hash, made with a key that this process drew at random. HMAC-SHA256 is a
    /// pseudo-random function: without the key nobody can find two values that collide, nor learn from the time that
    /// a comparison takes how much of a guess is right. Equal MACs are therefore equal values, and the value itself
    /// is compared nowhere.
    mac: hmac::Key,
    index: Index,
    writer: Mutex<Writer>,
    identities: Identities,
}

/// What only changes need.
struct Writer {
    /// The present entry of each Secret, by a MAC of namespace and name; in parts, so that none is moved as a whole
    /// when it grows.
    names: Box<[HashMap<[u8; 16], Arc<Entry>>]>,
    surplus: Surplus,
}

impl ApiKeys {
    /// An empty index, which will take only Secrets that `watched` selects.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn new(watched: Selector) -> io::Result<Self> {
        let mac = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| io::Error::other("the operating system gives no random numbers"))?;
        Ok(Self {
            watched,
            mac,
            index: Index::new(),
            writer: Mutex::new(Writer { names: (0..256).map(|_| HashMap::new()).collect(), surplus: Surplus::new() }),
            identities: Identities::new(),
        })
    }

    /// The identity of whoever presents `value`: the Secret that holds it, if that is in `namespace` (of any, where
    /// none is given) and `selector` selects it. Of several such Secrets it is the oldest.
    #[must_use]
    pub fn find(&self, value: &str, namespace: Option<&str>, selector: &Selector) -> Option<Arc<Value>> {
        let mac = self.mac(value.as_bytes());
        let wanted = |record: &Record| record.is_selected_by(selector);
        self.index.oldest(&mac, namespace, wanted, |entry| self.identities.of(entry))
    }

    /// Takes in a Secret that is new or has changed. One that is not watched, or holds no key, is as good as gone.
    pub fn apply(&self, secret: &Secret) {
        let value = secret.data.get(ENTRY).filter(|value| !value.is_empty());
        let new = value
            .filter(|_| self.watched.matches(&secret.metadata.labels))
            .map(|value| Arc::new(Entry::new(self.mac(value), Record::new(secret))));
        self.replace(&secret.metadata.namespace, &secret.metadata.name, new);
    }

    /// Forgets a Secret.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.replace(namespace, name, None);
    }

    /// How many Secrets with a key there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.names.iter().map(HashMap::len).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The new entry is there before the old one goes: a key that both hold works all the time.
    fn replace(&self, namespace: &str, name: &str, new: Option<Arc<Entry>>) {
        let key = self.name_key(namespace, name);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Writer { names, surplus } = &mut *writer;
        let Some(names) = names.get_mut(usize::from(key[0])) else { return };
        let old = match new {
            Some(new) => {
                self.index.insert(Arc::clone(&new), surplus);
                names.insert(key, new)
            }
            None => names.remove(&key),
        };
        if let Some(old) = old {
            self.index.remove(&old, surplus);
        }
    }

    fn mac(&self, value: &[u8]) -> Mac {
        first_bytes(&hmac::sign(&self.mac, value))
    }

    fn name_key(&self, namespace: &str, name: &str) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&namespace.len().to_le_bytes());
        context.update(namespace.as_bytes());
        context.update(name.as_bytes());
        first_bytes(&context.sign())
    }
}

/// The first bytes of a tag, which has 32.
fn first_bytes<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

impl fmt::Debug for ApiKeys {
    /// How many, never which.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiKeys").field("len", &self.len()).finish_non_exhaustive()
    }
}
