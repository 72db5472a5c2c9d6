//! Which document counts for each object, and what differs from what was told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use usher_api::{ObjectMeta, Secret};

use super::contents::place;
use super::listing::FileKey;
use super::{FileProblem, Filter};
use crate::{AuthConfigObject, AuthorizationPolicyObject, Change};

/// An object, whichever document defines it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    AuthConfig,
    AuthorizationPolicy,
    Secret,
}

impl ObjectKey {
    pub(super) fn new(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self { kind, namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }

    fn gone(self) -> Change {
        let Self { kind, namespace, name } = self;
        match kind {
            Kind::AuthConfig => Change::AuthConfigGone { namespace, name },
            Kind::AuthorizationPolicy => Change::AuthorizationPolicyGone { name },
            Kind::Secret => Change::SecretGone { namespace, name },
        }
    }
}

impl fmt::Display for ObjectKey {
    /// `Kind namespace/name`, or `Kind name` where there is no namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::AuthConfig => "AuthConfig",
            Kind::AuthorizationPolicy => return write!(f, "AuthorizationPolicy {}", self.name),
            Kind::Secret => "Secret",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// An object as a file defines it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: ObjectKey,
    /// Where in the file; None if that is not known.
    pub(super) line: Option<usize>,
    pub(super) object: Object,
}

#[derive(Debug, Clone)]
pub(super) enum Object {
    /// The flag: nobody knows its namespace or labels for sure.
    AuthConfig(Arc<AuthConfigObject>, bool),
    /// The flag: as above.
    AuthorizationPolicy(Arc<AuthorizationPolicyObject>, bool),
    Secret(Arc<Secret>),
}

impl Object {
    fn change(&self) -> Change {
        match self {
            Self::AuthConfig(object, _) => Change::AuthConfig(Arc::clone(object)),
            Self::AuthorizationPolicy(object, _) => Change::AuthorizationPolicy(Arc::clone(object)),
            Self::Secret(secret) => Change::Secret(Arc::clone(secret)),
        }
    }

    /// Whether nobody need be told. Lines alone are no difference: every edit moves those below it.
    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AuthConfig(one, _), Self::AuthConfig(other, _)) => {
                let (a, b) = (&one.document, &other.document);
                Arc::ptr_eq(one, other)
                    || (one.file == other.file
                        && a.metadata == b.metadata
                        && a.claimed == b.claimed
                        && a.result == b.result)
            }
            (Self::AuthorizationPolicy(one, _), Self::AuthorizationPolicy(other, _)) => {
                let (a, b) = (&one.document, &other.document);
                Arc::ptr_eq(one, other) || (one.file == other.file && a.metadata == b.metadata && a.result == b.result)
            }
            (Self::Secret(one), Self::Secret(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        }
    }
}

/// All objects of all files.
#[derive(Debug)]
pub(super) struct Objects {
    filter: Filter,
    /// Who defines each object. The first counts; the others are in the order of files.
    definitions: HashMap<ObjectKey, Vec<(FileKey, Entry)>>,
    /// What each file defines, in the order of its text.
    files: HashMap<FileKey, Vec<ObjectKey>>,
    /// Objects with more than one definition.
    contested: BTreeSet<ObjectKey>,
    told: HashMap<ObjectKey, Object>,
    /// What may differ from what was told, in the order of the files.
    touched: Vec<ObjectKey>,
}

impl Objects {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            definitions: HashMap::new(),
            files: HashMap::new(),
            contested: BTreeSet::new(),
            told: HashMap::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What a file defines at present.
    pub(super) fn of_file(&self, file: &FileKey) -> impl Iterator<Item = &Entry> {
        self.files.get(file).into_iter().flatten().filter_map(move |key| {
            let definitions = self.definitions.get(key)?;
            definitions.iter().find(|(definer, _)| definer == file).map(|(_, entry)| entry)
        })
    }

    /// Whether a file defines anything at present.
    pub(super) fn has_any_of(&self, file: &FileKey) -> bool {
        self.files.get(file).is_some_and(|keys| !keys.is_empty())
    }

    /// Takes what a file defines now in place of what it defined before.
    pub(super) fn replace(&mut self, file: &FileKey, entries: Vec<Entry>) {
        let before = self.files.remove(file).unwrap_or_default();
        let now: Vec<ObjectKey> = entries.iter().map(|entry| entry.key.clone()).collect();
        for entry in entries {
            self.define(file, entry);
        }
        let kept: HashSet<&ObjectKey> = now.iter().collect();
        for key in before {
            if !kept.contains(&key) {
                self.undefine(file, key);
            }
        }
        if !now.is_empty() {
            self.files.insert(file.clone(), now);
        }
    }

    fn define(&mut self, file: &FileKey, entry: Entry) {
        self.touched.push(entry.key.clone());
        let key = entry.key.clone();
        let definitions = self.definitions.entry(key.clone()).or_default();
        if let Some((_, own)) = definitions.iter_mut().find(|(definer, _)| definer == file) {
            *own = entry;
            return;
        }
        // What was there first stays first, even if a file with a smaller name joins it.
        let place = definitions.iter().skip(1).position(|(definer, _)| definer > file);
        let place = place.map_or(definitions.len(), |position| position + 1);
        definitions.insert(place, (file.clone(), entry));
        if definitions.len() > 1 {
            self.contested.insert(key);
        }
    }

    fn undefine(&mut self, file: &FileKey, key: ObjectKey) {
        if let Some(definitions) = self.definitions.get_mut(&key) {
            definitions.retain(|(definer, _)| definer != file);
            if definitions.len() < 2 {
                self.contested.remove(&key);
            }
            if definitions.is_empty() {
                self.definitions.remove(&key);
            }
        }
        self.touched.push(key);
    }

    /// What differs from what was told, which from now on counts as told: first what is gone, then what is new or
    /// different.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let (mut gone, mut present) = (Vec::new(), Vec::new());
        let mut done = HashSet::new();
        for key in std::mem::take(&mut self.touched) {
            if !done.insert(key.clone()) {
                continue;
            }
            let told = self.told.get(&key);
            let current = self.definitions.get(&key).and_then(|definitions| definitions.first());
            let current = current.map(|(_, entry)| &entry.object).filter(|object| self.takes(object, told.is_some()));
            match (told, current) {
                (None, None) => {}
                (Some(told), Some(current)) if told.says_the_same(current) => {}
                (_, Some(current)) => {
                    present.push(current.change());
                    self.told.insert(key, current.clone());
                }
                (Some(_), None) => {
                    self.told.remove(&key);
                    gone.push(key.gone());
                }
            }
        }
        gone.append(&mut present);
        gone
    }

    /// Whether the object is for this server. One that is served stays if its labels can no longer be read.
    fn takes(&self, object: &Object, told: bool) -> bool {
        match object {
            Object::AuthConfig(object, in_doubt) => {
                self.filter.takes_auth_config(&object.document.metadata) || (*in_doubt && told)
            }
            Object::AuthorizationPolicy(object, in_doubt) => {
                self.filter.takes_policy(&object.document.metadata) || (*in_doubt && told)
            }
            Object::Secret(secret) => self.filter.takes_secret(&secret.metadata),
        }
    }

    /// The documents that do not count because another defines the same object. None for those whose other is in a
    /// file that is `waiting` to be believed removed: most likely they were moved.
    pub(super) fn conflicts(&self, waiting: impl Fn(&FileKey) -> bool) -> Vec<FileProblem> {
        let mut problems = Vec::new();
        for key in &self.contested {
            let Some([(file, first), others @ ..]) = self.definitions.get(key).map(Vec::as_slice) else {
                continue;
            };
            if waiting(file) {
                continue;
            }
            for (other, entry) in others {
                if !self.takes(&entry.object, false) && !self.takes(&first.object, false) {
                    continue;
                }
                let message = format!("is already defined in {}; that one counts", place(&file.path, first.line));
                problems.push(FileProblem {
                    line: entry.line,
                    object: Some(key.to_string()),
                    ..FileProblem::of_file(&*other.path, message)
                });
            }
        }
        problems
    }
}
