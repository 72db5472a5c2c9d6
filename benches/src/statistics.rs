//! Medians and percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A few times, each kept as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    /// Nanoseconds; what took longer than about four seconds counts as that.
    nanoseconds: Vec<u32>,
}

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.nanoseconds.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    /// The smallest time that at least `percent` of all did not exceed (nearest rank); none without times.
    pub(crate) fn percentile(&mut self, percent: usize) -> Option<Duration> {
        let rank = (self.nanoseconds.len() * percent).div_ceil(100).max(1);
        let index = rank.min(self.nanoseconds.len()).checked_sub(1)?;
        let (_, nanoseconds, _) = self.nanoseconds.select_nth_unstable(index);
        Some(Duration::from_nanos(u64::from(*nanoseconds)))
    }
}

/// Times of very many answers, each counted: to 0.1 %, from a nanosecond to a minute; what takes longer counts as a minute.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    /// In nanoseconds. It is only missing if these bounds were no bounds.
    histogram: Option<Histogram<u32>>,
}

impl Default for Distribution {
    fn default() -> Self {
        const MINUTE: u64 = 60_000_000_000;
        Self { histogram: Histogram::new_with_bounds(1, MINUTE, 3).ok() }
    }
}

impl Distribution {
    pub(crate) fn push(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// As [`quantile`](Self::quantile), in percent.
    pub(crate) fn percentile(&mut self, percent: usize) -> Option<Duration> {
        self.quantile(f64::from(u32::try_from(percent).ok()?) / 100.0)
    }

    /// The smallest time that at least this share of all, from 0 to 1, did not exceed (nearest rank); none without times.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_nanos(histogram.value_at_quantile(share)))
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
            assert_eq!(latencies.percentile(percent), expected.map(Duration::from_micros), "{percent} %");
        }
    }

    #[test]
    fn distributions_are_exact_to_a_thousandth() {
        let mut times = Distribution::default();
        assert_eq!((times.quantile(0.5), times.percentile(50), times.len()), (None, None, 0));
        (1..=10_000).for_each(|time| times.push(Duration::from_micros(time)));
        assert_eq!(times.len(), 10_000);
        for (share, expected) in [(0.0, 1), (0.5, 5000), (0.99, 9900), (0.999, 9990), (1.0, 10_000)] {
            let (found, expected) = (times.quantile(share).unwrap(), Duration::from_micros(expected));
            assert!(found.abs_diff(expected) <= expected / 1000, "{share}: {found:?}, not {expected:?}");
        }
        assert_eq!(times.percentile(99), times.quantile(0.99));
    }

    #[test]
    fn long_times_count_as_the_longest() {
        let mut exact = latencies([1]);
        exact.push(Duration::from_secs(5));
        assert_eq!(exact.percentile(100), Some(Duration::from_nanos(u64::from(u32::MAX))));
        let mut times = Distribution::default();
        times.push(Duration::from_secs(59));
        assert!(times.quantile(1.0).unwrap().abs_diff(Duration::from_secs(59)) < Duration::from_millis(59));
        times.push(Duration::MAX);
        assert_eq!(times.len(), 2);
        assert!(times.quantile(1.0).unwrap() >= Duration::from_secs(60));
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
