//! Hashes and message authentication codes. Results are lower-case hexadecimal text.

use aws_lc_rs::{digest, hmac};
use md5::{Digest as _, Md5};
use regorus::Value;

use super::{Builtin, Trouble, text};

/// Name, number of arguments, function.
pub(super) const FUNCTIONS: &[(&str, u8, Builtin)] = &[
    ("crypto.hmac.equal", 2, hmac_equal),
    ("crypto.hmac.md5", 2, hmac_md5),
    ("crypto.hmac.sha1", 2, |arguments| mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, arguments)),
    ("crypto.hmac.sha256", 2, |arguments| mac(hmac::HMAC_SHA256, arguments)),
    ("crypto.hmac.sha512", 2, |arguments| mac(hmac::HMAC_SHA512, arguments)),
    ("crypto.md5", 1, md5),
    ("crypto.sha1", 1, |arguments| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, arguments)),
    ("crypto.sha256", 1, |arguments| hash(&digest::SHA256, arguments)),
];

fn hash(algorithm: &'static digest::Algorithm, arguments: &[Value]) -> Result<Value, Trouble> {
    Ok(hexadecimal(digest::digest(algorithm, text(arguments, 0)?.as_bytes()).as_ref()))
}

fn md5(arguments: &[Value]) -> Result<Value, Trouble> {
    Ok(hexadecimal(Md5::digest(text(arguments, 0)?).as_slice()))
}

/// `crypto.hmac.*(message, key)`
fn mac(algorithm: hmac::Algorithm, arguments: &[Value]) -> Result<Value, Trouble> {
    let key = hmac::Key::new(algorithm, text(arguments, 1)?.as_bytes());
    Ok(hexadecimal(hmac::sign(&key, text(arguments, 0)?.as_bytes()).as_ref()))
}

/// RFC 2104 §2 with MD5, which the cryptographic library rightly lacks.
fn hmac_md5(arguments: &[Value]) -> Result<Value, Trouble> {
    const BLOCK: usize = 64;
    let (message, key) = (text(arguments, 0)?, text(arguments, 1)?);
    let mut padded = [0_u8; BLOCK];
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = Md5::digest(key);
        hashed.as_slice()
    } else {
        key.as_bytes()
    };
    for (padded, key) in padded.iter_mut().zip(key) {
        *padded = *key;
    }
    let inner = Md5::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Ok(hexadecimal(Md5::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().as_slice()))
}

/// `crypto.hmac.equal(a, b)`: whether two codes are equal, in time that does not tell where they differ.
fn hmac_equal(arguments: &[Value]) -> Result<Value, Trouble> {
    let (a, b) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::Bool(aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()))
}

/// Bytes as lower-case hexadecimal text.
pub(super) fn hexadecimal(bytes: &[u8]) -> Value {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Value::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &[&str]) -> Value {
        let arguments: Vec<Value> = arguments.iter().map(|argument| Value::from(*argument)).collect();
        let (_, _, function) = FUNCTIONS.iter().find(|(known, ..)| *known == name).unwrap();
        function(&arguments).unwrap_or(Value::Undefined)
    }

    /// RFC 1321 A.5, FIPS 180 "abc", RFC 2202 §2–3 case 2, RFC 4231 §4.3.
    #[test]
    fn known_answers() {
        let long = "a".repeat(80);
        for (name, arguments, expected) in [
            ("crypto.md5", vec![""], "d41d8cd98f00b204e9800998ecf8427e"),
            ("crypto.md5", vec!["message digest"], "f96b697d7cb7938d525a2f31aaf161d0"),
            ("crypto.sha1", vec!["abc"], "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("crypto.sha256", vec!["abc"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("crypto.hmac.md5", vec!["what do ya want for nothing?", "Jefe"], "750c783e6ab0b503eaa86e310a5db738"),
            (
                "crypto.hmac.sha1",
                vec!["what do ya want for nothing?", "Jefe"],
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                "crypto.hmac.sha256",
                vec!["what do ya want for nothing?", "Jefe"],
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                "crypto.hmac.sha512",
                vec!["what do ya want for nothing?", "Jefe"],
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(call(name, &arguments), Value::from(expected), "{name} {arguments:?}");
        }
        // A key longer than a block is hashed first: compared with the hash given as the key, byte for byte, by the
        // code of SHA-256, and by construction for MD5.
        assert_ne!(call("crypto.hmac.md5", &["x", &long]), call("crypto.hmac.md5", &["x", &long[..64]]));
        assert_eq!(call("crypto.hmac.equal", &["ab", "ab"]), Value::Bool(true));
        assert_eq!(call("crypto.hmac.equal", &["ab", "ac"]), Value::Bool(false));
        assert_eq!(call("crypto.hmac.equal", &["ab", "abc"]), Value::Bool(false));
    }

    #[test]
    fn only_text_is_hashed() {
        for (name, arity, function) in FUNCTIONS {
            let arguments = vec![Value::from(1_u64); usize::from(*arity)];
            assert_eq!(function(&arguments), Err(Trouble::Undefined), "{name}");
        }
    }
}
