//! A private key that signs tokens, and its public half for those who verify them.

use std::fmt;

use aws_lc_rs::{
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use rustls::pki_types::{
    PrivateKeyDer,
    pem::{self, PemObject},
};
use serde_json::{Value, json};
use usher_api::SigningAlgorithm;

use super::encode;

/// A private key with the identifier and the algorithm under which it signs.
pub(super) struct SigningKey {
    header: String,
    jwk: Value,
    pair: Pair,
}

enum Pair {
    Ecdsa { pair: EcdsaKeyPair, is_fast: bool },
    Rsa { pair: RsaKeyPair, encoding: &'static dyn RsaEncoding },
}

impl SigningKey {
    /// Reads the first private key of a PEM text (RFC 7468). Other blocks, such as the parameters that `openssl ecparam`
    /// writes first, do not matter, nor does the label of the block: the bytes say what they are.
    ///
    /// # Errors
    /// When there is none, or none that suits the algorithm. The text of the error has nothing of the key.
    pub(super) fn read(id: &str, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            _ if is_encrypted(pem) => KeyError::Encrypted,
            pem::Error::NoItemsFound if has_block(pem) => KeyError::NotPrivate,
            _ => KeyError::Missing,
        })?;
        let der = key.secret_der();
        let name = name(algorithm);
        let (pair, jwk) = match needed(algorithm) {
            Needed::Ecdsa(curve) => {
                let pair = curve.read(der).map_err(|_| unsuitable(name, curve.name(), der))?;
                let point = pair.public_key().as_ref();
                // Uncompressed form, SEC 1 §2.3.3: a byte, and two coordinates of equal length.
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let jwk = json!({
                    "use": "sig", "kty": "EC", "kid": id, "crv": curve.name(), "alg": name, "x": encode(x), "y": encode(y),
                });
                (Pair::Ecdsa { pair, is_fast: matches!(curve, Curve::P256) }, jwk)
            }
            Needed::Rsa(encoding) => {
                let pair = read_rsa(der).map_err(|error| match is_too_small(error) {
                    true => KeyError::TooSmall,
                    false => unsuitable(name, "RSA", der),
                })?;
                let (n, e) = rsa_public_key(pair.public_key().as_ref()).ok_or(KeyError::Missing)?;
                let jwk = json!({
                    "use": "sig", "kty": "RSA", "kid": id, "alg": name, "n": encode(n), "e": encode(e),
                });
                (Pair::Rsa { pair, encoding }, jwk)
            }
        };
        let header = json!({"alg": name, "kid": id, "typ": "JWT"}).to_string();
        Ok(Self { header, jwk, pair })
    }

    /// The header of its tokens, RFC 7515 §4: the JSON text.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// The public key, RFC 7517 §4.
    pub(super) fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// Whether to sign takes so little time that it can be done on the spot: about 30 microseconds with P-256, but more
    /// than 200 with larger curves, and from 700 to many thousands with RSA.
    pub(super) fn is_fast(&self) -> bool {
        matches!(self.pair, Pair::Ecdsa { is_fast: true, .. })
    }

    /// Signs a message, in the form of RFC 7518 §3.3 and §3.4.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa { pair, .. } => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Rsa { pair, encoding } => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("failed to decode PEM file: there is no private key in it")]
    Missing,
    #[error("invalid signing key algorithm: the PEM file holds something else than a private key")]
    NotPrivate,
    #[error("the private key is encrypted, which is not supported")]
    Encrypted,
    #[error("the RSA key has less than 2048 bits, which is not supported")]
    TooSmall,
    #[error("invalid signing key algorithm: `{algorithm}` needs a key of kind {needed}, and this is {found}")]
    Unsuitable { algorithm: &'static str, needed: &'static str, found: &'static str },
}

/// The key that an algorithm needs.
enum Needed {
    Ecdsa(Curve),
    Rsa(&'static dyn RsaEncoding),
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    fn read(self, der: &[u8]) -> Result<EcdsaKeyPair, KeyRejected> {
        let algorithm: &'static EcdsaSigningAlgorithm = match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        EcdsaKeyPair::from_private_key_der(algorithm, der)
    }
}

fn needed(algorithm: SigningAlgorithm) -> Needed {
    match algorithm {
        SigningAlgorithm::Es256 => Needed::Ecdsa(Curve::P256),
        SigningAlgorithm::Es384 => Needed::Ecdsa(Curve::P384),
        SigningAlgorithm::Es512 => Needed::Ecdsa(Curve::P521),
        SigningAlgorithm::Rs256 => Needed::Rsa(&RSA_PKCS1_SHA256),
        SigningAlgorithm::Rs384 => Needed::Rsa(&RSA_PKCS1_SHA384),
        SigningAlgorithm::Rs512 => Needed::Rsa(&RSA_PKCS1_SHA512),
    }
}

fn name(algorithm: SigningAlgorithm) -> &'static str {
    match algorithm {
        SigningAlgorithm::Es256 => "ES256",
        SigningAlgorithm::Es384 => "ES384",
        SigningAlgorithm::Es512 => "ES512",
        SigningAlgorithm::Rs256 => "RS256",
        SigningAlgorithm::Rs384 => "RS384",
        SigningAlgorithm::Rs512 => "RS512",
    }
}

/// PKCS#8 or PKCS#1.
fn read_rsa(der: &[u8]) -> Result<RsaKeyPair, KeyRejected> {
    RsaKeyPair::from_pkcs8(der).or_else(|error| match is_too_small(error) {
        true => Err(error),
        false => RsaKeyPair::from_der(der),
    })
}

fn is_too_small(error: KeyRejected) -> bool {
    error.to_string() == "TooSmall"
}

fn unsuitable(algorithm: &'static str, needed: &'static str, der: &[u8]) -> KeyError {
    let curve = [Curve::P256, Curve::P384, Curve::P521].into_iter().find(|curve| curve.read(der).is_ok());
    let found = match (curve, read_rsa(der)) {
        (Some(curve), _) => curve.name(),
        (None, Ok(_)) => "RSA",
        (None, Err(error)) if is_too_small(error) => "RSA",
        (None, Err(_)) => "neither RSA nor P-256, P-384 or P-521",
    };
    KeyError::Unsuitable { algorithm, needed, found }
}

/// By the label of PKCS#8 (RFC 5958), or the header of the older form (RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Whether a line begins a block of whatever label (RFC 7468 §2).
fn has_block(pem: &[u8]) -> bool {
    pem.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| line.starts_with(b"-----BEGIN "))
}

/// Modulus and exponent, without leading zeros, of an `RSAPublicKey` (RFC 8017 §A.1.1): a sequence of two integers.
fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (numbers, _) = der_value(der, SEQUENCE)?;
    let (modulus, rest) = der_value(numbers, INTEGER)?;
    let (exponent, _) = der_value(rest, INTEGER)?;
    Some((without_zeros(modulus), without_zeros(exponent)))
}

/// The value of a DER element with that tag (X.690 §8.1), and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().try_fold(0_usize, |all, byte| all.checked_mul(256)?.checked_add((*byte).into()))?, rest)
        }
    };
    rest.split_at_checked(length)
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// Only what is public.
impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use SigningAlgorithm::{Es256, Es384, Es512, Rs256, Rs384, Rs512};

    use super::*;
    use crate::resources::jwks::{Algorithm, KeySet, SignatureCheck};

    macro_rules! testdata {
        ($name:literal) => {
            ($name, include_str!(concat!("testdata/", $name, ".pem")))
        };
    }

    const EVERY: [(&str, &str); 19] = [
        testdata!("p256-pkcs8"),
        testdata!("p256-pkcs8-labelled-sec1"),
        testdata!("p256-sec1"),
        testdata!("p256-sec1-with-parameters"),
        testdata!("p384-pkcs8"),
        testdata!("p384-sec1"),
        testdata!("p521-pkcs8"),
        testdata!("p521-sec1"),
        testdata!("rsa2048-pkcs1"),
        testdata!("rsa2048-pkcs8"),
        testdata!("rsa2048-pkcs8-labelled-pkcs1"),
        testdata!("rsa4096-pkcs1"),
        testdata!("rsa1024-pkcs8"),
        testdata!("p224-sec1"),
        testdata!("ed25519-pkcs8"),
        testdata!("p256-pkcs8-encrypted"),
        testdata!("p256-sec1-encrypted"),
        testdata!("p256-public"),
        testdata!("certificate"),
    ];

    const ALL: [(SigningAlgorithm, Algorithm, &str); 6] = [
        (Es256, Algorithm::ES256, "P-256"),
        (Es384, Algorithm::ES384, "P-384"),
        (Es512, Algorithm::ES512, "P-521"),
        (Rs256, Algorithm::RS256, "RSA"),
        (Rs384, Algorithm::RS384, "RSA"),
        (Rs512, Algorithm::RS512, "RSA"),
    ];

    /// The kind of a key by the name of its file, if it can be used at all.
    fn kind(file: &str) -> Option<&'static str> {
        let is_usable = !["encrypted", "public", "rsa1024"].iter().any(|part| file.contains(part));
        let kinds = [("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521"), ("rsa", "RSA")];
        kinds.into_iter().find(|(start, _)| is_usable && file.starts_with(start)).map(|(_, kind)| kind)
    }

    #[test]
    fn every_form_of_key_signs_with_the_algorithms_that_suit_it_and_no_other() {
        for (file, pem) in EVERY {
            for (algorithm, verification, needed) in ALL {
                let read = SigningKey::read("k", algorithm, pem.as_bytes());
                if kind(file) != Some(needed) {
                    assert!(read.is_err(), "{file} {algorithm:?}");
                    continue;
                }
                let key = read.unwrap_or_else(|error| panic!("{file} {algorithm:?}: {error}"));
                let signature = key.sign(b"message").unwrap();
                let set = json!({"keys": [key.jwk()]}).to_string();
                let set = KeySet::parse(set.as_bytes()).unwrap();
                assert_eq!(
                    set.verify(Some("k"), verification, b"message", &signature),
                    SignatureCheck::Valid,
                    "{file}"
                );
                assert_eq!(set.verify(Some("k"), verification, b"massage", &signature), SignatureCheck::Invalid);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        let unsuitable = |algorithm, needed, found| KeyError::Unsuitable { algorithm, needed, found };
        let other = "neither RSA nor P-256, P-384 or P-521";
        let cases = [
            ("p384-sec1", Es256, unsuitable("ES256", "P-256", "P-384")),
            ("p256-pkcs8", Es384, unsuitable("ES384", "P-384", "P-256")),
            ("p384-pkcs8", Es512, unsuitable("ES512", "P-521", "P-384")),
            ("rsa2048-pkcs1", Es256, unsuitable("ES256", "P-256", "RSA")),
            ("rsa1024-pkcs8", Es256, unsuitable("ES256", "P-256", "RSA")),
            ("p521-pkcs8", Rs256, unsuitable("RS256", "RSA", "P-521")),
            ("p224-sec1", Es256, unsuitable("ES256", "P-256", other)),
            ("ed25519-pkcs8", Rs512, unsuitable("RS512", "RSA", other)),
            ("rsa1024-pkcs8", Rs256, KeyError::TooSmall),
            ("p256-pkcs8-encrypted", Es256, KeyError::Encrypted),
            ("p256-sec1-encrypted", Es256, KeyError::Encrypted),
            ("p256-public", Es256, KeyError::NotPrivate),
            ("certificate", Rs256, KeyError::NotPrivate),
        ];
        for (file, algorithm, error) in cases {
            let (_, pem) = EVERY.into_iter().find(|(name, _)| *name == file).unwrap();
            assert_eq!(SigningKey::read("k", algorithm, pem.as_bytes()).err(), Some(error), "{file}");
        }
        let begin = "-----BEGIN EC PRIVATE KEY-----\n";
        let end = "\n-----END EC PRIVATE KEY-----\n";
        let texts =
            [String::new(), "not a key".to_owned(), begin.to_owned(), format!("{begin}!!!{end}"), "\u{0}".to_owned()];
        for text in texts {
            assert_eq!(SigningKey::read("k", Es256, text.as_bytes()).err(), Some(KeyError::Missing), "{text}");
        }
        for text in
            ["-----BEGIN WHATEVER-----\nMAA=\n-----END WHATEVER-----", "a\r\n-----BEGIN -----\r\n-----END -----"]
        {
            assert_eq!(SigningKey::read("k", Es256, text.as_bytes()).err(), Some(KeyError::NotPrivate), "{text}");
        }
        let empty = SigningKey::read("k", Es256, format!("{begin}MAA={end}").as_bytes());
        assert_eq!(empty.err(), Some(unsuitable("ES256", "P-256", other)));
    }

    #[test]
    fn broken_keys_are_refused_and_nothing_else_happens() {
        for (file, pem) in EVERY {
            for position in (0..pem.len()).step_by(61) {
                let mut changed = pem.as_bytes().to_vec();
                changed[position] ^= 1;
                for (algorithm, ..) in [ALL[0], ALL[1], ALL[5]] {
                    // Whether it is still a key does not matter, but a key that signs must be one.
                    if let Ok(key) = SigningKey::read("k", algorithm, &changed) {
                        assert!(key.sign(b"message").is_ok(), "{file} {position}");
                    }
                }
                assert!(SigningKey::read("k", Es256, &changed[..position]).is_err());
            }
        }
    }

    #[test]
    fn public_keys_have_their_members_in_order() {
        let read = |algorithm, pem: &str| SigningKey::read("a-key", algorithm, pem.as_bytes()).unwrap();
        let members = |key: &SigningKey| key.jwk().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let ec = read(Es256, include_str!("testdata/p256-sec1-with-parameters.pem"));
        assert_eq!(members(&ec), ["use", "kty", "kid", "crv", "alg", "x", "y"]);
        let rsa = read(Rs512, include_str!("testdata/rsa2048-pkcs1.pem"));
        assert_eq!(members(&rsa), ["use", "kty", "kid", "alg", "n", "e"]);
        let text = rsa.jwk().to_string();
        assert!(text.starts_with(r#"{"use":"sig","kty":"RSA","kid":"a-key","alg":"RS512","n":""#), "{text}");
        assert!(text.ends_with(r#"","e":"AQAB"}"#), "{text}");
        // 2048 bits: no leading zero.
        assert_eq!(rsa.jwk()["n"].as_str().unwrap().len(), 342);
        assert_eq!(ec.header(), r#"{"alg":"ES256","kid":"a-key","typ":"JWT"}"#);
        assert_eq!((ec.is_fast(), rsa.is_fast()), (true, false));
    }

    #[test]
    fn private_keys_are_not_shown() {
        let key = SigningKey::read("k", Rs256, include_bytes!("testdata/rsa2048-pkcs8.pem")).unwrap();
        assert_eq!(
            format!("{key:?}"),
            r#"SigningKey { header: "{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"JWT\"}", .. }"#
        );
    }

    #[test]
    fn numbers_are_read_from_der() {
        let element = |tag: u8, value: &[u8]| {
            let length = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[tag, 0x82][..], &length, value].concat()
        };
        let key = element(0x30, &[element(2, &[0, 0xff, 1]), vec![2, 1, 3]].concat());
        assert_eq!(rsa_public_key(&key), Some((&[0xff, 1][..], &[3][..])));
        for length in 0..key.len() {
            assert_eq!(rsa_public_key(&key[..length]), None, "{length}");
        }
        assert_eq!(der_value(&[&[2, 0xff][..], &[0xff; 127]].concat(), 2), None);
        assert_eq!(der_value(&[2, 0], 3), None);
    }
}
