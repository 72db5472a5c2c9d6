//! Text forms.
use std::borrow::Cow;
use serde_json::Value;
/// Text.
#[must_use]
pub fn stringify(value: &Value) -> Cow<'_, str> { match value { Value::String(s) => Cow::Borrowed(s), Value::Null => Cow::Borrowed(""), other => Cow::Owned(other.to_string()) } }
