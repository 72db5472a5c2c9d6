use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::rt::TokioIo;
use prometheus::{Registry, TextEncoder};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use usher_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as WireRequest};
use usher_proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
use usher_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use usher_proto::grpc::health::v1::health_client::HealthClient;
use usher_proto::grpc::health::v1::{HealthCheckRequest, HealthListRequest};

use super::*;
use crate::testing::{Ready, Recording, Scripted, always_ready, exchange, issue, listener, parse};
use crate::{ClientCertificates, ReadinessCheck, Tls, TlsSettings};

type Client = AuthorizationClient<Channel>;

struct Server {
    running: Running,
    registry: Registry,
}

impl Server {
    async fn start<D: Decide>(decide: Arc<D>, settings: Settings) -> Self {
        Self::with_tls(decide, settings, None).await
    }

    async fn with_tls<D: Decide>(decide: Arc<D>, settings: Settings, tls: Option<Tls>) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let running = serve(listener(tls).await, decide, always_ready(), metrics, settings);
        Self { running, registry }
    }

    async fn client(&self) -> Client {
        AuthorizationClient::connect(format!("http://{}", self.running.address())).await.unwrap()
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

fn check(host: &str) -> CheckRequest {
    let http =
        HttpRequest { host: host.to_owned(), method: "GET".to_owned(), id: "4711".to_owned(), ..Default::default() };
    let request = WireRequest { time: None, http: Some(http) };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..Default::default() }) }
}

/// `google.rpc.Code`, kind of answer, HTTP status, and headers.
type Summary = (i32, &'static str, i32, Vec<(String, String)>);

fn summary(response: CheckResponse) -> Summary {
    let code = response.status.unwrap().code;
    let (kind, status, headers) = match response.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => ("ok", 200, ok.headers),
        HttpResponse::DeniedResponse(denied) => ("denied", denied.status.unwrap().code, denied.headers),
        HttpResponse::ErrorResponse(denied) => ("error", denied.status.unwrap().code, denied.headers),
    };
    let headers = headers.into_iter().map(|header| header.header.map(|header| (header.key, header.value)).unwrap());
    (code, kind, status, headers.collect())
}

fn expected(code: i32, kind: &'static str, status: i32, header: (&str, &str)) -> Summary {
    (code, kind, status, vec![(header.0.to_owned(), header.1.to_owned())])
}

async fn ask(client: &mut Client, request: CheckRequest) -> Summary {
    summary(client.check(request).await.unwrap().into_inner())
}

#[tokio::test]
async fn verdicts_reach_the_gateway() {
    let reason = "x-ext-auth-reason";
    for (decide, answer) in [
        (Scripted::Allow, expected(0, "ok", 200, ("x-user", "emilia"))),
        (Scripted::Deny, expected(7, "denied", 403, (reason, "no"))),
        (Scripted::Undecidable, expected(14, "denied", 503, (reason, "issuer unavailable (4711)"))),
        (Scripted::Panic, expected(14, "denied", 503, (reason, "internal error (4711)"))),
        (Scripted::PanicLater, expected(14, "denied", 503, (reason, "internal error (4711)"))),
    ] {
        let server = Server::start(Arc::new(decide), Settings::default()).await;
        let mut client = server.client().await;
        assert_eq!(ask(&mut client, check("a")).await, answer, "{decide:?}");
        // The same connection still works.
        assert_eq!(ask(&mut client, check("a")).await, answer, "{decide:?}");
        let status = match answer.0 {
            0 => "OK",
            7 => "PERMISSION_DENIED",
            _ => "UNAVAILABLE",
        };
        let metrics = server.metrics();
        assert!(metrics.contains(&format!("auth_server_response_status{{status=\"{status}\"}} 2")), "{metrics}");
        assert!(metrics.contains(r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary"} 2"#), "{metrics}");
    }
}

#[tokio::test]
async fn failures_are_told_apart_on_request() {
    let settings = Settings { error_response: true, ..Settings::default() };
    for (decide, code, kind) in
        [(Scripted::Deny, 7, "denied"), (Scripted::Undecidable, 14, "error"), (Scripted::Panic, 14, "error")]
    {
        let server = Server::start(Arc::new(decide), settings.clone()).await;
        let (found, found_kind, ..) = ask(&mut server.client().await, check("a")).await;
        assert_eq!((found, found_kind), (code, kind));
    }
}

#[tokio::test]
async fn a_check_without_a_request_is_denied() {
    let decide = Recording::new(|_| Scripted::Allow);
    let server = Server::start(Arc::clone(&decide), Settings::default()).await;
    let answer = ask(&mut server.client().await, CheckRequest::default()).await;
    assert_eq!(answer, expected(3, "denied", 400, ("x-ext-auth-reason", "Invalid request")));
    assert_eq!(decide.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_the_gateway_says_reaches_the_decision() {
    let decide = Recording::new(|_| Scripted::Allow);
    let server = Server::start(Arc::clone(&decide), Settings::default()).await;
    let mut request = Request::new(check("Example.com:443"));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request.metadata_mut().insert("baggage", "k=v".parse().unwrap());
    request.metadata_mut().insert("grpc-timeout", "100S".parse().unwrap());
    server.client().await.check(request).await.unwrap();
    let (request, left, headers) = decide.only();
    assert_eq!((request.parts().host.as_str(), request.parts().id.as_str()), ("Example.com:443", "4711"));
    assert_eq!(headers["traceparent"], traceparent);
    let passed_on: Vec<_> = request.trace().headers().collect();
    assert_eq!(passed_on, [("traceparent", traceparent), ("baggage", "k=v")]);
    let left = left.unwrap();
    assert!(left <= Duration::from_millis(99_990) && left > Duration::from_secs(60), "{left:?}");
}

#[tokio::test]
async fn a_decision_that_never_comes_ends_at_our_own_limit() {
    let settings = Settings { timeout: Some(Duration::from_millis(20)), ..Settings::default() };
    let server = Server::start(Arc::new(Scripted::Never), settings).await;
    let answer = ask(&mut server.client().await, check("a")).await;
    assert_eq!(answer, expected(14, "denied", 503, ("x-ext-auth-reason", "")));
}

#[test]
fn the_smaller_limit_counts() {
    let service = |timeout| {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        ExtAuthz { decide: Arc::new(Scripted::Allow), metrics, settings: Settings { timeout, ..Settings::default() } }
    };
    let millis = Duration::from_millis;
    for (ours, header, expected) in [
        (None, None, None),
        (Some(millis(50)), None, Some(millis(50))),
        (None, Some("200m"), Some(millis(190))),
        (None, Some("100m"), Some(millis(95))),
        (Some(millis(50)), Some("200m"), Some(millis(50))),
        (Some(millis(500)), Some("200m"), Some(millis(190))),
        (Some(millis(500)), Some("soon"), Some(millis(500))),
    ] {
        let received = Instant::now();
        let headers =
            header.map(|value| (http::HeaderName::from_static("grpc-timeout"), http::HeaderValue::from_static(value)));
        let deadline = service(ours).deadline(received, &headers.into_iter().collect());
        assert_eq!(deadline.map(|deadline| deadline - received), expected, "{ours:?} {header:?}");
    }
}

#[test]
fn timeouts_of_callers() {
    for (text, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("3S", Some(Duration::from_secs(3))),
        ("200m", Some(Duration::from_millis(200))),
        ("7u", Some(Duration::from_micros(7))),
        ("00000008n", Some(Duration::from_nanos(8))),
        ("0m", Some(Duration::ZERO)),
        ("", None),
        ("m", None),
        ("1", None),
        ("1x", None),
        ("-1S", None),
        ("+1S", None),
        ("1.5S", None),
        ("100000000S", None),
    ] {
        assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text:?}");
    }
}

/// Lets checks in, tells so, and answers them when permitted.
struct Gate {
    entered: mpsc::UnboundedSender<()>,
    left: mpsc::UnboundedSender<()>,
    permits: Semaphore,
}

impl Gate {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>) {
        let ((entered, entering), (left, leaving)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        (Arc::new(Self { entered, left, permits: Semaphore::new(0) }), entering, leaving)
    }
}

impl Decide for Gate {
    async fn decide(&self, _: Arc<usher_engine::Request>, call: Call<'_>) -> Verdict {
        struct Leaving<'a>(&'a Gate);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                let _ = self.0.left.send(());
            }
        }
        let _leaving = Leaving(self);
        self.entered.send(()).unwrap();
        self.permits.acquire().await.unwrap().forget();
        Scripted::Allow.decide(Arc::default(), call).await
    }
}

#[tokio::test]
async fn a_thousand_checks_at_a_time_on_one_connection() {
    let (gate, mut entering, _leaving) = Gate::new();
    let server = Server::start(Arc::clone(&gate), Settings::default()).await;
    let client = server.client().await;
    let answers = tokio::spawn(join_all((0..1000).map(|_| {
        let mut client = client.clone();
        async move { ask(&mut client, check("a")).await.1 }
    })));
    // None is answered before all are in.
    for _ in 0..1000 {
        entering.recv().await.unwrap();
    }
    gate.permits.add_permits(1000);
    assert_eq!(answers.await.unwrap(), ["ok"; 1000]);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_decision() {
    let (gate, mut entering, mut leaving) = Gate::new();
    let server = Server::start(gate, Settings::default()).await;
    let mut client = server.client().await;
    let call = tokio::spawn(async move { client.check(check("a")).await });
    entering.recv().await.unwrap();
    call.abort();
    leaving.recv().await.unwrap();
}

#[tokio::test]
async fn draining_lets_checks_end() {
    let (gate, mut entering, _leaving) = Gate::new();
    let server = Server::start(Arc::clone(&gate), Settings::default()).await;
    let address = server.running.address();
    let mut client = server.client().await;
    let call = tokio::spawn(async move { ask(&mut client, check("a")).await.1 });
    entering.recv().await.unwrap();

    let shutdown = tokio::spawn(server.running.shutdown(Duration::from_secs(60)));
    // The port is free as soon as draining began.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    gate.permits.add_permits(1);
    assert_eq!(call.await.unwrap(), "ok");
    assert_eq!(shutdown.await.unwrap(), 0);
}

#[tokio::test]
async fn draining_ends_with_the_grace_period() {
    let (gate, mut entering, mut leaving) = Gate::new();
    let server = Server::start(gate, Settings::default()).await;
    let mut client = server.client().await;
    let call = tokio::spawn(async move { client.check(check("a")).await });
    entering.recv().await.unwrap();
    assert_eq!(server.running.shutdown(Duration::from_millis(1)).await, 1);
    leaving.recv().await.unwrap();
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_without_http2_is_told() {
    let server = Server::start(Arc::new(Scripted::Allow), Settings::default()).await;
    for request in
        ["POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\nhost: a\r\n\r\n", "G", "PRI * HTTP/1.1\r\n\r\n"]
    {
        let (status, headers, body) = parse(&exchange(server.running.address(), request).await);
        assert_eq!(status, 505, "{request:?}");
        assert!(body.starts_with("this port speaks gRPC over HTTP/2, not HTTP/1.1; mark it as HTTP/2"), "{body}");
        for word in ["kubernetes.io/h2c (kgateway)", "grpc (Istio)", "http2_protocol_options (Envoy)"] {
            assert!(body.contains(word), "{body}");
        }
        assert!(headers.contains(&("connection".to_owned(), "close".to_owned())));
    }
    // One that speaks TLS could not read an answer.
    assert_eq!(exchange(server.running.address(), "\x16\x03\x01\x02\x00\x01\x00").await, "");
    // A probe that only connects.
    drop(TcpStream::connect(server.running.address()).await.unwrap());
    assert_eq!(ask(&mut server.client().await, check("a")).await.1, "ok");
}

#[tokio::test]
async fn a_check_that_is_too_long_is_denied() {
    let server = Server::start(Arc::new(Scripted::Allow), Settings::default()).await;
    let mut large = check("a");
    let http = large.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.raw_body = vec![0; MAX_MESSAGE_BYTES].into();
    let answer = ask(&mut server.client().await, large).await;
    assert_eq!(answer, expected(3, "denied", 400, ("x-ext-auth-reason", "Invalid request")));

    let mut fits = check("a");
    let http = fits.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.raw_body = vec![0; MAX_MESSAGE_BYTES - 1024].into();
    assert_eq!(ask(&mut server.client().await, fits).await.1, "ok");
}

/// Sends the frames of a body, one by one, and gives what comes back: `grpc-status`, and the length of the answer.
async fn framed(server: &Server, headers: &[(&str, &str)], frames: Vec<Vec<u8>>, ends: bool) -> (String, usize) {
    let stream = TcpStream::connect(server.running.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let frames = frames.into_iter().map(|frame| Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from(frame))));
    let frames = futures_util::stream::iter(frames);
    let more =
        futures_util::stream::poll_fn(
            move |_| {
                if ends { std::task::Poll::Ready(None) } else { std::task::Poll::Pending }
            },
        );
    let body: UnsyncBoxBody<Bytes, Infallible> = http_body_util::BodyExt::boxed_unsync(
        http_body_util::StreamBody::new(futures_util::StreamExt::chain(frames, more)),
    );
    let mut call = http::Request::post("http://usher/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let answer = sender.send_request(call.body(body).unwrap()).await.unwrap();
    let status =
        |headers: &http::HeaderMap| headers.get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    if let Some(status) = status(answer.headers()) {
        return (status, 0);
    }
    assert!(answer.headers().get("date").is_none() && answer.headers().get("content-length").is_none());
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let collected = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    let status = status(collected.trailers().unwrap()).unwrap();
    (status, collected.to_bytes().len())
}

#[tokio::test]
async fn a_message_may_come_in_pieces_and_only_whole_ones_are_answered() {
    let server = Server::start(Arc::new(Scripted::Allow), Settings::default()).await;
    let message = prost::Message::encode_to_vec(&check("a"));
    let whole = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let garbage = [&[0, 0, 0, 0, 2][..], &[0xff, 0xff]].concat();
    let pieces = |size: usize| whole.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (ok, allowed) = framed(&server, &[], vec![whole.clone()], true).await;
    assert_eq!(ok, "0");
    for frames in [pieces(1), pieces(3), pieces(5), [pieces(7), vec![Vec::new()]].concat()] {
        assert_eq!(framed(&server, &[], frames, true).await, ("0".to_owned(), allowed));
    }
    // What is no message of this kind is denied, not failed.
    let (status, denied) = framed(&server, &[], vec![garbage], true).await;
    assert_eq!(status, "0");
    assert_ne!(denied, allowed);
    let mut compressed = whole.clone();
    compressed[0] = 1;
    for (headers, frames, code) in [
        (&[][..], vec![], Code::Internal),
        (&[], vec![whole[..4].to_vec()], Code::Internal),
        (&[], vec![whole[..whole.len() - 1].to_vec()], Code::Internal),
        (&[], vec![[&*whole, &*whole].concat()], Code::Internal),
        (&[], vec![whole.clone(), whole.clone()], Code::Internal),
        (&[], vec![compressed.clone()], Code::Internal),
        (&[("grpc-encoding", "gzip")], vec![compressed], Code::Unimplemented),
    ] {
        let (status, length) = framed(&server, headers, frames, true).await;
        assert_eq!((status, length), ((code as i32).to_string(), 0));
    }
    assert_eq!(framed(&server, &[("grpc-encoding", "identity")], vec![whole], true).await.0, "0");
}

#[tokio::test]
async fn a_message_that_does_not_come_ends_with_the_deadline() {
    let server = Server::start(Arc::new(Scripted::Allow), Settings::default()).await;
    let timeout = &[("grpc-timeout", "30m")];
    for frames in [vec![], vec![vec![0, 0, 0]], vec![vec![0, 0, 0, 0, 9, 1]]] {
        let (status, _) = framed(&server, timeout, frames, false).await;
        assert_eq!(status, (Code::DeadlineExceeded as i32).to_string());
    }
}

#[tokio::test]
async fn what_is_not_a_check_is_a_grpc_error() {
    let server = Server::start(Arc::new(Scripted::Allow), Settings::default()).await;
    let channel =
        Endpoint::from_shared(format!("http://{}", server.running.address())).unwrap().connect().await.unwrap();
    let mut other = tonic::client::Grpc::new(channel);
    other.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v2.Authorization/Check");
    let status = other.unary(Request::new(check("a")), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_follows_readiness() {
    for (result, expected) in [(Ok(()), 1), (Err("loading".to_owned()), 2)] {
        let readiness = Ready(vec![ReadinessCheck { name: "load", by_default: true, result, note: None }]);
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let running =
            serve(listener(None).await, Arc::new(Scripted::Allow), Arc::new(readiness), metrics, Settings::default());
        let mut client = HealthClient::connect(format!("http://{}", running.address())).await.unwrap();
        for service in ["", "envoy.service.auth.v3.Authorization", "anything"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            assert_eq!(client.check(request).await.unwrap().into_inner().status, expected);
        }
        let statuses = client.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
        assert_eq!((statuses.len(), statuses[""].status), (1, expected));
        assert_eq!(client.watch(HealthCheckRequest::default()).await.unwrap_err().code(), Code::Unimplemented);
    }
}

/// Trusts some certificates, shows one if given, and asks for a protocol.
fn connector(trusted: &[&[u8]], shown: Option<&crate::testing::Certificate>, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for der in trusted {
        roots.add(CertificateDer::from(der.to_vec())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            use rustls::pki_types::pem::PemObject;
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![CertificateDer::from(shown.der.clone())], key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    address: SocketAddr,
    connector: &TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, TcpStream::connect(address).await.unwrap()).await
}

async fn tls_client(address: SocketAddr, connector: TlsConnector) -> Result<Client, tonic::transport::Error> {
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move { connect(address, &connector).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connect).await.map(AuthorizationClient::new)
}

#[tokio::test]
async fn tls_and_certificates_that_change() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    let install = |issued: &crate::testing::Certificate| {
        std::fs::write(&certificate, &issued.certificate).unwrap();
        std::fs::write(&key, &issued.key).unwrap();
    };
    let (one, two) = (issue("one"), issue("two"));
    install(&one);
    let settings = TlsSettings { certificate: certificate.clone(), key: key.clone(), ..TlsSettings::default() };
    let tls = Tls::load(settings).unwrap();
    let mut reloads = tls.reloads();
    let server = Server::with_tls(Arc::new(Scripted::Allow), Settings::default(), Some(tls)).await;
    let address = server.running.address();
    let mut client = tls_client(address, connector(&[&one.der], None, b"h2")).await.unwrap();
    assert_eq!(ask(&mut client, check("a")).await.1, "ok");

    // A gateway that is configured for HTTP/1.1 with TLS is told, too.
    let stream = connect(address, &connector(&[&one.der], None, b"http/1.1")).await.unwrap();
    let answer = crate::testing::exchange_over(stream, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(parse(&answer).0, 505);

    install(&two);
    reloads.wait_for(|reloads| *reloads > 0).await.unwrap();
    let both = connector(&[&one.der, &two.der], None, b"h2");
    let stream = connect(address, &both).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert!(shown == two.der);
    // What was connected before stays connected.
    assert_eq!(ask(&mut client, check("a")).await.1, "ok");
}

#[tokio::test]
async fn gateways_can_be_asked_for_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (own, gateway, stranger) = (issue("own"), issue("gateway"), issue("stranger"));
    std::fs::write(path("tls.crt"), &own.certificate).unwrap();
    std::fs::write(path("tls.key"), &own.key).unwrap();
    std::fs::write(path("ca.crt"), &gateway.certificate).unwrap();
    let settings = TlsSettings {
        certificate: path("tls.crt"),
        key: path("tls.key"),
        client_certificates: ClientCertificates::Required { authorities: path("ca.crt") },
        ..TlsSettings::default()
    };
    let tls = Tls::load(settings).unwrap();
    let decided = Recording::new(|_| Scripted::Allow);
    let server = Server::with_tls(Arc::clone(&decided), Settings::default(), Some(tls)).await;
    for (shown, is_served) in [(Some(&gateway), true), (Some(&stranger), false), (None, false)] {
        let connector = connector(&[&own.der], shown, b"h2");
        let served = match tls_client(server.running.address(), connector).await {
            Ok(mut client) => client.check(check("a")).await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(served, is_served);
    }
    assert_eq!(decided.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn any_service_can_be_served() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let service = tower::service_fn(|_: http::Request<hyper::body::Incoming>| async {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(tonic::Status::not_found("empty").into_http::<tonic::body::Body>())
    });
    let running = listener(None).await.serve_http2(service, Http2Settings::default());
    let mut client = AuthorizationClient::connect(format!("http://{}", running.address())).await.unwrap();
    assert_eq!(client.check(check("a")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_service_that_panics_costs_one_request_and_not_the_connection() {
    let service = tower::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("panic"), "told to");
        Ok::<_, Infallible>(tonic::Status::not_found("fine").into_http::<tonic::body::Body>())
    });
    let running = listener(None).await.serve_http2(service, Http2Settings::default());
    let mut client = AuthorizationClient::connect(format!("http://{}", running.address())).await.unwrap();
    let mut request = Request::new(check("a"));
    request.metadata_mut().insert("panic", "1".parse().unwrap());
    assert_ne!(client.check(request).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.check(check("a")).await.unwrap_err().message(), "fine");
}
