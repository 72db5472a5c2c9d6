//! Waiting for something to become true, for a limited time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The longest for a process to start or end, or for a change to be seen. Far more than it takes, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tries until there is a result.
///
/// # Panics
/// After `limit`, with the last reason why not.
pub(crate) fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(reason) if started.elapsed() > limit => panic!("{what}: not within {limit:?}: {reason}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// [`within`] the usual time.
pub(crate) fn until<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, attempt)
}
