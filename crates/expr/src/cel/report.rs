//! Mistakes in a source text, shown where they are.

use std::{collections::BTreeSet, fmt::Write as _};

use cel::common::ast::SourceInfo;

use crate::error::ParseError;

/// How many mistakes are shown at once.
const LIMIT: usize = 20;

/// How many mistakes are noted. Finding a place takes time in proportion to the source.
const NOTED: usize = 200;

/// How many characters of a message, or of a source line, are shown: a token that never ends may be all of the source.
const WIDTH: usize = 240;

/// The mistakes found in one source text.
#[derive(Debug)]
pub(super) struct Report<'s> {
    source: &'s str,
    /// Line (from 1), column (from 1, in characters) and what is wrong there.
    mistakes: BTreeSet<(usize, usize, String)>,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, mistakes: BTreeSet::new() }
    }

    /// Notes a mistake at a line and a column, both from 1.
    pub(super) fn at(&mut self, line: usize, column: usize, message: impl Into<String>) {
        self.mistakes.insert((line, column.max(1), message.into()));
    }

    /// Notes a mistake at a byte of the source, from 0.
    pub(super) fn at_offset(&mut self, offset: usize, message: impl Into<String>) {
        if self.mistakes.len() >= NOTED {
            return;
        }
        let (mut line, mut column) = (1, 1);
        for (_, character) in self.source.char_indices().take_while(|(index, _)| *index < offset) {
            if character == '\n' {
                line += 1;
                column = 1;
            } else {
                column += 1;
            }
        }
        self.at(line, column, message);
    }

    /// Notes a mistake at a node of the tree.
    pub(super) fn at_node(&mut self, positions: &SourceInfo, id: u64, message: impl Into<String>) {
        let offset = positions.offset_for(id).map_or(0, |(start, _)| start);
        self.at_offset(offset as usize, message);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// All mistakes in the order of the source, in the form that CEL users know: the message, the line, and a caret
    /// below the place.
    pub(super) fn into_error(self) -> ParseError {
        let mut text = String::new();
        for (line, column, message) in self.mistakes.iter().take(LIMIT) {
            if !text.is_empty() {
                text.push('\n');
            }
            let message = match message.char_indices().nth(WIDTH) {
                Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
                None => message.clone(),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "ERROR: <input>:{line}:{column}: {message}");
            if let Some(line) = self.source.lines().nth(line.saturating_sub(1)) {
                show(line, column - 1, &mut text);
            }
        }
        ParseError::new(text)
    }
}

/// Shows a line, or the part of a long one that is around a character of it, with a caret below that.
fn show(line: &str, column: usize, into: &mut String) {
    let first = if line.chars().count() > WIDTH { column.saturating_sub(WIDTH / 2) } else { 0 };
    let shown: String = line.chars().skip(first).take(WIDTH).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let _ = write!(into, "\n | {shown}\n | ");
    let mut rest = shown.chars();
    for character in rest.by_ref().take(column - first) {
        into.push(if character.is_ascii() { '.' } else { '．' });
    }
    into.push(if rest.next().is_some_and(|character| !character.is_ascii()) { '＾' } else { '^' });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_shown_in_order_with_a_caret() {
        let mut report = Report::new("a +\n\"é\" - b");
        report.at_offset(9, "second");
        report.at(1, 3, "first");
        assert_eq!(
            report.into_error().message,
            "ERROR: <input>:1:3: first\n | a +\n | ..^\nERROR: <input>:2:5: second\n | \"é\" - b\n | .．..^"
        );
    }

    #[test]
    fn long_lines_and_messages_are_cut() {
        let source = format!("{}!{}", "a".repeat(1_000), "b".repeat(15_000));
        let mut report = Report::new(&source);
        report.at_offset(1_000, "no".repeat(1_000));
        let message = report.into_error().message;
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH + 40), "{message}");
        assert_eq!(lines[1].find('!'), lines[2].find('^'));
    }
}
