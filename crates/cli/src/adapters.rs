//! What joins the serving side and the configuration side, which know nothing of each other.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use usher_compile::{AuthConfigId, Report, State};
use usher_engine::{HostIndex, Request, Verdict};
use usher_server::{Call, Decide, Readiness, ReadinessCheck, oidc};

use crate::redact::{Redaction, without_query};

/// Decides with the plans of an index, and tells of each decision in the log.
#[derive(Debug)]
pub(crate) struct Decider {
    /// The plans by host.
    pub(crate) index: HostIndex,
    loaded: AtomicBool,
    redaction: Redaction,
}

impl Decider {
    /// Decides nothing yet: every answer is *undecidable* until the first load has ended.
    pub(crate) fn new(redaction: Redaction) -> Self {
        Self { index: HostIndex::default(), loaded: AtomicBool::new(false), redaction }
    }

    /// From now on, a host that is not in the index is a host that nobody configured.
    pub(crate) fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    async fn verdict(&self, request: &Request, call: Call<'_>) -> Verdict {
        if !self.loaded.load(Ordering::Acquire) {
            return Verdict::undecidable("configuration is being loaded", "the first load has not ended");
        }
        match self.index.find(request.lookup_host()) {
            Some(plan) => usher_engine::check(&plan, request, call.deadline, None).await,
            None => Verdict::not_found(),
        }
    }
}

impl Decide for Decider {
    async fn decide(&self, request: Request, call: Call<'_>) -> Verdict {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let object = self.redaction.request(&request).to_string();
            tracing::debug!("request id" = request.parts().id, object, "incoming authorization request");
        }
        let verdict = self.verdict(&request, call).await;
        log(&request, &verdict);
        verdict
    }
}

/// One line for each request that does not pass, and at level debug for each that does. The path is told without its
/// query, which may hold credentials.
fn log(request: &Request, verdict: &Verdict) {
    let parts = request.parts();
    let (response, host, method) = (verdict.code_name(), &*parts.host, &*parts.method);
    let (id, path) = (&*parts.id, without_query(&parts.path));
    match verdict {
        Verdict::Allow(_) => {
            tracing::debug!(
                "request id" = id,
                authorized = true,
                response,
                host,
                method,
                path,
                "outgoing authorization response"
            );
        }
        Verdict::Deny(denial) => {
            tracing::info!(
                "request id" = id,
                authorized = false,
                response,
                host,
                method,
                path,
                reason = denial.reason,
                "outgoing authorization response"
            );
        }
        Verdict::Undecidable(undecided) => {
            tracing::warn!(
                "request id" = id,
                authorized = false,
                response,
                host,
                method,
                path,
                reason = undecided.reason,
                detail = undecided.detail,
                "outgoing authorization response"
            );
        }
    }
}

/// Whether this process can do its work: `load`, and on request `authconfigs`.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    ready: AtomicBool,
    not_ready: Mutex<BTreeMap<AuthConfigId, &'static str>>,
}

impl Ready {
    /// Everything was taken in or refused, and what it needs from the network was tried once.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Remembers what became of an AuthConfig.
    pub(crate) fn note(&self, report: &Report) {
        let reason = match report.state {
            State::Gone => None,
            State::Current if report.loose_hosts.is_empty() => None,
            State::Current => Some("HostsNotLinked"),
            State::Earlier | State::Nothing => Some("Invalid"),
        };
        let mut not_ready = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => not_ready.insert(report.id.clone(), reason),
            None => not_ready.remove(&report.id),
        };
    }
}

impl Readiness for Ready {
    fn checks(&self) -> Vec<ReadinessCheck> {
        let load = if self.is_ready() { Ok(()) } else { Err("the first load has not ended".to_owned()) };
        let not_ready = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        let auth_configs = match not_ready.first_key_value() {
            Some((id, reason)) => Err(format!("authconfig is not ready: {id} (reason: {reason})")),
            None => Ok(()),
        };
        vec![
            ReadinessCheck { name: "load", by_default: true, result: load, note: None },
            ReadinessCheck { name: "authconfigs", by_default: false, result: auth_configs, note: None },
        ]
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// No rule issues tokens, so there is nothing to discover.
#[derive(Debug)]
pub(crate) struct NoIssuers;

impl oidc::Issuers for NoIssuers {
    fn find(&self, _: &str, _: &str, _: &str) -> Option<oidc::Issuer> {
        None
    }
}
