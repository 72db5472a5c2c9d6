//! How often one rule may ask the Kubernetes API.
//!
//! The API serves the whole cluster, and so it must not be asked as often as requests arrive. A rule may ask some
//! questions at once ([`Rate::burst`]) and then so many a second; more questions wait, each as long as its check has time.

use std::{
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::{
    LONGEST_REVIEW, Review, ReviewError, Reviews, SubjectAccessReviewSpec, SubjectAccessReviewStatus, TokenReviewSpec,
    TokenReviewStatus,
};

/// How often one rule may ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Questions a second, more than 0.
    pub per_second: f64,
    /// Questions at once, after a rest.
    pub burst: NonZeroU32,
}

impl Rate {
    /// The reviews of one rule. A rate that is no number above 0 is none: nothing waits.
    pub(super) fn limit(self, reviews: Arc<dyn Reviews>) -> Arc<dyn Reviews> {
        let pause = Duration::try_from_secs_f64(self.per_second.recip()).ok();
        match pause.and_then(Quota::with_period) {
            Some(quota) => {
                let limiter = RateLimiter::direct(quota.allow_burst(self.burst));
                Arc::new(RateLimited { reviews, limiter, clock: DefaultClock::default() })
            }
            None => reviews,
        }
    }
}

struct RateLimited {
    reviews: Arc<dyn Reviews>,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl RateLimited {
    /// Waits for its turn, and gives the time that is left then.
    async fn turn(&self, timeout: Option<Duration>) -> Result<Duration, ReviewError> {
        let began = Instant::now();
        let limit = timeout.unwrap_or(LONGEST_REVIEW).min(LONGEST_REVIEW);
        loop {
            let left = limit.saturating_sub(began.elapsed());
            let Err(not_until) = self.limiter.check() else { return Ok(left) };
            let wait = not_until.wait_time_from(self.clock.now());
            if wait >= left {
                let detail = "the rule asks more often than `--kube-client-qps` allows".to_owned();
                return Err(ReviewError { reason: "kubernetes API is busy", detail });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Reviews for RateLimited {
    fn token_review(&self, spec: TokenReviewSpec, timeout: Option<Duration>) -> Review<'_, TokenReviewStatus> {
        Box::pin(async move {
            let left = self.turn(timeout).await?;
            self.reviews.token_review(spec, Some(left)).await
        })
    }

    fn subject_access_review(
        &self,
        spec: SubjectAccessReviewSpec,
        timeout: Option<Duration>,
    ) -> Review<'_, SubjectAccessReviewStatus> {
        Box::pin(async move {
            let left = self.turn(timeout).await?;
            self.reviews.subject_access_review(spec, Some(left)).await
        })
    }
}

impl fmt::Debug for RateLimited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RateLimited").field(&self.reviews).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::scripted::Scripted, *};

    fn limited(per_second: f64, burst: u32) -> (Arc<Scripted>, Arc<dyn Reviews>) {
        let reviews = Scripted::status(json!({"allowed": true}));
        let rate = Rate { per_second, burst: NonZeroU32::new(burst).unwrap() };
        (Arc::clone(&reviews), rate.limit(reviews))
    }

    async fn ask(reviews: &Arc<dyn Reviews>, timeout: Duration) -> Result<bool, &'static str> {
        let answer = reviews.subject_access_review(SubjectAccessReviewSpec::default(), Some(timeout)).await;
        answer.map(|status| status.allowed).map_err(|error| error.reason)
    }

    #[tokio::test]
    async fn questions_beyond_the_burst_wait_or_are_not_asked() {
        let (asked, reviews) = limited(50.0, 2);
        let began = Instant::now();
        for _ in 0..4 {
            assert_eq!(ask(&reviews, Duration::from_secs(10)).await, Ok(true));
        }
        assert!(began.elapsed() >= Duration::from_millis(35), "{:?}", began.elapsed());
        assert_eq!(asked.asked().len(), 4);

        let (asked, reviews) = limited(0.01, 1);
        assert_eq!(ask(&reviews, Duration::from_secs(1)).await, Ok(true));
        assert_eq!(ask(&reviews, Duration::from_secs(1)).await, Err("kubernetes API is busy"));
        assert_eq!(asked.asked().len(), 1);
        assert!(asked.asked().iter().all(|(_, timeout)| timeout.is_some_and(|it| it <= Duration::from_secs(1))));
    }

    #[tokio::test]
    async fn a_rate_that_is_none_limits_nothing() {
        for per_second in [0.0, -1.0, f64::NAN] {
            let (asked, reviews) = limited(per_second, 1);
            for _ in 0..100 {
                assert_eq!(ask(&reviews, Duration::from_secs(1)).await, Ok(true));
            }
            assert_eq!(asked.asked().len(), 100);
        }
    }
}
