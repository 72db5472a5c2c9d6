//! What is shared by all who name the same configuration, for as long as one of them is there.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// What is in use, by its configuration. What nobody uses any more is forgotten.
#[derive(Debug)]
pub(crate) struct InUse<K, V>(Mutex<Entries<K, V>>);

#[derive(Debug)]
struct Entries<K, V> {
    by_key: HashMap<K, Weak<V>>,
    /// At which size dead entries are looked for. It doubles with what is alive: making many costs no more than a look at
    /// each.
    sweep_at: usize,
}

impl<K, V> Default for InUse<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Entries { by_key: HashMap::new(), sweep_at: 0 }))
    }
}

impl<K: Eq + Hash, V> InUse<K, V> {
    /// What there is for that configuration; made, if nobody uses it.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut entries = self.entries();
        if let Some(value) = entries.by_key.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        if entries.by_key.len() >= entries.sweep_at {
            entries.by_key.retain(|_, value| value.strong_count() > 0);
            entries.sweep_at = (entries.by_key.len() * 2).max(64);
        }
        let value = Arc::new(make());
        entries.by_key.insert(key, Arc::downgrade(&value));
        value
    }

    /// Everything in use.
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.entries().by_key.values().filter_map(Weak::upgrade).collect()
    }

    /// How many are remembered, in use or not.
    pub(crate) fn len(&self) -> usize {
        self.entries().by_key.len()
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configurations_share_and_what_nobody_holds_is_forgotten() {
        let in_use = InUse::default();
        let one = in_use.get("a", || 1);
        assert!(Arc::ptr_eq(&one, &in_use.get("a", || panic!("it is there already"))));
        drop(one);
        assert!(in_use.all().is_empty());
        assert_eq!(*in_use.get("a", || 2), 2);

        let in_use = InUse::default();
        let held: Vec<_> = (0..10).map(|number| in_use.get(number, || number)).collect();
        for number in 10..10_000 {
            drop(in_use.get(number, || number));
        }
        assert!(in_use.len() <= 64, "{}", in_use.len());
        assert_eq!(in_use.all().len(), held.len());
    }
}
