//! `jwt`: JSON Web Tokens of an OpenID Connect issuer, or signed with a published key.
//!
//! # What it does
//! Takes the credential of the request for a signed token (RFC 7519, compact form) and verifies it: first the
//! signature, then the claims. The identity is the object of all claims.
//!
//! ```text
//!  credential ──► seen before with these keys? ──yes──────────────────────────┐
//!                      │ no                                                   ▼
//!                      └─► parse ──► signature ──► claims readable? ──► exp, nbf, iss ──► claims
//!                                       │ no key fits
//!                                       └─► newer keys, if it is time for them; then once more
//! ```
//!
//! The signature comes first: what an unsigned token claims is nobody's claim, and is not worth an answer about it.
//! Which algorithms are possible is decided by the issuer's keys ([`crate::resources::jwks`]): never `none`, never one
//! with a shared secret.
//!
//! With `issuerUrl`, `iss` must be the issuer that the discovery document names. With `jwksUrl` there is nothing to
//! compare it with. `aud` is not looked at: what a token is for is for authorization rules to say.
//!
//! # Example
//! ```yaml
//! authentication:
//!   keycloak:
//!     jwt: {issuerUrl: https://keycloak.example/realms/pets}
//! ```
//!
//! # Errors
//! - `credential not found`: the request carries no token where the rule looks for it.
//! - `oidc: malformed jwt: …`: the credential is not a token that could be verified.
//! - `failed to verify signature: …`: it was not signed by the issuer.
//! - `oidc: token is expired …`, `oidc: current time … before the nbf (not before) time …`, `oidc: token was issued by
//!   another issuer`: it was, but does not count here and now.
//! - undecidable, `missing openid connect configuration` or `missing json web key set`: the keys could never be fetched.

mod claims;
mod token;

use std::{
    borrow::Cow,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use usher_api::{JwtKeySource, JwtSpec};
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::Credentials,
    resources::{
        http::parse_url,
        jwks::SignatureCheck,
        oidc::{Keys, Location, Refresh, Source, SourceConfig, VerifiedTokens},
    },
};

use token::Token;

/// Verifies the token of a request.
#[derive(Debug)]
pub struct Jwt {
    credentials: Credentials,
    source: Arc<Source>,
}

/// Reads `jwt` of a rule.
pub fn build(
    spec: &JwtSpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Jwt> {
    let config = source_config(spec, at, problems)?;
    Some(Jwt { credentials: credentials?, source: context.resources.issuers.source(config) })
}

fn source_config(spec: &JwtSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<SourceConfig> {
    let ttl = spec.ttl.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    let (field, url, location, ttl) = match problems.take(at, spec.key_source())? {
        JwtKeySource::IssuerUrl(url) => ("issuerUrl", url, Location::Issuer(url.to_owned()), ttl),
        JwtKeySource::JwksUrl(url) => ("jwksUrl", url, Location::KeySet(url.to_owned()), None),
    };
    problems.take(&at.field(field), parse_url(url))?;
    let timeout = match spec.timeout {
        None => Some(DEFAULT_TIMEOUT),
        Some(0) => None,
        Some(milliseconds) => Some(Duration::from_millis(milliseconds)),
    };
    Some(SourceConfig { location, ttl: ttl.map(Duration::from_secs), timeout })
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer tokens are refused unread. Header sections of gateways are hardly ever allowed to be larger.
const MAX_TOKEN: usize = 64 * 1024;

/// How long a check waits for the first attempt to fetch keys. Issuers that answer at all do so within; for the others
/// checks do not queue up.
const FIRST_ATTEMPT_PATIENCE: Duration = Duration::from_secs(1);

impl Evaluator for Jwt {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let token = match self.credentials.require(context) {
            Ok(token) => token,
            Err(failure) => return Evaluation::failure(failure),
        };
        if token.len() > MAX_TOKEN {
            return Evaluation::failure(Failure::denied("oidc: malformed jwt: larger than 64 kB"));
        }
        match &*self.source.keys() {
            Some(keys) => match verify(&token, keys, now()) {
                Verification::Done(outcome) => outcome.into(),
                Verification::NoKey(no_key) => match self.source.refresh() {
                    _ if no_key == NoKey::AnotherIssuer => self.refuse(no_key).into(),
                    Refresh::Recent => self.refuse(no_key).into(),
                    Refresh::Underway(refreshed) => Evaluation::pending(self.verify_after(refreshed, token)),
                },
            },
            None => self.without_keys(token),
        }
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.credentials.require(context).map(Some)
    }
}

impl Jwt {
    fn without_keys<'a>(&'a self, token: Cow<'a, str>) -> Evaluation<'a> {
        if let Err(failure) = Token::parse(&token) {
            return Evaluation::failure(failure);
        }
        match self.source.first_attempt() {
            Some(attempt) => Evaluation::pending(async move {
                let patient = async {
                    let _ = tokio::time::timeout(FIRST_ATTEMPT_PATIENCE, attempt).await;
                };
                self.verify_after(patient, token).await
            }),
            None => {
                // Sooner than by itself, perhaps: somebody needs the keys now. Nobody waits for it.
                let _ = self.source.refresh();
                Evaluation::failure(self.source.unavailable())
            }
        }
    }

    async fn verify_after(&self, event: impl Future<Output = ()>, token: Cow<'_, str>) -> Outcome {
        event.await;
        match &*self.source.keys() {
            None => Err(self.source.unavailable()),
            Some(keys) => match verify(&token, keys, now()) {
                Verification::Done(outcome) => outcome,
                Verification::NoKey(no_key) => self.refuse(no_key),
            },
        }
    }

    /// There is no key for the token and none to be had: the caller's fault, unless the issuer may have a key that
    /// could not be fetched.
    fn refuse(&self, no_key: NoKey) -> Outcome {
        match no_key {
            NoKey::Unknown if self.source.is_failing() => Err(self.source.unavailable()),
            _ => Err(Failure::denied("failed to verify signature: failed to verify id token signature")),
        }
    }
}

enum Verification {
    Done(Outcome),
    /// No key made the signature; newer ones may.
    NoKey(NoKey),
}

/// Why no key fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NoKey {
    /// There is none with that id.
    Unknown,
    /// The one with that id did not make the signature.
    Mismatch,
    /// The token does not even claim to be of this issuer: newer keys cannot help.
    AnotherIssuer,
}

fn verify(text: &str, keys: &Keys, now: i64) -> Verification {
    let issuer = keys.issuer.as_deref();
    let hash = VerifiedTokens::hash(text);
    if let Some(known) = hash.as_ref().and_then(|hash| keys.verified.get(hash)) {
        return Verification::Done(claims::check(&known, issuer, now).map(|()| Arc::clone(&known.claims)));
    }
    let token = match Token::parse(text) {
        Ok(token) => token,
        Err(failure) => return Verification::Done(Err(failure)),
    };
    let no_key = match keys.set.verify(token.key_id(), token.algorithm(), token.signed(), token.signature()) {
        SignatureCheck::Valid => {
            return Verification::Done(claims::read(token.payload()).and_then(|verified| {
                claims::check(&verified, issuer, now)?;
                let verified = Arc::new(verified);
                if let Some(hash) = hash {
                    keys.verified.insert(hash, Arc::clone(&verified));
                }
                Ok(Arc::clone(&verified.claims))
            }));
        }
        SignatureCheck::UnknownKey => NoKey::Unknown,
        SignatureCheck::Invalid => NoKey::Mismatch,
    };
    // With several issuers each sees the tokens of all: these must not make it fetch its keys again and again.
    let of_another = issuer.is_some_and(|issuer| !claims::may_be_issued_by(token.payload(), issuer));
    Verification::NoKey(if of_another { NoKey::AnotherIssuer } else { no_key })
}

/// The second since 1970.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
