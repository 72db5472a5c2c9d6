//! JSON Web Key Sets (RFC 7517): public keys, each made ready for verification once.
//!
//! What a key may verify is decided by the key (`kty`, `crv`, `alg`, `use`, `key_ops`), never by the token alone: a
//! token chooses only among the algorithms that the issuer's keys are for. Keys that are of no use here (unknown
//! kinds, encryption, shared secrets) or broken are left out; they do not spoil the rest.

#[cfg(test)]
pub(crate) mod test_keys;

use std::{collections::HashMap, fmt};

use aws_lc_rs::{
    digest,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set. More are not an issuer's, and each costs memory and, for tokens without `kid`, time.
pub const MAX_KEYS: usize = 500;

/// The most keys that are tried for a token that does not say which one it was signed with.
const MAX_TRIED: usize = 16;

/// A signature algorithm with public keys, RFC 7518 §3.1 and RFC 8037 §3.1.
///
/// Neither `none` nor the algorithms with a shared secret are among them: they cannot even be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512
    RS512,
    /// RSASSA-PSS with SHA-256
    PS256,
    /// RSASSA-PSS with SHA-384
    PS384,
    /// RSASSA-PSS with SHA-512
    PS512,
    /// ECDSA on P-256 with SHA-256
    ES256,
    /// ECDSA on P-384 with SHA-384
    ES384,
    /// ECDSA on P-521 with SHA-512
    ES512,
    /// Ed25519
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Its `alg` member.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of an `alg` member; `Ed25519` is the name that RFC 9864 gives to the only `EdDSA` here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "ES512" => Self::ES512,
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }
}

/// The usable keys of a set.
pub struct KeySet {
    by_id: HashMap<Box<str>, Vec<Key>>,
    without_id: Vec<Key>,
    /// What the keys are for, each once.
    algorithms: Vec<Algorithm>,
    /// What the keys are, in any order, for comparison.
    digests: Vec<[u8; digest::SHA256_OUTPUT_LEN]>,
}

/// One public key, ready for each algorithm that it is for.
struct Key {
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// What the keys say about a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureCheck {
    /// One of the keys made it.
    Valid,
    /// The key that is meant did not make it.
    Invalid,
    /// The key that is meant is not in the set.
    UnknownKey,
}

impl KeySet {
    /// Reads a key set document, RFC 7517 §5.
    ///
    /// # Errors
    /// When it is not a key set, or has more than [`MAX_KEYS`] keys. Single keys are never a reason.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        Self::parse_noting(document, |position, key, reason| {
            let id = key.get("kid").and_then(Value::as_str).unwrap_or_default();
            tracing::debug!(position, kid = id, %reason, "a key of the key set is left out");
        })
    }

    /// As [`parse`](Self::parse); `note` is told of each key that is left out: its position, the key, and why.
    pub(crate) fn parse_noting(
        document: &[u8],
        mut note: impl FnMut(usize, &Value, SkippedKey),
    ) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(keys.len()));
        }
        let mut set =
            Self { by_id: HashMap::new(), without_id: Vec::new(), algorithms: Vec::new(), digests: Vec::new() };
        for (position, key) in keys.iter().enumerate() {
            if let Err(reason) = set.add(key) {
                note(position, key, reason);
            }
        }
        set.digests.sort_unstable();
        Ok(set)
    }

    fn add(&mut self, key: &Value) -> Result<(), SkippedKey> {
        let jwk = Jwk::deserialize(key).map_err(|_| SkippedKey::Malformed)?;
        let ready = Key { verifiers: verifiers(&jwk, key.get("alg").and_then(Value::as_str))? };
        let text = serde_json::to_vec(key).map_err(|_| SkippedKey::Malformed)?;
        if let Ok(digest) = digest::digest(&digest::SHA256, &text).as_ref().try_into() {
            self.digests.push(digest);
        }
        for (algorithm, _) in &ready.verifiers {
            if !self.algorithms.contains(algorithm) {
                self.algorithms.push(*algorithm);
            }
        }
        match jwk.common.key_id.filter(|id| !id.is_empty()) {
            Some(id) => self.by_id.entry(id.into()).or_default().push(ready),
            None => self.without_id.push(ready),
        }
        Ok(())
    }

    /// Checks the signature of a message: with the key of that id, or with all keys if none is named.
    #[must_use]
    pub fn verify(&self, id: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> SignatureCheck {
        let (named, any) = match id.filter(|id| !id.is_empty()) {
            Some(id) => (self.by_id.get(id), None),
            None => (None, Some(self.without_id.iter().chain(self.by_id.values().flatten()))),
        };
        let candidates = named.into_iter().flatten().chain(any.into_iter().flatten());
        let mut result = SignatureCheck::UnknownKey;
        for verifier in candidates.filter_map(|key| key.verifier(algorithm)).take(MAX_TRIED) {
            if verifier.verify_sig(message, signature).is_ok() {
                return SignatureCheck::Valid;
            }
            result = SignatureCheck::Invalid;
        }
        match result {
            // It is known, but for other algorithms.
            SignatureCheck::UnknownKey if named.is_some() => SignatureCheck::Invalid,
            result => result,
        }
    }

    /// Whether one of the keys is for the algorithm.
    #[must_use]
    pub fn has_key_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there is no usable key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether another set has the same keys, in whatever order.
    #[must_use]
    pub fn has_same_keys(&self, other: &Self) -> bool {
        self.digests == other.digests
    }
}

impl Key {
    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers.iter().find(|(known, _)| *known == algorithm).map(|(_, key)| key)
    }
}

/// The key, parsed for each algorithm that it is for. `alg` is the member as written, because the typed form does not
/// know all algorithms.
fn verifiers(jwk: &Jwk, alg: Option<&str>) -> Result<Vec<(Algorithm, ParsedPublicKey)>, SkippedKey> {
    if matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature) {
        return Err(SkippedKey::OtherUse);
    }
    if matches!(&jwk.common.key_operations, Some(operations) if !operations.contains(&KeyOperations::Verify)) {
        return Err(SkippedKey::OtherUse);
    }
    let is_for = |algorithm: Algorithm| alg.is_none_or(|alg| Algorithm::from_name(alg) == Some(algorithm));
    let mut verifiers = Vec::new();
    match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let (modulus, exponent) = (unsigned(&rsa.n)?, unsigned(&rsa.e)?);
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
            if !(2048..=8192).contains(&bits) || !odd(&modulus) || !odd(&exponent) || exponent == [1] {
                return Err(SkippedKey::Malformed);
            }
            let key = PublicKeyComponents { n: modulus, e: exponent };
            for (algorithm, parameters) in RSA_ALGORITHMS {
                if is_for(algorithm) {
                    let key = key.to_parsed_public_key(parameters).map_err(|_| SkippedKey::Malformed)?;
                    verifiers.push((algorithm, key));
                }
            }
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (algorithm, parameters, size) = match point.curve {
                EllipticCurve::P256 => (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED, 32),
                EllipticCurve::P384 => (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED, 48),
                EllipticCurve::P521 => (Algorithm::ES512, &ECDSA_P521_SHA512_FIXED, 66),
                _ => return Err(SkippedKey::UnknownKind),
            };
            if is_for(algorithm) {
                // Uncompressed form, SEC 1 §2.3.3.
                let mut bytes = vec![4];
                for coordinate in [&point.x, &point.y] {
                    let coordinate = decode(coordinate)?;
                    if coordinate.len() != size {
                        return Err(SkippedKey::Malformed);
                    }
                    bytes.extend_from_slice(&coordinate);
                }
                let key = ParsedPublicKey::new(parameters, bytes).map_err(|_| SkippedKey::Malformed)?;
                verifiers.push((algorithm, key));
            }
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            if is_for(Algorithm::EdDSA) {
                let bytes = decode(&pair.x)?;
                if bytes.len() != 32 {
                    return Err(SkippedKey::Malformed);
                }
                let key = ParsedPublicKey::new(&ED25519, bytes).map_err(|_| SkippedKey::Malformed)?;
                verifiers.push((Algorithm::EdDSA, key));
            }
        }
        // A secret that is published is none.
        AlgorithmParameters::OctetKey(_) => return Err(SkippedKey::SharedSecret),
        _ => return Err(SkippedKey::UnknownKind),
    }
    if verifiers.is_empty() { Err(SkippedKey::OtherAlgorithm) } else { Ok(verifiers) }
}

static RSA_ALGORITHMS: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::PS384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::PS512, &RSA_PSS_2048_8192_SHA512),
];

/// A number without the leading zeros that some issuers write.
fn unsigned(text: &str) -> Result<Vec<u8>, SkippedKey> {
    let bytes = decode(text)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn decode(text: &str) -> Result<Vec<u8>, SkippedKey> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| SkippedKey::Malformed)
}

/// Why a document is not a key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or without a list `keys`.
    #[error("not a json web key set: {0}")]
    Malformed(String),
    /// More keys than are accepted.
    #[error("the key set has {0} keys, {MAX_KEYS} at most are accepted")]
    TooMany(usize),
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SkippedKey {
    /// It cannot be read, or anybody could sign with it.
    #[error("its parameters are missing, malformed, or too weak")]
    Malformed,
    /// A kind of key for which there is no algorithm here.
    #[error("its `kty` or `crv` is not known")]
    UnknownKind,
    /// For example for encryption.
    #[error("its `use` or `key_ops` is not for signatures")]
    OtherUse,
    /// The algorithm does not fit the key, or is not known.
    #[error("its `alg` is not a known one for its kind")]
    OtherAlgorithm,
    /// Not a public key at all.
    #[error("it is a shared secret")]
    SharedSecret,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeySet")
            .field("ids", &self.by_id.keys())
            .field("without_id", &self.without_id.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
