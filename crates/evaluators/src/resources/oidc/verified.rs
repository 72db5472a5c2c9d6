//! Tokens that were verified before.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use moka::{Expiry, sync::Cache};
use serde_json::Value;

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

/// Verified tokens by their SHA-256, within bounds of memory. The tokens themselves are not kept.
#[derive(Clone)]
pub struct VerifiedTokens {
    cache: Cache<TokenHash, Arc<VerifiedToken>>,
}

/// The SHA-256 of a token.
pub type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// About as many bytes are kept for one key set.
const MAX_BYTES: u64 = 16 << 20;

impl VerifiedTokens {
    /// No tokens yet.
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_BYTES)
            .weigher(|_, token: &Arc<VerifiedToken>| u32::try_from(size_of_token(token)).unwrap_or(u32::MAX))
            .expire_after(UntilExpired)
            .build();
        Self { cache }
    }

    /// The hash of a token. Of cryptographic strength, because who finds two tokens with one hash is somebody else.
    #[must_use]
    pub fn hash(token: &str) -> Option<TokenHash> {
        digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().ok()
    }

    /// What is known of a token; whether it is still valid is to be checked.
    #[must_use]
    pub fn get(&self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        self.cache.get(hash)
    }

    /// Remembers a token until it expires.
    pub fn insert(&self, hash: TokenHash, token: Arc<VerifiedToken>) {
        self.cache.insert(hash, token);
    }
}

/// Drops tokens that nobody can use any more. Only to free memory: validity is checked with each use.
struct UntilExpired;

impl Expiry<TokenHash, Arc<VerifiedToken>> for UntilExpired {
    fn expire_after_create(&self, _: &TokenHash, token: &Arc<VerifiedToken>, _: Instant) -> Option<Duration> {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let expires = u64::try_from(token.expires.unwrap_or(0)).unwrap_or(0);
        // The cache adds this to the present; a century is as good as more.
        Some(Duration::from_secs(expires.saturating_sub(now).min(100 * 365 * 24 * 3600)))
    }
}

/// About how many bytes it takes to remember a token.
fn size_of_token(token: &VerifiedToken) -> usize {
    const ENTRY: usize = 400;
    ENTRY + size_of_value(&token.claims)
}

fn size_of_value(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.capacity(),
            Value::Array(items) => items.iter().map(size_of_value).sum(),
            // Key, hash and place in the index, besides the value.
            Value::Object(members) => {
                members.iter().map(|(key, value)| 48 + key.capacity() + size_of_value(value)).sum()
            }
            _ => 0,
        }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VerifiedTokens").field("tokens", &self.cache.entry_count()).finish()
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
    fn memory_is_bounded() {
        let tokens = VerifiedTokens::new();
        let claims = json!({"text": "x".repeat(100_000)});
        for number in 0..1000 {
            tokens.insert(VerifiedTokens::hash(&number.to_string()).unwrap(), token(claims.clone(), 3600));
        }
        tokens.cache.run_pending_tasks();
        assert!(tokens.cache.weighted_size() <= MAX_BYTES, "{}", tokens.cache.weighted_size());
        assert!(tokens.cache.entry_count() < 200, "{}", tokens.cache.entry_count());
    }
}
