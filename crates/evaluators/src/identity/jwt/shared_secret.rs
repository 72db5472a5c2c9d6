//! Signatures with a shared secret: HMAC, RFC 7518 §3.2.

use std::fmt;

use aws_lc_rs::hmac;

/// An algorithm with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HmacAlgorithm {
    /// HMAC with SHA-256
    HS256,
    /// HMAC with SHA-384
    HS384,
    /// HMAC with SHA-512
    HS512,
}

impl HmacAlgorithm {
    pub(super) const ALL: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its `alg`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The bytes that a secret must have at least according to the RFC: as many as the hash.
    pub(super) fn recommended_length(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }
}

/// A secret that both sides know. It is not shown.
pub(super) struct SharedSecret {
    hs256: hmac::Key,
    hs384: hmac::Key,
    hs512: hmac::Key,
}

impl SharedSecret {
    /// A secret of any length; that it is not empty is for the caller to see to.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            hs256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            hs384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            hs512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        }
    }

    /// Whether who signed the message knows the secret. How long that takes does not depend on how much of the
    /// signature is right.
    pub(super) fn verify(&self, algorithm: HmacAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = match algorithm {
            HmacAlgorithm::HS256 => &self.hs256,
            HmacAlgorithm::HS384 => &self.hs384,
            HmacAlgorithm::HS512 => &self.hs512,
        };
        hmac::verify(key, message, signature).is_ok()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedSecret")
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    /// RFC 7515 §A.1.
    #[test]
    fn the_example_of_the_rfc_is_verified() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = BASE64_URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let secret = SharedSecret::new(&BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap());
        let verify =
            |algorithm, message: &str, signature: &[u8]| secret.verify(algorithm, message.as_bytes(), signature);
        assert!(verify(HmacAlgorithm::HS256, message, &signature));
        assert!(!verify(HmacAlgorithm::HS384, message, &signature));
        assert!(!verify(HmacAlgorithm::HS512, message, &signature));
        assert!(!verify(HmacAlgorithm::HS256, &message[1..], &signature));
        assert!(!verify(HmacAlgorithm::HS256, message, &signature[..31]));
        assert!(!verify(HmacAlgorithm::HS256, message, &[]));
        assert!(!format!("{secret:?}").contains('{'));
    }

    #[test]
    fn every_algorithm_is_its_own() {
        let secret = SharedSecret::new(b"secret");
        for (algorithm, hmac) in
            HmacAlgorithm::ALL.into_iter().zip([hmac::HMAC_SHA256, hmac::HMAC_SHA384, hmac::HMAC_SHA512])
        {
            let tag = hmac::sign(&hmac::Key::new(hmac, b"secret"), b"message");
            assert_eq!(tag.as_ref().len(), algorithm.recommended_length());
            for other in HmacAlgorithm::ALL {
                assert_eq!(secret.verify(other, b"message", tag.as_ref()), other == algorithm);
            }
        }
    }
}
