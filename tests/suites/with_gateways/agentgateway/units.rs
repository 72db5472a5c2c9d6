//! Durations and sizes in the fields of agentgateway's objects.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error};
use serde_json::Value;

use crate::with_gateways::units::duration;

/// A field with a [`duration`], which may be absent.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no duration")))).transpose()
}

/// A field with a number of bytes, or a quantity of Kubernetes such as `64Ki`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let size = match &value {
        Value::String(text) => quantity(text),
        value => value.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    size.ok_or_else(|| D::Error::custom(format!("{value} is no size")))
}

fn quantity(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => 1,
        "k" => 1000,
        "Ki" => 1 << 10,
        "M" => 1_000_000,
        "Mi" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[test]
fn quantities_are_read() {
    for (text, size) in [("1", 1), ("8k", 8000), ("8Ki", 8192), ("1M", 1_000_000), ("1Mi", 1_048_576)] {
        assert_eq!(quantity(text), Some(size), "{text}");
    }
    for wrong in ["", "Ki", "-1", "8KiB", "8 Ki", "8kb", "99999999999999999999"] {
        assert_eq!(quantity(wrong), None, "{wrong}");
    }
}
