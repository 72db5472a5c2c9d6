//! Tokens that were verified before.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use moka::{Expiry, sync::Cache};
use serde_json::Value;
use usher_engine::cache::size_of_value;

use crate::clock::time_until;

/// What is known of a token whose signature was verified.
#[derive(Debug)]
pub struct VerifiedToken {
    /// All of its claims.
    pub claims: Arc<Value>,
    /// `exp`: the second since 1970 from which on it is not valid any more; none if the token does not say.
    pub expires: Option<i64>,
    /// `nbf`: the second since 1970 before which it is not valid.
    pub not_before: Option<i64>,
}

/// Tokens that were verified with one set of keys, by their SHA-256. The tokens themselves are not kept.
///
/// All sets share one store, within bounds of memory: whoever may write configurations can have as many sets as they
/// like, and sign as many tokens. A token that is seen often stays, however many are seen once.
#[derive(Clone)]
pub struct VerifiedTokens {
    set: u64,
}

/// A set, and a token.
type Key = (u64, TokenHash);

type Store = Cache<Key, Arc<VerifiedToken>>;

static STORE: LazyLock<Store> = LazyLock::new(|| store(MAX_BYTES));

/// The number of the next set. Numbers are never used again, so nothing that was verified with other keys is found.
static NEXT_SET: AtomicU64 = AtomicU64::new(0);

/// The SHA-256 of a token.
pub type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// About as many bytes are kept in all.
const MAX_BYTES: u64 = 64 << 20;

impl VerifiedTokens {
    /// No tokens yet.
    pub(crate) fn new() -> Self {
        Self { set: NEXT_SET.fetch_add(1, Ordering::Relaxed) }
    }

    /// The hash of a token. Of cryptographic strength, because who finds two tokens with one hash is somebody else.
    #[must_use]
    pub fn hash(token: &str) -> Option<TokenHash> {
        digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().ok()
    }

    /// What is known of a token; whether it is still valid is to be checked.
    #[must_use]
    pub fn get(&self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        STORE.get(&(self.set, *hash))
    }

    /// Remembers a token until it expires.
    pub fn insert(&self, hash: TokenHash, token: Arc<VerifiedToken>) {
        STORE.insert((self.set, hash), token);
    }
}

fn store(bytes: u64) -> Store {
    Cache::builder()
        .max_capacity(bytes)
        .weigher(|_, token: &Arc<VerifiedToken>| u32::try_from(size_of_token(token)).unwrap_or(u32::MAX))
        .expire_after(UntilExpired)
        .build()
}

/// Drops tokens that nobody can use any more. Only to free memory: validity is checked with each use.
struct UntilExpired;

impl Expiry<Key, Arc<VerifiedToken>> for UntilExpired {
    fn expire_after_create(&self, _: &Key, token: &Arc<VerifiedToken>, _: Instant) -> Option<Duration> {
        Some(time_until(token.expires.unwrap_or(0)))
    }
}

/// About how many bytes it takes to remember a token.
fn size_of_token(token: &VerifiedToken) -> usize {
    const ENTRY: usize = 400;
    ENTRY + size_of_value(&token.claims)
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VerifiedTokens").field("set", &self.set).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: Value, seconds: i64) -> Arc<VerifiedToken> {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        Arc::new(VerifiedToken {
            claims: Arc::new(claims),
            expires: Some(now.saturating_add(seconds)),
            not_before: None,
        })
    }

    #[test]
    fn tokens_are_found_again_until_they_expire() {
        let tokens = VerifiedTokens::new();
        let hash = |text| VerifiedTokens::hash(text).unwrap();
        tokens.insert(hash("a"), token(json!({"sub": "a"}), 3600));
        tokens.insert(hash("b"), token(json!({"sub": "b"}), i64::MAX));
        tokens.insert(hash("c"), token(json!({"sub": "c"}), -1));
        assert_eq!(*tokens.get(&hash("a")).unwrap().claims, json!({"sub": "a"}));
        assert_eq!(*tokens.get(&hash("b")).unwrap().claims, json!({"sub": "b"}));
        assert!(tokens.get(&hash("c")).is_none());
        assert!(tokens.get(&hash("A")).is_none());
    }

    #[test]
    fn what_was_verified_with_other_keys_is_not_found() {
        let (tokens, others) = (VerifiedTokens::new(), VerifiedTokens::new());
        let hash = VerifiedTokens::hash("a").unwrap();
        tokens.insert(hash, token(json!({"sub": "a"}), 3600));
        assert!(others.get(&hash).is_none());
        assert!(tokens.clone().get(&hash).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let store = store(1 << 20);
        let claims = json!({"text": "x".repeat(10_000)});
        for number in 0..1000 {
            store.insert((number, VerifiedTokens::hash("a").unwrap()), token(claims.clone(), 3600));
        }
        store.run_pending_tasks();
        assert!(store.weighted_size() <= 1 << 20, "{}", store.weighted_size());
        assert!(store.entry_count() < 120, "{}", store.entry_count());
    }
}
