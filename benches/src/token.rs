//! Who issues tokens: with a key of its own and a server of the key set, or with a shared secret.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Signs tokens with RS256 and a key of its own.
pub(crate) struct Issuer {
    key: RsaKeyPair,
    key_set_url: String,
}

impl Issuer {
    /// Makes a key of 2048 bits and serves its public part on the loopback address for as long as this process runs.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).ok().context("cannot make a key")?;
        let modulus = modulus(&key).context("the public key has an unknown form")?;
        let key_set = json!({"keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": KEY_ID, "n": BASE64.encode(modulus), "e": "AQAB",
        }]});
        let address = serve(key_set.to_string()).context("cannot serve the key set")?;
        Ok(Self { key, key_set_url: format!("http://{address}/keys") })
    }

    /// Where the key set is.
    pub(crate) fn key_set_url(&self) -> &str {
        &self.key_set_url
    }

    /// Tokens that differ, valid for a day. Signing takes most of a millisecond each, so all cores do it.
    pub(crate) fn tokens(&self, number: usize) -> anyhow::Result<Vec<String>> {
        let now = now()?;
        let numbers: Vec<usize> = (0..number).collect();
        let share = number.div_ceil(crate::cpu::cores()).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = numbers
                .chunks(share)
                .map(|share| scope.spawn(move || share.iter().map(|number| self.token(*number, now)).collect()))
                .collect();
            let mut tokens = Vec::with_capacity(number);
            for thread in threads {
                let part: anyhow::Result<Vec<String>> =
                    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("signing stopped")));
                tokens.append(&mut part?);
            }
            Ok(tokens)
        })
    }

    fn token(&self, number: usize, now: u64) -> anyhow::Result<String> {
        let message = message(&json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}), &claims(number, now));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .ok()
            .context("cannot sign")?;
        Ok(format!("{message}.{}", BASE64.encode(signature)))
    }
}

const KEY_ID: &str = "bench-1";

/// What signs tokens with HS256.
pub(crate) const SHARED_SECRET: &str = "as many bytes as SHA-256 makes..";

/// Tokens that differ, valid for a day, signed with [`SHARED_SECRET`].
pub(crate) fn shared_secret_tokens(number: usize) -> anyhow::Result<Vec<String>> {
    (0..number).map(|number| shared_secret_token(SHARED_SECRET, number)).collect()
}

/// A token that is valid for a day, signed with this secret.
pub(crate) fn shared_secret_token(secret: &str, number: usize) -> anyhow::Result<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let message = message(&json!({"alg": "HS256", "typ": "JWT"}), &claims(number, now()?));
    let signature = BASE64.encode(hmac::sign(&key, message.as_bytes()));
    Ok(format!("{message}.{signature}"))
}

/// What is signed (RFC 7515 section 5.1).
fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed().context("the clock is wrong")?.as_secs())
}

/// As many claims as a usual identity provider puts into an access token.
fn claims(number: usize, now: u64) -> Value {
    json!({
        "iss": "https://idp.bench.example.com/realms/bench",
        "sub": format!("7c1d4b0a-2f5e-4d0e-9a51-{number:012x}"),
        "aud": "orders",
        "exp": now + 24 * 3600,
        "iat": now,
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

/// The modulus of a key of 2048 bits with the public exponent 65537, from the end of its public key (RFC 8017 §A.1.1): 256 bytes,
/// then the exponent as five bytes of DER.
fn modulus(key: &RsaKeyPair) -> Option<Vec<u8>> {
    let rest = key.public_key().as_ref().strip_suffix(&[2, 3, 1, 0, 1])?;
    rest.get(rest.len().checked_sub(256)?..).map(<[u8]>::to_vec)
}

/// Answers every HTTP request with one document.
fn serve(document: String) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who does not wait for the answer does not get one.
            let _ = answer(stream, &document);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, document: &str) -> io::Result<()> {
    const LONGEST_REQUEST: usize = 16 << 10;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    let length = document.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{document}"
    )
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    #[test]
    fn tokens_of_a_shared_secret_differ_and_are_verified_by_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED_SECRET.as_bytes());
        let tokens = shared_secret_tokens(2).unwrap();
        assert!(matches!(&tokens[..], [one, other] if one != other));
        for token in tokens {
            let (message, signature) = token.rsplit_once('.').unwrap();
            hmac::verify(&key, message.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
        }
    }

    #[test]
    fn tokens_are_verified_by_the_key_that_is_served() {
        let issuer = Issuer::start().unwrap();
        let address = issuer.key_set_url().strip_prefix("http://").unwrap().strip_suffix("/keys").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let key_set: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let key = &key_set["keys"][0];
        let part = |name: &str| BASE64.decode(key[name].as_str().unwrap()).unwrap();
        let key = RsaPublicKeyComponents { n: part("n"), e: part("e") };

        let tokens = issuer.tokens(5).unwrap();
        assert_eq!(tokens.len(), 5);
        for (position, token) in tokens.iter().enumerate() {
            assert!(!tokens[..position].contains(token));
            let (message, signature) = token.rsplit_once('.').unwrap();
            let signature = BASE64.decode(signature).unwrap();
            key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).unwrap();
        }
    }
}
