//! Durations and sizes as Kubernetes objects write them.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error};

/// `1s`, `500ms`, `1m30s`; None for anything else.
pub(in crate::with_gateways) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let units = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(units);
        let number: u32 = number.parse().ok()?;
        let unit = match unit {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        sum = sum.checked_add(unit.checked_mul(number)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

/// A field with a [`duration`].
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no duration")))).transpose()
}

#[test]
fn durations_are_read() {
    assert_eq!(duration("1s"), Some(Duration::from_secs(1)));
    assert_eq!(duration("1m30s500ms"), Some(Duration::from_millis(90_500)));
    assert_eq!(duration("0s"), Some(Duration::ZERO));
    for wrong in ["", "1", "s", "-1s", "1.5s", "1 s", "1d", "99999999999s"] {
        assert_eq!(duration(wrong), None, "{wrong}");
    }
}
