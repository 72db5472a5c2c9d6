//! Tokens of a real OpenID provider: verified by discovery, by introspection, and used to ask about their holders.

mod asked_about;

use std::time::Duration;

use serde_json::json;

use crate::support::{
    http::Response,
    issuer::{API, Issuer, now},
    usher::Usher,
    wait::within,
};

/// How long a change at the provider may take to arrive here: the pause between two fetches that tokens with unknown
/// keys cause is 10 seconds, the pause after some failures about as long.
const LIMIT: Duration = Duration::from_secs(40);

fn config(issuer: &Issuer) -> String {
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: talker}}
spec:
  hosts: [talker.test]
  authentication: {{machines: {{jwt: {{issuerUrl: "{}"}}}}}}
  authorization:
    tenant: {{patternMatching: {{patterns: [{{selector: auth.identity.tenant, operator: eq, value: blue}}]}}}}
  response: {{success: {{headers: {{x-client: {{plain: {{expression: auth.identity.client_id}}}}}}}}}}
"#,
        issuer.url()
    )
}

fn check(usher: &Usher, token: &str) -> Response {
    usher.check("talker.test", &[("authorization", &format!("Bearer {token}"))]).unwrap()
}

fn expect(usher: &Usher, token: &str, status: u16) {
    within(LIMIT, "the expected answer", || match check(usher, token) {
        response if response.status == status => Ok(()),
        response => Err(format!("{} instead of {status}: {:?}", response.status, response.header("x-ext-auth-reason"))),
    });
}

#[test]
fn tokens_of_the_provider_are_verified_by_discovery() {
    let Some(mut issuer) = Issuer::down() else { return };
    issuer.start(&issuer.keys("keys.json", "first"));
    let usher = Usher::start(&config(&issuer));
    let token = issuer.token(Some(API));
    let response = check(&usher, &token);
    assert_eq!(response.status, 200, "{:?}", response.header("x-ext-auth-reason"));
    assert_eq!(response.header("x-client"), Some("machine"));

    let (head, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let opaque = issuer.token(None);
    for (why, token) in [
        ("another signature", format!("{head}.{flipped}{}", &signature[1..])),
        ("no signature", format!("{head}.")),
        ("opaque", opaque),
        ("not a token at all", "x".to_owned()),
    ] {
        let response = check(&usher, &token);
        assert_eq!(response.status, 401, "{why}");
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="machines""#), "{why}");
    }
    assert_eq!(usher.check("talker.test", &[]).unwrap().status, 401);
}

#[test]
fn claims_and_keys_must_be_right() {
    let Some(mut issuer) = Issuer::down() else { return };
    let keys = issuer.keys("keys.json", "first");
    issuer.start(&keys);
    let usher = Usher::start(&config(&issuer));
    let claims = json!({"iss": issuer.url(), "sub": "x", "client_id": "x", "tenant": "blue", "exp": now() + 300});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let same_name = issuer.keys("others.json", "first");
    for (why, token, status) in [
        ("as it should be", keys.sign(&claims), 200),
        ("expired", keys.sign(&with("exp", (now() - 60).into())), 401),
        ("not valid yet", keys.sign(&with("nbf", (now() + 3600).into())), 401),
        ("of another issuer", keys.sign(&with("iss", "http://127.0.0.1:1".into())), 401),
        ("another key of the same name", same_name.sign(&claims), 401),
        ("another tenant", keys.sign(&with("tenant", "red".into())), 403),
    ] {
        let response = check(&usher, &token);
        assert_eq!(response.status, status, "{why}: {:?}", response.header("x-ext-auth-reason"));
    }
}

#[test]
fn new_keys_are_fetched_when_a_token_names_one() {
    let Some(mut issuer) = Issuer::down() else { return };
    issuer.start(&issuer.keys("first.json", "first"));
    let usher = Usher::start(&config(&issuer));
    let first = issuer.token(Some(API));
    assert_eq!(check(&usher, &first).status, 200);

    issuer.stop();
    assert_eq!(check(&usher, &first).status, 200, "the keys are kept while the provider is away");
    issuer.start(&issuer.keys("second.json", "second"));
    expect(&usher, &issuer.token(Some(API)), 200);
    expect(&usher, &first, 401);
}

#[test]
fn without_the_provider_nothing_is_decided_until_it_comes() {
    let Some(mut issuer) = Issuer::down() else { return };
    let keys = issuer.keys("keys.json", "first");
    let usher = Usher::start(&config(&issuer));
    let claims = json!({"iss": issuer.url(), "client_id": "x", "tenant": "blue", "exp": now() + 300});
    let token = keys.sign(&claims);
    assert_eq!(check(&usher, &token).status, 503);
    assert_eq!(usher.check("talker.test", &[]).unwrap().status, 401, "without a token no provider is needed");
    issuer.start(&keys);
    expect(&usher, &token, 200);
    expect(&usher, &issuer.token(Some(API)), 200);
}
