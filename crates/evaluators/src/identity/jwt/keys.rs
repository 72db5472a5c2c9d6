//! Where the keys of a rule come from, and the signatures that are verified with them.
//!
//! | field | keys | algorithms |
//! | --- | --- | --- |
//! | `issuerUrl`, `jwksUrl` | fetched, and kept up to date, by [`crate::resources::oidc`] | with public keys |
//! | `jwks` | a key set that is there | with public keys |
//! | `secretRef` | a shared secret | HS256, HS384, HS512 |

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::Value;
use usher_api::{JwksSource, JwksSpec, JwtKeySource, JwtSecretReference, JwtSpec};

use super::{
    algorithms::{Algorithms, SignatureAlgorithm},
    shared_secret::SharedSecret,
    token::Token,
};
use crate::{
    FieldPath, Problems, SecretReader, SecretUse,
    resources::{
        http::{parse_url, time_limit},
        jwks::{KeySet, SignatureCheck, SkippedKey},
        oidc::{Keys, Location, Source, SourceConfig, VerifiedTokens},
    },
};

/// Where the keys of a rule come from.
#[derive(Debug)]
pub(super) enum KeySource {
    /// From elsewhere: they may be missing, and newer ones may be had.
    Fetched(Arc<Source>),
    /// From the configuration: they are what they are until it is compiled again.
    Local(LocalKeys),
}

/// What a [`KeySource`] is made of.
#[derive(Debug)]
pub(super) enum KeyConfig {
    Fetched(SourceConfig),
    Local(LocalKeys),
}

/// Keys that are there, and what was verified with them.
#[derive(Debug)]
pub(super) struct LocalKeys {
    key: LocalKey,
    verified: VerifiedTokens,
}

#[derive(Debug)]
enum LocalKey {
    Public(Box<KeySet>),
    Secret(Box<SharedSecret>),
}

/// The keys of one check.
pub(super) struct KeysInUse<'k> {
    key: Key<'k>,
    /// The issuer as its discovery document names it.
    pub(super) issuer: Option<&'k str>,
    /// Tokens that were verified with these keys.
    pub(super) verified: &'k VerifiedTokens,
}

enum Key<'k> {
    Public(&'k KeySet),
    Secret(&'k SharedSecret),
}

impl<'k> From<&'k Keys> for KeysInUse<'k> {
    fn from(keys: &'k Keys) -> Self {
        Self { key: Key::Public(&keys.set), issuer: keys.issuer.as_deref(), verified: &keys.verified }
    }
}

impl<'k> From<&'k LocalKeys> for KeysInUse<'k> {
    fn from(keys: &'k LocalKeys) -> Self {
        let key = match &keys.key {
            LocalKey::Public(set) => Key::Public(set),
            LocalKey::Secret(secret) => Key::Secret(secret),
        };
        Self { key, issuer: None, verified: &keys.verified }
    }
}

impl KeysInUse<'_> {
    /// Whether one of the keys is for the algorithm.
    pub(super) fn are_for(&self, algorithm: SignatureAlgorithm) -> bool {
        match (&self.key, algorithm) {
            (Key::Public(set), SignatureAlgorithm::PublicKey(algorithm)) => set.has_key_for(algorithm),
            (Key::Secret(_), SignatureAlgorithm::SharedSecret(_)) => true,
            _ => false,
        }
    }

    /// Checks the signature of a token. `kid` says nothing where there is only one secret.
    pub(super) fn verify(&self, token: &Token<'_>) -> SignatureCheck {
        match (&self.key, token.algorithm()) {
            (Key::Public(set), SignatureAlgorithm::PublicKey(algorithm)) => {
                set.verify(token.key_id(), algorithm, token.signed(), token.signature())
            }
            (Key::Secret(secret), SignatureAlgorithm::SharedSecret(algorithm)) => {
                match secret.verify(algorithm, token.signed(), token.signature()) {
                    true => SignatureCheck::Valid,
                    false => SignatureCheck::Invalid,
                }
            }
            _ => SignatureCheck::Invalid,
        }
    }
}

/// Reads where the keys of a rule come from: exactly one of the fields.
pub(super) fn build(
    spec: &JwtSpec,
    algorithms: &Algorithms,
    at: &FieldPath<'_>,
    secrets: &SecretReader<'_>,
    problems: &mut Problems,
) -> Option<KeyConfig> {
    let key = match problems.take(at, spec.key_source())? {
        JwtKeySource::IssuerUrl(url) => {
            problems.take(&at.field("issuerUrl"), parse_url(url))?;
            return Some(KeyConfig::Fetched(source(spec, Location::Issuer(url.to_owned()))));
        }
        JwtKeySource::JwksUrl(url) => {
            problems.take(&at.field("jwksUrl"), parse_url(url))?;
            return Some(KeyConfig::Fetched(source(spec, Location::KeySet(url.to_owned()))));
        }
        JwtKeySource::Jwks(jwks) => LocalKey::Public(key_set(jwks, &at.field("jwks"), secrets, problems)?.into()),
        JwtKeySource::SecretRef(reference) => {
            LocalKey::Secret(shared_secret(reference, algorithms, &at.field("secretRef"), secrets, problems)?.into())
        }
    };
    Some(KeyConfig::Local(LocalKeys { key, verified: VerifiedTokens::new() }))
}

fn source(spec: &JwtSpec, location: Location) -> SourceConfig {
    let ttl = match location {
        Location::Issuer(_) => spec.ttl.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0),
        Location::KeySet(_) => None,
    };
    SourceConfig { location, ttl: ttl.map(Duration::from_secs), timeout: time_limit(spec.timeout) }
}

fn key_set(spec: &JwksSpec, at: &FieldPath<'_>, secrets: &SecretReader<'_>, problems: &mut Problems) -> Option<KeySet> {
    match problems.take(at, spec.source())? {
        JwksSource::Inline(document) => {
            let text = match document {
                Value::String(text) => Cow::Borrowed(text),
                object => Cow::Owned(object.to_string()),
            };
            let at = at.field("inline");
            read_key_set(text.as_bytes(), |error| error.to_string(), &at, problems)
        }
        JwksSource::SecretRef(reference) => {
            let at = at.field("secretRef");
            let text = secrets.entry(&reference.name, &reference.key, SecretUse::Trust, &at, problems)?;
            // What exactly is wrong could quote the Secret, which may hold something else than a key set.
            let describe =
                |_| format!("entry \"{}\" of Secret \"{}\" is not a json web key set", reference.key, reference.name);
            read_key_set(text, describe, &at, problems)
        }
    }
}

fn read_key_set(
    text: &[u8],
    describe: impl FnOnce(crate::resources::jwks::KeySetError) -> String,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Option<KeySet> {
    let mut left_out = Vec::new();
    let set = KeySet::parse_noting(text, |position, _, reason| left_out.push((position, reason)));
    let set = problems.take(at, set.map_err(describe))?;
    let mut is_good = true;
    for (position, reason) in left_out {
        if reason == SkippedKey::SharedSecret {
            is_good = false;
            let message = "is a shared secret (`kty: oct`), which a set of public keys must not have: \
                           put it into a Secret and name that in `jwt.secretRef`";
            problems.add(at, format_args!("keys[{position}] {message}"));
        } else {
            problems.warn(at, format_args!("keys[{position}] is left out: {reason}"));
        }
    }
    if is_good && set.is_empty() {
        is_good = false;
        problems.add(at, "the key set has no key that could verify a token");
    }
    is_good.then_some(set)
}

fn shared_secret(
    reference: &JwtSecretReference,
    algorithms: &Algorithms,
    at: &FieldPath<'_>,
    secrets: &SecretReader<'_>,
    problems: &mut Problems,
) -> Option<SharedSecret> {
    let secret = secrets.entry(&reference.name, &reference.key, SecretUse::Trust, at, problems)?;
    if secret.is_empty() {
        // Everybody knows the empty secret.
        problems.add(at, format_args!("entry \"{}\" of Secret \"{}\" is empty", reference.key, reference.name));
        return None;
    }
    if secret.ends_with(b"\n") {
        problems.warn(at, "the secret ends with a line break, which is taken for a part of it");
    }
    let weakest = algorithms.hmac().min_by_key(|algorithm| algorithm.recommended_length());
    if let Some(algorithm) = weakest
        && secret.len() < algorithm.recommended_length()
    {
        problems.warn(
            at,
            format_args!(
                "the secret is shorter than the {} bytes that {} asks for (RFC 7518, section 3.2): it can be guessed",
                algorithm.recommended_length(),
                algorithm.name()
            ),
        );
    }
    Some(SharedSecret::new(secret))
}

#[cfg(test)]
mod tests;
