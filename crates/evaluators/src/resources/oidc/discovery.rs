//! Fetches what an issuer publishes: its discovery document (OpenID Connect Discovery 1.0 §4) and its key set.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::ACCEPT};
use openidconnect::core::CoreProviderMetadata;
use serde_json::{Map, Value, json};

use super::{Keys, Location, VerifiedTokens};
use crate::resources::{
    http::{Client, Request, parse_url},
    jwks::KeySet,
};

/// What is published there; no token was verified with it yet.
pub(super) async fn load(client: &Client, location: &Location, timeout: Option<Duration>) -> Result<Keys, String> {
    match location {
        Location::KeySet(url) => {
            let set = fetch_keys(client, url, timeout).await?;
            Ok(Keys { issuer: None, user_info_endpoint: None, set, verified: VerifiedTokens::new() })
        }
        Location::Issuer(issuer) => {
            let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
            let (metadata, user_info_endpoint) = read(&fetch(client, &url, timeout).await?)?;
            let named = metadata.issuer().as_str();
            // Byte for byte, §4.3: who answers for one issuer must not be able to speak for another.
            if named != issuer {
                return Err(format!("the discovery document is that of another issuer, `{named}`"));
            }
            let set = fetch_keys(client, metadata.jwks_uri().as_str(), timeout).await?;
            Ok(Keys { issuer: Some(issuer.clone()), user_info_endpoint, set, verified: VerifiedTokens::new() })
        }
    }
}

/// Reads a discovery document, and the `userinfo_endpoint` in it. One that cannot be used is as good as none: it is not
/// needed for verification.
///
/// Members that are required for sign-in but may be missing where only machines use an issuer (as with that of
/// Kubernetes service accounts) are filled in, and others are not looked at: they do not matter for verification.
fn read(document: &[u8]) -> Result<(CoreProviderMetadata, Option<String>), String> {
    let document: Map<String, Value> = serde_json::from_slice(document)
        .map_err(|error| format!("the discovery document is not a JSON object: {error}"))?;
    let member = |name: &str| {
        let value = document.get(name).filter(|value| value.is_string());
        value.cloned().ok_or_else(|| format!("the discovery document has no `{name}`"))
    };
    let issuer = member("issuer")?;
    let complete = json!({
        "authorization_endpoint": issuer,
        "issuer": issuer,
        "jwks_uri": member("jwks_uri")?,
        "response_types_supported": [],
        "subject_types_supported": [],
        "id_token_signing_alg_values_supported": [],
    });
    let metadata =
        serde_json::from_value(complete).map_err(|error| format!("the discovery document is malformed: {error}"))?;
    let user_info_endpoint = document.get("userinfo_endpoint").and_then(Value::as_str);
    Ok((metadata, user_info_endpoint.filter(|url| parse_url(url).is_ok()).map(str::to_owned)))
}

async fn fetch_keys(client: &Client, url: &str, timeout: Option<Duration>) -> Result<KeySet, String> {
    let document = fetch(client, url, timeout).await?;
    // Hundreds of keys take milliseconds: not on a thread that serves checks.
    let parsed = tokio::task::spawn_blocking(move || KeySet::parse(&document)).await;
    parsed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn fetch(client: &Client, url: &str, timeout: Option<Duration>) -> Result<Bytes, String> {
    let mut request = Request::get(url, timeout);
    request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let response = client.fetch(request).await.map_err(|error| error.to_string())?;
    if response.status == StatusCode::OK {
        Ok(response.body)
    } else {
        let what = if response.status.is_redirection() { " (redirects are not followed)" } else { "" };
        Err(format!("status {}{what} instead of 200", response.status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_leniently_but_not_guessed() {
        let cases = [
            (r#"{"issuer":"https://i","jwks_uri":"https://i/k"}"#, Ok("https://i/k")),
            (
                r#"{"issuer":"https://i","jwks_uri":"https://i/k","authorization_endpoint":7,"token_endpoint":""}"#,
                Ok("https://i/k"),
            ),
            (r#"{"issuer":"https://i"}"#, Err("the discovery document has no `jwks_uri`")),
            (r#"{"jwks_uri":"https://i/k"}"#, Err("the discovery document has no `issuer`")),
            (r#"{"issuer":["https://i"],"jwks_uri":"https://i/k"}"#, Err("the discovery document has no `issuer`")),
            (r#"{"issuer":"https://i","jwks_uri":"/k"}"#, Err("the discovery document is malformed: ")),
            ("[]", Err("the discovery document is not a JSON object: ")),
            ("<html>", Err("the discovery document is not a JSON object: ")),
            ("", Err("the discovery document is not a JSON object: ")),
        ];
        for (document, expected) in cases {
            match (read(document.as_bytes()), expected) {
                (Ok((metadata, _)), Ok(uri)) => assert_eq!(metadata.jwks_uri().as_str(), uri, "{document}"),
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{document}: {error}"),
                (result, _) => panic!("{document}: {:?}", result.err()),
            }
        }
    }

    #[test]
    fn only_a_usable_user_info_endpoint_counts() {
        for (endpoint, expected) in [
            (json!("https://i/me"), Some("https://i/me")),
            (json!("/me"), None),
            (json!("ftp://i/me"), None),
            (json!(""), None),
            (json!(7), None),
            (json!(null), None),
        ] {
            let document = json!({"issuer": "https://i", "jwks_uri": "https://i/k", "userinfo_endpoint": endpoint});
            let (_, found) = read(document.to_string().as_bytes()).unwrap();
            assert_eq!(found.as_deref(), expected, "{endpoint}");
        }
    }
}
