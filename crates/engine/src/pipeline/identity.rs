//! Who is the caller? The first success by priority counts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Map, Value};

use super::{denial, step};
use crate::{
    Context, Failure, Outcome, Verdict,
    context::Identity,
    plan::{Extension, IdentityRule, Rules},
    verdict::DenialKind,
};

/// Finds the identity and stores it, or says why there is none.
pub(crate) async fn run(rules: &Rules, context: &mut Context<'_>) -> Result<(), Verdict> {
    let mut failures = Vec::new();
    for group in rules.identity.groups() {
        if let Some(identity) = first_success(group, context, &mut failures).await {
            context.set_identity(identity);
            return Ok(());
        }
    }
    Err(refuse(rules, context, &failures))
}

/// Rules that answer at once are asked in the order of their names; the others wait together, and the first success
/// drops the rest.
async fn first_success<'p>(
    group: &'p [IdentityRule],
    context: &Context<'_>,
    failures: &mut Vec<(&'p Arc<str>, Failure)>,
) -> Option<Identity> {
    let mut running = FuturesUnordered::new();
    for rule in group {
        match step::begin("authentication", &rule.step, context) {
            step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
            step::Begun::Done(outcome) => match extended(rule, outcome, context) {
                Ok(identity) => return Some(identity),
                Err(failure) => failures.push((&rule.step.name, failure)),
            },
            step::Begun::Running(future) => running.push(async move { (rule, future.await) }),
        }
    }
    while let Some((rule, outcome)) = running.next().await {
        match extended(rule, outcome, context) {
            Ok(identity) => return Some(identity),
            Err(failure) => failures.push((&rule.step.name, failure)),
        }
    }
    None
}

/// The identity with what the rule adds to it. An identity whose extension fails is discarded.
fn extended(rule: &IdentityRule, outcome: Outcome, context: &Context<'_>) -> Result<Identity, Failure> {
    let found = Identity { rule: Arc::clone(&rule.step.name), value: outcome? };
    if rule.extension.is_empty() {
        return Ok(found);
    }
    let added = catch_unwind(AssertUnwindSafe(|| extend(&rule.extension, &found, context)))
        .unwrap_or_else(|_| Err(Failure::undecidable("internal error", "extending an identity panicked")));
    Ok(Identity { rule: found.rule, value: Arc::new(added?) })
}

/// Sets defaults where the property is missing, then overrides in any case. All of them see the identity as it was
/// found.
fn extend(extension: &Extension, found: &Identity, context: &Context<'_>) -> Result<Value, Failure> {
    let Value::Object(members) = &*found.value else {
        return Err(Failure::denied(format!(
            "an identity that is a {}, not an object, cannot be extended",
            kind_of(&found.value)
        )));
    };
    let context = context.with_identity(found.clone());
    let mut extended: Map<String, Value> = members.clone();
    for (name, expression) in &extension.defaults {
        if !extended.contains_key(name) {
            extended.insert(name.clone(), expression.resolve(&context)?);
        }
    }
    for (name, expression) in &extension.overrides {
        extended.insert(name.clone(), expression.resolve(&context)?);
    }
    Ok(Value::Object(extended))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// No rule succeeded. If one of them could not decide, neither can we: the caller may well be who they say.
fn refuse(rules: &Rules, context: &Context<'_>, failures: &[(&Arc<str>, Failure)]) -> Verdict {
    for (rule, failure) in failures {
        if let Failure::Undecidable(undecided) = failure {
            let mut undecided = undecided.clone();
            undecided.detail = format!("authentication rule `{rule}`: {}", failure.detail());
            return Verdict::Undecidable(undecided);
        }
    }
    let reason = match failures {
        [(_, failure)] if rules.identity.len() == 1 => failure.reason().to_owned(),
        failures => {
            let mut by_rule: Vec<_> = failures.iter().map(|(rule, failure)| (&***rule, failure.reason())).collect();
            by_rule.sort_unstable();
            let object = by_rule.into_iter().map(|(rule, reason)| (rule.to_owned(), Value::from(reason))).collect();
            usher_expr::text::json(&Value::Object(object))
        }
    };
    let challenges =
        rules.identity.iter().map(|rule| ("www-authenticate".to_owned(), rule.challenge.clone())).collect();
    denial::with(&rules.unauthenticated, DenialKind::Unauthenticated, reason, challenges, context)
}
