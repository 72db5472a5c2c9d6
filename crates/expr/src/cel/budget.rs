//! What one evaluation may cost.
//!
//! CEL has no loops without end, but comprehensions inside comprehensions over long lists come close, and texts that
//! are doubled again and again fill the memory. So what is expensive is paid for beforehand, out of a budget that
//! every evaluation starts with: the passes of a comprehension, the texts and lists that are made, and the parts of
//! the document that are read. What is left over is bounded by the length of the source.
//!
//! The interpreter calls plain functions, so the budget lives beside them in a thread-local cell; an evaluation never
//! changes threads.

use std::cell::Cell;

use cel::{
    ExecutionError,
    common::{
        types::{CelBytes, CelList, CelMap, CelOptional, CelString},
        value::Val,
    },
};

/// The budget of one evaluation. A unit is about a tenth of a microsecond.
pub(super) const LIMIT: u64 = 2_000_000;

/// How many bytes of text a unit pays for.
const BYTES_PER_UNIT: usize = 64;

/// The message of an evaluation that took too much work.
pub const COST_LIMIT_EXCEEDED: &str = "cost limit exceeded";

thread_local! {
    /// What is left, or `None` when nothing is: once exceeded, everything that has a price fails.
    static REMAINING: Cell<Option<u64>> = const { Cell::new(Some(LIMIT)) };
}

/// The budget of the evaluations that are made on this thread while it is there. It must end on the thread on which it
/// began.
#[derive(Debug)]
pub struct Budget {
    outer: Option<u64>,
}

impl Budget {
    /// A budget as every evaluation over an AuthConfig's document has.
    #[must_use]
    pub fn start() -> Self {
        Self { outer: REMAINING.replace(Some(LIMIT)) }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        REMAINING.set(self.outer);
    }
}

/// Whether something could not be paid for. The result of such an evaluation means nothing: `||` and `exists` go on
/// after an error.
pub(super) fn exceeded() -> bool {
    REMAINING.get().is_none()
}

/// Pays `units` out of the current budget.
pub(super) fn charge(units: u64) -> Result<(), ExecutionError> {
    let remaining = REMAINING.get().and_then(|remaining| remaining.checked_sub(units));
    REMAINING.set(remaining);
    match remaining {
        Some(_) => Ok(()),
        None => Err(ExecutionError::function_error("", COST_LIMIT_EXCEEDED)),
    }
}

/// Tries something that may give no answer; then it has cost nothing. There is none when nothing is left.
pub(super) fn attempt<T>(attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    let before = REMAINING.get()?;
    let answer = attempt();
    if answer.is_none() {
        REMAINING.set(Some(before));
    }
    answer
}

/// Pays for `bytes` of text.
pub(super) fn charge_text(bytes: usize) -> Result<(), ExecutionError> {
    charge(text(bytes))
}

/// The price of `bytes` of text.
pub(super) fn text(bytes: usize) -> u64 {
    (bytes / BYTES_PER_UNIT) as u64
}

/// The price of a copy of `value`. Maps of the document are borrowed and cost next to nothing.
pub(super) fn size(value: &dyn Val) -> u64 {
    if let Some(string) = value.downcast_ref::<CelString>() {
        text(string.len())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        text(bytes.inner().len())
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().fold(0, |total: u64, element| total.saturating_add(1 + size(element.as_ref())))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().values().fold(0, |total: u64, element| total.saturating_add(4 + size(element.as_ref())))
    } else if let Some(optional) = value.downcast_ref::<CelOptional>() {
        optional.option().map_or(0, size)
    } else {
        0
    }
}
