//! What goes with an allow.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    Request, RequestParts, Verdict, check,
    plan::{CredentialRemoval, Delivery, HeaderAction, IdentityRule, ResponseItem},
    testing::{Scenario, Told, denied, header, rule, step, word, yes},
    upstream::UpstreamRequest,
    verdict::ResponseHeader,
};

#[tokio::test]
async fn an_allow_carries_what_the_items_and_lists_say() {
    let item = |name: &str, priority, value: Value, delivery| ResponseItem {
        step: step(name, priority, Told::Now(Ok(Arc::new(value)))),
        delivery,
    };
    let upstream = |name: &str, action| Delivery::Header { name: name.to_owned(), action };
    let client = |name: &str, action| Delivery::ResponseHeader { name: name.to_owned(), action };
    let query = |name: &str| Delivery::QueryParameter(name.to_owned());
    let later = ResponseItem {
        step: step("a1", 0, Told::Later(Ok(Arc::new(json!("first"))))),
        delivery: upstream("x-list", HeaderAction::Append),
    };
    let scenario = Scenario {
        identity: vec![rule("i", 0, yes())],
        response: vec![
            later,
            item("a2", 0, json!("second"), upstream("x-list", HeaderAction::Append)),
            item("b", 1, json!({"n": 1}), upstream("x-gone", HeaderAction::Append)),
            item("c", 1, json!("kept"), upstream("x-here", HeaderAction::AddIfAbsent)),
            item("d", 1, json!("a\r\nb"), client("x-client", HeaderAction::Append)),
            item("e", 1, Value::Null, client("x-null", HeaderAction::Overwrite)),
            item("f", 1, json!(7), query("n")),
            item("g", 1, Value::Null, query("gone")),
            item("h", 1, Value::Null, upstream("x-secret", HeaderAction::Overwrite)),
        ],
        remove_headers: vec!["x-gone".to_owned(), "x-secret".to_owned()],
        remove_query_parameters: vec!["gone".to_owned(), "n".to_owned(), "absent".to_owned()],
        ..Scenario::default()
    };
    let headers = [("x-list", "zero"), ("x-gone", "forged"), ("x-here", "client's")];
    let request = Request::new(RequestParts {
        path: "/?gone=1&n=2&%6e=3".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..RequestParts::default()
    });
    let Verdict::Allow(allow) = check(&scenario.plan(), &request, None, None).await else { panic!("not allowed") };
    let additions = allow.into_additions();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(additions.headers, [pair("x-list", "zero,first,second"), pair("x-gone", r#"{"n":1}"#)]);
    assert_eq!(additions.remove_headers, ["x-secret"]);
    let expected = ResponseHeader { name: "x-client".to_owned(), value: "ab".to_owned(), action: HeaderAction::Append };
    assert_eq!(additions.response_headers, [expected]);
    assert_eq!(additions.query_parameters, [pair("n", "7")]);
    assert_eq!(additions.remove_query_parameters, ["gone", "%6e"]);
    assert!(additions.dynamic_metadata.is_empty());
}

/// An item without a value, or one that fails, does not let the client say what only we may say.
#[tokio::test]
async fn what_the_client_sent_does_not_pass_for_an_item_that_is_left_out() {
    let null = || Told::Now(Ok(Arc::new(Value::Null)));
    let item = |name: &str, told, delivery| ResponseItem { step: step(name, 0, told), delivery };
    let upstream = |name: &str, action| Delivery::Header { name: name.to_owned(), action };
    let query = |name: &str| Delivery::QueryParameter(name.to_owned());
    let value = |text: &str| Told::Now(Ok(Arc::new(json!(text))));
    let scenario = Scenario {
        identity: vec![rule("i", 0, yes())],
        response: vec![
            item("a", null(), header("x-null")),
            item("b", denied("no"), header("x-denied")),
            item("c", Told::PanicLater, header("x-panic")),
            item("d", null(), header("x-absent")),
            item("e1", value("ours"), header("x-twice")),
            item("e2", null(), header("x-twice")),
            item("f", null(), upstream("x-append", HeaderAction::Append)),
            item("g", null(), upstream("x-add", HeaderAction::AddIfAbsent)),
            item("h", denied("no"), query("q")),
            item("j1", value("ours"), query("set")),
            item("j2", null(), query("set")),
        ],
        ..Scenario::default()
    };
    let headers = ["x-null", "x-denied", "x-panic", "x-twice", "x-append", "x-add"];
    let request = Request::new(RequestParts {
        path: "/?q=1&set=2".to_owned(),
        headers: headers.iter().map(|name| ((*name).to_owned(), "forged".to_owned())).collect(),
        ..RequestParts::default()
    });
    let Verdict::Allow(allow) = check(&scenario.plan(), &request, None, None).await else { panic!("not allowed") };
    let additions = allow.into_additions();
    let pairs = [("x-null", ""), ("x-denied", ""), ("x-panic", ""), ("x-twice", "ours")];
    assert_eq!(additions.headers, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(additions.remove_headers, Vec::<String>::new());
    assert_eq!(additions.query_parameters, [("set".to_owned(), "ours".to_owned())]);
    assert_eq!(additions.remove_query_parameters, ["q"]);
}

/// Takes out the header `x-key`, the parameter `key` and the cookie `key`, or panics.
#[derive(Debug)]
struct Remove {
    panic: bool,
}

impl CredentialRemoval for Remove {
    fn remove(&self, request: &Request, upstream: &mut UpstreamRequest<'_>) {
        assert!(!self.panic, "told to");
        assert!(request.header("x-key").is_some());
        upstream.remove_header("x-key");
        upstream.remove_query_parameter("key");
        let rest = upstream.header("cookie").unwrap_or_default().replace("key=k; ", "");
        upstream.set_header("cookie", rest);
    }
}

#[tokio::test]
async fn a_credential_is_removed_if_its_rule_gave_the_identity() {
    let removing = |name: &str, told: Told, panic: bool| IdentityRule {
        remove_credential: Some(Box::new(Remove { panic })),
        ..rule(name, 0, told)
    };
    let cookie = || ResponseItem {
        step: step("c", 0, Told::Now(Ok(Arc::new(json!("b=2"))))),
        delivery: Delivery::Header { name: "cookie".to_owned(), action: HeaderAction::Append },
    };
    let key = || ResponseItem { step: step("k", 0, Told::Now(Ok(Arc::new(json!("new"))))), delivery: header("x-key") };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let cases = [
        (vec![removing("a", yes(), false)], vec![], vec![pair("cookie", "a=1")], vec!["x-key"], vec!["key"]),
        (
            vec![removing("a", yes(), false)],
            vec![cookie(), key()],
            vec![pair("cookie", "a=1; b=2"), pair("x-key", "new")],
            vec![],
            vec!["key"],
        ),
        (vec![removing("a", denied("no"), false), rule("b", 0, yes())], vec![], vec![], vec![], vec![]),
    ];
    let request = Request::new(RequestParts {
        path: "/?key=1".to_owned(),
        headers: [pair("x-key", "k"), pair("cookie", "key=k; a=1")].into(),
        ..RequestParts::default()
    });
    for (identity, response, headers, removed, parameters) in cases {
        let described = format!("{identity:?} {response:?}");
        let plan = Scenario { identity, response, ..Scenario::default() }.plan();
        let Verdict::Allow(allow) = check(&plan, &request, None, None).await else { panic!("{described}") };
        let additions = allow.into_additions();
        assert_eq!(additions.headers, headers, "{described}");
        assert_eq!(additions.remove_headers, removed, "{described}");
        assert_eq!(additions.remove_query_parameters, parameters, "{described}");
    }
    let plan = Scenario { identity: vec![removing("a", yes(), true)], ..Scenario::default() }.plan();
    assert_eq!(word(&check(&plan, &request, None, None).await), "undecidable: internal error");
}
