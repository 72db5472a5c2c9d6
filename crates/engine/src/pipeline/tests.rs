//! What each outcome of each phase means, with evaluators that do as they are told.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use usher_expr::{Expression, Predicate};

use super::check;
use crate::{
    Context, Evaluation, Evaluator, Failure, Journal, Outcome, Plan, Request, RequestParts, Step, Verdict,
    cache::StepCache,
    observe::Metrics,
    plan::{Delivery, DenyWith, Extension, IdentityRule, OnConditionError, PlanKind, Priorities, ResponseItem, Rules},
    verdict::DenialKind,
};

/// An evaluator that does as it is told.
#[derive(Debug, Clone)]
enum Told {
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

fn yes() -> Told {
    Told::Now(Ok(Arc::new(json!(true))))
}

fn denied(reason: &'static str) -> Told {
    Told::Now(Err(Failure::denied(reason)))
}

fn undecided() -> Told {
    Told::Now(Err(Failure::undecidable("issuer is unavailable", "connection refused to 10.0.0.1")))
}

fn step(name: &str, priority: i64, told: Told) -> Step {
    Step { name: name.into(), priority, when: None, evaluator: Box::new(told), cache: None, meters: None }
}

fn rule(name: &str, priority: i64, told: Told) -> IdentityRule {
    IdentityRule {
        step: step(name, priority, told),
        extension: Extension::default(),
        challenge: format!("Bearer realm=\"{name}\""),
    }
}

fn predicate(source: &str) -> Predicate {
    Predicate::Cel(usher_expr::cel::Program::predicate(source).unwrap())
}

#[derive(Default)]
struct Told4 {
    when: Option<Predicate>,
    on_condition_error: OnConditionError,
    identity: Vec<IdentityRule>,
    metadata: Vec<Step>,
    authorization: Vec<Step>,
    response: Vec<ResponseItem>,
    unauthenticated: DenyWith,
}

impl Told4 {
    fn plan(self) -> Plan {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
        let meters = metrics.plan(&namespace, &name);
        let rules = Rules {
            when: self.when,
            on_condition_error: self.on_condition_error,
            identity: Priorities::new(self.identity, |rule| rule.step.order()),
            metadata: Priorities::new(self.metadata, Step::order),
            authorization: Priorities::new(self.authorization, Step::order),
            response: Priorities::new(self.response, |item| item.step.order()),
            unauthenticated: self.unauthenticated,
            unauthorized: DenyWith::default(),
        };
        Plan { namespace, name, kind: PlanKind::Rules(Box::new(rules)), meters }
    }

    async fn check(self) -> Verdict {
        let request = request();
        check(&self.plan(), &request, None, None).await
    }
}

fn request() -> Request {
    Request::new(RequestParts { method: "GET".to_owned(), path: "/x".to_owned(), ..RequestParts::default() })
}

/// What a verdict is, in a word.
fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(_) => "allow".to_owned(),
        Verdict::Deny(denial) => format!("{:?}: {}", denial.kind, denial.reason),
        Verdict::Undecidable(undecided) => format!("undecidable: {}", undecided.reason),
    }
}

#[tokio::test]
async fn identity_rules_fall_through_to_the_first_success() {
    let late = |outcome: Result<Value, Failure>| Told::Later(outcome.map(Arc::new));
    let cases = [
        (vec![rule("a", 0, yes())], "allow"),
        (vec![rule("a", 0, denied("no key")), rule("b", 0, yes())], "allow"),
        (vec![rule("a", 0, late(Err(Failure::denied("x")))), rule("b", 1, late(Ok(json!(1))))], "allow"),
        (vec![rule("a", 0, Told::Never), rule("b", 0, late(Ok(json!(1))))], "allow"),
        (vec![rule("a", 0, Told::Panic), rule("b", 0, yes())], "allow"),
        (vec![rule("a", 0, denied("no key"))], "Unauthenticated: no key"),
        (
            vec![rule("b", 0, denied("no <key>")), rule("a", 1, denied("bad"))],
            "Unauthenticated: {\"a\":\"bad\",\"b\":\"no \\u003ckey\\u003e\"}",
        ),
        (vec![rule("a", 0, undecided())], "undecidable: issuer is unavailable"),
        (vec![rule("a", 0, undecided()), rule("b", 0, denied("no key"))], "undecidable: issuer is unavailable"),
        (vec![rule("a", 0, denied("no key")), rule("b", 1, undecided())], "undecidable: issuer is unavailable"),
        (vec![rule("a", 0, Told::Panic)], "undecidable: internal error"),
        (vec![rule("a", 0, Told::PanicLater)], "undecidable: internal error"),
        (vec![], "Unauthenticated: {}"),
    ];
    for (identity, expected) in cases {
        let described = format!("{identity:?}");
        let verdict = Told4 { identity, ..Told4::default() }.check().await;
        assert_eq!(word(&verdict), expected, "{described}");
    }
}

#[tokio::test]
async fn every_authorization_rule_must_grant() {
    let cases = [
        (vec![], "allow"),
        (vec![step("a", 0, yes()), step("b", 0, Told::Later(Ok(Arc::new(json!(1)))))], "allow"),
        (vec![step("a", 0, yes()), step("b", 1, denied("no"))], "Unauthorized: no"),
        (vec![step("a", 0, denied("first")), step("b", 0, denied("second"))], "Unauthorized: first"),
        (vec![step("a", 0, Told::Never), step("b", 0, denied("no"))], "Unauthorized: no"),
        (vec![step("a", 0, Told::Later(Err(Failure::denied("no"))))], "Unauthorized: no"),
        (vec![step("a", 0, undecided()), step("b", 1, yes())], "undecidable: issuer is unavailable"),
        (vec![step("a", 0, Told::Panic)], "undecidable: internal error"),
        (vec![step("a", 0, Told::PanicLater), step("b", 0, yes())], "undecidable: internal error"),
    ];
    for (authorization, expected) in cases {
        let described = format!("{authorization:?}");
        let verdict = Told4 { identity: vec![rule("i", 0, yes())], authorization, ..Told4::default() }.check().await;
        assert_eq!(word(&verdict), expected, "{described}");
    }
}

#[tokio::test]
async fn conditions_that_cannot_be_evaluated_never_let_anyone_in() {
    let failing = || predicate("request.headers.missing == 'x'");
    let guarded = |when: Predicate| {
        let mut rule = step("a", 0, denied("no"));
        rule.when = Some(when);
        vec![rule]
    };
    let cases = [
        (Some(failing()), vec![], OnConditionError::Undecidable, "undecidable: conditions could not be evaluated"),
        (Some(failing()), vec![], OnConditionError::Skip, "allow"),
        (Some(predicate("false")), guarded(predicate("true")), OnConditionError::Undecidable, "allow"),
        (None, guarded(failing()), OnConditionError::Undecidable, "undecidable: conditions could not be evaluated"),
        (None, guarded(failing()), OnConditionError::Skip, "allow"),
        (None, guarded(predicate("false")), OnConditionError::Undecidable, "allow"),
        (None, guarded(predicate("true")), OnConditionError::Undecidable, "Unauthorized: no"),
    ];
    for (when, authorization, on_condition_error, expected) in cases {
        let described = format!("{when:?} {authorization:?} {on_condition_error:?}");
        let identity = vec![rule("i", 0, yes())];
        let verdict = Told4 { when, on_condition_error, identity, authorization, ..Told4::default() }.check().await;
        assert_eq!(word(&verdict), expected, "{described}");
    }
    let mut skipped = rule("i", 0, yes());
    skipped.step.when = Some(failing());
    let verdict = Told4 { identity: vec![skipped], ..Told4::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: {}");
}

#[tokio::test]
async fn metadata_and_response_failures_change_nothing_else() {
    let verdict = Told4 {
        identity: vec![rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))))],
        metadata: vec![
            step("broken", 0, undecided()),
            step("panics", 0, Told::PanicLater),
            step("geo", 0, Told::Later(Ok(Arc::new(json!({"cc": "PT"}))))),
        ],
        response: vec![
            ResponseItem { step: step("a", 0, Told::Panic), delivery: Delivery::Header("x-a".to_owned()) },
            ResponseItem {
                step: step("b", 0, Told::Read("auth.identity.sub")),
                delivery: Delivery::Header("x-b".to_owned()),
            },
            ResponseItem {
                step: step("c", 0, Told::Read("auth.metadata")),
                delivery: Delivery::DynamicMetadata("c".to_owned()),
            },
            ResponseItem {
                step: step("d", 1, Told::Read("auth.response.b")),
                delivery: Delivery::Header("x-d".to_owned()),
            },
            ResponseItem { step: step("n", 1, Told::Read("nothing")), delivery: Delivery::Header("x-n".to_owned()) },
            ResponseItem {
                step: step("e", 1, Told::Now(Ok(Arc::new(json!("one\r\nx-forged: two"))))),
                delivery: Delivery::Header("x-e".to_owned()),
            },
        ],
        ..Told4::default()
    }
    .check()
    .await;
    let Verdict::Allow(allow) = verdict else { panic!("{verdict:?}") };
    let expected = [("x-b", "joe"), ("x-d", "joe"), ("x-e", "onex-forged: two")];
    let headers: Vec<_> = allow.headers().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    assert_eq!(Value::Object(allow.dynamic_metadata().clone()), json!({"c": {"geo": {"cc": "PT"}}}));
}

#[tokio::test]
async fn an_identity_is_extended_or_discarded() {
    let extension = |overrides: Expression| Extension {
        defaults: vec![
            ("sub".to_owned(), Expression::value(json!("nobody"))),
            ("name".to_owned(), Expression::selector("auth.identity.sub").unwrap()),
        ],
        overrides: vec![("x".to_owned(), overrides)],
    };
    let read = || ResponseItem {
        step: step("a", 0, Told::Read("auth.identity")),
        delivery: Delivery::DynamicMetadata("id".to_owned()),
    };
    let mut extended = rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))));
    extended.extension = extension(Expression::cel("auth.identity.sub + '!'").unwrap());
    let verdict = Told4 { identity: vec![extended], response: vec![read()], ..Told4::default() }.check().await;
    let Verdict::Allow(allow) = verdict else { panic!("{verdict:?}") };
    assert_eq!(allow.dynamic_metadata().get("id"), Some(&json!({"sub": "joe", "name": "joe", "x": "joe!"})));

    let mut failing = rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))));
    failing.extension = extension(Expression::cel("auth.identity.missing").unwrap());
    let verdict = Told4 { identity: vec![failing], ..Told4::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: no such key: missing");

    let mut text = rule("i", 0, Told::Now(Ok(Arc::new(json!("joe")))));
    text.extension = extension(Expression::value(json!(1)));
    let verdict = Told4 { identity: vec![text], ..Told4::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: an identity that is a string, not an object, cannot be extended");
}

#[tokio::test]
async fn denials_are_answered_as_configured() {
    let verdict = Told4 { identity: vec![rule("a", 0, denied("no")), rule("b", 0, denied("no"))], ..Told4::default() }
        .check()
        .await;
    let Verdict::Deny(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!(denial.kind, DenialKind::Unauthenticated);
    let challenges: Vec<_> = denial.headers.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(challenges, ["Bearer realm=\"a\"", "Bearer realm=\"b\""]);

    let unauthenticated = DenyWith {
        status: Some(302),
        message: Some(Expression::cel("auth.identity.missing").unwrap()),
        headers: vec![("location".to_owned(), Expression::selector("https://l/?r={request.path}").unwrap())],
        body: Some(Expression::value(json!({"go": "away"}))),
    };
    let verdict =
        Told4 { identity: vec![rule("a", 0, denied("no"))], unauthenticated, ..Told4::default() }.check().await;
    let Verdict::Deny(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!(denial.status, Some(302));
    assert_eq!(denial.reason, "");
    assert_eq!(denial.headers, [("location".to_owned(), "https://l/?r=/x".to_owned())]);
    assert_eq!(denial.body, r#"{"go":"away"}"#);
}

#[tokio::test]
async fn after_the_deadline_nothing_is_decided() {
    for told in [Told::Never, Told::Later(Ok(Arc::new(json!(1))))] {
        let plan =
            Told4 { identity: vec![rule("i", 0, yes())], metadata: vec![step("m", 0, told)], ..Told4::default() }
                .plan();
        let request = request();
        let passed = std::time::Instant::now();
        let verdict = check(&plan, &request, Some(passed), None).await;
        assert_eq!(word(&verdict), "undecidable: ");
    }
    let plan =
        Told4 { identity: vec![rule("i", 0, yes())], metadata: vec![step("m", 0, Told::Never)], ..Told4::default() }
            .plan();
    let request = request();
    let soon = std::time::Instant::now() + Duration::from_millis(5);
    let verdict = check(&plan, &request, Some(soon), None).await;
    assert_eq!(word(&verdict), "undecidable: ");
}

#[tokio::test]
async fn a_cached_result_needs_the_credential_all_the_same() {
    /// Accepts the header `x-key`, and counts.
    #[derive(Debug, Default)]
    struct Keyed(std::sync::atomic::AtomicUsize);
    impl Evaluator for Keyed {
        fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Evaluation::Ready(Ok(Arc::new(json!(context.request().header("x-key")))))
        }
        fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<std::borrow::Cow<'a, str>>, Failure> {
            context.request().header("x-key").map(|key| Some(key.into())).ok_or(Failure::denied("credential not found"))
        }
    }
    let mut keyed = rule("k", 0, yes());
    keyed.step.evaluator = Box::new(Keyed::default());
    keyed.step.cache = Some(StepCache::new(Expression::value(json!("fixed")), Duration::from_secs(60), 1 << 20));
    let read = ResponseItem {
        step: step("a", 0, Told::Read("auth.identity")),
        delivery: Delivery::Header("x-who".to_owned()),
    };
    let plan = Told4 { identity: vec![keyed], response: vec![read], ..Told4::default() }.plan();
    for (key, expected) in [(Some("a"), "a"), (Some("b"), "b"), (Some("a"), "a"), (None, "")] {
        let mut parts = RequestParts::default();
        parts.headers.extend(key.map(|key| ("x-key".to_owned(), key.to_owned())));
        let verdict = check(&plan, &Request::new(parts), None, None).await;
        match verdict {
            Verdict::Allow(allow) => assert_eq!(allow.headers(), [("x-who".to_owned(), expected.to_owned())]),
            other => assert_eq!((word(&other).as_str(), key), ("Unauthenticated: credential not found", None)),
        }
    }
}

#[tokio::test]
async fn hosts_without_a_working_configuration_are_undecidable() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
    let request = request();
    let pending = Plan::pending(namespace.clone(), name.clone(), metrics.plan(&namespace, &name));
    assert_eq!(word(&check(&pending, &request, None, None).await), "undecidable: configuration is being loaded");
    let meters = metrics.plan(&namespace, &name);
    let broken = Plan::broken(namespace, name, meters, "spec.hosts: secret detail".to_owned());
    assert_eq!(word(&check(&broken, &request, None, None).await), "undecidable: configuration is invalid");
}

#[tokio::test]
async fn the_journal_tells_what_each_step_did() {
    let mut skipped = step("b", 0, yes());
    skipped.when = Some(predicate("false"));
    let plan = Told4 {
        identity: vec![rule("i", 0, yes())],
        authorization: vec![skipped, step("c", 0, denied("no"))],
        ..Told4::default()
    }
    .plan();
    let journal = Journal::default();
    check(&plan, &request(), None, Some(&journal)).await;
    let told: Vec<_> = journal
        .entries()
        .into_iter()
        .map(|entry| format!("{} {} {:?}", entry.phase, entry.rule, entry.outcome))
        .collect();
    assert_eq!(told, ["authentication i Succeeded", "authorization b Skipped", "authorization c Denied(\"no\")"]);
}
