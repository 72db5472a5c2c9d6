//! Who is the caller? The first success by priority counts.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{Decided, denial, step, waiting::Waiting};
use crate::{
    Context, Failure, Outcome,
    context::Identity,
    plan::{Extension, IdentityRule, Rules},
    verdict::DenialKind,
};

/// Finds the identity, stores it and gives the rule that found it, or says why there is none.
pub(crate) async fn run<'p>(rules: &'p Rules, context: &mut Context<'_>) -> ControlFlow<Decided, &'p IdentityRule> {
    let mut failures = Vec::new();
    for group in rules.identity.groups() {
        if let Some((rule, identity)) = first_success(group, context, &mut failures).await {
            context.set_identity(identity);
            return ControlFlow::Continue(rule);
        }
    }
    ControlFlow::Break(refuse(rules, context, &failures))
}

/// Rules that answer at once are asked in the order of their names; the others wait together, and the first success
/// drops the rest.
async fn first_success<'p>(
    group: &'p [IdentityRule],
    context: &Context<'_>,
    failures: &mut Vec<(&'p Arc<str>, Failure)>,
) -> Option<(&'p IdentityRule, Identity)> {
    let mut waiting = Waiting::none();
    for rule in group {
        match step::begin("authentication", &rule.step, context) {
            step::Begun::Skipped | step::Begun::ConditionFailed(_) => {}
            step::Begun::Done(outcome) => match extended(rule, outcome, context) {
                Ok(identity) => return Some((rule, identity)),
                Err(failure) => failures.push((&rule.step.name, failure)),
            },
            step::Begun::Running(future) => waiting.push(rule, future),
        }
    }
    while let Some((rule, outcome)) = waiting.next().await {
        match extended(rule, outcome, context) {
            Ok(identity) => return Some((rule, identity)),
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
fn refuse(rules: &Rules, context: &Context<'_>, failures: &[(&Arc<str>, Failure)]) -> Decided {
    for (rule, failure) in failures {
        if let Failure::Undecidable(undecided) = failure {
            return Decided::undecidable("authentication", rule, undecided.clone());
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
    // Of several rules none is the one that said no.
    let rule = rules.identity.iter().next().filter(|_| rules.identity.len() == 1).map(|rule| rule.step.name.clone());
    denial::with(&rules.unauthenticated, DenialKind::Unauthenticated, rule, reason, challenges, context)
}
