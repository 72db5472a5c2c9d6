//! How a denial is answered: as usual, or as the configuration says.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use usher_expr::Expression;

use super::Decided;
use crate::{
    Context, Failure, Step, Verdict,
    plan::{DenyWith, Rules},
    verdict::{Denial, DenialKind},
};

/// A denial by `rule` with the reason and headers given, unless the configuration wants others. An expression that has
/// no value leaves its part of the answer empty, or its member of the metadata out.
pub(crate) fn with(
    deny_with: &DenyWith,
    kind: DenialKind,
    rule: Option<Arc<str>>,
    reason: String,
    headers: Vec<(String, String)>,
    context: &Context<'_>,
) -> Decided {
    let text = |expression: &Expression| {
        guarded(|| expression.resolve_text(context).ok().map(|text| text.into_owned())).unwrap_or_default()
    };
    let denial = Denial {
        kind,
        status: deny_with.status,
        reason: deny_with.message.as_ref().map_or(reason, text),
        headers: if deny_with.headers.is_empty() {
            headers
        } else {
            deny_with.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
        },
        body: deny_with.body.as_ref().map(text).unwrap_or_default(),
        dynamic_metadata: deny_with
            .dynamic_metadata
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), guarded(|| value.resolve(context).ok())?)))
            .collect(),
        rule: rule.clone(),
    };
    Decided { verdict: Verdict::Deny(denial), rule }
}

/// The end of a check at a rule of `phase` that everything depends on.
pub(crate) fn by_rule(phase: &str, rules: &Rules, rule: &Step, failure: Failure, context: &Context<'_>) -> Decided {
    match failure {
        Failure::Denied(reason) => {
            let rule = Some(rule.name.clone());
            with(&rules.unauthorized, DenialKind::Unauthorized, rule, reason.into_owned(), Vec::new(), context)
        }
        Failure::Undecidable(undecided) => Decided::undecidable(phase, &rule.name, undecided),
    }
}

/// What is not there after a panic is left out like what has no value: nobody is let in by it.
fn guarded<T>(resolve: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(resolve)).unwrap_or_default()
}
