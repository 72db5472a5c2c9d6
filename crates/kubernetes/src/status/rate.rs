//! How many writes there may be.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

/// So many per second, and a few more after a pause.
pub(super) struct Rate(RateLimiter<NotKeyed, InMemoryState, SinceStart, NoOpMiddleware<Duration>>);

impl Rate {
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self(RateLimiter::direct_with_clock(quota, SinceStart(Instant::now())))
    }

    /// Takes one.
    ///
    /// # Errors
    ///
    /// How long it takes until there is one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.0.check().map_err(|not_until| not_until.wait_time_from(self.0.clock().now()))
    }
}

/// The clock of the runtime, which tests can turn.
#[derive(Debug, Clone)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_are_some_at_once_and_then_some_per_second() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let rate = Rate::new(number(20), number(30));
        assert_eq!((0..100).filter(|_| rate.take().is_ok()).count(), 30);
        let wait = rate.take().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(50), "{wait:?}");
        tokio::time::advance(wait).await;
        assert_eq!(rate.take(), Ok(()));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!((0..100).filter(|_| rate.take().is_ok()).count(), 10);
    }
}
