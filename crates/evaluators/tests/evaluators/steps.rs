//! What every rule has: cache and counters.

use prometheus::TextEncoder;
use serde_json::json;

use crate::support::{World, allowed, denied, secret, verdict};

#[test]
fn a_cached_identity_is_never_that_of_somebody_else() {
    let world = World::new().with(&[secret("team/a", "", "ka"), secret("team/b", "", "kb")]);
    let spec = json!({
        "authentication": {"keys": {"apiKey": {"selector": {}}, "cache": {"key": {"value": "fixed"}}}},
        "response": {"success": {"headers": {"x-who": {"plain": {"selector": "auth.identity.metadata.name"}}}}},
    });
    let plan = world.plan(&spec);
    let ask = |key: &str| verdict(&plan, &json!({"headers": {"authorization": format!("Bearer {key}")}}));
    assert_eq!(ask("ka")["headers"]["x-who"], "a");
    assert_eq!(ask("kb")["headers"]["x-who"], "b");
    assert_eq!(ask("kc"), denied("the API Key provided is invalid"));
    assert_eq!(verdict(&plan, &json!({})), denied("credential not found"));
    // It is cached, though: the key is gone and still works until its time is over.
    world.resources.api_keys.remove("team", "a");
    assert_eq!(ask("ka")["headers"]["x-who"], "a");
    assert_eq!(
        verdict(&world.plan(&spec), &json!({"headers": {"authorization": "Bearer ka"}})),
        denied("the API Key provided is invalid")
    );
}

#[test]
fn a_cached_plain_identity_is_never_that_of_somebody_else() {
    let spec = json!({
        "authentication": {"who": {"plain": {"selector": "request.headers.x-user"}, "cache": {"key": {"value": "fixed"}}}},
        "response": {"success": {"headers": {"x-who": {"plain": {"selector": "auth.identity"}}}}},
    });
    let plan = World::new().plan(&spec);
    let ask = |user: &str| verdict(&plan, &json!({"headers": {"x-user": user}}));
    assert_eq!(ask("ann")["headers"]["x-who"], "ann");
    assert_eq!(ask("bob")["headers"]["x-who"], "bob");
    assert_eq!(verdict(&plan, &json!({})), denied("could not retrieve identity object or null"));
}

#[test]
fn any_time_to_live_is_accepted_and_a_negative_one_keeps_nothing() {
    for (ttl, cached) in [(0, true), (1, true), (i64::MAX, true), (-1, false), (i64::MIN, false)] {
        let world = World::new().with(&[secret("team/a", "", "ka")]);
        let spec = json!({"authentication": {"keys": {
            "apiKey": {"selector": {}}, "cache": {"key": {"value": 1}, "ttl": ttl},
        }}});
        let (plan, problems, warnings) = world.build(&spec);
        assert!(problems.is_empty());
        assert_eq!(warnings.is_empty(), cached, "{ttl}");
        let request = json!({"headers": {"authorization": "Bearer ka"}});
        assert_eq!(verdict(&plan, &request), allowed());
        if !cached {
            world.resources.api_keys.remove("team", "a");
            assert_eq!(verdict(&plan, &request), denied("the API Key provided is invalid"));
        }
    }
}

#[test]
fn counters_name_the_kind_of_a_rule_and_exist_only_when_asked_for() {
    let spec = |metrics: bool| {
        json!({
            "authentication": {
                "k": {"apiKey": {"selector": {}}, "metrics": metrics},
                "p": {"plain": {"selector": "request.headers.none"}, "metrics": metrics},
                "z": {"anonymous": {}, "priority": 1, "metrics": metrics},
            },
            "authorization": {"m": {"patternMatching": {"patterns": []}, "metrics": metrics}},
            "response": {"success": {
                "headers": {"h": {"plain": {"value": 1}, "metrics": metrics}},
                "dynamicMetadata": {"d": {"json": {"properties": {}}, "metrics": metrics}},
            }},
        })
    };
    let kinds = |world: &World, metrics: bool| {
        verdict(&world.plan(&spec(metrics)), &json!({}));
        let text = TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
        let mut kinds: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("auth_server_evaluator_total{"))
            .filter_map(|line| {
                let kind = line.split_once("evaluator_type=\"")?.1.split_once('"')?.0;
                let name = line.split_once("evaluator_name=\"")?.1.split_once('"')?.0;
                Some(format!("{name} {kind}"))
            })
            .collect();
        kinds.sort();
        kinds
    };
    let all = [
        "d RESPONSE_JSON",
        "h RESPONSE_PLAIN",
        "k IDENTITY_APIKEY",
        "m AUTHORIZATION_JSON",
        "p IDENTITY_PLAIN",
        "z IDENTITY_NOOP",
    ];
    assert_eq!(kinds(&World::new(), true), all);
    assert_eq!(kinds(&World::new(), false), [""; 0]);
    let mut deep = World::new();
    deep.options.deep_metrics = true;
    assert_eq!(kinds(&deep, false), all);
}
