//! `wristband`: a token that we issue about the caller.
//!
//! # What it does
//! Gives a JSON Web Token (RFC 7519) about the identity of the request, signed with a key of ours. Services behind the
//! gateway, and other AuthConfigs, can trust it without knowing how the caller was authenticated: the public keys are
//! published by the discovery endpoint, so that `jwt.issuerUrl` with the wristband's issuer accepts the tokens.
//!
//! ```text
//!  header:  {"alg":"ES256","kid":NAME OF THE SECRET,"typ":"JWT"}
//!  claims:  iss   `issuer`
//!           iat   now
//!           exp   now + `tokenDuration` seconds (300 if absent; with 0 or less it is expired from the beginning)
//!           sub   SHA-256, in hexadecimal digits, of the identity as compact JSON
//!           …     `customClaims`, which may also replace the four
//! ```
//!
//! `sub` is not what others call the caller, and it changes with any change of the identity (with a JWT for example at
//! each renewal). Where it matters, set it: `customClaims: {sub: {selector: auth.identity.username}}`.
//!
//! The first of `signingKeyRefs` signs; the others are published too, so that keys can be replaced without a gap: add
//! the new key at the end, later put it first, and drop the old one when its last tokens have expired. The key is the
//! entry `key.pem` of the Secret: PEM, as PKCS#8 (RFC 5208), SEC 1 (RFC 5915) or PKCS#1 (RFC 8017), not encrypted. ES256,
//! ES384 and ES512 need a key on P-256, P-384 and P-521, the RS algorithms an RSA key of 2048 to 8192 bits.
//!
//! A caller who comes with a token of this very issuer (authenticated by a rule with `jwt.issuerUrl`) gets no other one:
//! the value is null then, so no header is set.
//!
//! # Example
//! ```yaml
//! response:
//!   success:
//!     headers:
//!       x-wristband:
//!         wristband:
//!           issuer: https://usher-oidc.example:8083/pets/api/x-wristband
//!           customClaims:
//!             username: {selector: auth.identity.username}
//!           signingKeyRefs: [{name: wristband-key, algorithm: ES256}]
//! ```
//!
//! # Errors
//! The error of an expression; the whole item is left out then and access is granted all the same. A missing Secret, or
//! one without a key that suits the algorithm, is a problem of the AuthConfig, which is refused.

mod signing_key;

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use usher_api::WristbandSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome, plan::TokenIssuer};
use usher_expr::{Expression, text};

use crate::{BuildContext, FieldPath, Problems, SecretUse, clock, values};

use signing_key::SigningKey;

/// Issues tokens.
#[derive(Debug)]
pub struct Wristband {
    issuer: String,
    /// Seconds.
    duration: i64,
    custom_claims: Vec<(String, Expression)>,
    key: Arc<SigningKey>,
    /// The authentication rules for tokens of this issuer.
    own_rules: BTreeSet<String>,
    /// The authentication rules whose identities are hashed with their members as they stand.
    ordered_rules: BTreeSet<String>,
    /// The second since 1970.
    clock: fn() -> i64,
}

/// Reads `wristband` of an item, and says how its tokens are verified.
pub fn build(
    spec: &WristbandSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<(Wristband, TokenIssuer)> {
    let custom_claims = values::named(&spec.custom_claims, &at.field("customClaims"), problems);
    let keys = signing_keys(spec, &at.field("signingKeyRefs"), context, problems)?;
    let public: Vec<Value> = keys.iter().map(SigningKey::jwk).collect();
    let issuer = TokenIssuer { issuer: spec.issuer.clone(), keys: json!({ "keys": public }).to_string().into() };
    let rules = context.identities;
    let is_own = |issuer: Option<&str>| issuer == Some(&spec.issuer);
    let wristband = Wristband {
        issuer: spec.issuer.clone(),
        duration: spec.token_duration.unwrap_or(DEFAULT_DURATION),
        custom_claims,
        key: Arc::new(keys.into_iter().next()?),
        own_rules: rules
            .iter()
            .filter(|(_, facts)| is_own(facts.issuer.as_deref().and_then(|source| source.issuer())))
            .map(|(name, _)| name.clone())
            .collect(),
        ordered_rules: rules.iter().filter(|(_, facts)| facts.is_ordered).map(|(name, _)| name.clone()).collect(),
        clock: clock::now,
    };
    Some((wristband, issuer))
}

const DEFAULT_DURATION: i64 = 300;

/// The most keys of one item. Nobody has more at a time, and to check one takes milliseconds.
const MAX_KEYS: usize = 32;

/// The keys, at least one. None if anything is wrong with any of them.
fn signing_keys(
    spec: &WristbandSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<SigningKey>> {
    let references = &spec.signing_key_refs;
    if references.is_empty() {
        problems.add(at, "missing at least one signing key");
        return None;
    }
    if references.len() > MAX_KEYS {
        problems.add(at, format_args!("more than {MAX_KEYS} signing keys"));
        return None;
    }
    let mut keys = Vec::with_capacity(references.len());
    for (index, reference) in references.iter().enumerate() {
        let at = at.index(index);
        let name = &reference.name;
        let Some(pem) = context.secrets.entry(name, ENTRY, SecretUse::Trust, &at, problems) else { continue };
        let key = SigningKey::read(name, reference.algorithm, pem);
        let key = key.map_err(|error| format!("entry \"{ENTRY}\" of Secret \"{name}\": {error}"));
        keys.extend(problems.take(&at, key));
    }
    (keys.len() == references.len()).then_some(keys)
}

const ENTRY: &str = "key.pem";

impl Evaluator for Wristband {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        if context.identity().is_some_and(|identity| self.own_rules.contains(&*identity.rule)) {
            return Evaluation::success(Value::Null);
        }
        let claims = match self.claims(context) {
            Ok(claims) => claims,
            Err(failure) => return Evaluation::failure(failure),
        };
        let message = format!("{}.{}", encode(self.key.header()), encode(text::json(&claims)));
        if self.key.is_fast() {
            sign(&self.key, message).into()
        } else {
            Evaluation::pending(sign_elsewhere(Arc::clone(&self.key), message))
        }
    }
}

impl Wristband {
    fn claims(&self, context: &Context<'_>) -> Result<Value, Failure> {
        let now = (self.clock)();
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), self.issuer.as_str().into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), now.saturating_add(self.duration).into());
        claims.insert("sub".to_owned(), self.subject(context).into());
        for (name, value) in &self.custom_claims {
            claims.insert(name.clone(), value.resolve(context)?);
        }
        let mut claims = Value::Object(claims);
        claims.sort_all_objects();
        Ok(claims)
    }

    /// A digest of the identity. Of one identity there is one digest, however its members came to stand: they are
    /// sorted, unless they always stand in the same order.
    fn subject(&self, context: &Context<'_>) -> String {
        let text = match context.identity() {
            None => text::json(&Value::Null),
            Some(identity) if self.ordered_rules.contains(&*identity.rule) => text::json(&identity.value),
            Some(identity) => {
                let mut sorted = Value::clone(&identity.value);
                sorted.sort_all_objects();
                text::json(&sorted)
            }
        };
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn sign(key: &SigningKey, message: String) -> Outcome {
    let signature = key
        .sign(message.as_bytes())
        .map_err(|_| Failure::undecidable("internal error", "the signature could not be made"))?;
    Ok(Arc::new(format!("{message}.{}", encode(signature)).into()))
}

/// Signs on a thread that may be blocked: it takes up to some milliseconds.
async fn sign_elsewhere(key: Arc<SigningKey>, message: String) -> Outcome {
    let slot = SIGNING.acquire().await;
    let signed = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        sign(&key, message)
    });
    signed.await.map_err(|error| Failure::undecidable("internal error", error.to_string()))?
}

/// As many signatures are made at a time as there are processors. Who waits for too long goes away, and is not signed
/// for.
static SIGNING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(4, std::num::NonZero::get)));

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
