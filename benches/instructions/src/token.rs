//! Tokens of a shared secret, the same in every run.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

/// What signs tokens, with HS256.
pub(crate) const SHARED_SECRET: &str = "as many bytes as SHA-256 makes..";

/// 2021-01-01; the clock must not matter.
const ISSUED: u64 = 1_609_459_200;
/// 2100-01-01
const EXPIRES: u64 = 4_102_444_800;

/// A token that is valid for decades, with as many claims as a usual identity provider puts into one.
pub(crate) fn token(number: usize) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims(number).to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED_SECRET.as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

fn claims(number: usize) -> Value {
    json!({
        "iss": "https://idp.bench.example.com/realms/bench",
        "sub": format!("7c1d4b0a-2f5e-4d0e-9a51-{number:012x}"),
        "aud": "orders",
        "exp": EXPIRES,
        "iat": ISSUED,
        "jti": format!("0f6f2f0a-53a1-4a6b-8a5c-{number:012x}"),
        "typ": "Bearer",
        "azp": "web",
        "scope": "openid profile email",
        "realm_access": {"roles": ["reader", "offline_access", "uma_authorization"]},
        "email_verified": true,
        "name": "Jane Doe",
        "preferred_username": "jane",
        "email": "jane@bench.example.com",
    })
}
