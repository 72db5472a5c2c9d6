//! The compact form of a signed token, RFC 7515 §7.1: `HEADER.PAYLOAD.SIGNATURE`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use usher_engine::Failure;

use super::algorithms::{Algorithms, SignatureAlgorithm};

/// A token taken apart, of which nothing is verified. It is a secret: not to be shown, so it cannot be.
pub(super) struct Token<'t> {
    header: Header,
    algorithm: SignatureAlgorithm,
    signed: &'t str,
    payload: &'t str,
    signature: Vec<u8>,
}

/// The header, RFC 7515 §4.1. Members that could point to other keys (`jwk`, `jku`, `x5u`, `x5c`) are not even read:
/// only the configured issuer says which keys count.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Whether there are extensions that must be understood, which none is (§4.1.11).
    #[serde(default, rename = "crit", deserialize_with = "is_present")]
    has_critical_extensions: bool,
}

fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl<'t> Token<'t> {
    /// Takes a token apart; it must name one of the algorithms. If it does not, it is told those of them for which there
    /// is a key.
    pub(super) fn parse(
        text: &'t str,
        algorithms: &Algorithms,
        has_key_for: impl Fn(SignatureAlgorithm) -> bool,
    ) -> Result<Self, Failure> {
        let (Some((signed, signature)), 3) = (text.rsplit_once('.'), text.split('.').count()) else {
            let found = text.split('.').count();
            return Err(malformed(&format_args!("oidc: malformed jwt, expected 3 parts got {found}")));
        };
        let (header, payload) = signed.split_once('.').unwrap_or_default();
        let header = decode(header).ok_or_else(|| malformed(&"the header is not base64url"))?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| malformed(&"the header is not that of a signature"))?;
        let algorithm = algorithms.accept(&header.alg).ok_or_else(|| {
            // It comes from anybody, and goes into a header.
            let name: String = header.alg.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
            let expected: Vec<_> = algorithms.names(has_key_for).into_iter().map(|name| format!("{name:?}")).collect();
            malformed(&format_args!("unexpected signature algorithm {name:?}; expected [{}]", expected.join(" ")))
        })?;
        if header.has_critical_extensions {
            return Err(malformed(&"the header has critical extensions"));
        }
        let signature = decode(signature).ok_or_else(|| malformed(&"the signature is not base64url"))?;
        Ok(Self { header, algorithm, signed, payload, signature })
    }

    /// `kid`: which key it claims to be signed with.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// `alg`
    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// What the signature is of.
    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The payload, still encoded.
    pub(super) fn payload(&self) -> &'t str {
        self.payload
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// base64url without padding and with nothing left over: one token has one spelling.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

pub(super) fn malformed(what: &dyn std::fmt::Display) -> Failure {
    Failure::denied(format!("oidc: malformed jwt: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::jwks::Algorithm;

    fn parse(text: &str) -> Result<Token<'_>, Failure> {
        let has_key_for =
            |algorithm| [Algorithm::ES256, Algorithm::RS256].map(SignatureAlgorithm::PublicKey).contains(&algorithm);
        Token::parse(text, &Algorithms::of_public_keys(), has_key_for)
    }

    fn token(header: &str) -> String {
        format!("{}.e30.AAAA", BASE64_URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let deep = token(&format!(r#"{{"x":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000)));
        let cases = [
            (String::new(), "oidc: malformed jwt, expected 3 parts got 1"),
            ("token".to_owned(), "oidc: malformed jwt, expected 3 parts got 1"),
            ("a.b".to_owned(), "oidc: malformed jwt, expected 3 parts got 2"),
            ("a.b.c.d".to_owned(), "oidc: malformed jwt, expected 3 parts got 4"),
            ("a.b.c.d.e".to_owned(), "oidc: malformed jwt, expected 3 parts got 5"),
            ("..".to_owned(), "the header is not that of a signature"),
            ("!.e30.AAAA".to_owned(), "the header is not base64url"),
            ("e30=.e30.AAAA".to_owned(), "the header is not base64url"),
            ("e30.e30.AAAA".to_owned(), "the header is not that of a signature"),
            (token("[]"), "the header is not that of a signature"),
            (token(r#"{"alg":1}"#), "the header is not that of a signature"),
            (token(r#"{"alg":"ES256","kid":7}"#), "the header is not that of a signature"),
            (token(r#"{"alg":"ES256","alg":"none"}"#), "the header is not that of a signature"),
            (deep, "the header is not that of a signature"),
            (token(r#"{"alg":"none"}"#), r#"unexpected signature algorithm "none"; expected ["RS256" "ES256"]"#),
            (token(r#"{"alg":"None"}"#), r#"unexpected signature algorithm "None"; expected ["RS256" "ES256"]"#),
            (token(r#"{"alg":"HS256"}"#), r#"unexpected signature algorithm "HS256"; expected ["RS256" "ES256"]"#),
            (token(r#"{"alg":"es256"}"#), r#"unexpected signature algorithm "es256"; expected ["RS256" "ES256"]"#),
            (token(r#"{"alg":""}"#), r#"unexpected signature algorithm ""; expected ["RS256" "ES256"]"#),
            (
                token(r#"{"alg":"a\r\nx-admin: 1, and so on and on"}"#),
                r#"unexpected signature algorithm "axadmin1andsoona"; expected ["RS256" "ES256"]"#,
            ),
            (token(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#), "the header has critical extensions"),
            (token(r#"{"alg":"ES256","crit":null}"#), "the header has critical extensions"),
            (token(r#"{"alg":"ES256"}"#) + "=", "the signature is not base64url"),
        ];
        for (text, reason) in cases {
            assert_eq!(parse(&text).err(), Some(malformed(&reason)), "{text}");
        }
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k","jwk":{"kty":"oct"},"typ":"at+jwt"}"#);
        let Ok(token) = parse(&text) else { panic!("it is a token") };
        assert_eq!((token.key_id(), token.algorithm()), (Some("k"), SignatureAlgorithm::PublicKey(Algorithm::ES256)));
        assert_eq!((token.payload(), token.signature()), ("e30", &[0, 0, 0][..]));
        assert_eq!(token.signed(), text.strip_suffix(".AAAA").unwrap().as_bytes());
    }
}
