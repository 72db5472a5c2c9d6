//! One request to the API and its answer, within a time and a size.

use std::{fmt, time::Duration};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use crate::{Cluster, cluster::chain};

/// The largest answer, in bytes: the largest object that the API keeps is smaller.
const MAX_ANSWER: usize = 4 << 20;

/// The longest that is waited because an answer asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A request that does something with one object.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The media type of the body, and the body.
    pub(crate) body: Option<(&'static str, Value)>,
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The API cannot be reached, says nothing, or says what is no answer of it.
    Away(String),
    /// The API says no.
    Refused {
        status: StatusCode,
        /// Its words.
        message: String,
        /// After what time it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// What the API said, if it did.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Away(_) => None,
            Self::Refused { status, .. } => Some(*status),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(text) => formatter.write_str(text),
            Self::Refused { status, message, .. } if message.is_empty() => write!(formatter, "HTTP {status}"),
            Self::Refused { status, message, .. } => write!(formatter, "HTTP {status}: {message}"),
        }
    }
}

impl Cluster {
    /// The object that is answered.
    pub(crate) async fn ask(&self, ask: Ask, limit: Duration) -> Result<Value, Failure> {
        match tokio::time::timeout(limit, self.ask_untimed(ask)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Away(format!("no answer within {limit:?}"))),
        }
    }

    async fn ask_untimed(&self, ask: Ask) -> Result<Value, Failure> {
        let client = self.client().await.map_err(|error| Failure::Away(error.to_string()))?;
        let answer = client.send(ask.request()?).await.map_err(|error| Failure::Away(chain(&error)))?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::Away(chain(&*error)))?.to_bytes();
        if !status.is_success() {
            return Err(Failure::Refused { status, message: message(&body), retry_after });
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Away(format!("the answer is not JSON: {error}")))
    }
}

impl Ask {
    fn request(self) -> Result<Request<Body>, Failure> {
        let impossible = |error: &dyn fmt::Display| Failure::Away(format!("no request can be made: {error}"));
        let request = Request::builder().method(self.method).uri(self.path).header(header::ACCEPT, "application/json");
        let request = match self.body {
            None => request.body(Body::empty()),
            Some((media_type, body)) => {
                let body = serde_json::to_vec(&body).map_err(|error| impossible(&error))?;
                request.header(header::CONTENT_TYPE, media_type).body(Body::from(body))
            }
        };
        request.map_err(|error| impossible(&error))
    }
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The message of an answer that is a `Status` of `meta/v1`; else nothing.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status = serde_json::from_slice::<Status>(body);
    status.map_or_else(|_| String::new(), |status| status.message.chars().take(500).collect())
}

/// Whether a name can be a part of a path as it is. Names of objects always can.
pub(crate) fn is_path_segment(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    !matches!(name, "" | "." | "..") && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_change_a_path_are_found() {
        for name in ["a", "talker-api.v1", "system:controller"] {
            assert!(is_path_segment(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "ä"] {
            assert!(!is_path_segment(name), "{name}");
        }
    }

    #[test]
    fn the_words_of_the_api_are_told() {
        let cases = [
            (r#"{"kind":"Status","message":"no such thing","code":404}"#, "HTTP 404 Not Found: no such thing"),
            (r#"{"kind":"Status"}"#, "HTTP 404 Not Found"),
            ("<html>", "HTTP 404 Not Found"),
        ];
        for (body, expected) in cases {
            let failure = Failure::Refused {
                status: StatusCode::NOT_FOUND,
                message: message(body.as_bytes()),
                retry_after: None,
            };
            assert_eq!(failure.to_string(), expected, "{body}");
        }
    }

    #[test]
    fn nobody_is_made_to_wait_for_ever() {
        for (header, expected) in [("3", Some(3)), ("9999999", Some(300)), ("-1", None), ("soon", None)] {
            let headers = http::HeaderMap::from_iter([(header::RETRY_AFTER, header.parse().unwrap())]);
            assert_eq!(retry_after(&headers).map(|wait| wait.as_secs()), expected, "{header}");
        }
    }
}
