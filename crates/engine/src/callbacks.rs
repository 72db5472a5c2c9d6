//! What is told to others about a decision, once it was answered.
//!
//! ```text
//!  check_with_callbacks() ──► Verdict ──► answer
//!            └──► Due ──► Queue ──► callbacks, by priority
//! ```
//!
//! Callbacks can neither change an answer nor delay it. They see the request, what the phases found, what callbacks of
//! lower priority numbers found, and `auth.decision`:
//!
//! | member | |
//! | --- | --- |
//! | `allowed` | whether the request may pass |
//! | `status` | the HTTP status of the answer |
//! | `reason` | as the caller was told; empty for an allow |
//! | `rule` | the rule that led to a refusal, where it was a single one; otherwise empty |

mod queue;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};

pub use self::queue::{Limits, Queue};
use crate::{
    Context, Outcome, Plan, Request, Step,
    context::{Known, Phase},
    pipeline::{Decided, step},
    plan::PlanKind,
};

/// The callbacks of one decision, to be given to a [`Queue`] with the request that was decided about.
pub struct Due {
    plan: Arc<Plan>,
    known: Box<Known>,
}

/// What was found out about a caller is not shown.
impl std::fmt::Debug for Due {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Due({}/{})", self.plan.namespace, self.plan.name)
    }
}

impl Due {
    pub(crate) fn new(plan: Arc<Plan>, known: Box<Known>) -> Self {
        Self { plan, known }
    }

    /// The configuration that the callbacks belong to.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Runs the callbacks, those of one priority together, each for `limit` at most. One that fails is missing for
    /// those that come later, nothing more.
    async fn run(self, request: Arc<Request>, limit: Duration) {
        let PlanKind::Rules(rules) = &self.plan.kind else { return };
        let mut context = Context::decided(&request, *self.known);
        for group in rules.callbacks.groups() {
            context.set_deadline(Instant::now().checked_add(limit));
            for (callback, outcome) in group_results(group, &context).await {
                match outcome {
                    Ok(value) => context.add(Phase::Callbacks, callback.name.clone(), value),
                    Err(failure) => tracing::debug!(
                        namespace = &*self.plan.namespace,
                        authconfig = &*self.plan.name,
                        rule = &*callback.name,
                        reason = failure.detail(),
                        "cannot execute callback"
                    ),
                }
            }
        }
    }
}

async fn group_results<'p>(group: &'p [Step], context: &Context<'_>) -> Vec<(&'p Step, Outcome)> {
    let mut ended = Vec::new();
    let mut running = FuturesUnordered::new();
    for callback in group {
        match step::begin("callbacks", callback, context) {
            step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
            step::Begun::Done(outcome) => ended.push((callback, outcome)),
            step::Begun::Running(future) => running.push(async move { (callback, future.await) }),
        }
    }
    while let Some(one) = running.next().await {
        ended.push(one);
    }
    ended
}

/// What callbacks see of a decision, `auth.decision`.
pub(crate) fn decision(decided: &Decided) -> Value {
    json!({
        "allowed": decided.verdict.is_allowed(),
        "status": decided.verdict.http_status(),
        "reason": decided.verdict.reason(),
        "rule": decided.rule.as_deref().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
