//! The phases of a decision, in reading order.

pub(crate) mod authorization;
pub(crate) mod denial;
pub(crate) mod identity;
pub(crate) mod metadata;
pub(crate) mod policy;
pub(crate) mod response;
pub(crate) mod step;
mod waiting;

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use crate::{
    Context, Journal, Plan, Request, Verdict,
    callbacks::{self, Due},
    context::Known,
    evaluator::Undecided,
    journal::{Entry, StepOutcome},
    plan::{OnConditionError, PlanKind, Rules},
    request::MOST_NESTED,
    verdict::{Additions, Allow, Grant},
};

/// Decides about one request. After `deadline` the answer is *undecidable*, whatever was found. Callbacks do not run.
pub async fn check(plan: &Plan, request: &Request, deadline: Option<Instant>, journal: Option<&Journal>) -> Verdict {
    run(plan, request, deadline, journal).await.0
}

/// As [`check`], with the callbacks that are due now, for [`callbacks::Queue`]. None are due where the configuration has
/// none, does not work, or does not concern the request as far as its conditions say; nor when they cannot be evaluated.
pub async fn check_with_callbacks(
    plan: &Arc<Plan>,
    request: &Request,
    deadline: Option<Instant>,
    journal: Option<&Journal>,
) -> (Verdict, Option<Due>) {
    let (verdict, known) = run(plan, request, deadline, journal).await;
    (verdict, known.map(|known| Due::new(Arc::clone(plan), known)))
}

/// The verdict and, where there are callbacks, what they see. It is in a box so that what is handed on stays small.
async fn run(
    plan: &Plan,
    request: &Request,
    deadline: Option<Instant>,
    journal: Option<&Journal>,
) -> (Verdict, Option<Box<Known>>) {
    let rules = match &plan.kind {
        PlanKind::Rules(rules) => rules,
        PlanKind::Policy(policy) => return (policy::run(&**policy, request, deadline, journal), None),
        PlanKind::Pending(reason) => {
            return (Verdict::undecidable("configuration is being loaded", reason.clone()), None);
        }
        PlanKind::Broken(problem) => {
            return (Verdict::undecidable("configuration is invalid", problem.clone()), None);
        }
    };
    // Requests of rules that lead back to rules end here. Not where the next one would be made: there, whoever sends the
    // header could have a single rule fail, and what is denied by what a rule finds would pass.
    let nested = request.nesting();
    if nested >= MOST_NESTED {
        let detail = format!("the requests of rules lead back to rules: {nested} of them are nested");
        return (Verdict::undecidable("requests nested too deep", detail), None);
    }
    let mut context = Context::new(request, deadline, journal);
    match concerns(rules, &context) {
        ControlFlow::Continue(true) => {}
        ControlFlow::Continue(false) => {
            let allow = Allow::new(Grant::not_concerned(&NotConcerned(())), Additions::default());
            return (Verdict::Allow(allow), None);
        }
        ControlFlow::Break(verdict) => return (verdict, None),
    }
    let started = Instant::now();
    plan.meters.started(&context);
    let mut decided = match phases(rules, &mut context).await {
        ControlFlow::Continue(allow) => Decided { verdict: Verdict::Allow(allow), rule: None },
        ControlFlow::Break(decided) => decided,
    };
    let ended = Instant::now();
    if deadline.is_some_and(|deadline| ended >= deadline) {
        decided = Decided { verdict: too_late(), rule: None };
    }
    plan.meters.decided(&decided.verdict, ended.saturating_duration_since(started), &context);
    let known = (!rules.callbacks.is_empty()).then(|| Box::new(context.into_known(callbacks::decision(&decided))));
    (decided.verdict, known)
}

/// The phases in their order. Each of them may say no.
async fn phases(rules: &Rules, context: &mut Context<'_>) -> ControlFlow<Decided, Allow> {
    let identity = identity::run(rules, context).await?;
    metadata::run(rules, context).await?;
    let granted = authorization::run(rules, context).await?;
    let additions = response::run(rules, identity, context).await?;
    ControlFlow::Continue(Allow::new(Grant::every_rule_granted(&granted), additions))
}

/// A decision, and the rule that led to it where it was a single one.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    pub(crate) rule: Option<Arc<str>>,
}

impl Decided {
    /// A rule of `phase` could not decide.
    fn undecidable(phase: &str, rule: &Arc<str>, mut undecided: Undecided) -> Self {
        let detail = if undecided.detail.is_empty() { undecided.reason } else { &undecided.detail };
        undecided.detail = format!("{phase} rule `{rule}`: {detail}");
        Self { verdict: Verdict::Undecidable(undecided), rule: Some(Arc::clone(rule)) }
    }
}

/// Proof that the conditions of a configuration were evaluated and do not match.
#[derive(Debug)]
pub(crate) struct NotConcerned(());

/// Whether the configuration concerns the request.
fn concerns(rules: &Rules, context: &Context<'_>) -> ControlFlow<Verdict, bool> {
    let Some(when) = &rules.when else { return ControlFlow::Continue(true) };
    let started = context.journal().map(|_| Instant::now());
    let matched = step::test(when, context);
    if let (Some(journal), Some(started)) = (context.journal(), started) {
        let outcome = match &matched {
            Ok(true) => StepOutcome::Succeeded,
            Ok(false) => StepOutcome::Skipped,
            Err(error) => StepOutcome::ConditionFailed(error.message.clone()),
        };
        journal.record(Entry { phase: "when", rule: String::new(), outcome, took: started.elapsed() });
    }
    match matched {
        Ok(matched) => ControlFlow::Continue(matched),
        Err(_) if rules.on_condition_error == OnConditionError::Skip => ControlFlow::Continue(false),
        Err(error) => ControlFlow::Break(Verdict::undecidable("conditions could not be evaluated", error.message)),
    }
}

/// The deadline has passed. The reason is empty: the caller has usually gone.
fn too_late() -> Verdict {
    Verdict::undecidable("", "the deadline has passed")
}

#[cfg(test)]
mod tests;
