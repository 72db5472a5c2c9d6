use std::{net::SocketAddr, path::Path};

use clap::Parser;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(flags: &[&str]) -> Arguments {
    Line::parse_from(["webhooks"].iter().chain(flags)).arguments
}

/// Writes a certificate for `localhost`, and returns it.
fn certificate(directory: &Path) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    exchange(TcpStream::connect(address).await.unwrap(), &request).await
}

/// Has an AuthConfig with this spec reviewed; the `response`.
async fn review(address: SocketAddr, trusted: &CertificateDer<'static>, spec: &Value) -> Value {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": "CREATE", "namespace": "team", "name": "a",
            "kind": { "group": "authorino.kuadrant.io", "version": "v1beta3", "kind": "AuthConfig" },
            "object": {
                "apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
                "metadata": { "namespace": "team", "name": "a" }, "spec": spec,
            },
        },
    })
    .to_string();
    let request = format!(
        "POST {}?timeout=10s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{review}",
        AUTH_CONFIGS.path(),
        review.len()
    );
    let answer = exchange(stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    answer["response"].clone()
}

#[test]
fn reviews_are_answered_over_tls_with_probes_and_metrics() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = TempDir::new().unwrap();
    let trusted = certificate(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let arguments = arguments(&[
        "--bind-address=127.0.0.1",
        "--port=0",
        "--metrics-addr=127.0.0.1:0",
        "--health-probe-addr=127.0.0.1:0",
        &format!("--tls-cert={}", file("tls.crt")),
        &format!("--tls-cert-key={}", file("tls.key")),
    ]);
    // As the command does it: what reviews is made outside of the runtime.
    let auth_configs = AuthConfigs::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let running = listen(&arguments, auth_configs).await.unwrap();
        let [webhook, metrics, health] = [0, 1, 2].map(|index| running[index].address());

        let good = review(webhook, &trusted, &json!({ "hosts": ["a.test"] })).await;
        assert_eq!(good, json!({ "uid": "u", "allowed": true }));
        let bad = json!({ "hosts": ["a.test"], "when": [{ "patternRef": "none" }] });
        let bad = review(webhook, &trusted, &bad).await;
        assert_eq!((&bad["allowed"], &bad["status"]["code"]), (&json!(false), &json!(422)));
        let message = bad["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.when[0].patternRef: "), "{message}");

        for target in ["/healthz", "/readyz", "/readyz/webhook"] {
            assert!(get(health, target).await.starts_with("HTTP/1.1 200 "), "{target}");
        }
        let page = get(metrics, "/metrics").await;
        let counted = format!(
            "controller_runtime_webhook_requests_total{{code=\"200\",webhook=\"{}\"}} 2\n",
            AUTH_CONFIGS.path()
        );
        assert!(page.contains(&counted), "{page}");
        // What was reviewed has no series.
        assert!(!page.contains("authconfig=") && !get(metrics, "/server-metrics").await.contains("authconfig="));
        for server in running {
            assert_eq!(server.shutdown(SHUTDOWN_GRACE).await, 0);
        }
    });
}

#[test]
fn without_a_certificate_there_is_no_webhook() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("none").display().to_string();
    let arguments = arguments(&["--port=0", &format!("--tls-cert={file}"), &format!("--tls-cert-key={file}")]);
    let error = run_to_end(&arguments).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{file}`"));
}
