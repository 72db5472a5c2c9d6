//! Changes that are sent together.

use std::collections::HashSet;

use usher_api::{ObjectMeta, SecretName};
use usher_source::Change;

/// How many changes a batch may have.
pub(super) const BATCH: usize = 1000;

/// Batches of changes: bounded, and each object at most once in each.
#[derive(Debug, Default)]
pub(super) struct Batches {
    sealed: Vec<Vec<Change>>,
    current: Vec<Change>,
    objects: HashSet<(Kind, SecretName)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    AuthConfig,
    LabelledSecret,
    NamedSecret,
}

impl Batches {
    /// Adds a change.
    pub(super) fn push(&mut self, change: Change) {
        let key = match &change {
            Change::AuthConfig(object) => Some((Kind::AuthConfig, name_of(&object.document.metadata))),
            Change::AuthConfigGone { namespace, name } => Some((Kind::AuthConfig, SecretName::new(namespace, name))),
            Change::LabelledSecret(secret) => Some((Kind::LabelledSecret, name_of(&secret.metadata))),
            Change::LabelledSecretGone { namespace, name } => {
                Some((Kind::LabelledSecret, SecretName::new(namespace, name)))
            }
            Change::NamedSecret { name, .. } => Some((Kind::NamedSecret, name.clone())),
            _ => None,
        };
        if self.current.len() >= BATCH || key.as_ref().is_some_and(|key| self.objects.contains(key)) {
            self.seal();
        }
        self.objects.extend(key);
        self.current.push(change);
    }

    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.sealed.iter().map(Vec::len).sum::<usize>() + self.current.len()
    }

    /// The batches, in the order in which they are to be sent.
    pub(super) fn take(&mut self) -> Vec<Vec<Change>> {
        self.seal();
        std::mem::take(&mut self.sealed)
    }

    fn seal(&mut self) {
        self.objects.clear();
        if !self.current.is_empty() {
            let mut batch = std::mem::take(&mut self.current);
            batch.sort_by_key(|change| match change {
                Change::AuthConfigGone { .. } | Change::LabelledSecretGone { .. } => 0,
                Change::InitialLoadDone => 2,
                _ => 1,
            });
            self.sealed.push(batch);
        }
    }
}

fn name_of(metadata: &ObjectMeta) -> SecretName {
    SecretName::new(&metadata.namespace, &metadata.name)
}
