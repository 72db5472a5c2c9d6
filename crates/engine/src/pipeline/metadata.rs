//! What else is to be known? Each rule on its own: one that fails is missing, nothing more.

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::step;
use crate::{Context, context::Phase, plan::Rules};

/// Runs the rules and keeps what they found. A group is complete before the next one begins.
pub(crate) async fn run(rules: &Rules, context: &mut Context<'_>) {
    for group in rules.metadata.groups() {
        let mut found = Vec::new();
        let mut running = FuturesUnordered::new();
        for rule in group {
            match step::begin("metadata", rule, context) {
                step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
                step::Begun::Done(outcome) => found.push((rule, outcome)),
                step::Begun::Running(future) => running.push(async move { (rule, future.await) }),
            }
        }
        while let Some(ended) = running.next().await {
            found.push(ended);
        }
        drop(running);
        for (rule, outcome) in found {
            match outcome {
                Ok(value) => context.add(Phase::Metadata, rule.name.clone(), value),
                Err(failure) => tracing::debug!(rule = &*rule.name, reason = failure.detail(), "cannot fetch metadata"),
            }
        }
    }
}
