//! What is wrong with a file, and where.

use std::fmt;
use std::path::PathBuf;

/// Something wrong in the files, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileProblem {
    /// The file or folder, as the user would name it.
    pub file: PathBuf,
    /// The line, counted from 1, if it is known.
    pub line: Option<usize>,
    /// Whether something is not served as it is written.
    pub severity: Severity,
    /// The object, such as `AuthConfig default/pets`; None if it is the file, or a document that cannot be told.
    pub object: Option<String>,
    /// The field, such as `spec.when[0].operator`; empty if it is not about one.
    pub path: String,
    /// What is wrong; never shows the value of a Secret.
    pub message: String,
}

/// How bad a [`FileProblem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing: something is left out that was probably not meant for this server.
    Warning,
    /// Something is not served as it is written.
    Error,
}

impl FileProblem {
    /// An error that is about a file or folder as a whole.
    pub(super) fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            severity: Severity::Error,
            object: None,
            path: String::new(),
            message: message.into(),
        }
    }

    /// Writes the problem to the log of the program.
    pub(super) fn log(&self) {
        let file = self.file.display();
        let text = self.text();
        match self.severity {
            Severity::Error => tracing::error!(%file, line = self.line, "{text}"),
            Severity::Warning => tracing::warn!(%file, line = self.line, "{text}"),
        }
    }

    /// `object: path: message`, without the place.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in [self.object.as_deref().unwrap_or_default(), &self.path] {
            if !part.is_empty() {
                text.push_str(part);
                text.push_str(": ");
            }
        }
        text.push_str(&self.message);
        text
    }
}

impl fmt::Display for FileProblem {
    /// `file:line: object: path: message`, as compilers word it; parts that there are not are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text())
    }
}
