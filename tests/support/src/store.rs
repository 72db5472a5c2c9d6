//! What the server keeps: objects by kind, and what happened to them last.
//!
//! ```text
//!  Store  one counter of resource versions
//!    Collection (a kind)   objects by (namespace, name)
//!                          history: the last events, bounded; what is older answers 410
//! ```

mod list;
mod object;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;

pub(crate) use list::Question;
pub(crate) use object::{Stored, View, key_of, members};

use crate::{
    failure::Failure,
    kind::{Kind, KindKey},
};

/// Namespace (empty for kinds without) and name.
pub(crate) type ObjectKey = (String, String);

/// All that the server keeps.
pub(crate) struct Store {
    version: u64,
    collections: BTreeMap<KindKey, Collection>,
    history_limit: usize,
}

struct Collection {
    kind: Arc<Kind>,
    objects: BTreeMap<ObjectKey, Arc<Stored>>,
    history: VecDeque<Arc<Event>>,
    /// The version of the last event that is no longer there.
    floor: u64,
    /// What is new must begin here or later: events before are as good as forgotten, but for watches that are open.
    compacted: u64,
}

/// What happened to one object. Without `object`, it was deleted; without `previous`, it was created.
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) object: Option<Arc<Stored>>,
    pub(crate) previous: Option<Arc<Stored>>,
}

impl Event {
    fn key(&self) -> Option<ObjectKey> {
        self.object.as_ref().or(self.previous.as_ref()).map(|object| object.key())
    }
}

impl Store {
    /// `history_limit`: how many events of each kind are kept.
    pub(crate) fn new(history_limit: usize) -> Self {
        let mut store = Self { version: 1, collections: BTreeMap::new(), history_limit };
        for kind in Kind::built_in() {
            store.register(kind);
        }
        store
    }

    /// Adds a kind, or gives a kind another schema. Its objects stay.
    pub(crate) fn register(&mut self, kind: Arc<Kind>) {
        let floor = self.version;
        self.collections.entry(kind.key()).and_modify(|collection| collection.kind = Arc::clone(&kind)).or_insert_with(
            || Collection { kind, objects: BTreeMap::new(), history: VecDeque::new(), floor, compacted: floor },
        );
    }

    /// The resource version of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.collections.values().map(|collection| &collection.kind)
    }

    pub(crate) fn kind(&self, key: &KindKey) -> Option<Arc<Kind>> {
        self.collections.get(key).map(|collection| Arc::clone(&collection.kind))
    }

    pub(crate) fn get(&self, kind: &Kind, key: &ObjectKey) -> Option<Arc<Stored>> {
        self.collections.get(&kind.key())?.objects.get(key).cloned()
    }

    pub(crate) fn objects(&self, kind: &Kind) -> Vec<Arc<Stored>> {
        self.collections.get(&kind.key()).map(|found| found.objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Writes an object, which must have a name, if the one in its place still has the version `expected`
    /// (`None`: if there is none).
    ///
    /// # Errors
    ///
    /// Gives what stands there otherwise.
    pub(crate) fn put(
        &mut self,
        kind: &Kind,
        object: &mut Value,
        expected: Option<u64>,
    ) -> Result<Arc<Stored>, Option<Arc<Stored>>> {
        let version = self.version + 1;
        let limit = self.history_limit;
        let Some(collection) = self.collections.get_mut(&kind.key()) else { return Err(None) };
        let key = object::key_of(object);
        let previous = collection.objects.get(&key).cloned();
        if previous.as_ref().map(|previous| previous.version) != expected {
            return Err(previous);
        }
        object["metadata"]["resourceVersion"] = Value::String(version.to_string());
        let stored = Arc::new(Stored::new(object, version));
        collection.objects.insert(key, Arc::clone(&stored));
        collection.happened(Event { version, object: Some(Arc::clone(&stored)), previous }, limit);
        self.version = version;
        if kind.plural == "customresourcedefinitions" {
            for kind in Kind::from_definition(object) {
                self.register(Arc::new(kind));
            }
        }
        Ok(stored)
    }

    /// Deletes an object. Gives it as it was last.
    pub(crate) fn remove(&mut self, kind: &Kind, key: &ObjectKey) -> Option<Arc<Stored>> {
        let limit = self.history_limit;
        let collection = self.collections.get_mut(&kind.key())?;
        let previous = collection.objects.remove(key)?;
        self.version += 1;
        let event = Event { version: self.version, object: None, previous: Some(Arc::clone(&previous)) };
        collection.happened(event, limit);
        Some(previous)
    }

    /// Forgets all events, but for watches that are open. The version moves on, as if others had written: what a client knows from before is too old.
    pub(crate) fn compact(&mut self) {
        self.version += 1;
        for collection in self.collections.values_mut() {
            collection.compacted = self.version;
        }
    }

    /// Whether a watch can begin after this version.
    ///
    /// # Errors
    ///
    /// 410 if events since then are forgotten.
    pub(crate) fn check_start(&self, kind: &Kind, version: u64) -> Result<(), Failure> {
        self.collections.get(&kind.key()).map_or(Ok(()), |collection| collection.check(version))
    }

    /// Up to `most` events of a kind after the version `after`.
    ///
    /// # Errors
    ///
    /// 410 if some of them are forgotten.
    pub(crate) fn events_after(&self, kind: &Kind, after: u64, most: usize) -> Result<Vec<Arc<Event>>, Failure> {
        let Some(collection) = self.collections.get(&kind.key()) else { return Ok(Vec::new()) };
        if after < collection.floor {
            return Err(Failure::expired(after, collection.floor));
        }
        let start = collection.history.partition_point(|event| event.version <= after);
        Ok(collection.history.iter().skip(start).take(most).cloned().collect())
    }
}

impl Collection {
    fn happened(&mut self, event: Event, limit: usize) {
        self.history.push_back(Arc::new(event));
        while self.history.len() > limit {
            if let Some(forgotten) = self.history.pop_front() {
                self.floor = forgotten.version;
            }
        }
    }

    fn check(&self, version: u64) -> Result<(), Failure> {
        let oldest = self.floor.max(self.compacted);
        if version < oldest { Err(Failure::expired(version, oldest)) } else { Ok(()) }
    }
}
