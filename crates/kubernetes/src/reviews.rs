//! TokenReviews and SubjectAccessReviews: one `POST` each, which creates nothing.

use std::{fmt::Display, time::Duration};

use http::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use usher_evaluators::resources::kubernetes::{
    LONGEST_REVIEW, Review, ReviewError, Reviews, SubjectAccessReviewSpec, SubjectAccessReviewStatus, TokenReviewSpec,
    TokenReviewStatus,
};

use crate::{
    Cluster,
    exchange::{JSON, request},
    resources::{Resource, SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS},
};

/// The largest answer, in bytes. It repeats the question, with its token.
const MAX_ANSWER: usize = 1 << 20;

/// How long a question waits for its turn.
const QUEUE_TIME: Duration = Duration::from_secs(1);

const FAILED: &str = "kubernetes API failed";
const TIMED_OUT: &str = "kubernetes API timed out";
const BUSY: &str = "kubernetes API is busy";

impl Reviews for Cluster {
    fn token_review(&self, spec: TokenReviewSpec, timeout: Option<Duration>) -> Review<'_, TokenReviewStatus> {
        Box::pin(self.review(&TOKEN_REVIEWS, spec, timeout))
    }

    fn subject_access_review(
        &self,
        spec: SubjectAccessReviewSpec,
        timeout: Option<Duration>,
    ) -> Review<'_, SubjectAccessReviewStatus> {
        Box::pin(self.review(&SUBJECT_ACCESS_REVIEWS, spec, timeout))
    }
}

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

impl Cluster {
    async fn review<S: Serialize, T: DeserializeOwned>(
        &self,
        resource: &Resource,
        spec: S,
        timeout: Option<Duration>,
    ) -> Result<T, ReviewError> {
        let Resource { api_version, kind, .. } = *resource;
        let error = |reason, cause: &dyn Display| ReviewError { reason, detail: format!("{kind}: {cause}") };
        let limit = timeout.unwrap_or(LONGEST_REVIEW).min(LONGEST_REVIEW);
        let review = async {
            let Ok(Ok(_slot)) = tokio::time::timeout(QUEUE_TIME, self.reviews.acquire()).await else {
                return Err(error(BUSY, &format_args!("{} questions are under way", Self::CONCURRENCY)));
            };
            let question = Some((JSON, Question { api_version, kind, spec }));
            let failed = |failure| error(FAILED, &failure);
            let request = request(Method::POST, resource.everywhere(), question).map_err(failed)?;
            self.ask::<Answer<T>>(request, kind, MAX_ANSWER).await.map_err(failed)
        };
        match tokio::time::timeout(limit, review).await {
            Ok(answer) => answer.map(|answer| answer.status),
            Err(_) => Err(error(TIMED_OUT, &format_args!("no answer within {limit:?}"))),
        }
    }
}
