//! JSON Web Tokens, which anybody on the network can send, and the key sets of issuers.
//!
//! Input: a line that says what follows.
//!
//! | first line | the rest |
//! | --- | --- |
//! | `token` | a token as it is |
//! | `claims` | a payload, which is signed here, so that claims are read |
//! | `header` | a line with a header, then a payload, which are signed here |
//! | `keys` | a key set document |
//!
//! `ISSUER` in a payload stands for the URL of the issuer.

#![no_main]

use std::{net::Ipv4Addr, sync::LazyLock, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use usher_engine::{
    Plan, Request, RequestParts, Verdict, check,
    verdict::{Denial, DenialKind},
};
use usher_evaluators::resources::jwks::{Algorithm, KeySet, SignatureCheck};
use usher_fuzz::line;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fuzz_target!(|text: &str| {
    let world = &*WORLD;
    let (what, rest) = line(text);
    match what {
        "token" => {
            for plan in &world.plans {
                assert!(!is_accepted(&world.check(plan, rest)), "a token that nobody signed");
            }
        }
        "claims" => world.check_signed(r#"{"alg":"EdDSA","kid":"k"}"#, rest),
        "header" => {
            let (header, payload) = line(rest);
            world.check_signed(header, payload);
        }
        "keys" => {
            if let Ok(keys) = KeySet::parse(rest.as_bytes()) {
                assert_eq!(keys.is_empty(), keys.len() == 0);
                assert!(keys.has_same_keys(&keys));
                for algorithm in
                    [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES512, Algorithm::EdDSA]
                {
                    for id in [None, Some("k")] {
                        let check = keys.verify(id, algorithm, b"message", &[7; 64]);
                        assert_ne!(check, SignatureCheck::Valid);
                    }
                }
            }
        }
        _ => {}
    }
});

struct World {
    runtime: Runtime,
    key: Ed25519KeyPair,
    issuer: String,
    plans: Vec<Plan>,
}

impl World {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (issuer, plans) = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let issuer = format!("http://{}", listener.local_addr().expect("its number"));
            tokio::spawn(publish(listener, issuer.clone(), BASE64_URL_SAFE_NO_PAD.encode(key.public_key())));
            let compiler = usher_fuzz::compiler(true);
            let text = include_str!("jwt.yaml").replace("ISSUER", &issuer);
            let plans = usher_fuzz::load(&compiler, &text).into_iter().map(|compiled| compiled.plan).collect();
            assert!(compiler.resources.issuers.wait_first_attempts(Duration::from_secs(10)).await);
            (issuer, plans)
        });
        let world = Self { runtime, key, issuer, plans };
        // Nothing below would be reached if the keys had not arrived.
        let good = world.token(r#"{"alg":"EdDSA","kid":"k"}"#, r#"{"iss":"ISSUER","exp":4102444800}"#);
        assert!(world.plans.iter().all(|plan| is_accepted(&world.check(plan, &good))));
        world
    }

    fn check_signed(&self, header: &str, payload: &str) {
        let token = self.token(header, payload);
        for plan in &self.plans {
            if is_accepted(&self.check(plan, &token)) {
                let claims: serde_json::Value = serde_json::from_str(payload).expect("only claims are accepted");
                assert!(claims.get("exp").is_some());
                // The second time it is known already.
                assert!(is_accepted(&self.check(plan, &token)));
            }
        }
    }

    fn token(&self, header: &str, payload: &str) -> String {
        let payload = payload.replace("ISSUER", &self.issuer);
        let signed = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn check(&self, plan: &Plan, token: &str) -> Verdict {
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))].into();
        let request = Request::new(RequestParts { headers, ..RequestParts::default() });
        self.runtime.block_on(check(plan, &request, None, None))
    }
}

/// Claims may make a rule fail, a panic may not: those that the engine catches have this reason.
fn is_accepted(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Allow(_) => true,
        Verdict::Deny(Denial { kind, .. }) => {
            assert_eq!(*kind, DenialKind::Unauthenticated);
            false
        }
        Verdict::Undecidable(undecided) => {
            assert_ne!(undecided.reason, "internal error");
            false
        }
    }
}

/// An issuer.
async fn publish(listener: TcpListener, issuer: String, key: String) {
    let keys = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "k", "x": key},
        {"kty": "OKP", "crv": "Ed25519", "x": key},
    ]});
    let discovery = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
    while let Ok((stream, _)) = listener.accept().await {
        let _ = answer(stream, &discovery.to_string(), &keys.to_string()).await;
    }
}

async fn answer(mut stream: TcpStream, discovery: &str, keys: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let body = if head.starts_with(b"GET /keys ") { keys } else { discovery };
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await
}
