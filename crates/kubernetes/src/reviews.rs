//! TokenReviews and SubjectAccessReviews: one `POST` each, which creates nothing.

use std::time::Duration;

use http::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use usher_evaluators::resources::kubernetes::{
    LONGEST_REVIEW, Review, ReviewError, Reviews, SubjectAccessReviewSpec, SubjectAccessReviewStatus, TokenReviewSpec,
    TokenReviewStatus,
};

use crate::{Cluster, cluster::chain};

/// The largest answer, in bytes. It repeats the question, with its token.
const MAX_ANSWER: usize = 1 << 20;

/// How long a question waits for its turn.
const QUEUE_TIME: Duration = Duration::from_secs(1);

const FAILED: &str = "kubernetes API failed";
const TIMED_OUT: &str = "kubernetes API timed out";
const BUSY: &str = "kubernetes API is busy";

impl Reviews for Cluster {
    fn token_review(&self, spec: TokenReviewSpec, timeout: Option<Duration>) -> Review<'_, TokenReviewStatus> {
        Box::pin(self.review(&TOKEN_REVIEW, spec, timeout))
    }

    fn subject_access_review(
        &self,
        spec: SubjectAccessReviewSpec,
        timeout: Option<Duration>,
    ) -> Review<'_, SubjectAccessReviewStatus> {
        Box::pin(self.review(&SUBJECT_ACCESS_REVIEW, spec, timeout))
    }
}

/// A kind of review, and where it is made.
struct Kind {
    api_version: &'static str,
    kind: &'static str,
    path: &'static str,
}

const TOKEN_REVIEW: Kind = Kind {
    api_version: "authentication.k8s.io/v1",
    kind: "TokenReview",
    path: "/apis/authentication.k8s.io/v1/tokenreviews",
};

const SUBJECT_ACCESS_REVIEW: Kind = Kind {
    api_version: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<S> {
    api_version: &'static str,
    kind: &'static str,
    spec: S,
}

#[derive(Deserialize)]
struct Answer<T> {
    status: T,
}

/// What the API answers when something is wrong (`Status` of `meta/v1`).
#[derive(Deserialize)]
struct Trouble {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Cluster {
    async fn review<S: Serialize, T: DeserializeOwned>(
        &self,
        kind: &Kind,
        spec: S,
        timeout: Option<Duration>,
    ) -> Result<T, ReviewError> {
        let limit = timeout.unwrap_or(LONGEST_REVIEW).min(LONGEST_REVIEW);
        let exchange = async {
            let Ok(Ok(_slot)) = tokio::time::timeout(QUEUE_TIME, self.slots.acquire()).await else {
                return Err(error(kind, BUSY, &format_args!("{} questions are under way", Self::CONCURRENCY)));
            };
            self.exchange(kind, spec).await
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(error(kind, TIMED_OUT, &format_args!("no answer within {limit:?}"))),
        }
    }

    async fn exchange<S: Serialize, T: DeserializeOwned>(&self, kind: &Kind, spec: S) -> Result<T, ReviewError> {
        let failed = |cause: &dyn std::fmt::Display| error(kind, FAILED, cause);
        let client = self.client().await.map_err(|no_client| failed(&no_client))?;
        let question = Question { api_version: kind.api_version, kind: kind.kind, spec };
        let question = serde_json::to_vec(&question).map_err(|error| failed(&error))?;
        let request = Request::post(kind.path)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Body::from(question))
            .map_err(|error| failed(&error))?;
        let answer = client.send(request).await.map_err(|error| failed(&chain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| failed(&chain(&*error)))?.to_bytes();
        if !status.is_success() {
            return Err(failed(&trouble(status, &body)));
        }
        // The text of a parse error could quote the answer, which repeats the token.
        let answer: Answer<T> = serde_json::from_slice(&body).map_err(|error| {
            failed(&format_args!(
                "the answer is not a {} (line {}, column {})",
                kind.kind,
                error.line(),
                error.column()
            ))
        })?;
        Ok(answer.status)
    }
}

fn error(kind: &Kind, reason: &'static str, cause: &dyn std::fmt::Display) -> ReviewError {
    ReviewError { reason, detail: format!("{}: {cause}", kind.kind) }
}

/// What an answer says that is no review.
pub(crate) fn trouble(status: StatusCode, body: &[u8]) -> String {
    let Ok(trouble) = serde_json::from_slice::<Trouble>(body) else { return format!("HTTP {status}") };
    let message: String = trouble.message.chars().take(500).collect();
    format!("HTTP {status}: {}: {message}", trouble.reason)
}
