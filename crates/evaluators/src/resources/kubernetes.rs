//! Questions to the Kubernetes API: who holds this token, and may somebody do this.
//!
//! Evaluators ask through the trait [`Reviews`]; who implements it knows where the API is and how to speak with it. A
//! process may have no Kubernetes API at all. That is found out when the process starts, so an AuthConfig that needs
//! one is accepted all the same, with a warning, and its rule decides nothing ([`NOT_CONFIGURED`]).
//!
//! The structs hold what is used of the resources of the API groups `authentication.k8s.io/v1` and
//! `authorization.k8s.io/v1`, under the same names.

mod rate;

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use usher_engine::Failure;

use crate::{FieldPath, Problems};

pub use rate::Rate;

/// Asks the Kubernetes API to review something.
///
/// Duties: no panics; an answer or an error within the given time, or within [`LONGEST_REVIEW`] without any; answers of
/// bounded size; a bounded number of questions at a time; no answer is kept.
pub trait Reviews: fmt::Debug + Send + Sync {
    /// Asks whose token it is. `timeout` covers everything from now to the whole answer.
    fn token_review(&self, spec: TokenReviewSpec, timeout: Option<Duration>) -> Review<'_, TokenReviewStatus>;

    /// Asks whether somebody may do something. `timeout` covers everything from now to the whole answer.
    fn subject_access_review(
        &self,
        spec: SubjectAccessReviewSpec,
        timeout: Option<Duration>,
    ) -> Review<'_, SubjectAccessReviewStatus>;
}

/// The way to the answer of a review.
pub type Review<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReviewError>> + Send + 'a>>;

/// The most time for a review that has no limit of its own.
pub const LONGEST_REVIEW: Duration = Duration::from_secs(60);

/// What callers are told where there is no Kubernetes API.
pub const NOT_CONFIGURED: &str = "kubernetes API is not configured";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct ReviewError {
    /// A stable short text that callers may see.
    pub reason: &'static str,
    /// What exactly happened: for logs only.
    pub detail: String,
}

impl From<ReviewError> for Failure {
    fn from(error: ReviewError) -> Self {
        Self::undecidable(error.reason, error.detail)
    }
}

/// `spec` of a TokenReview.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct TokenReviewSpec {
    /// The token.
    pub token: String,
    /// Whom the token must be meant for, at least one of them. Without any, the Kubernetes API itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

/// `status` of a TokenReview. Written as JSON, it is the identity of the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReviewStatus {
    /// Whether the token is valid.
    #[serde(default)]
    pub authenticated: bool,
    /// Whose it is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: UserInfo,
    /// Those of the audiences asked about that the token is meant for. Empty if the API does not know of audiences: then
    /// the token is meant for the API itself.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

/// `status.user` of a TokenReview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// The name that tells users apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// An id that is never used again, for somebody of the same name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups of the user.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else the authenticator says.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// `spec` of a SubjectAccessReview. Exactly one of the attributes is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectAccessReviewSpec {
    /// The user in question.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The groups of the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What is to be done with which resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_attributes: Option<ResourceAttributes>,
    /// What is to be done with which path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub non_resource_attributes: Option<NonResourceAttributes>,
}

/// `spec.resourceAttributes` of a SubjectAccessReview. What is empty stands for all of that kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResourceAttributes {
    /// The namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The verb, such as `get`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
    /// The API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The type, in plural, such as `pods`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The part, such as `log`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// `spec.nonResourceAttributes` of a SubjectAccessReview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NonResourceAttributes {
    /// The path of a URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The method, in lower case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
}

/// `status` of a SubjectAccessReview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectAccessReviewStatus {
    /// Whether it may be done.
    #[serde(default)]
    pub allowed: bool,
    /// Whether an authorizer forbids it. Never together with `allowed`.
    #[serde(default)]
    pub denied: bool,
    /// Why, or why not.
    #[serde(default, deserialize_with = "null_is_default")]
    pub reason: String,
    /// What went wrong while the authorizers were asked. What they allow is allowed all the same.
    #[serde(default, deserialize_with = "null_is_default")]
    pub evaluation_error: String,
}

/// The Kubernetes API, as far as this process knows of one.
#[derive(Debug, Clone, Default)]
pub struct Kubernetes {
    /// Who asks it. None: nobody can.
    pub reviews: Option<Arc<dyn Reviews>>,
    /// How often each rule may ask. None: as often as it wants to.
    pub rate: Option<Rate>,
}

impl Kubernetes {
    /// What one rule asks.
    pub(crate) fn for_one_rule(&self) -> Option<Arc<dyn Reviews>> {
        let reviews = Arc::clone(self.reviews.as_ref()?);
        Some(match self.rate {
            Some(rate) => rate.limit(reviews),
            None => reviews,
        })
    }
}

/// What may be asked, where an evaluator is built; a warning if nothing may.
pub(crate) fn needed(
    reviews: Option<&Arc<dyn Reviews>>,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Option<Arc<dyn Reviews>> {
    if reviews.is_none() {
        problems.warn(at, "there is no Kubernetes API to ask here: the rule will decide nothing");
    }
    reviews.cloned()
}

/// Servers written in Go may say `null` for what is empty.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The token is a secret.
impl fmt::Debug for TokenReviewSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenReviewSpec").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

/// Reviews whose answers are written down, for tests.
#[cfg(test)]
pub(crate) mod scripted {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;

    /// Gives the same answer to every question, and keeps the questions.
    #[derive(Debug)]
    pub(crate) struct Scripted {
        answer: Result<Value, ReviewError>,
        asked: Mutex<Vec<(Value, Option<Duration>)>>,
    }

    impl Scripted {
        /// Answers with this `status`.
        pub(crate) fn status(status: Value) -> Arc<Self> {
            Arc::new(Self { answer: Ok(status), asked: Mutex::default() })
        }

        /// Never answers.
        pub(crate) fn broken() -> Arc<Self> {
            let error = ReviewError { reason: "kubernetes API failed", detail: "HTTP 500: it broke".to_owned() };
            Arc::new(Self { answer: Err(error), asked: Mutex::default() })
        }

        /// The questions so far: each `spec`, with the time limit.
        pub(crate) fn asked(&self) -> Vec<(Value, Option<Duration>)> {
            self.asked.lock().unwrap().clone()
        }

        fn answer<T: for<'de> Deserialize<'de> + Send + 'static>(
            &self,
            spec: Value,
            timeout: Option<Duration>,
        ) -> Review<'_, T> {
            self.asked.lock().unwrap().push((spec, timeout));
            let answer = self.answer.clone().map(|status| serde_json::from_value(status).unwrap());
            Box::pin(std::future::ready(answer))
        }
    }

    impl Reviews for Scripted {
        fn token_review(&self, spec: TokenReviewSpec, timeout: Option<Duration>) -> Review<'_, TokenReviewStatus> {
            self.answer(json!(spec), timeout)
        }

        fn subject_access_review(
            &self,
            spec: SubjectAccessReviewSpec,
            timeout: Option<Duration>,
        ) -> Review<'_, SubjectAccessReviewStatus> {
            self.answer(json!(spec), timeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_members_are_left_out_and_nulls_are_empty() {
        let cases = [
            (
                json!({"authenticated": true, "user": {"username": "joe"}}),
                json!({"authenticated": true, "user": {"username": "joe"}}),
            ),
            (
                json!({"authenticated": true, "user": {"username": "joe", "uid": "u", "groups": ["a"], "extra": {"k": ["v"]}}, "audiences": ["x"]}),
                json!({"authenticated": true, "user": {"username": "joe", "uid": "u", "groups": ["a"], "extra": {"k": ["v"]}}, "audiences": ["x"]}),
            ),
            (
                json!({"authenticated": true, "user": {"groups": null, "extra": null}, "audiences": null, "error": "e"}),
                json!({"authenticated": true, "user": {}}),
            ),
            (json!({"user": null}), json!({"authenticated": false, "user": {}})),
        ];
        for (answer, identity) in cases {
            let status: TokenReviewStatus = serde_json::from_value(answer.clone()).unwrap();
            assert_eq!(serde_json::to_string(&status).unwrap(), identity.to_string(), "{answer}");
        }
    }

    #[test]
    fn tokens_do_not_show() {
        let spec = TokenReviewSpec { token: "hush".to_owned(), audiences: vec!["a".to_owned()] };
        assert_eq!(format!("{spec:?}"), r#"TokenReviewSpec { audiences: ["a"], .. }"#);
        assert_eq!(json!(spec), json!({"token": "hush", "audiences": ["a"]}));
    }
}
