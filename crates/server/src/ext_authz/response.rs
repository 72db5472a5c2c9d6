//! Answer to `CheckResponse`: the only place that makes one.
//!
//! Envoy takes an absent status, and status 0 next to a denial, for "allowed"; so the status is always set, 0 comes with an
//! `ok_response` and nothing else does.

use serde_json::{Map, Value};
use usher_proto::Struct;
use usher_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
use usher_proto::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use usher_proto::envoy::r#type::v3::HttpStatus;
use usher_proto::google::rpc::Status;
use usher_proto::value::from_json;

use crate::answer::{Allowed, Answer, Refused};

/// What the gateway is told. With `error_response` it is told apart "no" and "could not decide".
pub(crate) fn check_response(answer: Answer, error_response: bool) -> CheckResponse {
    let (code, http_response, dynamic_metadata) = match answer {
        Answer::Allowed(Allowed { headers, dynamic_metadata }) => {
            let headers = headers.into_iter().map(replacing).collect();
            let ok = OkHttpResponse { headers, ..OkHttpResponse::default() };
            (0, HttpResponse::OkResponse(ok), Some(metadata(dynamic_metadata)))
        }
        Answer::Refused(Refused { kind, status, headers, body, .. }) => {
            let headers = headers.into_iter().map(plain).collect();
            let denied = DeniedHttpResponse { status: Some(HttpStatus { code: status.into() }), headers, body };
            let response = match kind.is_failure && error_response {
                true => HttpResponse::ErrorResponse(denied),
                false => HttpResponse::DeniedResponse(denied),
            };
            (kind.code, response, None)
        }
    };
    let status = Status { code, message: String::new(), details: Vec::new() };
    CheckResponse { status: Some(status), http_response: Some(http_response), dynamic_metadata }
}

/// A header for the upstream that replaces the client's own. Envoy reads the first form only, other gateways the second.
fn replacing(header: (String, String)) -> HeaderValueOption {
    HeaderValueOption {
        append: Some(false),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..plain(header)
    }
}

/// A header for the client. With `append` set, Envoy would drop it.
fn plain((key, value): (String, String)) -> HeaderValueOption {
    let header = HeaderValue { key, value, ..HeaderValue::default() };
    HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }
}

/// A member too deep for readers of protobuf is left out by itself: with it the whole answer would be lost.
fn metadata(object: Map<String, Value>) -> Struct {
    let fields = object.into_iter().filter_map(|(name, value)| match from_json(value) {
        Ok(value) => Some((name, value)),
        Err(error) => {
            tracing::warn!(%name, %error, "dynamic metadata left out");
            None
        }
    });
    Struct { fields: fields.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_engine::Verdict;
    use usher_engine::evaluator::Undecided;
    use usher_engine::verdict::{Denial, DenialKind};

    use super::*;
    use crate::testing;

    async fn every_verdict() -> Vec<Verdict> {
        let kinds = [DenialKind::Unauthenticated, DenialKind::Unauthorized, DenialKind::NotFound, DenialKind::Invalid];
        let statuses = [None, Some(0), Some(100), Some(200), Some(302), Some(404), Some(511), Some(600)];
        let denials = kinds
            .into_iter()
            .flat_map(|kind| statuses.map(|status| Denial { status, body: "b".to_owned(), ..Denial::new(kind, "r") }));
        let undecided = |retry_after| Undecided { reason: "u", detail: "secret".to_owned(), retry_after };
        let mut verdicts: Vec<_> = denials.map(Verdict::Deny).collect();
        verdicts.push(Verdict::Undecidable(undecided(None)));
        verdicts.push(Verdict::Undecidable(undecided(Some(std::time::Duration::from_secs(3)))));
        verdicts.push(Verdict::not_found());
        verdicts.push(Verdict::invalid());
        verdicts.push(testing::allow().await);
        verdicts
    }

    #[tokio::test]
    async fn no_verdict_makes_a_response_that_could_be_taken_for_another() {
        for error_response in [false, true] {
            let mut allowed = 0;
            for verdict in every_verdict().await {
                let text = format!("{verdict:?} {error_response}");
                let (allow, undecidable) = (verdict.is_allowed(), matches!(verdict, Verdict::Undecidable(_)));
                let response = check_response(Answer::new(verdict, "id"), error_response);
                let code = response.status.expect("a status").code;
                let denied = match response.http_response.expect("a response") {
                    HttpResponse::OkResponse(ok) => {
                        assert!(allow && code == 0, "{text}");
                        assert!(response.dynamic_metadata.is_some() && ok.dynamic_metadata.is_none(), "{text}");
                        allowed += 1;
                        continue;
                    }
                    HttpResponse::DeniedResponse(denied) => {
                        assert!(!undecidable || !error_response, "{text}");
                        denied
                    }
                    HttpResponse::ErrorResponse(denied) => {
                        assert!(undecidable && error_response, "{text}");
                        denied
                    }
                };
                assert!(!allow && [3, 5, 7, 14, 16].contains(&code), "{text}");
                assert!((300..=599).contains(&denied.status.expect("an HTTP status").code), "{text}");
                for header in &denied.headers {
                    assert_eq!((header.append, header.append_action), (None, 0), "{text}");
                    assert!(!header.header.as_ref().is_some_and(|header| header.value.contains("secret")), "{text}");
                }
                assert!(denied.headers.iter().any(|header| header.header.as_ref().unwrap().key == "x-ext-auth-reason"));
            }
            assert_eq!(allowed, 1);
        }
    }

    #[test]
    fn headers_for_the_upstream_replace_those_of_the_client() {
        let answer = Answer::Allowed(Allowed {
            headers: vec![("x-user".to_owned(), "emilia".to_owned())],
            dynamic_metadata: Map::new(),
        });
        let Some(HttpResponse::OkResponse(ok)) = check_response(answer, true).http_response else {
            panic!("not allowed")
        };
        let [header] = ok.headers.as_slice() else { panic!("{:?}", ok.headers) };
        assert_eq!((header.append, header.append_action()), (Some(false), HeaderAppendAction::OverwriteIfExistsOrAdd));
        let value = header.header.as_ref().unwrap();
        assert_eq!((value.key.as_str(), value.value.as_str(), value.raw_value.len()), ("x-user", "emilia", 0));
        assert_eq!((ok.headers_to_remove.len(), ok.response_headers_to_add.len()), (0, 0));
    }

    #[test]
    fn metadata_too_deep_is_left_out_alone() {
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
        let object = Map::from_iter([("deep".to_owned(), deep), ("fine".to_owned(), json!({"a": [1]}))]);
        assert_eq!(metadata(object).fields.into_keys().collect::<Vec<_>>(), ["fine"]);
    }
}
