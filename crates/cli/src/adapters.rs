//! What joins the serving side and the configuration side, which know nothing of each other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use usher_compile::{AuthConfigId, PolicyReport, Report, State};
use usher_engine::{
    Plan, PlanIndex, Request, Verdict,
    callbacks::{Due, Queue},
    host,
    plan::PlanKind,
    route,
};
use usher_kubernetes::watch::{Health, WatchState, Watched};
use usher_server::{Call, Decide, Readiness, ReadinessCheck, oidc};

use crate::redact::{Redaction, without_query};

/// Decides with the plans of an index, and tells of each decision in the log.
#[derive(Debug)]
pub(crate) struct Decider {
    /// The plans by host and route.
    pub(crate) index: PlanIndex,
    /// What is told to others about decisions.
    pub(crate) callbacks: Queue,
    loaded: AtomicBool,
    redaction: Redaction,
}

impl Decider {
    /// Decides nothing yet: every answer is *undecidable* until the first load has ended.
    pub(crate) fn new(redaction: Redaction) -> Self {
        Self { index: PlanIndex::default(), callbacks: Queue::default(), loaded: AtomicBool::new(false), redaction }
    }

    /// From now on, a host that is not in the index is a host that nobody configured.
    pub(crate) fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    async fn verdict(&self, request: &Request, call: Call<'_>) -> (Verdict, Option<Due>) {
        if !self.loaded.load(Ordering::Acquire) {
            return (Verdict::undecidable("configuration is being loaded", "the first load has not ended"), None);
        }
        match self.index.find(request) {
            Some(plan) => usher_engine::check_with_callbacks(&plan, request, call.deadline, None).await,
            None => (Verdict::not_found(), None),
        }
    }
}

impl Decide for Decider {
    async fn decide(&self, request: Arc<Request>, call: Call<'_>) -> Verdict {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let object = self.redaction.request(&request).to_string();
            tracing::debug!("request id" = request.parts().id, object, "incoming authorization request");
        }
        let (verdict, due) = self.verdict(&request, call).await;
        log(&request, &verdict);
        if let Some(due) = due {
            self.callbacks.push(due, request);
        }
        verdict
    }
}

/// One line for each request that does not pass, and at level debug for each that does. The path is told without its
/// query, which may hold credentials.
fn log(request: &Request, verdict: &Verdict) {
    let parts = request.parts();
    let (response, host, method) = (verdict.code_name(), &*parts.host, &*parts.method);
    let (id, path) = (&*parts.id, without_query(&parts.path));
    // What the gateway says of where to look, if it says anything.
    let lookup_host = || parts.context_extensions.get(host::CONTEXT_EXTENSION);
    let route = || route::named(request);
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
                lookup_host = lookup_host(),
                route = route(),
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
                lookup_host = lookup_host(),
                route = route(),
                reason = undecided.reason,
                detail = undecided.detail,
                "outgoing authorization response"
            );
        }
    }
}

/// Whether this process can do its work: `load`, and on request `authconfigs` and, with a cluster, `source`.
#[derive(Debug)]
pub(crate) struct Ready {
    ready: AtomicBool,
    /// How the watches of a cluster are doing.
    source: Option<Arc<Health>>,
    /// By kind and name.
    not_ready: Mutex<BTreeMap<(&'static str, String), &'static str>>,
}

impl Ready {
    /// Not ready yet. With a cluster, `source` is how its watches are doing.
    pub(crate) fn new(source: Option<Arc<Health>>) -> Self {
        Self { ready: AtomicBool::new(false), source, not_ready: Mutex::default() }
    }

    /// Everything was taken in or refused, and what it needs from the network was tried once.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Remembers what became of an AuthConfig.
    pub(crate) fn note(&self, report: &Report) {
        let reason = match report.state {
            State::Gone => None,
            State::Current if report.lost.is_empty() => None,
            State::Current => Some("HostsNotLinked"),
            State::Earlier | State::Nothing => Some("Invalid"),
            State::Waiting => Some("Reconciling"),
        };
        self.set(("authconfig", report.id.to_string()), reason);
    }

    /// Remembers what became of an AuthorizationPolicy.
    pub(crate) fn note_policy(&self, report: &PolicyReport) {
        let reason = match report.state {
            // A policy names no Secret that it could wait for.
            State::Gone | State::Current | State::Waiting => None,
            State::Earlier | State::Nothing => Some("Invalid"),
        };
        self.set(("authorizationpolicy", report.name.clone()), reason);
    }

    fn set(&self, object: (&'static str, String), reason: Option<&'static str>) {
        let mut not_ready = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => not_ready.insert(object, reason),
            None => not_ready.remove(&object),
        };
    }
}

impl Readiness for Ready {
    fn checks(&self) -> Vec<ReadinessCheck> {
        let load = if self.is_ready() { Ok(()) } else { Err("the first load has not ended".to_owned()) };
        let not_ready = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        let auth_configs = match not_ready.first_key_value() {
            Some(((kind, name), reason)) => Err(format!("{kind} is not ready: {name} (reason: {reason})")),
            None => Ok(()),
        };
        let restored = self.source.as_ref().and_then(|source| source.restored());
        let note = restored.map(|written| format!("what is served comes from a snapshot of {written}"));
        let mut checks = vec![
            ReadinessCheck { name: "load", by_default: true, result: load, note },
            ReadinessCheck { name: "authconfigs", by_default: false, result: auth_configs, note: None },
        ];
        checks.extend(self.source.as_deref().map(source_check));
        checks
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Whether changes are being told of. Serving goes on if they are not, so this does not count without being asked for.
fn source_check(source: &Health) -> ReadinessCheck {
    let failing = Watched::ALL.into_iter().filter_map(|watched| match source.state(watched) {
        WatchState::Failing { reason, .. } => Some(format!("{watched}: {reason}")),
        WatchState::Connecting { .. } => Some(format!("{watched}: connecting")),
        WatchState::NotNeeded | WatchState::Connected { .. } => None,
    });
    let failing: Vec<_> = failing.collect();
    let result = if failing.is_empty() { Ok(()) } else { Err(failing.join("; ")) };
    ReadinessCheck { name: "source", by_default: false, result, note: None }
}

/// The plans that issue tokens, by AuthConfig: whichever version is in force.
#[derive(Debug, Default)]
pub(crate) struct TokenIssuers {
    plans: RwLock<HashMap<AuthConfigId, Arc<Plan>>>,
}

impl TokenIssuers {
    /// What is in force of AuthConfigs from now on; `None`: nothing any more.
    pub(crate) fn publish(&self, changes: impl IntoIterator<Item = (AuthConfigId, Option<Arc<Plan>>)>) {
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        for (id, plan) in changes {
            match plan.filter(|plan| issues_tokens(plan)) {
                Some(plan) => plans.insert(id, plan),
                None => plans.remove(&id),
            };
        }
    }
}

impl oidc::Issuers for TokenIssuers {
    fn find(&self, namespace: &str, authconfig: &str, rule: &str) -> Option<oidc::Issuer> {
        let id = AuthConfigId { namespace: namespace.into(), name: authconfig.into() };
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let PlanKind::Rules(rules) = &plans.get(&id)?.kind else { return None };
        let (_, issuer) = rules.token_issuers.iter().find(|(name, _)| **name == *rule)?;
        Some(oidc::Issuer { issuer: issuer.issuer.clone(), keys: Arc::clone(&issuer.keys) })
    }
}

fn issues_tokens(plan: &Plan) -> bool {
    matches!(&plan.kind, PlanKind::Rules(rules) if !rules.token_issuers.is_empty())
}

#[cfg(test)]
mod tests {
    use usher_engine::{
        observe::Metrics,
        plan::{Rules, TokenIssuer},
    };
    use usher_server::oidc::Issuers as _;

    use super::*;

    fn id(name: &str) -> AuthConfigId {
        AuthConfigId { namespace: "ns".into(), name: name.into() }
    }

    fn plan(kind: PlanKind) -> Arc<Plan> {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "a".into());
        let meters = metrics.plan(&namespace, &name);
        Arc::new(Plan { namespace, name, kind, meters })
    }

    fn issuing(issuers: &[(&str, &str)]) -> Arc<Plan> {
        let issuer = |issuer: &str| TokenIssuer { issuer: issuer.to_owned(), keys: r#"{"keys":[]}"#.into() };
        let token_issuers = issuers.iter().map(|(rule, url)| (Arc::from(*rule), issuer(url))).collect();
        plan(PlanKind::Rules(Box::new(Rules { token_issuers, ..Rules::default() })))
    }

    #[test]
    fn the_issuers_of_what_is_in_force_are_found() {
        let issuers = TokenIssuers::default();
        let find = |name: &str, rule: &str| issuers.find("ns", name, rule).map(|issuer| issuer.issuer);
        assert_eq!(find("a", "w"), None);
        issuers.publish([
            (id("a"), Some(issuing(&[("w", "https://header"), ("w", "https://metadata"), ("x", "https://x")]))),
            (id("b"), Some(issuing(&[]))),
        ]);
        assert_eq!(find("a", "w").as_deref(), Some("https://header"));
        assert_eq!(find("a", "x").as_deref(), Some("https://x"));
        for (name, rule) in [("a", "y"), ("b", "w"), ("c", "w")] {
            assert_eq!(find(name, rule), None, "{name} {rule}");
        }
        assert_eq!(issuers.find("other", "a", "w"), None);
        issuers.publish([(id("a"), Some(issuing(&[("w", "https://new")])))]);
        assert_eq!(find("a", "w").as_deref(), Some("https://new"));
        issuers.publish([(id("a"), Some(plan(PlanKind::Broken("wrong".to_owned()))))]);
        assert_eq!(find("a", "w"), None);
        issuers.publish([(id("a"), Some(issuing(&[("w", "https://again")])))]);
        issuers.publish([(id("a"), None)]);
        assert_eq!(find("a", "w"), None);
        assert!(issuers.plans.read().unwrap().is_empty());
    }
}
