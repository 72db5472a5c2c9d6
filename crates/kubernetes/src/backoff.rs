//! How long to wait before trying again.

use std::time::Duration;

/// Pauses that double with each failure, up to a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row; none after none.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        self.first.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.longest)
    }
}

/// Somewhat longer, by up to a fifth, so that replicas that failed together do not all come back together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness it is just the pause.
    let _ = aws_lc_rs::rand::fill(&mut random);
    pause + (pause / 5).mul_f64(f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(300) };
        let millis =
            [0, 1, 2, 3, 10, 11, 32, 33, 34, u32::MAX].map(|failures| backoff.pause(failures).as_millis() as u64);
        assert_eq!(millis, [0, 500, 1000, 2000, 256_000, 300_000, 300_000, 300_000, 300_000, 300_000]);
    }

    #[test]
    fn jitter_adds_up_to_a_fifth() {
        let pause = Duration::from_secs(10);
        let pauses: Vec<_> = (0..100).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|jittered| (pause..=Duration::from_secs(12)).contains(jittered)), "{pauses:?}");
        assert!(pauses.iter().any(|other| Some(other) != pauses.first()));
    }
}
