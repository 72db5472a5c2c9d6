//! One request to the API and its answer: everything that is asked goes this way.
//!
//! ```text
//!   request() ──► Cluster::open ──► the body of a good answer ──► a watch reads it line by line
//!                    │                └─ Cluster::ask ──► read, no more than so many bytes ──► an object, a list
//!                    └─ anything else ──► Failure: cause, words, when to ask again
//! ```
//!
//! The client's own ways to read answers are not used: they write what they cannot read to the log, Secrets too, and
//! take answers of any size. Nor does a failure quote an answer, other than what the API itself says about a refusal.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Cluster, NoClient, cluster::chain};

/// The largest single object, in bytes. Kubernetes itself takes about 3 MiB.
pub(crate) const MAX_OBJECT: usize = 8 << 20;

/// So much is read of what the API says about a refusal, in bytes.
const MAX_REFUSAL: usize = 1 << 20;

/// So much of that is told, in characters.
const MAX_WORDS: usize = 500;

/// The longest that is waited because an answer asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The media type of objects.
pub(crate) const JSON: &str = "application/json";

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// In words for whoever runs the server.
    pub(crate) text: String,
    /// After what time the API wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There can be no answer to such a question, so it was not asked.
    NotAsked,
    /// The API cannot be reached, or it takes too long.
    NoAnswer,
    /// The API refuses.
    Refused(StatusCode),
    /// The answer is larger than what is read.
    TooLarge,
    /// The answer is not what was asked for.
    Unreadable,
}

impl Failure {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into(), retry_after: None }
    }

    /// What the API said, if it did.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self.cause {
            Cause::Refused(status) => Some(status),
            _ => None,
        }
    }

    /// Whether it has nothing to do with what was asked: the API is away, busy or about to start, or it does not know
    /// this server. Other questions would fare no better now.
    pub(crate) fn is_of_the_api(&self) -> bool {
        match self.cause {
            Cause::NoAnswer => true,
            Cause::NotAsked | Cause::TooLarge | Cause::Unreadable => false,
            Cause::Refused(status) => matches!(
                status,
                StatusCode::UNAUTHORIZED
                    | StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
        }
    }

    /// This pause, or the longer one that the API wants.
    pub(crate) fn at_least(&self, pause: Duration) -> Duration {
        pause.max(self.retry_after.unwrap_or_default())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<NoClient> for Failure {
    fn from(error: NoClient) -> Self {
        Self::new(Cause::NoAnswer, error.to_string())
    }
}

/// A request with or without a body: its media type, and what is written as JSON.
pub(crate) fn request<B: Serialize>(
    method: Method,
    path: String,
    body: Option<(&'static str, B)>,
) -> Result<Request<Vec<u8>>, Failure> {
    let request = Request::builder().method(method).uri(path);
    let request = match body {
        None => request.body(Vec::new()),
        Some((media_type, body)) => {
            // The text of the error could quote the body.
            let body = serde_json::to_vec(&body)
                .map_err(|_| Failure::new(Cause::NotAsked, "the question cannot be written as JSON"))?;
            request.header(header::CONTENT_TYPE, media_type).body(body)
        }
    };
    request.map_err(|error| Failure::new(Cause::NotAsked, format!("no request can be made: {error}")))
}

/// The result, unless it takes longer than that.
pub(crate) async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = |_| Failure::new(Cause::NoAnswer, format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, answer).await.map_err(late)?
}

impl Cluster {
    /// The object that is answered, which is of this kind and no larger than that. Waits for as long as it takes.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: Request<Vec<u8>>,
        kind: &str,
        max_bytes: usize,
    ) -> Result<T, Failure> {
        self.ask_and_read(request, kind, max_bytes, |bytes| serde_json::from_slice(bytes)).await
    }

    /// The same, understood in another way.
    pub(crate) async fn ask_and_read<T>(
        &self,
        request: Request<Vec<u8>>,
        kind: &str,
        max_bytes: usize,
        understand: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, Failure> {
        let bytes = read(self.open(request).await?, max_bytes).await?;
        understand(&bytes).map_err(|error| {
            // The text of the error could quote the answer, which may be a Secret or repeat a token.
            let text = format!("the answer is not a {kind} (line {}, column {})", error.line(), error.column());
            Failure::new(Cause::Unreadable, text)
        })
    }

    /// The body of a good answer, of which nothing was read yet. Waits for as long as it takes.
    pub(crate) async fn open(&self, mut request: Request<Vec<u8>>) -> Result<Body, Failure> {
        let client = self.client().await?;
        let headers = request.headers_mut();
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static(JSON));
        // Watches may be compressed in a way that cannot be read event by event.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = client.send(request.map(Body::from)).await;
        let answer = answer.map_err(|error| Failure::new(Cause::NoAnswer, chain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let retry_after = retry_after(answer.headers());
        let body = read(answer.into_body(), MAX_REFUSAL).await.unwrap_or_default();
        Err(Failure { cause: Cause::Refused(status), text: words(status, &body), retry_after })
    }
}

async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Err(error) => Err(Failure::new(Cause::NoAnswer, chain(&*error))),
    }
}

/// An answer, or a part of it, has more than so many bytes.
pub(crate) fn too_large(max_bytes: usize) -> Failure {
    Failure::new(Cause::TooLarge, format!("the answer has more than {max_bytes} bytes"))
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// A refusal, with the words of the API if it is a `Status` of `meta/v1`. Proxies and unknown paths answer other texts.
fn words(status: StatusCode, body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        reason: String,
        message: String,
    }
    let Status { reason, message } = serde_json::from_slice(body).unwrap_or_default();
    let words = [reason, message].into_iter().filter(|words| !words.is_empty());
    words.fold(format!("HTTP {status}"), |text, words| {
        let words: String = words.chars().take(MAX_WORDS).collect();
        format!("{text}: {words}")
    })
}

#[cfg(test)]
mod tests;
