//! Rows about one document: values, errors with their texts, refusals with their places.

use serde_json::{Value, json};
use usher_expr::cel::Program;

use super::{Failure, evaluate, same};

fn document() -> Value {
    json!({
        "metadata": {"filter_metadata": {"envoy.filters.http.x": {"a": 1, "b": "s"}}},
        "request": {
            "id": "r1", "time": {"seconds": 1_700_000_000, "nanos": 5}, "host": "h.io", "method": "GET",
            "path": "/a/b?x=1", "url_path": "/a/b", "query": "x=1",
            "headers": {"x-a": "1", "authorization": "Bearer t"}, "size": 10
        },
        "source": {"address": "10.0.0.1", "port": 1234},
        "destination": {},
        "auth": {"identity": {
            "username": "john", "age": 42, "big": 9_007_199_254_740_993_i64, "f": 1.5, "admin": true, "n": null,
            "roles": ["user", "admin"], "addr": {"zip": 98}, "people": [{"name": "a"}, {"name": "b"}],
            "exp": 1_700_000_000
        }}
    })
}

fn check(source: &str, wanted: &Value, document: &Value) {
    match evaluate(source, false, document) {
        Ok(found) => assert!(same(wanted, &found), "{source}: wanted {wanted}, found {found}"),
        Err(failure) => panic!("{source}: {failure:?}"),
    }
}

fn check_failure(source: &str, message: &str, document: &Value) {
    match evaluate(source, false, document) {
        Err(Failure::Failed(found)) => assert_eq!(found, message, "{source}"),
        other => panic!("{source}: wanted the error `{message}`, found {other:?}"),
    }
}

#[test]
fn values() {
    let document = document();
    for (source, wanted) in [
        ("auth.identity.username", json!("john")),
        ("auth.identity.age", json!(42)),
        ("auth.identity.age == 42 && auth.identity.age == 42.0 && auth.identity.age >= 42u", json!(true)),
        ("42 == auth.identity.age", json!(true)),
        (r#"auth.identity.age == "42""#, json!(false)),
        ("auth.identity.age + 1.0", json!(43)),
        ("int(auth.identity.age) + 1", json!(43)),
        ("string(auth.identity.age)", json!("42")),
        ("has(auth.identity.missing)", json!(false)),
        (r#"auth.?missing.?x.orValue("d")"#, json!("d")),
        ("auth.identity.?username", json!("john")),
        (r#"auth.identity[?"missing"].orValue("none")"#, json!("none")),
        ("auth.identity.n", json!(null)),
        ("has(auth.identity.n) && auth.identity.n == null", json!(true)),
        (r#""admin" in auth.identity.roles"#, json!(true)),
        (r#""username" in auth.identity"#, json!(true)),
        ("size(auth.identity.roles)", json!(2)),
        (r#"auth.identity.roles.map(r, r + "!")"#, json!(["user!", "admin!"])),
        (r#"auth.identity.roles.join(",")"#, json!("user,admin")),
        ("auth.identity.addr", json!({"zip": 98})),
        (r#"{"a": 1, "b": auth.identity.age}"#, json!({"a": 1, "b": 42})),
        ("9007199254740993", json!("9007199254740993")),
        ("18446744073709551615u", json!("18446744073709551615")),
        ("auth.identity.big", json!(9_007_199_254_740_992_i64)),
        (r#"b"abc""#, json!("YWJj")),
        (r#"timestamp("2023-01-01T00:00:00Z")"#, json!("2023-01-01T00:00:00Z")),
        ("timestamp(int(auth.identity.exp))", json!("2023-11-14T22:13:20Z")),
        (r#"duration("90s")"#, json!("90s")),
        (r#"duration("-90.25s")"#, json!("-90.25s")),
        ("type(auth.identity.age) == double", json!(true)),
        (r#"request.headers["x-a"]"#, json!("1")),
        ("request.time.seconds", json!(1_700_000_000)),
        ("request.time", json!({"seconds": 1_700_000_000, "nanos": 5})),
        (r#"request.path.split("?")[0]"#, json!("/a/b")),
        (r#"request.url_path.split("/")[2]"#, json!("b")),
        (r#"request.path.matches("^/a")"#, json!(true)),
        (r#"auth.identity.missing == "x" || true"#, json!(true)),
        (r#"auth.identity.missing == "x" && false"#, json!(false)),
        ("auth.identity.username || true", json!(true)),
        ("source.port", json!(1234)),
        (r#""a,b,c".split(",", 2)"#, json!(["a", "b,c"])),
        (r#""hello".charAt(5)"#, json!("")),
        (r#""é".upperAscii()"#, json!("é")),
        (r#"size("héllo")"#, json!(5)),
        ("[?auth.identity.?missing, 1]", json!([1])),
        ("request.headers.map(k, k)", json!(["x-a", "authorization"])),
        (r#"auth.identity.addr == {"zip": 98}"#, json!(true)),
        // The other way round, and further inside, where the map of the document is on the right.
        (r#"{"zip": 98} == auth.identity.addr"#, json!(true)),
        (r#"{"zip": 99} == auth.identity.addr"#, json!(false)),
        (r#"{"zip": 98} != auth.identity.addr"#, json!(false)),
        (r#"[{"name": "a"}, {"name": "b"}] == auth.identity.people"#, json!(true)),
        (r#"{"name": "b"} in auth.identity.people"#, json!(true)),
        (r#"auth.identity.addr in [{"zip": 98}]"#, json!(true)),
        (r#"optional.of({"zip": 98}) == auth.?identity.?addr"#, json!(true)),
        ("auth.identity == auth.identity", json!(true)),
        ("auth.identity == auth.identity.roles", json!(false)),
        (r#"[auth.identity.addr] == ["x"]"#, json!(false)),
        (r#"auth.identity.addr == "x""#, json!(false)),
        (r#"auth.identity.people.exists(p, p.name == "b")"#, json!(true)),
        ("auth.identity.people.filter(p, has(p.name)).size()", json!(2)),
        (r#"auth.identity.people.map(p, p.?nope.orValue("-"))"#, json!(["-", "-"])),
        // Numbers mix where their types are known only at run time.
        ("auth.identity.age + 1", json!(43)),
        ("1 + auth.identity.age", json!(43)),
        ("auth.identity.age - 1u", json!(41)),
        ("auth.identity.age * 2", json!(84)),
        ("auth.identity.age / 4", json!(10.5)),
        ("dyn(7) / 2", json!(3)),
        // Names of variables may hide roots; a leading point finds them again.
        ("[1].map(auth, auth + 1)", json!([2])),
        ("[1].map(auth, .auth.identity.age)", json!([42])),
        (r#"[{"method": "x"}].map(request, request.method)"#, json!(["x"])),
        // Texts.
        (
            r#""%s %s".format([auth.identity.addr, [1, "a", null, true, 2.5]])"#,
            json!(r#"{"zip":98} [1, "a", null, true, 2.5]"#),
        ),
        (r#""%d|%.2f|%e".format([auth.identity.age, auth.identity.f, 1200.0])"#, json!("42|1.50|1.200000e+03")),
        (r#""héllo héllo".lastIndexOf("llo", 3)"#, json!(2)),
        (r#""héllo héllo".lastIndexOf("llo")"#, json!(8)),
        (r#""héllo héllo".indexOf("llo", 3)"#, json!(8)),
        ("request.method.matches(request.method)", json!(true)),
    ] {
        check(source, &wanted, &document);
    }
}

#[test]
fn failures() {
    let document = document();
    for (source, message) in [
        ("auth.identity.age % 2", "no such overload: _%_"),
        ("auth.identity.missing", "no such key: missing"),
        ("has(auth.missing.x)", "no such key: missing"),
        ("auth.identity.?missing", "optional.none() dereference"),
        ("auth.identity.roles[5]", "index out of bounds: 5"),
        (r#"{1: "x"}"#, "a map with keys of type 'int' has no JSON form"),
        ("timestamp(auth.identity.exp)", "no such overload: timestamp(double)"),
        (r#"duration("1d")"#, "the value cannot be converted to duration"),
        ("1/0", "division by zero"),
        ("1.0/0.0", "the number +Inf has no JSON form"),
        (r#"request.headers["x-b"]"#, "no such key: x-b"),
        ("request.headers.missing", "no such key: missing"),
        ("request.http.method", "no such key: http"),
        ("auth.identity.username ? 1 : 2", "no such overload"),
        ("auth.identity.username && true", "no such overload"),
        ("destination.port", "no such key: port"),
        (r#""hello".charAt(6)"#, "index out of range: 6"),
        (r#""hello".substring(10)"#, "index out of range: 10"),
        ("auth.identity.people.map(p, p.nope)", "no such key: nope"),
        ("auth.identity.roles.map(p, p.nope)", "no such key: nope"),
        (r#""x".matches(auth.identity.username + "(")"#, "invalid regular expression"),
        // Keys and indices that were computed from the document are not told.
        ("request.headers[request.host]", "no such key"),
        ("auth.identity.roles[int(auth.identity.age)]", "index out of bounds"),
        ("request.host.charAt(int(auth.identity.age))", "index out of range"),
        ("int(request.headers.authorization)", "the value cannot be converted to int"),
    ] {
        check_failure(source, message, &document);
    }
}

#[test]
fn roots_that_are_not_there_are_null() {
    let document = json!({"request": {"method": "GET"}, "auth": {}});
    check("metadata", &json!(null), &document);
    check("has(metadata.x)", &json!(false), &document);
    check(r#"metadata.?x.orValue("d")"#, &json!("d"), &document);
    check("has(auth.identity)", &json!(false), &document);
    check_failure("metadata.x", "no such key: x", &document);
    check_failure(r#""x" in metadata"#, "no such overload: _in_", &document);
    check_failure("auth.identity", "no such key: identity", &document);
    check_failure("has(auth.identity.x)", "no such key: identity", &document);
    check_failure("has(request.headers.x)", "no such key: headers", &document);

    let document = json!({"auth": {"identity": "john"}});
    check("has(auth.identity.x)", &json!(false), &document);
    check_failure("auth.identity.x", "no such key: x", &document);
}

#[test]
fn refusals() {
    for (source, message) in [
        ("context.request.http.method", "<input>:1:1: undeclared reference to 'context' (in container '')"),
        ("auth.identity.", "Syntax error"),
        ("1u == 1", "found no matching overload for '_==_' applied to '(uint, int)'"),
        (r#"true && "x""#, "expected type 'bool' but found 'string'"),
        ("now", "undeclared reference to 'now'"),
        ("auth == null", "found no matching overload for '_==_' applied to '(map(string, dyn), null_type)'"),
        (r#""%d".format([1.0])"#, "decimal clause can only be used on integers, was given double"),
        (r#"request.path.matches("[a")"#, "error parsing regexp: missing closing ]: `[a`"),
        ("auth[1]", "found no matching overload for '_[_]' applied to '(map(string, dyn), int)'"),
        ("[1, 2][?0] + 1", "applied to '(optional_type(int), int)'"),
        ("[?1]", "expected type 'optional_type(int)' but found 'int'"),
        ("[1].map(x, x.y)", "type 'int' does not support field selection"),
        ("Message{field: 1}", "undeclared reference to 'Message'"),
        ("if", "reserved identifier: if"),
        ("true ? 1 :", "Syntax error"),
        (&format!("{}1{}", "(".repeat(100), ")".repeat(100)), "the expression is nested too deeply"),
    ] {
        match evaluate(source, false, &json!({})) {
            Err(Failure::Refused(found)) => {
                assert!(found.contains(message), "{source}: {found}");
                assert!(
                    !found.contains("Context") && !found.contains("ParseError"),
                    "{source} names types of the parser: {found}"
                );
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn refusals_show_every_place() {
    let error = Program::expression("foo +\n  bar.x").unwrap_err();
    assert_eq!(
        error.message,
        "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo +\n | ^\n\
         ERROR: <input>:2:3: undeclared reference to 'bar' (in container '')\n |   bar.x\n | ..^"
    );
    // Places are counted in characters, not bytes.
    let error = Program::expression(r#""éé" + foo"#).unwrap_err();
    assert!(error.message.starts_with("ERROR: <input>:1:8: undeclared reference"), "{}", error.message);
    let error = Program::expression(r#""éé" + )"#).unwrap_err();
    assert!(error.message.starts_with("ERROR: <input>:1:8: Syntax error"), "{}", error.message);
}

#[test]
fn predicates_must_be_boolean() {
    for (source, found) in [
        ("auth", "map(string, dyn)"),
        ("1", "int"),
        (r#""true""#, "string"),
        ("null", "null_type"),
        ("auth.identity.?admin", "optional_type(dyn)"),
        ("[]", "list(dyn)"),
    ] {
        let error = Program::predicate(source).unwrap_err();
        assert_eq!(error.message, format!("type error: got {found}, wanted bool output type"));
    }
    let document = document();
    for (source, wanted) in [
        ("auth.identity.admin", true),
        ("auth.identity.age == 42", true),
        ("dyn(true)", true),
        ("[true][0]", true),
        ("has(auth.identity.nope)", false),
        (r#"request.method != "GET""#, false),
        (r#""GET" == request.method"#, true),
        (r#"request.size == "10""#, false),
    ] {
        assert_eq!(Program::predicate(source).unwrap().test(&document).unwrap(), wanted, "{source}");
    }
    for (source, message) in [
        ("auth.identity.missing == 1", "no such key: missing"),
        (r#"auth.identity.missing == "x""#, "no such key: missing"),
        ("auth.identity.username", "type error: got string, wanted bool output type"),
        ("auth.identity.n", "type error: got null_type, wanted bool output type"),
        ("auth.identity.roles", "type error: got list, wanted bool output type"),
        ("dyn(request.method)", "type error: got string, wanted bool output type"),
    ] {
        let error = Program::predicate(source).unwrap().test(&document).unwrap_err();
        assert_eq!(error.message, message, "{source}");
    }
}

#[test]
fn programs_are_cheap_to_share() {
    fn shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    let program = Program::expression(r#"auth.identity.username + "!""#).unwrap();
    shareable(&program);
    assert_eq!(program.clone().source(), r#"auth.identity.username + "!""#);
    let document = document();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (program, document) = (program.clone(), &document);
            scope.spawn(move || assert_eq!(program.evaluate(document).unwrap(), json!("john!")));
        }
    });
}
