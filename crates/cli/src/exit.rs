//! Exit codes with meanings.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well; for `check`: the request is allowed.
    Ok,
    /// Something is wrong with what was given: a configuration, a flag, a file.
    Invalid,
    /// `check`: the request is denied.
    Denied,
    /// `check`: it could not be decided.
    Undecidable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Invalid => 1,
            Exit::Denied => 3,
            Exit::Undecidable => 4,
        })
    }
}
