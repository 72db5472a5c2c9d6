//! A validating admission webhook of Kubernetes (`admission.k8s.io/v1`): objects that are wrong are refused before they
//! are stored.
//!
//! ```text
//!  API server ── POST /validate-GROUP-VERSION-KIND ──► body, bounded ──► queue ──► threads ──► Reviewer
//!                                                          │               │          │           └─ Findings
//!             ◄── AdmissionReview with the same uid ───────┼───────────────┼──────────┴─ review: Findings to an answer
//!             ◄── 400, 413, 503: the webhook's failurePolicy decides ──────┘
//! ```
//!
//! A review is computation, not waiting, and may be long: it runs on threads of its own, outside of any runtime. What does
//! not fit into the queue, and what is not done in time, is answered with an error of HTTP. That is not a refusal: whoever
//! registered the webhook has said what follows when there is no answer.

mod metrics;
mod review;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use ::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::metrics::Meters;
pub use self::metrics::WebhookMetrics;
use self::workers::{Received, Workers};
use crate::http::{self, Client, Handler};
use crate::{Listener, Running};

/// Says what is wrong with objects.
pub trait Reviewer: Send + Sync + 'static {
    /// Everything that is found about an object, as the API server would store it. Called on threads without a runtime. A
    /// panic refuses the object.
    fn review(&self, object: Value) -> Findings;
}

/// What is found about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it is refused; without any, it is not.
    pub problems: Vec<Finding>,
    /// What works, but probably not as meant; shown to whoever brings the object.
    pub warnings: Vec<Finding>,
}

/// One thing that is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field, such as `spec.hosts[0]`; empty when it is the object as a whole.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// Which objects are reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The API group.
    pub group: &'static str,
    /// The version of the group.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
}

impl Subject {
    /// The path that reviews are sent to, by the custom of Kubernetes controllers: `/validate-GROUP-VERSION-KIND` in lower
    /// case, with `-` for the dots of the group.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/validate-{}-{}-{}", self.group.replace('.', "-"), self.version, self.kind).to_ascii_lowercase()
    }
}

/// How reviews are answered.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The most time from the headers of a request to its answer.
    pub timeout: Duration,
    /// The longest body, in bytes; longer ones are answered with 413.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are being received, wait or are reviewed; what does not fit is answered with 503.
    pub max_bytes_at_once: usize,
    /// Threads that review.
    pub threads: usize,
    /// How many reviews may wait for a thread; further ones are answered with 503.
    pub max_waiting: usize,
}

impl Default for Settings {
    /// Less time than the 10 seconds that the API server waits unless it is told otherwise. A body may hold an object
    /// twice, as it was and as it shall be, of 3 MiB each, which is the most that the API server takes, and what is said
    /// about the request.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(8),
            max_body_bytes: 7 << 20,
            max_bytes_at_once: 64 << 20,
            threads: 2,
            max_waiting: 64,
        }
    }
}

/// Answers reviews of the objects of `subject` on a listener.
///
/// # Errors
///
/// When the threads cannot be started.
pub fn serve(
    listener: Listener,
    subject: Subject,
    reviewer: Arc<dyn Reviewer>,
    metrics: &WebhookMetrics,
    settings: Settings,
) -> io::Result<Running> {
    let path = subject.path();
    let answer = move |body: &[u8]| review::answer(body, &subject, &*reviewer);
    let webhook = Webhook {
        meters: metrics.of(&path),
        path,
        workers: Workers::start(settings.threads, settings.max_waiting, Arc::new(answer))?,
        room: Arc::new(Semaphore::new(settings.max_bytes_at_once)),
        settings,
    };
    Ok(http::serve(listener, webhook))
}

struct Webhook {
    path: String,
    workers: Workers,
    /// A permit for each byte.
    room: Arc<Semaphore>,
    meters: Meters,
    settings: Settings,
}

impl Handler for Webhook {
    async fn handle(&self, request: Request<Incoming>, _: &Client) -> http::Answer {
        if request.uri().path() != self.path {
            return http::plain(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let _in_flight = self.meters.begun();
        let started = Instant::now();
        let answer = self.answer(request).await.unwrap_or_else(|refused| refused.answer());
        self.meters.answered(answer.status(), Some(started.elapsed()));
        answer
    }

    fn after_panic(&self) -> http::Answer {
        self.meters.answered(StatusCode::INTERNAL_SERVER_ERROR, None);
        http::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }
}

/// Why a request is not answered with a review.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn answer(self) -> http::Answer {
        let Self(status, text) = self;
        tracing::warn!(status = status.as_u16(), reason = text, "a review is not answered");
        let mut answer = http::plain(status, text + "\n");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        answer
    }
}

impl Webhook {
    async fn answer(&self, request: Request<Incoming>) -> Result<http::Answer, Refused> {
        if request.method() != Method::POST {
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned()));
        }
        if !is_json(request.headers()) {
            let text = "the content type must be application/json".to_owned();
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let answered = tokio::time::timeout(self.settings.timeout, self.review(request.into_body())).await;
        answered.unwrap_or_else(|_| {
            let text = format!("the review was not done within {:?}", self.settings.timeout);
            Err(Refused(StatusCode::SERVICE_UNAVAILABLE, text))
        })
    }

    async fn review(&self, body: Incoming) -> Result<http::Answer, Refused> {
        let received = self.receive(body).await?;
        let Some(reviewed) = self.workers.submit(received) else {
            return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "too many reviews are waiting".to_owned()));
        };
        match reviewed.await {
            Ok(Ok(answer)) => Ok(http::json(StatusCode::OK, answer)),
            Ok(Err(problem)) => Err(Refused(StatusCode::BAD_REQUEST, problem)),
            Err(_) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned())),
        }
    }

    /// Receives a body, as far as it and all others together are not too large.
    async fn receive(&self, mut body: Incoming) -> Result<Received, Refused> {
        let most = self.settings.max_body_bytes;
        let too_large = || Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the review is longer than {most} bytes"));
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let mut received = Received::default();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Refused(StatusCode::BAD_REQUEST, format!("the review cannot be received: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if received.len() + data.len() > most {
                return Err(too_large());
            }
            if !received.push(&data, &self.room) {
                let text = "too many reviews are being received".to_owned();
                return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, text));
            }
        }
        Ok(received)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests;
