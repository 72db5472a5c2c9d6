//! `/check` over HTTP, for callers that do not speak gRPC: the request that asks is the request that is decided about.
//!
//! 200 allows, anything else does not. The headers of an answer that allows are those for the upstream and those for the
//! client: the gateway picks by name what goes where (Envoy's `allowed_upstream_headers` and
//! `allowed_client_headers_on_success`). A name that is meant for both is sent for the upstream alone, which must not see
//! any other value. What an HTTP answer has no place for is left out: headers to remove, query parameters, and dynamic
//! metadata. A body that is an `AdmissionReview` of Kubernetes is answered as one, unless it came through a gateway.

mod admission;
mod content_type;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::{Method, Request, StatusCode, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use url::form_urlencoded;
use usher_engine::request::{Headers, Peer};
use usher_engine::verdict::Additions;
use usher_engine::{RequestParts, Verdict};
use usher_telemetry::Call as Traced;

use self::admission::Review;
use crate::answer::{Answer, Refused, UNDECIDABLE};
use crate::decide::{Call, Decide, guarded};
use crate::ext_authz::made_up_id;
use crate::http::{self, Client, Handler};
use crate::{Listener, Metrics, Running, Tracing, headers};

/// Longest wait for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How checks are answered.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our own limit on the time of a check.
    pub timeout: Option<Duration>,
    /// Longest body of a request; longer ones are answered with 413.
    pub max_body_bytes: usize,
    /// Where requests are recorded.
    pub tracing: Tracing,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: None, max_body_bytes: 8192, tracing: Tracing::default() }
    }
}

/// Answers `/check` on a listener.
pub fn serve<D: Decide>(listener: Listener, decide: Arc<D>, metrics: Arc<Metrics>, settings: Settings) -> Running {
    http::serve(listener, Check { decide, metrics, settings })
}

struct Check<D> {
    decide: Arc<D>,
    metrics: Arc<Metrics>,
    settings: Settings,
}

impl<D: Decide> Handler for Check<D> {
    async fn handle(&self, request: Request<Incoming>, client: &Client) -> http::Answer {
        let mut traced = self.settings.tracing.http("auth", &request);
        let answer = if request.uri().path() == "/check" {
            let mut body_read = None;
            let answer = match *request.method() {
                Method::GET | Method::POST => self.check(request, client, &mut body_read, &mut traced).await,
                _ => http::empty(StatusCode::NOT_FOUND),
            };
            self.metrics.http_answered(answer.status(), body_read);
            answer
        } else {
            http::plain(StatusCode::NOT_FOUND, "Not found")
        };
        traced.set_status(answer.status());
        answer
    }

    fn after_panic(&self) -> http::Answer {
        let status = StatusCode::from_u16(UNDECIDABLE.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        self.metrics.http_answered(status, None);
        http::empty(status)
    }
}

impl<D: Decide> Check<D> {
    async fn check(
        &self,
        request: Request<Incoming>,
        client: &Client,
        body_read: &mut Option<Instant>,
        traced: &mut Traced,
    ) -> http::Answer {
        let received = Instant::now();
        traced.begin_check("ServeHTTP");
        let deadline = self.settings.timeout.and_then(|timeout| received.checked_add(timeout));
        let (parts, body) = request.into_parts();
        let body = match self.body(body).await {
            Ok(body) => body,
            Err(status) => {
                traced.set_error("the body cannot be read");
                return closing(status);
            }
        };
        *body_read = Some(Instant::now());
        let Some(host) = host(&parts) else {
            traced.set_error("the request has several hosts");
            return http::empty(StatusCode::BAD_REQUEST);
        };
        let review = if is_own_caller(&parts) { Review::parse(&body) } else { None };
        let mut request = usher_engine::Request::new(attributes(&parts, host, &body, client));
        traced.set_request(&mut request);
        let request = Arc::new(request);
        let call = Call { deadline, headers: &parts.headers };
        let verdict = guarded(&*self.decide, Arc::clone(&request), call).await;
        let id = &*request.parts().id;
        traced.set_verdict(&verdict);
        self.metrics.answered(&verdict);
        let answer = Answer::new(verdict, id);
        match review {
            Some(review) => http::json(StatusCode::OK, review.answer(&answer)),
            None => response(answer, id),
        }
    }

    /// The whole body, or the status that says why not.
    async fn body(&self, body: Incoming) -> Result<Bytes, StatusCode> {
        let limit = self.settings.max_body_bytes;
        if body.size_hint().lower() > limit as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) | Err(_) => Err(StatusCode::BAD_REQUEST),
        }
    }
}

/// Whether whoever asks seems to ask for themselves, as the Kubernetes API does. The answer to a review is 200 even if it
/// says no. A gateway takes that for yes, so its clients must not turn their requests into reviews by what they send.
fn is_own_caller(parts: &Parts) -> bool {
    const GATEWAYS: [&str; 6] = ["x-forwarded-", "x-envoy-", "x-original-", "x-real-ip", "forwarded", "via"];
    let by_gateway = |name: &HeaderName| GATEWAYS.iter().any(|start| name.as_str().starts_with(start));
    parts.method == Method::POST && !parts.headers.keys().any(by_gateway)
}

/// The host that is asked about; none if there are several or none.
fn host(parts: &Parts) -> Option<String> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(headers::text(host.as_bytes())),
        (None, _) => Some(String::new()),
        (Some(_), Some(_)) => None,
    }
}

fn attributes(parts: &Parts, host: String, body: &[u8], client: &Client) -> RequestParts {
    let headers = joined(&parts.headers);
    let id = headers.get("x-request-id").filter(|id| !id.is_empty()).map_or_else(made_up_id, str::to_owned);
    let query = parts.uri.query();
    RequestParts {
        id,
        protocol: match parts.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        host,
        method: parts.method.as_str().to_owned(),
        path: query.map_or_else(|| "/check".to_owned(), |query| format!("/check?{query}")),
        query: query.map(sorted).unwrap_or_default(),
        headers,
        body: headers::text(body),
        source: Peer { certificate: client.certificate.as_deref().map(pem).unwrap_or_default(), ..Peer::default() },
        ..RequestParts::default()
    }
}

/// Headers by name; repeated ones are joined as RFC 9110 §5.3 has it, and cookies as RFC 9113 §8.2.3 has it.
fn joined(headers: &HeaderMap) -> Headers {
    let joined = headers.keys().filter(|name| **name != HOST).map(|name| {
        let values: Vec<String> = headers.get_all(name).iter().map(|value| headers::text(value.as_bytes())).collect();
        (name, values.join(if name == ::http::header::COOKIE { "; " } else { ", " }))
    });
    joined.collect()
}

/// The query with its parameters sorted by name, encoded anew.
fn sorted(query: &str) -> String {
    let mut parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// A certificate as gateways pass it on: PEM (RFC 7468), URL-encoded.
fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = String::with_capacity(base64.len() * 2);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    form_urlencoded::byte_serialize(pem.as_bytes()).collect()
}

fn response(answer: Answer, id: &str) -> http::Answer {
    match answer {
        Answer::Allowed(Additions { mut headers, response_headers, .. }) => {
            let mut response = http::empty(StatusCode::OK);
            let for_upstream = headers.len();
            for header in response_headers {
                if !headers.iter().take(for_upstream).any(|(name, _)| *name == header.name) {
                    headers.push((header.name, header.value));
                }
            }
            for (name, value) in headers {
                // The caller would take the client's own header for one that is missing.
                let Some((name, value)) = header(&name, &value) else {
                    tracing::error!(%name, request_id = %id, "a header of the answer cannot be sent");
                    let verdict = Verdict::undecidable("invalid header", "");
                    return refused_response(Answer::new(verdict, id));
                };
                response.headers_mut().append(name, value);
            }
            response
        }
        refused @ Answer::Refused(_) => refused_response(refused),
    }
}

fn refused_response(answer: Answer) -> http::Answer {
    let Answer::Refused(Refused { kind, status, headers, body, .. }) = answer else {
        return http::empty(StatusCode::SERVICE_UNAVAILABLE);
    };
    let status = StatusCode::from_u16(status).or_else(|_| StatusCode::from_u16(kind.status));
    let mut response = http::empty(status.unwrap_or(StatusCode::FORBIDDEN));
    for (name, value) in headers {
        if let Some((name, value)) = header(&name, &value) {
            response.headers_mut().append(name, value);
        }
    }
    if !body.is_empty() {
        let content_type = HeaderValue::from_static(content_type::of(&body));
        response.headers_mut().entry(CONTENT_TYPE).or_insert(content_type);
        *response.body_mut() = Full::new(body.into());
    }
    response
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
}

/// Refuses a request of which the body was not read to its end, so that the connection cannot be used again.
fn closing(status: StatusCode) -> http::Answer {
    let mut answer = http::empty(status);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests;
