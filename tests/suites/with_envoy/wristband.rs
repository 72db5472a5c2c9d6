//! Tokens that are issued to upstreams, and verified with the keys of the discovery port.

use serde_json::json;

use super::{Gateway, KEY, TALKER};
use crate::support::wait::until;

/// `front.test` issues tokens; `keys.test` and `issuer.test` accept them.
fn config(discovery: u16) -> String {
    let issuer = format!("http://127.0.0.1:{discovery}/default/front/x-wristband");
    let (_, friends) = TALKER.split_once("---").unwrap();
    let acceptor = |name: &str, jwt: &str| {
        format!(
            r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  authentication: {{wristbands: {{jwt: {jwt}}}}}
  response: {{success: {{headers: {{x-user: {{plain: {{selector: auth.identity.name}}}}}}}}}}
"#
        )
    };
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
---{friends}---{keys}---{discovered}"#,
        key = json!(rcgen::KeyPair::generate().unwrap().serialize_pem()),
        keys = acceptor(
            "keys",
            &format!("{{jwksUrl: {issuer}/.well-known/openid-connect/certs, issuer: {issuer}, algorithms: [ES256]}}")
        ),
        discovered = acceptor("issuer", &format!("{{issuerUrl: {issuer}}}")),
    )
}

#[test]
fn a_token_for_the_upstream_is_accepted_wherever_its_issuer_is_trusted() {
    let Some(gateway) = Gateway::start() else { return };
    gateway.usher.write("config.yaml", &config(gateway.usher.discovery_port()));
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

    for host in ["keys.test", "issuer.test"] {
        let get = |token: &str| gateway.envoy.get(host, "/", &[("authorization", &format!("Bearer {token}"))]);
        let response = get(&token);
        assert_eq!(response.status, 200, "{host}: {:?}", response.header("x-ext-auth-reason"));
        assert_eq!(response.json()["headers"]["x-user"], "Alice", "{host}");
        for wrong in [changed.as_str(), "forged"] {
            assert_eq!(get(wrong).status, 401, "{host}");
        }
    }
}
