//! JSON Web Tokens: `io.jwt.decode`, `io.jwt.decode_verify` and `io.jwt.verify_*`.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use regorus::Value;
use serde_json::Value as Json;

use super::{
    Builtin, Trouble, argument,
    crypto::hexadecimal,
    jwt_keys::{self, Key, base64url},
    text,
};
use crate::authorization::opa::{budget::charge, values::from_json};

/// Name, number of arguments, function.
pub(super) const FUNCTIONS: &[(&str, u8, Builtin)] = &[
    ("io.jwt.decode", 1, decode),
    ("io.jwt.decode_verify", 2, decode_verify),
    ("io.jwt.verify_eddsa", 2, |arguments| verify("EdDSA", arguments)),
    ("io.jwt.verify_es256", 2, |arguments| verify("ES256", arguments)),
    ("io.jwt.verify_es384", 2, |arguments| verify("ES384", arguments)),
    ("io.jwt.verify_es512", 2, |arguments| verify("ES512", arguments)),
    ("io.jwt.verify_hs256", 2, |arguments| verify_shared("HS256", arguments)),
    ("io.jwt.verify_hs384", 2, |arguments| verify_shared("HS384", arguments)),
    ("io.jwt.verify_hs512", 2, |arguments| verify_shared("HS512", arguments)),
    ("io.jwt.verify_ps256", 2, |arguments| verify("PS256", arguments)),
    ("io.jwt.verify_ps384", 2, |arguments| verify("PS384", arguments)),
    ("io.jwt.verify_ps512", 2, |arguments| verify("PS512", arguments)),
    ("io.jwt.verify_rs256", 2, |arguments| verify("RS256", arguments)),
    ("io.jwt.verify_rs384", 2, |arguments| verify("RS384", arguments)),
    ("io.jwt.verify_rs512", 2, |arguments| verify("RS512", arguments)),
];

/// How often a token may be wrapped in another.
const MAX_NESTING: usize = 4;

/// A token taken apart, nothing verified: RFC 7519 §7.2.
struct Token {
    header: serde_json::Map<String, Json>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// What was signed.
    message: String,
}

impl Token {
    fn parse(text: &str) -> Result<Self, Trouble> {
        charge(text.len().saturating_mul(8))?;
        let (message, signature) = text.rsplit_once('.').ok_or(Trouble::Undefined)?;
        let (header, payload) = message.split_once('.').ok_or(Trouble::Undefined)?;
        if payload.contains('.') {
            return Err(Trouble::Undefined);
        }
        let bytes = |text: &str| base64url(text).ok_or(Trouble::Undefined);
        let header: serde_json::Map<String, Json> =
            serde_json::from_slice(&bytes(header)?).map_err(|_| Trouble::Undefined)?;
        // An encrypted token has other parts.
        if header.contains_key("enc") {
            return Err(Trouble::Undefined);
        }
        Ok(Self { header, payload: bytes(payload)?, signature: bytes(signature)?, message: message.to_owned() })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Json::as_str)
    }

    /// The token in this token, if that is what it says it holds.
    fn nested(&self) -> Result<Option<Self>, Trouble> {
        if self.header("cty").is_none_or(|cty| !cty.eq_ignore_ascii_case("JWT")) {
            return Ok(None);
        }
        Self::parse(std::str::from_utf8(&self.payload).map_err(|_| Trouble::Undefined)?).map(Some)
    }

    fn claims(&self) -> Result<serde_json::Map<String, Json>, Trouble> {
        serde_json::from_slice(&self.payload).map_err(|_| Trouble::Undefined)
    }
}

fn object(members: serde_json::Map<String, Json>) -> Result<Value, Trouble> {
    from_json(&Json::Object(members)).ok_or(Trouble::Undefined)
}

/// `io.jwt.decode(token)`: header, payload and signature (hexadecimal), nothing verified.
fn decode(arguments: &[Value]) -> Result<Value, Trouble> {
    let mut token = Token::parse(text(arguments, 0)?)?;
    for _ in 0..MAX_NESTING {
        match token.nested()? {
            Some(nested) => token = nested,
            None => {
                let claims = object(token.claims()?)?;
                let signature = hexadecimal(&token.signature);
                return Ok(Value::from(vec![object(token.header)?, claims, signature]));
            }
        }
    }
    Err(Trouble::Undefined)
}

/// `io.jwt.verify_ALGORITHM(token, key)`: whether the signature is right, whatever the header says about it.
fn verify(algorithm: &str, arguments: &[Value]) -> Result<Value, Trouble> {
    let token = Token::parse(text(arguments, 0)?)?;
    let keys = jwt_keys::parse(text(arguments, 1)?).ok_or(Trouble::Undefined)?;
    Ok(Value::Bool(signed_by(&keys, algorithm, &token)))
}

/// `io.jwt.verify_hs*(token, secret)`
fn verify_shared(algorithm: &str, arguments: &[Value]) -> Result<Value, Trouble> {
    let token = Token::parse(text(arguments, 0)?)?;
    Ok(Value::Bool(authenticated_by(text(arguments, 1)?, algorithm, &token)))
}

/// The key that the header names decides; if it names none of them, any key that is not meant for something else.
fn signed_by(keys: &[Key], algorithm: &str, token: &Token) -> bool {
    let verifies = |key: &Key| key.verifies(algorithm, token.message.as_bytes(), &token.signature);
    if let Some(kid) = token.header("kid").filter(|kid| !kid.is_empty())
        && let Some(key) = keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    {
        return verifies(key);
    }
    keys.iter().filter(|key| key.alg.is_none() || key.alg.as_deref() == token.header("alg")).any(verifies)
}

fn authenticated_by(secret: &str, algorithm: &str, token: &Token) -> bool {
    let algorithm = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return false,
    };
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    hmac::verify(&key, token.message.as_bytes(), &token.signature).is_ok()
}

/// What `io.jwt.decode_verify` is asked to make sure of.
#[derive(Default)]
struct Constraints {
    keys: Option<Vec<Key>>,
    secret: Option<String>,
    alg: Option<String>,
    iss: Option<String>,
    aud: Option<String>,
    /// Seconds since 1970.
    time: Option<f64>,
}

impl Constraints {
    fn parse(value: &Value) -> Result<Self, Trouble> {
        let Value::Object(members) = value else { return Err(Trouble::Undefined) };
        let mut constraints = Self::default();
        for (name, value) in members.iter() {
            let (Value::String(name), value) = (name, value) else { return Err(Trouble::Undefined) };
            let text = match value {
                Value::String(text) => Ok(text.to_string()),
                _ => Err(Trouble::Undefined),
            };
            match name.as_ref() {
                "cert" => constraints.keys = Some(jwt_keys::parse(&text?).ok_or(Trouble::Undefined)?),
                "secret" => constraints.secret = Some(text?),
                "alg" => constraints.alg = Some(text?),
                "iss" => constraints.iss = Some(text?),
                "aud" => constraints.aud = Some(text?),
                "time" => match value {
                    Value::Number(nanoseconds) => constraints.time = nanoseconds.as_f64().map(|time| time / 1e9),
                    _ => return Err(Trouble::Undefined),
                },
                _ => return Err(Trouble::Undefined),
            }
        }
        // One kind of key, not both and not none. An empty secret is none.
        match (&constraints.keys, constraints.secret.as_deref()) {
            (Some(_), None) => Ok(constraints),
            (None, Some(secret)) if !secret.is_empty() => Ok(constraints),
            _ => Err(Trouble::Undefined),
        }
    }

    fn accept_signature(&self, token: &Token) -> bool {
        let Some(algorithm) = token.header("alg") else { return false };
        if self.alg.as_deref().is_some_and(|expected| expected != algorithm) || token.header.contains_key("crit") {
            return false;
        }
        match (&self.keys, &self.secret) {
            (Some(keys), None) => signed_by(keys, algorithm, token),
            (None, Some(secret)) => authenticated_by(secret, algorithm, token),
            _ => false,
        }
    }

    fn accept_claims(&self, claims: &serde_json::Map<String, Json>) -> Result<bool, Trouble> {
        let now = self.time.unwrap_or_else(now);
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Json::Number(seconds)) => Ok(seconds.as_f64()),
            Some(_) => Err(Trouble::Undefined),
        };
        if let Some(issuer) = &self.iss
            && claims.get("iss").and_then(Json::as_str) != Some(issuer)
        {
            return Ok(false);
        }
        let is_for_us = match (claims.get("aud"), &self.aud) {
            (None, None) => true,
            (Some(Json::String(audience)), Some(expected)) => audience == expected,
            (Some(Json::Array(audiences)), Some(expected)) => {
                audiences.iter().any(|audience| audience.as_str() == Some(expected))
            }
            _ => false,
        };
        let is_over = time("exp")?.is_some_and(|expiry| now >= expiry);
        let is_early = time("nbf")?.is_some_and(|start| now < start);
        Ok(is_for_us && !is_over && !is_early)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `io.jwt.decode_verify(token, constraints)`: whether all of it holds, header and payload; both empty if it does not.
fn decode_verify(arguments: &[Value]) -> Result<Value, Trouble> {
    let constraints = Constraints::parse(argument(arguments, 1)?)?;
    let unverified = || {
        let empty = || Value::from(BTreeMap::new());
        Ok(Value::from(vec![Value::Bool(false), empty(), empty()]))
    };
    let mut token = Token::parse(text(arguments, 0)?)?;
    for _ in 0..MAX_NESTING {
        if !constraints.accept_signature(&token) {
            return unverified();
        }
        if let Some(nested) = token.nested()? {
            token = nested;
            continue;
        }
        let claims = token.claims()?;
        if !constraints.accept_claims(&claims)? {
            return unverified();
        }
        return Ok(Value::from(vec![Value::Bool(true), object(token.header)?, object(claims)?]));
    }
    unverified()
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
