//! The phases of a decision, in reading order.

pub(crate) mod authorization;
pub(crate) mod denial;
pub(crate) mod identity;
pub(crate) mod metadata;
pub(crate) mod response;
pub(crate) mod step;

use std::time::{Duration, Instant};

use crate::{
    Context, Journal, Plan, Request, Verdict,
    journal::{Entry, StepOutcome},
    plan::{OnConditionError, PlanKind, Rules},
    verdict::{Allow, Grant},
};

/// Decides about one request. After `deadline` the answer is *undecidable*, whatever was found.
pub async fn check(plan: &Plan, request: &Request, deadline: Option<Instant>, journal: Option<&Journal>) -> Verdict {
    let rules = match &plan.kind {
        PlanKind::Rules(rules) => rules,
        PlanKind::Pending => {
            return Verdict::undecidable("configuration is being loaded", "the configuration is not compiled yet");
        }
        PlanKind::Broken(problem) => return Verdict::undecidable("configuration is invalid", problem.clone()),
    };
    let mut context = Context::new(request, deadline, journal);
    match concerns(rules, &context) {
        Ok(true) => {}
        Ok(false) => {
            return Verdict::Allow(Allow::new(
                Grant::not_concerned(&NotConcerned(())),
                Vec::new(),
                serde_json::Map::new(),
            ));
        }
        Err(verdict) => return verdict,
    }
    let started = Instant::now();
    plan.meters.started();
    let verdict = decide(rules, &mut context).await;
    let verdict = if context.is_late() { too_late() } else { verdict };
    plan.meters.decided(&verdict, started.elapsed());
    verdict
}

async fn decide(rules: &Rules, context: &mut Context<'_>) -> Verdict {
    if let Err(stop) = identity::run(rules, context).await {
        return stop;
    }
    metadata::run(rules, context).await;
    let granted = match authorization::run(rules, context).await {
        Ok(granted) => granted,
        Err(stop) => return stop,
    };
    let (headers, dynamic_metadata) = response::run(rules, context).await;
    Verdict::Allow(Allow::new(Grant::every_rule_granted(&granted), headers, dynamic_metadata))
}

/// Proof that the conditions of a configuration were evaluated and do not match.
#[derive(Debug)]
pub(crate) struct NotConcerned(());

/// Whether the configuration concerns the request.
fn concerns(rules: &Rules, context: &Context<'_>) -> Result<bool, Verdict> {
    let Some(when) = &rules.when else { return Ok(true) };
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
        Ok(matched) => Ok(matched),
        Err(_) if rules.on_condition_error == OnConditionError::Skip => Ok(false),
        Err(error) => Err(Verdict::undecidable("conditions could not be evaluated", error.message)),
    }
}

/// The deadline has passed. The reason is empty: the caller has usually gone.
fn too_late() -> Verdict {
    Verdict::undecidable("", "the deadline has passed")
}

/// How long there is left until the deadline of a check.
fn time_left(context: &Context<'_>) -> Option<Duration> {
    context.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests;
