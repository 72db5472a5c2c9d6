//! Runs one step inside its guard: condition, cache, panics, deadline, counters, journal.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    time::Instant,
};

use futures_util::FutureExt as _;
use usher_expr::{EvaluationError, Predicate};

use crate::{
    Context, Evaluation, Failure, Outcome, Step,
    evaluator::Undecided,
    journal::{Entry, StepOutcome},
};

/// How a step began.
pub(crate) enum Begun<'a> {
    /// Its conditions do not match: it has no result.
    Skipped,
    /// Its conditions could not be evaluated: it has no result; the phase says what that means.
    ConditionFailed(EvaluationError),
    /// It is done.
    Done(Outcome),
    /// It goes on.
    Running(Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>),
}

/// Begins a step. A panic of the evaluator becomes an undecidable failure.
pub(crate) fn begin<'a>(phase: &'static str, step: &'a Step, context: &'a Context<'a>) -> Begun<'a> {
    if let Some(meters) = &step.meters {
        meters.reached(context);
    }
    if context.is_late() {
        if let Some(meters) = &step.meters {
            meters.cancelled(context);
        }
        return Begun::Done(Err(late()));
    }
    let observed = Observed::new(phase, step, context);
    if let Some(when) = &step.when {
        match test(when, context) {
            Ok(true) => {}
            Ok(false) => {
                observed.skipped(StepOutcome::Skipped);
                return Begun::Skipped;
            }
            Err(error) => {
                observed.skipped(StepOutcome::ConditionFailed(error.message.clone()));
                return Begun::ConditionFailed(error);
            }
        }
    }
    match evaluate(step, context) {
        Evaluation::Ready(outcome) => {
            observed.ended(&outcome);
            Begun::Done(outcome)
        }
        Evaluation::Pending(future) => Begun::Running(Box::pin(async move {
            let outcome = before_deadline(context, future).await;
            observed.ended(&outcome);
            outcome
        })),
    }
}

/// Evaluates a condition; a panic inside is an error.
pub(crate) fn test(predicate: &Predicate, context: &Context<'_>) -> Result<bool, EvaluationError> {
    catch_unwind(AssertUnwindSafe(|| predicate.test(context)))
        .unwrap_or_else(|_| Err(EvaluationError::new("the condition could not be evaluated")))
}

fn evaluate<'a>(step: &'a Step, context: &'a Context<'a>) -> Evaluation<'a> {
    let guarded = |run: &dyn Fn() -> Evaluation<'a>| {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Evaluation::failure(panicked(step)))
    };
    let Some(cache) = &step.cache else {
        return guarded(&|| step.evaluator.evaluate(context));
    };
    let look_up = || {
        let key = cache.key(&*step.evaluator, context)?;
        Ok(key.map(|key| cache.get(&key).ok_or(key)))
    };
    let key = match catch_unwind(AssertUnwindSafe(look_up)) {
        Ok(Ok(Some(Ok(found)))) => return Evaluation::Ready(Ok(found)),
        Ok(Ok(Some(Err(key)))) => key,
        Ok(Ok(None)) => return guarded(&|| step.evaluator.evaluate(context)),
        Ok(Err(failure)) => return Evaluation::failure(failure),
        Err(_) => return Evaluation::failure(panicked(step)),
    };
    Evaluation::pending(cache.get_or(key, async move {
        match guarded(&|| step.evaluator.evaluate(context)) {
            Evaluation::Ready(outcome) => outcome,
            Evaluation::Pending(future) => match AssertUnwindSafe(future).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(_) => Err(panicked(step)),
            },
        }
    }))
}

/// Waits for a step until the deadline of the check, and catches its panic.
async fn before_deadline<'a>(
    context: &'a Context<'a>,
    future: Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>,
) -> Outcome {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    // The very moment, not the time that is left: whoever waits for the whole check until then looks here first.
    let outcome = match context.deadline() {
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), guarded).await {
            Ok(outcome) => outcome,
            Err(_) => return Err(late()),
        },
        None => guarded.await,
    };
    outcome.unwrap_or_else(|_| Err(Failure::undecidable(INTERNAL, "an evaluator panicked")))
}

/// The failure of a rule that everything depends on, when its condition could not be evaluated.
pub(super) fn condition_failed(error: &EvaluationError) -> Failure {
    Failure::undecidable("conditions could not be evaluated", format!("the condition of the rule: {error}"))
}

fn late() -> Failure {
    Failure::Undecidable(Undecided { reason: "", detail: "the deadline has passed".to_owned(), retry_after: None })
}

fn panicked(step: &Step) -> Failure {
    tracing::error!(rule = &*step.name, "an evaluator panicked");
    Failure::undecidable(INTERNAL, format!("the evaluator of rule `{}` panicked", step.name))
}

/// The reason given to callers when something broke.
pub(super) const INTERNAL: &str = "internal error";

/// Tells counters and journal what a step did. Looks at the clock only if one of them is there.
struct Observed<'a> {
    phase: &'static str,
    step: &'a Step,
    context: &'a Context<'a>,
    started: Option<Instant>,
}

impl<'a> Observed<'a> {
    fn new(phase: &'static str, step: &'a Step, context: &'a Context<'a>) -> Self {
        let wanted = step.meters.is_some() || context.journal().is_some();
        Self { phase, step, context, started: wanted.then(Instant::now) }
    }

    fn skipped(&self, outcome: StepOutcome) {
        if let Some(meters) = &self.step.meters {
            meters.ignored(self.context);
        }
        self.record(outcome);
    }

    fn ended(&self, outcome: &Outcome) {
        if let (Some(meters), Some(started)) = (&self.step.meters, self.started) {
            meters.ran(outcome.is_ok(), started.elapsed(), self.context);
        }
        if self.context.journal().is_some() {
            self.record(match outcome {
                Ok(_) => StepOutcome::Succeeded,
                Err(Failure::Denied(reason)) => StepOutcome::Denied(reason.clone().into_owned()),
                Err(failure) => StepOutcome::Undecidable(failure.detail().to_owned()),
            });
        }
    }

    fn record(&self, outcome: StepOutcome) {
        if let (Some(journal), Some(started)) = (self.context.journal(), self.started) {
            journal.record(Entry {
                phase: self.phase,
                rule: self.step.name.to_string(),
                outcome,
                took: started.elapsed(),
            });
        }
    }
}
