//! What each outcome of each phase means, with evaluators that do as they are told.

mod additions;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use usher_expr::{Expression, Predicate};

use super::check;
use crate::{
    Context, Evaluation, Evaluator, Failure, Journal, Plan, Request, RequestParts, Verdict,
    cache::StepCache,
    observe::Metrics,
    plan::{Delivery, DenyWith, Extension, MetadataRule, OnConditionError, OnMetadataError, ResponseItem},
    testing::{Scenario, Told, denied, header, predicate, request, rule, step, undecided, word, yes},
    verdict::DenialKind,
};

fn metadata(name: &str, told: Told, on_error: OnMetadataError) -> MetadataRule {
    MetadataRule { step: step(name, 0, told), on_error }
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
        let verdict = Scenario { identity, ..Scenario::default() }.check().await;
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
        let verdict =
            Scenario { identity: vec![rule("i", 0, yes())], authorization, ..Scenario::default() }.check().await;
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
        let verdict =
            Scenario { when, on_condition_error, identity, authorization, ..Scenario::default() }.check().await;
        assert_eq!(word(&verdict), expected, "{described}");
    }
    let mut skipped = rule("i", 0, yes());
    skipped.step.when = Some(failing());
    let verdict = Scenario { identity: vec![skipped], ..Scenario::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: {}");
}

#[tokio::test]
async fn metadata_and_response_failures_change_nothing_else() {
    let verdict = Scenario {
        identity: vec![rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))))],
        metadata: vec![
            metadata("broken", undecided(), OnMetadataError::Skip),
            metadata("panics", Told::PanicLater, OnMetadataError::Skip),
            metadata("geo", Told::Later(Ok(Arc::new(json!({"cc": "PT"})))), OnMetadataError::Skip),
        ],
        response: vec![
            ResponseItem { step: step("a", 0, Told::Panic), delivery: header("x-a") },
            ResponseItem { step: step("b", 0, Told::Read("auth.identity.sub")), delivery: header("x-b") },
            ResponseItem {
                step: step("c", 0, Told::Read("auth.metadata")),
                delivery: Delivery::DynamicMetadata("c".to_owned()),
            },
            ResponseItem { step: step("d", 1, Told::Read("auth.response.b")), delivery: header("x-d") },
            ResponseItem { step: step("n", 1, Told::Read("nothing")), delivery: header("x-n") },
            ResponseItem {
                step: step("e", 1, Told::Now(Ok(Arc::new(json!("one\r\nx-forged: two"))))),
                delivery: header("x-e"),
            },
        ],
        ..Scenario::default()
    }
    .check()
    .await;
    let Verdict::Allow(allow) = verdict else { panic!("{verdict:?}") };
    let expected = [("x-b", "joe"), ("x-d", "joe"), ("x-e", "onex-forged: two")];
    let additions = allow.into_additions();
    let headers: Vec<_> = additions.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    assert_eq!(Value::Object(additions.dynamic_metadata), json!({"c": {"geo": {"cc": "PT"}}}));
}

#[tokio::test]
async fn metadata_that_never_could_be_had_lets_nobody_in() {
    /// Fails, and is prepared or not.
    #[derive(Debug)]
    struct Fails(bool);
    impl Evaluator for Fails {
        fn evaluate<'a>(&'a self, _: &'a Context<'a>) -> Evaluation<'a> {
            Evaluation::failure(Failure::undecidable("missing configuration", ""))
        }
        fn is_prepared(&self) -> bool {
            self.0
        }
    }
    for (prepared, expected) in [(true, "allow"), (false, "undecidable: missing configuration")] {
        let rule = MetadataRule { step: step("m", 0, Fails(prepared)), on_error: OnMetadataError::Skip };
        let scenario = Scenario {
            identity: vec![crate::testing::rule("i", 0, yes())],
            metadata: vec![rule],
            ..Scenario::default()
        };
        assert_eq!(word(&scenario.check().await), expected);
    }
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
    let verdict = Scenario { identity: vec![extended], response: vec![read()], ..Scenario::default() }.check().await;
    let Verdict::Allow(allow) = verdict else { panic!("{verdict:?}") };
    assert_eq!(allow.additions().dynamic_metadata.get("id"), Some(&json!({"sub": "joe", "name": "joe", "x": "joe!"})));

    let mut failing = rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))));
    failing.extension = extension(Expression::cel("auth.identity.missing").unwrap());
    let verdict = Scenario { identity: vec![failing], ..Scenario::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: no such key: missing");

    let mut text = rule("i", 0, Told::Now(Ok(Arc::new(json!("joe")))));
    text.extension = extension(Expression::value(json!(1)));
    let verdict = Scenario { identity: vec![text], ..Scenario::default() }.check().await;
    assert_eq!(word(&verdict), "Unauthenticated: an identity that is a string, not an object, cannot be extended");
}

#[tokio::test]
async fn denials_are_answered_as_configured() {
    let verdict =
        Scenario { identity: vec![rule("a", 0, denied("no")), rule("b", 0, denied("no"))], ..Scenario::default() }
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
        dynamic_metadata: vec![
            ("path".to_owned(), Expression::selector("request.path").unwrap()),
            ("lost".to_owned(), Expression::cel("auth.identity.missing").unwrap()),
            ("list".to_owned(), Expression::value(json!([1, null]))),
        ],
    };
    let verdict =
        Scenario { identity: vec![rule("a", 0, denied("no"))], unauthenticated, ..Scenario::default() }.check().await;
    let Verdict::Deny(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!(denial.status, Some(302));
    assert_eq!(denial.reason, "");
    assert_eq!(denial.headers, [("location".to_owned(), "https://l/?r=/x".to_owned())]);
    assert_eq!(denial.body, r#"{"go":"away"}"#);
    assert_eq!(Value::Object(denial.dynamic_metadata), json!({"path": "/x", "list": [1, null]}));
}

#[tokio::test]
async fn after_the_deadline_nothing_is_decided() {
    for told in [Told::Never, Told::Later(Ok(Arc::new(json!(1))))] {
        let plan = Scenario {
            identity: vec![rule("i", 0, yes())],
            metadata: vec![metadata("m", told, OnMetadataError::Skip)],
            ..Scenario::default()
        }
        .plan();
        let request = request();
        let passed = std::time::Instant::now();
        let verdict = check(&plan, &request, Some(passed), None).await;
        assert_eq!(word(&verdict), "undecidable: ");
    }
    let plan = Scenario {
        identity: vec![rule("i", 0, yes())],
        metadata: vec![metadata("m", Told::Never, OnMetadataError::Skip)],
        ..Scenario::default()
    }
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
    let read = ResponseItem { step: step("a", 0, Told::Read("auth.identity")), delivery: header("x-who") };
    let plan = Scenario { identity: vec![keyed], response: vec![read], ..Scenario::default() }.plan();
    for (key, expected) in [(Some("a"), "a"), (Some("b"), "b"), (Some("a"), "a"), (None, "")] {
        let mut parts = RequestParts::default();
        parts.headers.extend(key.map(|key| ("x-key".to_owned(), key.to_owned())));
        let verdict = check(&plan, &Request::new(parts), None, None).await;
        match verdict {
            Verdict::Allow(allow) => assert_eq!(allow.additions().headers, [("x-who".to_owned(), expected.to_owned())]),
            other => assert_eq!((word(&other).as_str(), key), ("Unauthenticated: credential not found", None)),
        }
    }
}

/// No rule fails by itself because of a header that a client may send: not even one whose failure changes nothing.
#[tokio::test]
async fn requests_of_rules_that_come_back_are_not_decided_as_a_whole() {
    let plan = Scenario {
        identity: vec![rule("i", 0, yes())],
        metadata: vec![metadata("blocked", undecided(), OnMetadataError::Skip)],
        ..Scenario::default()
    }
    .plan();
    let too_deep = "undecidable: requests nested too deep";
    for (told, expected) in
        [("", "allow"), ("x", "allow"), ("2", "allow"), ("3", too_deep), ("0, 3", too_deep), ("65535", too_deep)]
    {
        let headers = [("x-usher-nesting".to_owned(), told.to_owned())].into_iter().collect();
        let request = Request::new(RequestParts { headers, ..RequestParts::default() });
        assert_eq!(word(&check(&plan, &request, None, None).await), expected, "{told}");
    }
}

#[tokio::test]
async fn hosts_without_a_working_configuration_are_undecidable() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
    let request = request();
    let pending = Plan::pending(namespace.clone(), name.clone(), metrics.plan(&namespace, &name), String::new());
    assert_eq!(word(&check(&pending, &request, None, None).await), "undecidable: configuration is being loaded");
    let meters = metrics.plan(&namespace, &name);
    let broken = Plan::broken(namespace, name, meters, "spec.hosts: secret detail".to_owned());
    assert_eq!(word(&check(&broken, &request, None, None).await), "undecidable: configuration is invalid");
}

#[tokio::test]
async fn the_journal_tells_what_each_step_did() {
    let mut skipped = step("b", 0, yes());
    skipped.when = Some(predicate("false"));
    let plan = Scenario {
        identity: vec![rule("i", 0, yes())],
        authorization: vec![skipped, step("c", 0, denied("no"))],
        ..Scenario::default()
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

#[tokio::test]
async fn a_denial_names_the_rule_that_said_no() {
    let identity = || vec![rule("i", 0, yes())];
    let scenario = Scenario::default;
    let cases = [
        (Scenario { identity: vec![rule("one", 0, denied("no"))], ..scenario() }, Some("one")),
        (Scenario { identity: vec![rule("a", 0, denied("no")), rule("b", 0, denied("no"))], ..scenario() }, None),
        (scenario(), None),
        (Scenario { identity: identity(), authorization: vec![step("z", 0, denied("no"))], ..scenario() }, Some("z")),
        (
            Scenario {
                identity: identity(),
                metadata: vec![metadata("m", denied("no"), OnMetadataError::Deny)],
                ..scenario()
            },
            Some("m"),
        ),
    ];
    for (scenario, expected) in cases {
        let described = format!("{scenario:?}");
        let Verdict::Deny(denial) = scenario.check().await else { panic!("{described}") };
        assert_eq!(denial.rule.as_deref(), expected, "{described}");
    }
}

#[tokio::test]
async fn metadata_that_must_be_there_ends_the_check_when_it_is_not() {
    use OnMetadataError::{Deny, Skip};
    let later = |failure: Failure| Told::Later(Err(failure));
    let failing_condition = |on_error| {
        let mut rule = metadata("w", undecided(), on_error);
        rule.step.when = Some(predicate("request.headers.missing == 'x'"));
        rule
    };
    let skipped = |on_error| {
        let mut rule = metadata("w", undecided(), on_error);
        rule.step.when = Some(predicate("false"));
        rule
    };
    let cases = [
        (vec![metadata("a", denied("no"), Skip), metadata("b", undecided(), Skip)], "allow"),
        (vec![metadata("a", yes(), Deny)], "allow"),
        (vec![failing_condition(Skip), skipped(Deny)], "allow"),
        (vec![failing_condition(Deny)], "undecidable: conditions could not be evaluated"),
        (vec![metadata("a", denied("no such user"), Deny)], "Unauthorized: no such user"),
        (vec![metadata("a", undecided(), Deny)], "undecidable: issuer is unavailable"),
        (vec![metadata("a", Told::Panic, Deny)], "undecidable: internal error"),
        (vec![metadata("a", Told::PanicLater, Deny)], "undecidable: internal error"),
        // Of several failures the one of the first rule decides, whichever came first in time.
        (
            vec![metadata("a", later(Failure::denied("late")), Deny), metadata("b", undecided(), Deny)],
            "Unauthorized: late",
        ),
        (
            vec![metadata("a", denied("no"), Skip), metadata("b", undecided(), Deny)],
            "undecidable: issuer is unavailable",
        ),
    ];
    for (metadata, expected) in cases {
        let described = format!("{metadata:?}");
        let scenario = Scenario { identity: vec![rule("i", 0, yes())], metadata, ..Scenario::default() };
        assert_eq!(word(&scenario.check().await), expected, "{described}");
    }
    let unauthorized = DenyWith { status: Some(451), ..DenyWith::default() };
    let verdict = Scenario {
        identity: vec![rule("i", 0, yes())],
        metadata: vec![metadata("a", denied("no"), Deny)],
        unauthorized,
        ..Scenario::default()
    }
    .check()
    .await;
    assert_eq!(verdict.http_status(), 451);
    let Verdict::Undecidable(undecided) = (Scenario {
        identity: vec![rule("i", 0, yes())],
        metadata: vec![metadata("a", undecided(), Deny)],
        ..Scenario::default()
    })
    .check()
    .await
    else {
        panic!("decided")
    };
    assert_eq!(undecided.detail, "metadata rule `a`: connection refused to 10.0.0.1");
}
