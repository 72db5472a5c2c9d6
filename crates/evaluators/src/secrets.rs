//! Secrets that an AuthConfig names: credentials for others, and keys.
//!
//! An evaluator asks for them while it is built, and the question is remembered: when such a Secret changes, the
//! AuthConfig is compiled again, so that a rotated secret works without anybody touching the AuthConfig.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use usher_api::Secret;

use crate::{FieldPath, Problems};

/// All Secrets that are known, by namespace and name.
#[derive(Debug, Default)]
pub struct Secrets {
    by_namespace: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Secret>>>,
}

impl Secrets {
    /// Takes in a Secret, new or changed.
    pub fn insert(&mut self, secret: Arc<Secret>) {
        let namespace = Arc::from(secret.metadata.namespace.as_str());
        let name = Arc::from(secret.metadata.name.as_str());
        self.by_namespace.entry(namespace).or_default().insert(name, secret);
    }

    /// Forgets a Secret.
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
        self.by_namespace.get(namespace)?.get(name)
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
}

impl<'a> SecretReader<'a> {
    /// A reader for an AuthConfig of this namespace.
    #[must_use]
    pub fn new(secrets: &'a Secrets, namespace: &'a str) -> Self {
        Self { secrets, namespace, asked_for: RefCell::default() }
    }

    /// The Secret `name` of the namespace; if there is none, that is a problem of `at`.
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
        let found = self.secrets.get(self.namespace, name);
        if found.is_none() {
            problems.add(at, format_args!("Secret \"{name}\" not found in namespace \"{}\"", self.namespace));
        }
        found
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
        let mut secrets = Secrets::default();
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
                "Secret \"b\" not found in namespace \"team\"",
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
    fn secrets_go_as_they_come_and_are_not_shown() {
        let mut secrets = Secrets::default();
        secrets.insert(secret("team", "a", &[("key", b"hush")]));
        secrets.insert(secret("team", "a", &[("key", b"new")]));
        assert_eq!(secrets.get("team", "a").unwrap().data["key"], b"new");
        assert!(!format!("{secrets:?} {:?}", SecretText::from("hush")).contains("hush"));
        secrets.remove("team", "a");
        secrets.remove("team", "a");
        assert!(secrets.get("team", "a").is_none() && secrets.by_namespace.is_empty());
    }
}
