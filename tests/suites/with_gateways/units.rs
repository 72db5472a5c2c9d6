//! Durations, as Kubernetes objects and as Envoy's configuration write them.

use std::time::Duration;

/// `1s`, `500ms`, `1m30s` of an object; None for anything else.
pub(super) fn duration(text: &str) -> Option<Duration> {
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

/// `1s`, `0.5s` of Envoy; None for anything else.
pub(super) fn of_envoy(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

/// The form that Envoy reads.
pub(super) fn to_envoy(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
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

#[test]
fn durations_of_envoy_are_read_and_written() {
    for (text, milliseconds) in [("0s", 0), ("0.25s", 250), ("1s", 1000), ("90.5s", 90_500)] {
        let duration = Duration::from_millis(milliseconds);
        assert_eq!((of_envoy(text), to_envoy(duration)), (Some(duration), text.to_owned()));
    }
    for wrong in ["", "s", "1", "-1s", "250ms", "1m"] {
        assert_eq!(of_envoy(wrong), None, "{wrong}");
    }
}
