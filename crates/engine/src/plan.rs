//! What runs: one configuration, compiled, immutable and shared.

use std::{fmt::Debug, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use usher_expr::{Expression, Predicate};

use crate::{
    Journal, Request,
    cache::StepCache,
    evaluator::{Evaluator, Undecided},
    observe::{PlanMeters, StepMeters},
    upstream::UpstreamRequest,
    verdict::Denial,
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
    /// Asks policies that decide by themselves: there are no phases, no identity and no counters.
    Policy(Box<dyn Policy>),
    /// The host is known but its configuration was not compiled yet: undecidable. The text says why not, for logs.
    Pending(String),
    /// The configuration never compiled: undecidable. The text says what is wrong, for logs.
    Broken(String),
}

/// Decides about requests by itself.
///
/// Duties: no panics, no unbounded time or memory, no waiting. The engine adds the guard for what happens all the same:
/// after a panic, or after the deadline, the request is undecidable.
pub trait Policy: Debug + Send + Sync {
    /// Decides about one request; writes down what it did, if somebody asked.
    fn decide(&self, request: &Request, journal: Option<&Journal>) -> PolicyDecision;
}

/// What a policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyDecision {
    /// A rule of the policy allows the request, with these changes. Never said for want of a rule.
    Allowed(RequestChanges),
    /// The request may not pass.
    Denied(Denial),
    /// It could not be decided.
    Undecidable(Undecided),
}

/// How an allowed request and its response are changed, in the order in which a policy said so. Names of headers are in
/// lower case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestChanges {
    /// Headers for the upstream, in place of what the client sent; of several of one name the last one counts.
    pub headers: Vec<(String, String)>,
    /// Headers that the upstream does not get, even if they are set above.
    pub remove_headers: Vec<String>,
    /// Headers that are added to the response to the client.
    pub response_headers: Vec<(String, String)>,
    /// Query parameters for the upstream, in place of those of that name; not encoded.
    pub query_parameters: Vec<(String, String)>,
    /// Query parameters that the upstream does not get, even if they are set above; not encoded.
    pub remove_query_parameters: Vec<String>,
    /// What later filters of the gateway can read.
    pub dynamic_metadata: Map<String, Value>,
}

/// The rules of a configuration, by phase. The default has none: it lets nobody in, for there is no way to be
/// authenticated.
#[derive(Debug, Default)]
pub struct Rules {
    /// Whether the configuration concerns a request at all.
    pub when: Option<Predicate>,
    /// What follows when the condition above, or that of an authorization rule, cannot be evaluated.
    pub on_condition_error: OnConditionError,
    /// Who the caller is: the first success by priority.
    pub identity: Priorities<IdentityRule>,
    /// What else is to be known: each on its own.
    pub metadata: Priorities<MetadataRule>,
    /// Whether the caller may: all must grant.
    pub authorization: Priorities<Step>,
    /// What the upstream, the client and the gateway are told: each on its own.
    pub response: Priorities<ResponseItem>,
    /// Headers of the client that the upstream does not get; valid names in lower case.
    pub remove_headers: Vec<String>,
    /// Query parameters of the client that the upstream does not get; names as they read when decoded.
    pub remove_query_parameters: Vec<String>,
    /// The answer to callers who are not authenticated.
    pub unauthenticated: DenyWith,
    /// The answer to callers who are not authorized.
    pub unauthorized: DenyWith,
    /// What is told to others about the decision, once it was answered: each on its own.
    pub callbacks: Priorities<Step>,
    /// The rules that issue tokens, by name, for those who want to verify the tokens. Of two rules of one name the
    /// first one counts.
    pub token_issuers: Vec<(Arc<str>, TokenIssuer)>,
}

/// Issues tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// The `iss` claim of its tokens (RFC 7519 §4.1.1).
    pub issuer: String,
    /// Its public keys: the text of a JSON Web Key Set (RFC 7517 §5).
    pub keys: Arc<str>,
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

impl<T> Default for Priorities<T> {
    fn default() -> Self {
        Self { groups: Box::default(), count: 0 }
    }
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
    /// Takes the credential out of the request to the upstream, where the user asked for that.
    pub remove_credential: Option<Box<dyn CredentialRemoval>>,
}

/// Takes the credential of an authentication rule out of a request.
///
/// Called when the rule gave the identity and the request may pass, before the items of the answer are delivered: an
/// item that sets the same header or query parameter wins. A panic makes the request undecidable.
pub trait CredentialRemoval: Debug + Send + Sync {
    /// Changes `upstream`, the request as the upstream will get it. `request` is the one that the client sent, in
    /// which the credential was found.
    fn remove(&self, request: &Request, upstream: &mut UpstreamRequest<'_>);
}

/// One metadata rule.
#[derive(Debug)]
pub struct MetadataRule {
    /// How the metadata is found.
    pub step: Step,
    /// What follows when it is not.
    pub on_error: OnMetadataError,
}

/// What follows when a metadata rule fails. A rule whose condition does not match is skipped and has not failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMetadataError {
    /// Its metadata is missing, nothing more. A condition that cannot be evaluated skips the rule.
    #[default]
    Skip,
    /// The request does not pass: it is denied where the failure is the caller's doing, and undecidable otherwise, also
    /// where the condition cannot be evaluated.
    Deny,
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

/// Where an item of the answer goes. Names of headers are valid and in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A header of the request to the upstream.
    Header {
        /// Its name.
        name: String,
        /// What happens to what the client sent under that name.
        action: HeaderAction,
    },
    /// A header of the upstream's response to the client.
    ResponseHeader {
        /// Its name.
        name: String,
        /// What happens to what the upstream sent under that name.
        action: HeaderAction,
    },
    /// A query parameter of the request to the upstream, in place of those of that name; the name is not encoded.
    QueryParameter(String),
    /// A member of the dynamic metadata.
    DynamicMetadata(String),
}

/// How a header is set where one of that name may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HeaderAction {
    /// It replaces what there is.
    #[default]
    Overwrite,
    /// It is added to what there is.
    Append,
    /// It is set only if there is none.
    AddIfAbsent,
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
    /// Members of the dynamic metadata. One whose expression has no value is left out.
    pub dynamic_metadata: Vec<(String, Expression)>,
}

impl Plan {
    /// A host is known, its configuration is not compiled yet; `reason` says why, for logs.
    #[must_use]
    pub fn pending(namespace: Arc<str>, name: Arc<str>, meters: PlanMeters, reason: String) -> Self {
        Self { namespace, name, kind: PlanKind::Pending(reason), meters }
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
