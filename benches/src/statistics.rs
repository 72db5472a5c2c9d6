//! Medians and percentiles.

use std::time::Duration;

/// Times of answers, each counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    /// Nanoseconds; what took longer than about four seconds counts as that.
    nanoseconds: Vec<u32>,
}

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.nanoseconds.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.nanoseconds.append(&mut other.nanoseconds);
    }

    pub(crate) fn len(&self) -> usize {
        self.nanoseconds.len()
    }

    /// The smallest time that at least `percent` of all did not exceed (nearest rank); none without times.
    pub(crate) fn percentile(&mut self, percent: usize) -> Option<Duration> {
        let rank = (self.nanoseconds.len() * percent).div_ceil(100).max(1);
        let index = rank.min(self.nanoseconds.len()).checked_sub(1)?;
        let (_, nanoseconds, _) = self.nanoseconds.select_nth_unstable(index);
        Some(Duration::from_nanos(u64::from(*nanoseconds)))
    }
}

/// The middle one, or the mean of the two in the middle; none without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get((values.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(microseconds: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        microseconds.into_iter().for_each(|time| latencies.push(Duration::from_micros(time)));
        latencies
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred = || latencies((1..=100).rev());
        for (mut latencies, percent, expected) in [
            (latencies([]), 50, None),
            (latencies([7]), 0, Some(7)),
            (latencies([7]), 50, Some(7)),
            (latencies([7]), 100, Some(7)),
            (latencies([9, 1]), 50, Some(1)),
            (latencies([9, 1]), 51, Some(9)),
            (latencies([3, 1, 2]), 50, Some(2)),
            (hundred(), 0, Some(1)),
            (hundred(), 50, Some(50)),
            (hundred(), 99, Some(99)),
            (hundred(), 100, Some(100)),
        ] {
            assert_eq!(
                latencies.percentile(percent),
                expected.map(Duration::from_micros),
                "{percent} % of {}",
                latencies.len()
            );
        }
    }

    #[test]
    fn long_times_do_not_wrap_and_parts_are_counted_together() {
        let mut all = latencies([1]);
        all.append(latencies([5_000_000]));
        assert_eq!(all.len(), 2);
        assert_eq!(all.percentile(100), Some(Duration::from_nanos(u64::from(u32::MAX))));
    }

    #[test]
    fn medians() {
        for (values, expected) in [
            (&[][..], None),
            (&[4.0], Some(4.0)),
            (&[4.0, 1.0], Some(2.5)),
            (&[9.0, 1.0, 4.0], Some(4.0)),
            (&[9.0, 1.0, 4.0, 5.0], Some(4.5)),
        ] {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }
}
