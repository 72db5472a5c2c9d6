use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc;

use prometheus::{Registry, TextEncoder};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::testing::{Certificate, exchange, exchange_over, issue, listener, parse};
use crate::{Tls, TlsSettings};

const SUBJECT: Subject = Subject { group: "test.example", version: "v2", kind: "Thing" };
const PATH: &str = "/validate-test-example-v2-thing";

/// Refuses what has no host; says on which threads it worked.
struct Hosts;

impl Reviewer for Hosts {
    fn review(&self, object: Value) -> Findings {
        assert!(tokio::runtime::Handle::try_current().is_err(), "reviews must not be able to use a runtime");
        let mut findings = Findings::default();
        if object["spec"]["hosts"].as_array().is_none_or(Vec::is_empty) {
            findings.problems.push(Finding { path: "spec.hosts".to_owned(), message: "Required value".to_owned() });
        }
        findings
    }
}

/// Works only when told to.
struct OnDemand {
    begun: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Reviewer for OnDemand {
    fn review(&self, _: Value) -> Findings {
        self.begun.send(()).unwrap();
        let _ = self.go_on.lock().unwrap().recv();
        Findings::default()
    }
}

fn review(spec: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "7", "operation": "CREATE", "namespace": "ns", "name": "a",
            "kind": { "group": SUBJECT.group, "version": SUBJECT.version, "kind": SUBJECT.kind },
            "object": { "metadata": { "name": "a" }, "spec": spec },
        },
    })
    .to_string()
}

fn post(target: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    )
}

async fn plain_webhook(reviewer: impl Reviewer, settings: Settings) -> (Running, Registry) {
    let registry = Registry::new();
    let metrics = WebhookMetrics::register(&registry).unwrap();
    let running = serve(listener(None).await, SUBJECT, Arc::new(reviewer), &metrics, settings).unwrap();
    (running, registry)
}

#[tokio::test]
async fn reviews_and_what_is_none() {
    let settings = Settings { max_body_bytes: 1000, ..Settings::default() };
    let (running, registry) = plain_webhook(Hosts, settings).await;
    let (good, bad) = (review(&json!({ "hosts": ["a.test"] })), review(&json!({})));
    let long = review(&json!({ "hosts": ["a".repeat(1000)] }));
    let allowed =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true,"uid":"7"}}"#;
    let chunked = format!(
        "POST {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    for (request, status, expected) in [
        (post(PATH, "application/json", &good), 200, allowed),
        (post(PATH, "Application/JSON; charset=utf-8", &good), 200, allowed),
        (post(&format!("{PATH}?timeout=10s"), "application/json", &good), 200, allowed),
        (post(PATH, "application/json", &bad), 200, r#""message":"spec.hosts: Required value""#),
        (post(PATH, "text/plain", &good), 415, "the content type must be application/json\n"),
        (post(PATH, "application/json", "{}"), 400, "the body must be an AdmissionReview of admission.k8s.io/v1"),
        (post(PATH, "application/json", ""), 400, "the body is not an AdmissionReview in JSON: EOF"),
        (post(PATH, "application/json", &long), 413, "the review is longer than 1000 bytes\n"),
        (chunked, 413, "the review is longer than 1000 bytes\n"),
        (format!("GET {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), 405, "method not allowed\n"),
        (post("/", "application/json", &good), 404, "404 page not found\n"),
    ] {
        let (found, headers, body) = parse(&exchange(running.address(), &request).await);
        assert_eq!(found, status, "{request}: {body}");
        assert!(body.contains(expected), "{body} for {request}");
        let is_json = headers.contains(&("content-type".to_owned(), "application/json".to_owned()));
        assert_eq!(is_json, status == 200, "{headers:?}");
    }
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for expected in [
        format!("controller_runtime_webhook_requests_total{{code=\"200\",webhook=\"{PATH}\"}} 4\n"),
        format!("controller_runtime_webhook_requests_total{{code=\"400\",webhook=\"{PATH}\"}} 2\n"),
        format!("controller_runtime_webhook_requests_total{{code=\"413\",webhook=\"{PATH}\"}} 2\n"),
        format!("controller_runtime_webhook_requests_total{{code=\"500\",webhook=\"{PATH}\"}} 0\n"),
        format!("controller_runtime_webhook_latency_seconds_count{{webhook=\"{PATH}\"}} 10\n"),
        format!("controller_runtime_webhook_requests_in_flight{{webhook=\"{PATH}\"}} 0\n"),
    ] {
        assert!(page.contains(&expected), "{expected} in {page}");
    }
}

#[tokio::test]
async fn what_does_not_fit_and_what_takes_too_long_is_not_answered() {
    let (begun, has_begun) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel();
    let reviewer = OnDemand { begun, go_on: Mutex::new(gone_on) };
    let settings = Settings { timeout: Duration::from_millis(500), threads: 1, max_waiting: 1, ..Settings::default() };
    let (running, registry) = plain_webhook(reviewer, settings).await;
    let request = post(PATH, "application/json", &review(&json!({})));
    let asked = || {
        let (address, request) = (running.address(), request.clone());
        tokio::spawn(async move {
            let (status, _, body) = parse(&exchange(address, &request).await);
            (status, body)
        })
    };
    // One is worked on and, for all that is known, one or none waits; of two more, one at least does not fit.
    let first = asked();
    let waiting = tokio::task::spawn_blocking(move || {
        has_begun.recv().unwrap();
        has_begun
    });
    let has_begun = waiting.await.unwrap();
    let (second, third) = (asked(), asked());
    let mut texts = Vec::new();
    for answer in [first, second, third] {
        let (status, text) = answer.await.unwrap();
        assert_eq!(status, 503, "{text}");
        texts.push(text);
    }
    texts.sort();
    assert_eq!(
        texts,
        [
            "the review was not done within 500ms\n",
            "the review was not done within 500ms\n",
            "too many reviews are waiting\n",
        ]
    );
    // The one that waited is not worked on any more, as nobody waits for it: what begins next is the next one that fits.
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    loop {
        let (status, text) = asked().await.unwrap();
        if status == 200 {
            break;
        }
        assert_eq!((status, text.as_str()), (503, "too many reviews are waiting\n"));
    }
    assert_eq!(has_begun.try_iter().count(), 1);
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(page.contains(&format!("in_flight{{webhook=\"{PATH}\"}} 0\n")), "{page}");
}

#[tokio::test]
async fn bodies_together_are_bounded() {
    let settings = Settings { max_bytes_at_once: 600, ..Settings::default() };
    let (running, _) = plain_webhook(Hosts, settings).await;
    let address = running.address();
    let ask = |hosts: String| async move {
        let request = post(PATH, "application/json", &review(&json!({ "hosts": [hosts] })));
        parse(&exchange(address, &request).await)
    };
    for _ in 0..5 {
        assert_eq!(ask("a".repeat(100)).await.0, 200);
        let (status, _, text) = ask("a".repeat(1000)).await;
        assert_eq!((status, text.as_str()), (503, "too many reviews are being received\n"));
    }
}

fn write(directory: &Path, certificate: &Certificate) {
    std::fs::write(directory.join("tls.key"), &certificate.key).unwrap();
    std::fs::write(directory.join("tls.crt"), &certificate.certificate).unwrap();
}

/// A connection of a client who trusts these certificates.
async fn connect(running: &Running, trusted: &[&Certificate], alpn: &str) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from(certificate.der.clone())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(running.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn certificates_are_replaced_while_serving() {
    let directory = TempDir::new().unwrap();
    let (one, other) = (issue("one"), issue("other"));
    write(directory.path(), &one);
    let settings = TlsSettings {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        ..TlsSettings::default()
    };
    let tls = Tls::load(settings).unwrap();
    let mut reloads = tls.reloads();
    let metrics = WebhookMetrics::register(&Registry::new()).unwrap();
    let port = listener(Some(tls)).await;
    let running = serve(port, SUBJECT, Arc::new(Hosts), &metrics, Settings::default()).unwrap();
    let request = post(PATH, "application/json", &review(&json!({ "hosts": ["a.test"] })));

    let before = connect(&running, &[&one], "http/1.1").await;
    assert_eq!(certificate_of(&before), one.der);
    write(directory.path(), &other);
    reloads.wait_for(|reloads| *reloads >= 1).await.unwrap();
    let after = connect(&running, &[&other], "http/1.1").await;
    assert_eq!(certificate_of(&after), other.der);
    // The connection from before goes on.
    for stream in [before, after] {
        let (status, _, body) = parse(&exchange_over(stream, &request).await);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(r#""allowed":true"#), "{body}");
    }
    // Without TLS nothing is answered.
    assert!(!exchange_bytes(&running, &request).await.starts_with(b"HTTP/"));
    assert_eq!(running.shutdown(Duration::from_secs(10)).await, 0);
}

async fn exchange_bytes(running: &Running, request: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn reviews_over_http2() {
    let directory = TempDir::new().unwrap();
    let one = issue("one");
    write(directory.path(), &one);
    let settings = TlsSettings {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        ..TlsSettings::default()
    };
    let metrics = WebhookMetrics::register(&Registry::new()).unwrap();
    let port = listener(Some(Tls::load(settings).unwrap())).await;
    let running = serve(port, SUBJECT, Arc::new(Hosts), &metrics, Settings::default()).unwrap();

    let stream = connect(&running, &[&one], "h2").await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("https://localhost{PATH}?timeout=10s"))
        .header(CONTENT_TYPE, "application/json")
        .body(http_body_util::Full::<bytes::Bytes>::from(review(&json!({}))))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["response"]["uid"], json!("7"));
    assert_eq!(answer["response"]["status"]["message"], json!("spec.hosts: Required value"));
    drop(sender);
    connection.await.unwrap().unwrap();
}
