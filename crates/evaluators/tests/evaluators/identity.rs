//! Who is asking.

use serde_json::{Value, json};

use crate::support::{World, denied, secret};

/// A spec with one rule whose identity is shown.
fn shown(rule: Value) -> Value {
    json!({
        "authentication": {"who": rule},
        "response": {"success": {"dynamicMetadata": {"id": {"plain": {"selector": "auth.identity"}}}}},
    })
}

fn identity(value: Value) -> Value {
    json!({"headers": {}, "metadata": {"id": value}})
}

const NO_CREDENTIAL: &str = "credential not found";
const WRONG_KEY: &str = "the API Key provided is invalid";
const NO_IDENTITY: &str = "could not retrieve identity object or null";

fn bearer(key: &str) -> Value {
    json!({"headers": {"authorization": format!("Bearer {key}")}})
}

#[test]
fn anonymous_lets_everybody_in() {
    let anyone = identity(json!({"anonymous": true}));
    World::new().expect(&shown(json!({"anonymous": {}})), &[(json!({}), anyone.clone()), (bearer("whatever"), anyone)]);
}

#[test]
fn anonymous_with_a_higher_number_is_a_fallback() {
    let world = World::new().with(&[secret("team/k1", "app=a", "sesame")]);
    let spec = json!({
        "authentication": {
            "keys": {"apiKey": {"selector": {"matchLabels": {"app": "a"}}}},
            "public": {"anonymous": {}, "priority": 1},
        },
        "response": {"success": {"headers": {
            "x-anonymous": {"plain": {"selector": "auth.identity.anonymous"}},
            "x-key": {"plain": {"selector": "auth.identity.metadata.name"}},
        }}},
    });
    let anonymous = json!({"headers": {"x-anonymous": "true"}, "metadata": {}});
    let key = json!({"headers": {"x-key": "k1"}, "metadata": {}});
    world.expect(&spec, &[(json!({}), anonymous.clone()), (bearer("wrong"), anonymous), (bearer("sesame"), key)]);
}

#[test]
fn an_api_key_identifies_its_secret() {
    let mut friend = secret("team/friend-1", "group=friends", "n3ex87");
    friend.metadata.annotations = [("secret.test/user".to_owned(), "john".to_owned())].into();
    friend.metadata.creation_timestamp = Some("2026-01-02T03:04:05Z".to_owned());
    friend.secret_type = "Opaque".to_owned();
    let spec = shown(json!({
        "apiKey": {"selector": {"matchLabels": {"group": "friends"}}},
        "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
    }));
    let with = |value: &str| json!({"headers": {"authorization": value}});
    let found = identity(json!({
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {
            "name": "friend-1",
            "namespace": "team",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"group": "friends"},
            "annotations": {"secret.test/user": "john"},
        },
        "data": {"api_key": "bjNleDg3"},
        "type": "Opaque",
    }));
    World::new().with(&[friend]).expect(
        &spec,
        &[
            (with("APIKEY n3ex87"), found.clone()),
            (with("apikey  n3ex87"), found),
            (with("APIKEY nope"), denied(WRONG_KEY)),
            (with("APIKEY n3ex8"), denied(WRONG_KEY)),
            (with("APIKEY n3ex877"), denied(WRONG_KEY)),
            (with("APIKEY N3EX87"), denied(WRONG_KEY)),
            (with("APIKEY "), denied(WRONG_KEY)),
            (with("Bearer n3ex87"), denied(NO_CREDENTIAL)),
            (json!({}), denied(NO_CREDENTIAL)),
        ],
    );
}

#[test]
fn the_selector_decides_which_secrets_count() {
    let world = World::new().with(&[
        secret("team/s1", "group=a,owner=x", "s1"),
        secret("team/s2", "group=b,owner=x,env=prod", "s2"),
        secret("team/s3", "group=c,owner=x", "s3"),
        secret("team/s4", "group=a,owner=x,revoked=yes", "s4"),
        secret("team/s5", "group=a,owner=x,env=dev", "s5"),
        secret("team/s6", "group=a", "s6"),
    ]);
    let accepted = |selector: Value| {
        let plan = world.plan(&json!({"authentication": {"keys": {"apiKey": {"selector": selector}}}}));
        let keys = ["s1", "s2", "s3", "s4", "s5", "s6"];
        let ok = |key: &&str| crate::support::verdict(&plan, &bearer(key)) == crate::support::allowed();
        keys.into_iter().filter(ok).collect::<Vec<_>>()
    };
    assert_eq!(accepted(json!({})), ["s1", "s2", "s3", "s4", "s5", "s6"]);
    assert_eq!(accepted(json!({"matchLabels": {"group": "a"}})), ["s1", "s4", "s5", "s6"]);
    assert_eq!(accepted(json!({"matchLabels": {"group": "a", "env": "dev"}})), ["s5"]);
    assert_eq!(
        accepted(json!({"matchExpressions": [
            {"key": "group", "operator": "In", "values": ["a", "b"]},
            {"key": "revoked", "operator": "DoesNotExist"},
            {"key": "owner", "operator": "Exists"},
            {"key": "env", "operator": "NotIn", "values": ["dev"]},
        ]})),
        ["s1", "s2"]
    );
    assert_eq!(accepted(json!({"matchLabels": {"group": "z"}})), Vec::<&str>::new());
}

#[test]
fn secrets_of_other_namespaces_count_only_when_asked_for_and_watched() {
    let mut world = World::new().with(&[secret("team/a", "app=s", "ka"), secret("other/b", "app=s", "kb")]);
    let rule = |everywhere: bool| {
        shown(json!({
            "apiKey": {"selector": {"matchLabels": {"app": "s"}}, "allNamespaces": everywhere},
            "overrides": {"from": {"selector": "auth.identity.metadata.namespace"}},
            "defaults": {},
        }))
    };
    let from = |world: &World, everywhere: bool, key: &str| {
        crate::support::verdict(&world.plan(&rule(everywhere)), &bearer(key))["metadata"]["id"]["from"].clone()
    };
    assert_eq!(from(&world, false, "ka"), "team");
    assert_eq!(from(&world, false, "kb"), Value::Null);
    assert_eq!(from(&world, true, "ka"), "team");
    assert_eq!(from(&world, true, "kb"), "other");
    world.options.all_namespaces = false;
    assert_eq!(from(&world, true, "ka"), "team");
    assert_eq!(from(&world, true, "kb"), Value::Null);
    let (_, _, warnings) = world.build(&rule(true));
    assert_eq!(warnings[0].path, "spec.authentication.who.apiKey.allNamespaces");
}

#[test]
fn when_all_rules_fail_each_says_why() {
    let world = World::new().with(&[secret("team/i1", "kind=internal", "i"), secret("team/p1", "kind=partner", "p")]);
    let spec = json!({"authentication": {
        "internal": {
            "apiKey": {"selector": {"matchLabels": {"kind": "internal"}}},
            "credentials": {"authorizationHeader": {"prefix": "INT"}},
        },
        "partners": {
            "apiKey": {"selector": {"matchLabels": {"kind": "partner"}}},
            "credentials": {"customHeader": {"name": "X-Partner-Key"}},
        },
    }});
    let allowed = crate::support::allowed();
    world.expect(
        &spec,
        &[
            (json!({"headers": {"authorization": "INT i"}}), allowed.clone()),
            (json!({"headers": {"x-partner-key": "p"}}), allowed),
            (
                json!({"headers": {"x-partner-key": "i"}}),
                denied(r#"{"internal":"credential not found","partners":"the API Key provided is invalid"}"#),
            ),
            (
                json!({"headers": {"authorization": "INT bad"}}),
                denied(r#"{"internal":"the API Key provided is invalid","partners":"credential not found"}"#),
            ),
        ],
    );
}

#[test]
fn a_plain_identity_is_a_value_of_the_request() {
    let cases = [
        (
            json!({"selector": "context.request.http.body.@fromstr"}),
            json!({"body": r#"{"username":"john"}"#}),
            identity(json!({"username": "john"})),
        ),
        (json!({"selector": "context.request.http.body.@fromstr"}), json!({}), denied(NO_IDENTITY)),
        (
            json!({"selector": "context.request.http.headers.x-user"}),
            json!({"headers": {"x-user": "j"}}),
            identity(json!("j")),
        ),
        (json!({"selector": "context.request.http.headers.x-user"}), json!({}), denied(NO_IDENTITY)),
        (json!({"selector": "{context.request.http.headers.x-user}"}), json!({}), identity(json!(""))),
        (json!({"selector": "not a valid path"}), json!({}), denied(NO_IDENTITY)),
        (
            json!({"expression": r#"request.headers["x-user"]"#}),
            json!({"headers": {"a": "b"}}),
            denied("no such key: x-user"),
        ),
        (json!({"expression": "null"}), json!({}), denied(NO_IDENTITY)),
        (json!({"expression": "false"}), json!({}), identity(json!(false))),
        (
            json!({"selector": "metadata.filter_metadata.id.n"}),
            json!({"metadata": {"id": {"n": 0}}}),
            identity(json!(0)),
        ),
        (json!({"jsonPath": "$.request.method"}), json!({}), identity(json!("GET"))),
    ];
    for (plain, request, expected) in cases {
        World::new().expect(&shown(json!({"plain": plain})), &[(request, expected)]);
    }
}

#[test]
fn an_identity_is_extended_with_what_was_found_before() {
    let cases = [
        (
            json!({"sub": "foo", "exp": 1}),
            json!({}),
            json!({"a": {"value": "value1"}, "b": {"selector": "auth.identity.sub"}}),
            Ok(json!({"sub": "foo", "exp": 1, "a": "value1", "b": "foo"})),
        ),
        (json!({"u": "beth"}), json!({"u": {"value": "foo"}}), json!({}), Ok(json!({"u": "beth"}))),
        (json!({}), json!({"u": {"value": "foo"}}), json!({}), Ok(json!({"u": "foo"}))),
        (json!({"u": "beth"}), json!({}), json!({"u": {"value": "foo"}}), Ok(json!({"u": "foo"}))),
        (json!({"u": "beth"}), json!({}), json!({"u": {"selector": "auth.identity.missing"}}), Ok(json!({"u": null}))),
        (json!({"u": null}), json!({"u": {"value": "foo"}}), json!({}), Ok(json!({"u": null}))),
        (json!({}), json!({"u": {"value": "d"}}), json!({"u": {"value": "o"}}), Ok(json!({"u": "o"}))),
        (
            json!({"a": 1}),
            json!({"b": {"selector": "auth.identity.a"}, "c": {"selector": "auth.identity.b"}}),
            json!({}),
            Ok(json!({"a": 1, "b": 1, "c": null})),
        ),
        (json!("joe"), json!({"x": {"value": 1}}), json!({}), Err("cannot be extended")),
        (json!({"a": 1}), json!({"a.b": {"value": 2}}), json!({}), Ok(json!({"a": 1, "a.b": 2}))),
        (json!({"a": 1}), json!({}), json!({"x": {"expression": "auth.identity.zz"}}), Err("no such key: zz")),
    ];
    for (found, defaults, overrides, expected) in cases {
        let spec = shown(json!({
            "plain": {"selector": "metadata.filter_metadata.id.v"}, "defaults": defaults, "overrides": overrides,
        }));
        let request = json!({"metadata": {"id": {"v": found}}});
        let verdict = crate::support::verdict(&World::new().plan(&spec), &request);
        match expected {
            Ok(extended) => assert_eq!(verdict, identity(extended), "{spec}"),
            Err(part) => assert!(verdict["denied"].as_str().is_some_and(|reason| reason.contains(part)), "{verdict}"),
        }
    }
}

#[test]
fn challenges_name_the_place_of_the_credential_but_never_a_selector() {
    let challenge = |rule: Value| {
        let (plan, problems, _) = World::new().build(&json!({"authentication": {"who": rule}}));
        assert!(problems.is_empty());
        let usher_engine::plan::PlanKind::Rules(rules) = plan.kind else { panic!("no rules") };
        rules.identity.iter().next().unwrap().challenge.clone()
    };
    let key = json!({"selector": {}});
    let cases = [
        (json!({"apiKey": key, "credentials": {"authorizationHeader": {"prefix": "APIKEY"}}}), r#"APIKEY realm="who""#),
        (json!({"apiKey": key, "credentials": {"cookie": {"name": "sid"}}}), r#"sid realm="who""#),
        (json!({"apiKey": key}), r#"Bearer realm="who""#),
        (json!({"anonymous": {}}), r#"Bearer realm="who""#),
        (json!({"plain": {"selector": "context.request.http.headers.x-user"}}), r#"Plain realm="who""#),
    ];
    for (rule, expected) in cases {
        assert_eq!(challenge(rule.clone()), expected, "{rule}");
    }
}
