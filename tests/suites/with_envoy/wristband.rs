//! Tokens that are issued to upstreams, and verified with the keys of the discovery port.

use serde_json::json;

use super::{Gateway, KEY, TALKER};
use crate::support::wait::until;

/// `front.test` issues tokens to those who have the key of [`TALKER`].
fn front(issuer: &str) -> String {
    let (_, friends) = TALKER.split_once("---").unwrap();
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: front}}
spec:
  hosts: [front.test]
  authentication:
    friends:
      apiKey: {{selector: {{matchLabels: {{group: friends}}}}}}
      credentials: {{authorizationHeader: {{prefix: APIKEY}}}}
  response:
    success:
      headers:
        x-wristband:
          wristband:
            issuer: {issuer}
            customClaims: {{name: {{selector: auth.identity.metadata.annotations.name}}}}
            signingKeyRefs: [{{name: wristband-key, algorithm: ES256}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: wristband-key, labels: {{authorino.kuadrant.io/managed-by: authorino}}}}
stringData: {{key.pem: {key}}}
---{friends}"#,
        key = json!(rcgen::KeyPair::generate().unwrap().serialize_pem()),
    )
}

/// `NAME.test` accepts tokens.
fn acceptor(name: &str, jwt: &str) -> String {
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  authentication: {{wristbands: {{jwt: {{{jwt}}}}}}}
  response: {{success: {{headers: {{x-user: {{plain: {{selector: auth.identity.name}}}}}}}}}}
"#
    )
}

#[test]
fn a_token_for_the_upstream_is_accepted_wherever_its_issuer_is_trusted() {
    let Some(gateway) = Gateway::start() else { return };
    let issuer = format!("http://127.0.0.1:{}/default/front/x-wristband", gateway.usher.discovery_port());
    gateway.usher.write("config.yaml", &front(&issuer));
    let token = until("a token", || {
        let response = gateway.envoy.get("front.test", "/", &[KEY, ("x-wristband", "forged")]);
        if response.status != 200 {
            return Err(format!("{} {:?}", response.status, response.header("x-ext-auth-reason")));
        }
        Ok(response.json()["headers"]["x-wristband"].as_str().unwrap().to_owned())
    });
    let (head, signature) = token.rsplit_once('.').unwrap_or_else(|| panic!("`{token}` is no token"));
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{head}.{flipped}{}", &signature[1..]);

    // Only now, because the keys are fetched at once, and are there only since `front.test` is.
    let keys = format!("jwksUrl: {issuer}/.well-known/openid-connect/certs, issuer: {issuer}, algorithms: [ES256]");
    gateway.usher.write("keys.yaml", &acceptor("keys", &keys));
    gateway.usher.write("issuer.yaml", &acceptor("issuer", &format!("issuerUrl: {issuer}")));
    for host in ["keys.test", "issuer.test"] {
        let get = |token: &str| gateway.envoy.get(host, "/", &[("authorization", &format!("Bearer {token}"))]);
        let response = until("an answer that the token is accepted", || match get(&token) {
            response if response.status == 200 => Ok(response),
            response => Err(format!("{host}: {} {:?}", response.status, response.header("x-ext-auth-reason"))),
        });
        assert_eq!(response.json()["headers"]["x-user"], "Alice", "{host}");
        for wrong in [changed.as_str(), "forged"] {
            assert_eq!(get(wrong).status, 401, "{host}");
        }
    }
}
