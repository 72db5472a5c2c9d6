//! Probes and metrics, in plain HTTP.

use std::sync::Arc;

use ::http::{Request, StatusCode};
use hyper::body::Incoming;
use prometheus::{Registry, TextEncoder};
use url::form_urlencoded;

use crate::http::{self, Client, Handler, unless_reading};
use crate::{Listener, Running};

/// Whether this process can do its work.
pub trait Readiness: Send + Sync + 'static {
    /// The checks that can be asked about, in the order in which they are shown.
    fn checks(&self) -> Vec<ReadinessCheck>;

    /// Whether every check passes that counts unless said otherwise. gRPC health and `/readyz` say so.
    fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| !check.by_default || check.result.is_ok())
    }
}

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessCheck {
    /// `NAME` in `/readyz/NAME` and `?include=NAME`.
    pub name: &'static str,
    /// Whether it counts without being asked for.
    pub by_default: bool,
    /// Passed, or why not: shown to whoever asks for this check by name.
    pub result: Result<(), String>,
    /// Something worth knowing about a check, passed or not; shown by `?verbose`.
    pub note: Option<String>,
}

/// Answers `/healthz` and `/readyz` on a listener.
pub fn serve_health(listener: Listener, readiness: Arc<dyn Readiness>) -> Running {
    http::serve(listener, Health(readiness))
}

/// Answers `/metrics` and `/server-metrics` on a listener, each from its registry.
pub fn serve_metrics(listener: Listener, metrics: Registry, server_metrics: Registry) -> Running {
    http::serve(listener, MetricsPages { metrics, server_metrics })
}

struct Health(Arc<dyn Readiness>);

impl Handler for Health {
    async fn handle(&self, request: Request<Incoming>, _: &Client) -> http::Answer {
        if let Some(answer) = unless_reading(request.method()) {
            return answer;
        }
        let ping = ReadinessCheck { name: "ping", by_default: true, result: Ok(()), note: None };
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        match path.strip_suffix('/').unwrap_or(path) {
            "/healthz" => all(&[ping], query),
            "/healthz/ping" => http::plain(StatusCode::OK, "ok"),
            "/readyz" => all(&self.0.checks(), query),
            path => match path.strip_prefix("/readyz/") {
                Some(name) => one(&self.0.checks(), name),
                None => http::plain(StatusCode::NOT_FOUND, "404 page not found\n"),
            },
        }
    }
}

/// `?include=a&exclude=b&verbose`, all of which may be repeated.
fn all(checks: &[ReadinessCheck], query: &str) -> http::Answer {
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let names = |parameter: &str, name: &str| parameters.iter().any(|(key, value)| key == parameter && value == name);
    let is_verbose = parameters.iter().any(|(key, _)| key == "verbose");
    let mut text = String::new();
    let mut is_failed = false;
    for ReadinessCheck { name, by_default, result, note } in checks {
        let line = if names("exclude", name) {
            format!("[+]{name} excluded: ok\n")
        } else if !by_default && !names("include", name) && !is_verbose {
            continue;
        } else if let Err(reason) = result {
            let counts = *by_default || names("include", name);
            is_failed |= counts;
            match counts {
                true => format!("[-]{name} failed: reason withheld\n"),
                false => format!("[-]{name} failed, not counted: {reason}\n"),
            }
        } else {
            format!("[+]{name} ok\n")
        };
        text.push_str(&line);
        if let (Some(note), true) = (note, is_verbose) {
            text.push_str(&format!("   {note}\n"));
        }
    }
    match (is_failed, is_verbose) {
        (true, _) => http::plain(StatusCode::INTERNAL_SERVER_ERROR, text + "healthz check failed\n"),
        (false, true) => http::plain(StatusCode::OK, text + "healthz check passed\n"),
        (false, false) => http::plain(StatusCode::OK, "ok"),
    }
}

fn one(checks: &[ReadinessCheck], name: &str) -> http::Answer {
    match checks.iter().find(|check| check.name == name).map(|check| &check.result) {
        Some(Ok(())) => http::plain(StatusCode::OK, "ok"),
        Some(Err(reason)) => {
            http::plain(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n"))
        }
        None => http::plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

struct MetricsPages {
    metrics: Registry,
    server_metrics: Registry,
}

impl Handler for MetricsPages {
    async fn handle(&self, request: Request<Incoming>, _: &Client) -> http::Answer {
        let registry = match request.uri().path() {
            "/metrics" => self.metrics.clone(),
            "/server-metrics" => self.server_metrics.clone(),
            _ => return http::plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
        if let Some(answer) = unless_reading(request.method()) {
            return answer;
        }
        // Thousands of configurations have tens of thousands of series: too much for a thread that answers checks.
        let text = tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
        match text {
            Ok(Ok(text)) => http::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot write metrics");
                http::plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot write metrics\n")
            }
            Err(_) => http::plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot write metrics\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;
    use crate::testing::{Ready, exchange, listener, parse};

    async fn get(running: &Running, method: &str, target: &str) -> (u16, Vec<(String, String)>, String) {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        parse(&exchange(running.address(), &request).await)
    }

    fn check(name: &'static str, by_default: bool, result: Result<(), &str>, note: Option<&str>) -> ReadinessCheck {
        ReadinessCheck { name, by_default, result: result.map_err(str::to_owned), note: note.map(str::to_owned) }
    }

    #[tokio::test]
    async fn probes() {
        let reason = "authconfig is not ready: ns/name (reason: Invalid)";
        let checks =
            vec![check("load", true, Ok(()), Some("from a snapshot")), check("authconfigs", false, Err(reason), None)];
        let running = serve_health(listener(None).await, Arc::new(Ready(checks)));
        let failed = "[+]load ok\n[-]authconfigs failed: reason withheld\nhealthz check failed\n";
        let verbose = format!(
            "[+]load ok\n   from a snapshot\n[-]authconfigs failed, not counted: {reason}\nhealthz check passed\n"
        );
        let one = format!("internal server error: {reason}\n");
        for (method, target, status, body) in [
            ("GET", "/healthz", 200, "ok"),
            ("GET", "/healthz/", 200, "ok"),
            ("GET", "/healthz?verbose", 200, "[+]ping ok\nhealthz check passed\n"),
            ("GET", "/healthz/ping", 200, "ok"),
            ("GET", "/healthz/other", 404, "404 page not found\n"),
            ("GET", "/readyz", 200, "ok"),
            ("HEAD", "/readyz", 200, ""),
            ("GET", "/readyz?include=authconfigs", 500, failed),
            ("GET", "/readyz?include=authconfigs&exclude=authconfigs", 200, "ok"),
            (
                "GET",
                "/readyz?exclude=authconfigs&verbose",
                200,
                "[+]load ok\n   from a snapshot\n[+]authconfigs excluded: ok\nhealthz check passed\n",
            ),
            ("GET", "/readyz?verbose", 200, &verbose),
            ("GET", "/readyz/authconfigs", 500, &one),
            ("GET", "/readyz/load", 200, "ok"),
            ("GET", "/readyz/other", 404, "404 page not found\n"),
            ("GET", "/", 404, "404 page not found\n"),
            ("POST", "/readyz", 405, "method not allowed\n"),
        ] {
            let (found, headers, found_body) = get(&running, method, target).await;
            assert_eq!((found, found_body.as_str()), (status, body), "{method} {target}");
            assert!(headers.contains(&("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())), "{target}");
        }
    }

    #[tokio::test]
    async fn not_ready() {
        let running =
            serve_health(listener(None).await, Arc::new(Ready(vec![check("load", true, Err("loading"), None)])));
        let (status, _, body) = get(&running, "GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (500, "[-]load failed: reason withheld\nhealthz check failed\n"));
        assert_eq!(get(&running, "GET", "/readyz?exclude=load").await.0, 200);
        assert_eq!(get(&running, "GET", "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_of_two_registries() {
        let registry = |name: &str| {
            let registry = Registry::new();
            let counter = IntCounter::new(name, "Help.").unwrap();
            counter.inc();
            registry.register(Box::new(counter)).unwrap();
            registry
        };
        let running = serve_metrics(listener(None).await, registry("one_total"), registry("other_total"));
        for (method, target, status, body) in [
            ("GET", "/metrics", 200, "# HELP one_total Help.\n# TYPE one_total counter\none_total 1\n"),
            ("GET", "/server-metrics?x", 200, "# HELP other_total Help.\n# TYPE other_total counter\nother_total 1\n"),
            ("HEAD", "/metrics", 200, ""),
            ("POST", "/metrics", 405, "method not allowed\n"),
            ("GET", "/", 404, "404 page not found\n"),
        ] {
            let (found, headers, found_body) = get(&running, method, target).await;
            assert_eq!((found, found_body.as_str()), (status, body), "{method} {target}");
            let is_metrics =
                headers.contains(&("content-type".to_owned(), "text/plain; version=0.0.4; charset=utf-8".to_owned()));
            assert_eq!(is_metrics, status == 200, "{headers:?}");
        }
    }
}
