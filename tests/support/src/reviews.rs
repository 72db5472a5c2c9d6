//! TokenReviews and SubjectAccessReviews: their answers are scripted.

use serde_json::{Value, json};

use crate::failure::Failure;

/// What a review is answered with, if its question fits.
#[derive(Clone, Debug)]
pub struct ReviewScript {
    /// A part of the `spec` that must be found in the question: objects may have more members there; everything else must
    /// be equal.
    pub matches: Value,
    /// The answer.
    pub answer: ReviewAnswer,
}

/// The answer to a review.
#[derive(Clone, Debug)]
pub enum ReviewAnswer {
    /// The `status` of the review.
    Status(Value),
    /// An error with this HTTP status code.
    Error(u16),
}

/// The two kinds of reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewKind {
    Token,
    SubjectAccess,
}

/// What is scripted, and what was asked.
#[derive(Default)]
pub(crate) struct Reviews {
    tokens: Vec<ReviewScript>,
    accesses: Vec<ReviewScript>,
    /// The questions, each a whole review as it was sent.
    pub(crate) asked: Vec<Value>,
}

impl ReviewKind {
    pub(crate) fn of(group: &str, version: &str, plural: &str) -> Option<Self> {
        match (group, version, plural) {
            ("authentication.k8s.io", "v1", "tokenreviews") => Some(Self::Token),
            ("authorization.k8s.io", "v1", "subjectaccessreviews") => Some(Self::SubjectAccess),
            _ => None,
        }
    }
}

impl Reviews {
    pub(crate) fn script(&mut self, kind: ReviewKind, script: ReviewScript) {
        match kind {
            ReviewKind::Token => self.tokens.push(script),
            ReviewKind::SubjectAccess => self.accesses.push(script),
        }
    }

    /// Replaces all scripts: `{"tokenReviews": [{"match": {…}, "status": {…}}], "subjectAccessReviews": […]}`, where
    /// `code` may stand for `status`.
    pub(crate) fn read(&mut self, scripts: &Value) -> Result<(), String> {
        let read = |field: &str| -> Result<Vec<ReviewScript>, String> {
            scripts[field].as_array().into_iter().flatten().map(ReviewScript::read).collect()
        };
        (self.tokens, self.accesses) = (read("tokenReviews")?, read("subjectAccessReviews")?);
        Ok(())
    }

    /// Answers a review, and remembers it. The last script that fits decides.
    pub(crate) fn answer(&mut self, kind: ReviewKind, mut review: Value) -> Result<Value, Failure> {
        if !review["spec"].is_object() {
            return Err(Failure::bad_request("the review has no spec"));
        }
        self.asked.push(review.clone());
        let (scripts, nothing) = match kind {
            ReviewKind::Token => (&self.tokens, json!({"user": {}})),
            ReviewKind::SubjectAccess => (&self.accesses, json!({"allowed": false})),
        };
        let found = scripts.iter().rev().find(|script| contains(&review["spec"], &script.matches));
        let status = match found.map(|script| &script.answer) {
            Some(ReviewAnswer::Error(code)) => return Err(Failure::of_code(*code, "the review failed")),
            Some(ReviewAnswer::Status(status)) => status.clone(),
            None => nothing,
        };
        let (api_version, name) = match kind {
            ReviewKind::Token => ("authentication.k8s.io/v1", "TokenReview"),
            ReviewKind::SubjectAccess => ("authorization.k8s.io/v1", "SubjectAccessReview"),
        };
        review["apiVersion"] = json!(api_version);
        review["kind"] = json!(name);
        if review["metadata"].is_null() {
            review["metadata"] = json!({"creationTimestamp": null});
        }
        review["status"] = status;
        Ok(review)
    }
}

impl ReviewScript {
    fn read(value: &Value) -> Result<Self, String> {
        let answer = match (value["code"].as_u64(), value.get("status")) {
            (Some(code), None) => {
                ReviewAnswer::Error(u16::try_from(code).map_err(|_| format!("`{code}` is no status code"))?)
            }
            (None, Some(status)) => ReviewAnswer::Status(status.clone()),
            _ => return Err("expected either `status` or `code`".to_owned()),
        };
        Ok(Self { matches: value.get("match").cloned().unwrap_or_else(|| json!({})), answer })
    }
}

/// Whether `part` is found in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part)))
        }
        (whole, part) => whole == part,
    }
}
