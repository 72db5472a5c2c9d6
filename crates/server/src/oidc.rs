//! Discovery documents and keys of the tokens that configurations issue, in the form of OpenID Connect Discovery 1.0 §4.
//!
//! `/NAMESPACE/AUTHCONFIG/RULE/.well-known/openid-configuration` and `…/.well-known/openid-connect/certs`, whatever the method.

use std::sync::Arc;

use ::http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::http::{self, Client, Handler};
use crate::{Listener, Metrics, Running, Tracing};

/// Knows who issues tokens.
pub trait Issuers: Send + Sync + 'static {
    /// The issuer that a configuration's rule is; none if there is no such configuration or rule, or the rule issues nothing.
    fn find(&self, namespace: &str, authconfig: &str, rule: &str) -> Option<Issuer>;
}

/// Issues tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    /// Its public keys as a JSON Web Key Set (RFC 7517 §5).
    pub keys: Arc<str>,
}

/// Answers questions about issuers on a listener.
pub fn serve(listener: Listener, issuers: Arc<dyn Issuers>, metrics: Arc<Metrics>, tracing: Tracing) -> Running {
    http::serve(listener, Discovery { issuers, metrics, tracing })
}

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/.well-known/openid-connect/certs";

struct Discovery {
    issuers: Arc<dyn Issuers>,
    metrics: Arc<Metrics>,
    tracing: Tracing,
}

impl Handler for Discovery {
    async fn handle(&self, request: Request<Incoming>, _: &Client) -> http::Answer {
        let mut traced = self.tracing.http("oidc", &request);
        let answer = self.answer(request.uri().path());
        traced.set_status(answer.status());
        self.metrics.oidc_status.with_label_values(&[answer.status().as_str()]).inc();
        answer
    }
}

impl Discovery {
    fn answer(&self, path: &str) -> http::Answer {
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = path.trim_start_matches('/').splitn(4, '/');
        let (Some(namespace), Some(authconfig), Some(rule)) = (segments.next(), segments.next(), segments.next())
        else {
            return http::plain(StatusCode::NOT_FOUND, "Not found");
        };
        let Some(issuer) = self.issuers.find(namespace, authconfig, rule) else {
            return http::plain(StatusCode::NOT_FOUND, "Not found");
        };
        let suffix = segments.next().map(|rest| format!("/{rest}")).unwrap_or_default();
        let (path, answer) = match suffix.as_str() {
            CONFIGURATION => (CONFIGURATION, http::json(StatusCode::OK, configuration(&issuer.issuer))),
            KEYS => (KEYS, http::json(StatusCode::OK, issuer.keys.as_bytes().to_vec())),
            _ => ("", http::plain(StatusCode::NOT_FOUND, "not found")),
        };
        self.metrics.oidc_requests.with_label_values(&[namespace, authconfig, rule, path]).inc();
        answer
    }
}

fn configuration(issuer: &str) -> String {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}{KEYS}"),
        "id_token_signing_alg_values_supported": ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512"],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::testing::{exchange, listener, parse};

    struct One;

    impl Issuers for One {
        fn find(&self, namespace: &str, authconfig: &str, rule: &str) -> Option<Issuer> {
            let issuer = Issuer { issuer: "https://issuer".to_owned(), keys: r#"{"keys":[]}"#.into() };
            ((namespace, authconfig, rule) == ("ns", "config", "rule")).then_some(issuer)
        }
    }

    #[tokio::test]
    async fn documents_and_errors() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let running = serve(listener(None).await, Arc::new(One), metrics, Tracing::default());
        let configuration = concat!(
            r#"{"issuer":"https://issuer","jwks_uri":"https://issuer/.well-known/openid-connect/certs","#,
            r#""id_token_signing_alg_values_supported":["ES256","ES384","ES512","RS256","RS384","RS512"]}"#,
        );
        let json = "application/json";
        let text = "text/plain; charset=utf-8";
        for (target, status, content_type, body) in [
            ("/ns/config/rule/.well-known/openid-configuration", 200, json, configuration),
            ("/ns/config/rule/.well-known/openid-configuration/", 200, json, configuration),
            ("/ns/config/rule/.well-known/openid-configuration?x=y", 200, json, configuration),
            ("/ns/config/rule/.well-known/openid-connect/certs", 200, json, r#"{"keys":[]}"#),
            ("/ns/config/rule/.well-known/other", 404, text, "not found"),
            ("/ns/config/rule", 404, text, "not found"),
            ("/ns/config/other/.well-known/openid-configuration", 404, text, "Not found"),
            ("/ns/config", 404, text, "Not found"),
            ("/", 404, text, "Not found"),
            ("/check", 404, text, "Not found"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let (found, headers, found_body) = parse(&exchange(running.address(), &request).await);
            assert_eq!((found, found_body.as_str()), (status, body), "{target}");
            assert!(headers.contains(&("content-type".to_owned(), content_type.to_owned())), "{target}: {headers:?}");
        }
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for expected in [
            r#"oidc_server_response_status{status="200"} 4"#,
            r#"oidc_server_response_status{status="404"} 6"#,
            r#"oidc_server_requests_total{authconfig="config",namespace="ns",path="",wristband="rule"} 2"#,
            r#"path="/.well-known/openid-connect/certs",wristband="rule"} 1"#,
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
