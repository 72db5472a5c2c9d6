//! From the answer of a registry to the text of a policy.

use serde_json::Value;

use crate::resources::http::Response;

/// The text of the policy in an answer: `result.raw` of JSON, as the policy API of Open Policy Agent answers, or else the
/// whole body.
///
/// # Errors
/// When there is no text. An answer without a policy is not taken for a policy that grants nothing: the registry has
/// more likely lost it.
pub(crate) fn text(response: &Response) -> Result<String, String> {
    let text = if response.says_json() {
        let document: Value = serde_json::from_slice(&response.body)
            .map_err(|error| format!("the answer is not JSON: line {}, column {}", error.line(), error.column()))?;
        let raw = document.get("result").and_then(|result| result.get("raw"));
        raw.and_then(Value::as_str).ok_or("the answer has no text `result.raw`")?.to_owned()
    } else {
        str::from_utf8(&response.body).map_err(|_| "the answer is not text in UTF-8")?.to_owned()
    };
    if text.trim().is_empty() {
        return Err("the answer holds an empty policy".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};

    use super::*;

    fn read(content_type: Option<&'static str>, body: &'static [u8]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        text(&Response { status: StatusCode::OK, headers, body: Bytes::from_static(body) })
    }

    #[test]
    fn the_text_is_the_body_or_a_member_of_it() {
        let json = br#"{"result": {"id": "p", "raw": "allow = true\n", "ast": {}}, "metrics": [1]}"#;
        let text = std::str::from_utf8(json).unwrap();
        for (content_type, body, expected) in [
            (Some("application/json"), &json[..], "allow = true\n"),
            (Some("Application/JSON; charset=utf-8"), json, "allow = true\n"),
            (Some("text/plain"), json, text),
            (None, json, text),
            (None, "allow { \"ä\" }".as_bytes(), "allow { \"ä\" }"),
        ] {
            assert_eq!(read(content_type, body).as_deref(), Ok(expected), "{content_type:?}");
        }
    }

    #[test]
    fn an_answer_without_a_policy_is_none() {
        const JSON: Option<&str> = Some("application/json");
        let not_json = "the answer is not JSON: line 1, column ";
        let no_text = "the answer has no text `result.raw`";
        let empty = "the answer holds an empty policy";
        let cases: [(_, &[u8], _); 14] = [
            (None, b"", empty),
            (None, b" \n\t", empty),
            (None, b"allow \xff", "the answer is not text in UTF-8"),
            (JSON, b"", not_json),
            (JSON, b"hush { allow = true }", not_json),
            (JSON, b"[]", no_text),
            (JSON, br#"[{"raw": "hush"}]"#, no_text),
            (JSON, b"\"allow = true\"", no_text),
            (JSON, br#"{"result": "hush"}"#, no_text),
            (JSON, br#"{"result": ["hush"]}"#, no_text),
            (JSON, br#"{"result": {"raw": ["hush"]}}"#, no_text),
            (JSON, b"{}", no_text),
            (JSON, br#"{"result": {"raw": null}}"#, no_text),
            (JSON, br#"{"result": {"raw": ""}}"#, empty),
        ];
        for (content_type, body, expected) in cases {
            let error = read(content_type, body).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("hush"), "{error} instead of {expected}");
        }
        let deep: &'static str = Box::leak(format!("{{\"a\": {}", "[".repeat(100_000)).into_boxed_str());
        assert!(read(JSON, deep.as_bytes()).unwrap_err().starts_with(not_json));
    }
}
