use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use opentelemetry_sdk::trace::Sampler;
use usher_engine::{RequestParts, TraceContext, Verdict};

use super::*;
use crate::collector::{self, Collected, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const LONG: Duration = Duration::from_secs(20);

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn start(endpoint: &str, tags: &[&str]) -> Tracing {
    let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let endpoint = Endpoint::parse(endpoint).unwrap();
    Tracing::start(&Settings { endpoint, insecure: true, tags: &tags, version: "1.2.3" }).unwrap()
}

fn request(id: &str, headers: &[(&str, &str)]) -> usher_engine::Request {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    usher_engine::Request::new(RequestParts { id: id.to_owned(), headers, ..RequestParts::default() })
}

fn sent(context: &TraceContext) -> Vec<(String, String)> {
    context.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span `{name}` in {spans:?}"))
}

/// Answers one gRPC check, and gives what goes out with it.
fn answer_check(tracing: &Tracing, metadata: &HeaderMap, verdict: &Verdict) -> Vec<(String, String)> {
    let mut call = tracing.grpc_check(metadata);
    call.begin_check("Check");
    let mut request = request("4711", &[("x-request-id", "from-client"), ("traceparent", "00-1-2-3")]);
    call.set_request(&mut request);
    call.set_verdict(verdict);
    sent(request.trace())
}

async fn spans_of(tracing: &Tracing, collected: &Collected, count: usize) -> Vec<Span> {
    tracing.shutdown(LONG).await;
    let spans = collected.spans();
    assert_eq!(spans.len(), count, "{spans:?}");
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_two_spans_below_the_callers_and_what_it_asks_is_below_both() {
    let (address, collected) = collector::over_grpc().await;
    let tracing = start(&format!("rpc://u:p@{address}"), &["team=a=b", "no-value"]);
    let metadata = [("traceparent", &*traceparent("01")), ("tracestate", "congo=t61"), ("baggage", "k=v;p")];
    let out = answer_check(&tracing, &headers(&metadata), &Verdict::not_found());
    let spans = spans_of(&tracing, &collected, 2).await;

    let call = find(&spans, "envoy.service.auth.v3.Authorization/Check");
    assert_eq!((hex(&call.trace_id).as_str(), hex(&call.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!((call.kind(), call.trace_state.as_str()), (SpanKind::Server, "congo=t61"));
    for (name, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "envoy.service.auth.v3.Authorization"),
        ("rpc.method", "Check"),
        ("rpc.grpc.status_code", "0"),
    ] {
        assert_eq!(attribute(&call.attributes, name).as_deref(), Some(value), "{name}");
    }

    let check = find(&spans, "Check");
    assert_eq!((&check.trace_id, &check.parent_span_id), (&call.trace_id, &call.span_id));
    assert_eq!(check.kind(), SpanKind::Internal);
    for (name, value) in
        [("authorino.request_id", "4711"), ("guid:x-request-id", "from-client"), ("usher.verdict", "NOT_FOUND")]
    {
        assert_eq!(attribute(&check.attributes, name).as_deref(), Some(value), "{name}");
    }
    // No is an answer.
    assert!(spans.iter().all(|span| span.events.is_empty() && span.status.is_none_or_unset()), "{spans:?}");

    let expected = [
        ("traceparent".to_owned(), format!("00-{TRACE}-{}-01", hex(&check.span_id))),
        ("tracestate".to_owned(), "congo=t61".to_owned()),
        ("baggage".to_owned(), "k=v;p".to_owned()),
    ];
    assert_eq!(out, expected);

    let export = &collected.exports()[0];
    assert_eq!(export.authorization.as_deref(), Some("Basic dTpw"));
    let resource = export.request.resource_spans[0].resource.clone().unwrap();
    for (name, value) in [("service.name", "usher"), ("service.version", "1.2.3"), ("team", "a=b")] {
        assert_eq!(attribute(&resource.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(&resource.attributes, "no-value"), None);
}

trait IsUnset {
    fn is_none_or_unset(&self) -> bool;
}

impl IsUnset for Option<opentelemetry_proto::tonic::trace::v1::Status> {
    fn is_none_or_unset(&self) -> bool {
        self.as_ref().is_none_or(|status| status.code() == SpanStatus::Unset)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_collectors_get_the_same_at_their_path_and_are_asked_again() {
    let (address, collected) = collector::over_http(&[503]).await;
    let tracing = start(&format!("http://:hush@{address}/custom/path"), &["service.name=authorino"]);
    let request =
        Request::get("/check?secret=1").header("host", "a.test").header("user-agent", "curl").body(()).unwrap();
    let mut call = tracing.http("auth", &request);
    call.begin_check("ServeHTTP");
    call.set_error("bad request");
    call.set_status(StatusCode::BAD_REQUEST);
    drop(call);
    let spans = spans_of(&tracing, &collected, 2).await;
    let (outer, inner) = (find(&spans, "auth"), find(&spans, "ServeHTTP"));
    assert!(outer.parent_span_id.is_empty());
    assert_eq!((outer.kind(), &inner.parent_span_id), (SpanKind::Server, &outer.span_id));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/check"),
        ("network.protocol.version", "1.1"),
        ("server.address", "a.test"),
        ("user_agent.original", "curl"),
        ("http.response.status_code", "400"),
    ] {
        assert_eq!(attribute(&outer.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert!(outer.status.is_none_or_unset());
    assert_eq!(inner.status.as_ref().unwrap().message, "bad request");
    assert_eq!(inner.events[0].name, "exception");
    assert_eq!(attribute(&inner.events[0].attributes, "exception.message").as_deref(), Some("bad request"));
    let export = &collected.exports()[0];
    assert_eq!((export.target.as_str(), export.authorization.as_deref()), ("/custom/path", Some("Bearer hush")));
    let resource = export.request.resource_spans[0].resource.clone().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("authorino"));
    let scopes: Vec<_> =
        export.request.resource_spans[0].scope_spans.iter().map(|scope| scope.scope.clone().unwrap().name).collect();
    assert!(scopes.contains(&"AuthService".to_owned()), "{scopes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_sent_without_being_asked_for() {
    let (address, collected) = collector::over_http(&[]).await;
    let tracing = start(&format!("http://{address}"), &[]);
    answer_check(&tracing, &HeaderMap::new(), &Verdict::not_found());
    assert_eq!(collected.wait_for_spans(2).await.len(), 2);
    assert_eq!(collected.exports()[0].target, "/v1/traces");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_an_error_and_so_is_a_caller_who_goes() {
    let (address, collected) = collector::over_grpc().await;
    let tracing = start(&format!("rpc://{address}"), &[]);
    answer_check(&tracing, &HeaderMap::new(), &Verdict::invalid());
    answer_check(&tracing, &HeaderMap::new(), &Verdict::undecidable("late", ""));
    answer_check(&tracing, &HeaderMap::new(), &Verdict::undecidable("x", "connection refused"));
    let mut gone = tracing.grpc_check(&HeaderMap::new());
    gone.begin_check("Check");
    drop(gone);
    let mut broken = tracing.http("oidc", &Request::get("/").body(()).unwrap());
    broken.set_status(StatusCode::INTERNAL_SERVER_ERROR);
    drop(broken);
    let spans = spans_of(&tracing, &collected, 9).await;
    let mut messages: Vec<_> =
        spans.iter().filter(|span| span.name == "Check").map(|span| span.status.clone().unwrap().message).collect();
    messages.sort();
    assert_eq!(
        messages,
        ["Invalid request", "connection refused", "late", "the call ended before there was an answer"]
    );
    let codes = |code: &str| {
        spans.iter().filter(|span| attribute(&span.attributes, "rpc.grpc.status_code").as_deref() == Some(code)).count()
    };
    assert_eq!((codes("0"), codes("1")), (3, 1));
    assert_eq!(find(&spans, "oidc").status.as_ref().unwrap().code(), SpanStatus::Error);
}

#[test]
fn without_a_collector_what_came_in_goes_out() {
    let tracing = Tracing::default();
    assert_eq!(answer_check(&tracing, &HeaderMap::new(), &Verdict::not_found()), []);
    for flags in ["00", "01"] {
        let traceparent = traceparent(flags);
        let metadata = headers(&[("traceparent", &traceparent), ("tracestate", "a=b"), ("baggage", "c=d")]);
        let expected = [("traceparent", &*traceparent), ("tracestate", "a=b"), ("baggage", "c=d")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(answer_check(&tracing, &metadata, &Verdict::not_found()), expected);
    }
}

#[test]
fn samplers_decide_and_what_they_decide_is_passed_on() {
    let parent_based = |root| Sampler::ParentBased(Box::new(root));
    // The sampler, whether it follows callers, the caller's flags; what goes out: the caller's own span or another one,
    // the flags.
    for (sampler, follows_callers, incoming, is_unchanged, flags) in [
        (parent_based(Sampler::AlwaysOn), true, Some("00"), true, "00"),
        (parent_based(Sampler::AlwaysOn), true, Some("01"), false, "01"),
        (parent_based(Sampler::AlwaysOff), true, Some("01"), false, "01"),
        (parent_based(Sampler::AlwaysOff), true, None, false, "00"),
        (Sampler::AlwaysOn, false, Some("00"), false, "01"),
        (Sampler::AlwaysOff, false, Some("01"), false, "00"),
    ] {
        let description = format!("{sampler:?} {incoming:?}");
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let tracing = Tracing::with_provider(provider, follows_callers);
        let parent = incoming.map(traceparent);
        let mut metadata = headers(&[("baggage", "c=d")]);
        if let Some(parent) = &parent {
            metadata.insert("traceparent", HeaderValue::from_str(parent).unwrap());
        }
        let out = answer_check(&tracing, &metadata, &Verdict::not_found());
        assert_eq!(out.last().unwrap().1, "c=d", "{description}");
        let out = &out[0].1;
        assert_eq!(parent.as_ref() == Some(out), is_unchanged, "{description}: {out}");
        assert!(out.ends_with(&format!("-{flags}")), "{description}: {out}");
        assert_eq!(out.contains(TRACE), incoming.is_some(), "{description}: {out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_keeps_nobody_for_long() {
    // Nobody listens at a port that was just given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["rpc", "http"] {
        let tracing = start(&format!("{scheme}://{address}"), &[]);
        answer_check(&tracing, &HeaderMap::new(), &Verdict::not_found());
        let started = std::time::Instant::now();
        tracing.shutdown(Duration::from_millis(200)).await;
        assert!(started.elapsed() < LONG, "{scheme}");
        // Calls go on without spans.
        assert_eq!(answer_check(&tracing, &HeaderMap::new(), &Verdict::not_found()), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_told_to_nothing_is_sent_in_the_clear() {
    let (grpc, collected_over_grpc) = collector::over_grpc().await;
    let (http, collected_over_http) = collector::over_http(&[]).await;
    for (endpoint, collected) in
        [(format!("rpc://:hush@{grpc}"), collected_over_grpc), (format!("http://:hush@{http}"), collected_over_http)]
    {
        let endpoint = Endpoint::parse(&endpoint).unwrap();
        let tracing = Tracing::start(&Settings { endpoint, insecure: false, tags: &[], version: "1" }).unwrap();
        answer_check(&tracing, &HeaderMap::new(), &Verdict::not_found());
        tracing.shutdown(Duration::from_millis(500)).await;
        assert!(collected.exports().is_empty());
    }
}
