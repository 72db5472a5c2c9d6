//! May the caller?

use serde_json::{Value, json};

use crate::support::{World, allowed, denied};

fn patterns(list: Value) -> Value {
    json!({
        "authentication": {"who": {"plain": {"selector": "metadata.filter_metadata.id"}}},
        "authorization": {"rule": {"patternMatching": {"patterns": list}}},
    })
}

fn caller(identity: Value) -> Value {
    json!({"metadata": {"id": identity}, "headers": {"accept": "*/*"}})
}

#[test]
fn all_patterns_must_hold() {
    let member = caller(json!({"roles": ["member", "admin"], "age": 41}));
    let guest = caller(json!({"roles": [], "age": 17}));
    let no = denied("Unauthorized");
    let cases = [
        (json!([]), allowed(), allowed()),
        (json!([{"selector": "auth.identity.roles", "operator": "incl", "value": "admin"}]), allowed(), no.clone()),
        (json!([{"selector": "auth.identity.roles", "operator": "excl", "value": "admin"}]), no.clone(), allowed()),
        (json!([{"selector": "auth.identity.roles.0", "operator": "eq", "value": "member"}]), allowed(), no.clone()),
        (
            json!([{"selector": "auth.identity.roles", "operator": "eq", "value": r#"["member","admin"]"#}]),
            allowed(),
            no.clone(),
        ),
        (json!([{"selector": "auth.identity.age", "operator": "matches", "value": r"^4\d$"}]), allowed(), no.clone()),
        (json!([{"selector": "request.method", "operator": "neq"}]), allowed(), allowed()),
        (json!([{"jsonPath": "$.auth.identity.age", "operator": "eq", "value": "41"}]), allowed(), no.clone()),
        (json!([{"predicate": "auth.identity.age >= 18"}]), allowed(), no.clone()),
        (
            json!([{"predicate": "true"}, {"selector": "auth.identity.age", "operator": "eq", "value": "17"}]),
            no.clone(),
            allowed(),
        ),
        (
            json!([{"any": [{"predicate": "auth.identity.age < 18"}, {"predicate": "request.method == 'POST'"}]}]),
            no,
            allowed(),
        ),
    ];
    for (list, for_member, for_guest) in cases {
        World::new().expect(&patterns(list), &[(member.clone(), for_member), (guest.clone(), for_guest)]);
    }
}

#[test]
fn a_predicate_without_a_value_denies_and_says_why() {
    let cases = [
        (json!([{"predicate": "auth.identity.roles == ['a']"}]), "no such key: roles"),
        (json!([{"predicate": "request.headers['x-missing'] == 'a'"}]), "no such key: x-missing"),
    ];
    for (list, reason) in cases {
        World::new().expect(&patterns(list), &[(caller(json!({"sub": "a"})), denied(reason))]);
    }
    // What is not a boolean is an error too, whatever it is.
    let plan = World::new().plan(&patterns(json!([{"predicate": "auth.identity.verified"}])));
    for (verified, passes) in [(json!(true), true), (json!(false), false), (json!("true"), false), (json!(1), false)] {
        let verdict = crate::support::verdict(&plan, &caller(json!({"verified": verified})));
        assert_eq!(verdict == allowed(), passes, "{verified}: {verdict}");
        assert!(passes || verdict["denied"].is_string(), "{verified}: {verdict}");
    }
}

#[test]
fn the_result_is_true_and_seen_by_later_priorities() {
    let mut spec = patterns(json!([]));
    spec["authorization"]["later"] = json!({
        "priority": 1,
        "patternMatching": {"patterns": [{"selector": "auth.authorization.rule", "operator": "eq", "value": "true"}]},
    });
    World::new().expect(&spec, &[(caller(json!({})), allowed())]);
}

#[test]
fn rego_decides_too() {
    let spec = json!({
        "authentication": {"who": {"plain": {"selector": "metadata.filter_metadata.id"}}},
        "authorization": {"rule": {"opa": {"rego": "allow { input.auth.identity.admin }"}}},
    });
    let cases =
        [(caller(json!({"admin": true})), allowed()), (caller(json!({"admin": false})), denied("Unauthorized"))];
    World::new().expect(&spec, &cases);
}
