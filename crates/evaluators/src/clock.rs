//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The second since 1970, UTC.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// How long it is from now to that second since 1970, but a century at most: caches add it to the present, which must not
/// overflow.
pub(crate) fn time_until(second: i64) -> Duration {
    const CENTURY: u64 = 100 * 365 * 24 * 3600;
    let seconds = u64::try_from(second.saturating_sub(now())).unwrap_or(0);
    Duration::from_secs(seconds.min(CENTURY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_a_second_is_bounded() {
        for past in [i64::MIN, -1, 0, now() - 1] {
            assert_eq!(time_until(past), Duration::ZERO, "{past}");
        }
        let minute = time_until(now() + 60).as_secs();
        assert!((59..=60).contains(&minute), "{minute}");
        assert_eq!(time_until(i64::MAX).as_secs() / (365 * 24 * 3600), 100);
    }
}
