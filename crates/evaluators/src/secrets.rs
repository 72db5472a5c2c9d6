//! Secrets that an AuthConfig names: credentials for others, and keys.
//!
//! An evaluator asks for them while it is built, and the question is remembered: when such a Secret changes, the
//! AuthConfig is compiled again, so that a rotated secret works without anybody touching the AuthConfig.
//!
//! ```text
//!   evaluator ── SecretReader ──► Secrets ─┬─ there it is
//!                     │                    ├─ there is none: a problem of the AuthConfig
//!                     └── asked for        └─ nobody knows yet: the AuthConfig waits
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use usher_api::{Secret, SecretName};

use crate::{FieldPath, Problems};

/// The Secrets that are known, by namespace and name.
#[derive(Debug)]
pub struct Secrets {
    by_namespace: HashMap<Arc<str>, HashMap<Arc<str>, Known>>,
    /// Whether a Secret that is not here is one that does not exist.
    complete: bool,
}

#[derive(Debug)]
enum Known {
    There(Arc<Secret>),
    Missing,
}

/// What is known of a Secret.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// There it is.
    Found(&'a Arc<Secret>),
    /// There is none of that name.
    Missing,
    /// Nobody has said yet whether there is one.
    Unknown,
}

impl Secrets {
    /// A store that is told of all Secrets there are: one that is not in it is missing.
    #[must_use]
    pub fn complete() -> Self {
        Self { by_namespace: HashMap::new(), complete: true }
    }

    /// A store that is told only of Secrets that were asked for: one that is not in it is unknown.
    #[must_use]
    pub fn on_demand() -> Self {
        Self { by_namespace: HashMap::new(), complete: false }
    }

    /// Whether this store is told only of what was asked for.
    #[must_use]
    pub fn is_on_demand(&self) -> bool {
        !self.complete
    }

    /// Takes in a Secret, new or changed.
    pub fn insert(&mut self, secret: Arc<Secret>) {
        let name = SecretName::new(&secret.metadata.namespace, &secret.metadata.name);
        self.set(name, Known::There(secret));
    }

    /// Takes in that there is no such Secret.
    pub fn insert_missing(&mut self, name: SecretName) {
        if !self.complete {
            self.set(name, Known::Missing);
        }
    }

    /// Forgets what is known of a Secret.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(secrets) = self.by_namespace.get_mut(namespace) {
            secrets.remove(name);
            if secrets.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// The Secret of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        match self.find(namespace, name) {
            Lookup::Found(secret) => Some(secret),
            Lookup::Missing | Lookup::Unknown => None,
        }
    }

    /// What is known of the Secret of that name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Lookup<'_> {
        match self.by_namespace.get(namespace).and_then(|secrets| secrets.get(name)) {
            Some(Known::There(secret)) => Lookup::Found(secret),
            Some(Known::Missing) => Lookup::Missing,
            None if self.complete => Lookup::Missing,
            None => Lookup::Unknown,
        }
    }

    fn set(&mut self, name: SecretName, known: Known) {
        self.by_namespace.entry(name.namespace).or_default().insert(name.name, known);
    }
}

/// What an AuthConfig wants a Secret for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretUse {
    /// To show that we are we, to others: without it they will turn us away, and nobody is let in by that.
    Credential,
    /// To tell whom to believe, or to be believed by others: without it nobody may be believed, so a version that knew it
    /// must not serve on.
    Trust,
}

/// Reads the Secrets of one namespace on behalf of one AuthConfig, and remembers which ones, found or not.
#[derive(Debug)]
pub struct SecretReader<'a> {
    secrets: &'a Secrets,
    namespace: &'a str,
    asked_for: RefCell<BTreeMap<String, SecretUse>>,
    is_waiting: Cell<bool>,
}

impl<'a> SecretReader<'a> {
    /// A reader for an AuthConfig of this namespace.
    #[must_use]
    pub fn new(secrets: &'a Secrets, namespace: &'a str) -> Self {
        Self { secrets, namespace, asked_for: RefCell::default(), is_waiting: Cell::new(false) }
    }

    /// The Secret `name` of the namespace; if there is none, that is a problem of `at`. If nobody knows yet, it is no
    /// problem, and [`is_waiting`](Self::is_waiting) from then on.
    pub fn secret(
        &self,
        name: &str,
        wanted_for: SecretUse,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<&'a Arc<Secret>> {
        let mut asked_for = self.asked_for.borrow_mut();
        let known = asked_for.entry(name.to_owned()).or_insert(wanted_for);
        *known = (*known).max(wanted_for);
        match self.secrets.find(self.namespace, name) {
            Lookup::Found(secret) => Some(secret),
            Lookup::Missing => {
                problems.add(at, format_args!("Secret \"{name}\" not found"));
                None
            }
            Lookup::Unknown => {
                self.is_waiting.set(true);
                None
            }
        }
    }

    /// Whether a Secret was asked for of which nobody knows yet whether there is one. Whatever was built is not whole
    /// then, and must not be served.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// The entry `key` of the Secret `name`. A Secret without that entry has an empty one, which is worth a warning.
    pub fn entry(
        &self,
        name: &str,
        key: &str,
        wanted_for: SecretUse,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<&'a [u8]> {
        let secret = self.secret(name, wanted_for, at, problems)?;
        let entry = secret.data.get(key).map(Vec::as_slice).unwrap_or_default();
        if entry.is_empty() {
            problems.warn(at, format_args!("Secret \"{name}\" has no entry \"{key}\""));
        }
        Some(entry)
    }

    /// The entry as text.
    pub fn text(
        &self,
        name: &str,
        key: &str,
        wanted_for: SecretUse,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<SecretText> {
        let entry = self.entry(name, key, wanted_for, at, problems)?;
        match std::str::from_utf8(entry) {
            Ok(text) => Some(SecretText(text.into())),
            Err(_) => {
                problems.add(at, format_args!("entry \"{key}\" of Secret \"{name}\" is not text"));
                None
            }
        }
    }

    /// The Secrets that were asked for, and what for.
    #[must_use]
    pub fn into_asked_for(self) -> BTreeMap<String, SecretUse> {
        self.asked_for.into_inner()
    }
}

/// A text that is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SecretText(Arc<str>);

impl SecretText {
    /// The text, for the place where it is needed.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use usher_api::ObjectMeta;

    use super::*;

    fn secret(namespace: &str, name: &str, data: &[(&str, &[u8])]) -> Arc<Secret> {
        Arc::new(Secret {
            metadata: ObjectMeta { namespace: namespace.to_owned(), name: name.to_owned(), ..ObjectMeta::default() },
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect(),
            ..Secret::default()
        })
    }

    #[test]
    fn secrets_of_the_own_namespace_are_read_and_remembered() {
        let mut secrets = Secrets::complete();
        secrets.insert(secret("team", "a", &[("key", b"hush"), ("binary", &[0xff])]));
        secrets.insert(secret("other", "b", &[("key", b"theirs")]));
        let reader = SecretReader::new(&secrets, "team");
        let root = FieldPath::root("spec");
        let mut problems = Problems::default();
        let mut text = |name, key, wanted_for| reader.text(name, key, wanted_for, &root, &mut problems);
        assert_eq!(text("a", "key", SecretUse::Trust).unwrap().reveal(), "hush");
        assert!(text("a", "none", SecretUse::Credential).unwrap().is_empty());
        assert_eq!(text("a", "binary", SecretUse::Credential), None);
        assert_eq!(text("b", "key", SecretUse::Credential), None);
        let (problems, warnings) = problems.into_parts();
        let messages: Vec<_> = problems.iter().chain(&warnings).map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "entry \"binary\" of Secret \"a\" is not text",
                "Secret \"b\" not found",
                "Secret \"a\" has no entry \"none\"",
            ]
        );
        let asked_for = reader.into_asked_for();
        assert_eq!(
            asked_for,
            BTreeMap::from([("a".to_owned(), SecretUse::Trust), ("b".to_owned(), SecretUse::Credential)])
        );
    }

    #[test]
    fn what_nobody_knows_yet_is_waited_for() {
        let mut secrets = Secrets::on_demand();
        let root = FieldPath::root("spec");
        let ask = |secrets: &Secrets, name: &str| {
            let reader = SecretReader::new(secrets, "team");
            let mut problems = Problems::default();
            let found = reader.secret(name, SecretUse::Credential, &root, &mut problems).is_some();
            (found, problems.into_parts().0.len(), reader.is_waiting())
        };
        assert_eq!(ask(&secrets, "a"), (false, 0, true));
        secrets.insert_missing(SecretName::new("team", "a"));
        assert_eq!(ask(&secrets, "a"), (false, 1, false));
        secrets.insert(secret("team", "a", &[]));
        assert_eq!(ask(&secrets, "a"), (true, 0, false));
        secrets.remove("team", "a");
        assert_eq!(ask(&secrets, "a"), (false, 0, true));

        let mut secrets = Secrets::complete();
        assert_eq!(ask(&secrets, "a"), (false, 1, false));
        secrets.insert_missing(SecretName::new("team", "a"));
        assert!(secrets.by_namespace.is_empty());
    }

    #[test]
    fn secrets_go_as_they_come_and_are_not_shown() {
        let mut secrets = Secrets::complete();
        secrets.insert(secret("team", "a", &[("key", b"hush")]));
        secrets.insert(secret("team", "a", &[("key", b"new")]));
        assert_eq!(secrets.get("team", "a").unwrap().data["key"], b"new");
        assert!(!format!("{secrets:?} {:?}", SecretText::from("hush")).contains("hush"));
        secrets.remove("team", "a");
        secrets.remove("team", "a");
        assert!(secrets.get("team", "a").is_none() && secrets.by_namespace.is_empty());
    }
}
