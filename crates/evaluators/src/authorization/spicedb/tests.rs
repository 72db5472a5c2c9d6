use tonic::Code;
use usher_api::{ObjectMeta, Secret, Selector};
use usher_engine::{Request, RequestParts, context::Identity, observe::Metrics};
use usher_proto::authzed::api::v1::ZedToken;

use super::*;
use crate::{
    Problem, Resources, SecretReader, Secrets,
    build_context::Options,
    conditions::NamedSets,
    identity::Identities,
    resources::{
        http,
        spicedb::test_server::{Reply, TestSpiceDb},
    },
};

/// The rule that this `spec` makes, the problems and the warnings.
fn rule(spec: Value) -> (Option<SpiceDb>, Vec<Problem>, Vec<Problem>) {
    let client = http::Client::new(http::Options { allow_loopback: true, ..http::Options::default() }).unwrap();
    let mut secrets = Secrets::complete();
    secrets.insert(Arc::new(Secret {
        metadata: ObjectMeta { namespace: "team".to_owned(), name: "zed".to_owned(), ..ObjectMeta::default() },
        data: [("key", "hush"), ("lines", "hush\n")].map(|(key, value)| (key.to_owned(), value.into())).into(),
        ..Secret::default()
    }));
    let mut problems = Problems::default();
    let context = BuildContext {
        namespace: &Arc::from("team"),
        name: &Arc::from("config"),
        patterns: &NamedSets::default(),
        identities: &Identities::new(),
        secrets: &SecretReader::new(&secrets, "team"),
        resources: &Arc::new(Resources::new(client, Selector::default()).unwrap()),
        metrics: &Metrics::register(&prometheus::Registry::new()).unwrap(),
        options: &Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
    };
    let spec = serde_json::from_value(spec).unwrap();
    let rule = build(&spec, &FieldPath::root("spicedb"), &context, &mut problems);
    let (problems, warnings) = problems.into_parts();
    (rule, problems, warnings)
}

/// A rule with this endpoint, with members changed; null removes one.
fn spec(endpoint: &str, changes: Value) -> Value {
    let mut spec = json!({
        "endpoint": endpoint,
        "insecure": true,
        "subject": {"kind": {"value": "user"}, "name": {"expression": "auth.identity.name"}},
        "resource": {"kind": {"value": "blog"}, "name": {"selector": r#"request.path.@extract:{"sep":"/","pos":2}"#}},
        "permission": {"selector": r#"request.method.@replace:{"old":"GET","new":"read"}"#},
    });
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

async fn check(rule: &SpiceDb, identity: Value) -> Outcome {
    let request =
        Request::new(RequestParts { method: "GET".to_owned(), path: "/posts/1".to_owned(), ..RequestParts::default() });
    let mut context = Context::new(&request, None, None);
    context.set_identity(Identity { rule: "who".into(), value: Arc::new(identity) });
    match rule.evaluate(&context) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(outcome) => outcome.await,
    }
}

#[tokio::test]
async fn the_question_is_made_of_values() {
    let spicedb = TestSpiceDb::start(Reply::yes());
    let endpoint = spicedb.address.to_string();
    let object =
        |kind: &str, name: &str| Some(ObjectReference { object_type: kind.to_owned(), object_id: name.to_owned() });
    let cases = [
        (json!({}), None, None),
        (json!({"sharedSecretRef": {"name": "zed", "key": "key"}}), Some("Bearer hush"), None),
        (json!({"sharedSecretRef": {"name": "zed", "key": "none"}}), None, None),
        (json!({"consistency": "minimizeLatency"}), None, Some(Requirement::MinimizeLatency(true))),
        (json!({"consistency": "fullyConsistent"}), None, Some(Requirement::FullyConsistent(true))),
    ];
    for (number, (changes, authorization, requirement)) in cases.into_iter().enumerate() {
        let (built, problems, _) = rule(spec(&endpoint, changes.clone()));
        assert_eq!(problems, [], "{changes}");
        let outcome = check(&built.unwrap(), json!({"name": "emilia"})).await;
        assert_eq!(*outcome.unwrap(), json!({"checked_at": {"token": "t1"}, "permissionship": 2}), "{changes}");
        let expected = CheckPermissionRequest {
            consistency: requirement.map(|requirement| Consistency { requirement: Some(requirement) }),
            resource: object("blog", "1"),
            permission: "read".to_owned(),
            subject: Some(SubjectReference { object: object("user", "emilia"), optional_relation: String::new() }),
            context: None,
        };
        assert_eq!(spicedb.questions()[number], (expected, authorization.map(ToOwned::to_owned)), "{changes}");
    }
}

#[test]
fn only_a_permission_grants() {
    let answer = |permissionship, token: Option<&str>| {
        let checked_at = token.map(|token| ZedToken { token: token.to_owned() });
        outcome(&CheckPermissionResponse { checked_at, permissionship })
    };
    let granted = [
        (answer(2, Some("t")), json!({"checked_at": {"token": "t"}, "permissionship": 2})),
        (answer(2, None), json!({"permissionship": 2})),
    ];
    for (outcome, expected) in granted {
        assert_eq!(*outcome.unwrap(), expected);
    }
    let denied = [
        (answer(1, Some("t")), "PERMISSIONSHIP_NO_PERMISSION;token=t"),
        (answer(1, None), "PERMISSIONSHIP_NO_PERMISSION"),
        (answer(1, Some("")), "PERMISSIONSHIP_NO_PERMISSION"),
        (answer(0, None), "PERMISSIONSHIP_UNSPECIFIED"),
        (answer(3, Some("t")), "PERMISSIONSHIP_CONDITIONAL_PERMISSION;token=t"),
        (answer(9, Some("t")), "9;token=t"),
        (answer(-2, None), "-2"),
    ];
    for (outcome, expected) in denied {
        assert_eq!(outcome, Err(Failure::denied(expected)));
    }
}

#[tokio::test]
async fn without_values_nothing_is_asked() {
    let spicedb = TestSpiceDb::start(Reply::yes());
    let endpoint = spicedb.address.to_string();
    let none = json!({"selector": "auth.identity.none"});
    let value = json!({"value": "v"});
    let cases = [
        (json!({"permission": none}), "permission is empty"),
        (json!({"subject": {"kind": none, "name": value}}), "subject.kind is empty"),
        (json!({"subject": {"kind": value, "name": none}}), "subject.name is empty"),
        (json!({"resource": {"kind": none, "name": value}}), "resource.kind is empty"),
        (json!({"resource": {"kind": value, "name": {"value": ""}}}), "resource.name is empty"),
        (json!({"permission": {"expression": "auth.identity.none"}}), "no such key: none"),
    ];
    for (changes, reason) in cases {
        let (built, ..) = rule(spec(&endpoint, changes.clone()));
        let outcome = check(&built.unwrap(), json!({"name": "emilia"})).await;
        assert_eq!(outcome, Err(Failure::denied(reason)), "{changes}");
    }
    assert_eq!(spicedb.connections(), 0);
}

#[tokio::test]
async fn a_server_without_an_answer_decides_nothing() {
    let spicedb = TestSpiceDb::start(Reply::Error(Code::PermissionDenied));
    let (rule, ..) = rule(spec(&spicedb.address.to_string(), json!({"timeout": 100})));
    let rule = rule.unwrap();
    let failure = check(&rule, json!({"name": "emilia"})).await.unwrap_err();
    assert_eq!(failure, Failure::denied("SpiceDB refused the question"));
    for (reply, reason) in [(Reply::Error(Code::Internal), "SpiceDB failed"), (Reply::Silence, "SpiceDB timed out")] {
        spicedb.set(reply);
        let failure = check(&rule, json!({"name": "emilia"})).await.unwrap_err();
        assert!(matches!(&failure, Failure::Undecidable(undecided) if undecided.reason == reason), "{failure:?}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_a_problem_of_its_field() {
    let cases = [
        (json!({"subject": null}), "subject: required"),
        (json!({"resource": null}), "resource: required"),
        (json!({"permission": null}), "permission: required"),
        (json!({"subject": {"kind": {"value": "user"}}}), "subject.name: required"),
        (json!({"resource": {"name": {"value": "1"}}}), "resource.kind: required"),
        (json!({"endpoint": "http://h:1"}), "endpoint: `http://h:1` is not an address such as `spicedb.example:50051`"),
        (json!({"sharedSecretRef": {"name": "nosuch", "key": "k"}}), r#"sharedSecretRef: Secret "nosuch" not found"#),
        (
            json!({"sharedSecretRef": {"name": "zed", "key": "lines"}}),
            "sharedSecretRef: the key has characters that cannot be sent, such as the end of a line",
        ),
    ];
    for (changes, problem) in cases {
        let (built, problems, _) = rule(spec("h:1", changes));
        assert!(built.is_none());
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("spicedb.{problem}")]);
    }
    let (built, problems, _) = rule(json!({"endpoint": ""}));
    assert!(built.is_none());
    assert_eq!(problems.len(), 3);
    let (built, ..) = rule(spec("", json!({"insecure": false, "timeout": 0})));
    let shown = format!("{:?}", built.unwrap());
    let expected = ["grpc.authzed.com", "port: 443", "tls: true", "timeout: None"];
    assert!(expected.iter().all(|part| shown.contains(part)), "{shown}");
}
