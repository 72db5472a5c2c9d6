//! Who issues tokens: with keys of its own and a server of the key set, or with a shared secret.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::material::Material;

/// Signs tokens with keys of its own.
pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    key_set_url: String,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA with 2048 bits, PKCS #1 v1.5.
    Rs256,
    /// ECDSA on P-256.
    Es256,
}

impl Algorithm {
    /// The claim `alg`, which is also the id of the key.
    fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl Issuer {
    /// Serves the public parts of the keys on the loopback address for as long as this process runs.
    pub(crate) fn start(material: &Material) -> anyhow::Result<Self> {
        let rsa = material.get("issuer-rsa.der", || {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).ok().context("cannot make a key")?;
            let der: Pkcs8V1Der<'_> = key.as_der().ok().context("cannot write a key")?;
            Ok(der.as_ref().to_vec())
        })?;
        let rsa = RsaKeyPair::from_pkcs8(&rsa).ok().context("`issuer-rsa.der` is no key")?;
        let p256 = material.get("issuer-p256.der", || {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            Ok(made.ok().context("cannot make a key")?.as_ref().to_vec())
        })?;
        let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &p256);
        let p256 = p256.ok().context("`issuer-p256.der` is no key")?;

        let modulus = modulus(&rsa).context("the public key has an unknown form")?;
        // A point that is not compressed (SEC 1 section 2.3.3): two coordinates.
        let point = p256.public_key().as_ref().strip_prefix(&[4]).and_then(|point| point.split_at_checked(32));
        let (x, y) = point.context("the public key has an unknown form")?;
        let (x, y) = (BASE64.encode(x), BASE64.encode(y));
        let key_set = json!({"keys": [
            {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "RS256", "n": BASE64.encode(modulus), "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "ES256", "x": x, "y": y},
        ]});
        let listener = material.listen("issuer-port")?;
        let address = listener.local_addr()?;
        serve(listener, key_set.to_string());
        Ok(Self { rsa, p256, key_set_url: format!("http://{address}/keys") })
    }

    /// Where the key set is.
    pub(crate) fn key_set_url(&self) -> &str {
        &self.key_set_url
    }

    /// Tokens that differ, valid for a day. Signing with RSA takes most of a millisecond each, so all cores do it.
    pub(crate) fn tokens(&self, algorithm: Algorithm, number: usize) -> anyhow::Result<Vec<String>> {
        let now = now()?;
        let numbers: Vec<usize> = (0..number).collect();
        let share = number.div_ceil(crate::cpu::cores()).max(1);
        let token = |number: &usize| self.token(algorithm, *number, now);
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                numbers.chunks(share).map(|share| scope.spawn(move || share.iter().map(token).collect())).collect();
            let mut tokens = Vec::with_capacity(number);
            for thread in threads {
                let part: anyhow::Result<Vec<String>> =
                    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("signing stopped")));
                tokens.append(&mut part?);
            }
            Ok(tokens)
        })
    }

    fn token(&self, algorithm: Algorithm, number: usize, now: u64) -> anyhow::Result<String> {
        let header = json!({"alg": algorithm.word(), "typ": "JWT", "kid": algorithm.word()});
        let message = message(&header, &claims(number, now));
        let random = SystemRandom::new();
        let signature = match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                let signed = self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature);
                signed.map(|()| BASE64.encode(signature))
            }
            Algorithm::Es256 => self.p256.sign(&random, message.as_bytes()).map(|signature| BASE64.encode(signature)),
        };
        Ok(format!("{message}.{}", signature.ok().context("cannot sign")?))
    }
}

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
fn serve(listener: TcpListener, document: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who does not wait for the answer does not get one.
            let _ = answer(stream, &document);
        }
    });
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
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    };

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
    fn tokens_are_verified_by_the_keys_that_are_served() {
        let issuer = Issuer::start(&Material::default()).unwrap();
        let address = issuer.key_set_url().strip_prefix("http://").unwrap().strip_suffix("/keys").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let key_set: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let part = |key: usize, name: &str| BASE64.decode(key_set["keys"][key][name].as_str().unwrap()).unwrap();
        let rsa = RsaPublicKeyComponents { n: part(0, "n"), e: part(0, "e") };
        let point = [&[4][..], &part(1, "x"), &part(1, "y")].concat();
        let p256 = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);

        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            let tokens = issuer.tokens(algorithm, 5).unwrap();
            assert_eq!(tokens.len(), 5);
            for (position, token) in tokens.iter().enumerate() {
                assert!(!tokens[..position].contains(token));
                let (message, signature) = token.rsplit_once('.').unwrap();
                let header: Value =
                    serde_json::from_slice(&BASE64.decode(message.split_once('.').unwrap().0).unwrap()).unwrap();
                assert_eq!((&header["alg"], &header["kid"]), (&algorithm.word().into(), &algorithm.word().into()));
                let signature = BASE64.decode(signature).unwrap();
                match algorithm {
                    Algorithm::Rs256 => {
                        rsa.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).unwrap();
                    }
                    Algorithm::Es256 => p256.verify(message.as_bytes(), &signature).unwrap(),
                }
            }
        }
    }

    #[test]
    fn kept_keys_sign_again() {
        let folder = tempfile::tempdir().unwrap();
        // Each in a folder of its own, for the port is taken as long as this process runs.
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let one = Issuer::start(&Material::kept(Some(first.clone())).unwrap()).unwrap();
        std::fs::create_dir(&second).unwrap();
        for name in ["issuer-rsa.der", "issuer-p256.der"] {
            std::fs::copy(first.join(name), second.join(name)).unwrap();
        }
        let other = Issuer::start(&Material::kept(Some(second)).unwrap()).unwrap();
        assert_eq!(one.rsa.public_key().as_ref(), other.rsa.public_key().as_ref());
        assert_eq!(one.p256.public_key().as_ref(), other.p256.public_key().as_ref());
    }
}
