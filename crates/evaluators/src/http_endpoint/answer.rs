//! What an answer says.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::EndpointError;
use crate::{FieldPath, Problems, resources::http::Response};

/// The statuses of a success; all, if none is listed.
#[derive(Debug)]
pub(super) struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    pub(super) fn build(specs: &[Value], at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let mut ranges = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            match range(spec) {
                Some(range) => ranges.push(range),
                None => problems.add(
                    &at.index(index),
                    format!("`{}` is neither a status from 100 to 599 nor a class such as `2xx`", shown(spec)),
                ),
            }
        }
        (ranges.len() == specs.len()).then_some(Self(ranges))
    }

    pub(super) fn check(&self, response: &Response) -> Result<(), EndpointError> {
        let status = response.status.as_u16();
        if self.0.is_empty() || self.0.iter().any(|range| range.contains(&status)) {
            return Ok(());
        }
        Err(EndpointError::Dependency {
            reason: "unexpected response",
            detail: format!("the answer has the status {status}, which is not expected"),
        })
    }
}

/// A status as a number or as text, or a class: `404`, `"404"`, `"4xx"`.
fn range(spec: &Value) -> Option<RangeInclusive<u16>> {
    let status = match spec {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok())?,
        Value::String(text) => match text.as_bytes() {
            [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                let first = u16::from(class - b'0') * 100;
                return Some(first..=first + 99);
            }
            [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok()?,
            _ => return None,
        },
        _ => return None,
    };
    (100..=599).contains(&status).then_some(status..=status)
}

fn shown(spec: &Value) -> String {
    match spec {
        Value::String(text) => text.chars().take(40).collect(),
        other => other.to_string().chars().take(40).collect(),
    }
}

/// The answer as a value.
pub(super) fn read(response: &Response) -> Result<Value, EndpointError> {
    if !response.says_json() {
        return Ok(Value::String(String::from_utf8_lossy(&response.body).into_owned()));
    }
    let values = serde_json::Deserializer::from_slice(&response.body).into_iter();
    let mut values: Vec<Value> = values.collect::<Result<_, _>>().map_err(|error| invalid(&error.to_string()))?;
    match values.len() {
        0 => Err(invalid("there is nothing in it")),
        1 => Ok(values.remove(0)),
        _ => Ok(Value::Array(values)),
    }
}

fn invalid(cause: &str) -> EndpointError {
    EndpointError::Dependency { reason: "invalid response", detail: format!("the answer is not JSON: {cause}") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
    use serde_json::json;

    use super::*;

    fn response(types: &[&'static str], body: &'static [u8]) -> Response {
        let mut headers = HeaderMap::new();
        for content_type in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Response { status: StatusCode::OK, headers, body: Bytes::from_static(body) }
    }

    #[test]
    fn what_says_to_be_json_is_read_as_such() {
        let json_type = &["application/json"][..];
        let cases: [(&[&str], &[u8], Option<Value>); 24] = [
            (json_type, br#"{"foo":"bar"}"#, Some(json!({"foo": "bar"}))),
            (&["application/json; charset=utf-8"], b"{\"a\":1}\n{\"b\":2}\n", Some(json!([{"a": 1}, {"b": 2}]))),
            (json_type, br#"{"foo":"bar"}{"blah":"bleh"}"#, Some(json!([{"foo": "bar"}, {"blah": "bleh"}]))),
            (json_type, b"[1,2]", Some(json!([1, 2]))),
            (json_type, b"null", Some(Value::Null)),
            (json_type, b"\"x\"", Some(json!("x"))),
            (json_type, b" 5 true ", Some(json!([5, true]))),
            (json_type, br#"{"a":1,"a":2}"#, Some(json!({"a": 2}))),
            (json_type, b"", None),
            (json_type, b" \n", None),
            (json_type, b"{oops", None),
            (json_type, b"{} trailing", None),
            (json_type, b"{\"a\": \"\xff\"}", None),
            (&["Application/JSON"], b"{}", Some(json!({}))),
            (&["text/plain", "application/json"], b"{}", Some(json!({}))),
            (&["text/plain"], b"OK", Some(json!("OK"))),
            (&["text/plain"], b"", Some(json!(""))),
            (&["text/html"], b"<h1>no</h1>", Some(json!("<h1>no</h1>"))),
            (&["application/problem+json"], b"{}", Some(json!("{}"))),
            (&["application/x-ndjson"], b"{}\n{}", Some(json!("{}\n{}"))),
            (&["application/octet-stream"], br#"{"a":1}"#, Some(json!(r#"{"a":1}"#))),
            (&["text/plain"], b"a\xffb", Some(json!("a\u{fffd}b"))),
            (&[], b"{}", Some(json!("{}"))),
            (&[], b"", Some(json!(""))),
        ];
        for (types, body, expected) in cases {
            let shown = String::from_utf8_lossy(body);
            match read(&response(types, body)) {
                Ok(value) => assert_eq!(Some(value), expected, "{types:?} {shown}"),
                Err(error) => {
                    assert_eq!(None, expected, "{types:?} {shown}: {error}");
                    assert!(matches!(error, EndpointError::Dependency { reason: "invalid response", .. }));
                }
            }
        }
    }

    #[test]
    fn json_of_any_depth_is_read_or_refused() {
        for brackets in ["[", "{\"a\":"] {
            let body = Bytes::from(brackets.repeat(100_000));
            let deep = Response { body, ..response(&["application/json"], b"") };
            assert!(read(&deep).is_err());
        }
    }

    #[test]
    fn statuses_are_numbers_and_classes() {
        let cases = [
            (json!([]), 500, true),
            (json!([200]), 200, true),
            (json!([200]), 201, false),
            (json!(["2xx"]), 299, true),
            (json!(["2XX"]), 300, false),
            (json!(["404", 204]), 404, true),
            (json!(["404", 204]), 204, true),
            (json!(["404", "2xx"]), 500, false),
        ];
        for (specs, status, expected) in cases {
            let mut problems = Problems::default();
            let statuses =
                Statuses::build(specs.as_array().unwrap(), &FieldPath::root("expectStatus"), &mut problems).unwrap();
            let answer = Response { status: StatusCode::from_u16(status).unwrap(), ..response(&[], b"") };
            assert_eq!(statuses.check(&answer).is_ok(), expected, "{specs} {status}");
        }
    }

    #[test]
    fn what_is_no_status_is_refused_with_its_place() {
        let specs = [
            json!(200),
            json!(99),
            json!(600),
            json!("xxx"),
            json!("6xx"),
            json!("20"),
            json!("+20"),
            json!(20.5),
            json!(-200),
            json!(null),
            json!(["2xx"]),
            json!("2x"),
        ];
        let mut problems = Problems::default();
        assert!(Statuses::build(&specs, &FieldPath::root("expectStatus"), &mut problems).is_none());
        let (problems, _) = problems.into_parts();
        assert_eq!(problems.len(), 11);
        assert_eq!(
            problems[0].to_string(),
            "expectStatus[1]: `99` is neither a status from 100 to 599 nor a class such as `2xx`"
        );
    }
}
