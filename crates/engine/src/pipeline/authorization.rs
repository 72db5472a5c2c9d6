//! May the caller? Every rule that applies must grant.

use std::{ops::ControlFlow, sync::Arc};

use serde_json::Value;

use super::{Decided, denial, step, waiting::Waiting};
use crate::{
    Context, Failure, Outcome, Step,
    context::Phase,
    plan::{OnConditionError, Rules},
};

/// Proof that every authorization rule that applies has granted. The one road to an allow for authenticated callers.
#[derive(Debug)]
pub(crate) struct AllGranted(());

/// Runs the rules. The first one that does not grant decides.
pub(crate) async fn run(rules: &Rules, context: &mut Context<'_>) -> ControlFlow<Decided, AllGranted> {
    for group in rules.authorization.groups() {
        let granted = all_grant(group, rules.on_condition_error, context).await;
        match granted {
            Ok(granted) => {
                for (rule, value) in granted {
                    context.add(Phase::Authorization, rule.name.clone(), value);
                }
            }
            Err((rule, failure)) => {
                return ControlFlow::Break(denial::by_rule("authorization", rules, rule, failure, context));
            }
        }
    }
    ControlFlow::Continue(AllGranted(()))
}

/// Rules that answer at once are asked first, in the order of their names: if one of them says no, nothing is sent
/// anywhere. The others wait together.
async fn all_grant<'p>(
    group: &'p [Step],
    on_condition_error: OnConditionError,
    context: &Context<'_>,
) -> Result<Vec<(&'p Step, Arc<Value>)>, (&'p Step, Failure)> {
    let mut granted = Vec::new();
    let mut waiting = Waiting::none();
    for rule in group {
        match step::begin("authorization", rule, context) {
            step::Begun::Skipped => {}
            step::Begun::ConditionFailed(error) => {
                if on_condition_error == OnConditionError::Undecidable {
                    return Err((rule, step::condition_failed(&error)));
                }
            }
            step::Begun::Done(outcome) => granted.push((rule, of(rule, outcome)?)),
            step::Begun::Running(future) => waiting.push(rule, future),
        }
    }
    while let Some((rule, outcome)) = waiting.next().await {
        granted.push((rule, of(rule, outcome)?));
    }
    Ok(granted)
}

fn of(rule: &Step, outcome: Outcome) -> Result<Arc<Value>, (&Step, Failure)> {
    outcome.map_err(|failure| (rule, failure))
}
