//! Lists of conditions, combined.

use serde_json::{Value, json};

use crate::support::{World, allowed, denied};

/// Whether these patterns let requests through, `GET` and `POST` of `/a` and `/b` in that order.
fn passing(list: Value) -> [bool; 4] {
    let spec = json!({
        "patterns": {
            "get": [{"selector": "request.method", "operator": "eq", "value": "GET"}],
            "get-a": [
                {"selector": "request.method", "operator": "eq", "value": "GET"},
                {"selector": "request.path", "operator": "eq", "value": "/a"},
            ],
            "empty": [],
        },
        "authentication": {"anyone": {"anonymous": {}}},
        "authorization": {"rule": {"patternMatching": {"patterns": list}}},
    });
    let plan = World::new().plan(&spec);
    [("GET", "/a"), ("GET", "/b"), ("POST", "/a"), ("POST", "/b")].map(|(method, path)| {
        let verdict = crate::support::verdict(&plan, &json!({"method": method, "path": path}));
        assert!(verdict == allowed() || verdict == denied("Unauthorized"), "{verdict}");
        verdict == allowed()
    })
}

#[test]
fn lists_sets_and_alternatives_combine() {
    let is_b = json!({"selector": "request.path", "operator": "eq", "value": "/b"});
    let is_post = json!({"predicate": "request.method == 'POST'"});
    let (all, none) = ([true; 4], [false; 4]);
    let cases = [
        (json!([]), all),
        (json!([{"any": []}]), all),
        (json!([{"all": []}]), all),
        (json!([{"patternRef": "empty"}]), all),
        (json!([{"patternRef": "get-a"}]), [true, false, false, false]),
        (json!([{"patternRef": "get-a"}, is_b]), none),
        (json!([{"patternRef": "get"}, is_b]), [false, true, false, false]),
        // A set is one alternative: all of its patterns.
        (json!([{"any": [{"patternRef": "get-a"}, is_b]}]), [true, true, false, true]),
        (json!([{"any": [{"patternRef": "get-a"}]}]), [true, false, false, false]),
        (
            json!([{"any": [{"all": [{"patternRef": "get"}, is_b]}, {"all": [is_post, is_b]}]}]),
            [false, true, false, true],
        ),
        (json!([{"any": [is_post]}, {"any": [is_b]}]), [false, false, false, true]),
        (json!([{"all": [{"any": [{"all": [is_post]}]}]}]), [false, false, true, true]),
        // What says nothing is no alternative.
        (json!([{"any": [{"patternRef": "empty"}]}]), none),
        (json!([{"any": [{"all": []}]}]), none),
        (json!([{"any": [{"any": []}, is_post]}]), [false, false, true, true]),
        (json!([{"all": [{"all": []}]}]), all),
    ];
    for (list, expected) in cases {
        assert_eq!(passing(list.clone()), expected, "{list}");
    }
}

#[test]
fn conditions_end_at_what_decides() {
    let error = json!({"predicate": "request.headers['x-missing'] == ''"});
    let (yes, no) = (json!({"predicate": "true"}), json!({"predicate": "false"}));
    let reason = denied("no such key: x-missing");
    let cases = [
        (json!([no, error]), denied("Unauthorized")),
        (json!([error, no]), reason.clone()),
        (json!([{"any": [yes, error]}]), allowed()),
        (json!([{"any": [error, yes]}]), reason),
    ];
    for (list, expected) in cases {
        let spec = json!({
            "authentication": {"anyone": {"anonymous": {}}},
            "authorization": {"rule": {"patternMatching": {"patterns": list}}},
        });
        World::new().expect(&spec, &[(json!({"headers": {"a": "b"}}), expected)]);
    }
}

#[test]
fn when_gates_the_whole_and_each_rule() {
    let nobody = json!({"nobody": {"plain": {"selector": "request.headers.x-nobody"}}});
    let spec = json!({
        "when": [
            {"selector": "request.method", "operator": "eq", "value": "POST"},
            {"selector": "request.path", "operator": "matches", "value": "^/orders(/.*)?$"},
        ],
        "authentication": nobody,
    });
    let no = denied("could not retrieve identity object or null");
    World::new().expect(
        &spec,
        &[
            (json!({"method": "POST", "path": "/orders/1"}), no.clone()),
            (json!({"method": "POST", "path": "/ordersx"}), allowed()),
            (json!({"method": "GET", "path": "/orders/1"}), allowed()),
        ],
    );

    let spec = json!({
        "when": [{"predicate": "request.headers['x-mode'] == 'strict'"}],
        "authentication": nobody,
    });
    World::new().expect(
        &spec,
        &[
            (json!({"headers": {"a": "b"}}), json!({"undecidable": "no such key: x-mode"})),
            (json!({"headers": {"x-mode": "strict"}}), no),
            (json!({"headers": {"x-mode": "lax"}}), allowed()),
        ],
    );

    let spec = json!({
        "authentication": {"anyone": {"anonymous": {}}},
        "authorization": {"never-post": {
            "when": [{"selector": "request.method", "operator": "eq", "value": "POST"}],
            "patternMatching": {"patterns": [{"predicate": "false"}]},
        }},
        "response": {"success": {
            "headers": {"x-post": {"when": [{"predicate": "request.method == 'PUT'"}], "plain": {"value": 1}}},
        }},
    });
    World::new().expect(
        &spec,
        &[
            (json!({"method": "GET"}), allowed()),
            (json!({"method": "POST"}), denied("Unauthorized")),
            (json!({"method": "PUT"}), json!({"headers": {"x-post": "1"}, "metadata": {}})),
        ],
    );

    let spec = json!({"authentication": {"anyone": {
        "when": [{"selector": "request.path", "operator": "eq", "value": "/get"}], "anonymous": {},
    }}});
    World::new().expect(&spec, &[(json!({"path": "/get"}), allowed()), (json!({"path": "/post"}), denied("{}"))]);
}
