//! What `usher check` tells of a decision.

use usher_engine::{
    Journal, Plan, Verdict,
    evaluator::Undecided,
    journal::StepOutcome,
    plan::HeaderAction,
    verdict::{Allow, Denial, DenialKind, ResponseHeader},
};

use crate::exit::Exit;

/// Whose configuration it is.
pub(super) fn who_decides(plan: &Plan) -> String {
    match plan.namespace.is_empty() {
        true => "authconfig: none; the AuthorizationPolicies decide\n".to_owned(),
        false => format!("authconfig: {}/{}\n", plan.namespace, plan.name),
    }
}

/// What each rule did, and how long it took.
pub(super) fn steps(journal: &Journal) -> String {
    let mut text = "steps:\n".to_owned();
    for entry in journal.entries() {
        let rule = if entry.rule.is_empty() { String::new() } else { format!(" {}", entry.rule) };
        let (outcome, why) = match entry.outcome {
            StepOutcome::Succeeded => ("succeeded", String::new()),
            StepOutcome::Skipped => ("skipped", String::new()),
            StepOutcome::ConditionFailed(why) => ("condition failed", why),
            StepOutcome::Denied(why) => ("denied", why),
            StepOutcome::Undecidable(why) => ("undecidable", why),
        };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        text += &format!("  {}{rule}: {outcome} in {:?}{why}\n", entry.phase, entry.took);
    }
    text
}

/// A verdict with all that comes with it, and the exit status that stands for it.
pub(super) fn verdict(verdict: &Verdict) -> (String, Exit) {
    let status = verdict.http_status();
    match verdict {
        Verdict::Allow(allow) => (format!("verdict: allow\nstatus: {status}\n{}", additions(allow)), Exit::Ok),
        Verdict::Deny(denial) => (denied(denial, status), Exit::Denied),
        Verdict::Undecidable(undecided) => (undecidable(undecided, status), Exit::Undecidable),
    }
}

fn additions(allow: &Allow) -> String {
    let additions = allow.additions();
    [
        pairs("headers", &additions.headers),
        names("removed headers", &additions.remove_headers),
        response_headers(&additions.response_headers),
        pairs("query parameters", &additions.query_parameters),
        names("removed query parameters", &additions.remove_query_parameters),
        metadata(&additions.dynamic_metadata),
    ]
    .concat()
}

fn denied(denial: &Denial, status: u16) -> String {
    let word = match denial.kind {
        DenialKind::Unauthenticated => "unauthenticated",
        DenialKind::Unauthorized => "unauthorized",
        DenialKind::NotFound => "not found",
        DenialKind::Invalid => "invalid",
    };
    [
        format!("verdict: {word}\nstatus: {status}\nreason: {}\n", denial.reason),
        pairs("headers", &denial.headers),
        if denial.body.is_empty() { String::new() } else { format!("body: {}\n", denial.body) },
        metadata(&denial.dynamic_metadata),
    ]
    .concat()
}

fn undecidable(undecided: &Undecided, status: u16) -> String {
    let text = format!("verdict: undecidable\nstatus: {status}\nreason: {}\n", undecided.reason);
    if undecided.detail.is_empty() { text } else { format!("{text}detail: {}\n", undecided.detail) }
}

fn pairs(title: &str, pairs: &[(String, String)]) -> String {
    titled(title, pairs.iter().map(|(name, value)| format!("  {name}: {value}\n")).collect())
}

fn response_headers(headers: &[ResponseHeader]) -> String {
    let line = |ResponseHeader { name, value, action }: &ResponseHeader| {
        let action = match action {
            HeaderAction::Overwrite => "",
            HeaderAction::Append => " (appended)",
            HeaderAction::AddIfAbsent => " (if absent)",
        };
        format!("  {name}: {value}{action}\n")
    };
    titled("response headers", headers.iter().map(line).collect())
}

fn titled(title: &str, lines: String) -> String {
    if lines.is_empty() { lines } else { format!("{title}:\n{lines}") }
}

fn names(title: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{title}: {}\n", names.join(", ")) }
}

fn metadata(metadata: &serde_json::Map<String, serde_json::Value>) -> String {
    if metadata.is_empty() {
        return String::new();
    }
    format!("dynamic metadata: {}\n", serde_json::Value::Object(metadata.clone()))
}
