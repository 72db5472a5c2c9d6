//! What is asked.

use std::sync::Arc;

use bytes::Bytes;

use super::configuration::api_key;
use crate::check::{Credential, framed, framed_large};
use crate::upstream::Window;

/// Checks to ask, all with the same expected code.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// gRPC frames, asked in this order; at least one.
    pub(crate) frames: Arc<[Bytes]>,
    /// `status.code` of every answer, a google.rpc.Code.
    pub(crate) expected: i32,
    /// Whether each may be asked once only, or again and again.
    pub(crate) once: bool,
    /// Who is to be told of the decision about each of them, if anybody is.
    pub(crate) decisions: Option<Arc<Window>>,
}

const OK: i32 = 0;
const UNAUTHENTICATED: i32 = 16;

impl Questions {
    pub(crate) fn repeated(frames: impl IntoIterator<Item = Bytes>) -> Self {
        Self { frames: frames.into_iter().collect(), expected: OK, once: false, decisions: None }
    }

    /// What every server that allows everybody can be asked.
    pub(crate) fn anonymous() -> Self {
        Self::repeated([framed(Credential::None)])
    }

    /// The same with a large check.
    pub(crate) fn large() -> Self {
        Self::repeated([framed_large(Credential::None)])
    }

    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Of clients that nobody knows.
    pub(super) fn denied(self) -> Self {
        Self { expected: UNAUTHENTICATED, ..self }
    }
}

pub(super) fn keys(numbers: impl IntoIterator<Item = usize>) -> Questions {
    Questions::repeated(numbers.into_iter().map(|number| framed(Credential::Authorization(&credential(number)))))
}

pub(super) fn large_keys(numbers: impl IntoIterator<Item = usize>) -> Questions {
    Questions::repeated(numbers.into_iter().map(|number| framed_large(Credential::Authorization(&credential(number)))))
}

fn credential(number: usize) -> String {
    format!("APIKEY {}", api_key(number))
}

pub(super) fn bearers(tokens: Vec<String>) -> Questions {
    let frame = |token| framed(Credential::Authorization(&format!("Bearer {token}")));
    Questions::repeated(tokens.into_iter().map(frame))
}
