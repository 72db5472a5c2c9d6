//! Admission reviews of Kubernetes, `admission.k8s.io/v1`: a webhook that asks us.

use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;

/// A review that asks for an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Review {
    uid: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    request: Option<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    uid: String,
}

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

impl Review {
    /// None if the body is something else.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let body: Body = serde_json::from_slice(body).ok()?;
        let request = body.request?;
        (body.api_version == API_VERSION && body.kind == KIND).then_some(Self { uid: request.uid })
    }

    /// The answer, in JSON. The API server wants to hear HTTP 200 in any case.
    pub(super) fn answer(self, answer: &Answer) -> String {
        let response = match answer {
            Answer::Allowed(_) => json!({ "uid": self.uid, "allowed": true }),
            Answer::Refused(refused) => {
                let code = refused.kind.status;
                let status = match refused.reason.as_str() {
                    "" => json!({ "metadata": {}, "code": code }),
                    reason => json!({ "metadata": {}, "message": reason, "code": code }),
                };
                json!({ "uid": self.uid, "allowed": false, "status": status })
            }
        };
        json!({ "kind": KIND, "apiVersion": API_VERSION, "response": response }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use usher_engine::Verdict;
    use usher_engine::verdict::{Denial, DenialKind};

    use super::*;
    use crate::testing;

    #[test]
    fn bodies() {
        let uid = |body: &str| Review::parse(body.as_bytes()).map(|review| review.uid);
        let review = r#" {"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7","object":{"a":[1]}}}"#;
        assert_eq!(uid(review).as_deref(), Some("7"));
        assert_eq!(uid(&review.replace(r#""uid":"7","#, "")).as_deref(), Some(""));
        for other in [
            "",
            "{}",
            "text",
            "[1]",
            "{\"apiVersion\":",
            &review.replace("/v1", "/v1beta1"),
            &review.replace("AdmissionReview", "TokenReview"),
            &review.replace(r#"{"uid":"7","object":{"a":[1]}}"#, "null"),
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
        ] {
            assert_eq!(uid(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn answers() {
        let answer = |verdict| Review { uid: "7".to_owned() }.answer(&Answer::new(verdict, ""));
        let deny = |status, reason: &str| {
            Verdict::Deny(Denial { status, body: "b".to_owned(), ..Denial::new(DenialKind::Unauthorized, reason) })
        };
        for (verdict, expected) in [
            (testing::allow().await, r#"{"uid":"7","allowed":true}"#),
            (
                deny(Some(302), "Unauthorized"),
                r#"{"uid":"7","allowed":false,"status":{"metadata":{},"message":"Unauthorized","code":403}}"#,
            ),
            (deny(None, ""), r#"{"uid":"7","allowed":false,"status":{"metadata":{},"code":403}}"#),
            (
                Verdict::not_found(),
                r#"{"uid":"7","allowed":false,"status":{"metadata":{},"message":"Service not found","code":404}}"#,
            ),
        ] {
            let expected =
                format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{expected}}}"#);
            assert_eq!(answer(verdict), expected);
        }
    }
}
