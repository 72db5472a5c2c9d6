//! What one evaluation may use besides the time that the engine itself looks at: memory made by built-in functions,
//! and the network.
//!
//! The engine calls built-in functions with their arguments and nothing else, so the budget of the evaluation that is
//! running belongs to the thread. Evaluations do not yield.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use regorus::Value;

/// The most bytes (estimated) of the values that built-in functions make in one evaluation, together.
pub(super) const MAX_MADE: usize = 64 << 20;

thread_local! {
    static RUNNING: RefCell<Option<Budget>> = const { RefCell::new(None) };
}

struct Budget {
    deadline: Instant,
    network: bool,
    left: usize,
    exhausted: Option<Exhausted>,
    answers: Vec<(Value, Value)>,
}

/// A limit was hit. The evaluation is worth nothing any more, whatever the policy made of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Exhausted(pub(super) &'static str);

/// Runs an evaluation within limits. The second value tells whether one was hit.
pub(super) fn run<T>(limit: Duration, network: bool, evaluation: impl FnOnce() -> T) -> (T, Option<Exhausted>) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            RUNNING.with(|running| running.replace(None));
        }
    }
    let deadline = Instant::now() + limit;
    RUNNING.with(|running| {
        running.replace(Some(Budget { deadline, network, left: MAX_MADE, exhausted: None, answers: Vec::new() }))
    });
    let reset = Reset;
    let result = evaluation();
    let exhausted = with(|budget| budget.exhausted).flatten();
    drop(reset);
    (result, exhausted)
}

/// Takes the estimated bytes of a value that is about to be made.
pub(super) fn charge(bytes: usize) -> Result<(), Exhausted> {
    let charged = with(|budget| match budget.left.checked_sub(bytes) {
        Some(left) => {
            budget.left = left;
            Ok(())
        }
        None => {
            let exhausted = Exhausted("the values made by the policy are too large");
            budget.exhausted = Some(exhausted);
            Err(exhausted)
        }
    });
    charged.unwrap_or(Ok(()))
}

/// Ends the evaluation: what it says from here on does not count.
pub(super) fn exhaust(what: &'static str) -> Exhausted {
    let exhausted = Exhausted(what);
    with(|budget| budget.exhausted = Some(exhausted));
    exhausted
}

/// The time that is left for a call over the network; `None` where there is no network: while a policy is loaded.
pub(super) fn network_time() -> Option<Duration> {
    with(|budget| budget.network.then(|| budget.deadline.saturating_duration_since(Instant::now()))).flatten()
}

/// What the same call was answered before in this evaluation.
pub(super) fn answer(request: &Value) -> Option<Value> {
    with(|budget| budget.answers.iter().find(|(known, _)| known == request).map(|(_, answer)| answer.clone())).flatten()
}

/// Remembers an answer until the evaluation ends.
pub(super) fn remember(request: Value, answer: Value) {
    with(|budget| budget.answers.push((request, answer)));
}

fn with<T>(action: impl FnOnce(&mut Budget) -> T) -> Option<T> {
    RUNNING.with(|running| running.borrow_mut().as_mut().map(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_does_not_outlive_its_evaluation() {
        let (result, exhausted) = run(Duration::from_secs(1), true, || {
            assert!(network_time().is_some());
            (charge(MAX_MADE - 1), charge(1), charge(1))
        });
        assert!(result.0.is_ok() && result.1.is_ok() && result.2.is_err());
        assert!(exhausted.is_some());
        let (result, exhausted) = run(Duration::from_secs(1), false, || (network_time(), charge(MAX_MADE)));
        assert_eq!((result.0, result.1.is_ok(), exhausted), (None, true, None));
        assert_eq!(network_time(), None);
    }

    #[test]
    fn a_panic_leaves_no_budget_behind() {
        let panicked =
            std::panic::catch_unwind(|| run(Duration::from_secs(1), true, || panic!("expected by the test")));
        assert!(panicked.is_err());
        assert_eq!(network_time(), None);
    }

    #[test]
    fn answers_are_remembered_within_one_evaluation() {
        let question = Value::from("q");
        run(Duration::from_secs(1), true, || {
            assert_eq!(answer(&question), None);
            remember(question.clone(), Value::from(1_u64));
            assert_eq!(answer(&question), Some(Value::from(1_u64)));
        });
        run(Duration::from_secs(1), true, || assert_eq!(answer(&question), None));
    }
}
