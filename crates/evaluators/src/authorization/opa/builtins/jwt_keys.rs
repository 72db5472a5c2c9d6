//! Public keys for `io.jwt.*`, as policies give them: a PEM certificate, a PEM public key, a JSON Web Key or a set of
//! them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde_json::Value as Json;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes from base64url, with or without padding.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok()
}

/// A public key with what the set says about it.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in the set.
    pub(super) kid: Option<String>,
    /// The algorithm that it is meant for.
    pub(super) alg: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    /// `RSAPublicKey` of RFC 8017 A.1.1.
    Rsa(Vec<u8>),
    RsaParts {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Name of the curve as in RFC 7518 §6.2.1.1, uncompressed point.
    Ec(&'static str, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The keys in a text; `None` if it is no text with keys. Keys of a set that cannot be used are skipped.
pub(super) fn parse(text: &str) -> Option<Vec<Key>> {
    if let Some(begin) = text.find("-----BEGIN ") {
        let material = pem(text.get(begin..)?)?;
        return Some(vec![Key { kid: None, alg: None, material }]);
    }
    let json: Json = serde_json::from_str(text).ok()?;
    match json.get("keys") {
        Some(Json::Array(keys)) => Some(keys.iter().take(MAX_KEYS).filter_map(jwk).collect()),
        Some(_) => None,
        None => Some(vec![jwk(&json)?]),
    }
}

impl Key {
    /// Whether the signature of a token was made with this key's private half.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(key) => rsa(algorithm)
                .is_some_and(|algorithm| UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()),
            Material::RsaParts { n, e } => rsa(algorithm)
                .is_some_and(|algorithm| RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature).is_ok()),
            Material::Ec(curve, point) => {
                let algorithm: &'static dyn VerificationAlgorithm = match (algorithm, *curve) {
                    ("ES256", "P-256") => &ECDSA_P256_SHA256_FIXED,
                    ("ES384", "P-384") => &ECDSA_P384_SHA384_FIXED,
                    ("ES512", "P-521") => &ECDSA_P521_SHA512_FIXED,
                    _ => return false,
                };
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
            }
            Material::Ed25519(key) => {
                algorithm == "EdDSA" && UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
fn jwk(json: &Json) -> Option<Key> {
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    let bytes = |name: &str| text(name).and_then(base64url);
    let unsigned = |name: &str| {
        let bytes = bytes(name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes.get(zeros..)?.to_vec())
    };
    let material = match text("kty")? {
        "RSA" => Material::RsaParts { n: unsigned("n")?, e: unsigned("e")? },
        "EC" => {
            let (curve, size) = match text("crv")? {
                "P-256" => ("P-256", 32),
                "P-384" => ("P-384", 48),
                "P-521" => ("P-521", 66),
                _ => return None,
            };
            let mut point = vec![4];
            for coordinate in [bytes("x")?, bytes("y")?] {
                point.extend(std::iter::repeat_n(0, usize::checked_sub(size, coordinate.len())?));
                point.extend(coordinate);
            }
            Material::Ec(curve, point)
        }
        "OKP" if text("crv") == Some("Ed25519") => Material::Ed25519(bytes("x")?),
        _ => return None,
    };
    Some(Key { kid: text("kid").map(str::to_owned), alg: text("alg").map(str::to_owned), material })
}

/// One PEM block, RFC 7468, and nothing after it.
fn pem(text: &str) -> Option<Material> {
    let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, after) = rest.split_once(&format!("-----END {label}-----"))?;
    if !after.trim().is_empty() {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    match label {
        "CERTIFICATE" => public_key(certificate_key(&der)?),
        "PUBLIC KEY" => public_key(&der),
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// The `SubjectPublicKeyInfo` of a certificate, RFC 5280 §4.1.
fn certificate_key(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = skip(fields)?;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        fields = skip(fields)?;
    }
    Some(fields)
}

/// The key of a `SubjectPublicKeyInfo`, RFC 5280 §4.1.2.7.
fn public_key(der: &[u8]) -> Option<Material> {
    let (info, _) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    let (0, key) = bits.split_first()? else { return None };
    let (name, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let key = key.to_vec();
    match name {
        // rsaEncryption, id-RSASSA-PSS: RFC 8017 A.1
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 | 0x0a] => Some(Material::Rsa(key)),
        // id-ecPublicKey: RFC 5480 §2.1.1
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => match element(parameters, OBJECT_IDENTIFIER)?.0 {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Material::Ec("P-256", key)),
            [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Material::Ec("P-384", key)),
            [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Material::Ec("P-521", key)),
            _ => None,
        },
        // id-Ed25519: RFC 8410 §3
        [0x2b, 0x65, 0x70] => Some(Material::Ed25519(key)),
        _ => None,
    }
}

/// The content of an element with this tag, and what follows it: ITU-T X.690 §8.1.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(der)?;
    (found == tag).then_some((content, rest))
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    any_element(der).map(|(_, _, rest)| rest)
}

fn any_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}
