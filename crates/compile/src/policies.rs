//! AuthorizationPolicies: the last good version of each, and the one plan that they make together.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use usher_api::AuthorizationPolicy;
use usher_engine::plan::PlanKind;
use usher_evaluators::Problem;
use usher_policy::CompiledPolicy;

use crate::State;

/// All policies, by name.
#[derive(Debug, Default)]
pub(crate) struct PolicySet {
    /// The last good version, or what is wrong with the only one there was.
    policies: BTreeMap<String, Result<Arc<CompiledPolicy>, String>>,
}

/// What became of an AuthorizationPolicy.
#[derive(Debug, PartialEq, Eq)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// What is in force. With [`State::Nothing`], every request for whose host there is no AuthConfig is undecidable.
    pub state: State,
    /// What is wrong with what was given last.
    pub problems: Vec<Problem>,
}

impl PolicySet {
    /// Takes in a policy, new or changed.
    pub(crate) fn set(&mut self, policy: &AuthorizationPolicy) -> PolicyReport {
        // As for AuthConfigs: a panic refuses the one policy.
        let compiled = catch_unwind(AssertUnwindSafe(|| usher_policy::compile(policy))).unwrap_or_else(|_| {
            tracing::error!("compiling an AuthorizationPolicy panicked");
            let message = "it cannot be compiled: internal error".to_owned();
            Err(vec![usher_api::Problem { path: "spec".to_owned(), line: None, message }])
        });
        let name = policy.metadata.name.clone();
        match compiled {
            Ok(compiled) => {
                self.policies.insert(name.clone(), Ok(Arc::new(compiled)));
                PolicyReport { name, state: State::Current, problems: Vec::new() }
            }
            Err(problems) => {
                let problems = problems.into_iter();
                let problems = problems.map(|problem| Problem { path: problem.path, message: problem.message });
                self.refuse(name, problems.collect())
            }
        }
    }

    /// Takes in a policy that cannot be served.
    pub(crate) fn refuse(&mut self, name: String, problems: Vec<Problem>) -> PolicyReport {
        let state = match self.policies.get(&name) {
            Some(Ok(_)) => State::Earlier,
            Some(Err(_)) | None => {
                let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                self.policies.insert(name.clone(), Err(format!("AuthorizationPolicy `{name}`: {problem}")));
                State::Nothing
            }
        };
        PolicyReport { name, state, problems }
    }

    /// Takes a policy out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<PolicyReport> {
        self.policies.remove(name).map(|_| PolicyReport {
            name: name.to_owned(),
            state: State::Gone,
            problems: Vec::new(),
        })
    }

    /// What all of them do with a request; `None` without any. A policy of which nothing is known might deny every
    /// request.
    pub(crate) fn plan(&self) -> Option<PlanKind> {
        if self.policies.is_empty() {
            return None;
        }
        let policies = self.policies.values().map(|policy| policy.as_ref().map(Arc::clone));
        Some(match policies.collect::<Result<Vec<_>, _>>() {
            Ok(policies) => PlanKind::Policy(Box::new(usher_policy::Policies::new(policies))),
            Err(problem) => PlanKind::Broken(problem.clone()),
        })
    }
}
