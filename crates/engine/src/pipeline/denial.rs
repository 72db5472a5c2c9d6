//! How a denial is answered: as usual, or as the configuration says.

use crate::{
    Context, Verdict,
    plan::DenyWith,
    verdict::{Denial, DenialKind},
};

/// A denial with the reason and headers given, unless the configuration wants others. An expression that has no value
/// leaves its part of the answer empty.
pub(crate) fn with(
    deny_with: &DenyWith,
    kind: DenialKind,
    reason: String,
    headers: Vec<(String, String)>,
    context: &Context<'_>,
) -> Verdict {
    let text = |expression: &usher_expr::Expression| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            expression.resolve_text(context).map(|text| text.into_owned()).unwrap_or_default()
        }))
        .unwrap_or_default()
    };
    Verdict::Deny(Denial {
        kind,
        status: deny_with.status,
        reason: deny_with.message.as_ref().map_or(reason, text),
        headers: if deny_with.headers.is_empty() {
            headers
        } else {
            deny_with.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
        },
        body: deny_with.body.as_ref().map(text).unwrap_or_default(),
    })
}
