//! What the engine asks of an evaluator, and what an evaluator may answer.

use std::{borrow::Cow, fmt::Debug, future::Future, pin::Pin, sync::Arc, time::Duration};

use serde_json::Value;

use crate::Context;

/// Runs one named rule of a plan: finds an identity, fetches metadata, takes one authorization decision, or builds one
/// item of the answer.
///
/// Duties: no panics, no unbounded time or memory, no blocking of the thread for more than about 100 microseconds
/// (longer work is [`Evaluation::Pending`] and runs elsewhere). The engine adds the guard for what happens all the
/// same: a panic becomes an undecidable failure.
pub trait Evaluator: Debug + Send + Sync {
    /// Runs on one request. What can be answered on the spot is answered on the spot.
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a>;

    /// Whether the evaluator ever had what its configuration needs from elsewhere before it can serve, such as the
    /// description of a server. Until then its configuration is not complete, and a metadata rule that fails is not
    /// skipped: nobody is let in by half a configuration.
    fn is_prepared(&self) -> bool {
        true
    }

    /// The credential that this evaluator looks at, for the cache of an authentication rule: it must be present before
    /// the cache is asked and is always part of the key, so that nobody is taken for somebody else.
    ///
    /// # Errors
    /// When the evaluator needs a credential that the request does not carry.
    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        let _ = context;
        Ok(None)
    }
}

/// An answer, or the way to it.
pub enum Evaluation<'a> {
    /// Known already: no allocation, no task.
    Ready(Outcome),
    /// Needs the network or much computation.
    Pending(Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>),
}

impl<'a> Evaluation<'a> {
    /// An evaluation that waits for `future`.
    pub fn pending(future: impl Future<Output = Outcome> + Send + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }

    /// Success, at once.
    pub fn success(value: impl Into<Arc<Value>>) -> Self {
        Self::Ready(Ok(value.into()))
    }

    /// Failure, at once.
    #[must_use]
    pub fn failure(failure: Failure) -> Self {
        Self::Ready(Err(failure))
    }
}

impl From<Outcome> for Evaluation<'_> {
    fn from(outcome: Outcome) -> Self {
        Self::Ready(outcome)
    }
}

/// What an evaluator found, or why it found nothing.
pub type Outcome = Result<Arc<Value>, Failure>;

/// Why an evaluator did not succeed. What follows from it is decided by the phase alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The caller's doing: no credential, a wrong one, a rule that says no, an expression that has no value for this
    /// request. The text may be shown to the caller.
    Denied(Cow<'static, str>),
    /// Nobody's doing: a dependency failed, a limit was hit, something broke. Never leads to an allow.
    Undecidable(Undecided),
}

/// Why something could not be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// A stable short text that callers may see.
    pub reason: &'static str,
    /// What exactly happened: for logs only.
    pub detail: String,
    /// When it may be worth to try again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// The caller's doing.
    pub fn denied(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(reason.into())
    }

    /// Nobody's doing: `reason` is for callers, `detail` for logs.
    pub fn undecidable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Undecidable(Undecided { reason, detail: detail.into(), retry_after: None })
    }

    /// The text that callers may see.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Denied(reason) => reason,
            Self::Undecidable(undecided) => undecided.reason,
        }
    }

    /// The text for logs and for who asks for an explanation.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Denied(reason) => reason,
            Self::Undecidable(undecided) if undecided.detail.is_empty() => undecided.reason,
            Self::Undecidable(undecided) => &undecided.detail,
        }
    }
}

impl From<usher_expr::EvaluationError> for Failure {
    /// An expression that has no value for this request is the caller's doing: another request would have had one.
    fn from(error: usher_expr::EvaluationError) -> Self {
        Self::Denied(Cow::Owned(error.message))
    }
}
