//! What is said about the causes that were found.

use super::{
    Seen,
    score::Found,
    texts::{found_in_log, paragraph, shown},
};
use crate::commands::doctor::{
    causes::{self, Signs, Text},
    gateway::Gateway,
};

/// So many causes are told in full.
const MOST_TOLD: usize = 3;

/// So many more are named.
const MOST_NAMED: usize = 8;

/// So much is asked for.
const MOST_HINTS: usize = 3;

/// The likely causes in full, the others by name, and what would tell them apart.
pub(super) fn text(seen: &Seen<'_>, found: &[Found]) -> String {
    let about_log = about_log(seen, found);
    let Some(best) = found.first() else {
        return format!(
            "nothing is known that fits; say less, or more: `usher doctor causes` prints all causes\n{}",
            about_log.unwrap_or_default()
        );
    };
    let is_likely = |found: &&Found| 2 * found.weight > best.weight;
    let likely: Vec<_> = found.iter().filter(is_likely).take(MOST_TOLD).collect();
    let mut text = String::new();
    for (number, found) in (1..).zip(&likely) {
        text.push_str(&in_full(number, found, seen.gateway));
    }
    let others = found.iter().skip(likely.len()).take(MOST_NAMED).map(|found| found.cause.title);
    let others: String = others.map(|title| format!("   {title}\n")).collect();
    if !others.is_empty() {
        text.push_str(&format!("also possible:\n{others}\n"));
    }
    if found.len() > 1
        && let Some(hint) = what_would_tell(seen, found)
    {
        text.push_str(&format!("to tell them apart, say {hint}\n"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    if let Some(about_log) = about_log {
        text.push_str(&format!("\n{about_log}"));
    }
    text
}

/// A cause with everything that is known about it and is of use with this gateway.
fn in_full(number: usize, found: &Found, gateway: Option<Gateway>) -> String {
    let Found { cause, weight: _, fits, has_log: _ } = found;
    let mut text = format!("{number}. {}\n   fits: {}\n", cause.title, fits.join(", "));
    text.push_str(&paragraph("   ", "   ", cause.why));
    text.push_str("   make sure:\n");
    for proof in cause.proof {
        text.push_str(&paragraph("   - ", "     ", proof));
    }
    text.push_str("   change:\n");
    for change in cause.changes.iter().filter(|change| change.is_for(gateway)) {
        let prefix = if gateway.is_some() { String::new() } else { change.prefix() };
        text.push_str(&paragraph("   - ", "     ", &format!("{prefix}{}", change.what)));
    }
    text.push('\n');
    text
}

/// What to know about a line of the log that speaks for none of the causes that were found.
fn about_log(seen: &Seen<'_>, found: &[Found]) -> Option<String> {
    let log = seen.log?;
    if found.iter().any(|found| found.has_log) {
        return None;
    }
    let known: Vec<_> = causes::all()
        .filter(|cause| found_in_log(log, cause.signs.log).is_some())
        .map(|cause| format!("\"{}\"", cause.title))
        .collect();
    let log = shown(log);
    Some(match known.as_slice() {
        [] => format!("nothing is known about `{log}` in the log: it was left out\n"),
        known => format!("`{log}` in the log speaks for {}, which something else contradicts\n", known.join(", ")),
    })
}

/// What was not said, and would rule out some of the causes.
fn what_would_tell(seen: &Seen<'_>, found: &[Found]) -> Option<String> {
    let any = |differs: fn(&Signs) -> bool| found.iter().any(|found| differs(&found.cause.signs));
    let hints = [
        (seen.checks.is_none() && any(|signs| !signs.checks.is_empty()), "whether a check arrives (`--checks`)"),
        (seen.reason.is_none() && any(|signs| signs.reason != Text::Any), "`x-ext-auth-reason` (`--reason`)"),
        (seen.after.is_none() && any(|signs| signs.after.is_some()), "how long it took (`--after`)"),
        (seen.details.is_none() && any(|signs| !signs.details.is_empty()), "what the access log says (`--details`)"),
        (seen.gateway.is_none() && any(|signs| !signs.gateways.is_empty()), "the gateway (`--gateway`)"),
    ];
    let hints: Vec<_> = hints.into_iter().filter_map(|(tells, hint)| tells.then_some(hint)).take(MOST_HINTS).collect();
    (!hints.is_empty()).then(|| hints.join(", "))
}
