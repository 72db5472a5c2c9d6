//! Configurations that are refused, and what is said about them.

use serde_json::{Value, json};

use crate::support::{World, problems};

fn anyone(extra: Value) -> Value {
    let mut rule = json!({"anonymous": {}});
    for (name, value) in extra.as_object().unwrap() {
        rule[name] = value.clone();
    }
    json!({"authentication": {"a": rule}})
}

#[test]
fn what_cannot_mean_anything_is_refused_with_its_path() {
    let regex = json!({"selector": "request.path", "operator": "matches", "value": "[a"});
    let cases = [
        (json!({"when": [{"patternRef": "nosuch"}]}), "spec.when[0].patternRef", "there is no pattern set `nosuch`"),
        (
            json!({"when": [{"any": [{"all": [{"patternRef": "nosuch"}]}]}]}),
            "spec.when[0].any[0].all[0].patternRef",
            "nosuch",
        ),
        (json!({"when": [{"all": [{}]}]}), "spec.when[0].all[0]", "exactly one of"),
        (json!({"when": [{"any": [{"operator": "eq"}]}]}), "spec.when[0].any[0]", "exactly one of"),
        (json!({"when": [regex]}), "spec.when[0].value", ""),
        (json!({"when": [{"predicate": "request.method =="}]}), "spec.when[0].predicate", ""),
        (json!({"when": [{"predicate": ""}]}), "spec.when[0].predicate", ""),
        (json!({"when": [{"jsonPath": "$[", "operator": "eq"}]}), "spec.when[0].jsonPath", ""),
        (anyone(json!({"when": [{"predicate": "nosuch"}]})), "spec.authentication.a.when[0].predicate", "nosuch"),
        (anyone(json!({"cache": {"key": {"expression": "("}}})), "spec.authentication.a.cache.key.expression", ""),
        (anyone(json!({"defaults": {"d": {"expression": "("}}})), "spec.authentication.a.defaults.d.expression", ""),
        (anyone(json!({"overrides": {"o": {"jsonPath": "x"}}})), "spec.authentication.a.overrides.o.jsonPath", ""),
        (anyone(json!({"plain": {"selector": "x"}})), "spec.authentication.a", "exactly one of"),
        (json!({"authentication": {"a": {}}}), "spec.authentication.a", "found none"),
        (
            json!({"authentication": {"a": {"oauth2Introspection": {"endpoint": "https://i/", "credentialsRef": {"name": "s"}}}}}),
            "spec.authentication.a.oauth2Introspection.credentialsRef",
            "not found",
        ),
        (anyone(json!({"removeCredential": true})), "spec.authentication.a.removeCredential", "no credential"),
        (
            json!({"authentication": {"a": {"apiKey": {"selector": {"matchExpressions": [{"key": "k", "operator": "Like"}]}}}}}),
            "spec.authentication.a.apiKey.selector",
            "matchExpressions[0].operator",
        ),
        (
            json!({"authentication": {"a": {"plain": {"expression": "("}}}}),
            "spec.authentication.a.plain.expression",
            "",
        ),
        (
            json!({"authorization": {"z": {"patternMatching": {"patterns": [{"predicate": "1"}]}}}}),
            "spec.authorization.z.patternMatching.patterns[0].predicate",
            "",
        ),
        (
            json!({"response": {"success": {"headers": {"x": {"json": {"properties": {"p": {"expression": "("}}}}}}}}),
            "spec.response.success.headers.x.json.properties.p.expression",
            "",
        ),
        (
            json!({"response": {"success": {"dynamicMetadata": {"x": {"plain": {"expression": "("}}}}}}),
            "spec.response.success.dynamicMetadata.x.plain.expression",
            "",
        ),
        (
            json!({"response": {"success": {"headers": {"x": {"key": "a b", "plain": {"value": 1}}}}}}),
            "spec.response.success.headers.x.key",
            "`a b` is not a valid header name",
        ),
    ];
    for (spec, path, message) in cases {
        let found = World::new().build(&spec).1;
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!(found[0].path, path, "{spec}: {found:?}");
        assert!(found[0].message.contains(message), "{spec}: {found:?}");
    }
}

#[test]
fn a_wrong_set_is_told_at_the_set_and_where_it_is_used() {
    let spec = json!({
        "patterns": {
            "unused": [{"selector": "a"}],
            "used": [{"selector": "a", "operator": "eq"}, {"selector": "a", "operator": "matches", "value": "("}],
        },
        "when": [{"patternRef": "used"}],
    });
    let found = World::new().build(&spec).1;
    let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["spec.patterns.unused[0]", "spec.patterns.used[1].value", "spec.when[0].patternRef"]);
    assert_eq!(found[2].message, "the pattern set `used` is wrong");
}

#[test]
fn headers_of_the_gateway_cannot_be_set() {
    for name in [":path", ":authority", "Host", "content-length", "Transfer-Encoding", "connection"] {
        let spec = json!({"response": {"success": {"headers": {name: {"plain": {"value": 1}}}}}});
        let expected = format!("the header `{name}` cannot be set: it belongs to the gateway");
        assert_eq!(World::new().build(&spec).1[0].message, expected);
        // The same name is fine as a member of the metadata.
        let spec = json!({"response": {"success": {"dynamicMetadata": {name: {"plain": {"value": 1}}}}}});
        assert!(problems(&spec).is_empty());
        let spec = json!({"response": {"success": {"responseHeaders": {"h": {"key": name, "plain": {"value": 1}}}}}});
        assert_eq!(World::new().build(&spec).1[0].message, expected);
        let spec = json!({"response": {"success": {"removeHeaders": ["x-fine", name]}}});
        assert_eq!(problems(&spec), [format!("spec.response.success.removeHeaders[1]: {expected}")]);
    }
}

#[test]
fn only_headers_have_an_action() {
    let item = json!({"a": {"action": "append", "plain": {"value": 1}}});
    for (section, refused) in [("headers", false), ("responseHeaders", false), ("dynamicMetadata", true)] {
        let spec = json!({"response": {"success": {section: item}}});
        assert_eq!(!problems(&spec).is_empty(), refused, "{section}");
    }
    let spec = json!({"response": {"success": {"queryParameters": {"set": item}}}});
    assert_eq!(problems(&spec), ["spec.response.success.queryParameters.set.a.action: only headers have an action"]);
}

#[test]
fn an_appended_response_header_is_not_lost() {
    let cases = [
        ("set-cookie", "append", false),
        ("Set-Cookie", "overwrite", true),
        ("set-cookie", "addIfAbsent", true),
        ("x-a", "append", false),
        ("x-a", "overwrite", false),
        ("x-a", "addIfAbsent", true),
    ];
    for (name, action, refused) in cases {
        let spec = json!({"response": {"success": {"responseHeaders": {
            "one": {"key": name, "action": action, "plain": {"value": "a"}},
            "two": {"key": name.to_lowercase(), "action": "append", "plain": {"value": "b"}},
            "other": {"key": "x-other", "action": action, "plain": {"value": "c"}},
        }}}});
        let found: Vec<_> = World::new().build(&spec).1.into_iter().map(|problem| problem.path).collect();
        let expected: &[&str] = if refused { &["spec.response.success.responseHeaders.one.action"] } else { &[] };
        assert_eq!(found, expected, "{name} {action}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let spec = json!({"authentication": {"a": {
        "jwt": {"jwksUrl": "ftp://keys"},
        "when": [{"predicate": "("}, {"patternRef": "p"}],
        "cache": {"key": {"expression": "("}},
        "defaults": {"d": {"expression": "("}},
        "credentials": {"cookie": {"name": "a"}, "queryString": {"name": "b"}},
    }}});
    let found = World::new().build(&spec).1;
    let paths: Vec<_> = found.iter().map(|problem| problem.path.trim_start_matches("spec.authentication.a.")).collect();
    assert_eq!(
        paths,
        [
            "credentials",
            "defaults.d.expression",
            "jwt.jwksUrl",
            "when[0].predicate",
            "when[1].patternRef",
            "cache.key.expression"
        ]
    );
}

#[test]
fn conditions_are_bounded_in_depth_and_number() {
    let mut deep = json!({"predicate": "true"});
    for _ in 0..63 {
        deep = json!({"all": [deep]});
    }
    assert!(problems(&json!({"when": [{"all": [deep.clone()]}]})).is_empty());
    let found = World::new().build(&json!({"when": [{"all": [{"any": [deep]}]}]})).1;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "conditions are nested deeper than 64 levels");

    let many = |references: usize| {
        let set = json!([{"selector": "request.method", "operator": "eq", "value": "GET"}]);
        json!({"patterns": {"p": set}, "when": vec![json!({"patternRef": "p"}); references]})
    };
    assert!(problems(&many(10_000)).is_empty());
    let found = World::new().build(&many(10_001)).1;
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "spec.when[10000].patternRef: there are more than 10000 comparisons and predicates"
    );
}
