//! What else is to be known? Each rule on its own: one that fails is missing, nothing more, unless the rule says that a
//! request without its metadata does not pass, or that it never had what it needs.

use std::ops::ControlFlow;

use super::{Decided, denial, step, waiting::Waiting};
use crate::{
    Context,
    context::Phase,
    plan::{MetadataRule, OnConditionError, OnMetadataError, Rules},
};

/// Runs the rules and keeps what they found. A group is complete before the next one begins, and before a failure
/// counts: of several failures the one of the first rule decides, whichever came first in time.
pub(crate) async fn run(rules: &Rules, context: &mut Context<'_>) -> ControlFlow<Decided> {
    for group in rules.metadata.groups() {
        let mut found = Vec::new();
        let mut waiting = Waiting::none();
        for (index, rule) in group.iter().enumerate() {
            match step::begin("metadata", &rule.step, context) {
                step::Begun::Skipped => {}
                step::Begun::ConditionFailed(error) => {
                    if rule.on_error == OnMetadataError::Deny
                        && rules.on_condition_error == OnConditionError::Undecidable
                    {
                        found.push((index, rule, Err(step::condition_failed(&error))));
                    }
                }
                step::Begun::Done(outcome) => found.push((index, rule, outcome)),
                step::Begun::Running(future) => waiting.push((index, rule), future),
            }
        }
        while let Some(((index, rule), outcome)) = waiting.next().await {
            found.push((index, rule, outcome));
        }
        drop(waiting);
        found.sort_unstable_by_key(|(index, ..)| *index);
        let mut decisive = None;
        for (_, rule, outcome) in found {
            match outcome {
                Ok(value) => context.add(Phase::Metadata, rule.step.name.clone(), value),
                Err(failure) if is_needed(rule) && decisive.is_none() => {
                    decisive = Some((&rule.step, failure));
                }
                Err(failure) => {
                    tracing::debug!(rule = &*rule.step.name, reason = failure.detail(), "cannot fetch metadata");
                }
            }
        }
        if let Some((rule, failure)) = decisive {
            return ControlFlow::Break(denial::by_rule("metadata", rules, rule, failure, context));
        }
    }
    ControlFlow::Continue(())
}

/// Whether a request does not pass without the metadata.
fn is_needed(rule: &MetadataRule) -> bool {
    rule.on_error == OnMetadataError::Deny || !rule.step.evaluator.is_prepared()
}
