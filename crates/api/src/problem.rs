//! What is wrong with a document, and where.

use std::collections::BTreeMap;
use std::fmt;

/// One reason why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `spec.authentication.keys.apiKey.selector` or `spec.when[0].operator`; empty when it is the
    /// document as a whole.
    pub path: String,
    /// The line in the text that was read, counted from 1. None for objects that do not come from a text.
    pub line: Option<usize>,
    /// What is wrong; never shows the value of a Secret.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `path: message`, as the Kubernetes API words its refusals. The line is left to the caller, who knows the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// The most problems that are kept of one document; the rest is only counted.
const MAX_PROBLEMS: usize = 100;

/// Collects the problems of one document.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem { path: path.into(), line: None, message: message.into() });
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.count();
        } else {
            self.list.push(problem);
        }
    }

    /// Whether further problems are only counted. Who makes costly messages asks first.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    /// Counts a problem of which nothing is told.
    pub(crate) fn count(&mut self) {
        self.more += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.more == 0
    }

    /// Takes apart the problems of a list of documents: those below `items[N]`, each with its path from there on, and
    /// the rest.
    pub(crate) fn into_items(self) -> (BTreeMap<usize, Problems>, Problems) {
        let mut items: BTreeMap<usize, Problems> = BTreeMap::new();
        let mut rest = Problems { list: Vec::new(), more: self.more };
        for mut problem in self.list {
            let item =
                problem.path.strip_prefix("items[").and_then(|path| path.split_once(']')).and_then(|(index, path)| {
                    Some((index.parse::<usize>().ok()?, path.strip_prefix('.').unwrap_or(path).to_owned()))
                });
            match item {
                Some((index, path)) => {
                    problem.path = path;
                    items.entry(index).or_default().push(problem);
                }
                None => rest.push(problem),
            }
        }
        (items, rest)
    }

    /// The problems in the order of their lines; those without a line of their own get that of `lines`.
    pub(crate) fn into_sorted(mut self, lines: &crate::Lines) -> Vec<Problem> {
        for problem in &mut self.list {
            if problem.line.is_none() {
                problem.line = lines.find(&problem.path);
            }
        }
        self.list.sort_by_key(|problem| problem.line);
        if self.more > 0 {
            self.list.push(Problem {
                path: String::new(),
                line: None,
                message: format!("and {} more problems", self.more),
            });
        }
        self.list
    }
}
