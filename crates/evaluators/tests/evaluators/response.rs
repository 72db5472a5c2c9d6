//! What the upstream and the gateway are told.

use serde_json::{Value, json};
use usher_engine::{plan::HeaderAction, verdict::Additions};

use crate::support::{World, additions};

fn answer(success: Value, request: Value) -> Value {
    let spec = json!({
        "authentication": {"who": {"plain": {"selector": "metadata.filter_metadata.id"}}},
        "response": {"success": success},
    });
    crate::support::verdict(&World::new().plan(&spec), &request)
}

fn caller() -> Value {
    json!({
        "headers": {"x-name": "Ann"},
        "metadata": {"id": {"name": "ann", "age": 41, "exp": 1637954644, "ok": true, "l": ["a", "b"], "o": {"a": "<"}, "crlf": "a\r\nb: c\u{0}"}},
    })
}

#[test]
fn a_plain_header_is_text_or_json_or_left_out() {
    let cases = [
        (json!({"selector": "auth.identity.name"}), Some("ann")),
        (json!({"selector": "auth.identity.age"}), Some("41")),
        (json!({"selector": "auth.identity.exp"}), Some("1637954644")),
        (json!({"selector": "auth.identity.ok"}), Some("true")),
        (json!({"selector": "auth.identity.l"}), Some(r#"["a","b"]"#)),
        (json!({"selector": "auth.identity.o"}), Some(r#"{"a":"\u003c"}"#)),
        (json!({"selector": "auth.identity.none"}), None),
        (json!({"selector": "{auth.identity.name} is {auth.identity.age}"}), Some("ann is 41")),
        (json!({"selector": "{auth.identity.none}"}), Some("")),
        (json!({"selector": "auth.identity.crlf"}), Some("ab: c")),
        (json!({"expression": "auth.identity.name.upperAscii()"}), Some("ANN")),
        (json!({"expression": "{'k': [1, 2]}"}), Some(r#"{"k":[1,2]}"#)),
        (json!({"expression": "request.headers['x-missing']"}), None),
        (json!({"jsonPath": "$.auth.identity.l[1]"}), Some("b")),
        (json!({"value": "Authorino"}), Some("Authorino")),
        (json!({"value": 42}), Some("42")),
        (json!({"value": 1_000_000}), Some("1000000")),
        (json!({"value": false}), Some("false")),
        (json!({"value": {"a": 1}}), Some(r#"{"a":1}"#)),
        (json!({"value": null}), None),
        (json!({}), None),
    ];
    for (plain, expected) in cases {
        let answer = answer(json!({"headers": {"X-Out": {"plain": plain}}}), caller());
        assert_eq!(answer["headers"].get("x-out").and_then(Value::as_str), expected, "{plain}: {answer}");
        assert_eq!(answer["headers"].as_object().unwrap().len(), usize::from(expected.is_some()));
    }
}

#[test]
fn a_json_item_is_an_object_in_a_header_and_in_the_metadata() {
    let properties = json!({
        "text": {"value": "one"}, "number": {"value": 12}, "list": {"value": [1, "a"]}, "nothing": {"value": null},
        "sel": {"selector": "auth.identity.name"}, "miss": {"selector": "auth.nowhere.value"},
        "tpl": {"selector": "Hello, {request.headers.x-name}!"}, "cel": {"expression": "request.method + '-' + string(1 + 1)"},
        "html": {"value": "a<b"},
    });
    let object = json!({
        "text": "one", "number": 12, "list": [1, "a"], "nothing": null, "sel": "ann", "miss": null, "tpl": "Hello, Ann!",
        "cel": "GET-2", "html": "a<b",
    });
    let success = json!({
        "headers": {"x-data": {"json": {"properties": properties}}, "x-empty": {"json": {"properties": {}}}},
        "dynamicMetadata": {"data": {"json": {"properties": properties}}},
    });
    let answer = answer(success, caller());
    let header = answer["headers"]["x-data"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(header).unwrap(), object);
    assert!(header.starts_with(r#"{"cel":"GET-2","html":"a\u003cb","list":[1,"a"],"#), "{header}");
    assert_eq!(answer["headers"]["x-empty"], "{}");
    assert_eq!(answer["metadata"]["data"], object);
}

#[test]
fn metadata_keeps_types_and_null() {
    let success = json!({"dynamicMetadata": {
        "text": {"plain": {"value": "hello"}},
        "number": {"plain": {"value": 4.5}},
        "object": {"plain": {"value": {"a": [1]}}},
        "identity": {"plain": {"selector": "auth.identity.ok"}},
        "missing": {"plain": {"selector": "auth.nothing"}},
    }});
    let expected = json!({"text": "hello", "number": 4.5, "object": {"a": [1]}, "identity": true, "missing": null});
    assert_eq!(answer(success, caller())["metadata"], expected);
}

#[test]
fn items_are_named_by_their_key_or_else_their_name() {
    let success = json!({
        "headers": {
            "123456789": {"plain": {"value": "one"}},
            "specialcharacters+*-.": {"plain": {"value": "two"}},
            "renamed": {"key": "X-Real-Name", "plain": {"value": "three"}},
            "empty": {"key": "", "plain": {"value": "four"}},
            "data": {"plain": {"value": "header"}},
        },
        "dynamicMetadata": {
            "data": {"plain": {"value": "metadata"}},
            "rate-limit": {"key": "Ext Auth:Data", "plain": {"value": "u1"}},
        },
    });
    let expected = json!({
        "headers": {"123456789": "one", "specialcharacters+*-.": "two", "x-real-name": "three", "empty": "four", "data": "header"},
        "metadata": {"data": "metadata", "Ext Auth:Data": "u1"},
    });
    assert_eq!(answer(success, caller()), expected);
}

#[test]
fn an_item_that_fails_leaves_out_nothing_but_itself() {
    let success = json!({"headers": {
        "x-bad": {"json": {"properties": {"v": {"expression": "request.headers['x-missing']"}, "w": {"value": 1}}}},
        "x-good": {"json": {"properties": {"v": {"value": 1}}}},
    }});
    assert_eq!(answer(success, caller())["headers"], json!({"x-good": r#"{"v":1}"#}));
}

#[test]
fn later_items_see_earlier_ones_by_name() {
    let success = json!({"headers": {
        "first": {"key": "x-first", "plain": {"value": "a"}},
        "second": {"priority": 1, "plain": {"selector": "auth.response.first"}},
    }});
    assert_eq!(answer(success, caller())["headers"], json!({"x-first": "a", "second": "a"}));
}

#[test]
fn a_request_is_changed_in_every_way_that_a_gateway_knows() {
    let spec = json!({"authentication": {"anyone": {"anonymous": {}}}, "response": {"success": {
        "headers": {
            "x-replaced": {"plain": {"value": "ours"}},
            "x-list": {"action": "append", "plain": {"value": "b"}},
            "x-kept": {"action": "addIfAbsent", "plain": {"value": "ours"}},
            "x-new": {"action": "addIfAbsent", "plain": {"value": "ours"}},
        },
        "removeHeaders": ["X-Secret"],
        "responseHeaders": {"seen": {"key": "X-Seen", "action": "append", "plain": {"selector": "request.method"}}},
        "queryParameters": {"set": {"user": {"plain": {"value": "a&b"}}}, "remove": ["debug"]},
    }}});
    let request = json!({
        "path": "/x?debug=1&user=eve&page=2",
        "headers": {"x-replaced": "theirs", "x-list": "a", "x-kept": "theirs", "x-secret": "s"},
    });
    let additions = additions(&World::new().plan(&spec), &request);
    let mut headers: Vec<_> = additions.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    assert_eq!(headers, ["x-list: a,b", "x-new: ours", "x-replaced: ours"]);
    assert_eq!(additions.remove_headers, ["x-secret"]);
    let [seen] = additions.response_headers.as_slice() else { panic!("{additions:?}") };
    assert_eq!((seen.name.as_str(), seen.value.as_str(), seen.action), ("x-seen", "GET", HeaderAction::Append));
    assert_eq!(additions.query_parameters, [("user".to_owned(), "a&b".to_owned())]);
    assert_eq!(additions.remove_query_parameters, ["debug"]);
}

#[test]
fn a_credential_goes_no_further_if_the_rule_says_so() {
    let world = World::new().with(&[crate::support::secret("team/s", "app=x", "sesame")]);
    let cases = [
        (json!({}), json!({"headers": {"authorization": "Bearer sesame"}}), "authorization", "", ""),
        (json!({"customHeader": {"name": "X-Key"}}), json!({"headers": {"x-key": "sesame"}}), "x-key", "", ""),
        (json!({"queryString": {"name": "key"}}), json!({"path": "/?a=1&key=sesame"}), "", "key", ""),
        (json!({"cookie": {"name": "key"}}), json!({"headers": {"cookie": "key=sesame"}}), "cookie", "", ""),
        (json!({"cookie": {"name": "key"}}), json!({"headers": {"cookie": "a=1; key=sesame"}}), "", "", "cookie: a=1"),
    ];
    for (credentials, request, header, parameter, replaced) in cases {
        let mut rule = json!({"apiKey": {"selector": {}}, "credentials": credentials, "removeCredential": true});
        let plan = world.plan(&json!({"authentication": {"key": rule}}));
        let found = additions(&plan, &request);
        let headers: Vec<_> = found.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            (found.remove_headers.join(""), found.remove_query_parameters.join(""), headers.join("")),
            (header.to_owned(), parameter.to_owned(), replaced.to_owned()),
            "{rule}"
        );
        // Another rule let the caller in: this credential is none of our business.
        rule["priority"] = json!(1);
        let plan = world.plan(&json!({"authentication": {"anyone": {"anonymous": {}}, "key": rule}}));
        assert_eq!(additions(&plan, &request), Additions::default());
    }
}

#[test]
fn cookies_that_are_left_are_still_those_of_the_client() {
    let world = World::new().with(&[crate::support::secret("team/s", "app=x", "sesame")]);
    let rule =
        json!({"apiKey": {"selector": {}}, "credentials": {"cookie": {"name": "key"}}, "removeCredential": true});
    let request = json!({"headers": {"cookie": "a=1; key=sesame"}});
    let changed = |success: Value| {
        let plan = world.plan(&json!({"authentication": {"key": rule}, "response": {"success": success}}));
        let found = additions(&plan, &request);
        (found.headers, found.remove_headers)
    };
    let cookie = |value: &str| vec![("cookie".to_owned(), value.to_owned())];
    assert_eq!(changed(json!({"removeHeaders": ["cookie"]})), (vec![], vec!["cookie".to_owned()]));
    let item = |item: Value| json!({"headers": {"cookie": item}});
    assert_eq!(changed(item(json!({"plain": {"value": null}}))), (cookie(""), vec![]));
    assert_eq!(changed(item(json!({"plain": {"value": "b=2"}}))), (cookie("b=2"), vec![]));
    assert_eq!(changed(item(json!({"action": "append", "plain": {"value": "b=2"}}))), (cookie("a=1; b=2"), vec![]));
}
