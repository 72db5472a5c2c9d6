use usher_api::SigningAlgorithm;
use usher_engine::{Request, RequestParts, context::Identity};

use super::*;
use crate::{
    resources::{
        jwks::{Algorithm, KeySet, SignatureCheck, test_keys::TestKey},
        oidc::test_issuer::TestIssuer,
    },
    test_world::TestWorld,
};

const NOW: i64 = 1_700_000_000;

fn wristband(algorithm: SigningAlgorithm, pem: &[u8], custom_claims: &[(&str, Expression)]) -> Wristband {
    Wristband {
        issuer: "https://us.test/ns/config/item".to_owned(),
        duration: DEFAULT_DURATION,
        custom_claims: custom_claims.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        key: Arc::new(SigningKey::read("a-key", algorithm, pem).unwrap()),
        own_rules: ["idp".to_owned()].into(),
        ordered_rules: ["ordered".to_owned()].into(),
        clock: || NOW,
    }
}

fn es256(custom_claims: &[(&str, Expression)]) -> Wristband {
    wristband(SigningAlgorithm::Es256, include_bytes!("testdata/p256-pkcs8.pem"), custom_claims)
}

fn selector(text: &str) -> Expression {
    Expression::selector(text).unwrap()
}

fn request() -> Request {
    Request::new(RequestParts { method: "GET".to_owned(), path: "/x/y".to_owned(), ..RequestParts::default() })
}

/// What it says about a caller that this rule found to be this.
fn issue(wristband: &Wristband, rule: &str, identity: Value) -> Outcome {
    let request = request();
    let mut context = Context::new(&request, None, None);
    context.set_identity(Identity { rule: rule.into(), value: identity.into() });
    match wristband.evaluate(&context) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(_) => panic!("P-256 is fast"),
    }
}

/// The header and the claims of a token, as texts.
fn parts(token: &Value) -> (String, String) {
    let mut parts = token.as_str().unwrap().split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let header_and_claims = (parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(parts.count(), 1);
    header_and_claims
}

fn claims(wristband: &Wristband, rule: &str, identity: Value) -> Value {
    serde_json::from_str(&parts(&issue(wristband, rule, identity).unwrap()).1).unwrap()
}

#[test]
fn a_token_has_its_parts_in_order() {
    let wristband = es256(&[
        ("uri", selector("request.path")),
        ("scope", Expression::cel("request.method.lowerAscii()").unwrap()),
        ("fixed", Expression::value(json!({"z": 7, "a": "<&>"}))),
        ("user", selector("auth.identity.username")),
        ("missing", selector("auth.identity.nothing")),
    ]);
    let token = issue(&wristband, "who", json!({"username": "john"})).unwrap();
    let (header, claims) = parts(&token);
    assert_eq!(header, r#"{"alg":"ES256","kid":"a-key","typ":"JWT"}"#);
    let expected = concat!(
        r#"{"exp":1700000300,"fixed":{"a":"\u003c\u0026\u003e","z":7},"iat":1700000000,"#,
        r#""iss":"https://us.test/ns/config/item","missing":null,"scope":"get","#,
        r#""sub":"4ebf6d7751a2f7f5ac6fa6ee74f0e4560788be223c201808ecb912986e2cf82a","uri":"/x/y","user":"john"}"#,
    );
    assert_eq!(claims, expected);
    let (message, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
    let set = json!({"keys": [wristband.key.jwk()]}).to_string();
    let set = KeySet::parse(set.as_bytes()).unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let check = set.verify(Some("a-key"), Algorithm::ES256, message.as_bytes(), &signature);
    assert_eq!((check, signature.len()), (SignatureCheck::Valid, 64));
}

#[test]
fn the_subject_is_the_digest_of_the_identity() {
    let html = r#"{"a":"\u003cb\u003e\u0026","z":[1,{"x":2.5,"y":null}]}"#;
    let of = |text: &str| {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    let cases = [
        (json!(null), "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b".to_owned()),
        (json!({"anonymous": true}), "556cb5a2b7976390381ec867eb8a223b9cfb329e87cd9ddc548ea4548203a184".to_owned()),
        (json!("john"), "128a82987474dd22da4fee4bf669927c090084e397164e7fb54d4d93c2a5cd61".to_owned()),
        (json!({"username": "john"}), "4ebf6d7751a2f7f5ac6fa6ee74f0e4560788be223c201808ecb912986e2cf82a".to_owned()),
        (json!({"z": [1, {"y": null, "x": 2.5}], "a": "<b>&"}), of(html)),
        (json!({"b": 1, "a": 2}), of(r#"{"a":2,"b":1}"#)),
    ];
    for (identity, subject) in cases {
        assert_eq!(claims(&es256(&[]), "who", identity.clone())["sub"], json!(subject), "{identity}");
    }
    let secret =
        json!({"metadata": {"name": "s", "labels": {"a": "b"}}, "data": {"api_key": "a2V5"}, "type": "Opaque"});
    assert_eq!(claims(&es256(&[]), "ordered", secret.clone())["sub"], of(&secret.to_string()));
    assert_ne!(claims(&es256(&[]), "who", secret.clone())["sub"], of(&secret.to_string()));

    let request = request();
    let nobody = Context::new(&request, None, None);
    assert_eq!(es256(&[]).subject(&nobody), of("null"));
}

#[test]
fn custom_claims_may_replace_any() {
    let wristband = es256(&[
        ("iss", Expression::value(json!("https://them.test"))),
        ("iat", Expression::value(json!(1))),
        ("exp", Expression::value(json!(null))),
        ("sub", selector("auth.identity.name")),
    ]);
    let claims = claims(&wristband, "who", json!({"name": "ann"}));
    assert_eq!(claims, json!({"iss": "https://them.test", "iat": 1, "exp": null, "sub": "ann"}));
}

#[test]
fn a_token_expires_after_its_duration() {
    for (duration, expires) in [(120, NOW + 120), (0, NOW), (-5, NOW - 5), (i64::MAX, i64::MAX)] {
        let claims = claims(&Wristband { duration, ..es256(&[]) }, "who", json!("ann"));
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOW), &json!(expires)), "{duration}");
    }
}

#[test]
fn who_has_a_token_of_this_issuer_gets_no_other() {
    assert_eq!(issue(&es256(&[]), "idp", json!({"sub": "ann"})), Ok(Value::Null.into()));
    assert!(issue(&es256(&[]), "other-idp", json!({"sub": "ann"})).unwrap().is_string());
}

#[tokio::test]
async fn only_rules_that_discover_this_issuer_are_its_own() {
    let issuer = TestIssuer::start(&[]).await;
    let jwt = |keys: Value| json!({ "jwt": keys });
    let ec = TestKey::generate(Algorithm::ES256, "k");
    let rules = json!({
        "own": jwt(json!({"issuerUrl": issuer.url, "issuer": "https://alias.test"})),
        "slash": jwt(json!({"issuerUrl": format!("{}/", issuer.url)})),
        "key-set": jwt(json!({"jwksUrl": issuer.keys_url(), "issuer": issuer.url})),
        "local": jwt(json!({"jwks": {"inline": {"keys": [ec.jwk()]}}, "issuer": issuer.url})),
        "api-key": {"apiKey": {"selector": {}}},
        "extended": {"apiKey": {"selector": {}}, "overrides": {"a": {"value": 1}}},
    });
    let world = TestWorld::new().secret("k", &[("key.pem", include_str!("testdata/p256-pkcs8.pem"))]);
    let world = world.authentication(&rules).await;
    let spec = json!({"issuer": issuer.url, "signingKeyRefs": [{"name": "k", "algorithm": "ES256"}]});
    let spec = serde_json::from_value(spec).unwrap();
    let (built, problems, _) = world.build(|context, problems| build(&spec, &FieldPath::root("wb"), context, problems));
    assert_eq!(problems, [""; 0]);
    let (wristband, token_issuer) = built.unwrap();
    assert_eq!(wristband.own_rules, ["own".to_owned()].into());
    assert_eq!(wristband.ordered_rules, ["api-key".to_owned()].into());
    assert_eq!(token_issuer.issuer, issuer.url);
    for (rule, is_null) in [("own", true), ("slash", false), ("key-set", false), ("local", false), ("api-key", false)] {
        let value = crate::test_world::check(&wristband, "/", &[], rule).await.unwrap();
        assert_eq!(value.is_null(), is_null, "{rule}");
    }
}

#[test]
fn a_claim_without_a_value_is_a_failure() {
    let wristband = es256(&[("group", Expression::cel("auth.identity.group").unwrap())]);
    assert!(matches!(issue(&wristband, "who", json!({"name": "ann"})), Err(Failure::Denied(_))));
}

#[test]
fn slow_signatures_are_made_elsewhere() {
    let cases: [(_, &[u8], _); 5] = [
        (SigningAlgorithm::Es384, include_bytes!("testdata/p384-sec1.pem"), Algorithm::ES384),
        (SigningAlgorithm::Es512, include_bytes!("testdata/p521-sec1.pem"), Algorithm::ES512),
        (SigningAlgorithm::Rs256, include_bytes!("testdata/rsa2048-pkcs1.pem"), Algorithm::RS256),
        (SigningAlgorithm::Rs384, include_bytes!("testdata/rsa2048-pkcs8.pem"), Algorithm::RS384),
        (SigningAlgorithm::Rs512, include_bytes!("testdata/rsa4096-pkcs1.pem"), Algorithm::RS512),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (algorithm, pem, verification) in cases {
        let wristband = wristband(algorithm, pem, &[]);
        let request = request();
        let context = Context::new(&request, None, None);
        let Evaluation::Pending(token) = wristband.evaluate(&context) else { panic!("{algorithm:?} is not that fast") };
        let token = runtime.block_on(token).unwrap();
        let (message, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
        let set = json!({"keys": [wristband.key.jwk()]}).to_string();
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let check = set.verify(Some("a-key"), verification, message.as_bytes(), &signature);
        assert_eq!(check, SignatureCheck::Valid, "{algorithm:?}");
    }
}

#[test]
fn all_who_wait_for_a_signature_get_their_turn() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wristband = wristband(SigningAlgorithm::Rs256, include_bytes!("testdata/rsa2048-pkcs1.pem"), &[]);
    let request = request();
    let context = Context::new(&request, None, None);
    let sign = || match wristband.evaluate(&context) {
        Evaluation::Ready(outcome) => Box::pin(async { outcome }),
        Evaluation::Pending(outcome) => outcome,
    };
    let tokens = runtime.block_on(futures_util::future::join_all((0..100).map(|_| sign())));
    assert!(tokens.iter().all(Result::is_ok));
}
