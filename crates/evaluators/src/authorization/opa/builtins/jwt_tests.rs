//! Tokens signed here, and the examples of RFC 7515 A.1 and A.2.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::authorization::opa::values::to_json;

fn call(name: &str, arguments: &[Json]) -> Json {
    let arguments: Vec<Value> = arguments.iter().map(|argument| from_json(argument).unwrap()).collect();
    let (_, _, function) = FUNCTIONS.iter().find(|(known, ..)| *known == name).unwrap();
    function(&arguments).map_or(json!("undefined"), |value| to_json(&value).unwrap())
}

fn token(header: &Json, claims: &Json, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encode(&signature))
}

fn shared(algorithm: hmac::Algorithm, secret: &str) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn hs256(claims: &Json) -> String {
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, shared(hmac::HMAC_SHA256, "secret"))
}

const RFC7515_A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

#[test]
fn tokens_are_decoded() {
    let decoded = call("io.jwt.decode", &[json!(RFC7515_A1)]);
    assert_eq!(decoded[0], json!({"typ": "JWT", "alg": "HS256"}));
    assert_eq!(decoded[1], json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true}));
    assert_eq!(decoded[2], json!("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79"));
    let inner = hs256(&json!({"sub": "inner"}));
    let outer = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(json!({"alg": "none", "cty": "JWT"}).to_string()),
        URL_SAFE_NO_PAD.encode(inner)
    );
    assert_eq!(call("io.jwt.decode", &[json!(outer)])[1], json!({"sub": "inner"}));
}

#[test]
fn what_is_no_token_is_undefined() {
    let encrypted = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A128GCM"}"#));
    let not_an_object = format!("{}.MQ.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    for text in ["", "a.b", "a.b.c.d", "e30.e30", "!.e30.", "e30.!.", encrypted.as_str(), not_an_object.as_str()] {
        assert_eq!(call("io.jwt.decode", &[json!(text)]), json!("undefined"), "{text}");
    }
    assert_eq!(call("io.jwt.decode", &[json!(7)]), json!("undefined"));
}

#[test]
fn shared_secrets_verify() {
    for (name, algorithm, alg) in [
        ("io.jwt.verify_hs256", hmac::HMAC_SHA256, "HS256"),
        ("io.jwt.verify_hs384", hmac::HMAC_SHA384, "HS384"),
        ("io.jwt.verify_hs512", hmac::HMAC_SHA512, "HS512"),
    ] {
        let token = token(&json!({"alg": alg}), &json!({"sub": "a"}), shared(algorithm, "secret"));
        assert_eq!(call(name, &[json!(token), json!("secret")]), json!(true), "{name}");
        assert_eq!(call(name, &[json!(token), json!("other")]), json!(false), "{name}");
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], length.as_slice(), content].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    der(0x30, &[der(0x30, algorithm), der(0x03, &[&[0], key].concat())].concat())
}

/// A certificate as far as the key in it: version, serial number, algorithm, issuer, validity, subject, key.
fn certificate(key_info: &[u8]) -> Vec<u8> {
    let empty = der(0x30, &[]);
    let fields = [&der(0xa0, &der(0x02, &[2])), &der(0x02, &[1]), &empty, &empty, &empty, &empty, &key_info.to_vec()];
    let fields: Vec<u8> = fields.iter().flat_map(|field| field.iter().copied()).collect();
    der(0x30, &[der(0x30, &fields), empty, der(0x03, &[0])].concat())
}

const RSA_ALGORITHM: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0];

#[test]
fn rsa_keys_verify_as_certificate_key_and_set() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let info = key_info(RSA_ALGORITHM, public.as_ref());
    let jwk = json!({
        "kty": "RSA",
        "kid": "k",
        "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
    });
    let keys = [
        pem("PUBLIC KEY", &info),
        pem("CERTIFICATE", &certificate(&info)),
        jwk.to_string(),
        json!({"keys": [{"kty": "unknown"}, {"kty": "EC", "crv": "P-256"}, jwk]}).to_string(),
    ];
    for (alg, encoding) in [
        ("RS256", &RSA_PKCS1_SHA256 as &'static dyn aws_lc_rs::signature::RsaEncoding),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ] {
        let token = token(&json!({"alg": alg, "kid": "k"}), &json!({"sub": "a"}), |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        });
        for key in &keys {
            let name = format!("io.jwt.verify_{}", alg.to_lowercase());
            assert_eq!(call(&name, &[json!(token), json!(key)]), json!(true), "{alg} {key}");
            let other = if alg == "RS256" { "io.jwt.verify_rs384" } else { "io.jwt.verify_rs256" };
            assert_eq!(call(other, &[json!(token), json!(key)]), json!(false), "{alg} {key}");
            let verified = call("io.jwt.decode_verify", &[json!(token), json!({"cert": key})]);
            assert_eq!(verified[0], json!(true), "{alg} {key}");
            let wrong_alg = call("io.jwt.decode_verify", &[json!(token), json!({"cert": key, "alg": "ES256"})]);
            assert_eq!(wrong_alg, json!([false, {}, {}]));
        }
    }
}

#[test]
fn elliptic_keys_verify() {
    let curves = [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", vec![0x2b, 0x81, 0x04, 0x00, 0x22]),
        ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", vec![0x2b, 0x81, 0x04, 0x00, 0x23]),
    ];
    for (alg, algorithm, curve, oid) in curves {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        let ec = [0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        let parameters = [ec.as_slice(), &[0x06, u8::try_from(oid.len()).unwrap()], &oid].concat();
        let jwk = json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        let token = token(&json!({"alg": alg}), &json!({}), |message| {
            pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        });
        for key in [pem("PUBLIC KEY", &key_info(&parameters, point)), jwk.to_string()] {
            let name = format!("io.jwt.verify_{}", alg.to_lowercase());
            assert_eq!(call(&name, &[json!(token), json!(key)]), json!(true), "{alg} {key}");
            assert_eq!(call("io.jwt.verify_rs256", &[json!(token), json!(key)]), json!(false), "{alg}");
            let tampered = token.replacen("e30", "e31", 1);
            assert_ne!(call(&name, &[json!(tampered), json!(key)]), json!(true), "{alg}");
        }
    }
}

#[test]
fn edwards_keys_verify() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key().as_ref();
    let token = token(&json!({"alg": "EdDSA"}), &json!({}), |message| pair.sign(message).as_ref().to_vec());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public)}).to_string();
    let pem = pem("PUBLIC KEY", &key_info(&[0x06, 3, 0x2b, 0x65, 0x70], public));
    for key in [jwk, pem] {
        assert_eq!(call("io.jwt.verify_eddsa", &[json!(token), json!(key)]), json!(true));
        assert_eq!(call("io.jwt.decode_verify", &[json!(token), json!({"cert": key})])[0], json!(true));
    }
}

#[test]
fn keys_that_are_none_are_undefined() {
    let token = hs256(&json!({}));
    for key in [
        "",
        "{}",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        "{\"keys\": 1}",
    ] {
        assert_eq!(call("io.jwt.verify_rs256", &[json!(token), json!(key)]), json!("undefined"), "{key}");
    }
    // A public key is no shared secret.
    assert_eq!(call("io.jwt.verify_rs256", &[json!(token), json!("{\"keys\": []}")]), json!(false));
}

#[test]
fn constraints_are_checked() {
    let far = 4_000_000_000_u64;
    let verified = |claims: Json, constraints: Json| {
        call("io.jwt.decode_verify", &[json!(hs256(&claims)), constraints])[0].clone()
    };
    for (claims, constraints, expected) in [
        (json!({}), json!({"secret": "secret"}), json!(true)),
        (json!({}), json!({"secret": "secret", "alg": "HS256"}), json!(true)),
        (json!({}), json!({"secret": "secret", "alg": "HS512"}), json!(false)),
        (json!({}), json!({"secret": "other"}), json!(false)),
        (json!({"exp": far}), json!({"secret": "secret"}), json!(true)),
        (json!({"exp": 10}), json!({"secret": "secret"}), json!(false)),
        (json!({"exp": 10}), json!({"secret": "secret", "time": 9_000_000_000_u64}), json!(true)),
        (json!({"exp": 10}), json!({"secret": "secret", "time": 10_000_000_000_u64}), json!(false)),
        (json!({"nbf": far}), json!({"secret": "secret"}), json!(false)),
        (json!({"nbf": 10}), json!({"secret": "secret", "time": 10_000_000_000_u64}), json!(true)),
        (json!({"iss": "a"}), json!({"secret": "secret"}), json!(true)),
        (json!({"iss": "a"}), json!({"secret": "secret", "iss": "a"}), json!(true)),
        (json!({"iss": "a"}), json!({"secret": "secret", "iss": "b"}), json!(false)),
        (json!({}), json!({"secret": "secret", "iss": "b"}), json!(false)),
        (json!({"aud": "a"}), json!({"secret": "secret"}), json!(false)),
        (json!({"aud": "a"}), json!({"secret": "secret", "aud": "a"}), json!(true)),
        (json!({"aud": ["b", "a"]}), json!({"secret": "secret", "aud": "a"}), json!(true)),
        (json!({"aud": ["b", 1]}), json!({"secret": "secret", "aud": "a"}), json!(false)),
        (json!({}), json!({"secret": "secret", "aud": "a"}), json!(false)),
    ] {
        assert_eq!(verified(claims.clone(), constraints.clone()), expected, "{claims} {constraints}");
    }
    for (claims, constraints) in [
        (json!({}), json!({})),
        (json!({}), json!({"secret": ""})),
        (json!({}), json!({"secret": "secret", "cert": "{\"keys\": []}"})),
        (json!({}), json!({"secret": "secret", "unknown": 1})),
        (json!({}), json!({"secret": 7})),
        (json!({"exp": "soon"}), json!({"secret": "secret"})),
        (json!({}), json!("secret")),
    ] {
        let result = call("io.jwt.decode_verify", &[json!(hs256(&claims)), constraints.clone()]);
        assert_eq!(result, json!("undefined"), "{claims} {constraints}");
    }
}

#[test]
fn a_header_cannot_talk_the_signature_away() {
    let none = token(&json!({"alg": "none"}), &json!({"sub": "a"}), |_| Vec::new());
    let critical = token(&json!({"alg": "HS256", "crit": ["x"]}), &json!({}), shared(hmac::HMAC_SHA256, "secret"));
    // Signed with the text of a public key as the secret.
    let public = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}).to_string();
    let confused = token(&json!({"alg": "HS256"}), &json!({}), shared(hmac::HMAC_SHA256, &public));
    for (token, constraints) in [
        (none, json!({"secret": "secret"})),
        (critical, json!({"secret": "secret"})),
        (confused, json!({"cert": public})),
    ] {
        assert_eq!(call("io.jwt.decode_verify", &[json!(token), constraints]), json!([false, {}, {}]), "{token}");
    }
}
