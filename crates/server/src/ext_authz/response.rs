//! Answer to `CheckResponse`: the only place that makes one.
//!
//! Envoy takes an absent status, and status 0 next to a denial, for "allowed"; so the status is always set, 0 comes with an
//! `ok_response` and nothing else does.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use usher_engine::plan::HeaderAction;
use usher_engine::verdict::{Additions, ResponseHeader};
use usher_proto::Struct;
use usher_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, QueryParameter, header_value_option::HeaderAppendAction,
};
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
use usher_proto::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use usher_proto::envoy::r#type::v3::HttpStatus;
use usher_proto::google::rpc::Status;
use usher_proto::value::from_json;

use crate::answer::{Answer, Refused};

/// What the gateway is told. With `error_response` it is told apart "no" and "could not decide".
///
/// An allow always has dynamic metadata, a refusal only if there is any.
pub(crate) fn check_response(answer: Answer, error_response: bool) -> CheckResponse {
    let (code, http_response, dynamic_metadata) = match answer {
        Answer::Allowed(mut additions) => {
            let dynamic_metadata = std::mem::take(&mut additions.dynamic_metadata);
            (0, HttpResponse::OkResponse(ok(additions)), Some(metadata(dynamic_metadata)))
        }
        Answer::Refused(Refused { kind, status, headers, body, dynamic_metadata, .. }) => {
            let headers = headers.into_iter().map(plain).collect();
            let denied = DeniedHttpResponse { status: Some(HttpStatus { code: status.into() }), headers, body };
            let response = match kind.is_failure && error_response {
                true => HttpResponse::ErrorResponse(denied),
                false => HttpResponse::DeniedResponse(denied),
            };
            (kind.code, response, (!dynamic_metadata.is_empty()).then(|| metadata(dynamic_metadata)))
        }
    };
    let status = Status { code, message: String::new(), details: Vec::new() };
    CheckResponse { status: Some(status), http_response: Some(http_response), dynamic_metadata }
}

fn ok(additions: Additions) -> OkHttpResponse {
    let parameter = |(name, value): (String, String)| QueryParameter { key: encoded(name), value: encoded(value) };
    let query_parameters_to_set: Vec<_> = additions.query_parameters.into_iter().map(parameter).collect();
    let mut query_parameters_to_remove = additions.remove_query_parameters;
    // Envoy removes after setting, and compares names as they are spelled.
    query_parameters_to_remove.retain(|removed| !query_parameters_to_set.iter().any(|set| set.key == *removed));
    OkHttpResponse {
        headers: additions.headers.into_iter().map(replacing).collect(),
        headers_to_remove: additions.remove_headers,
        response_headers_to_add: additions.response_headers.into_iter().map(acting).collect(),
        query_parameters_to_set,
        query_parameters_to_remove,
        ..OkHttpResponse::default()
    }
}

/// A name or value of a query parameter, percent-encoded (RFC 3986 §2.1): Envoy pastes it into the query as it is.
fn encoded(text: String) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(unreserved) {
        return text;
    }
    text.bytes().fold(String::with_capacity(3 * text.len()), |mut encoded, byte| {
        if unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A header for the client of an allowed request. Here Envoy reads the second form, and takes the first one, where it is
/// set, for more than it says.
fn acting(ResponseHeader { name, value, action }: ResponseHeader) -> HeaderValueOption {
    let action = match action {
        HeaderAction::Append => HeaderAppendAction::AppendIfExistsOrAdd,
        HeaderAction::Overwrite => HeaderAppendAction::OverwriteIfExistsOrAdd,
        HeaderAction::AddIfAbsent => HeaderAppendAction::AddIfAbsent,
    };
    HeaderValueOption { append_action: action.into(), ..plain((name, value)) }
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
                        for header in ok.headers.iter().chain(&ok.response_headers_to_add) {
                            assert_ne!(header.append, Some(true), "{text}");
                        }
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

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn allowing(additions: Additions) -> OkHttpResponse {
        match check_response(Answer::Allowed(additions), true).http_response {
            Some(HttpResponse::OkResponse(ok)) => ok,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_for_the_upstream_replace_those_of_the_client() {
        let headers = pairs(&[("x-user", "emilia")]);
        let ok = allowing(Additions { headers, ..Additions::default() });
        let [header] = ok.headers.as_slice() else { panic!("{:?}", ok.headers) };
        assert_eq!((header.append, header.append_action()), (Some(false), HeaderAppendAction::OverwriteIfExistsOrAdd));
        let value = header.header.as_ref().unwrap();
        assert_eq!((value.key.as_str(), value.value.as_str(), value.raw_value.len()), ("x-user", "emilia", 0));
        let rest = OkHttpResponse { headers: Vec::new(), ..ok };
        assert_eq!(rest, OkHttpResponse::default());
    }

    #[test]
    fn headers_for_the_client_have_an_action_and_are_never_appended_by_the_older_field() {
        let cases = [
            (HeaderAction::Append, HeaderAppendAction::AppendIfExistsOrAdd),
            (HeaderAction::Overwrite, HeaderAppendAction::OverwriteIfExistsOrAdd),
            (HeaderAction::AddIfAbsent, HeaderAppendAction::AddIfAbsent),
        ];
        let header = |action| ResponseHeader { name: "x-a".to_owned(), value: "1".to_owned(), action };
        let response_headers = cases.iter().map(|(action, _)| header(*action)).collect();
        let ok = allowing(Additions { response_headers, ..Additions::default() });
        assert_eq!(ok.response_headers_to_add.len(), cases.len());
        for (sent, (action, expected)) in ok.response_headers_to_add.iter().zip(cases) {
            assert_eq!((sent.append, sent.append_action()), (None, expected), "{action:?}");
            assert_eq!(sent.header.as_ref().map(|header| header.value.as_str()), Some("1"));
        }
        assert!(ok.headers.is_empty());
    }

    #[test]
    fn the_query_is_encoded_and_what_is_set_is_not_removed() {
        let ok = allowing(Additions {
            remove_headers: vec!["x-secret".to_owned()],
            query_parameters: pairs(&[("user", "x&y=1 ü%~"), ("a b", "fine-1.0_")]),
            remove_query_parameters: ["a%20b", "a+b", "%75ser"].map(str::to_owned).to_vec(),
            ..Additions::default()
        });
        let set: Vec<_> = ok.query_parameters_to_set.iter().map(|set| (set.key.as_str(), set.value.as_str())).collect();
        assert_eq!(set, [("user", "x%26y%3D1%20%C3%BC%25~"), ("a%20b", "fine-1.0_")]);
        assert_eq!(ok.query_parameters_to_remove, ["a+b", "%75ser"]);
        assert_eq!(ok.headers_to_remove, ["x-secret"]);
    }

    #[test]
    fn metadata_of_a_denial_is_sent_if_there_is_any() {
        for (dynamic_metadata, expected) in [(json!({}), None), (json!({"why": "no"}), Some(vec!["why".to_owned()]))] {
            let dynamic_metadata = dynamic_metadata.as_object().unwrap().clone();
            let denial = Denial { dynamic_metadata, ..Denial::new(DenialKind::Unauthorized, "") };
            let response = check_response(Answer::new(Verdict::Deny(denial), ""), false);
            let sent = response.dynamic_metadata.map(|sent| sent.fields.into_keys().collect::<Vec<_>>());
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn metadata_too_deep_is_left_out_alone() {
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
        let object = Map::from_iter([("deep".to_owned(), deep), ("fine".to_owned(), json!({"a": [1]}))]);
        assert_eq!(metadata(object).fields.into_keys().collect::<Vec<_>>(), ["fine"]);
    }
}
