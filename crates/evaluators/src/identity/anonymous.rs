//! `anonymous`: anyone.
//!
//! # What it does
//! Lets everybody in, with the identity `{"anonymous": true}`. A credential, valid or not, is not looked at. With a
//! higher priority number than other rules it lets in whom these did not know.
//!
//! # Example
//! ```yaml
//! authentication:
//!   friends: {apiKey: {selector: {matchLabels: {group: friends}}}}
//!   public: {anonymous: {}, priority: 1}
//! ```
//!
//! # Errors
//! None.

use std::sync::Arc;

use serde_json::{Value, json};
use usher_engine::{Context, Evaluation, Evaluator};

/// Lets everybody in.
#[derive(Debug)]
pub struct Anonymous {
    identity: Arc<Value>,
}

impl Anonymous {
    /// The rule has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self { identity: Arc::new(json!({"anonymous": true})) }
    }
}

impl Default for Anonymous {
    fn default() -> Self {
        Self::new()
    }
}

impl Evaluator for Anonymous {
    fn evaluate<'a>(&'a self, _: &'a Context<'a>) -> Evaluation<'a> {
        Evaluation::success(Arc::clone(&self.identity))
    }
}
