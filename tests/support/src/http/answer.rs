//! Bodies of answers.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use serde_json::Value;

use crate::failure::Failure;

/// The body of an answer.
pub(crate) type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// An answer with JSON.
pub(crate) fn json_answer(code: u16, value: &Value) -> Response<Answer> {
    raw_answer(code, serde_json::to_vec(value).unwrap().into())
}

/// An answer with JSON that is serialised already.
pub(crate) fn raw_answer(code: u16, json: Bytes) -> Response<Answer> {
    let mut answer = Response::new(Full::new(json).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An error answer.
pub(crate) fn failed(failure: &Failure) -> Response<Answer> {
    let mut answer = json_answer(failure.status_code().as_u16(), &failure.to_value());
    if let Some(seconds) = failure.retry_after_seconds() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Adds warnings for the user, each in a header.
pub(crate) fn warn(answer: &mut Response<Answer>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
}
