//! What stands in texts that were seen, and texts for a terminal.

use crate::commands::doctor::printable;

/// So much is shown of a text that was seen.
const MOST_SHOWN: usize = 80;

/// So many letters of a line of the log are enough to tell which one it is.
const LEAST_OF_LOG: usize = 6;

/// Whether a text has one of these in it, without regard to case.
pub(super) fn contains(text: &str, parts: &[&str]) -> bool {
    let text = text.to_lowercase();
    parts.iter().any(|part| text.contains(&part.to_lowercase()))
}

/// How much more than usual it says that a text has some of these in it: one that is long says more than a short one,
/// and several more than one. `None` if it has none.
pub(super) fn found_in(text: &str, parts: &[&str]) -> Option<u32> {
    let text = text.to_lowercase();
    let found: Vec<_> = parts.iter().filter(|part| text.contains(&part.to_lowercase())).collect();
    let longest = found.iter().map(|part| part.len()).max()?;
    u32::try_from(longest / 10 + found.len() - 1).ok()
}

/// The same for a line of the log, or a part of one: then it may also be a part of these.
pub(super) fn found_in_log(log: &str, parts: &[&str]) -> Option<u32> {
    found_in(log, parts).or_else(|| {
        let log = log.trim().to_lowercase();
        let is_enough = log.chars().filter(|letter| letter.is_alphabetic()).count() >= LEAST_OF_LOG;
        let is_found = is_enough && parts.iter().any(|part| part.to_lowercase().contains(&log));
        is_found.then(|| u32::try_from(log.len() / 10).unwrap_or_default())
    })
}

/// The beginning of a text that was seen, without anything that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    let mut shown: String = text.chars().take(MOST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown)
}

/// A text in lines of bounded length. Links of the guide become their text.
pub(super) fn paragraph(first: &str, others: &str, text: &str) -> String {
    const WIDTH: usize = 110;
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in without_links(text).split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = others.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

/// `[Status](status.md)` as `Status (docs/status.md)`, and links within the page as their text.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, (name, (target, after)))) = rest.split_once('[').and_then(|(before, after)| {
        let (name, after) = after.split_once("](")?;
        Some((before, (name, after.split_once(')')?)))
    }) {
        plain.push_str(before);
        plain.push_str(name);
        if !target.starts_with('#') {
            plain.push_str(&format!(" (docs/{target})"));
        }
        rest = after;
    }
    plain + rest
}
