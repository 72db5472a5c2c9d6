//! `jwt.Decode(token, key)`: tokens signed with a shared secret (HS256, HS384 and HS512 of RFC 7518 §3.2).
//!
//! A token that is none, that names another algorithm, or that the key did not sign, is not `Valid` and shows neither
//! header nor claims: nothing that was not signed is ever read. One that was signed, but is expired or not valid yet,
//! shows them and is not `Valid`.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use usher_expr::{
    EvaluationError,
    cel::{Argument, Function, Library, Object, ObjectType},
};

const TOKEN: &str = "jwt.Token";

pub(crate) static LIBRARY: Library = Library {
    objects: &[ObjectType {
        name: TOKEN,
        fields: &[("Valid", "bool"), ("Header", "map(string, dyn)"), ("Claims", "map(string, dyn)")],
    }],
    functions: &[Function { name: "jwt.Decode", signatures: "(string, string) -> jwt.Token", call: decode }],
};

/// A token after it was looked at.
#[derive(Clone, Default)]
struct Token {
    valid: bool,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// Shows no claims.
impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Token").field("valid", &self.valid).finish_non_exhaustive()
    }
}

impl Object for Token {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("Valid", self.valid.into()),
            ("Header", self.header.clone().into()),
            ("Claims", self.claims.clone().into()),
        ]
    }
}

fn decode(arguments: &[Argument<'_>]) -> Result<Box<dyn Object>, EvaluationError> {
    let [token, key] = arguments else { return Err(EvaluationError::new("jwt.Decode takes a token and a key")) };
    let (token, key) = (token.text()?, key.text()?);
    if key.is_empty() {
        // Anybody can sign with it.
        return Err(EvaluationError::new("jwt.Decode: the key is empty"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Box::new(verify(token, key, now).unwrap_or_default()))
}

/// The token if `key` signed it. `now` is in seconds since 1970.
fn verify(token: &str, key: &str, now: u64) -> Option<Token> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header = object(header)?;
    // Extensions that must be understood (RFC 7515 §4.1.11) are not.
    if header.contains_key("crit") {
        return None;
    }
    let algorithm = match header.get("alg")?.as_str()? {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return None,
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&hmac::Key::new(algorithm, key.as_bytes()), signed.as_bytes(), &signature).ok()?;
    let claims = object(claims)?;
    Some(Token { valid: is_in_time(&claims, now), header, claims })
}

fn object(encoded: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// Whether now is between `nbf`, `iat` and `exp` (RFC 7519 §4.1), in whole seconds. A time that is no number is never
/// reached.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
fn is_in_time(claims: &Map<String, Value>, now: u64) -> bool {
    let now = now as f64;
    let holds = |name: &str, holds: fn(f64, f64) -> bool| match claims.get(name) {
        None => true,
        Some(time) => time.as_f64().is_some_and(|time| holds(now, time.trunc())),
    };
    holds("exp", |now, time| now < time)
        && holds("nbf", |now, time| now >= time)
        && holds("iat", |now, time| now >= time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed(algorithm: hmac::Algorithm, name: &str, key: &str, claims: &Value, extra: &Value) -> String {
        let mut header = json!({"alg": name, "typ": "JWT"});
        header.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn the_signature_decides_and_then_the_time() {
        let claims = json!({"role": "admin"});
        for (algorithm, name) in
            [(hmac::HMAC_SHA256, "HS256"), (hmac::HMAC_SHA384, "HS384"), (hmac::HMAC_SHA512, "HS512")]
        {
            let token = signed(algorithm, name, "secret", &claims, &json!({}));
            let verified = verify(&token, "secret", 100).unwrap();
            assert!(verified.valid, "{name}");
            assert_eq!((&verified.claims["role"], &verified.header["alg"]), (&json!("admin"), &json!(name)));
            assert!(verify(&token, "other", 100).is_none(), "{name}");
            assert!(verify(&format!("{token}x"), "secret", 100).is_none(), "{name}");
        }
        for (claims, valid) in [
            (json!({}), true),
            (json!({"exp": 101}), true),
            (json!({"exp": 100}), false),
            (json!({"exp": 100.9}), false),
            (json!({"exp": "101"}), false),
            (json!({"exp": null}), false),
            (json!({"nbf": 100}), true),
            (json!({"nbf": 101}), false),
            (json!({"iat": 100, "nbf": 1, "exp": 1e9}), true),
            (json!({"iat": 101}), false),
        ] {
            let token = signed(hmac::HMAC_SHA256, "HS256", "secret", &claims, &json!({}));
            let verified = verify(&token, "secret", 100).unwrap();
            assert_eq!(verified.valid, valid, "{claims}");
            assert_eq!(Value::from(verified.claims), claims);
        }
    }

    #[test]
    fn nothing_is_shown_of_what_is_not_signed() {
        let claims = json!({"role": "admin"});
        let sha256 = hmac::HMAC_SHA256;
        let good = signed(sha256, "HS256", "secret", &claims, &json!({}));
        let body = good.split('.').nth(1).unwrap();
        let none = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        for token in [
            none.as_str(),
            "",
            ".",
            "..",
            "a.b.c",
            "garbage",
            &good.replace('.', ""),
            &format!("{good}.x"),
            &format!("x.{good}"),
            &signed(sha256, "RS256", "secret", &claims, &json!({})),
            &signed(sha256, "HS512", "secret", &claims, &json!({})),
            &signed(sha256, "HS256", "secret", &claims, &json!({"crit": ["b64"], "b64": false})),
            &signed(sha256, "HS256", "secret", &json!("no object"), &json!({})),
        ] {
            assert!(verify(token, "secret", 100).is_none(), "{token}");
        }
    }
}
