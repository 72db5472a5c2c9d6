//! What runs: one configuration, compiled, immutable and shared.

use std::{sync::Arc, time::Duration};

use usher_expr::{Expression, Predicate};

use crate::{
    cache::StepCache,
    evaluator::Evaluator,
    observe::{PlanMeters, StepMeters},
};

/// One configuration, ready to run.
#[derive(Debug)]
pub struct Plan {
    /// The namespace of the configuration.
    pub namespace: Arc<str>,
    /// The name of the configuration.
    pub name: Arc<str>,
    /// What it does with a request.
    pub kind: PlanKind,
    /// Counters of the whole configuration.
    pub meters: PlanMeters,
}

/// What a plan does with a request.
#[derive(Debug)]
pub enum PlanKind {
    /// Runs the phases.
    Rules(Box<Rules>),
    /// The host is known but its configuration was not compiled yet: undecidable.
    Pending,
    /// The configuration never compiled: undecidable. The text says what is wrong, for logs.
    Broken(String),
}

/// The rules of a configuration, by phase.
#[derive(Debug)]
pub struct Rules {
    /// Whether the configuration concerns a request at all.
    pub when: Option<Predicate>,
    /// What follows when the condition above, or that of an authorization rule, cannot be evaluated.
    pub on_condition_error: OnConditionError,
    /// Who the caller is: the first success by priority.
    pub identity: Priorities<IdentityRule>,
    /// What else is to be known: each on its own.
    pub metadata: Priorities<Step>,
    /// Whether the caller may: all must grant.
    pub authorization: Priorities<Step>,
    /// What the upstream and the gateway are told: each on its own.
    pub response: Priorities<ResponseItem>,
    /// The answer to callers who are not authenticated.
    pub unauthenticated: DenyWith,
    /// The answer to callers who are not authorized.
    pub unauthorized: DenyWith,
}

/// What follows when a condition on the whole configuration or on an authorization rule cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConditionError {
    /// It is undecidable whether the request may pass.
    #[default]
    Undecidable,
    /// The configuration or the rule is skipped, as if the condition did not match.
    Skip,
}

/// Rules by priority: groups in ascending order, rules within a group in the order of their names.
#[derive(Debug)]
pub struct Priorities<T> {
    groups: Box<[Box<[T]>]>,
    count: usize,
}

impl<T> Priorities<T> {
    /// Sorts rules into groups. `order` gives priority and name of a rule.
    pub fn new(mut rules: Vec<T>, order: impl Fn(&T) -> (i64, Arc<str>)) -> Self {
        rules.sort_by_cached_key(&order);
        let count = rules.len();
        let mut groups: Vec<Vec<T>> = Vec::new();
        let mut last = None;
        for rule in rules {
            let (priority, _) = order(&rule);
            match groups.last_mut() {
                Some(group) if last == Some(priority) => group.push(rule),
                _ => groups.push(vec![rule]),
            }
            last = Some(priority);
        }
        Self { groups: groups.into_iter().map(Vec::into_boxed_slice).collect(), count }
    }

    /// The groups, lowest priority number first.
    #[must_use]
    pub fn groups(&self) -> &[Box<[T]>] {
        &self.groups
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.groups.iter().flatten()
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// One named evaluator in a plan.
#[derive(Debug)]
pub struct Step {
    /// The name that the user gave the rule.
    pub name: Arc<str>,
    /// Rules with a lower number run first.
    pub priority: i64,
    /// Whether the rule concerns a request.
    pub when: Option<Predicate>,
    /// What runs.
    pub evaluator: Box<dyn Evaluator>,
    /// Results of earlier requests.
    pub cache: Option<StepCache>,
    /// Counters, where the user or the operator asked for them.
    pub meters: Option<StepMeters>,
}

impl Step {
    /// By what rules are sorted.
    #[must_use]
    pub fn order(&self) -> (i64, Arc<str>) {
        (self.priority, Arc::clone(&self.name))
    }
}

/// One authentication rule.
#[derive(Debug)]
pub struct IdentityRule {
    /// How the identity is found.
    pub step: Step,
    /// What is added to it.
    pub extension: Extension,
    /// The `WWW-Authenticate` header that invites to try this rule, for example `Bearer realm="friends"` (RFC 9110
    /// §11.6.1).
    pub challenge: String,
}

/// Properties that are added to an identity object.
#[derive(Debug, Default)]
pub struct Extension {
    /// Set where the identity has no such property.
    pub defaults: Vec<(String, Expression)>,
    /// Set in any case.
    pub overrides: Vec<(String, Expression)>,
}

impl Extension {
    /// Whether nothing is added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.defaults.is_empty() && self.overrides.is_empty()
    }
}

/// One item of the answer to an allowed request.
#[derive(Debug)]
pub struct ResponseItem {
    /// How its value is made.
    pub step: Step,
    /// Where it goes.
    pub delivery: Delivery,
}

/// Where an item of the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A header of the request to the upstream; the name is valid and in lower case.
    Header(String),
    /// A member of the dynamic metadata.
    DynamicMetadata(String),
}

/// How a denial is answered, where the user wants another answer than the usual one.
#[derive(Debug, Default)]
pub struct DenyWith {
    /// The HTTP status, 300 to 599.
    pub status: Option<u16>,
    /// Instead of the reason.
    pub message: Option<Expression>,
    /// Instead of the usual headers, when there are any: valid lower-case names.
    pub headers: Vec<(String, Expression)>,
    /// The body.
    pub body: Option<Expression>,
}

impl Plan {
    /// A host is known, its configuration is not compiled yet.
    #[must_use]
    pub fn pending(namespace: Arc<str>, name: Arc<str>, meters: PlanMeters) -> Self {
        Self { namespace, name, kind: PlanKind::Pending, meters }
    }

    /// A configuration that never compiled; `problem` says why, for logs.
    #[must_use]
    pub fn broken(namespace: Arc<str>, name: Arc<str>, meters: PlanMeters, problem: String) -> Self {
        Self { namespace, name, kind: PlanKind::Broken(problem), meters }
    }
}

/// How long results of earlier requests are kept when the user does not say: 60 seconds.
pub const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_grouped_by_priority_and_sorted_by_name() {
        let rules = vec![(0, "b"), (5, "x"), (-1, "z"), (0, "a")];
        let priorities = Priorities::new(rules, |(priority, name)| (*priority, Arc::from(*name)));
        let groups: Vec<Vec<&str>> =
            priorities.groups().iter().map(|group| group.iter().map(|(_, name)| *name).collect()).collect();
        assert_eq!(groups, [vec!["z"], vec!["a", "b"], vec!["x"]]);
        assert_eq!(priorities.len(), 4);
    }
}
