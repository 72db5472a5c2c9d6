//! What is decided, and the only way to decide *yes*.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{evaluator::Undecided, plan::HeaderAction};

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
    additions: Additions,
}

/// What an allowed request is changed by, and what others are told about it (Envoy's `OkHttpResponse`).
///
/// Names of headers are in lower case, values are without CR, LF and NUL. No name is both set and removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Additions {
    /// Headers of the request to the upstream, each once; each replaces what the client sent under its name.
    pub headers: Vec<(String, String)>,
    /// Headers that the upstream does not get.
    pub remove_headers: Vec<String>,
    /// Headers of the response to the client, in order. A name occurs several times only when all but the first one
    /// are appended.
    pub response_headers: Vec<ResponseHeader>,
    /// Query parameters of the request to the upstream, each once; each replaces those of its name. Neither names nor
    /// values are encoded.
    pub query_parameters: Vec<(String, String)>,
    /// Query parameters that the upstream does not get: names that occur in the query, spelled and encoded as there.
    pub remove_query_parameters: Vec<String>,
    /// What later filters of the gateway can read.
    pub dynamic_metadata: Map<String, Value>,
}

/// A header of the response to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What happens to what the upstream sent under that name.
    pub action: HeaderAction,
}

/// Proof that a request may pass. Made in exactly three places of the pipeline: where every authorization rule has
/// granted, where the conditions of the configuration say that it does not apply to the request, and where a rule of a
/// policy allows it.
#[derive(Debug)]
pub struct Grant(());

impl Grant {
    /// Every authorization rule that applies has granted the request of an authenticated caller.
    pub(crate) fn every_rule_granted(_: &crate::pipeline::authorization::AllGranted) -> Self {
        Self(())
    }

    /// A policy says explicitly that the request is allowed.
    pub(crate) fn allowed_by_policy(_: &crate::pipeline::policy::AllowedByPolicy) -> Self {
        Self(())
    }

    /// The configuration's own conditions say that it does not concern this request.
    pub(crate) fn not_concerned(_: &crate::pipeline::NotConcerned) -> Self {
        Self(())
    }
}

impl Allow {
    /// Lets the request pass, with these additions.
    pub(crate) fn new(_: Grant, additions: Additions) -> Self {
        Self { additions }
    }

    /// What is added.
    #[must_use]
    pub fn additions(&self) -> &Additions {
        &self.additions
    }

    /// What is added, to be moved into the answer.
    #[must_use]
    pub fn into_additions(self) -> Additions {
        self.additions
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
    /// What later filters and logs of the gateway can read.
    pub dynamic_metadata: Map<String, Value>,
    /// The rule that said no. None where no single rule did: several authentication rules failed, or there is no rule
    /// at all.
    pub rule: Option<Arc<str>>,
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
        Self {
            kind,
            status: None,
            reason: reason.into(),
            headers: Vec::new(),
            body: String::new(),
            dynamic_metadata: Map::new(),
            rule: None,
        }
    }
}

impl Denial {
    /// The HTTP status of the answer: what the configuration asks for, if that can be a refusal, or else that of the
    /// kind. Below 200 no client would get an answer, and 2xx would tell callers over HTTP that the request was allowed.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.status.filter(|status| (300..=599).contains(status)).unwrap_or_else(|| self.kind.http_status())
    }
}

impl DenialKind {
    /// The usual HTTP status of this kind.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Unauthorized => 403,
            Self::NotFound => 404,
            Self::Invalid => 400,
        }
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

    /// The HTTP status of the answer that this decision leads to.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Allow(_) => 200,
            Self::Deny(denial) => denial.http_status(),
            Self::Undecidable(_) => 503,
        }
    }

    /// Why, for the caller; empty for an allow.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(_) => "",
            Self::Deny(denial) => &denial.reason,
            Self::Undecidable(undecided) => undecided.reason,
        }
    }

    /// Whether the request may pass.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}
