//! What a token endpoint answers (RFC 6749 §5).

use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use serde_json::Value;
use url::form_urlencoded;

use crate::{SecretText, resources::http::Response};

/// A token and its life.
pub(super) struct Answer {
    pub(super) access_token: SecretText,
    /// Seconds from now; none if the token does not expire.
    pub(super) expires_in: Option<i64>,
}

/// Reads an answer. An error says what the server says about it, without what else it sent.
pub(super) fn read(response: &Response) -> Result<Answer, String> {
    let members = members(response);
    let text = |name: &str| match members.as_ref().ok()?.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    if let Some(code) = text("error") {
        let mut message = format!("oauth2: {:?}", shortened(code));
        for name in ["error_description", "error_uri"] {
            if let Some(more) = text(name) {
                message.push_str(&format!(" {:?}", shortened(more)));
            }
        }
        return Err(message);
    }
    if !response.status.is_success() {
        return Err(format!("oauth2: cannot fetch token: {}", response.status));
    }
    let members = members.as_ref().map_err(|cause| format!("oauth2: cannot parse token response: {cause}"))?;
    let access_token = text("access_token").ok_or("oauth2: server response missing access_token")?;
    let expires_in = match members.get("expires_in") {
        None => None,
        Some(value) => seconds(value).ok_or("oauth2: `expires_in` of the server response is not a number")?,
    };
    Ok(Answer { access_token: access_token.into(), expires_in })
}

/// The members of the answer: of a form where it says to be one, or to be text, and else of a JSON object.
fn members(response: &Response) -> Result<HashMap<String, Value>, String> {
    let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if ["application/x-www-form-urlencoded", "text/plain"].iter().any(|form| media_type.eq_ignore_ascii_case(form)) {
        let pairs = form_urlencoded::parse(&response.body);
        Ok(pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect())
    } else {
        // Its own text may quote the answer, which may be a token.
        serde_json::from_slice(&response.body)
            .map_err(|error| format!("not a JSON object: line {}, column {}", error.line(), error.column()))
    }
}

/// Seconds as a number or its digits; 0, like nothing at all, means that there is no end.
fn seconds(value: &Value) -> Option<Option<i64>> {
    let seconds = match value {
        Value::Null => 0,
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))?,
        Value::String(text) if text.is_empty() => 0,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Some(Some(seconds).filter(|seconds| *seconds != 0))
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
