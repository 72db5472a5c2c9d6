//! Identities that are ready, for keys that are asked for again and again.
//!
//! An identity in JSON is several times as large as its packed Secret, and takes a few microseconds to make. Each stays
//! with its entry as long as there is room:
//!
//! ```text
//!   entry ─┬─ is there one? ──────────────────────────────► identity
//!          └─ make it ─┬─ there is room ──► keep it ──────► identity
//!                      ├─ asked for again, lately ──► keep it, in place of one that nobody asked for
//!                      └─ otherwise ──────────────────────► identity, not kept
//! ```
//!
//! So the keys that are in use are ready if they fit, and of more keys than fit, all in use in turn, those that are
//! ready stay: to replace them all the time would help nobody, and take time to free them. A lookup that finds an
//! identity writes nothing but, at times, a mark; locks are taken only to keep one.
//!
//! An entry that is replaced or removed takes its identity along: none is ever older than its Secret.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use serde_json::Value;
use usher_engine::cache::size_of_value;

use super::index::Entry;

/// The bytes that identities may have which are ready, together: about twenty thousand of the usual size.
const ROOM: usize = 64 << 20;

/// So many locks share the work, and the room.
const PARTS: usize = 16;

/// The largest identity, in bytes, that is kept.
const LARGEST: usize = 32 << 10;

/// Of how many identities that were asked for lately one look for room lets go on. More, and lookups would wait.
const SPARED: usize = 16;

/// The identity of an entry, if it is ready.
#[derive(Default)]
pub(super) struct Ready {
    identity: ArcSwapOption<Value>,
    /// Whether it was asked for since room was looked for last.
    is_used: AtomicBool,
    /// When it was made last, counted in identities that its part made. 0: never.
    made: AtomicU32,
}

/// All identities that are ready.
pub(super) struct Identities {
    parts: Box<[Part]>,
    room: usize,
}

#[derive(Default)]
struct Part {
    /// How many identities were made that were not ready.
    made: AtomicU32,
    /// Those of `kept`, for a look without a lock.
    bytes: AtomicUsize,
    /// The one that was kept first comes first.
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    /// What is gone from the index keeps its place until room is looked for, but no memory to speak of.
    entry: Weak<Entry>,
    bytes: usize,
}

impl Identities {
    pub(super) fn new() -> Self {
        Self::of_parts(PARTS, ROOM / PARTS)
    }

    fn of_parts(parts: usize, room: usize) -> Self {
        Self { parts: (0..parts).map(|_| Part::default()).collect(), room }
    }

    /// The identity of an entry.
    pub(super) fn of(&self, entry: &Arc<Entry>) -> Arc<Value> {
        let Ready { identity, is_used, .. } = &entry.ready;
        if let Some(identity) = identity.load_full() {
            // Written only when it must be: many threads read it.
            if !is_used.load(Relaxed) {
                is_used.store(true, Relaxed);
            }
            return identity;
        }
        let identity = Arc::new(entry.record.identity());
        let [.., last] = entry.mac;
        if let Some(part) = self.parts.get(usize::from(last) % self.parts.len().max(1)) {
            part.keep(entry, &identity, self.room);
        }
        identity
    }
}

impl Part {
    fn keep(&self, entry: &Arc<Entry>, identity: &Arc<Value>, room: usize) {
        let bytes = size_of_value(identity);
        if bytes > LARGEST.min(room) {
            return;
        }
        let now = self.made.fetch_add(1, Relaxed).wrapping_add(1);
        let before = entry.ready.made.swap(now, Relaxed);
        if self.bytes.load(Relaxed) + bytes > room {
            // One that is asked for again only after more others than there is room for would be gone by then.
            let between = usize::try_from(now.wrapping_sub(before)).unwrap_or(usize::MAX);
            if before == 0 || between.saturating_mul(bytes) > room {
                return;
            }
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have made it at the same time.
        if entry.ready.identity.load().is_some() {
            return;
        }
        let gone = self.make_room(&mut kept, room - bytes);
        entry.ready.identity.store(Some(Arc::clone(identity)));
        kept.push_back(Kept { entry: Arc::downgrade(entry), bytes });
        self.bytes.fetch_add(bytes, Relaxed);
        drop(kept);
        // To free them takes time, in which nobody should wait.
        drop(gone);
    }

    /// Gives up identities until no more than `most` bytes are left. Those that were asked for get a second chance.
    fn make_room(&self, kept: &mut VecDeque<Kept>, most: usize) -> Vec<Arc<Value>> {
        let mut gone = Vec::new();
        let mut spared = 0;
        while self.bytes.load(Relaxed) > most {
            let Some(first) = kept.pop_front() else { break };
            if let Some(entry) = first.entry.upgrade() {
                if spared < SPARED && entry.ready.is_used.swap(false, Relaxed) {
                    spared += 1;
                    kept.push_back(first);
                    continue;
                }
                gone.extend(entry.ready.identity.swap(None));
            }
            self.bytes.fetch_sub(first.bytes, Relaxed);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use usher_api::{ObjectMeta, Secret};

    use super::{super::record::Record, *};

    fn entry(name: &str) -> Arc<Entry> {
        let metadata = ObjectMeta { name: name.to_owned(), ..ObjectMeta::default() };
        Arc::new(Entry::new([0; 32], Record::new(&Secret { metadata, ..Secret::default() })))
    }

    fn entries(count: usize) -> Vec<Arc<Entry>> {
        (0..count).map(|number| entry(&format!("{number:04}"))).collect()
    }

    fn is_ready(entry: &Entry) -> bool {
        entry.ready.identity.load().is_some()
    }

    fn ready(entries: &[Arc<Entry>]) -> usize {
        entries.iter().filter(|entry| is_ready(entry)).count()
    }

    /// Room for so many identities like those of [`entries`].
    fn room_for(count: usize) -> Identities {
        Identities::of_parts(1, count * size_of_value(&entry("0000").record.identity()))
    }

    #[test]
    fn identities_are_made_once_while_there_is_room() {
        let (identities, entries) = (room_for(10), entries(10));
        let made: Vec<_> = entries.iter().map(|entry| identities.of(entry)).collect();
        assert_eq!(ready(&entries), 10);
        for (entry, made) in entries.iter().zip(&made) {
            assert!(Arc::ptr_eq(made, &identities.of(entry)));
            assert_eq!(made.pointer("/metadata/name").and_then(Value::as_str), Some(entry.record.name()));
        }
    }

    #[test]
    fn more_than_there_is_room_for_in_turn_leave_those_that_are_ready_alone() {
        let (identities, entries) = (room_for(10), entries(50));
        for _ in 0..5 {
            for entry in &entries {
                identities.of(entry);
            }
            assert_eq!(ready(&entries[..10]), 10);
            assert_eq!(ready(&entries[10..]), 0);
        }
    }

    #[test]
    fn what_is_asked_for_again_and_again_takes_the_place_of_what_is_not() {
        let (identities, entries) = (room_for(10), entries(20));
        let (old, new) = entries.split_at(10);
        for entry in old {
            identities.of(entry);
        }
        // This one stays in use.
        let used = &old[0];
        for _ in 0..3 {
            for entry in &new[..5] {
                identities.of(entry);
                identities.of(used);
            }
        }
        assert_eq!(ready(&new[..5]), 5);
        assert!(is_ready(used));
        assert_eq!(ready(old), 5);
    }

    #[test]
    fn what_is_in_use_gives_way_in_the_end() {
        let (identities, entries) = (room_for(100), entries(101));
        let (old, new) = entries.split_at(100);
        for _ in 0..2 {
            for entry in old {
                identities.of(entry);
            }
        }
        for _ in 0..2 {
            identities.of(&new[0]);
        }
        assert!(is_ready(&new[0]));
        assert_eq!(ready(old), 99);
    }

    #[test]
    fn entries_that_are_gone_take_their_identity_along_and_leave_room() {
        let identities = room_for(10);
        for _ in 0..100 {
            let old = entries(10);
            let weak: Vec<_> = old.iter().map(|entry| Arc::downgrade(&identities.of(entry))).collect();
            drop(old);
            assert!(weak.iter().all(|identity| identity.upgrade().is_none()));
        }
        let new = entries(10);
        for _ in 0..2 {
            for entry in &new {
                identities.of(entry);
            }
        }
        assert_eq!(ready(&new), 10);
        let part = &identities.parts[0];
        assert_eq!(part.kept.lock().unwrap().len(), 10, "nothing is left of those that are gone");
    }

    #[test]
    fn very_large_identities_are_not_kept() {
        let identities = Identities::new();
        let large = entry(&"x".repeat(LARGEST));
        for _ in 0..3 {
            identities.of(&large);
        }
        assert!(!is_ready(&large));
    }

    #[test]
    fn many_threads_agree() {
        let (identities, entries) = (room_for(10), entries(12));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (identities, entries) = (&identities, &entries);
                scope.spawn(move || {
                    for number in 0..20_000 {
                        let entry = &entries[(number * (thread + 1)) % entries.len()];
                        let identity = identities.of(entry);
                        assert_eq!(
                            identity.pointer("/metadata/name").and_then(Value::as_str),
                            Some(entry.record.name())
                        );
                    }
                });
            }
        });
        let part = &identities.parts[0];
        let kept = part.kept.lock().unwrap();
        assert_eq!(kept.iter().map(|kept| kept.bytes).sum::<usize>(), part.bytes.load(Relaxed));
        assert_eq!(kept.len(), ready(&entries));
        assert!(part.bytes.load(Relaxed) <= identities.room);
    }
}
