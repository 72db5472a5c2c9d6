//! Results of earlier requests, kept per step.
//!
//! Every step that wants one has a cache of its own, which lives as long as its plan: a changed configuration starts
//! with an empty one. A key is made of typed, length-prefixed parts, so that no two keys run into each other.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use moka::future::Cache;
use serde_json::Value;
use usher_expr::Expression;

use crate::{Context, Failure, Outcome, evaluator::Evaluator};

/// The cache of one step.
#[derive(Debug)]
pub struct StepCache {
    key: Expression,
    entries: Entries,
}

type Entries = Cache<Arc<[u8]>, Arc<Value>>;

impl StepCache {
    /// A cache for results under the value of `key`, each for `ttl`, of at most `capacity` bytes in all.
    #[must_use]
    pub fn new(key: Expression, ttl: Duration, capacity: u64) -> Self {
        let entries: Entries = Cache::builder()
            .max_capacity(capacity)
            .weigher(|key: &Arc<[u8]>, value: &Arc<Value>| {
                u32::try_from(ENTRY_BYTES + key.len() + size_of_value(value)).unwrap_or(u32::MAX)
            })
            .time_to_live(ttl)
            .build();
        Self { key, entries }
    }

    /// The key for this request.
    ///
    /// # Errors
    /// When the evaluator needs a credential that the request does not carry: a cached result must not stand in for a
    /// missing credential.
    ///
    /// `Ok(None)`: the key has no value, so this request is not cached.
    pub(crate) fn key(&self, evaluator: &dyn Evaluator, context: &Context<'_>) -> Result<Option<Arc<[u8]>>, Failure> {
        let credential = evaluator.credential(context)?;
        Ok(match self.key.resolve(context) {
            Err(_) | Ok(Value::Null) => None,
            Ok(value) => Some(typed_key(&value, credential)),
        })
    }

    /// The result under `key`, if it is there and can be had without waiting.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Value>> {
        // Null says that nothing was found, which may be different now.
        self.entries.get(key).now_or_never().flatten().filter(|found| !found.is_null())
    }

    /// The result under `key`: found, or made by `evaluate`. Concurrent requests with one key wait for one evaluation.
    /// Failures are not kept.
    pub(crate) async fn get_or(&self, key: Arc<[u8]>, evaluate: impl Future<Output = Outcome>) -> Outcome {
        if let Some(found) = self.entries.get(&*key).await {
            if !found.is_null() {
                return Ok(found);
            }
            // Null says that nothing was found, which may be different now.
            self.entries.invalidate(&*key).await;
        }
        self.entries.try_get_with(key, evaluate).await.map_err(|failure| (*failure).clone())
    }
}

/// What an entry costs besides key and value.
const ENTRY_BYTES: usize = 128;

fn typed_key(value: &Value, credential: Option<Cow<'_, str>>) -> Arc<[u8]> {
    let (kind, text) = match value {
        Value::String(text) => (b's', Cow::Borrowed(text.as_str())),
        other => (b'j', Cow::Owned(other.to_string())),
    };
    let credential = credential.unwrap_or_default();
    let mut key = Vec::with_capacity(1 + 8 + credential.len() + text.len());
    key.push(kind);
    key.extend_from_slice(&credential.len().to_be_bytes());
    key.extend_from_slice(credential.as_bytes());
    key.extend_from_slice(text.as_bytes());
    key.into()
}

/// An estimate of the memory that a value takes, in bytes.
#[must_use]
pub fn size_of_value(value: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    /// The key of a member, its hash and its place in the index.
    const KEY: usize = 48;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(elements) => NODE + elements.iter().map(size_of_value).sum::<usize>(),
        Value::Object(members) => {
            NODE + members.iter().map(|(key, value)| KEY + key.len() + size_of_value(value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_of_different_type_or_split_differ() {
        let keys = [
            typed_key(&json!(42), None),
            typed_key(&json!("42"), None),
            typed_key(&json!("2"), Some("4".into())),
            typed_key(&json!(""), Some("42".into())),
            typed_key(&json!("42"), Some("".into())),
            typed_key(&json!([42]), None),
        ];
        for (i, left) in keys.iter().enumerate() {
            for (j, right) in keys.iter().enumerate() {
                // No credential and an empty one are the same thing to an evaluator.
                assert_eq!(left == right, i == j || (i, j) == (1, 4) || (i, j) == (4, 1), "{i} {j}");
            }
        }
    }

    #[tokio::test]
    async fn null_is_asked_for_again() {
        let cache = StepCache::new(Expression::value(json!("k")), Duration::from_secs(60), 1 << 20);
        let key = || typed_key(&json!("k"), None);
        for (made, expected) in [(json!(null), json!(null)), (json!(1), json!(1)), (json!(2), json!(1))] {
            assert_eq!(cache.get_or(key(), async { Ok(Arc::new(made)) }).await, Ok(Arc::new(expected)));
        }
    }

    #[tokio::test]
    async fn concurrent_misses_are_one_evaluation_and_failures_are_not_kept() {
        let cache = StepCache::new(Expression::value(json!("k")), Duration::from_secs(60), 1 << 20);
        let key = || typed_key(&json!("k"), None);
        let failed = cache.get_or(key(), async { Err(Failure::denied("no")) }).await;
        assert_eq!(failed, Err(Failure::denied("no")));
        let runs = std::sync::atomic::AtomicUsize::new(0);
        let evaluate = || async {
            runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(Arc::new(json!(1)))
        };
        let (first, second) = tokio::join!(cache.get_or(key(), evaluate()), cache.get_or(key(), evaluate()));
        assert_eq!(first, second);
        assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
