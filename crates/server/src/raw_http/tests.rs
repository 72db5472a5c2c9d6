use prometheus::{Registry, TextEncoder};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use usher_engine::verdict::{Denial, DenialKind};

use super::*;
use crate::testing::{self, Recording, Scripted, exchange, exchange_over, issue, listener, parse};
use crate::{ClientCertificates, Tls, TlsSettings};

async fn start<D: Decide>(decide: Arc<D>, settings: Settings) -> (Running, Registry) {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    (serve(listener(None).await, decide, metrics, settings), registry)
}

async fn send(running: &Running, request: &str) -> (u16, Vec<(String, String)>, String) {
    parse(&exchange(running.address(), request).await)
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{headers}\r\n")
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /check HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn verdicts() {
    for (decide, status, header) in [
        (Scripted::Allow, 200, ("x-user", "emilia")),
        (Scripted::Deny, 403, ("x-ext-auth-reason", "no")),
        (Scripted::Undecidable, 503, ("x-ext-auth-reason", "issuer unavailable (4711)")),
        (Scripted::Panic, 503, ("x-ext-auth-reason", "internal error (4711)")),
        (Scripted::Never, 503, ("x-ext-auth-reason", "")),
    ] {
        let settings = Settings { timeout: Some(Duration::from_millis(500)), ..Settings::default() };
        let (running, registry) = start(Arc::new(decide), settings).await;
        let (found, headers, body) = send(&running, &get("/check", "x-request-id: 4711\r\n")).await;
        assert_eq!((found, body.as_str(), values(&headers, header.0)), (status, "", vec![header.1]), "{decide:?}");
        assert!(values(&headers, "content-type").is_empty(), "{headers:?}");
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let name = match status {
            200 => "OK",
            403 => "Forbidden",
            _ => "ServiceUnavailable",
        };
        assert!(text.contains(&format!("http_server_handled_total{{status=\"{name}\"}} 1")), "{text}");
        assert!(text.contains("http_server_handling_seconds_count 1"), "{text}");
        assert!(text.contains("auth_server_response_status{"), "{text}");
    }
}

#[tokio::test]
async fn paths_and_methods() {
    let (running, _) = start(Arc::new(Scripted::Allow), Settings::default()).await;
    for (method, target, status) in [
        ("GET", "/check", 200),
        ("POST", "/check", 200),
        ("GET", "/check?a=b", 200),
        ("HEAD", "/check", 404),
        ("PUT", "/check", 404),
        ("OPTIONS", "/check", 404),
        ("GET", "/check/", 404),
        ("GET", "/check/a", 404),
        ("GET", "/", 404),
        ("GET", "/debug/pprof/", 404),
        ("GET", "/CHECK", 404),
        ("GET", "/%63heck", 404),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert_eq!(send(&running, &request).await.0, status, "{method} {target}");
    }
}

#[tokio::test]
async fn the_request_is_what_is_decided_about() {
    let decide = Recording::new(|_| Scripted::Allow);
    let (running, _) = start(Arc::clone(&decide), Settings::default()).await;
    let request = "POST /check?b=2&api_key=x%20y&a=1 HTTP/1.1\r\nHost: A.test:5001\r\nConnection: close\r\nX-Multi: one\r\n\
                   x-multi: two\r\nCookie: a=1\r\ncookie: b=2\r\nx-request-id: 42\r\ncontent-length: 4\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\nbody";
    assert_eq!(send(&running, request).await.0, 200);
    let (request, left, headers) = decide.only();
    let parts = request.parts();
    assert_eq!((parts.host.as_str(), parts.method.as_str(), parts.id.as_str()), ("A.test:5001", "POST", "42"));
    assert_eq!((parts.path.as_str(), request.url_path()), ("/check?b=2&api_key=x%20y&a=1", "/check"));
    assert_eq!((request.query(), parts.query.as_str()), ("b=2&api_key=x%20y&a=1", "a=1&api_key=x+y&b=2"));
    assert_eq!((parts.protocol.as_str(), parts.scheme.as_str(), parts.body.as_str()), ("HTTP/1.1", "", "body"));
    assert_eq!((request.header("x-multi"), request.header("cookie")), (Some("one, two"), Some("a=1; b=2")));
    assert_eq!((request.header("host"), parts.source.certificate.as_str(), left), (None, "", None));
    assert_eq!(headers["x-request-id"], "42");
    let passed_on: Vec<_> = request.trace().headers().collect();
    assert_eq!(passed_on, [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]);
}

#[tokio::test]
async fn one_host() {
    let decide = Recording::new(|_| Scripted::Allow);
    let (running, _) = start(Arc::clone(&decide), Settings::default()).await;
    let two = "GET /check HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n";
    assert_eq!(send(&running, two).await.0, 400);
    assert_eq!(decide.seen.lock().unwrap().len(), 0);
    let absolute = "GET http://b.test:80/check HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(send(&running, absolute).await.0, 200);
    assert_eq!(decide.only().0.parts().host, "b.test:80");
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let decide = Recording::new(|_| Scripted::Allow);
    let (running, registry) = start(Arc::clone(&decide), Settings::default()).await;
    assert_eq!(send(&running, &post(&"x".repeat(8192))).await.0, 200);
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        format!(
            "POST /check HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    for request in [post(&"x".repeat(8193)), chunked(8193)] {
        let (status, headers, body) = send(&running, &request).await;
        assert_eq!((status, body.as_str(), values(&headers, "connection")), (413, "", vec!["close"]));
    }
    // Announced and never sent: refused without waiting for it.
    let announced = "POST /check HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(send(&running, announced).await.0, 413);
    let broken = "POST /check HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(send(&running, broken).await.0, 400);
    assert_eq!(decide.seen.lock().unwrap().len(), 1);
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"http_server_handled_total{status="PayloadTooLarge"} 3"#), "{text}");
    assert!(text.contains("http_server_handling_seconds_count 1"), "{text}");
}

#[tokio::test]
async fn admission_reviews() {
    let review = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7"}}"#;
    for (decide, expected) in [
        (Scripted::Allow, r#"{"uid":"7","allowed":true}"#.to_owned()),
        (
            Scripted::Deny,
            r#"{"uid":"7","allowed":false,"status":{"metadata":{},"message":"no","code":403}}"#.to_owned(),
        ),
    ] {
        let (running, _) = start(Arc::new(decide), Settings::default()).await;
        let (status, headers, body) = send(&running, &post(review)).await;
        assert_eq!((status, values(&headers, "content-type")), (200, vec!["application/json"]));
        assert_eq!(
            body,
            format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{expected}}}"#)
        );
        let beta = review.replace("/v1", "/v1beta1");
        assert_eq!(send(&running, &post(&beta)).await.0, if decide == Scripted::Allow { 200 } else { 403 });
    }
}

/// A gateway takes any 200 for an allow.
#[tokio::test]
async fn clients_of_gateways_cannot_ask_for_reviews() {
    let review = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7"}}"#;
    let (running, _) = start(Arc::new(Scripted::Deny), Settings::default()).await;
    let asked = post(review);
    assert_eq!(send(&running, &asked).await.0, 200);
    for header in ["X-Forwarded-For: 10.0.0.1", "x-envoy-internal: true", "X-Original-URI: /", "Via: 1.1 gateway"] {
        let through = asked.replacen("\r\n", &format!("\r\n{header}\r\n"), 1);
        assert_eq!(send(&running, &through).await.0, 403, "{header}");
    }
    assert_eq!(send(&running, &asked.replacen("POST", "GET", 1)).await.0, 403);
}

struct Denying(Denial);

impl Decide for Denying {
    async fn decide(&self, _: Arc<usher_engine::Request>, _: Call<'_>) -> Verdict {
        Verdict::Deny(self.0.clone())
    }
}

#[tokio::test]
async fn a_denial_is_answered_as_configured() {
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let denial = Denial {
        status: Some(302),
        headers: pairs(&[
            ("location", "https://l/"),
            ("www-authenticate", "Bearer a"),
            ("www-authenticate", "APIKEY b"),
        ]),
        body: " <!DOCTYPE html><p>no</p>".to_owned(),
        ..Denial::new(DenialKind::Unauthenticated, "credential not found")
    };
    let plain = Denial { body: "no".to_owned(), ..denial.clone() };
    let typed =
        Denial { headers: pairs(&[("content-type", "application/json")]), body: "{}".to_owned(), ..denial.clone() };
    for (denial, content_type) in
        [(denial, "text/html; charset=utf-8"), (plain, "text/plain; charset=utf-8"), (typed, "application/json")]
    {
        let (running, _) = start(Arc::new(Denying(denial.clone())), Settings::default()).await;
        let (status, headers, body) = send(&running, &get("/check", "")).await;
        assert_eq!((status, body), (302, denial.body));
        for (name, _) in &denial.headers {
            let expected: Vec<_> =
                denial.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
            assert_eq!(values(&headers, name), expected, "{headers:?}");
        }
        assert_eq!(values(&headers, "content-type"), [content_type]);
        assert_eq!(values(&headers, "x-ext-auth-reason"), ["credential not found"]);
    }
}

#[tokio::test]
async fn no_denial_looks_like_an_allow() {
    for asked in [0, 100, 200, 204, 600, 1000] {
        let denial = Denial { status: Some(asked), ..Denial::new(DenialKind::Unauthorized, "") };
        let (running, _) = start(Arc::new(Denying(denial)), Settings::default()).await;
        assert_eq!(send(&running, &get("/check", "")).await.0, 403, "{asked}");
    }
}

#[test]
fn an_allow_carries_the_headers_that_http_can_carry() {
    use usher_engine::{plan::HeaderAction, verdict::ResponseHeader};
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let header =
        |name: &str, value: &str, action| ResponseHeader { name: name.to_owned(), value: value.to_owned(), action };
    let additions = Additions {
        headers: vec![pair("x-user", "emilia")],
        remove_headers: vec!["x-key".to_owned()],
        response_headers: vec![
            header("set-cookie", "a=1", HeaderAction::Append),
            header("set-cookie", "b=2", HeaderAction::Append),
            header("x-user", "for the client", HeaderAction::Overwrite),
            header("x-limit", "7", HeaderAction::AddIfAbsent),
        ],
        query_parameters: vec![pair("a", "1")],
        remove_query_parameters: vec!["b".to_owned()],
        dynamic_metadata: serde_json::Map::from_iter([("a".to_owned(), 1.into())]),
    };
    let response = response(Answer::Allowed(additions), "");
    assert_eq!(response.status(), StatusCode::OK);
    let headers: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = [("x-user", "emilia"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-limit", "7")];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn connections_are_kept_and_closed_when_draining() {
    let (running, _) = start(Arc::new(Scripted::Allow), Settings::default()).await;
    let kept = "GET /check HTTP/1.1\r\nhost: a\r\n\r\n".to_owned() + &get("/check", "");
    assert_eq!(exchange(running.address(), &kept).await.matches("HTTP/1.1 200 OK").count(), 2);

    // A connection that is idle does not hold up the end.
    let mut idle = TcpStream::connect(running.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut idle, b"GET /check HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut idle, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    assert_eq!(running.shutdown(Duration::from_secs(60)).await, 0);
}

#[tokio::test]
async fn client_certificates_are_passed_on_and_http2_is_spoken() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (own, client) = (issue("own"), issue("client"));
    std::fs::write(path("tls.crt"), &own.certificate).unwrap();
    std::fs::write(path("tls.key"), &own.key).unwrap();
    let tls = Tls::load(TlsSettings {
        certificate: path("tls.crt"),
        key: path("tls.key"),
        client_certificates: ClientCertificates::AskedNotVerified,
        ..TlsSettings::default()
    });
    let decide = Recording::new(|_| Scripted::Allow);
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let running = serve(listener(Some(tls.unwrap())).await, Arc::clone(&decide), metrics, Settings::default());

    for (shown, protocol) in [(Some(&client), "http/1.1"), (None, "http/1.1"), (Some(&client), "h2")] {
        let stream = connect(running.address(), &own, shown, protocol).await;
        let version = match protocol {
            "h2" => {
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
                tokio::spawn(connection);
                let request = Request::get("https://a.test/check").body(Full::<Bytes>::default()).unwrap();
                assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
                "HTTP/2.0"
            }
            _ => {
                assert_eq!(parse(&exchange_over(stream, &get("/check", "")).await).0, 200);
                "HTTP/1.1"
            }
        };
        let (request, ..) = decide.only();
        assert_eq!((request.parts().protocol.as_str(), request.parts().host.as_str()), (version, "a.test"));
        let encoded = &request.parts().source.certificate;
        let Some(shown) = shown else {
            assert_eq!(encoded, "");
            continue;
        };
        assert!(encoded.starts_with("-----BEGIN+CERTIFICATE-----%0A"), "{encoded}");
        let (pem, _) = form_urlencoded::parse(encoded.as_bytes()).next().unwrap();
        assert_eq!(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec(), shown.der);
    }
}

async fn connect(
    address: std::net::SocketAddr,
    trusted: &testing::Certificate,
    shown: Option<&testing::Certificate>,
    protocol: &str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.der.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![CertificateDer::from(shown.der.clone())], key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(address).await.unwrap();
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}
