//! Answers that are reused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    expression::{Expression, KeyPart},
    request::Request,
};

/// What a policy says about keeping answers, and the answers it keeps.
#[derive(Debug)]
pub(super) struct Cache<T> {
    key: Vec<Expression>,
    ttl: Expression,
    max_entries: usize,
    entries: Mutex<HashMap<Key, Entry<T>>>,
    clock: Clock,
}

/// The values of the expressions of the key, in their order.
pub(super) type Key = Vec<KeyPart>;

#[derive(Debug)]
struct Entry<T> {
    expires: Instant,
    ttl: Duration,
    /// Somebody is asking again already.
    refreshing: bool,
    answer: T,
}

/// A clock that tests can put forward.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<Mutex<Duration>>);

impl Clock {
    /// Lets time pass.
    pub(super) fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    fn now(&self) -> Instant {
        Instant::now() + *self.0.lock().unwrap()
    }
}

impl<T: Clone> Cache<T> {
    /// With no `max_entries`, or 0, the usual number is kept.
    pub(super) fn new(key: Vec<Expression>, ttl: Expression, max_entries: Option<usize>, clock: Clock) -> Self {
        let max_entries = max_entries.filter(|number| *number > 0).unwrap_or(10_000);
        Self { key, ttl, max_entries, entries: Mutex::default(), clock }
    }

    /// The key of a request. None if there are no expressions, or one has no value that can be part of a key: then an answer
    /// is neither looked for nor kept.
    pub(super) fn key(&self, request: &Request) -> Option<Key> {
        let key: Key = self.key.iter().map(|expression| expression.key_part(request)).collect::<Option<_>>()?;
        (!key.is_empty()).then_some(key)
    }

    /// An answer that may be reused. Shortly before its time is over, one caller is told that there is none.
    pub(super) fn find(&self, key: &Key) -> Option<T> {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.get_mut(key)?;
        let Some(remaining) = entry.expires.checked_duration_since(now) else {
            entries.remove(key);
            return None;
        };
        let is_late = remaining <= (entry.ttl / 10).min(Duration::from_secs(5));
        if is_late && !entry.refreshing {
            entry.refreshing = true;
            return None;
        }
        Some(entry.answer.clone())
    }

    /// Keeps an answer for as long as the expression says, which sees the request with what the answer did to it.
    pub(super) fn insert(&self, key: Key, request: &Request, answer: T) {
        let Some(ttl) = self.ttl.time_to_live(request) else { return };
        let Some(expires) = self.clock.now().checked_add(ttl) else { return };
        let mut entries = self.entries.lock().unwrap();
        if entries.len() >= self.max_entries && !entries.contains_key(&key) {
            let first = entries.iter().min_by_key(|(_, entry)| entry.expires).map(|(key, _)| key.clone());
            first.map(|key| entries.remove(&key));
        }
        entries.insert(key, Entry { expires, ttl, refreshing: false, answer });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache(key: &[&str], ttl: &str, max_entries: Option<usize>) -> (Cache<u32>, Clock) {
        let clock = Clock::default();
        let key = key.iter().map(|source| Expression::new(source)).collect();
        (Cache::new(key, Expression::time(ttl), max_entries, clock.clone()), clock)
    }

    #[test]
    fn an_answer_is_found_until_its_time_is_over() {
        let (cache, clock) = cache(&["request.path"], "100s", None);
        let request = Request::example("GET", "/a?b");
        let key = cache.key(&request).unwrap();
        assert_eq!(cache.find(&key), None);
        cache.insert(key.clone(), &request, 7);
        assert_eq!(cache.find(&key), Some(7));
        assert_eq!(cache.key(&Request::example("GET", "/a?c")), Some(key.clone()), "the query is no part of the path");
        assert_ne!(cache.key(&Request::example("GET", "/b")), Some(key.clone()));
        clock.forward(Duration::from_secs(96));
        assert_eq!(cache.find(&key), None, "one is sent to ask again");
        assert_eq!(cache.find(&key), Some(7), "the others are not");
        clock.forward(Duration::from_secs(5));
        assert_eq!(cache.find(&key), None);
    }

    #[test]
    fn nothing_is_kept_without_a_key_or_a_time() {
        let request = Request::example("GET", "/a");
        assert_eq!(cache(&[], "10s", None).0.key(&request), None);
        assert_eq!(cache(&["request.path", r#"request.headers["x-a"]"#], "10s", None).0.key(&request), None);
        for ttl in ["0s", "duration(extauthz.missing)", "1", "request.path"] {
            let (cache, clock) = cache(&["request.path"], ttl, None);
            let key = cache.key(&request).unwrap();
            cache.insert(key.clone(), &request, 7);
            clock.forward(Duration::from_nanos(1));
            assert_eq!(cache.find(&key), None, "{ttl}");
        }
    }

    #[test]
    fn the_number_of_answers_is_limited() {
        let (cache, _) = cache(&["request.path"], "duration(extauthz.ttl)", Some(2));
        let keys = [("/first", "10s"), ("/second", "20s"), ("/third", "30s")].map(|(path, ttl)| {
            let mut request = Request::example("GET", path);
            request.metadata = Some(json!({"ttl": ttl}));
            let key = cache.key(&request).unwrap();
            cache.insert(key.clone(), &request, 7);
            key
        });
        assert_eq!(keys.map(|key| cache.find(&key)), [None, Some(7), Some(7)]);
    }
}
