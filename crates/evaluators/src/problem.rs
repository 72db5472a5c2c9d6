//! What is wrong with a configuration, said with the path of the field.

use std::fmt;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, for example `spec.authorization.admins.opa.rego`.
    pub path: String,
    /// What is wrong with it: lower case, no final period.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong with a configuration: building goes on after a problem, so that all are reported at once.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// Notes that `at` is wrong.
    pub fn add(&mut self, at: &FieldPath, message: impl fmt::Display) {
        self.list.push(Problem { path: at.to_string(), message: message.to_string() });
    }

    /// Notes that `at` works, but probably not as meant.
    pub fn warn(&mut self, at: &FieldPath, message: impl fmt::Display) {
        self.warnings.push(Problem { path: at.to_string(), message: message.to_string() });
    }

    /// The value of a result; an error is noted as a problem of `at`.
    pub fn take<T, E: fmt::Display>(&mut self, at: &FieldPath, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(at, error)).ok()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What is wrong, and what is doubtful, in the order in which it was found.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.list, self.warnings)
    }
}

/// The way to a field of a configuration. Cheap to extend, printed only when something is wrong.
#[derive(Debug, Clone, Copy)]
pub struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> FieldPath<'a> {
    /// A field at the top.
    #[must_use]
    pub fn root(field: &'a str) -> Self {
        Self { parent: None, step: Step::Field(field) }
    }

    /// A field of this object.
    #[must_use]
    pub fn field(&'a self, field: &'a str) -> FieldPath<'a> {
        Self { parent: Some(self), step: Step::Field(field) }
    }

    /// An entry of this map, by the name that the user gave it.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> FieldPath<'a> {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&'a self, index: usize) -> FieldPath<'a> {
        Self { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(formatter)?;
        }
        let dot = if self.parent.is_some() { "." } else { "" };
        match self.step {
            Step::Field(field) => write!(formatter, "{dot}{field}"),
            Step::Key(key) if key.contains(['.', '[', ' ', '"']) => write!(formatter, "[{key:?}]"),
            Step::Key(key) => write!(formatter, "{dot}{key}"),
            Step::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_yaml() {
        let spec = FieldPath::root("spec");
        let rules = spec.field("authentication");
        let rule = rules.key("api.keys");
        let when = rule.field("when");
        assert_eq!(
            when.index(2).field("predicate").to_string(),
            r#"spec.authentication["api.keys"].when[2].predicate"#
        );
    }
}
