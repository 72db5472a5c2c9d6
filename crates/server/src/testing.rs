//! What the tests of several modules need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::http::HeaderMap;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_engine::plan::{Delivery, Extension, HeaderAction, IdentityRule, PlanKind, Priorities, ResponseItem, Rules};
use usher_engine::verdict::{Denial, DenialKind};
use usher_engine::{Context, Evaluation, Evaluator, Plan, Request, Step, Verdict};

use crate::{Call, Decide, Listener, ListenerSettings, Readiness, ReadinessCheck};

/// Decides as told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scripted {
    Allow,
    Deny,
    Undecidable,
    Panic,
    PanicLater,
    Never,
    BusyUntilLate,
}

impl Decide for Scripted {
    async fn decide(&self, _: Arc<Request>, call: Call<'_>) -> Verdict {
        match self {
            Self::Allow => allow().await,
            Self::Deny => Verdict::Deny(Denial::new(DenialKind::Unauthorized, "no")),
            Self::Undecidable => Verdict::undecidable("issuer unavailable", "detail"),
            Self::Panic => panic!("told to"),
            Self::PanicLater => {
                tokio::task::yield_now().await;
                panic!("told to")
            }
            Self::Never => std::future::pending().await,
            Self::BusyUntilLate => {
                while call.deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    std::thread::yield_now();
                }
                allow().await
            }
        }
    }
}

/// A request, the time that was left for it, and the headers of the call.
pub(crate) type Seen = (Arc<Request>, Option<Duration>, HeaderMap);

/// Decides by a function of the request, and remembers the requests.
pub(crate) struct Recording<F> {
    decide: F,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

impl<F: Fn(&Request) -> Scripted> Recording<F> {
    pub(crate) fn new(decide: F) -> Arc<Self> {
        Arc::new(Self { decide, seen: Mutex::default() })
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> Seen {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }
}

impl<F: Fn(&Request) -> Scripted + Send + Sync + 'static> Decide for Recording<F> {
    async fn decide(&self, request: Arc<Request>, call: Call<'_>) -> Verdict {
        let scripted = (self.decide)(&request);
        let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.seen.lock().unwrap().push((request, left, call.headers.clone()));
        scripted.decide(Arc::default(), call).await
    }
}

/// A verdict that allows, with the header `x-user: emilia` and the metadata `{"user": "emilia"}`. Only the engine can make one.
pub(crate) async fn allow() -> Verdict {
    let step = |name: &str| Step {
        name: name.into(),
        priority: 0,
        when: None,
        evaluator: Box::new(Emilia),
        cache: None,
        meters: None,
    };
    let identity = IdentityRule {
        step: step("anyone"),
        extension: Extension::default(),
        challenge: String::new(),
        remove_credential: None,
    };
    let header = Delivery::Header { name: "x-user".to_owned(), action: HeaderAction::Overwrite };
    let response = vec![
        ResponseItem { step: step("header"), delivery: header },
        ResponseItem { step: step("metadata"), delivery: Delivery::DynamicMetadata("user".to_owned()) },
    ];
    let rules = Rules {
        identity: Priorities::new(vec![identity], |rule| rule.step.order()),
        response: Priorities::new(response, |item| item.step.order()),
        ..Rules::default()
    };
    let metrics = usher_engine::observe::Metrics::register(&prometheus::Registry::new()).unwrap();
    let (namespace, name) = ("namespace".into(), "name".into());
    let meters = metrics.plan(&namespace, &name);
    let plan = Plan { namespace, name, kind: PlanKind::Rules(Box::new(rules)), meters };
    let verdict = usher_engine::check(&plan, &Request::default(), None, None).await;
    assert!(verdict.is_allowed());
    verdict
}

#[derive(Debug)]
struct Emilia;

impl Evaluator for Emilia {
    fn evaluate<'a>(&'a self, _: &'a Context<'a>) -> Evaluation<'a> {
        Evaluation::success(json!("emilia"))
    }
}

/// Ready as told.
pub(crate) struct Ready(pub(crate) Vec<ReadinessCheck>);

impl Readiness for Ready {
    fn checks(&self) -> Vec<ReadinessCheck> {
        self.0.clone()
    }
}

pub(crate) fn always_ready() -> Arc<dyn Readiness> {
    Arc::new(Ready(Vec::new()))
}

/// A listener on a port of its own.
pub(crate) async fn listener(tls: Option<crate::Tls>) -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::bind(ListenerSettings::new(address).with_tls(tls)).await.unwrap()
}

/// Certificate and key in PEM.
pub(crate) struct Certificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

/// A certificate for `localhost` that its own key signed; `name` is its common name.
pub(crate) fn issue(name: &str) -> Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = parameters.self_signed(&key).unwrap();
    Certificate { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

/// Sends text to an address and reads until the other side closes.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    exchange_over(TcpStream::connect(address).await.unwrap(), request).await
}

pub(crate) async fn exchange_over<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Status, headers by lower-case name, and body of an HTTP/1.1 answer.
pub(crate) fn parse(answer: &str) -> (u16, Vec<(String, String)>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not HTTP: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| line.split_once(':').unwrap());
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (status, headers.collect(), body.to_owned())
}
