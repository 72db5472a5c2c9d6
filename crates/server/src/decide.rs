//! Who decides, and the guard around it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use usher_engine::{Request, Verdict};

/// Decides about requests.
pub trait Decide: Send + Sync + 'static {
    /// The verdict about one request.
    ///
    /// Duties: to be done by the deadline of `call`, to log and count the decision. A panic, a verdict that comes too late and
    /// one that never comes become "undecidable" here. The future is dropped when the caller goes away.
    fn decide(&self, request: Arc<Request>, call: Call<'_>) -> impl Future<Output = Verdict> + Send;
}

/// What is known about the call that carries a request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// When an answer is worth nothing any more: the smaller of the caller's deadline and our own limit.
    pub deadline: Option<Instant>,
    /// gRPC metadata or HTTP headers of the call itself.
    pub headers: &'a ::http::HeaderMap,
}

/// How long a decision may take after its deadline to come to its end by itself, so that it can be logged and its
/// callbacks run.
const GRACE: Duration = Duration::from_millis(2);

impl Call<'_> {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Asks for a verdict and returns one, whatever happens.
pub(crate) async fn guarded<D: Decide>(decide: &D, request: Arc<Request>, call: Call<'_>) -> Verdict {
    if call.is_late() {
        let id = &*request.parts().id;
        tracing::warn!("request id" = id, "the deadline of a check had passed before it could be decided");
        return late();
    }
    let decision = AssertUnwindSafe(async { decide.decide(request, call).await }).catch_unwind();
    let mut decision = pin!(decision);
    // Most decisions need no waiting, and so no timer.
    let decided = match futures_util::poll!(decision.as_mut()) {
        Poll::Ready(decided) => decided,
        Poll::Pending => match call.deadline {
            None => decision.await,
            Some(deadline) => {
                let end = deadline.checked_add(GRACE).unwrap_or(deadline);
                match tokio::time::timeout_at(end.into(), decision).await {
                    Ok(decided) => decided,
                    Err(_) => return late(),
                }
            }
        },
    };
    match decided {
        Ok(_) if call.is_late() => late(),
        Ok(verdict) => verdict,
        Err(_) => {
            tracing::error!("a decision panicked");
            Verdict::undecidable("internal error", "the decision panicked")
        }
    }
}

/// Without a reason, like the engine's own: the caller has usually gone.
fn late() -> Verdict {
    Verdict::undecidable("", "the deadline of the check passed")
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;

    use super::*;
    use crate::testing::Scripted;

    async fn reason(decide: Scripted, deadline: Option<Instant>) -> String {
        let headers = HeaderMap::new();
        match guarded(&decide, Arc::default(), Call { deadline, headers: &headers }).await {
            Verdict::Undecidable(undecided) => undecided.reason.to_owned(),
            Verdict::Deny(denial) => denial.reason,
            Verdict::Allow(_) => "allowed".to_owned(),
        }
    }

    #[tokio::test]
    async fn whatever_happens_there_is_a_verdict() {
        let soon = Some(Instant::now() + Duration::from_millis(5));
        let later = Some(Instant::now() + Duration::from_secs(60));
        let past = Some(Instant::now());
        assert_eq!(reason(Scripted::Allow, None).await, "allowed");
        assert_eq!(reason(Scripted::Allow, later).await, "allowed");
        assert_eq!(reason(Scripted::Allow, past).await, "");
        assert_eq!(reason(Scripted::Deny, later).await, "no");
        assert_eq!(reason(Scripted::Panic, later).await, "internal error");
        assert_eq!(reason(Scripted::PanicLater, later).await, "internal error");
        assert_eq!(reason(Scripted::Never, soon).await, "");
    }

    #[tokio::test]
    async fn a_verdict_that_took_too_long_does_not_count() {
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(reason(Scripted::BusyUntilLate, Some(soon)).await, "");
    }

    /// Gives up at the deadline, as the engine does, and remembers that it came to its end.
    #[derive(Default)]
    struct Punctual(std::sync::atomic::AtomicBool);

    impl Decide for Punctual {
        async fn decide(&self, _: Arc<Request>, call: Call<'_>) -> Verdict {
            let deadline = call.deadline.unwrap();
            let _ = tokio::time::timeout_at(deadline.into(), std::future::pending::<()>()).await;
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            Verdict::undecidable("late", "")
        }
    }

    #[tokio::test]
    async fn a_decision_that_ends_at_its_deadline_comes_to_its_end() {
        let headers = HeaderMap::new();
        for _ in 0..20 {
            let (decide, deadline) = (Punctual::default(), Some(Instant::now() + Duration::from_micros(2500)));
            let verdict = guarded(&decide, Arc::default(), Call { deadline, headers: &headers }).await;
            assert_eq!(verdict.reason(), "");
            assert!(decide.0.load(std::sync::atomic::Ordering::SeqCst));
        }
    }
}
