//! Whose trace a check belongs to: what is recorded of it, and what those learn who are asked about it.

use std::{
    io::{BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
};

use crate::support::{collector::Collector, http, upstream::Upstream, usher::Usher, wait::until};

const HOST: &str = "traced.test";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Asks `upstream`, which tells what it got, shows that to the client, and tells `receiver`.
fn config(upstream: &Upstream, receiver: &TcpListener) -> String {
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: traced}}
spec:
  hosts: [{HOST}]
  authentication: {{anyone: {{anonymous: {{}}}}}}
  metadata:
    echo: {{http: {{url: "http://127.0.0.1:{}/"}}}}
  authorization:
    no-secrets: {{patternMatching: {{patterns: [{{predicate: '!("x-secret" in request.headers)'}}]}}}}
  response:
    success:
      headers:
        x-traceparent: {{plain: {{selector: auth.metadata.echo.headers.traceparent}}}}
        x-tracestate: {{plain: {{selector: auth.metadata.echo.headers.tracestate}}}}
        x-baggage: {{plain: {{selector: auth.metadata.echo.headers.baggage}}}}
  callbacks:
    told: {{http: {{url: "http://{}/", method: POST}}}}
"#,
        upstream.port(),
        receiver.local_addr().unwrap()
    )
}

fn receiver() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// The `traceparent` of the next callback, which is answered.
fn next_callback(receiver: &TcpListener) -> Option<String> {
    receiver.set_nonblocking(true).unwrap();
    let (mut stream, _) = until("a callback", || receiver.accept().map_err(|error| error.to_string()));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(http::TIMEOUT)).unwrap();
    let (_, headers, _) = http::read_message(&mut BufReader::new(&mut stream), false).unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    headers.into_iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value)
}

#[test]
fn spans_are_below_the_callers_and_above_what_is_asked_and_none_is_lost_at_the_end() {
    let (upstream, receiver, collector) = (Upstream::start(), receiver(), Collector::start());
    let endpoint = format!("http://127.0.0.1:{}", collector.port());
    let flags = ["--tracing-service-endpoint", &endpoint, "--tracing-service-insecure"];
    let mut usher = Usher::start_with(&config(&upstream, &receiver), &flags);

    let caller = format!("00-{TRACE}-{CALLER}-01");
    let headers =
        [("traceparent", &*caller), ("tracestate", "congo=t61"), ("baggage", "k=v"), ("x-request-id", "4711")];
    let answer = usher.check(HOST, &headers).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = next_callback(&receiver).unwrap();
    assert_eq!(usher.check(HOST, &[("x-secret", "1")]).unwrap().status, 403);
    let root_told = next_callback(&receiver).unwrap();
    assert!(usher.terminate().success());

    // They were all sent before the process ended.
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:?}");
    assert!(spans.iter().all(|span| span.service == "usher"), "{spans:?}");
    let find = |name: &str, in_trace: bool| {
        let found = spans.iter().find(|span| span.name == name && (span.trace == TRACE) == in_trace);
        found.unwrap_or_else(|| panic!("no `{name}` in {spans:?}"))
    };
    let (server, check) = (find("auth", true), find("ServeHTTP", true));
    assert_eq!((&*server.parent, &check.parent), (CALLER, &server.id));
    assert_eq!(check.attribute("authorino.request_id").as_deref(), Some("4711"));
    assert_eq!(check.attribute("guid:x-request-id").as_deref(), Some("4711"));
    assert_eq!(check.attribute("usher.verdict").as_deref(), Some("OK"));
    assert_eq!(server.attribute("http.response.status_code").as_deref(), Some("200"));
    let within = format!("00-{TRACE}-{}-01", check.id);
    assert_eq!((answer.header("x-traceparent"), &told), (Some(&*within), &within));
    assert_eq!((answer.header("x-tracestate"), answer.header("x-baggage")), (Some("congo=t61"), Some("k=v")));

    let (server, check) = (find("auth", false), find("ServeHTTP", false));
    assert_eq!((&*server.parent, &check.parent), ("", &server.id));
    assert_eq!(root_told, format!("00-{}-{}-01", check.trace, check.id));
    assert_eq!(check.attribute("usher.verdict").as_deref(), Some("PERMISSION_DENIED"));
}

#[test]
fn without_a_collector_what_came_in_goes_out() {
    let (upstream, receiver) = (Upstream::start(), receiver());
    let usher = Usher::start(&config(&upstream, &receiver));
    let caller = format!("00-{TRACE}-{CALLER}-00");
    let answer = usher.check(HOST, &[("traceparent", &caller), ("baggage", "k=v")]).unwrap();
    assert_eq!((answer.header("x-traceparent"), answer.header("x-baggage")), (Some(&*caller), Some("k=v")));
    assert_eq!(next_callback(&receiver), Some(caller));

    for headers in [&[][..], &[("traceparent", "00-1-2-01"), ("baggage", "k=v")]] {
        let answer = usher.check(HOST, headers).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("x-traceparent").is_none_or(str::is_empty), "{answer:?}");
        assert!(answer.header("x-baggage").is_none_or(str::is_empty), "{answer:?}");
        assert_eq!(next_callback(&receiver), None);
    }
}

#[test]
fn an_endpoint_that_cannot_be_used_is_told_and_checks_go_on() {
    let (upstream, receiver) = (Upstream::start(), receiver());
    let flags = ["--tracing-service-endpoint=https://user:hush@127.0.0.1:1", "--tracing-service-tags=a=b"];
    let usher = Usher::start_with(&config(&upstream, &receiver), &flags);
    assert_eq!(usher.check(HOST, &[]).unwrap().status, 200);
    let output = usher.output();
    assert!(output.contains("unable to set trace provider") && output.contains("unsupported protocol"), "{output}");
    assert!(!output.contains("hush"), "{output}");
}
