use futures_util::future::join_all;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::Identity;
use usher_engine::TraceContext;

use super::{
    test_server::{Reply, TestSpiceDb},
    *,
};
use crate::resources::http;

const SOON: Option<Duration> = Some(Duration::from_millis(100));

/// Connections to this machine, with little patience.
fn servers(authority: Option<&str>) -> Servers {
    let client = Client::new(http::Options { allow_loopback: true, ..http::Options::default() }).unwrap();
    let authority = authority.map(Certificate::from_pem);
    Servers::with(Shared { dialer: client.dialer(), authority, patience: Duration::from_millis(150) })
}

fn endpoint(spicedb: &TestSpiceDb, tls: bool) -> Endpoint {
    Endpoint { address: format!("localhost:{}", spicedb.address.port()).parse().unwrap(), tls }
}

async fn ask(server: &Server) -> Result<i32, Refusal> {
    server
        .check(CheckPermissionRequest::default(), None, None, &Onward::default())
        .await
        .map(|answer| answer.permissionship)
}

#[test]
fn addresses_are_host_and_port() {
    let cases = [
        ("spicedb.example:50051", Some(("spicedb.example", 50051))),
        ("SpiceDB.example", Some(("spicedb.example", 443))),
        ("10.0.0.1:1", Some(("10.0.0.1", 1))),
        ("[::1]:50051", Some(("::1", 50051))),
        ("[::1]", Some(("::1", 443))),
        ("", None),
        (":50051", None),
        ("h:", None),
        ("h:0", None),
        ("h:65536", None),
        ("h:http", None),
        ("h:1:2", None),
        ("user@h:1", None),
        ("http://h:1", None),
        ("dns:///h:1", None),
        ("h:1/path", None),
        ("h h:1", None),
    ];
    for (text, expected) in cases {
        let address = text.parse::<Address>();
        let read = address.as_ref().ok().map(|address| (address.bare_host(), address.port));
        assert_eq!(read, expected, "{text}");
        if let Err(error) = address {
            assert_eq!(error.to_string(), format!("`{text}` is not an address such as `spicedb.example:50051`"));
        }
    }
}

#[test]
fn keys_do_not_show_and_must_be_sendable() {
    assert_eq!(format!("{:?}", Key::new("hush").unwrap()), "Some((secret))");
    assert!(Key::new("").unwrap().is_none());
    for text in ["two\nlines", "end\n", "\u{7f}", "schlüssel"] {
        assert!(Key::new(text).is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn one_connection_serves_all_until_nobody_needs_it() {
    let spicedb = TestSpiceDb::start(Reply::yes());
    let servers = servers(None);
    let (first, second) = (servers.server(endpoint(&spicedb, false)), servers.server(endpoint(&spicedb, false)));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(spicedb.connections(), 0);
    let answers = join_all((0..50).map(|number| ask(if number % 2 == 0 { &first } else { &second }))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(2)), "{answers:?}");
    assert_eq!((spicedb.connections(), spicedb.questions().len()), (1, 50));

    let weak = Arc::downgrade(&first);
    drop((first, second));
    assert!(weak.upgrade().is_none());
    assert_eq!(ask(&servers.server(endpoint(&spicedb, false))).await, Ok(2));
    assert_eq!(spicedb.connections(), 2);
}

#[tokio::test]
async fn servers_that_nobody_uses_are_forgotten() {
    let servers = servers(None);
    for port in 1..=300 {
        let address = Address { host: "h".to_owned(), port };
        let _ = servers.server(Endpoint { address, tls: false });
    }
    assert!(servers.servers.len() <= 65);
}

#[tokio::test]
async fn a_broken_connection_is_made_anew() {
    let mut spicedb = TestSpiceDb::start(Reply::yes());
    let server = servers(None).server(endpoint(&spicedb, false));
    assert_eq!(ask(&server).await, Ok(2));
    spicedb.restart();
    let mut answers = Vec::new();
    while answers.last() != Some(&Ok(2)) && answers.len() < 20 {
        answers.push(ask(&server).await);
    }
    // The first may go to the old connection, if its end is not noticed yet.
    assert!(answers.len() <= 2, "{answers:?}");
    assert_eq!((answers.last(), spicedb.connections()), (Some(&Ok(2)), 2));
}

#[tokio::test]
async fn errors_are_told_apart() {
    use Refusal::{Error, Timeout, Unwelcome};
    type Kind = fn(String) -> Refusal;
    let spicedb = TestSpiceDb::start(Reply::yes());
    let server = servers(None).server(endpoint(&spicedb, false));
    let cases: [(Code, Kind); 7] = [
        (Code::Unauthenticated, Unwelcome),
        (Code::PermissionDenied, Unwelcome),
        (Code::DeadlineExceeded, Timeout),
        (Code::Unavailable, Error),
        (Code::FailedPrecondition, Error),
        (Code::InvalidArgument, Error),
        (Code::Internal, Error),
    ];
    for (code, expected) in cases {
        spicedb.set(Reply::Error(code));
        let detail = format!("localhost:{}: {code:?}: it says", spicedb.address.port());
        assert_eq!(ask(&server).await, Err(expected(detail)), "{code:?}");
    }
    assert_eq!(spicedb.connections(), 1);
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for_and_a_silent_connection_not_kept() {
    let spicedb = TestSpiceDb::start(Reply::Silence);
    let server = servers(None).server(endpoint(&spicedb, false));
    let onward = Onward::default();
    let question = || server.check(CheckPermissionRequest::default(), None, SOON, &onward);
    let refusal = question().await.unwrap_err();
    let detail = format!("localhost:{}: no answer within 100ms", spicedb.address.port());
    assert_eq!(refusal, Refusal::Timeout(detail));
    assert_eq!(Failure::from(refusal).reason(), "SpiceDB timed out");
    // Patience ends with this one, which is not asked to its end but dropped.
    assert!(tokio::time::timeout(Duration::from_millis(80), question()).await.is_err());
    assert_eq!(spicedb.connections(), 1);
    spicedb.set(Reply::yes());
    assert_eq!(question().await.map(|answer| answer.permissionship), Ok(2));
    assert_eq!(spicedb.connections(), 2);
    assert_eq!(question().await.map(|answer| answer.permissionship), Ok(2));
    assert_eq!(spicedb.connections(), 2);
}

#[tokio::test]
async fn answers_beyond_all_measure_are_refused() {
    let spicedb = TestSpiceDb::start(Reply::Permissionship(2, Some("t".repeat(20_000))));
    let server = servers(None).server(endpoint(&spicedb, false));
    assert!(matches!(ask(&server).await, Err(Refusal::Error(_))));
    let question = CheckPermissionRequest { permission: "p".repeat(70_000), ..CheckPermissionRequest::default() };
    assert!(matches!(server.check(question, None, None, &Onward::default()).await, Err(Refusal::Error(_))));
}

#[tokio::test]
async fn only_addresses_that_may_be_reached_are_called() {
    let spicedb = TestSpiceDb::start(Reply::yes());
    let strict = Servers::new(&Client::new(http::Options::default()).unwrap());
    let Err(Refusal::Error(detail)) = ask(&strict.server(endpoint(&spicedb, false))).await else {
        panic!("the server answers")
    };
    assert!(detail.contains("may not be reached: loopback"), "{detail}");
    assert_eq!(spicedb.connections(), 0);
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_answer() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let refusal = ask(&servers(None).server(Endpoint { address, tls: false })).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Error(detail) if detail.contains("Unavailable")), "{refusal}");
    assert_eq!(Failure::from(refusal).reason(), "SpiceDB failed");
}

/// An authority, as PEM, and a server's certificate for `localhost` that it signed.
fn certificates() -> (String, Identity) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (authority.pem(), Identity::from_pem(leaf.pem(), key.serialize_pem()))
}

#[tokio::test]
async fn a_question_belongs_to_the_trace_of_its_check() {
    let spicedb = TestSpiceDb::start(Reply::yes());
    let server = servers(None).server(endpoint(&spicedb, false));
    ask(&server).await.unwrap();
    assert_eq!(spicedb.traceparents(), [""; 0]);
    let mut request = usher_engine::Request::new(usher_engine::RequestParts::default());
    request.set_trace(TraceContext::new("00-1-2-01".to_owned(), String::new(), String::new()));
    let onward = Onward::of(&request).unwrap();
    server.check(CheckPermissionRequest::default(), None, None, &onward).await.unwrap();
    assert_eq!(spicedb.traceparents(), ["00-1-2-01"]);
}

#[tokio::test]
async fn with_tls_the_server_must_be_who_it_should_be() {
    let (authority, identity) = certificates();
    let spicedb = TestSpiceDb::start_with(Reply::yes(), Some(identity));
    let trusting = servers(Some(&authority));
    let server = trusting.server(endpoint(&spicedb, true));
    let key = Key::new("k").unwrap();
    let answer = server.check(CheckPermissionRequest::default(), key.as_ref(), None, &Onward::default()).await.unwrap();
    assert_eq!(answer.permissionship, 2);
    assert_eq!(spicedb.questions()[0].1.as_deref(), Some("Bearer k"));

    let (another, _) = certificates();
    let by_address = format!("127.0.0.1:{}", spicedb.address.port()).parse().unwrap();
    let refused = [
        servers(Some(&another)).server(endpoint(&spicedb, true)),
        servers(None).server(endpoint(&spicedb, true)),
        trusting.server(endpoint(&spicedb, false)),
        trusting.server(Endpoint { address: by_address, tls: true }),
    ];
    for server in refused {
        let answer = server.check(CheckPermissionRequest::default(), key.as_ref(), None, &Onward::default()).await;
        assert!(matches!(answer, Err(Refusal::Error(_))), "{server:?}: {answer:?}");
    }
    assert_eq!(spicedb.questions().len(), 1);
}
