//! `jwt`: JSON Web Tokens of an OpenID Connect issuer, or signed with a known key.
//!
//! # What it does
//! Takes the credential of the request for a signed token (RFC 7519, compact form) and verifies it: first the
//! signature, then the claims. The identity is the object of all claims.
//!
//! ```text
//!  credential ──► seen before with these keys? ──yes──────────────────────────┐
//!                      │ no                                                   ▼
//!                      └─► parse ──► signature ──► claims readable? ──► exp, nbf, iss, aud ──► claims
//!                                       │ no key fits
//!                                       └─► newer keys, if it is time for them; then once more
//! ```
//!
//! The signature comes first: what an unsigned token claims is nobody's claim, and is not worth an answer about it.
//!
//! # Fields
//! Exactly one of these says where the keys come from:
//!
//! - `issuerUrl`: an OpenID Connect issuer. Its discovery document names the key set. `ttl`: seconds after which both
//!   are fetched again. `timeout`: milliseconds for each request, 5000 if absent, 0 for no limit of its own.
//! - `jwksUrl`: a key set, with the same `timeout`.
//! - `jwks`: a key set that is not fetched: `inline`, an object or its JSON text, or `secretRef`, an entry of a Secret.
//!   Shared secrets (`kty: oct`) in it are refused.
//! - `secretRef`: a shared secret, the entry `key` (by default) of a Secret.
//!
//! The others are optional:
//!
//! - `issuer`: what `iss` must be, a string or a list of them. If absent, with `issuerUrl` it must be the issuer that
//!   the discovery document names, otherwise it is not looked at.
//! - `audiences`: `aud` must have one of them. If absent, whom a token is for is left to authorization rules.
//! - `algorithms`: those that are accepted. If absent, all that the keys allow (`kty`, `crv`, `alg`): RS256, RS384,
//!   RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA with public keys, HS256, HS384 and HS512 with
//!   `secretRef`. The list only narrows that: a public key never verifies an HS256, and `none` is never accepted.
//! - `leewaySeconds`: by how much clocks may differ, for both `exp` and `nbf`. If absent, 0 for `exp` and 300 for `nbf`.
//!   A token without `exp` is always refused.
//!
//! # Examples
//! ```yaml
//! authentication:
//!   keycloak:
//!     jwt: {issuerUrl: https://keycloak.example/realms/pets, audiences: [pets-api]}
//!   partner:
//!     jwt:
//!       jwksUrl: https://partner.example/keys
//!       issuer: https://partner.example
//!       algorithms: [ES256]
//!   legacy:
//!     jwt: {secretRef: {name: legacy-token-secret}}
//! ```
//!
//! # Errors
//! - `credential not found`: the request carries no token where the rule looks for it.
//! - `oidc: malformed jwt: …`: the credential is not a token that could be verified: also one with an algorithm that
//!   is not accepted, with those that are.
//! - `failed to verify signature: …`: it was not signed by the issuer.
//! - `oidc: failed to unmarshal claims: …`: it was, but its claims cannot be read.
//! - `oidc: source does not exist`: `_claim_names` says that a claim stands elsewhere, and `_claim_sources` does not say
//!   where.
//! - `oidc: token is expired …`, `oidc: current time … before the nbf (not before) time …`, `oidc: token was issued by
//!   another issuer`, `oidc: expected audience …`: it was, but does not count here and now.
//! - undecidable, `missing openid connect configuration` or `missing json web key set`: the keys could never be fetched.
//!
//! A missing or empty Secret, or a key set without a usable key, is a problem of the AuthConfig, which is refused.

mod algorithms;
mod claims;
mod keys;
mod shared_secret;
mod token;

use std::{borrow::Cow, future::Future, sync::Arc};

use usher_api::JwtSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};

use crate::{
    BuildContext, FieldPath, Problems,
    clock::now,
    credentials::{Credentials, MAX_TOKEN},
    resources::{
        background::FIRST_ATTEMPT_PATIENCE,
        jwks::SignatureCheck,
        oidc::{Refresh, Source, VerifiedToken, VerifiedTokens},
    },
};

use algorithms::Algorithms;
use claims::Expected;
use keys::{KeyConfig, KeySource, KeysInUse};
use token::Token;

/// Verifies the token of a request.
#[derive(Debug)]
pub struct Jwt {
    credentials: Credentials,
    keys: KeySource,
    algorithms: Algorithms,
    expected: Expected,
}

/// Reads `jwt` of a rule.
pub fn build(
    spec: &JwtSpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Jwt> {
    let algorithms = Algorithms::build(spec, at, problems);
    let expected = Expected::build(spec, at, problems);
    let keys = keys::build(spec, &algorithms, at, context.secrets, problems);
    let (credentials, expected, keys) = (credentials?, expected?, keys?);
    let keys = match keys {
        KeyConfig::Fetched(config) => KeySource::Fetched(context.resources.issuers.source(config)),
        KeyConfig::Local(keys) => KeySource::Local(keys),
    };
    Some(Jwt { credentials, keys, algorithms, expected })
}

impl Evaluator for Jwt {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let token = match self.credentials.require(context) {
            Ok(token) => token,
            Err(failure) => return Evaluation::failure(failure),
        };
        if token.len() > MAX_TOKEN {
            return Evaluation::failure(Failure::denied("oidc: malformed jwt: larger than 64 kB"));
        }
        match &self.keys {
            KeySource::Local(keys) => self.verify(&token, &keys.into(), now()).unwrap_or_else(|_| unverified()).into(),
            KeySource::Fetched(source) => self.verify_with_fetched(source, token),
        }
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.credentials.require(context).map(Some)
    }
}

impl Jwt {
    /// The issuer, if its discovery document is where the keys come from.
    #[must_use]
    pub fn issuer(&self) -> Option<Arc<Source>> {
        match &self.keys {
            KeySource::Fetched(source) if source.has_discovery() => Some(Arc::clone(source)),
            _ => None,
        }
    }

    fn verify_with_fetched<'a>(&'a self, source: &'a Source, token: Cow<'a, str>) -> Evaluation<'a> {
        let keys = source.keys();
        let Some(keys) = keys.as_deref() else {
            return self.without_keys(source, token);
        };
        match self.verify(&token, &keys.into(), now()) {
            Ok(outcome) => outcome.into(),
            Err(NoKey::AnotherIssuer) => unverified().into(),
            Err(no_key) => match source.refresh() {
                Refresh::Recent => refuse(source, no_key).into(),
                Refresh::Underway(refreshed) => Evaluation::pending(self.verify_after(refreshed, source, token)),
            },
        }
    }

    fn without_keys<'a>(&'a self, source: &'a Source, token: Cow<'a, str>) -> Evaluation<'a> {
        if let Err(failure) = Token::parse(&token, &self.algorithms, |_| true) {
            return Evaluation::failure(failure);
        }
        match source.first_attempt() {
            Some(attempt) => Evaluation::pending(async move {
                let patient = async {
                    let _ = tokio::time::timeout(FIRST_ATTEMPT_PATIENCE, attempt).await;
                };
                self.verify_after(patient, source, token).await
            }),
            None => {
                // Sooner than by itself, perhaps: somebody needs the keys now. Nobody waits for it.
                let _ = source.refresh();
                Evaluation::failure(source.unavailable())
            }
        }
    }

    async fn verify_after(&self, event: impl Future<Output = ()>, source: &Source, token: Cow<'_, str>) -> Outcome {
        event.await;
        match source.keys().as_deref() {
            None => Err(source.unavailable()),
            Some(keys) => self.verify(&token, &keys.into(), now()).unwrap_or_else(|no_key| refuse(source, no_key)),
        }
    }

    /// What the keys say about a token, or why they say nothing.
    fn verify(&self, text: &str, keys: &KeysInUse<'_>, now: i64) -> Result<Outcome, NoKey> {
        let hash = VerifiedTokens::hash(text);
        if let Some(known) = hash.as_ref().and_then(|hash| keys.verified.get(hash)) {
            return Ok(self.accept_again(text, &known, keys, now));
        }
        let token = match Token::parse(text, &self.algorithms, |algorithm| keys.are_for(algorithm)) {
            Ok(token) => token,
            Err(failure) => return Ok(Err(failure)),
        };
        let no_key = match keys.verify(&token) {
            SignatureCheck::Valid => {
                return Ok(claims::read(token.payload()).and_then(|verified| {
                    self.expected.check(&verified, keys.issuer, now)?;
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
        let may_be_own = self.expected.may_be_issuer_of(token.payload(), keys.issuer);
        Err(if may_be_own { no_key } else { NoKey::AnotherIssuer })
    }

    /// A token whose signature was verified before: perhaps for another rule with the same keys, which may ask for less
    /// than this one. And time has passed.
    fn accept_again(&self, text: &str, known: &VerifiedToken, keys: &KeysInUse<'_>, now: i64) -> Outcome {
        if self.algorithms.are_narrowed() {
            Token::parse(text, &self.algorithms, |algorithm| keys.are_for(algorithm))?;
        }
        self.expected.check(known, keys.issuer, now)?;
        Ok(Arc::clone(&known.claims))
    }
}

/// Why no key fits. Newer ones may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NoKey {
    /// There is none with that id.
    Unknown,
    /// The one with that id did not make the signature.
    Mismatch,
    /// The token does not even claim to be of this issuer: newer keys cannot help.
    AnotherIssuer,
}

/// There is no key for the token and none to be had: the caller's fault, unless the issuer may have a key that could
/// not be fetched.
fn refuse(source: &Source, no_key: NoKey) -> Outcome {
    match no_key {
        NoKey::Unknown if source.is_failing() => Err(source.unavailable()),
        _ => unverified(),
    }
}

fn unverified() -> Outcome {
    Err(Failure::denied("failed to verify signature: failed to verify id token signature"))
}

#[cfg(test)]
mod tests;
