//! Validating webhooks.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use usher_test_support::ApiServer;

use crate::client::{AUTHCONFIGS, SECRETS, ask, auth_config, secret};

/// A webhook that answers with `response`, and its port, its certificate, and what it was asked.
struct Webhook {
    port: u16,
    bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    async fn start(name: &str, response: Value) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let (seen, response) = (Arc::clone(&seen), response.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (seen, mut response) = (Arc::clone(&seen), response.clone());
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let review: Value = serde_json::from_slice(&body).unwrap();
                        response["uid"] = review["request"]["uid"].clone();
                        seen.lock().unwrap().push(review);
                        let answer = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer.to_string()))))
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        Self { port, bundle: STANDARD.encode(made.cert.pem()), asked }
    }

    fn configuration(&self, more: &Value) -> Value {
        let mut webhook = json!({
            "name": "validate.test",
            "clientConfig": {"url": format!("https://localhost:{}/validate", self.port), "caBundle": self.bundle},
            "rules": [{
                "apiGroups": ["authorino.kuadrant.io"], "apiVersions": ["v1beta3"], "operations": ["CREATE", "UPDATE"],
                "resources": ["authconfigs"],
            }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        });
        for (field, value) in more.as_object().unwrap() {
            webhook[field] = value.clone();
        }
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "test"}, "webhooks": [webhook],
        })
    }
}

#[tokio::test]
async fn webhooks_refuse() {
    let server = ApiServer::start();
    let status = json!({"code": 400, "message": "not like this"});
    let webhook = Webhook::start("localhost", json!({"allowed": false, "status": status})).await;
    server.apply(webhook.configuration(&json!({})));
    let said = ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(400).await;
    assert_eq!(said["message"], "admission webhook \"validate.test\" denied the request: not like this");
    assert_eq!(server.get("authconfigs", "ns", "one"), None);
    // The handle of the server is not asked for; other kinds and the status are no matter of this webhook.
    server.apply(auth_config("one", "a.test"));
    ask(&server, "POST", SECRETS).json(&secret("s", "")).expect(201).await;
    let path = format!("{AUTHCONFIGS}/one");
    ask(&server, "PATCH", format!("{path}/status")).merge(&json!({"status": {"a": 1}})).expect(200).await;
    ask(&server, "PATCH", &path).merge(&json!({"spec": {"hosts": []}})).expect(400).await;
    ask(&server, "DELETE", &path).expect(200).await;

    let asked = webhook.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    let (create, update) = (&asked[0]["request"], &asked[1]["request"]);
    assert_eq!(
        (&create["operation"], &create["name"], &create["namespace"]),
        (&json!("CREATE"), &json!("one"), &json!("ns"))
    );
    assert_eq!(create["object"]["spec"]["hosts"], json!(["a.test"]));
    assert_eq!(create["oldObject"], Value::Null);
    assert_eq!(update["operation"], "UPDATE");
    assert_eq!(
        (&update["object"]["spec"]["hosts"], &update["oldObject"]["spec"]["hosts"]),
        (&json!([]), &json!(["a.test"]))
    );
    assert_eq!(update["resource"]["resource"], "authconfigs");
}

#[tokio::test]
async fn webhooks_warn() {
    let server = ApiServer::start();
    let webhook = Webhook::start("localhost", json!({"allowed": true, "warnings": ["better so"]})).await;
    server.apply(webhook.configuration(&json!({})));
    let said = ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).said().await;
    assert_eq!((said.code, &said.headers["warning"]), (201, &"299 - \"better so\"".parse().unwrap()));
}

#[tokio::test]
async fn webhooks_without_a_code_forbid() {
    let server = ApiServer::start();
    let webhook = Webhook::start("localhost", json!({"allowed": false})).await;
    let selector = json!({"objectSelector": {"matchLabels": {"checked": "yes"}}});
    server.apply(webhook.configuration(&selector));
    ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(201).await;
    let mut object = auth_config("two", "a.test");
    object["metadata"]["labels"] = json!({"checked": "yes"});
    let said = ask(&server, "POST", AUTHCONFIGS).json(&object).expect(403).await;
    assert_eq!(said["message"], "admission webhook \"validate.test\" denied the request without explanation");
}

#[tokio::test]
async fn failure_policies_hold() {
    let server = ApiServer::start();
    let webhook = Webhook::start("localhost", json!({"allowed": true})).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mistrusted = json!({
        "url": format!("https://localhost:{}/", webhook.port), "caBundle": STANDARD.encode(other.cert.pem()),
    });
    server.apply(webhook.configuration(&json!({"clientConfig": mistrusted})));
    let said = ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(500).await;
    let message = said["message"].as_str().unwrap();
    assert!(message.starts_with("Internal error occurred: failed calling webhook \"validate.test\""), "{message}");
    server.apply(webhook.configuration(&json!({"clientConfig": mistrusted, "failurePolicy": "Ignore"})));
    ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(201).await;
    assert_eq!(webhook.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn services_are_reached_where_they_are_served() {
    let server = ApiServer::start();
    let webhook = Webhook::start("hook.system.svc", json!({"allowed": true})).await;
    let service = json!({
        "service": {"namespace": "system", "name": "hook", "path": "/validate"}, "caBundle": webhook.bundle,
    });
    server.apply(webhook.configuration(&json!({"clientConfig": service})));
    ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(500).await;
    server.serve_service("system", "hook", &format!("127.0.0.1:{}", webhook.port));
    ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(201).await;
    assert_eq!(webhook.asked.lock().unwrap().len(), 1);
}
