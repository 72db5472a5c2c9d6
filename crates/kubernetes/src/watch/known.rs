//! Which objects were told, and in which version: names and fingerprints, never contents.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// The objects of one kind that were told.
#[derive(Debug, Default)]
pub(super) struct Known {
    namespaces: HashMap<Box<str>, HashMap<Box<str>, Entry>>,
    /// Counts the lists. What a complete list has not marked with its number is gone.
    list: u32,
    len: usize,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Option<Fingerprint>,
    list: u32,
}

/// Stands for a version of an object. Equal ones are the same version of the same object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// Makes fingerprints that mean something among themselves only.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    /// The fingerprint of any change of the object. None: it cannot be said.
    ///
    /// A version alone is not enough: the versions of another cluster, or of one that was set back, may be the same.
    pub(super) fn of_version(&self, uid: Option<&str>, resource_version: Option<&str>) -> Option<Fingerprint> {
        Some(Fingerprint(self.0.hash_one((uid?, resource_version?))))
    }

    /// The fingerprint of a change of the specification, where the API counts these, else of any change.
    pub(super) fn of_specification(
        &self,
        uid: Option<&str>,
        generation: Option<i64>,
        resource_version: Option<&str>,
    ) -> Option<Fingerprint> {
        match generation.filter(|generation| *generation > 0) {
            Some(generation) => Some(Fingerprint(self.0.hash_one((uid?, generation)))),
            None => self.of_version(uid, resource_version),
        }
    }
}

impl Known {
    /// A list begins.
    pub(super) fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The object is there in this version. Says whether that is news.
    pub(super) fn note(&mut self, namespace: &str, name: &str, fingerprint: Option<Fingerprint>) -> bool {
        let list = self.list;
        let Some(entry) = self.namespaces.get_mut(namespace).and_then(|names| names.get_mut(name)) else {
            self.insert(namespace, name, Entry { fingerprint, list });
            return true;
        };
        entry.list = list;
        let news = fingerprint.is_none() || entry.fingerprint != fingerprint;
        entry.fingerprint = fingerprint;
        news
    }

    /// The object was there in this version, as far as somebody else remembers. Says whether that is news.
    pub(super) fn remember(&mut self, namespace: &str, name: &str, fingerprint: Option<Fingerprint>) -> bool {
        if self.namespaces.get(namespace).is_some_and(|names| names.contains_key(name)) {
            return false;
        }
        // No list has shown it.
        let list = self.list.wrapping_sub(1);
        self.insert(namespace, name, Entry { fingerprint, list });
        true
    }

    /// The object is gone. Says whether that is news.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(names) = self.namespaces.get_mut(namespace) else { return false };
        let removed = names.remove(name).is_some();
        if names.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.len -= usize::from(removed);
        removed
    }

    /// The list is complete. Gives namespace and name of what is gone.
    pub(super) fn end_list(&mut self) -> Vec<(String, String)> {
        let mut gone = Vec::new();
        let list = self.list;
        self.namespaces.retain(|namespace, names| {
            let missing = names.extract_if(|_, entry| entry.list != list);
            gone.extend(missing.map(|(name, _)| (namespace.to_string(), name.into_string())));
            !names.is_empty()
        });
        self.len -= gone.len();
        gone.sort();
        gone
    }

    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn insert(&mut self, namespace: &str, name: &str, entry: Entry) {
        self.len += 1;
        if let Some(names) = self.namespaces.get_mut(namespace) {
            names.insert(name.into(), entry);
            return;
        }
        self.namespaces.insert(namespace.into(), HashMap::from([(name.into(), entry)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Option<Fingerprint> {
        Some(Fingerprint(number))
    }

    #[test]
    fn what_is_the_same_is_no_news_and_what_a_complete_list_lacks_is_gone() {
        let mut known = Known::default();
        known.begin_list();
        assert!(known.note("a", "x", version(1)));
        assert!(!known.note("a", "x", version(1)), "in two pages of a list");
        assert!(known.note("a", "y", version(1)) && known.note("b", "x", version(1)));
        assert_eq!((known.end_list(), known.len()), (vec![], 3));

        assert!(known.note("a", "x", version(2)));
        assert!(known.note("a", "z", None) && known.note("a", "z", None), "an unknown version is always news");
        assert!(known.remove("a", "y") && !known.remove("a", "y") && !known.remove("c", "y"));

        known.begin_list();
        assert!(!known.note("a", "x", version(2)));
        // The list fails and begins anew.
        known.begin_list();
        assert!(known.note("c", "new", version(1)));
        let gone =
            ["a/x", "a/z", "b/x"].map(|id| id.split_once('/').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!((known.end_list(), known.len()), (gone.to_vec(), 1));
    }

    #[test]
    fn what_was_remembered_counts_until_a_complete_list_lacks_it() {
        let mut known = Known::default();
        assert!(known.remember("a", "kept", version(1)) && known.remember("a", "changed", version(1)));
        assert!(known.remember("a", "gone", version(1)));
        known.begin_list();
        assert!(known.note("a", "listed", version(1)));
        assert!(!known.remember("a", "listed", version(7)), "the list knows better");
        assert!(known.remember("a", "late", version(1)), "while a list is read");
        assert!(!known.note("a", "kept", version(1)) && known.note("a", "changed", version(2)));
        let gone = known.end_list().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!((gone, known.len()), (vec!["gone".to_owned(), "late".to_owned()], 3));
    }

    #[test]
    fn fingerprints_tell_objects_and_versions_apart() {
        let make = Fingerprints::default();
        let specification = |uid, generation, version| make.of_specification(uid, generation, version);
        assert_eq!(specification(Some("u"), Some(3), Some("10")), specification(Some("u"), Some(3), Some("11")));
        assert_ne!(specification(Some("u"), Some(3), Some("10")), specification(Some("u"), Some(4), Some("10")));
        assert_ne!(specification(Some("u"), Some(3), None), specification(Some("v"), Some(3), None));
        assert_ne!(specification(Some("u"), None, Some("10")), specification(Some("u"), None, Some("11")));
        assert_ne!(make.of_version(Some("u"), Some("10")), make.of_version(Some("v"), Some("10")));
        assert_eq!(make.of_version(Some("u"), None), None);
        assert_eq!(specification(None, Some(3), Some("10")), None);
    }
}
