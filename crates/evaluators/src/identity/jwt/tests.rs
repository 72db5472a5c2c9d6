use std::time::Duration;

use serde_json::{Value, json};
use usher_engine::{Request, RequestParts};

use super::*;
use crate::resources::{
    jwks::{Algorithm, test_keys::TestKey},
    oidc::{
        Issuers, Location, SourceConfig,
        test_issuer::{KEYS, TestIssuer, issuers, until},
    },
};

const DAY: Duration = Duration::from_secs(24 * 3600);

const UNVERIFIED: &str = "failed to verify signature: failed to verify id token signature";

/// A rule and the issuer that it trusts.
struct Case {
    issuer: TestIssuer,
    issuers: Issuers,
    jwt: Jwt,
}

impl Case {
    async fn start(keys: &[&TestKey], on_demand_interval: Duration) -> Self {
        let issuer = TestIssuer::start(keys).await;
        let issuers = issuers(on_demand_interval);
        let source = issuer.source(&issuers).await;
        Self { issuer, issuers, jwt: with_source(source) }
    }

    fn source(&self) -> &Arc<Source> {
        match &self.jwt.keys {
            KeySource::Fetched(source) => source,
            KeySource::Local(_) => panic!("the keys are local"),
        }
    }

    /// A rule with the same keys, and whatever else `spec` says.
    fn rule(&self, spec: &Value) -> Jwt {
        let mut spec = spec.clone();
        spec["issuerUrl"] = json!(self.issuer.url);
        let spec: JwtSpec = serde_json::from_value(spec).unwrap();
        let mut problems = Problems::default();
        let at = FieldPath::root("jwt");
        let algorithms = Algorithms::build(&spec, &at, &mut problems);
        let expected = Expected::build(&spec, &at, &mut problems).unwrap();
        assert!(problems.is_empty());
        let keys = KeySource::Fetched(Arc::clone(self.source()));
        Jwt { credentials: Credentials::default(), keys, algorithms, expected }
    }

    /// Claims with which a token is valid, changed by `claims`; null removes one.
    fn claims(&self, claims: &Value) -> Value {
        let mut all = json!({"iss": self.issuer.url, "sub": "alice", "exp": now() + 300});
        for (name, value) in claims.as_object().unwrap() {
            match value {
                Value::Null => all.as_object_mut().unwrap().remove(name),
                value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        all
    }

    fn token(&self, key: &TestKey) -> String {
        key.token(&self.claims(&json!({})))
    }

    async fn check(&self, token: &str) -> Outcome {
        check(&self.jwt, token).await
    }

    /// The outcome of a check that must not wait for anything.
    fn check_now(&self, token: &str) -> Outcome {
        let request = request(token);
        let context = Context::new(&request, None, None);
        match self.jwt.evaluate(&context) {
            Evaluation::Ready(outcome) => outcome,
            Evaluation::Pending(_) => panic!("the check waits"),
        }
    }
}

/// A rule that says nothing but where the keys come from.
fn with_source(source: Arc<Source>) -> Jwt {
    Jwt {
        credentials: Credentials::default(),
        keys: KeySource::Fetched(source),
        algorithms: Algorithms::of_public_keys(),
        expected: Expected::default(),
    }
}

fn request(token: &str) -> Request {
    request_with(&format!("Bearer {token}"))
}

fn request_with(authorization: &str) -> Request {
    let headers = [("authorization".to_owned(), authorization.to_owned())];
    Request::new(RequestParts { headers: headers.into_iter().collect(), ..RequestParts::default() })
}

async fn check(jwt: &Jwt, token: &str) -> Outcome {
    check_request(jwt, &request(token)).await
}

async fn check_request(jwt: &Jwt, request: &Request) -> Outcome {
    let context = Context::new(request, None, None);
    match jwt.evaluate(&context) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(outcome) => outcome.await,
    }
}

fn key(algorithm: Algorithm, id: &str) -> TestKey {
    TestKey::generate(algorithm, id)
}

#[track_caller]
fn assert_denied(outcome: Outcome, reason: &str) {
    assert_eq!(outcome.unwrap_err(), Failure::denied(reason.to_owned()));
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_verified_on_the_spot() {
    use Algorithm::{ES256, ES384, ES512, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let keys = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA]
        .map(|algorithm| key(algorithm, &format!("{algorithm:?}")));
    let case = Case::start(&keys.each_ref(), DAY).await;
    for key in &keys {
        let token = case.token(key);
        for _ in 0..2 {
            let identity = case.check_now(&token).unwrap();
            assert_eq!(
                (&identity["sub"], &identity["iss"]),
                (&json!("alice"), &json!(case.issuer.url)),
                "{:?}",
                key.algorithm()
            );
        }
    }
}

#[tokio::test]
async fn a_token_that_was_seen_before_is_not_read_again() {
    let key = key(Algorithm::EdDSA, "k");
    let case = Case::start(&[&key], DAY).await;
    let token = case.token(&key);
    let [one, two] = [(); 2].map(|()| case.check_now(&token).unwrap());
    assert!(Arc::ptr_eq(&one, &two));
}

#[tokio::test]
async fn a_token_that_was_seen_before_still_expires() {
    let key = key(Algorithm::EdDSA, "k");
    let case = Case::start(&[&key], DAY).await;
    let token = case.token(&key);
    let keys = case.source().keys().clone().unwrap();
    let at = |now| case.jwt.verify(&token, &(&*keys).into(), now).unwrap_or_else(|_| panic!("the key is there"));
    assert!(at(now()).is_ok() && at(now() + 299).is_ok());
    assert!(at(now() + 301).unwrap_err().reason().starts_with("oidc: token is expired (Token Expiry: "));
}

#[tokio::test]
async fn the_claims_must_count_here_and_now() {
    let key = key(Algorithm::EdDSA, "k");
    let case = Case::start(&[&key], DAY).await;
    let cases = [
        (json!({"exp": now() - 1}), Some("oidc: token is expired (Token Expiry: 20")),
        (json!({"exp": null}), Some("oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)")),
        (json!({"exp": format!("{}", now() + 60)}), None),
        (json!({"nbf": now() + 240}), None),
        (json!({"nbf": now() + 900}), Some("oidc: current time 20")),
        (json!({"iss": "https://elsewhere.test"}), Some("oidc: token was issued by another issuer")),
        (json!({"iss": null}), Some("oidc: token was issued by another issuer")),
        (json!({"sub": 1}), Some("oidc: failed to unmarshal claims: `sub` is not a string")),
        (json!({"aud": ["a", "b"]}), None),
    ];
    for (claims, expected) in cases {
        let outcome = case.check_now(&key.token(&case.claims(&claims)));
        match (outcome, expected) {
            (Ok(_), None) => {}
            (Err(Failure::Denied(reason)), Some(start)) => assert!(reason.starts_with(start), "{claims}: {reason}"),
            (outcome, _) => panic!("{claims}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn rules_that_share_keys_do_not_share_what_they_ask_for() {
    let [ed, ec] = [key(Algorithm::EdDSA, "ed"), key(Algorithm::ES256, "ec")];
    let case = Case::start(&[&ed, &ec], DAY).await;
    let own = case.issuer.url.clone();
    let claims = |iss: &str, aud: Value| case.claims(&json!({"iss": iss, "aud": aud}));
    let tokens = [
        ed.token(&claims(&own, json!("pets"))),
        ec.token(&claims(&own, json!(["cars", "pets"]))),
        ec.token(&claims("https://alias.test", json!("cars"))),
    ];
    let issuer = "oidc: token was issued by another issuer";
    let audience = r#"oidc: expected audience "pets""#;
    let algorithm = r#"oidc: malformed jwt: unexpected signature algorithm "EdDSA"; expected ["ES256"]"#;
    let none = r#"oidc: malformed jwt: unexpected signature algorithm "EdDSA"; expected []"#;
    let cases = [
        (json!({}), [None, None, Some(issuer)]),
        (json!({"audiences": ["pets"]}), [None, None, Some(issuer)]),
        (json!({"audiences": ["pets"], "issuer": [own, "https://alias.test"]}), [None, None, Some(audience)]),
        (json!({"issuer": "https://alias.test"}), [Some(issuer), Some(issuer), None]),
        (json!({"algorithms": ["ES256", "ES384"]}), [Some(algorithm), None, Some(issuer)]),
        (json!({"algorithms": ["HS256"]}), [Some(none), Some("…"), Some("…")]),
    ];
    // In the second round each token was verified for some rule before.
    for round in 0..2 {
        for (spec, expected) in &cases {
            let rule = case.rule(spec);
            for (token, expected) in tokens.iter().zip(expected) {
                let outcome = check(&rule, token).await;
                let reason = outcome.as_ref().err().map(Failure::reason);
                match expected {
                    Some("…") => {
                        assert!(reason.unwrap().contains("signature algorithm \"ES256\""), "{round} {spec}: {reason:?}")
                    }
                    expected => assert_eq!(reason, *expected, "{round} {spec}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_an_expected_issuer_is_worth_a_fetch() {
    let [old, new] = ["old", "new"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&old], Duration::ZERO).await;
    case.issuer.publish(&[&old, &new]);
    let token = new.token(&case.claims(&json!({"iss": "https://alias.test"})));
    assert_denied(check(&case.rule(&json!({"issuer": "https://other.test"})), &token).await, UNVERIFIED);
    assert_eq!(case.issuer.server.count(KEYS), 1);
    assert!(check(&case.rule(&json!({"issuer": "https://alias.test"})), &token).await.is_ok());
    assert_eq!(case.issuer.server.count(KEYS), 2);
}

#[tokio::test]
async fn leeway_counts_at_both_ends() {
    let key = key(Algorithm::EdDSA, "k");
    let case = Case::start(&[&key], DAY).await;
    let expired = key.token(&case.claims(&json!({"exp": now() - 60})));
    let early = key.token(&case.claims(&json!({"nbf": now() + 120})));
    for (leeway, passes) in [(None, (false, true)), (Some(30), (false, false)), (Some(600), (true, true))] {
        let rule = case.rule(&json!({ "leewaySeconds": leeway }));
        for _ in 0..2 {
            let passed = (check(&rule, &expired).await.is_ok(), check(&rule, &early).await.is_ok());
            assert_eq!(passed, passes, "{leeway:?}");
        }
    }
}

#[tokio::test]
async fn the_signature_comes_before_the_claims() {
    let [key, stranger] = ["k", "k"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&key], DAY).await;
    let expired = case.claims(&json!({"exp": 1}));
    assert_denied(case.check(&stranger.token(&expired)).await, UNVERIFIED);
}

#[tokio::test]
async fn a_bare_key_set_says_nothing_about_the_issuer() {
    let key = key(Algorithm::ES256, "k");
    let case = Case::start(&[&key], DAY).await;
    let location = Location::KeySet(case.issuer.keys_url());
    let source = case.issuers.source(SourceConfig { location, ..case.issuer.config() });
    assert!(case.issuers.wait_first_attempts(DAY).await);
    let jwt = with_source(source);
    for issuer in [json!("https://elsewhere.test"), json!(null)] {
        assert!(check(&jwt, &key.token(&case.claims(&json!({"iss": issuer})))).await.is_ok());
    }
}

#[tokio::test]
async fn no_algorithm_can_be_talked_into() {
    let rsa = key(Algorithm::RS256, "rsa");
    let ec = key(Algorithm::ES256, "ec");
    let case = Case::start(&[&rsa, &ec], DAY).await;
    let payload = case.claims(&json!({})).to_string();
    let encode = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text);
    // An HMAC with what everybody knows of the key as secret.
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let message = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"rsa"}"#), encode(&payload));
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, modulus.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&hmac, message.as_bytes());
    let confused = format!("{message}.{}", base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, tag));
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none","kid":"rsa"}"#), encode(&payload));
    let other_hash = rsa.token_of(&json!({"alg": "RS384", "kid": "rsa"}), Algorithm::RS384, payload.as_bytes());
    let other_padding = rsa.token_of(&json!({"alg": "PS256", "kid": "rsa"}), Algorithm::PS256, payload.as_bytes());
    let other_key = ec.token_of(&json!({"alg": "ES256", "kid": "rsa"}), Algorithm::ES256, payload.as_bytes());
    let own_key = {
        let stranger = key(Algorithm::ES256, "ec");
        let header = json!({"alg": "ES256", "kid": "ec", "jwk": stranger.jwk(), "jku": "http://127.0.0.1:1/"});
        stranger.token_of(&header, Algorithm::ES256, payload.as_bytes())
    };
    let cases = [
        (confused, r#"oidc: malformed jwt: unexpected signature algorithm "HS256"; expected ["RS256" "ES256"]"#),
        (unsigned, r#"oidc: malformed jwt: unexpected signature algorithm "none"; expected ["RS256" "ES256"]"#),
        (other_hash, UNVERIFIED),
        (other_padding, UNVERIFIED),
        (other_key, UNVERIFIED),
        (own_key, UNVERIFIED),
    ];
    for (token, reason) in cases {
        assert_denied(case.check(&token).await, reason);
    }
}

#[tokio::test]
async fn changed_tokens_are_refused_also_after_the_original() {
    let key = key(Algorithm::ES256, "k");
    let case = Case::start(&[&key], DAY).await;
    let token = case.token(&key);
    assert!(case.check_now(&token).is_ok());
    for position in (0..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(matches!(case.check(&changed).await, Err(Failure::Denied(_))), "{position}");
    }
}

#[tokio::test]
async fn credentials_that_are_no_tokens_are_refused_on_the_spot() {
    let case = Case::start(&[], DAY).await;
    assert_denied(case.check_now("junk"), "oidc: malformed jwt: oidc: malformed jwt, expected 3 parts got 1");
    assert_denied(case.check_now(""), "oidc: malformed jwt: oidc: malformed jwt, expected 3 parts got 1");
    assert_denied(case.check_now(&"a".repeat(MAX_TOKEN + 1)), "oidc: malformed jwt: larger than 64 kB");
    let nothing = Request::default();
    let context = Context::new(&nothing, None, None);
    let Evaluation::Ready(outcome) = case.jwt.evaluate(&context) else { panic!("the check waits") };
    assert_denied(outcome, "credential not found");
    assert_eq!(case.jwt.credential(&context), Err(Failure::denied("credential not found")));
    let request = request("t");
    assert_eq!(case.jwt.credential(&Context::new(&request, None, None)), Ok(Some("t".into())));
}

#[tokio::test]
async fn a_new_key_is_fetched_once_for_all_who_need_it() {
    let [old, new] = ["old", "new"].map(|id| key(Algorithm::EdDSA, id));
    let case = Arc::new(Case::start(&[&old], DAY).await);
    case.issuer.publish(&[&old, &new]);
    case.issuer.server.set_open(false);
    let token = case.token(&new);
    let checks: Vec<_> = (0..20)
        .map(|_| {
            let (case, token) = (Arc::clone(&case), token.clone());
            tokio::spawn(async move { case.check(&token).await })
        })
        .collect();
    let old_token = case.token(&old);
    assert!(case.check_now(&old_token).is_ok(), "other checks do not wait");
    tokio::task::yield_now().await;
    case.issuer.server.set_open(true);
    for check in checks {
        assert_eq!(check.await.unwrap().unwrap()["sub"], "alice");
    }
    assert_eq!(case.issuer.server.count(KEYS), 2);
    assert!(case.check_now(&old_token).is_ok());
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_issuer_be_asked_again_and_again() {
    let [known, unknown] = ["known", "unknown"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&known], DAY).await;
    let token = case.token(&unknown);
    assert_denied(case.check(&token).await, UNVERIFIED);
    for _ in 0..10 {
        assert_denied(case.check_now(&token), UNVERIFIED);
    }
    assert_eq!(case.issuer.server.count(KEYS), 2);
}

#[tokio::test]
async fn a_key_that_was_replaced_under_its_id_is_found() {
    let [old, new] = ["k", "k"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&old], Duration::ZERO).await;
    let (old_token, new_token) = (case.token(&old), case.token(&new));
    assert!(case.check(&old_token).await.is_ok());
    case.issuer.publish(&[&new]);
    assert!(case.check(&new_token).await.is_ok());
    assert_denied(case.check(&old_token).await, UNVERIFIED);
}

#[tokio::test]
async fn tokens_of_another_issuer_do_not_cost_a_fetch() {
    let [own, other] = ["own", "other"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&own], Duration::ZERO).await;
    let token = other.token(&case.claims(&json!({"iss": "https://elsewhere.test"})));
    assert_denied(case.check_now(&token), UNVERIFIED);
    assert_eq!(case.issuer.server.count(KEYS), 1);
}

#[tokio::test]
async fn an_unknown_key_is_undecidable_while_the_issuer_is_away() {
    let [known, unknown] = ["known", "unknown"].map(|id| key(Algorithm::EdDSA, id));
    let case = Case::start(&[&known], Duration::ZERO).await;
    case.issuer.fail();
    let failure = case.check(&case.token(&unknown)).await.unwrap_err();
    assert!(matches!(failure, Failure::Undecidable(_)), "{failure:?}");
    assert!(case.check(&case.token(&known)).await.is_ok(), "the last good keys are still good");
    let forged = key(Algorithm::EdDSA, "known");
    assert_denied(case.check(&case.token(&forged)).await, UNVERIFIED);
}

#[tokio::test]
async fn without_keys_nothing_is_decided_but_what_needs_none() {
    let issuer = TestIssuer::start(&[]).await;
    issuer.fail();
    let issuers = issuers(DAY);
    let jwt = with_source(issuer.source(&issuers).await);
    let token = key(Algorithm::EdDSA, "k").token(&json!({}));
    for _ in 0..3 {
        let failure = check(&jwt, &token).await.unwrap_err();
        assert!(
            matches!(failure, Failure::Undecidable(_)) && failure.reason() == "missing openid connect configuration"
        );
    }
    assert_denied(check(&jwt, "junk").await, "oidc: malformed jwt: oidc: malformed jwt, expected 3 parts got 1");
}

#[tokio::test]
async fn checks_that_come_early_wait_for_the_first_keys() {
    let key = key(Algorithm::EdDSA, "k");
    let issuer = TestIssuer::start(&[&key]).await;
    issuer.server.set_open(false);
    let jwt = with_source(issuers(DAY).source(issuer.config()));
    let token = key.token(&json!({"iss": issuer.url, "sub": "alice", "exp": now() + 300}));
    let early = check(&jwt, &token);
    let open = async {
        until(|| issuer.server.count(crate::resources::oidc::test_issuer::DISCOVERY) == 1).await;
        issuer.server.set_open(true);
    };
    let (outcome, ()) = tokio::join!(early, open);
    assert_eq!(outcome.unwrap()["sub"], "alice");
}
