//! Documents that are no JSON: members that are computed, bytes, whole numbers, scalars that are empty.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value, json};
use usher_expr::{Document, Node, Part, cel::Program};

/// A request with headers and without a query, and an identity that exists as JSON.
struct Check {
    identity: Value,
    reads: AtomicUsize,
}

const REQUEST: Part = Part(1);
const HEADERS: Part = Part(2);
const AUTH: Part = Part(3);

impl Document for Check {
    fn member<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match (part, key) {
            (Part::ROOT, "request") => Some(Node::Message(self, REQUEST)),
            (Part::ROOT, "auth") => Some(Node::Message(self, AUTH)),
            (REQUEST, "method") => Some(Node::Text("GET")),
            (REQUEST, "headers") => Some(Node::Message(self, HEADERS)),
            (REQUEST, "size") => Some(Node::Integer(10)),
            (REQUEST, "raw_body") => Some(Node::Bytes(b"\x00\xff")),
            (HEADERS, "host") => Some(Node::Text("h.io")),
            (AUTH, "identity") => Some(Node::Json(&self.identity)),
            (AUTH, "decided") => Some(Node::Bool(false)),
            _ => None,
        }
    }

    fn members<'a>(&'a self, part: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
        let keys: &[&'static str] = match part {
            Part::ROOT => &["request", "auth"],
            REQUEST => &["method", "headers", "size", "raw_body"],
            HEADERS => &["host"],
            AUTH => &["identity", "decided"],
            _ => &[],
        };
        keys.iter().filter_map(|key| Some((Cow::Borrowed(*key), self.member(part, key)?))).collect()
    }

    fn empty<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        match (part, key) {
            (REQUEST, "query") => Some(Node::Text("")),
            (REQUEST, "delay") => Some(Node::Integer(0)),
            _ => None,
        }
    }

    fn json(&self) -> Cow<'_, Value> {
        let members = self.members(Part::ROOT).into_iter();
        Cow::Owned(Value::Object(members.map(|(key, node)| (key.into_owned(), node.to_value())).collect::<Map<_, _>>()))
    }
}

fn check() -> Check {
    Check { identity: json!({"sub": "john", "groups": [{"name": "a"}, {"name": "b"}]}), reads: AtomicUsize::new(0) }
}

#[test]
fn computed_members_are_values_like_others() {
    let check = check();
    for (source, wanted) in [
        ("request.method", json!("GET")),
        ("request.size", json!(10)),
        ("request.size + 1 > 10", json!(true)),
        ("type(request.size) == double", json!(true)),
        ("request.raw_body", json!("AP8=")),
        (r#"request.raw_body == "AP8=""#, json!(true)),
        ("request.headers", json!({"host": "h.io"})),
        ("request", json!({"method": "GET", "headers": {"host": "h.io"}, "size": 10, "raw_body": "AP8="})),
        ("[request.headers]", json!([{"host": "h.io"}])),
        ("request.headers.map(k, request.headers[k])", json!(["h.io"])),
        ("size(request)", json!(4)),
        (r#"request.headers == {"host": "h.io"}"#, json!(true)),
        (r#"{"host": "h.io"} == request.headers"#, json!(true)),
        (r#"auth.identity.groups.exists(g, g.name == "b")"#, json!(true)),
        ("auth.identity.groups[1].name", json!("b")),
        ("auth.decided", json!(false)),
        ("metadata", json!(null)),
    ] {
        assert_eq!(Program::expression(source).unwrap().evaluate(&check).unwrap(), wanted, "{source}");
    }
}

#[test]
fn empty_scalars_read_as_empty_but_are_not_there() {
    let check = check();
    for (source, wanted) in [
        ("request.query", json!("")),
        (r#"request["query"]"#, json!("")),
        (r#"[request][0].query"#, json!("")),
        (r#"[request][0]["query"]"#, json!("")),
        (r#"["query"].map(k, request[k])"#, json!([""])),
        ("request.delay", json!(0)),
        (r#"request.query == """#, json!(true)),
        (r#"request.query.split("&").size()"#, json!(1)),
        ("has(request.query)", json!(false)),
        ("has([request][0].query)", json!(false)),
        ("request.?query.hasValue()", json!(false)),
        (r#"[request][0].?query.orValue("none")"#, json!("none")),
        (r#"request[?"query"].hasValue()"#, json!(false)),
        (r#"["query"].map(k, request[?k].hasValue())"#, json!([false])),
        (r#"optional.of(request).query.hasValue()"#, json!(false)),
        (r#""query" in request"#, json!(false)),
        (r#"request.exists(k, k == "query")"#, json!(false)),
    ] {
        assert_eq!(Program::expression(source).unwrap().evaluate(&check).unwrap(), wanted, "{source}");
    }
    // Other keys, and those of maps, stay errors.
    for source in ["request.nope", "request.headers.query"] {
        let error = Program::expression(source).unwrap().evaluate(&check).unwrap_err();
        assert!(error.message.starts_with("no such key: "), "{}", error.message);
    }
}

#[test]
fn only_what_is_named_is_read() {
    for (source, reads) in [
        ("request.method", 2),
        (r#"request.method == "GET" && request.headers.host == "h.io""#, 5),
        (r#"request.method == "POST" && request.headers.host == "h.io""#, 2),
        ("true || request.method == 'GET'", 0),
    ] {
        let check = check();
        Program::expression(source).unwrap().evaluate(&check).unwrap();
        assert_eq!(check.reads.load(Ordering::Relaxed), reads, "{source}");
    }
}
