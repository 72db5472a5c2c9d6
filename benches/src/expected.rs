//! What answers say beside their code. An item of a response that fails is left out, and the code says nothing of it.

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;
use usher_proto::envoy::config::core::v3::HeaderValueOption;
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
use usher_proto::envoy::service::auth::v3::{CheckResponse, OkHttpResponse};

/// What is expected of the answers to a question that is asked twice.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Only the code, which is looked at with every answer.
    Code,
    /// These changes of the request and of the response.
    Changes(Changes),
    /// A header [`WRISTBAND`] with a token.
    Wristband(Wristband),
}

/// Changes, each list sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Headers of the request, with their values.
    pub(crate) headers: Vec<(String, String)>,
    /// Headers that are taken out of the request.
    pub(crate) removed: Vec<String>,
    /// Headers of the response, with their values.
    pub(crate) response_headers: Vec<(String, String)>,
}

/// How tokens are verified.
#[derive(Debug)]
pub(crate) struct Wristband {
    /// The point of P-256, not compressed.
    pub(crate) public_key: Vec<u8>,
    /// The claim `username`.
    pub(crate) username: String,
    /// Whether the second answer has the token of the first one.
    pub(crate) kept: bool,
}

/// The header of the request that tokens stand in.
pub(crate) const WRISTBAND: &str = "x-wristband";

impl Expected {
    /// Whether the answers to one question are as expected.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn verify(&self, answers: [CheckResponse; 2]) -> anyhow::Result<()> {
        let [first, second] = answers.map(changes);
        match self {
            Self::Code => Ok(()),
            Self::Changes(expected) => {
                for found in [first?, second?] {
                    ensure!(found == *expected, "the answer is {found:?}, not {expected:?}");
                }
                Ok(())
            }
            Self::Wristband(expected) => {
                let tokens = [first?, second?].map(|changes| token(changes.headers));
                let [Some(first), Some(second)] = tokens else { bail!("an answer has no `{WRISTBAND}`") };
                expected.verify(&first).and_then(|()| expected.verify(&second)).context("the token is no good")?;
                // Signatures with P-256 are never the same, not even of the same claims.
                ensure!((first == second) == expected.kept, "kept is {}, not {}", first == second, expected.kept);
                Ok(())
            }
        }
    }
}

impl Wristband {
    fn verify(&self, token: &str) -> anyhow::Result<()> {
        let (message, signature) = token.rsplit_once('.').context("it has no signature")?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public_key);
        key.verify(message.as_bytes(), &BASE64.decode(signature)?).ok().context("the signature is wrong")?;
        let (_, claims) = message.split_once('.').context("it has no claims")?;
        let claims: Value = serde_json::from_slice(&BASE64.decode(claims)?)?;
        let username = claims.get("username").and_then(Value::as_str);
        ensure!(username == Some(&self.username), "it is about {username:?}");
        Ok(())
    }
}

fn token(headers: Vec<(String, String)>) -> Option<String> {
    headers.into_iter().find_map(|(name, value)| (name == WRISTBAND).then_some(value))
}

fn changes(answer: CheckResponse) -> anyhow::Result<Changes> {
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { bail!("the answer is no permission") };
    let OkHttpResponse { headers, headers_to_remove, response_headers_to_add, .. } = ok;
    let mut changes = Changes {
        headers: pairs(headers),
        removed: headers_to_remove,
        response_headers: pairs(response_headers_to_add),
    };
    changes.headers.sort();
    changes.removed.sort();
    changes.response_headers.sort();
    Ok(changes)
}

fn pairs(headers: Vec<HeaderValueOption>) -> Vec<(String, String)> {
    let headers = headers.into_iter().filter_map(|option| option.header);
    headers
        .map(|header| match header.raw_value.is_empty() {
            true => (header.key, header.value),
            false => (header.key, String::from_utf8_lossy(&header.raw_value).into_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, SigningKey as _};
    use serde_json::json;
    use usher_proto::envoy::config::core::v3::HeaderValue;
    use usher_proto::envoy::service::auth::v3::DeniedHttpResponse;

    use super::*;

    fn option(name: &str, value: &str) -> HeaderValueOption {
        let header = HeaderValue { key: name.to_owned(), value: value.to_owned(), ..HeaderValue::default() };
        HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }
    }

    fn answer(headers: &[(&str, &str)], removed: &[&str]) -> CheckResponse {
        let ok = OkHttpResponse {
            headers: headers.iter().map(|(name, value)| option(name, value)).collect(),
            headers_to_remove: removed.iter().map(|name| (*name).to_owned()).collect(),
            response_headers_to_add: vec![option("z", "3")],
            ..OkHttpResponse::default()
        };
        CheckResponse { http_response: Some(HttpResponse::OkResponse(ok)), ..CheckResponse::default() }
    }

    #[test]
    fn changes_are_compared_without_their_order() {
        let expected = Expected::Changes(Changes {
            headers: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            removed: vec!["c".to_owned()],
            response_headers: vec![("z".to_owned(), "3".to_owned())],
        });
        let right = || answer(&[("b", "2"), ("a", "1")], &["c"]);
        expected.verify([right(), right()]).unwrap();
        let denied = HttpResponse::DeniedResponse(DeniedHttpResponse::default());
        for wrong in [
            answer(&[("a", "1")], &["c"]),
            answer(&[("a", "1"), ("b", "3")], &["c"]),
            answer(&[("a", "1"), ("b", "2")], &[]),
            CheckResponse { http_response: Some(denied), ..CheckResponse::default() },
            CheckResponse::default(),
        ] {
            assert!(expected.verify([wrong.clone(), right()]).is_err());
            assert!(expected.verify([right(), wrong.clone()]).is_err());
            Expected::Code.verify([wrong, right()]).unwrap();
        }
    }

    #[test]
    fn tokens_are_verified() {
        let key = KeyPair::generate().unwrap();
        let token = |key: &KeyPair, username: &str| {
            let claims = BASE64.encode(json!({"username": username}).to_string());
            let message = format!("{}.{claims}", BASE64.encode("{}"));
            // DER (RFC 3279 section 2.2.3) as the 64 bytes of RFC 7518 section 3.4.
            let der = key.sign(message.as_bytes()).unwrap();
            let integer = |at: usize| {
                let length = usize::from(der[at + 1]);
                let digits = &der[at + 2..at + 2 + length];
                let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
                ([vec![0; 32 - digits.len()], digits.to_vec()].concat(), at + 2 + length)
            };
            let (r, next) = integer(2);
            let (s, _) = integer(next);
            format!("{message}.{}", BASE64.encode([r, s].concat()))
        };
        let expected = |kept| {
            let public_key = key.public_key_raw().to_vec();
            Expected::Wristband(Wristband { public_key, username: "ann".to_owned(), kept })
        };
        let with = |token: &str| answer(&[("other", "x"), (WRISTBAND, token)], &[]);
        let (one, two) = (token(&key, "ann"), token(&key, "ann"));
        expected(false).verify([with(&one), with(&two)]).unwrap();
        expected(true).verify([with(&one), with(&one)]).unwrap();
        assert!(expected(true).verify([with(&one), with(&two)]).is_err());
        assert!(expected(false).verify([with(&one), with(&one)]).is_err());
        let other = KeyPair::generate().unwrap();
        for wrong in [token(&other, "ann"), token(&key, "bob"), String::new(), "a.b.c".to_owned()] {
            assert!(expected(false).verify([with(&one), with(&wrong)]).is_err(), "{wrong}");
        }
        assert!(expected(false).verify([with(&one), answer(&[], &[])]).is_err());
    }
}
