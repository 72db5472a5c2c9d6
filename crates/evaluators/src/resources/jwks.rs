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
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(keys.len()));
        }
        let mut set = Self { by_id: HashMap::new(), without_id: Vec::new(), digests: Vec::new() };
        for (position, key) in keys.iter().enumerate() {
            if let Err(reason) = set.add(key) {
                let id = key.get("kid").and_then(Value::as_str).unwrap_or_default();
                tracing::debug!(position, kid = id, %reason, "a key of the key set is left out");
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
enum SkippedKey {
    #[error("its parameters are missing, malformed, or too weak")]
    Malformed,
    #[error("its `kty` or `crv` is not known")]
    UnknownKind,
    #[error("its `use` or `key_ops` is not for signatures")]
    OtherUse,
    #[error("its `alg` is not a known one for its kind")]
    OtherAlgorithm,
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
mod tests {
    use serde_json::json;

    use super::{test_keys::TestKey, *};

    const MESSAGE: &[u8] = b"header.payload";

    const ALL: [Algorithm; 10] = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::EdDSA,
    ];

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn without(mut key: Value, member: &str) -> Value {
        key.as_object_mut().unwrap().remove(member);
        key
    }

    #[test]
    fn every_algorithm_is_verified_and_only_with_what_the_key_is_for() {
        for signing in ALL {
            let key = TestKey::generate(signing, "k");
            let signature = key.sign(signing, MESSAGE);
            let narrow = set(&[key.jwk()]);
            let wide = set(&[without(key.jwk(), "alg")]);
            for set in [&narrow, &wide] {
                assert_eq!(set.verify(Some("k"), signing, MESSAGE, &signature), SignatureCheck::Valid, "{signing:?}");
                assert_eq!(set.verify(None, signing, MESSAGE, &signature), SignatureCheck::Valid, "{signing:?}");
                assert_eq!(set.verify(Some("other"), signing, MESSAGE, &signature), SignatureCheck::UnknownKey);
                assert_eq!(set.verify(Some("k"), signing, b"other.payload", &signature), SignatureCheck::Invalid);
                assert_eq!(set.verify(Some("k"), signing, MESSAGE, b""), SignatureCheck::Invalid);
            }
            for other in ALL.into_iter().filter(|other| *other != signing) {
                assert_eq!(
                    wide.verify(Some("k"), other, MESSAGE, &signature),
                    SignatureCheck::Invalid,
                    "{signing:?} {other:?}"
                );
                if key.can_sign(other) {
                    let signature = key.sign(other, MESSAGE);
                    assert_eq!(wide.verify(Some("k"), other, MESSAGE, &signature), SignatureCheck::Valid);
                    assert_eq!(narrow.verify(Some("k"), other, MESSAGE, &signature), SignatureCheck::Invalid);
                }
            }
        }
    }

    #[test]
    fn useless_and_broken_keys_are_left_out_and_do_not_spoil_the_rest() {
        let good = TestKey::generate(Algorithm::ES256, "good");
        let ec = || TestKey::generate(Algorithm::ES256, "bad").jwk();
        let rsa = || TestKey::generate(Algorithm::RS256, "bad").jwk();
        let ed = || TestKey::generate(Algorithm::EdDSA, "bad").jwk();
        let useless = [
            json!(null),
            json!("key"),
            json!({}),
            json!({"kty": "XYZ", "kid": "bad"}),
            json!({"kty": "oct", "kid": "bad", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"}),
            json!({"kty": "EC", "kid": "bad", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            json!({"kty": "OKP", "kid": "bad", "crv": "X25519", "x": "AA"}),
            json!({"kty": "OKP", "kid": "bad", "crv": "P-256", "x": "AA"}),
            with(ec(), "use", json!("enc")),
            with(ec(), "key_ops", json!(["encrypt"])),
            with(ec(), "alg", json!("ES384")),
            with(ec(), "alg", json!("HS256")),
            with(ec(), "alg", json!("none")),
            with(ec(), "x", json!("!!")),
            with(ec(), "x", json!("AA")),
            with(ec(), "x", json!(BASE64_URL_SAFE_NO_PAD.encode([1; 32]))),
            without(ec(), "y"),
            with(ec(), "kid", json!(7)),
            with(rsa(), "alg", json!("RSA-OAEP")),
            with(rsa(), "n", json!("AQAB")),
            with(rsa(), "n", json!("")),
            with(rsa(), "e", json!("")),
            with(rsa(), "e", json!("Ag")),
            with(rsa(), "e", json!("AQ")),
            with(rsa(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([0x7f; 256]))),
            with(rsa(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([0xff; 1025]))),
            with(ed(), "x", json!("AA")),
            with(ed(), "alg", json!("ES256")),
        ];
        for key in useless {
            let set = set(&[key.clone(), good.jwk()]);
            assert_eq!(set.len(), 1, "{key}");
            let signature = good.sign(Algorithm::ES256, MESSAGE);
            assert_eq!(set.verify(Some("good"), Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
            assert_eq!(
                set.verify(Some("bad"), Algorithm::ES256, MESSAGE, &signature),
                SignatureCheck::UnknownKey,
                "{key}"
            );
        }
    }

    #[test]
    fn spellings_that_issuers_use_are_understood() {
        let rsa = TestKey::generate(Algorithm::RS256, "k");
        let modulus = BASE64_URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
        let zeroed = BASE64_URL_SAFE_NO_PAD.encode([&[0, 0], &modulus[..]].concat());
        let ec = TestKey::generate(Algorithm::ES256, "k");
        let padded = format!("{}=", ec.jwk()["x"].as_str().unwrap());
        let ed = TestKey::generate(Algorithm::EdDSA, "k");
        for key in [
            with(rsa.jwk(), "n", json!(zeroed)),
            with(ec.jwk(), "x", json!(padded)),
            with(ec.jwk(), "key_ops", json!(["verify"])),
            with(ec.jwk(), "x-unknown", json!({"a": [1]})),
            with(ec.jwk(), "d", json!("AQ")),
            with(ed.jwk(), "alg", json!("Ed25519")),
        ] {
            assert_eq!(set(std::slice::from_ref(&key)).len(), 1, "{key}");
        }
    }

    #[test]
    fn a_token_that_names_no_key_is_tried_with_all() {
        let [a, b] = ["a", ""].map(|id| TestKey::generate(Algorithm::ES256, id));
        let set = set(&[a.jwk(), b.jwk()]);
        for key in [&a, &b] {
            let signature = key.sign(Algorithm::ES256, MESSAGE);
            assert_eq!(set.verify(None, Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
            assert_eq!(set.verify(Some(""), Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
        }
        let stranger = TestKey::generate(Algorithm::ES256, "").sign(Algorithm::ES256, MESSAGE);
        assert_eq!(set.verify(None, Algorithm::ES256, MESSAGE, &stranger), SignatureCheck::Invalid);
        assert_eq!(set.verify(None, Algorithm::EdDSA, MESSAGE, &stranger), SignatureCheck::UnknownKey);
    }

    #[test]
    fn keys_that_share_an_id_are_all_tried() {
        let keys =
            [Algorithm::ES256, Algorithm::ES256, Algorithm::EdDSA].map(|algorithm| TestKey::generate(algorithm, "k"));
        let set = set(&keys.each_ref().map(TestKey::jwk));
        for key in &keys {
            let signature = key.sign(key.algorithm(), MESSAGE);
            assert_eq!(set.verify(Some("k"), key.algorithm(), MESSAGE, &signature), SignatureCheck::Valid);
        }
    }

    #[test]
    fn documents_that_are_no_key_sets_are_refused() {
        for document in ["", "[]", "{}", "null", r#"{"keys": {}}"#, "{\"keys\": [}", "<html>"] {
            assert!(matches!(KeySet::parse(document.as_bytes()), Err(KeySetError::Malformed(_))), "{document}");
        }
        assert!(set(&[]).is_empty());
        let deep = format!("{{\"keys\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(KeySet::parse(deep.as_bytes()), Err(KeySetError::Malformed(_))));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let key = TestKey::generate(Algorithm::EdDSA, "k").jwk();
        let document = |count: usize| json!({"keys": vec![&key; count]}).to_string();
        assert_eq!(KeySet::parse(document(MAX_KEYS).as_bytes()).unwrap().len(), MAX_KEYS);
        let error = KeySet::parse(document(MAX_KEYS + 1).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the key set has 501 keys, 500 at most are accepted");
    }

    #[test]
    fn sets_are_compared_by_their_keys() {
        let [a, b] = ["a", "b"].map(|id| TestKey::generate(Algorithm::EdDSA, id).jwk());
        let both = set(&[a.clone(), b.clone()]);
        assert!(both.has_same_keys(&set(&[b.clone(), a.clone()])));
        assert!(both.has_same_keys(&set(&[b.clone(), json!({"kty": "XYZ"}), a.clone()])));
        assert!(!both.has_same_keys(&set(std::slice::from_ref(&a))));
        assert!(!both.has_same_keys(&set(&[a, with(b, "kid", json!("c"))])));
    }
}
