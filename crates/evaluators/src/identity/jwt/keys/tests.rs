//! Keys that are not fetched, from the specification to the verdict.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use usher_api::{ObjectMeta, Secret};
use usher_engine::{Context, Evaluation, Evaluator, Outcome, Request, RequestParts};

use super::*;
use crate::{
    Secrets,
    credentials::Credentials,
    identity::jwt::{Jwt, claims::Expected},
    resources::jwks::{Algorithm, test_keys::TestKey},
};

/// The Secret `s` of the namespace, with these entries.
fn secrets(entries: &[(&str, &[u8])]) -> Secrets {
    let mut secrets = Secrets::complete();
    secrets.insert(Arc::new(Secret {
        metadata: ObjectMeta { namespace: "team".to_owned(), name: "s".to_owned(), ..ObjectMeta::default() },
        data: entries.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(),
        ..Secret::default()
    }));
    secrets
}

/// What a specification is read as, the problems and the warnings.
fn read(spec: &Value, secrets: &Secrets) -> (Option<(KeyConfig, Algorithms)>, Vec<String>, Vec<String>) {
    let spec: JwtSpec = serde_json::from_value(spec.clone()).unwrap();
    let mut problems = Problems::default();
    let at = FieldPath::root("jwt");
    let algorithms = Algorithms::build(&spec, &at, &mut problems);
    let keys = build(&spec, &algorithms, &at, &SecretReader::new(secrets, "team"), &mut problems);
    let (problems, warnings) = problems.into_parts();
    let texts = |list: Vec<crate::Problem>| list.iter().map(ToString::to_string).collect();
    (keys.map(|keys| (keys, algorithms)), texts(problems), texts(warnings))
}

fn rule(spec: &Value, secrets: &Secrets) -> Jwt {
    let (keys, problems, _) = read(spec, secrets);
    let Some((KeyConfig::Local(keys), algorithms)) = keys else { panic!("{spec}: {problems:?}") };
    let expected = serde_json::from_value(spec.clone()).unwrap();
    let expected = Expected::build(&expected, &FieldPath::root("jwt"), &mut Problems::default()).unwrap();
    Jwt { credentials: Credentials::default(), keys: KeySource::Local(keys), algorithms, expected }
}

/// The outcome for a request with this `Authorization`, which nothing has to be waited for.
fn check(jwt: &Jwt, authorization: &str) -> Outcome {
    let headers = [("authorization".to_owned(), authorization.to_owned())];
    let request = Request::new(RequestParts { headers: headers.into_iter().collect(), ..RequestParts::default() });
    match jwt.evaluate(&Context::new(&request, None, None)) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(_) => panic!("the check waits"),
    }
}

fn reason(outcome: &Outcome) -> Option<&str> {
    outcome.as_ref().err().map(usher_engine::Failure::reason)
}

fn sign_with_secret(algorithm: &str, secret: &[u8], claims: &Value) -> String {
    use aws_lc_rs::hmac;
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = json!({"alg": algorithm, "kid": "whatever"}).to_string();
    let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hash, secret), message.as_bytes());
    format!("{message}.{}", encode(tag.as_ref()))
}

const FOREVER: i64 = 4_102_444_800;
const UNVERIFIED: Option<&str> = Some("failed to verify signature: failed to verify id token signature");

#[test]
fn where_fetched_keys_come_from_is_read() {
    let second = Duration::from_secs(1);
    let at_issuer = || Location::Issuer("https://i.test/r/".into());
    let cases = [
        (json!({"issuerUrl": "https://i.test/r/"}), (at_issuer(), None, Some(5 * second))),
        (json!({"issuerUrl": "https://i.test/r/", "ttl": 0, "timeout": 0}), (at_issuer(), None, None)),
        (json!({"issuerUrl": "https://i.test/r/", "ttl": -1, "timeout": 1000}), (at_issuer(), None, Some(second))),
        (json!({"issuerUrl": "https://i.test/r/", "ttl": 60}), (at_issuer(), Some(60 * second), Some(5 * second))),
        (
            json!({"jwksUrl": "https://i.test/k", "ttl": 9}),
            (Location::KeySet("https://i.test/k".into()), None, Some(5 * second)),
        ),
    ];
    for (spec, (location, ttl, timeout)) in cases {
        let (keys, problems, warnings) = read(&spec, &Secrets::complete());
        assert!(problems.is_empty() && warnings.is_empty(), "{spec}: {problems:?} {warnings:?}");
        let Some((KeyConfig::Fetched(config), _)) = keys else { panic!("{spec}") };
        assert_eq!(config, SourceConfig { location, ttl, timeout }, "{spec}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let secrets = secrets(&[("key", b"hush"), ("empty", b""), ("jwks", b"\"hush\""), ("list", br#"{"keys":"hush"}"#)]);
    let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let cases = [
        (
            json!({"jwksUrl": "ftp://i.test"}),
            "jwt.jwksUrl: invalid URL: unsupported scheme \"ftp\" (only http and https are allowed)",
        ),
        (json!({"jwksUrl": ""}), "jwt.jwksUrl: invalid URL: missing scheme (expected http or https)"),
        (json!({"issuerUrl": "http:///x"}), "jwt.issuerUrl: invalid URL: missing host"),
        (json!({}), "jwt: "),
        (json!({"issuerUrl": "https://i.test", "jwksUrl": "https://i.test/k"}), "jwt: "),
        (json!({"secretRef": {"name": "s"}, "jwks": {"inline": {"keys": []}}}), "jwt: "),
        (json!({"jwks": {}}), "jwt.jwks: "),
        (json!({"jwks": {"inline": {}, "secretRef": {"name": "s", "key": "jwks"}}}), "jwt.jwks: "),
        (json!({"jwks": {"inline": []}}), "jwt.jwks.inline: not a json web key set: "),
        (json!({"jwks": {"inline": "{"}}), "jwt.jwks.inline: not a json web key set: "),
        (
            json!({"jwks": {"inline": {"keys": []}}}),
            "jwt.jwks.inline: the key set has no key that could verify a token",
        ),
        (
            json!({"jwks": {"inline": {"keys": [rsa]}}}),
            "jwt.jwks.inline: the key set has no key that could verify a token",
        ),
        (
            json!({"jwks": {"inline": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}}),
            "jwt.jwks.inline: keys[0] is a shared secret (`kty: oct`), which a set of public keys must not have: ",
        ),
        (
            json!({"jwks": {"secretRef": {"name": "s", "key": "jwks"}}}),
            "jwt.jwks.secretRef: entry \"jwks\" of Secret \"s\" is not a json web key set",
        ),
        (
            json!({"jwks": {"secretRef": {"name": "s", "key": "list"}}}),
            "jwt.jwks.secretRef: entry \"list\" of Secret \"s\" is not a json web key set",
        ),
        (json!({"jwks": {"secretRef": {"name": "t", "key": "jwks"}}}), "jwt.jwks.secretRef: Secret \"t\" not found"),
        (json!({"secretRef": {"name": "t"}}), "jwt.secretRef: Secret \"t\" not found"),
        (
            json!({"secretRef": {"name": "s", "key": "empty"}}),
            "jwt.secretRef: entry \"empty\" of Secret \"s\" is empty",
        ),
        (json!({"secretRef": {"name": "s", "key": "none"}}), "jwt.secretRef: entry \"none\" of Secret \"s\" is empty"),
    ];
    for (spec, start) in cases {
        let (keys, problems, warnings) = read(&spec, &secrets);
        let [problem] = &problems[..] else { panic!("{spec}: {problems:?}") };
        assert!(keys.is_none() && problem.starts_with(start), "{spec}: {problem}");
        assert!(!format!("{problems:?}{warnings:?}").contains("hush"), "{spec}: {problems:?} {warnings:?}");
    }
}

#[test]
fn the_secrets_of_a_rule_say_whom_to_trust() {
    let secrets = secrets(&[("key", b"hush")]);
    let reader = SecretReader::new(&secrets, "team");
    let spec: JwtSpec = serde_json::from_value(json!({"secretRef": {"name": "s"}})).unwrap();
    let algorithms = Algorithms::build(&spec, &FieldPath::root("jwt"), &mut Problems::default());
    assert!(build(&spec, &algorithms, &FieldPath::root("jwt"), &reader, &mut Problems::default()).is_some());
    assert_eq!(reader.into_asked_for(), [("s".to_owned(), SecretUse::Trust)].into());
}

#[test]
fn doubtful_secrets_are_accepted_with_a_warning() {
    let short = |bytes, algorithm| {
        format!(
            "jwt.secretRef: the secret is shorter than the {bytes} bytes that {algorithm} asks for \
             (RFC 7518, section 3.2): it can be guessed"
        )
    };
    let line_break = "jwt.secretRef: the secret ends with a line break, which is taken for a part of it".to_owned();
    type Case = (usize, &'static [u8], &'static [&'static str], Vec<String>);
    let cases: [Case; 8] = [
        (31, b"", &[], vec![short(32, "HS256")]),
        (32, b"", &[], vec![]),
        (32, b"", &["HS512", "HS384"], vec![short(48, "HS384")]),
        (48, b"", &["HS384", "HS512"], vec![]),
        (63, b"", &["HS512"], vec![short(64, "HS512")]),
        (64, b"", &["HS512"], vec![]),
        (64, b"\n", &[], vec![line_break.clone()]),
        (5, b"\n", &[], vec![line_break, short(32, "HS256")]),
    ];
    for (length, end, algorithms, expected) in cases {
        let secrets = secrets(&[("key", &[&vec![b'x'; length][..], end].concat())]);
        let (keys, problems, warnings) = read(&json!({"secretRef": {"name": "s"}, "algorithms": algorithms}), &secrets);
        assert!(keys.is_some() && problems.is_empty(), "{length} {algorithms:?}: {problems:?}");
        assert_eq!(warnings, expected, "{length} {algorithms:?}");
    }
}

/// The tokens of a well-known tutorial, for which the secret is `secret`.
#[test]
fn tokens_of_a_guest_and_an_admin_are_verified_with_the_secret() {
    const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    let claims = |role: Value| {
        let mut claims = json!({"exp": 2_241_081_539_i64, "nbf": 1_514_851_139, "role": role, "sub": "YWxpY2U="});
        if claims["role"].is_null() {
            claims.as_object_mut().unwrap().remove("role");
        }
        claims
    };
    let token = |secret: &[u8], claims: &Value| {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let message = format!("{HEADER}.{payload}");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    };
    let jwt = rule(&json!({"secretRef": {"name": "s"}}), &secrets(&[("key", b"secret")]));
    for role in [json!("guest"), json!("admin"), json!(null)] {
        let claims = claims(role);
        let token = token(b"secret", &claims);
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer "] {
            // Twice: the second time it is known already.
            for _ in 0..2 {
                let identity = check(&jwt, &format!("{scheme} {token}")).unwrap();
                assert_eq!(*identity, claims, "{scheme}");
            }
        }
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = self::sign_with_secret("HS256", b"Secret", &claims);
        let cases = [
            (format!("Bearer {token} more"), Some("oidc: malformed jwt: the signature is not base64url")),
            (format!("Basic {token}"), Some("credential not found")),
            (token.clone(), Some("credential not found")),
            ("Bearer".to_owned(), Some("credential not found")),
            (format!("Bearer {signed}."), UNVERIFIED),
            (format!("Bearer {signed}.{}", "A".repeat(43)), UNVERIFIED),
            (format!("Bearer {forged}"), UNVERIFIED),
            ("Bearer junk".to_owned(), Some("oidc: malformed jwt: oidc: malformed jwt, expected 3 parts got 1")),
        ];
        for (authorization, expected) in cases {
            assert_eq!(reason(&check(&jwt, &authorization)), expected, "{authorization}");
        }
    }
}

#[test]
fn a_shared_secret_verifies_only_hmac_and_a_public_key_never_does() {
    let claims = json!({"sub": "a", "exp": FOREVER});
    let ec = TestKey::generate(Algorithm::ES256, "k");
    let unexpected = |name, expected| {
        Some(format!(r#"oidc: malformed jwt: unexpected signature algorithm "{name}"; expected [{expected}]"#))
    };
    let with_secret = rule(&json!({"secretRef": {"name": "s", "key": "key"}}), &secrets(&[("key", b"secret")]));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = sign_with_secret(algorithm, b"secret", &claims);
        assert_eq!(check(&with_secret, &format!("Bearer {token}")).unwrap()["sub"], "a", "{algorithm}");
        let narrowed =
            rule(&json!({"secretRef": {"name": "s"}, "algorithms": ["HS384"]}), &secrets(&[("key", b"secret")]));
        let outcome = check(&narrowed, &format!("Bearer {token}"));
        let expected = if algorithm == "HS384" { None } else { unexpected(algorithm, r#""HS384""#) };
        assert_eq!(reason(&outcome), expected.as_deref());
    }
    let outcome = check(&with_secret, &format!("Bearer {}", ec.token(&claims)));
    assert_eq!(reason(&outcome), unexpected("ES256", r#""HS256" "HS384" "HS512""#).as_deref());

    // The text of the public key taken for a secret.
    let document = json!({"keys": [ec.jwk()]});
    let text = document.to_string();
    let public = rule(&json!({"jwks": {"inline": document}, "algorithms": ["HS256", "ES256"]}), &Secrets::complete());
    assert!(check(&public, &format!("Bearer {}", ec.token(&claims))).is_ok());
    for secret in [text.as_bytes(), ec.jwk()["x"].as_str().unwrap().as_bytes(), b""] {
        let token = sign_with_secret("HS256", secret, &claims);
        assert_eq!(reason(&check(&public, &format!("Bearer {token}"))), unexpected("HS256", r#""ES256""#).as_deref());
    }
}

#[test]
fn key_sets_that_are_there_verify_without_a_network() {
    let [rsa, ec] = [TestKey::generate(Algorithm::RS256, "r"), TestKey::generate(Algorithm::ES256, "e")];
    let stranger = TestKey::generate(Algorithm::ES256, "e");
    let document = json!({"keys": [rsa.jwk(), ec.jwk(), {"kty": "XYZ"}]});
    let from_secret = secrets(&[("jwks.json", document.to_string().as_bytes())]);
    let specs = [
        json!({"jwks": {"inline": document}}),
        json!({"jwks": {"inline": document.to_string()}}),
        json!({"jwks": {"secretRef": {"name": "s", "key": "jwks.json"}}}),
    ];
    for spec in specs {
        let field = if spec["jwks"].get("inline").is_some() { "inline" } else { "secretRef" };
        let (_, _, warnings) = read(&spec, &from_secret);
        assert_eq!(warnings, [format!("jwt.jwks.{field}: keys[2] is left out: its `kty` or `crv` is not known")]);
        let jwt = rule(&spec, &from_secret);
        let bearer = |key: &TestKey, claims: Value| format!("Bearer {}", key.token(&claims));
        for key in [&rsa, &ec] {
            let authorization = bearer(key, json!({"sub": "a", "exp": FOREVER}));
            let [one, two] = [(); 2].map(|()| check(&jwt, &authorization).unwrap());
            assert!(one["sub"] == "a" && Arc::ptr_eq(&one, &two), "the second time it is known");
        }
        assert_eq!(reason(&check(&jwt, &bearer(&stranger, json!({"exp": FOREVER})))), UNVERIFIED);
        let unknown = TestKey::generate(Algorithm::ES256, "other");
        assert_eq!(reason(&check(&jwt, &bearer(&unknown, json!({"exp": FOREVER})))), UNVERIFIED);
        assert!(jwt.issuer().is_none());
    }
}

#[test]
fn claims_are_checked_with_local_keys_too() {
    let key = TestKey::generate(Algorithm::EdDSA, "k");
    let token = |claims: Value| format!("Bearer {}", key.token(&claims));
    let inline = json!({"inline": {"keys": [key.jwk()]}});
    let any = rule(&json!({"jwks": inline}), &Secrets::complete());
    let strict = rule(&json!({"jwks": inline, "issuer": "https://i", "audiences": ["x"]}), &Secrets::complete());
    let cases = [
        (json!({"exp": FOREVER}), None, Some("oidc: token was issued by another issuer")),
        (json!({"exp": FOREVER, "iss": "https://i"}), None, Some("oidc: expected audience \"x\"")),
        (json!({"exp": FOREVER, "iss": "https://i", "aud": ["x"]}), None, None),
    ];
    for (claims, of_any, of_strict) in cases {
        let token = token(claims.clone());
        assert_eq!((reason(&check(&any, &token)), reason(&check(&strict, &token))), (of_any, of_strict), "{claims}");
    }
    assert!(reason(&check(&any, &token(json!({"exp": 1})))).unwrap().starts_with("oidc: token is expired"));
}

#[test]
fn secrets_are_not_shown() {
    let jwt = rule(&json!({"secretRef": {"name": "s"}}), &secrets(&[("key", b"hush")]));
    assert!(!format!("{jwt:?}").contains("hush"));
    assert!(!format!("{jwt:?}").contains("104, 117"));
}
