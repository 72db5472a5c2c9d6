//! Steps that could not answer on the spot, waited for together.

use std::{future::Future, pin::Pin};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use crate::Outcome;

/// The steps of one group that go on, each with what its phase needs to know of it. Most groups have none, and cost
/// nothing here.
pub(super) struct Waiting<'a, T>(Option<FuturesUnordered<Step<'a, T>>>);

type Step<'a, T> = Pin<Box<dyn Future<Output = (T, Outcome)> + Send + 'a>>;

impl<'a, T: Send + 'a> Waiting<'a, T> {
    /// Nobody is waited for.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Waits for one more step.
    pub(super) fn push(&mut self, step: T, outcome: Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>) {
        self.0.get_or_insert_default().push(Box::pin(async move { (step, outcome.await) }));
    }

    /// The next step that is done; nothing when all are.
    pub(super) async fn next(&mut self) -> Option<(T, Outcome)> {
        match &mut self.0 {
            None => None,
            Some(running) => running.next().await,
        }
    }
}
