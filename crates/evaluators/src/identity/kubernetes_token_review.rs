//! `kubernetesTokenReview`: tokens of Kubernetes service accounts and users.
//!
//! # What it does
//! Takes the credential of the request for a token and asks the Kubernetes API about it, with a TokenReview
//! (`authentication.k8s.io/v1`). The token must be meant for one of `audiences`. Without any, it must be meant for the
//! host of the request: in lower case, without the port. What a gateway gives as the context extension `host` selects
//! the AuthConfig, but is not the audience.
//!
//! The identity is the `status` of the review:
//! ```json
//! {"authenticated": true, "user": {"username": "system:serviceaccount:ns:app", "uid": "…", "groups": ["…"]}, "audiences": ["…"]}
//! ```
//!
//! The audiences in the answer are those of the question that the token is meant for; an answer that names only others
//! does not authenticate. An API that does not know of audiences names none: it then vouches for the token as one that
//! is meant for the API itself, and that counts. Nothing is kept: every check asks, unless the rule has a cache.
//!
//! `timeout` is the most milliseconds for the whole review. Default: 5000. With 0 only the deadline of the check counts
//! ([`LONGEST_REVIEW`](crate::resources::kubernetes::LONGEST_REVIEW) at the most).
//!
//! # Example
//! ```yaml
//! authentication:
//!   service-accounts:
//!     kubernetesTokenReview: {audiences: [talker-api]}
//! ```
//!
//! # Errors
//! - `credential not found`: the request carries no token where the rule looks for it, or an empty one.
//! - `not authenticated`: the Kubernetes API says so; the request has no host and the rule no audiences; or the token is
//!   larger than 64 kB.
//! - undecidable, `kubernetes API is not configured`: the process knows of no Kubernetes API. There is a warning when
//!   the AuthConfig is loaded.
//! - undecidable, `kubernetes API failed`, `kubernetes API timed out`, `kubernetes API is busy`: it did not answer.

use std::{borrow::Cow, sync::Arc, time::Duration};

use usher_api::KubernetesTokenReviewSpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome, host::Host};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::{Credentials, MAX_TOKEN, NOT_FOUND},
    resources::{
        http::time_limit,
        kubernetes::{NOT_CONFIGURED, Reviews, TokenReviewSpec, needed},
    },
};

/// Has the token of a request reviewed.
#[derive(Debug)]
pub struct KubernetesTokenReview {
    credentials: Credentials,
    audiences: Vec<String>,
    timeout: Option<Duration>,
    reviews: Option<Arc<dyn Reviews>>,
}

/// Reads `kubernetesTokenReview` of a rule.
pub fn build(
    spec: &KubernetesTokenReviewSpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<KubernetesTokenReview> {
    build_with(spec, credentials, at, context.resources.kubernetes.for_one_rule().as_ref(), problems)
}

fn build_with(
    spec: &KubernetesTokenReviewSpec,
    credentials: Option<Credentials>,
    at: &FieldPath<'_>,
    reviews: Option<&Arc<dyn Reviews>>,
    problems: &mut Problems,
) -> Option<KubernetesTokenReview> {
    let audiences_at = at.field("audiences");
    let mut complete = true;
    for (index, _) in spec.audiences.iter().enumerate().filter(|(_, audience)| audience.is_empty()) {
        problems.add(&audiences_at.index(index), "an audience must not be empty");
        complete = false;
    }
    let reviews = needed(reviews, at, problems);
    let credentials = credentials?;
    complete.then(|| KubernetesTokenReview {
        credentials,
        audiences: spec.audiences.clone(),
        timeout: time_limit(spec.timeout),
        reviews,
    })
}

impl Evaluator for KubernetesTokenReview {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let token = match self.credentials.require(context) {
            // The API would call that a malformed question, which says nothing about the caller.
            Ok(token) if token.is_empty() => return Evaluation::failure(Failure::denied(NOT_FOUND)),
            Ok(token) => token,
            Err(failure) => return Evaluation::failure(failure),
        };
        let audiences = if self.audiences.is_empty() { vec![requested_host(context)] } else { self.audiences.clone() };
        // An empty audience could be taken for none, which stands for the Kubernetes API itself.
        if token.len() > MAX_TOKEN || audiences.iter().any(String::is_empty) {
            return Evaluation::failure(not_authenticated());
        }
        match &self.reviews {
            Some(reviews) => Evaluation::pending(review(&**reviews, token.into_owned(), audiences, self.timeout)),
            None => Evaluation::failure(Failure::undecidable(NOT_CONFIGURED, "")),
        }
    }

    /// Without audiences of the rule the host is a part of it: a token that is meant for one host of the AuthConfig must
    /// not be found in the cache for another.
    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        let token = self.credentials.require(context)?;
        Ok(Some(if self.audiences.is_empty() {
            Cow::Owned(format!("{}\0{token}", requested_host(context)))
        } else {
            token
        }))
    }
}

fn requested_host(context: &Context<'_>) -> String {
    Host::parse(&context.request().parts().host).name.into_owned()
}

async fn review(reviews: &dyn Reviews, token: String, audiences: Vec<String>, timeout: Option<Duration>) -> Outcome {
    let spec = TokenReviewSpec { token, audiences: audiences.clone() };
    let status = reviews.token_review(spec, timeout).await?;
    let meant = status.audiences.is_empty() || status.audiences.iter().any(|audience| audiences.contains(audience));
    if !status.authenticated || !meant {
        return Err(not_authenticated());
    }
    match serde_json::to_value(&status) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(error) => Err(Failure::undecidable("kubernetes API failed", error.to_string())),
    }
}

fn not_authenticated() -> Failure {
    Failure::denied("not authenticated")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use usher_engine::{Request, RequestParts};

    use super::*;
    use crate::resources::kubernetes::scripted::Scripted;

    fn rule(reviews: Option<Arc<Scripted>>, spec: Value) -> KubernetesTokenReview {
        let spec = serde_json::from_value(spec).unwrap();
        let reviews = reviews.map(|reviews| reviews as Arc<dyn Reviews>);
        let mut problems = Problems::default();
        let at = FieldPath::root("k");
        let rule = build_with(&spec, Some(Credentials::default()), &at, reviews.as_ref(), &mut problems);
        let (problems, warnings) = problems.into_parts();
        assert_eq!((problems.len(), warnings.len()), (0, usize::from(reviews.is_none())));
        rule.unwrap()
    }

    fn request(host: &str, authorization: Option<&str>) -> Request {
        let headers = authorization.map(|value| ("authorization".to_owned(), value.to_owned()));
        Request::new(RequestParts {
            host: host.to_owned(),
            headers: headers.into_iter().collect(),
            ..RequestParts::default()
        })
    }

    async fn check(rule: &KubernetesTokenReview, request: &Request) -> Outcome {
        let context = Context::new(request, None, None);
        match rule.evaluate(&context) {
            Evaluation::Ready(outcome) => outcome,
            Evaluation::Pending(outcome) => outcome.await,
        }
    }

    #[tokio::test]
    async fn the_question_names_the_audiences_or_the_host() {
        let cases = [
            (json!([]), "echo-api", json!(["echo-api"])),
            (json!([]), "Echo-API.:8000", json!(["echo-api"])),
            (json!([]), "[::1]:8000", json!(["[::1]"])),
            (json!([]), "bücher.example", json!(["xn--bcher-kva.example"])),
            (json!(["a"]), "echo-api", json!(["a"])),
            (json!(["a", "b"]), "", json!(["a", "b"])),
        ];
        for (audiences, host, expected) in cases {
            let reviews = Scripted::status(json!({"authenticated": true, "user": {"username": "joe"}}));
            let spec = json!({"audiences": audiences, "timeout": 70});
            let rule = rule(Some(Arc::clone(&reviews)), spec);
            let identity = check(&rule, &request(host, Some("Bearer t"))).await.unwrap();
            assert_eq!(*identity, json!({"authenticated": true, "user": {"username": "joe"}}), "{host}");
            let limit = Some(Duration::from_millis(70));
            assert_eq!(reviews.asked(), [(json!({"token": "t", "audiences": expected}), limit)], "{host}");
        }
    }

    #[test]
    fn what_is_cached_for_one_host_is_not_found_for_another() {
        let credential = |spec: Value, host: &str| {
            let rule = rule(Some(Scripted::broken()), spec);
            let request = request(host, Some("Bearer t"));
            let context = Context::new(&request, None, None);
            rule.credential(&context).unwrap().map(Cow::into_owned)
        };
        assert_ne!(credential(json!({}), "a.test"), credential(json!({}), "b.test"));
        assert_eq!(credential(json!({}), "A.test:80"), credential(json!({}), "a.test"));
        for host in ["a.test", "b.test"] {
            assert_eq!(credential(json!({"audiences": ["a"]}), host).as_deref(), Some("t"));
        }
    }

    #[tokio::test]
    async fn only_a_token_for_an_audience_of_the_rule_authenticates() {
        let cases = [
            (json!({"authenticated": true}), true),
            (json!({"authenticated": true, "audiences": []}), true),
            (json!({"authenticated": true, "audiences": ["b"]}), true),
            (json!({"authenticated": true, "audiences": ["x", "a"]}), true),
            (json!({"authenticated": true, "audiences": ["x"]}), false),
            (json!({"authenticated": true, "audiences": ["A"]}), false),
            (json!({"authenticated": false, "audiences": ["a"], "error": "expired"}), false),
            (json!({}), false),
        ];
        for (status, authenticates) in cases {
            let rule = rule(Some(Scripted::status(status.clone())), json!({"audiences": ["a", "b"]}));
            match check(&rule, &request("h", Some("Bearer t"))).await {
                Ok(_) => assert!(authenticates, "{status}"),
                Err(failure) => {
                    assert!(!authenticates, "{status}");
                    assert_eq!(failure, Failure::denied("not authenticated"), "{status}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_not_asked() {
        let too_long = format!("Bearer {}", "t".repeat(MAX_TOKEN + 1));
        let cases = [
            (request("h", None), "credential not found"),
            (request("h", Some("Basic t")), "credential not found"),
            (request("h", Some("Bearer ")), "credential not found"),
            (request("", Some("Bearer t")), "not authenticated"),
            (request(":8000", Some("Bearer t")), "not authenticated"),
            (request("h", Some(&too_long)), "not authenticated"),
        ];
        for (request, reason) in cases {
            let reviews = Scripted::status(json!({"authenticated": true}));
            let rule = rule(Some(Arc::clone(&reviews)), json!({}));
            assert_eq!(check(&rule, &request).await, Err(Failure::denied(reason)));
            assert_eq!(reviews.asked(), []);
        }
    }

    #[test]
    fn an_empty_audience_is_a_problem() {
        let spec = serde_json::from_value(json!({"audiences": ["a", ""]})).unwrap();
        let mut problems = Problems::default();
        let at = FieldPath::root("k");
        assert!(build_with(&spec, Some(Credentials::default()), &at, None, &mut problems).is_none());
        let (problems, _) = problems.into_parts();
        assert_eq!(problems[0].to_string(), "k.audiences[1]: an audience must not be empty");
    }

    #[tokio::test]
    async fn without_an_answer_nothing_is_decided() {
        let request = request("h", Some("Bearer t"));
        let failure = check(&rule(None, json!({})), &request).await.unwrap_err();
        assert_eq!(failure, Failure::undecidable("kubernetes API is not configured", ""));
        let failure = check(&rule(Some(Scripted::broken()), json!({})), &request).await.unwrap_err();
        assert_eq!(failure, Failure::undecidable("kubernetes API failed", "HTTP 500: it broke"));
    }
}
