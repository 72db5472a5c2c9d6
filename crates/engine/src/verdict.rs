//! What is decided, and the only way to decide *yes*.

use serde_json::{Map, Value};

use crate::evaluator::Undecided;

/// The decision about one request.
#[derive(Debug)]
pub enum Verdict {
    /// The request may pass.
    Allow(Allow),
    /// The request may not pass, and that is the caller's doing.
    Deny(Denial),
    /// It could not be decided, so the request does not pass.
    Undecidable(Undecided),
}

/// The request may pass, with what is added to it.
///
/// There is no public way to make one: it takes a [`Grant`], which only the pipeline issues.
#[derive(Debug)]
pub struct Allow {
    headers: Vec<(String, String)>,
    dynamic_metadata: Map<String, Value>,
}

/// Proof that a request may pass. Made in exactly two places of the pipeline: where every authorization rule has
/// granted, and where the conditions of the configuration say that it does not apply to the request.
#[derive(Debug)]
pub struct Grant(());

impl Grant {
    /// Every authorization rule that applies has granted the request of an authenticated caller.
    pub(crate) fn every_rule_granted(_: &crate::pipeline::authorization::AllGranted) -> Self {
        Self(())
    }

    /// The configuration's own conditions say that it does not concern this request.
    pub(crate) fn not_concerned(_: &crate::pipeline::NotConcerned) -> Self {
        Self(())
    }
}

impl Allow {
    /// Lets the request pass, with these headers for the upstream and this dynamic metadata.
    pub(crate) fn new(_: Grant, headers: Vec<(String, String)>, dynamic_metadata: Map<String, Value>) -> Self {
        Self { headers, dynamic_metadata }
    }

    /// Headers to set on the request to the upstream: lower-case names, values without control characters.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// What later filters of the gateway can read.
    #[must_use]
    pub fn dynamic_metadata(&self) -> &Map<String, Value> {
        &self.dynamic_metadata
    }

    /// The headers and the metadata, to be moved into the answer.
    #[must_use]
    pub fn into_parts(self) -> (Vec<(String, String)>, Map<String, Value>) {
        (self.headers, self.dynamic_metadata)
    }
}

/// The request may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Which kind of *no*.
    pub kind: DenialKind,
    /// The HTTP status that a configuration asks for instead of the usual one, 300 to 599.
    pub status: Option<u16>,
    /// Why, for the caller.
    pub reason: String,
    /// Headers of the answer, lower-case names; a name may occur several times.
    pub headers: Vec<(String, String)>,
    /// The body of the answer.
    pub body: String,
}

/// The kinds of *no*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// No authentication rule succeeded.
    Unauthenticated,
    /// An authorization rule said no.
    Unauthorized,
    /// No configuration serves the host.
    NotFound,
    /// The check itself makes no sense.
    Invalid,
}

impl Denial {
    /// A denial with the usual status, no headers and no body.
    pub fn new(kind: DenialKind, reason: impl Into<String>) -> Self {
        Self { kind, status: None, reason: reason.into(), headers: Vec::new(), body: String::new() }
    }
}

impl Verdict {
    /// No configuration serves the host.
    #[must_use]
    pub fn not_found() -> Self {
        Self::Deny(Denial::new(DenialKind::NotFound, "Service not found"))
    }

    /// The check carries no request.
    #[must_use]
    pub fn invalid() -> Self {
        Self::Deny(Denial::new(DenialKind::Invalid, "Invalid request"))
    }

    /// It could not be decided: `reason` is for callers, `detail` for logs.
    pub fn undecidable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Undecidable(Undecided { reason, detail: detail.into(), retry_after: None })
    }

    /// The decision in one word, as in logs and metrics: `OK`, `UNAUTHENTICATED`, `PERMISSION_DENIED`, `NOT_FOUND`,
    /// `INVALID_ARGUMENT`, `UNAVAILABLE` (the names of `google.rpc.Code`).
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        match self {
            Self::Allow(_) => "OK",
            Self::Deny(denial) => match denial.kind {
                DenialKind::Unauthenticated => "UNAUTHENTICATED",
                DenialKind::Unauthorized => "PERMISSION_DENIED",
                DenialKind::NotFound => "NOT_FOUND",
                DenialKind::Invalid => "INVALID_ARGUMENT",
            },
            Self::Undecidable(_) => "UNAVAILABLE",
        }
    }

    /// Whether the request may pass.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}
