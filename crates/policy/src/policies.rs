//! All policies together, on one request.

use std::{sync::Arc, time::Instant};

use usher_api::FailurePolicy;
use usher_engine::{
    Journal, Request,
    evaluator::Undecided,
    journal::{Entry, StepOutcome},
    plan::{Policy, PolicyDecision, RequestChanges},
    verdict::{Denial, DenialKind},
};
use usher_expr::{
    EvaluationError,
    cel::{Budget, Scope},
};

use crate::{
    compile::{CompiledPolicy, Rule},
    envoy::{CheckResponse, DeniedHttpResponse, Http},
    request::CheckRequest,
};

/// What callers are told when a policy has no answer.
const FAILED: &str = "policy could not be evaluated";

/// What callers are told when no rule matches.
const NO_RULE: &str = "no rule allows the request";

/// Policies in the order of their names.
#[derive(Debug)]
pub struct Policies(Vec<Arc<CompiledPolicy>>);

impl Policies {
    /// These policies, in whatever order they come.
    #[must_use]
    pub fn new(mut policies: Vec<Arc<CompiledPolicy>>) -> Self {
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        Self(policies)
    }
}

/// Deny rules come before allow rules, of all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Deny,
    Allow,
}

impl Policy for Policies {
    fn decide(&self, request: &Request, journal: Option<&Journal>) -> PolicyDecision {
        let budget = Budget::start();
        let document = CheckRequest(request);
        let mut runs: Vec<Run<'_>> = self
            .0
            .iter()
            .map(|policy| Run {
                policy,
                scope: Scope::new(&policy.environment, &document, &budget),
                applies: None,
                journal,
            })
            .collect();
        for phase in [Phase::Deny, Phase::Allow] {
            for run in &mut runs {
                match run.answer(phase) {
                    Ok(None) => {}
                    Ok(Some((rule, response))) => return run.decision(phase, rule, response),
                    Err(failed) if run.policy.failure_policy == FailurePolicy::Fail => {
                        return PolicyDecision::Undecidable(Undecided {
                            reason: FAILED,
                            detail: format!("AuthorizationPolicy `{}`: {failed}", run.policy.name),
                            retry_after: None,
                        });
                    }
                    Err(failed) => {
                        run.applies = Some(false);
                        let policy = run.policy.name.as_str();
                        tracing::warn!(policy, detail = failed, "AuthorizationPolicy is ignored for a request");
                    }
                }
            }
        }
        PolicyDecision::Denied(Denial::new(DenialKind::Unauthorized, NO_RULE))
    }
}

/// One policy on one request.
struct Run<'a> {
    policy: &'a CompiledPolicy,
    scope: Scope<'a>,
    /// Whether the policy concerns the request, once that is known. One that failed and is ignored does not.
    applies: Option<bool>,
    journal: Option<&'a Journal>,
}

impl<'a> Run<'a> {
    /// The first rule that matches, and its response. An error says where it is.
    fn answer(&mut self, phase: Phase) -> Result<Option<(&'a Rule, CheckResponse)>, String> {
        let applies = match self.applies {
            Some(applies) => applies,
            None => {
                let applies = self.conditions()?;
                self.applies = Some(applies);
                applies
            }
        };
        if !applies {
            return Ok(None);
        }
        let policy: &'a CompiledPolicy = self.policy;
        let rules = match phase {
            Phase::Deny => &policy.deny,
            Phase::Allow => &policy.allow,
        };
        for rule in rules {
            let started = Instant::now();
            let found = self.rule(phase, rule);
            if let Some(journal) = self.journal {
                let outcome = match &found {
                    Ok(None) => StepOutcome::Skipped,
                    Ok(Some(CheckResponse { http: Http::Denied(_), message, .. })) => {
                        StepOutcome::Denied(message.clone())
                    }
                    Ok(Some(_)) => StepOutcome::Succeeded,
                    Err(failed) => StepOutcome::Undecidable(failed.clone()),
                };
                let name = format!("{}: {}", policy.name, rule.at);
                journal.record(Entry { phase: "policy", rule: name, outcome, took: started.elapsed() });
            }
            if let Some(response) = found? {
                return Ok(Some((rule, response)));
            }
        }
        Ok(None)
    }

    /// Whether all conditions hold. One that does not decides, whatever happens to the others.
    fn conditions(&self) -> Result<bool, String> {
        let mut failed = None;
        for (name, program) in &self.policy.conditions {
            match self.scope.test(program) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => failed = failed.or(Some(format!("match condition `{name}`: {error}"))),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    fn rule(&self, phase: Phase, rule: &Rule) -> Result<Option<CheckResponse>, String> {
        let at = |field: &'static str| move |error: EvaluationError| format!("{}.{field}: {error}", rule.at);
        if let Some(matches) = &rule.matches
            && !self.scope.test(matches).map_err(at("match"))?
        {
            return Ok(None);
        }
        let response: CheckResponse = self.scope.object(&rule.response).map_err(at("response"))?;
        match (phase, &response.http) {
            (Phase::Deny, Http::Allowed(_)) => Err(format!("{}.response: a deny rule cannot allow", rule.at)),
            _ => Ok(Some(response)),
        }
    }

    fn decision(&self, phase: Phase, rule: &Rule, response: CheckResponse) -> PolicyDecision {
        let CheckResponse { http, message, metadata } = response;
        let metadata = Arc::unwrap_or_clone(metadata);
        match (phase, http) {
            (Phase::Allow, Http::Allowed(allowed)) => PolicyDecision::Allowed(RequestChanges {
                headers: allowed.headers,
                remove_headers: allowed.remove_headers,
                response_headers: allowed.response_headers,
                query_parameters: allowed.query_parameters,
                remove_query_parameters: allowed.remove_query_parameters,
                dynamic_metadata: metadata,
            }),
            // `rule` gives no such response of a deny rule; should one come here all the same, it is a no.
            (Phase::Deny, Http::Allowed(_)) => PolicyDecision::Denied(Denial::new(DenialKind::Unauthorized, NO_RULE)),
            (_, Http::Denied(DeniedHttpResponse { status, headers, body })) => {
                let kind = if status == 401 { DenialKind::Unauthenticated } else { DenialKind::Unauthorized };
                PolicyDecision::Denied(Denial {
                    // One that cannot be a refusal is answered as the kind says.
                    status: u16::try_from(status).ok(),
                    headers,
                    body,
                    dynamic_metadata: metadata,
                    rule: Some(format!("{}: {}", self.policy.name, rule.at).into()),
                    ..Denial::new(kind, message)
                })
            }
        }
    }
}
