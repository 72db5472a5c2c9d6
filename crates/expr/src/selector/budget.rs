//! How much one evaluation may look at and make.

use crate::error::EvaluationError;

/// Units that an evaluation may spend: about one per byte made and per value visited. Documents are at most a few
/// megabytes; what multiplies them (repeated replacements, lists of lists) ends here.
pub(crate) const UNITS: usize = 16 << 20;

/// What is left of the units of one evaluation.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

/// The units are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: UNITS }
    }

    /// Takes units away before the work that they pay for is done.
    pub(crate) fn charge(&mut self, units: usize) -> Result<(), Overrun> {
        self.left = self.left.checked_sub(units).ok_or(Overrun)?;
        Ok(())
    }
}

impl Overrun {
    /// Says which expression was too expensive for its document.
    pub(crate) fn of(self, kind: &str, source: &str) -> EvaluationError {
        EvaluationError::new(format!("{kind} `{source}` takes too much work for this document"))
    }
}
