//! Tokens with which the protection API of a UMA server is asked: client credentials (RFC 6749 §4.4).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use moka::{Expiry, future::Cache, policy::EvictionPolicy};
use serde_json::Value;
use url::Url;
use usher_engine::Failure;

use crate::{
    json_answer::first_value,
    resources::http::{Client, Request},
};

/// A token. Not shown by `Debug`.
#[derive(Debug, Clone)]
pub struct Token {
    authorization: HeaderValue,
    /// For how long it may be kept.
    lifetime: Duration,
    generation: u64,
    new: bool,
}

impl Token {
    /// The `Authorization` header.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Whether it was fetched for this very use. If it is not accepted, another one will not be either.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.new
    }
}

/// The tokens of one client at one server: the present one, as a rule.
pub(super) struct Tokens {
    client: Client,
    authorization: HeaderValue,
    timeout: Option<Duration>,
    /// How many tokens were forgotten. Who does not accept a token speaks of that one, not of its successor.
    generation: AtomicU64,
    by_generation: Cache<u64, Token>,
}

impl Tokens {
    pub(super) fn new(client: Client, authorization: HeaderValue, timeout: Option<Duration>) -> Self {
        let by_generation = Cache::builder()
            // The last one counts; the cache must take it in however often its predecessors were used.
            .max_capacity(4)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(UntilExpired)
            .build();
        Self { client, authorization, timeout, generation: AtomicU64::new(0), by_generation }
    }

    pub(super) async fn get(&self, endpoint: &Url) -> Result<Token, Failure> {
        let generation = self.generation.load(Ordering::Acquire);
        let entry = self.by_generation.entry(generation).or_try_insert_with(self.fetch(endpoint, generation)).await;
        let entry = entry.map_err(|failure: std::sync::Arc<Failure>| Failure::clone(&failure))?;
        let new = entry.is_fresh();
        Ok(Token { new, ..entry.into_value() })
    }

    pub(super) async fn forget(&self, token: &Token) {
        let (old, new) = (token.generation, token.generation.wrapping_add(1));
        if self.generation.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.by_generation.invalidate(&old).await;
        }
    }

    async fn fetch(&self, endpoint: &Url, generation: u64) -> Result<Token, Failure> {
        let failed = |detail: String| Failure::undecidable("missing protection api token", detail);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, self.authorization.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let (url, timeout) = (endpoint.as_str().to_owned(), self.timeout);
        let request =
            Request { method: Method::POST, url, headers, body: "grant_type=client_credentials".into(), timeout };
        let response = self.client.fetch(request).await.map_err(|error| failed(error.to_string()))?;
        if response.status != StatusCode::OK {
            return Err(failed(format!("token endpoint: status {} instead of 200", response.status.as_u16())));
        }
        let answer = first_value(response.body).await.map_err(failed)?;
        let token = answer.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| failed("the answer has no `access_token`".to_owned()))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| failed("the `access_token` cannot be sent in a header".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Token { authorization, lifetime: lifetime(answer.get("expires_in")), generation, new: true })
    }
}

/// A token is not used in the last seconds of its life: it must arrive, and clocks differ.
const EARLY: Duration = Duration::from_secs(10);

/// The longest time for which a token is kept.
const LONGEST: f64 = 24.0 * 3600.0;

/// For how long a token may be kept, from its `expires_in`: a number of seconds, also as text. Not at all if the server
/// does not say.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(seconds)) => seconds.parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite()).unwrap_or(0.0).clamp(0.0, LONGEST);
    Duration::from_secs_f64(seconds).saturating_sub(EARLY)
}

struct UntilExpired;

impl Expiry<u64, Token> for UntilExpired {
    fn expire_after_create(&self, _: &u64, token: &Token, _: Instant) -> Option<Duration> {
        Some(token.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_kept_until_shortly_before_they_expire() {
        for (expires_in, expected) in [
            (json!(300), 290),
            (json!("60"), 50),
            (json!(70.9), 60),
            (json!(10), 0),
            (json!(1), 0),
            (json!(0), 0),
            (json!(-1), 0),
            (json!(1e300), 24 * 3600 - 10),
            (json!("NaN"), 0),
            (json!("inf"), 0),
            (json!("soon"), 0),
            (json!(null), 0),
        ] {
            assert_eq!(lifetime(Some(&expires_in)).as_secs(), expected, "{expires_in}");
        }
        assert_eq!(lifetime(None), Duration::ZERO);
    }
}
