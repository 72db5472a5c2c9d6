//! Tokens about which, or with which, the provider is asked for each request.

use serde_json::json;

use crate::support::{
    http::Response,
    issuer::{API, Issuer, Keys, now},
    upstream::Upstream,
    usher::Usher,
};

fn started() -> Option<(Issuer, Keys)> {
    let mut issuer = Issuer::down()?;
    let keys = issuer.keys("keys.json", "first");
    issuer.start(&keys);
    Some((issuer, keys))
}

fn check(usher: &Usher, host: &str, token: &str) -> Response {
    usher.check(host, &[("authorization", &format!("Bearer {token}"))]).unwrap()
}

/// The status and the reason, without the id of the decision that follows it.
fn verdict(response: &Response) -> (u16, &str) {
    let reason = response.header("x-ext-auth-reason").unwrap_or_default();
    (response.status, reason.split_once(" (").map_or(reason, |(reason, _)| reason))
}

#[test]
fn opaque_tokens_are_introspected() {
    let Some((mut issuer, _)) = started() else { return };
    let rule = |host: &str, secret: &str| {
        format!(
            r#"---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: {secret}}}
spec:
  hosts: [{host}]
  authentication:
    opaque: {{oauth2Introspection: {{endpoint: "{}/token/introspection", credentialsRef: {{name: {secret}}}}}}}
  response: {{success: {{headers: {{x-client: {{plain: {{expression: auth.identity.client_id}}}}}}}}}}
"#,
            issuer.url()
        )
    };
    let secret = |name: &str, secret: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{clientID: introspector, clientSecret: {secret}}}\n"
        )
    };
    let config = [
        rule("right.test", "right"),
        rule("wrong.test", "wrong"),
        secret("right", "intro"),
        secret("wrong", "nonsense"),
    ];
    let usher = Usher::start(&config.concat());

    let token = issuer.token(None);
    let response = check(&usher, "right.test", &token);
    assert_eq!(response.status, 200, "{:?}", verdict(&response));
    assert_eq!(response.header("x-client"), Some("machine"));
    let failed = (503, "token introspection request failed");
    assert_eq!(verdict(&check(&usher, "wrong.test", &token)), failed);
    // This provider answers 400 when it is asked about one of its own JWTs.
    assert_eq!(verdict(&check(&usher, "right.test", &issuer.token(Some(API)))), failed);
    assert_eq!(verdict(&check(&usher, "right.test", "garbage")), (401, "token is not active"));
    assert_eq!(verdict(&usher.check("right.test", &[]).unwrap()), (401, "credential not found"));

    issuer.revoke(&token);
    let response = check(&usher, "right.test", &token);
    assert_eq!(verdict(&response), (401, "token is not active"));
    assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="opaque""#));

    issuer.stop();
    assert_eq!(verdict(&check(&usher, "right.test", &token)), failed);
    assert!(!usher.output().contains(&token), "tokens are not for logs");
}

#[test]
fn the_provider_tells_about_the_holder_of_a_token() {
    let Some((issuer, keys)) = started() else { return };
    let url = issuer.url();
    let usher = Usher::start(&format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: discovered}}
spec:
  hosts: [discovered.test]
  authentication:
    users: {{jwt: {{issuerUrl: "{url}"}}}}
  metadata: {{me: {{userInfo: {{identitySource: users}}}}}}
  authorization:
    email: {{patternMatching: {{patterns: [{{selector: auth.metadata.me.email, operator: matches, value: "@pets.example$"}}]}}}}
  response: {{success: {{headers: {{x-me: {{plain: {{selector: auth.metadata.me}}}}}}}}}}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: given}}
spec:
  hosts: [given.test]
  authentication:
    opaque: {{oauth2Introspection: {{endpoint: "{url}/token/introspection", credentialsRef: {{name: client}}}}}}
  metadata: {{me: {{userInfo: {{userInfoUrl: "{url}/me"}}}}}}
  response: {{success: {{headers: {{x-me: {{plain: {{selector: auth.metadata.me}}}}}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: client}}
stringData: {{clientID: introspector, clientSecret: intro}}
"#
    ));
    let alice = json!({"sub": "alice", "email": "alice@pets.example"});
    let told = |response: &Response| {
        assert_eq!(response.status, 200, "{:?}", verdict(response));
        serde_json::from_str::<serde_json::Value>(response.header("x-me").unwrap()).unwrap()
    };
    assert_eq!(told(&check(&usher, "discovered.test", &issuer.user_token(true))), alice);
    assert_eq!(told(&check(&usher, "given.test", &issuer.user_token(false))), alice);

    // A token of a machine is good for authentication, but there is nobody to tell about.
    assert_eq!(check(&usher, "discovered.test", &issuer.token(Some(API))).status, 403);
    let refused = told(&check(&usher, "given.test", &issuer.token(None)));
    assert!(refused["error"].is_string() && refused["email"].is_null(), "{refused}");

    let unknown = keys.sign(&json!({"iss": issuer.url(), "sub": "alice", "exp": now() + 300}));
    assert_eq!(check(&usher, "discovered.test", &unknown).status, 403, "its signature is good, but nobody gave it out");
}

#[test]
fn metadata_is_fetched_with_a_token_of_the_provider() {
    let Some((issuer, _)) = started() else { return };
    let upstream = Upstream::start();
    let usher = Usher::start(&format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: fetching}}
spec:
  hosts: [fetching.test]
  authentication: {{anyone: {{anonymous: {{}}}}}}
  metadata:
    echo:
      http:
        url: http://127.0.0.1:{}/echo
        oauth2: {{tokenUrl: "{}/token", clientId: machine, clientSecretRef: {{name: machine, key: secret}}, scopes: [read]}}
  response: {{success: {{headers: {{x-sent: {{plain: {{selector: auth.metadata.echo.headers.authorization}}}}}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: machine}}
stringData: {{secret: s3cret}}
"#,
        upstream.port(),
        issuer.url()
    ));
    let sent: Vec<String> = (0..2)
        .map(|_| {
            let response = usher.check("fetching.test", &[]).unwrap();
            assert_eq!(response.status, 200, "{:?}", verdict(&response));
            response.header("x-sent").unwrap_or_default().to_owned()
        })
        .collect();
    let token = sent[0].strip_prefix("Bearer ").unwrap();
    let known = issuer.introspect(token);
    assert_eq!(
        (&known["active"], &known["client_id"], &known["scope"]),
        (&json!(true), &json!("machine"), &json!("read"))
    );
    assert_eq!(sent[0], sent[1], "the token is kept");
}
