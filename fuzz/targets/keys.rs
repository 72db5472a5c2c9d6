//! Keys in configurations: key sets that are not fetched, shared secrets, and the keys with which tokens are issued.
//!
//! Input: a line that says what follows.
//!
//! | first line | the rest |
//! | --- | --- |
//! | `inline` | `jwt.jwks.inline`: a JSON value, or a text |
//! | `set` | the Secret of `jwt.jwks.secretRef` |
//! | `shared` | the Secret of `jwt.secretRef` |
//! | `ES256`, `RS512` … | the Secret of `wristband.signingKeyRefs`, for that algorithm |

#![no_main]

use std::sync::Arc;

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use usher_compile::{Compiled, Compiler};
use usher_engine::{Plan, Request, RequestParts, Verdict, plan::PlanKind};
use usher_evaluators::Secrets;

fuzz_target!(|bytes: &[u8]| {
    WORLD.with(|world| {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (what, rest) = bytes.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        match std::str::from_utf8(what).unwrap_or_default() {
            "inline" => {
                let text = String::from_utf8_lossy(rest).into_owned();
                let document = serde_json::from_str(&text).unwrap_or(Value::String(text));
                world.key_set(json!({"inline": document}), rest, rest);
            }
            "set" => world.key_set(json!({"secretRef": {"name": "made", "key": "key"}}), rest, rest),
            "shared" => world.shared_secret(rest),
            algorithm @ ("ES256" | "ES384" | "ES512" | "RS256" | "RS384" | "RS512") => world.wristband(algorithm, rest),
            _ => {}
        }
    });
});

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    compiler: Compiler,
    key: Ed25519KeyPair,
}

impl World {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let world = Self { runtime: usher_fuzz::runtime(), compiler: usher_fuzz::compiler(false), key };
        // Nothing below would be reached if the key did not count.
        let jwk = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encode(world.key.public_key().as_ref())}]});
        let good = world.jwt(json!({"jwks": {"inline": jwk}}), b"").expect("a good key set").plan;
        assert!(world.check(&good, &world.signed()).is_allowed());
        world
    }

    /// A key set counts with its own keys, and with nothing else.
    fn key_set(&self, jwks: Value, secret: &[u8], text: &[u8]) {
        let Some(compiled) = self.jwt(json!({"jwks": jwks}), secret) else { return };
        let mut forgeries = vec![token(r#"{"alg":"none"}"#, |_| Vec::new())];
        for kid in ["", "k"] {
            // Public keys are no secrets.
            forgeries.push(hmac_token(kid, text));
            for algorithm in ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA", "HS256"] {
                let header = json!({"alg": algorithm, "kid": kid}).to_string();
                forgeries.push(token(&header, |_| vec![7; 64]));
                forgeries.push(token(&header, |_| vec![7; 256]));
            }
        }
        for forgery in forgeries {
            assert!(!self.check(&compiled.plan, &forgery).is_allowed(), "{forgery}");
        }
        if self.check(&compiled.plan, &self.signed()).is_allowed() {
            let text = String::from_utf8_lossy(text);
            let is_there = |text: &str| text.contains(&encode(self.key.public_key().as_ref())[..42]);
            let unescaped = serde_json::from_str::<Value>(&text).map(|document| match document {
                Value::String(text) => text,
                other => other.to_string(),
            });
            assert!(is_there(&text) || unescaped.is_ok_and(|text| is_there(&text)), "accepted with a key of nobody");
        }
    }

    fn shared_secret(&self, secret: &[u8]) {
        let Some(compiled) = self.jwt(json!({"secretRef": {"name": "made"}}), secret) else {
            assert!(secret.is_empty());
            return;
        };
        assert!(self.check(&compiled.plan, &hmac_token("", secret)).is_allowed());
        assert!(!self.check(&compiled.plan, &hmac_token("", &[secret, b"x"].concat())).is_allowed());
        assert!(!self.check(&compiled.plan, &self.signed()).is_allowed());
        assert!(!self.check(&compiled.plan, &token(r#"{"alg":"none"}"#, |_| Vec::new())).is_allowed());
    }

    /// A token that is issued is accepted with the keys that are published, and these say nothing secret.
    fn wristband(&self, algorithm: &str, pem: &[u8]) {
        let mut secrets = Secrets::complete();
        secrets.insert(Arc::new(usher_fuzz::secret("made", "key.pem", pem)));
        let spec = json!({
            "hosts": ["made.test"],
            "authentication": {"anyone": {"anonymous": {}}},
            "response": {"success": {"headers": {"x-token": {"wristband": {
                "issuer": "https://issuer.test",
                "signingKeyRefs": [{"name": "made", "algorithm": algorithm}],
            }}}}},
        });
        let Some(Ok(issuing)) = usher_fuzz::compile(&self.compiler, spec, &secrets) else { return };
        let PlanKind::Rules(rules) = &issuing.plan.kind else { panic!("an AuthConfig has rules") };
        let [(_, issuer)] = rules.token_issuers.as_slice() else { panic!("one issuer") };
        let published: Value = serde_json::from_str(&issuer.keys).expect("a key set");
        for key in published["keys"].as_array().expect("keys") {
            assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|secret| key.get(secret).is_none()));
        }
        let Verdict::Allow(allow) = usher_fuzz::decide(&self.runtime, &issuing.plan, &Request::default()) else {
            panic!("anybody is let in");
        };
        let headers = &allow.additions().headers;
        let token = headers.iter().find(|(name, _)| name == "x-token").expect("a token").1.clone();
        let accepting = json!({"jwks": {"inline": published}, "algorithms": [algorithm], "leewaySeconds": 60});
        let accepting = self.jwt(accepting, b"").expect("published keys can be read");
        assert!(self.check(&accepting.plan, &token).is_allowed(), "{token} with {}", issuer.keys);
        assert!(!self.check(&accepting.plan, &self.signed()).is_allowed());
    }

    /// A plan that accepts tokens, with a Secret named `made`. None where it does not compile.
    fn jwt(&self, jwt: Value, secret: &[u8]) -> Option<Compiled> {
        let mut secrets = Secrets::complete();
        secrets.insert(Arc::new(usher_fuzz::secret("made", "key", secret)));
        let spec = json!({"hosts": ["made.test"], "authentication": {"jwt": {"jwt": jwt}}});
        match usher_fuzz::compile(&self.compiler, spec, &secrets)? {
            Ok(compiled) => Some(compiled),
            Err(refused) => {
                assert!(!refused.problems.is_empty());
                None
            }
        }
    }

    fn check(&self, plan: &Plan, token: &str) -> Verdict {
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))].into();
        usher_fuzz::decide(&self.runtime, plan, &Request::new(RequestParts { headers, ..RequestParts::default() }))
    }

    fn signed(&self) -> String {
        token(r#"{"alg":"EdDSA"}"#, |signed| self.key.sign(signed).as_ref().to_vec())
    }
}

fn hmac_token(kid: &str, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let header = json!({"alg": "HS256", "kid": kid}).to_string();
    token(&header, |signed| hmac::sign(&key, signed).as_ref().to_vec())
}

fn token(header: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(br#"{"sub":"ada","exp":4102444800}"#));
    let signature = encode(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
