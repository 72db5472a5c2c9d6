//! What the tests of several modules need: evaluators that do as they are told, and plans of them.

use std::sync::Arc;

use serde_json::json;
use usher_expr::{Expression, Predicate};

use crate::{
    Context, Evaluation, Evaluator, Failure, Outcome, Plan, Request, RequestParts, Step, Verdict, check,
    observe::Metrics,
    plan::{
        Delivery, DenyWith, Extension, HeaderAction, IdentityRule, MetadataRule, OnConditionError, PlanKind,
        Priorities, ResponseItem, Rules,
    },
};

/// An evaluator that does as it is told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Now(Outcome),
    Later(Outcome),
    Never,
    Panic,
    PanicLater,
    Read(&'static str),
}

impl Evaluator for Told {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.clone() {
            Self::Now(outcome) => Evaluation::Ready(outcome),
            Self::Later(outcome) => Evaluation::pending(async move {
                tokio::task::yield_now().await;
                outcome
            }),
            Self::Never => Evaluation::pending(std::future::pending()),
            Self::Panic => panic!("told to"),
            Self::PanicLater => Evaluation::pending(async { panic!("told to, later") }),
            Self::Read(selector) => {
                Evaluation::Ready(Ok(Arc::new(Expression::selector(selector).unwrap().resolve(context).unwrap())))
            }
        }
    }
}

pub(crate) fn yes() -> Told {
    Told::Now(Ok(Arc::new(json!(true))))
}

pub(crate) fn denied(reason: &'static str) -> Told {
    Told::Now(Err(Failure::denied(reason)))
}

pub(crate) fn undecided() -> Told {
    Told::Now(Err(Failure::undecidable("issuer is unavailable", "connection refused to 10.0.0.1")))
}

pub(crate) fn step(name: &str, priority: i64, evaluator: impl Evaluator + 'static) -> Step {
    Step { name: name.into(), priority, when: None, evaluator: Box::new(evaluator), cache: None, meters: None }
}

pub(crate) fn rule(name: &str, priority: i64, told: Told) -> IdentityRule {
    IdentityRule {
        step: step(name, priority, told),
        extension: Extension::default(),
        challenge: format!("Bearer realm=\"{name}\""),
        remove_credential: None,
    }
}

pub(crate) fn header(name: &str) -> Delivery {
    Delivery::Header { name: name.to_owned(), action: HeaderAction::Overwrite }
}

pub(crate) fn predicate(source: &str) -> Predicate {
    Predicate::Cel(usher_expr::cel::Program::predicate(source).unwrap())
}

/// The rules of a plan `ns/pets`.
#[derive(Debug, Default)]
pub(crate) struct Scenario {
    pub(crate) when: Option<Predicate>,
    pub(crate) on_condition_error: OnConditionError,
    pub(crate) identity: Vec<IdentityRule>,
    pub(crate) metadata: Vec<MetadataRule>,
    pub(crate) authorization: Vec<Step>,
    pub(crate) response: Vec<ResponseItem>,
    pub(crate) remove_headers: Vec<String>,
    pub(crate) remove_query_parameters: Vec<String>,
    pub(crate) unauthenticated: DenyWith,
    pub(crate) unauthorized: DenyWith,
    pub(crate) callbacks: Vec<Step>,
}

impl Scenario {
    pub(crate) fn plan(self) -> Plan {
        self.plan_in("ns", &Metrics::register(&prometheus::Registry::new()).unwrap())
    }

    pub(crate) fn plan_in(self, namespace: &str, metrics: &Arc<Metrics>) -> Plan {
        let (namespace, name): (Arc<str>, Arc<str>) = (namespace.into(), "pets".into());
        let meters = metrics.plan(&namespace, &name);
        let rules = Rules {
            when: self.when,
            on_condition_error: self.on_condition_error,
            identity: Priorities::new(self.identity, |rule| rule.step.order()),
            metadata: Priorities::new(self.metadata, |rule| rule.step.order()),
            authorization: Priorities::new(self.authorization, Step::order),
            response: Priorities::new(self.response, |item| item.step.order()),
            remove_headers: self.remove_headers,
            remove_query_parameters: self.remove_query_parameters,
            unauthenticated: self.unauthenticated,
            unauthorized: self.unauthorized,
            callbacks: Priorities::new(self.callbacks, Step::order),
            token_issuers: Vec::new(),
        };
        Plan { namespace, name, kind: PlanKind::Rules(Box::new(rules)), meters }
    }

    pub(crate) async fn check(self) -> Verdict {
        check(&self.plan(), &request(), None, None).await
    }
}

pub(crate) fn request() -> Request {
    Request::new(RequestParts { method: "GET".to_owned(), path: "/x".to_owned(), ..RequestParts::default() })
}

/// What a verdict is, in a word.
pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(_) => "allow".to_owned(),
        Verdict::Deny(denial) => format!("{:?}: {}", denial.kind, denial.reason),
        Verdict::Undecidable(undecided) => format!("undecidable: {}", undecided.reason),
    }
}
