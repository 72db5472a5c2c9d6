//! Packed Secrets by the MAC of their key, for lookups that wait for nobody.
//!
//! ```text
//!   MAC  3f a1 | 07 5c …         first two bytes: which shard
//!         │  └────────────┐
//!   [256 × once] ──► [256 × swap] ──► [ (tag, entry), (tag, entry), … ]   sorted, replaced as a whole
//! ```
//!
//! A change copies one shard: with a million keys, about fifteen pointers. The second level is made when its first
//! key comes, so that an index without keys is a few kilobytes.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{ready::Ready, record::Record};

/// Keyed hash of an API key.
pub(super) type Mac = [u8; 32];

/// A Secret and the keyed hash of its key.
pub(super) struct Entry {
    pub(super) mac: Mac,
    pub(super) record: Record,
    pub(super) ready: Ready,
}

impl Entry {
    pub(super) fn new(mac: Mac, record: Record) -> Self {
        Self { mac, record, ready: Ready::default() }
    }
}

/// How many Secrets of one namespace with one and the same key are looked at; the others wait until one of these goes.
/// Without a limit, changes and lookups would get slower with each Secret that repeats a key.
const MOST_HOLDERS: usize = 256;

/// Entries by MAC. Any number of readers, one writer at a time.
pub(super) struct Index {
    shards: Box<[OnceLock<Box<[Shard]>>]>,
}

type Shard = ArcSwapOption<Box<[Slot]>>;

#[derive(Clone)]
struct Slot {
    /// Eight bytes of the MAC, beside the pointer, so that a search reads one piece of memory.
    tag: u64,
    entry: Arc<Entry>,
}

/// Entries beyond [`MOST_HOLDERS`], kept by the writer. What changes in an entry, whether its identity is ready, has
/// nothing to do with their order.
pub(super) type Surplus = BTreeSet<InOrder>;

/// An entry in the order of a shard: by MAC, namespace, and age.
pub(super) struct InOrder(Arc<Entry>);

impl Index {
    pub(super) fn new() -> Self {
        Self { shards: (0..256).map(|_| OnceLock::new()).collect() }
    }

    /// What `found` says of the oldest entry with this MAC, in this namespace or in any, that is wanted.
    ///
    /// Whether the MAC is the same is compared in constant time. Where it stands in the index depends on the MAC, but
    /// without the key of the MAC nobody learns from that anything about a value.
    pub(super) fn oldest<T>(
        &self,
        mac: &Mac,
        namespace: Option<&str>,
        wanted: impl Fn(&Record) -> bool,
        found: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        let shard = self.existing_shard(mac)?.load();
        let slots: &[Slot] = shard.as_deref()?;
        let from = slots.partition_point(|slot| match (slot.tag.cmp(&tag(mac)), namespace) {
            (Ordering::Equal, Some(namespace)) => {
                slot.entry.mac.cmp(mac).then_with(|| slot.entry.record.namespace().cmp(namespace)).is_lt()
            }
            (order, _) => order.is_lt(),
        });
        let same_value = slots
            .get(from..)?
            .iter()
            .take_while(|slot| slot.tag == tag(mac))
            .map(|slot| &slot.entry)
            .filter(|entry| verify_slices_are_equal(&entry.mac, mac).is_ok());
        let oldest = match namespace {
            Some(namespace) => {
                same_value.take_while(|entry| entry.record.namespace() == namespace).find(|entry| wanted(&entry.record))
            }
            None => same_value.filter(|entry| wanted(&entry.record)).min_by(|a, b| a.record.by_age(&b.record)),
        };
        oldest.map(found)
    }

    /// Adds an entry. If there are too many of the same key and namespace, the youngest goes to the surplus.
    #[allow(clippy::mutable_key_type)]
    pub(super) fn insert(&self, entry: Arc<Entry>, surplus: &mut Surplus) {
        let Some(shard) = self.shard(&entry.mac) else { return };
        let mut slots = copy(shard);
        let slot = Slot { tag: tag(&entry.mac), entry };
        let at = slots.partition_point(|other| order(&other.entry, &slot.entry).is_le());
        let group = Arc::clone(&slot.entry);
        slots.insert(at, slot);
        let start = slots.partition_point(|other| other.group_order(&group).is_lt());
        let end = slots.partition_point(|other| other.group_order(&group).is_le());
        if end - start > MOST_HOLDERS {
            surplus.replace(InOrder(slots.remove(end - 1).entry));
        }
        publish(shard, slots);
    }

    /// Removes an entry; the oldest of the surplus takes its place at the same moment.
    #[allow(clippy::mutable_key_type)]
    pub(super) fn remove(&self, entry: &Arc<Entry>, surplus: &mut Surplus) {
        let Some(shard) = self.shard(&entry.mac) else { return };
        let mut slots = copy(shard);
        let Some(at) = slots.iter().position(|slot| Arc::ptr_eq(&slot.entry, entry)) else {
            let key = InOrder(Arc::clone(entry));
            if surplus.get(&key).is_some_and(|kept| Arc::ptr_eq(&kept.0, entry)) {
                surplus.remove(&key);
            }
            return;
        };
        let gone = InOrder(slots.remove(at).entry);
        let next = surplus.range(&gone..).next().filter(|next| group_order(&next.0, entry).is_eq());
        if let Some(next) = next.map(|next| InOrder(Arc::clone(&next.0))) {
            surplus.remove(&next);
            let at = slots.partition_point(|other| order(&other.entry, &next.0).is_le());
            slots.insert(at, Slot { tag: tag(&next.0.mac), entry: next.0 });
        }
        publish(shard, slots);
    }

    fn shard(&self, mac: &Mac) -> Option<&Shard> {
        let [first, second, ..] = *mac;
        let shards = self.shards.get(usize::from(first))?.get_or_init(|| (0..256).map(|_| Shard::empty()).collect());
        shards.get(usize::from(second))
    }

    fn existing_shard(&self, mac: &Mac) -> Option<&Shard> {
        let [first, second, ..] = *mac;
        self.shards.get(usize::from(first))?.get()?.get(usize::from(second))
    }
}

impl Slot {
    fn group_order(&self, entry: &Entry) -> Ordering {
        self.tag.cmp(&tag(&entry.mac)).then_with(|| group_order(&self.entry, entry))
    }
}

fn copy(shard: &Shard) -> Vec<Slot> {
    let present = shard.load();
    let present: &[Slot] = present.as_deref().map_or(&[], |slots| slots);
    let mut slots = Vec::with_capacity(present.len() + 1);
    slots.extend_from_slice(present);
    slots
}

fn publish(shard: &Shard, slots: Vec<Slot>) {
    shard.store((!slots.is_empty()).then(|| Arc::new(slots.into_boxed_slice())));
}

fn tag(mac: &Mac) -> u64 {
    let [_, _, a, b, c, d, e, f, g, h, ..] = *mac;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Entries of one key and namespace are equal.
fn group_order(a: &Entry, b: &Entry) -> Ordering {
    tag(&a.mac)
        .cmp(&tag(&b.mac))
        .then_with(|| a.mac.cmp(&b.mac))
        .then_with(|| a.record.namespace().cmp(b.record.namespace()))
}

fn order(a: &Entry, b: &Entry) -> Ordering {
    group_order(a, b).then_with(|| a.record.by_age(&b.record))
}

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InOrder {}

#[cfg(test)]
mod tests {
    use usher_api::{ObjectMeta, Secret};

    use super::*;

    fn entry(mac: Mac, namespace: &str, name: &str) -> Arc<Entry> {
        let metadata = ObjectMeta { namespace: namespace.to_owned(), name: name.to_owned(), ..ObjectMeta::default() };
        Arc::new(Entry::new(mac, Record::new(&Secret { metadata, ..Secret::default() })))
    }

    fn name(found: Option<Arc<Entry>>) -> Option<String> {
        found.map(|entry| entry.record.name().to_owned())
    }

    #[test]
    fn macs_that_share_shard_and_tag_are_told_apart() {
        let (index, mut surplus) = (Index::new(), Surplus::new());
        let macs: Vec<Mac> = (0..40)
            .map(|last| {
                let mut mac = [7; 32];
                mac[31] = last;
                mac
            })
            .collect();
        for (number, mac) in macs.iter().enumerate() {
            index.insert(entry(*mac, "ns", &number.to_string()), &mut surplus);
        }
        for (number, mac) in macs.iter().enumerate() {
            assert_eq!(name(index.oldest(mac, None, |_| true, Arc::clone)), Some(number.to_string()));
            assert_eq!(name(index.oldest(mac, Some("ns"), |_| true, Arc::clone)), Some(number.to_string()));
            assert_eq!(name(index.oldest(mac, Some("other"), |_| true, Arc::clone)), None);
        }
        assert_eq!(name(index.oldest(&[7; 32], Some("zz"), |_| true, Arc::clone)), None);
        assert_eq!(name(index.oldest(&[8; 32], None, |_| true, Arc::clone)), None);
    }

    #[test]
    fn entries_beyond_the_limit_wait_for_their_turn() {
        let (index, mut surplus) = (Index::new(), Surplus::new());
        let entries: Vec<_> =
            (0..MOST_HOLDERS * 2).map(|number| entry([1; 32], "ns", &format!("{number:04}"))).collect();
        for entry in entries.iter().rev() {
            index.insert(Arc::clone(entry), &mut surplus);
        }
        index.insert(entry([1; 32], "other", "o"), &mut surplus);
        assert_eq!(surplus.len(), MOST_HOLDERS);
        // The last one is in the surplus: neither found nor lost.
        let last = format!("{:04}", entries.len() - 1);
        assert_eq!(name(index.oldest(&[1; 32], Some("ns"), |record| record.name() == last, Arc::clone)), None);
        for (number, gone) in entries.iter().enumerate() {
            assert_eq!(name(index.oldest(&[1; 32], Some("ns"), |_| true, Arc::clone)), Some(format!("{number:04}")));
            index.remove(gone, &mut surplus);
        }
        assert_eq!(name(index.oldest(&[1; 32], Some("ns"), |_| true, Arc::clone)), None);
        assert_eq!(name(index.oldest(&[1; 32], None, |_| true, Arc::clone)), Some("o".to_owned()));
        assert!(surplus.is_empty());
    }

    #[test]
    fn an_entry_of_the_surplus_is_replaced_and_removed() {
        let (index, mut surplus) = (Index::new(), Surplus::new());
        for number in 0..MOST_HOLDERS {
            index.insert(entry([1; 32], "ns", &format!("{number:04}")), &mut surplus);
        }
        let (old, new) = (entry([1; 32], "ns", "9999"), entry([1; 32], "ns", "9999"));
        index.insert(Arc::clone(&old), &mut surplus);
        index.insert(Arc::clone(&new), &mut surplus);
        index.remove(&old, &mut surplus);
        assert!(surplus.first().is_some_and(|kept| Arc::ptr_eq(&kept.0, &new)));
        index.remove(&new, &mut surplus);
        assert!(surplus.is_empty());
    }
}
