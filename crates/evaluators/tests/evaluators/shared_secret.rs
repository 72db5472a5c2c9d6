//! Tokens that are signed with a shared secret, and the role in them that decides.

use serde_json::{Value, json};

use crate::support::{World, allowed, denied, secret};

// Header {"alg":"HS256","typ":"JWT"}, claims `exp` 2241081539, `nbf` 1514851139, `sub` "YWxpY2U=", signed with `secret`.
const GUEST: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6Imd1ZXN0Iiwic3ViIjoiWVd4cFkyVT0ifQ.ja1bgvIt47393ba_WbSBm35NrUhdxM4mOVQN8iXz8lk";
const ADMIN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.veMeVDYlulTdieeX-jxFZ_tCmqQ_K8rwx2OktUHv5Z0";
const WITHOUT_ROLE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwic3ViIjoiWVd4cFkyVT0ifQ.LnWYMlAqBjUpRJUS4wYUI_zVkmhfLgcC4gYcSsPACJM";
/// An admin by the word of somebody else.
const FORGED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.DjspZzzsDBGpP21QPINkB80eFfyY9wBS5Og3eTc3ISc";

fn world() -> World {
    let mut key = secret("team/tokens", "", "");
    key.data = [("key".to_owned(), b"secret".to_vec())].into();
    World::new().with(&[key])
}

fn only_admins(jwt: &Value) -> Value {
    json!({
        "authentication": {"token": {"jwt": jwt}},
        "authorization": {"role": {"patternMatching": {"patterns": [
            {"selector": "auth.identity.role", "operator": "eq", "value": "admin"},
        ]}}},
    })
}

fn with(authorization: &str) -> Value {
    json!({"headers": {"authorization": authorization}})
}

#[test]
fn the_role_of_a_verified_token_decides() {
    let unverified = || denied("failed to verify signature: failed to verify id token signature");
    let (missing, unauthorized) = (|| denied("credential not found"), || denied("Unauthorized"));
    let cases = [
        (json!({}), missing()),
        (with(&format!("Bearer {GUEST}")), unauthorized()),
        (with(&format!("Bearer {ADMIN}")), allowed()),
        (with(&format!("bearer {ADMIN}")), allowed()),
        (with(&format!("BEARER {ADMIN}")), allowed()),
        (with(&format!("Bearer {WITHOUT_ROLE}")), unauthorized()),
        (with(&format!("Bearer {FORGED}")), unverified()),
        (with(&format!("Basic {ADMIN}")), missing()),
        (with(ADMIN), missing()),
        (with(&format!("Bearer {ADMIN} more")), denied("oidc: malformed jwt: the signature is not base64url")),
        (with("Bearer a.b.c"), denied("oidc: malformed jwt: the header is not base64url")),
    ];
    world().expect(&only_admins(&json!({"secretRef": {"name": "tokens"}})), &cases);
}

#[test]
fn a_short_secret_is_worth_a_warning_that_does_not_show_it() {
    let (_, problems, warnings) = world().build(&only_admins(&json!({"secretRef": {"name": "tokens"}})));
    assert!(problems.is_empty(), "{problems:?}");
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(warning.path, "spec.authentication.token.jwt.secretRef");
    assert!(warning.message.starts_with("the secret is shorter than the 32 bytes that HS256 asks for"), "{warning}");
}

#[test]
fn what_else_the_rule_asks_for_counts_too() {
    let admin = with(&format!("Bearer {ADMIN}"));
    let cases = [
        (json!({"issuer": "https://i.test"}), "oidc: token was issued by another issuer"),
        (json!({"audiences": ["x"]}), "oidc: expected audience \"x\""),
        (
            json!({"algorithms": ["HS512"]}),
            r#"oidc: malformed jwt: unexpected signature algorithm "HS256"; expected ["HS512"]"#,
        ),
    ];
    for (mut jwt, reason) in cases {
        jwt["secretRef"] = json!({"name": "tokens"});
        world().expect(&only_admins(&jwt), &[(admin.clone(), denied(reason))]);
    }
}
