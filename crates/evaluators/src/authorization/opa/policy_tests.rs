use std::time::Instant;

use serde_json::{Value as Json, json};

use super::*;

fn compile_policy(rego: &str, version: RegoVersion, all_values: bool) -> Result<Policy, String> {
    Policy::compile(rego, version, all_values, None).map(|(policy, _)| policy).map_err(|error| error.to_string())
}

fn v0(rego: &str) -> Policy {
    compile_policy(rego, RegoVersion::V0, false).unwrap_or_else(|error| panic!("{rego}: {error}"))
}

fn v1(rego: &str) -> Policy {
    compile_policy(rego, RegoVersion::V1, false).unwrap_or_else(|error| panic!("{rego}: {error}"))
}

/// What the policy says about an input: `allow`, or why not.
fn decide(policy: &Policy, input: &Json) -> String {
    evaluate(policy, input).map_or_else(|failure| failure.reason().to_owned(), |_| "allow".to_owned())
}

fn evaluate(policy: &Policy, input: &Json) -> Outcome {
    let input = values::input(input, policy.parts()).unwrap();
    policy.evaluate(input, Duration::from_secs(5))
}

#[test]
fn policies_decide() {
    use RegoVersion::{V0, V1};
    let get = json!({"request": {"method": "GET", "path": "/a/b", "headers": {"x": "1"}}});
    let get = &get;
    for (rego, version, input, expected) in [
        ("allow = true", V0, get, "allow"),
        ("allow := true", V1, get, "allow"),
        ("allow { input.request.method == \"GET\" }", V0, get, "allow"),
        ("allow { input.request.method == \"PUT\" }", V0, get, "Unauthorized"),
        ("allow { input.request.method == \"PUT\" } { input.request.method == \"GET\" }", V0, get, "allow"),
        ("allow if { input.request.method == \"GET\" }", V1, get, "allow"),
        ("allow if { input.request.method == \"PUT\" }", V1, get, "Unauthorized"),
        ("import rego.v1\nallow if { input.request.method == \"PUT\" }", V0, get, "Unauthorized"),
        ("import rego.v1\nallow if input.request.method == \"GET\"", V0, get, "allow"),
        (
            "import future.keywords.if\nimport future.keywords.in\nallow if { \"GET\" in [input.request.method] }",
            V0,
            get,
            "allow",
        ),
        ("import input.request as r\nallow { r.method == \"GET\" }", V0, get, "allow"),
        ("import input.request\nallow if request.method == \"GET\"", V1, get, "allow"),
        ("", V0, get, "Unauthorized"),
        ("# nothing", V1, get, "Unauthorized"),
        ("package a.b\nallow = true", V0, get, "allow"),
        ("package a[\"x y\"]\nallow = true", V0, get, "allow"),
        (
            "# a comment\n\npackage a\nimport rego.v1\nallow if { data.a.really }\nreally if { input.request }",
            V0,
            get,
            "allow",
        ),
        // The word package in a comment or a text is just a word.
        ("# see package docs\nallow := true", V1, get, "allow"),
        ("x := \"package b;\"\nallow := true", V1, get, "allow"),
        ("default allow := false\nallow { input.request.method == \"GET\" }", V0, get, "allow"),
        ("default allow := true", V1, get, "allow"),
        ("default allow = true\nallow = false { input.request }", V0, get, "Unauthorized"),
        // Only the boolean true.
        ("allow := \"foo\"", V1, get, "Unauthorized"),
        ("allow := 1", V1, get, "Unauthorized"),
        ("allow := {\"allow\": true}", V1, get, "Unauthorized"),
        ("allow := [true]", V1, get, "Unauthorized"),
        ("allow := null", V1, get, "Unauthorized"),
        ("allow := false", V1, get, "Unauthorized"),
        ("allow := input.request.nothing", V1, get, "Unauthorized"),
        ("other := true", V1, get, "Unauthorized"),
        ("allow := input.flag", V1, &json!({"flag": true}), "allow"),
        ("allow := input.flag", V1, &json!({"flag": "true"}), "Unauthorized"),
        ("allow { not input.flag }", V0, &json!({}), "allow"),
        ("allow { count(input.request.headers) == 1; some k; input.request.headers[k] == \"1\" }", V0, get, "allow"),
        ("allow if { split(input.request.path, \"/\")[1] == \"a\" }", V1, get, "allow"),
        (
            "methods contains m if { some m in [\"GET\", \"HEAD\"] }\nallow if input.request.method in methods",
            V1,
            get,
            "allow",
        ),
        ("allow if every x in [1, 2] { x > 1 }", V1, get, "Unauthorized"),
        (
            "allow if { walk(input, [path, value]); path == [\"request\", \"method\"]; value == \"GET\" }",
            V1,
            get,
            "allow",
        ),
        ("r.a.b := 1\nallow if r.a.b == 1", V1, get, "allow"),
        ("f(x) := x + 1\nallow if f(1) == 2", V1, get, "allow"),
        ("f(x) = y { y := x + 1 }\nallow { f(1, 2) }", V0, get, "allow"),
        ("allow { split(\"a/b\", \"/\", x); x[0] == \"a\" }", V0, get, "allow"),
        ("allow if { print(\"hello\", input.nothing); true }", V1, get, "allow"),
        // Conflicts are the policy's doing: denied, without a place in the text.
        (
            "allow { input.request }\nallow = false { input.request }",
            V0,
            get,
            "eval_conflict_error: complete rules must not produce multiple outputs",
        ),
        (
            "x = 1 { input.request }\nx = 2 { input.request }\nallow = true",
            V0,
            get,
            "eval_conflict_error: complete rules must not produce multiple outputs",
        ),
        (
            "f(x) := 1 if x\nf(x) := 2 if x\nallow if f(input.request)",
            V1,
            get,
            "eval_conflict_error: functions must not produce multiple outputs for same inputs",
        ),
        ("allow if { 3 % input.x }", V1, &json!({"x": 0.5}), "policy evaluation failed"),
        // Built-in functions that fail are undefined.
        ("allow if { to_number(\"x\") }", V1, get, "Unauthorized"),
        ("allow if { not to_number(\"x\") }", V1, get, "allow"),
        ("allow if { not json.unmarshal(\"{\") }", V1, get, "allow"),
        ("allow if { json.unmarshal(\"{\\\"a\\\": 1}\").a == 1 }", V1, get, "allow"),
        ("allow if { json.unmarshal(\"1e999999999\") }", V1, get, "Unauthorized"),
    ] {
        let policy = compile_policy(rego, version, false).unwrap_or_else(|error| panic!("{rego}: {error}"));
        assert_eq!(decide(&policy, input), expected, "{rego}");
    }
}

#[test]
fn policies_that_cannot_be_meant_are_refused() {
    use RegoVersion::{V0, V1};
    for (rego, version, part) in [
        ("allow { input.request.method == ", V0, "rego_parse_error"),
        ("allow {", V0, "rego_parse_error"),
        ("allow [", V0, "rego_parse_error"),
        ("allow { input.x }", V1, "rego_parse_error"),
        ("allow { true }", V1, "rego_parse_error"),
        ("allow if { true }", V0, "`if` needs `import rego.v1`"),
        ("allow := true if { input.x }", V0, "`if` needs `import rego.v1`"),
        ("allow", V0, "must have a body or a value"),
        ("allow\nx { true }", V0, "must have a body or a value"),
        ("f(x)", V0, "must have a body or a value"),
        ("a.b", V0, "must have a body or a value"),
        ("allow", V1, "rego_parse_error"),
        ("allow { no_such_function(1) }", V0, "rego_type_error: undefined function `no_such_function` (line 1)"),
        ("x := 1\n\nallow if { data.usher.nope(1) }", V1, "undefined function `nope` (line 3)"),
        ("allow if { graphql.parse(\"\", \"\") }", V1, "rego function `graphql.parse` is not supported"),
        ("allow { any([true]) }", V0, "rego function `any` is not supported"),
        ("allow if { http.send({}) }", V1, "rego function `http.send` is not supported"),
        ("allow if { net.lookup_ip_addr(\"x\") }", V1, "rego function `net.lookup_ip_addr` is not supported"),
        ("allow if { count() }", V1, "`count` takes 1 arguments, not 0"),
        ("allow if { count(1, 2, 3) }", V1, "`count` takes 1 arguments, not 3"),
        ("allow if { x := io.jwt.decode(1, 2); x }", V1, "`io.jwt.decode` takes 1 arguments, not 2"),
        ("f(x) := x\nallow if f(1, 2, 3)", V1, "`f` takes 1 arguments, not 3"),
        ("allow if { x > 1 }", V1, "unsafe"),
        ("allow if { input.x == y }", V1, "unsafe"),
        ("allow if input.x { input.y }", V1, "bodies after `if`"),
        ("allow if { input.x } { input.y }", V1, "bodies after `if`"),
        ("import rego.v1\nallow if { input.x }\n{ input.y }", V0, "bodies after `if`"),
        ("import future.keywords.if\nallow if input.x { input.y }", V0, "bodies after `if`"),
        ("default allow := false\ndefault allow := true", V1, "default"),
        ("allow := true\nimport input.x", V1, "rego_parse_error"),
        ("import foo.bar\nallow := true", V1, "import path must begin with"),
    ] {
        let error = compile_policy(rego, version, false).err().unwrap_or_else(|| panic!("{rego} was accepted"));
        assert!(error.contains(part), "{rego}: {error}");
        assert!(!error.contains('\n') && !error.contains("-->"), "{rego}: {error}");
    }
}

#[test]
fn recursion_is_refused() {
    for (rego, part) in [
        ("f(x) := f(x)\nallow if f(1)", "f -> f"),
        ("f(x) := g(x)\ng(x) := h(x)\nh(x) := f(x)", "f -> g -> h -> f"),
        ("f(x) := data.usher.f(x)", "f -> f"),
        ("import data.usher.f as g\nf(x) := g(x)", "f -> f"),
        ("package p\nf(x) := data.p.f(x)", "f -> f"),
        ("a if b\nb if a", "a -> b -> a"),
        ("a if not a", "a -> a"),
        ("a[x] := y if { x := 1; y := count(a) }", "a -> a"),
        ("a contains x if { some x in a }", "a -> a"),
        ("a := data.usher.a", "a -> a"),
        ("a := data", "a -> a"),
        ("a := data.usher", "a -> a"),
        ("a := data[x] if x := 1", "a -> a"),
        ("f(x) := y if { y := r }\nr := f(1)", "f -> r -> f"),
        ("f(x) := y if { y := count(x) with count as f }", "f -> "),
        ("f(x) := y if { y := g(x) with count as f }\ng(x) := count(x)\nallow if f([1])", "-> f"),
        ("a := [a | true]", "a -> a"),
        ("a := 1 if { x := {\"k\": a}; x }", "a -> a"),
        ("a if { every x in [1] { x == a } }", "a -> a"),
        ("a := 1 if { input } else := a", "a -> a"),
        ("default a := false\na if { b }\nb if { input.x with input.x as a }", "a -> b -> a"),
    ] {
        let error = compile_policy(rego, RegoVersion::V1, false).err().unwrap_or_else(|| panic!("{rego} was accepted"));
        assert!(error.contains("recursive") && error.contains(part), "{rego}: {error}");
    }
    // What only looks like recursion.
    for rego in [
        "roles := input.roles\nf(x) := y if { roles := x; y := roles }\nallow if f(true)",
        "a.x := 1\na.y := a.x\nallow if a.y == 1",
        "p.a := 1\nq := p.a\np.b := q\nallow if p.b == 1",
        "allow if { input.allow; input.request.allow } else := true",
        "f(x) := x\ng(x) := f(f(x))\nallow if g(true)",
        "f(allow) := allow\nallow if f(true)",
        "now(x) := time.now_ns()\nallow if { 7 == time.now_ns() with time.now_ns as 7 }",
        "mock(x) := 3\nallow if { 3 == count([]) with count as mock }",
    ] {
        assert_eq!(decide(&v1(rego), &json!({"roles": 1})), "allow", "{rego}");
    }
}

#[test]
fn all_values_are_kept_when_wanted() {
    let rego = "allow = true\ncountry := \"IT\"\nlimits := {\"a\": 1}\nundefined_one { false }\nf(x) = x\ns[x] { x := [2, 1][_] }\nr.a.b = 1\nr.c = 2\np[k] = v { v := [7, 8][k] }";
    let policy = compile_policy(rego, RegoVersion::V0, true).unwrap();
    let expected = json!({
        "allow": true,
        "country": "IT",
        "limits": {"a": 1},
        "undefined_one": null,
        "f": null,
        "s": [1, 2],
        "r": {"a": {"b": 1}, "c": 2},
        "p": {"0": 7, "1": 8},
    });
    assert_eq!(*evaluate(&policy, &json!({})).unwrap(), expected);
    let policy = compile_policy(rego, RegoVersion::V0, false).unwrap();
    assert_eq!(*evaluate(&policy, &json!({})).unwrap(), json!({"allow": true}));
}

#[test]
fn a_policy_tells_which_parts_of_the_input_it_can_see() {
    use RegoVersion::{V0, V1};
    for (rego, version, expected) in [
        ("allow if input.request.method == \"GET\"", V1, vec!["request.method"]),
        ("allow if { input[\"auth\"].x; input.metadata[_] }", V1, vec!["auth.x", "metadata"]),
        ("allow if { input.auth; input.auth.identity.sub }", V1, vec!["auth"]),
        (
            "allow if { some k; input.request.headers[k] == input.request[\"path\"][`x`] }",
            V1,
            vec!["request.headers", "request.path.x"],
        ),
        ("import input.context.request.http\nallow if http.method", V1, vec!["context.request.http.method"]),
        ("import input.context.request.http\nallow if count(http) > 1", V1, vec!["context.request.http"]),
        (
            "import input.auth.identity as who\nallow if who.x.y in who.z",
            V1,
            vec!["auth.identity.x.y", "auth.identity.z"],
        ),
        ("import input.auth.identity as who\nallow if { true }", V1, vec![]),
        ("import input.auth as who\nallow if { input.x with who.y as 1 }", V1, vec!["auth.y", "x"]),
        ("allow if { input.a.b with input.a.c.d as input.e.f }", V1, vec!["a.b", "a.c.d", "e.f"]),
        ("allow := true", V1, vec![]),
        ("allow := input.a.b", V1, vec!["a.b"]),
        (
            "default allow := false\nallow if { x := [y | some y in input.a.b]; x[0] == {z: 1 | z := input.c.d[_]} }",
            V1,
            vec!["a.b", "c.d"],
        ),
        ("allow if { every x in input.a.b { x == input.c[x].d } }", V1, vec!["a.b", "c"]),
        (
            "s contains input.a.b if input.c.d\nallow if { not input.e.f } else := input.g.h",
            V1,
            vec!["a.b", "c.d", "e.f", "g.h"],
        ),
        ("p[input.a.b] := input.c.d\nf(x) := input.e.f[x]\nallow if f(p)", V1, vec!["a.b", "c.d", "e.f"]),
        (
            "allow if { [input.a.b, {\"k\": input.c.d}, {input.e.f}] == input.g[0].h }",
            V1,
            vec!["a.b", "c.d", "e.f", "g"],
        ),
        ("allow if count(input) == 1", V1, vec![""]),
        ("allow if { x := input; x.y }", V1, vec![""]),
        ("allow if { some k; input[k] }", V1, vec![""]),
        ("allow if { input[0].x }", V1, vec![""]),
        ("allow if { walk(input, [_, x]); x == 1 }", V1, vec![""]),
        ("allow if { walk(input.a.b, [_, x]); x == 1 }", V1, vec!["a.b"]),
        ("import input as i\nallow if i.x.y", V1, vec!["x.y"]),
        ("allow { input.a.b with input as {\"a\": {\"b\": 1}} }", V0, vec![""]),
        ("allow { x := [input | input := 1]; x; input.y.z }", V0, vec![""]),
    ] {
        let policy = compile_policy(rego, version, false).unwrap_or_else(|error| panic!("{rego}: {error}"));
        let parts: Vec<_> = policy.parts().references().iter().map(|names| names.join(".")).collect();
        assert_eq!(parts, expected, "{rego}");
    }
}

#[test]
fn our_functions_can_be_called_in_the_old_style() {
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
    let input = json!({"token": token});
    for rego in [
        "allow { io.jwt.decode(input.token, [_, payload, _]); payload.sub == \"a\" }",
        "allow { [_, payload, _] := io.jwt.decode(input.token); payload.sub == \"a\" }",
        "allow { io.jwt.decode(input.token, x)\nx[1].sub == \"a\" }",
        "allow { crypto.sha256(\"abc\", \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\") }",
        "allow { p := [x | io.jwt.decode(input.token, [_, x, _])][0]; p.sub == \"a\" }",
    ] {
        assert_eq!(decide(&v0(rego), &input), "allow", "{rego}");
    }
    let rego = "allow { io.jwt.decode(input.token, [_, payload, _]); payload.sub == \"b\" }";
    assert_eq!(decide(&v0(rego), &input), "Unauthorized");
}

/// Arguments from a request and from a policy that make the engine's own functions panic, hang or fill the memory.
#[test]
fn greedy_functions_are_bounded() {
    let undecided = LIMIT;
    let denied = "Unauthorized";
    let allowed = "allow";
    let big = "x".repeat(1 << 20);
    for (rego, expected) in [
        ("numbers.range(1, 1000000000)", undecided),
        ("numbers.range(1, 9223372036854775807)", undecided),
        ("numbers.range(-9223372036854775807, 9223372036854775807)", undecided),
        ("numbers.range_step(1, 1000000000, 1)", undecided),
        ("numbers.range_step(1, 10, 0)", denied),
        ("numbers.range_step(1, 10, -1)", denied),
        ("numbers.range(3, 1) == [3, 2, 1]", allowed),
        ("numbers.range_step(0, 10, 5) == [0, 5, 10]", allowed),
        ("numbers.range_step(10, 1, 4) == [10, 6, 2]", allowed),
        ("sprintf(\"%0500000000d\", [1])", undecided),
        ("sprintf(\"%999999999999d\", [1])", undecided),
        ("sprintf(\"%٣d\", [1])", denied),
        ("sprintf(\"%05d|%s|%%\", [1, \"a\"]) == \"00001|a|%\"", allowed),
        ("strings.count(\"abc\", \"\")", denied),
        ("strings.count(\"abcb\", \"b\") == 2", allowed),
        ("bits.lsh(1, 4000000000)", undecided),
        ("bits.lsh(1, 4) == 16", allowed),
        ("units.parse(\"1e1000000\")", denied),
        ("units.parse(\"1e0000000000000000000000001000000\")", denied),
        ("units.parse_bytes(\"1e999999999GB\")", denied),
        ("units.parse_bytes(\"10KB\") == 10000", allowed),
        ("net.cidr_expand(\"10.0.0.0/8\")", undecided),
        ("net.cidr_expand(\"::/0\")", undecided),
        ("count(net.cidr_expand(\"10.0.0.0/30\")) > 1", allowed),
        ("replace(input.big, \"\", input.big)", undecided),
        ("replace(input.big, \"x\", input.big)", undecided),
        ("strings.replace_n({\"x\": \"yyyyyyyy\", \"y\": \"xxxxxxxx\"}, input.big)", undecided),
        ("concat(input.big, numbers.range(1, 100))", undecided),
        ("concat(input.big, [\"a\", \"b\", \"c\", \"d\"])", allowed),
        ("regex.replace(input.big, \".\", concat(\"\", [\"$0\" | some i in numbers.range(1, 200)]))", undecided),
        ("regex.match(input.big, \"x\")", undecided),
        ("indexof(input.big, input.big) == 0", undecided),
        ("indexof(input.big, \"y\") == -1", allowed),
        ("trim(input.big, input.big)", undecided),
        ("json.unmarshal(input.deep)", denied),
        ("yaml.unmarshal(input.deep)", undecided),
        ("yaml.unmarshal(substring(input.deep, 0, 5000))", denied),
        ("yaml.unmarshal(replace(substring(input.deep, 0, 5000), \"[\", \"- \"))", denied),
        ("yaml.unmarshal(replace(substring(input.deep, 0, 5000), \"[\", \"? \"))", denied),
        ("yaml.unmarshal(\"a: [1, {b: c}]\").a[1].b == \"c\"", allowed),
        ("yaml.unmarshal(input.bomb)", denied),
        ("json.marshal(input.shared.nothing)", denied),
        (
            "graph.reachable_paths({i: [j | some j in numbers.range(1, 30)] | some i in numbers.range(1, 30)}, [1])",
            undecided,
        ),
        ("graph.reachable_paths({i: [i + 1] | some i in numbers.range(1, 10000)}, [1])", undecided),
        ("graph.reachable_paths({\"a\": [\"b\"], \"b\": [\"a\"]}, [\"a\"]) == {[\"a\", \"b\"]}", allowed),
        ("product([1e300 | some i in numbers.range(1, 10000)])", undecided),
        ("opa.runtime() == {}", allowed),
        ("format_int(15.5, 16) == \"f\"", allowed),
        ("glob.match(\"*.a\", [\".\"], \"b.a\")", allowed),
        ("object.union({\"a\": 1}, {\"b\": 2}) == {\"a\": 1, \"b\": 2}", allowed),
    ] {
        // Only when asked, so that it gets past loading.
        let policy = v1(&format!("allow if {{ input.go; x := {rego}; x }}"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let input = json!({"go": true, "big": big, "deep": "[".repeat(100_000), "bomb": bomb});
        let started = Instant::now();
        assert_eq!(decide(&policy, &input), expected, "{rego}");
        assert!(started.elapsed() < Duration::from_secs(4), "{rego} took {:?}", started.elapsed());
    }
}

#[test]
fn a_limit_cannot_be_covered_up() {
    for body in [
        "not numbers.range(1, 1000000000)",
        "not f",
        "count([x | x := numbers.range(1, 1000000000)]) == 0",
        "g(1)",
        "not h(1)",
    ] {
        let rego = format!(
            "f if numbers.range(1, 1000000000)\ng(x) := true if numbers.range(1, 1000000000)\ng(x) := true\nh(x) if numbers.range(1, 1000000000)\nallow if {{ input.go; {body} }}"
        );
        // The functions are not called on an empty input, but `f` is.
        let rego = rego
            .replace("f if ", "f if input.go; ")
            .replace("f if input.go; numbers.range(1, 1000000000)", "f if { input.go; numbers.range(1, 1000000000) }");
        assert_eq!(decide(&v1(&rego), &json!({"go": true})), LIMIT, "{body}");
    }
}

#[test]
fn time_is_limited() {
    let policy =
        v1("r := numbers.range(1, 300)\nallow if { input.go; some a in r; some b in r; some c in r; a + b + c == -1 }");
    let input = values::input(&json!({"go": true}), policy.parts()).unwrap();
    let started = Instant::now();
    let outcome = policy.evaluate(input, Duration::from_millis(50));
    assert_eq!(outcome.unwrap_err().reason(), TIME_OVER);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let error = compile_policy(
        "r := numbers.range(1, 300)\nallow if { some a in r; some b in r; some c in r; a + b + c == -1 }",
        RegoVersion::V1,
        false,
    );
    let error = error.err().unwrap();
    assert!(error.contains("too long to evaluate"), "{error}");
}

#[test]
fn values_that_share_their_parts_are_not_written_out() {
    let mut rego = "a0 := [input.go]\n".to_owned();
    for level in 1..60 {
        rego.push_str(&format!("a{level} := [a{0}, a{0}]\n", level - 1));
    }
    for (allow, expected) in [
        ("allow if { input.go; json.marshal(a59) }", LIMIT),
        ("allow if { input.go; sprintf(\"%v\", [a59]) }", LIMIT),
        ("allow if { input.go; walk(a59, [p, v]); v == 7 }", LIMIT),
        ("allow if { input.go; count(a59) == 2 }", LIMIT),
        ("allow if { input.go; sort([a59, a58]) }", LIMIT),
        ("allow if { input.go; object.union({\"a\": a59}, {}) }", LIMIT),
    ] {
        let policy = compile_policy(&format!("{rego}{allow}"), RegoVersion::V1, true).unwrap();
        assert_eq!(decide(&policy, &json!({"go": true})), expected, "{allow}");
    }
}

/// Every guard of the stack, at its limit, on a stack of half the size that workers have.
#[test]
fn what_is_accepted_does_not_overflow_the_stack() {
    fn largest(make: impl Fn(usize) -> String) -> usize {
        let (mut good, mut bad) = (1, 40_000);
        while bad - good > 1 + good / 50 {
            let middle = usize::midpoint(good, bad);
            if compile_policy(&make(middle), RegoVersion::V1, false).is_ok() { good = middle } else { bad = middle }
        }
        good
    }
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (1..=count).map(line).collect::<String>();
    type Shape = Box<dyn Fn(usize) -> String>;
    let shapes: Vec<(&str, Shape)> = vec![
        (
            "rules",
            Box::new(move |n| {
                format!("r0 := input.go\n{}allow := r{n}", lines(n, &|i| format!("r{i} := r{}\n", i - 1)))
            }),
        ),
        (
            "bodies",
            Box::new(move |n| {
                format!("r0 if input.go\n{}allow if r{n}", lines(n, &|i| format!("r{i} if {{ r{} }}\n", i - 1)))
            }),
        ),
        (
            "functions",
            Box::new(move |n| {
                format!("f0(x) := x\n{}allow := f{n}(input.go)", lines(n, &|i| format!("f{i}(x) := f{}(x)\n", i - 1)))
            }),
        ),
        (
            "functions in comprehensions",
            Box::new(move |n| {
                format!(
                    "f0(x) := x\n{}allow := f{n}(input.go)",
                    lines(n, &|i| format!("f{i}(x) := [f{}(y) | some z in [x]; y := z][0]\n", i - 1))
                )
            }),
        ),
        (
            "every",
            Box::new(move |n| {
                format!(
                    "r0 if input.go\n{}allow if r{n}",
                    lines(n, &|i| format!("r{i} if {{ every z in [1] {{ z == 1; r{} }} }}\n", i - 1))
                )
            }),
        ),
        ("sums", Box::new(|n| format!("allow if input.go + 0{} == 1", "+\n0".repeat(n)))),
        ("unions", Box::new(|n| format!("allow if input.go{} == {{input.go}}", "|\n{input.go}".repeat(n)))),
        ("references", Box::new(|n| format!("allow := input{}", "[\"x\"]".repeat(n)))),
        ("iterations", Box::new(|n| format!("allow if input{}", "[_]".repeat(n)))),
        ("loops", Box::new(|n| format!("allow if {{ {} }}", "input.go[_] == 1\n".repeat(n)))),
        ("some in", Box::new(move |n| format!("allow if {{ {} }}", lines(n, &|i| format!("some x{i} in input.go\n"))))),
        ("modifiers", Box::new(|n| format!("allow if {{ input.go{} }}", " with input.x as 1".repeat(n)))),
        (
            "nested values",
            Box::new(move |n| {
                format!("allow if {{ x0 := input.go\n{} x{n} == 1 }}", lines(n, &|i| format!("x{i} := [x{}]\n", i - 1)))
            }),
        ),
        (
            "doubly nested values",
            Box::new(move |n| {
                format!(
                    "f0(x) := [x]\n{}allow if f{n}(input.go) == 1",
                    lines(n, &|i| format!("f{i}(x) := f{0}(f{0}(x))\n", i - 1))
                )
            }),
        ),
        ("signs", Box::new(|n| format!("allow if input.go == {}1", "-".repeat(n)))),
    ];
    for (name, make) in shapes {
        let limit = largest(&make);
        assert!(limit >= 5, "{name}: {limit}");
        assert!(limit < 30_000, "{name} is not limited");
        let policy = v1(&make(limit));
        let deep = (0..100).fold(json!(1), |value, _| json!([value]));
        let documents = [json!({"go": deep, "x": {}}), json!({"go": [1], "x": {"x": {}}})];
        let evaluate = move || {
            for document in &documents {
                let input = values::input(document, policy.parts()).unwrap();
                policy.evaluate(input, Duration::from_secs(5)).ok();
            }
        };
        thread::Builder::new().stack_size(1 << 20).spawn(evaluate).unwrap().join().unwrap_or_else(|_| panic!("{name}"));
    }
}

#[test]
fn products_are_limited() {
    let rego = |count: usize| {
        let products: String = (1..=count).map(|i| format!("a{i} := a{0} * a{0}\n", i - 1)).collect();
        format!("a0 := input.x\n{products}allow if a{count} > 0")
    };
    let policy = v1(&rego(14));
    assert_eq!(decide(&policy, &json!({"x": u64::MAX})), "allow");
    let error = compile_policy(&rego(15), RegoVersion::V1, false).err().unwrap();
    assert!(error.contains("multiplications"), "{error}");
    // Constant factors do not multiply digits.
    let seconds = "x := ((input.x * 60) * 60) * 24\n".to_owned() + &"y contains z if { z := x * 1000 }\n".repeat(30);
    v1(&format!("{seconds}allow := true"));
}

#[test]
fn large_policies_are_compiled_in_time() {
    let rules: String = (0..1900).map(|i| format!("r{i} if input.x{i} == \"{i}\"\n")).collect();
    let statements = format!("allow if {{\n{}}}", "input.x != 1\n".repeat(3000));
    let table = format!(
        "t := {{{}}}\nallow if t[input.k]",
        (0..3000).map(|i| format!("\"k{i}\": [\"a\", {i}],\n")).collect::<String>()
    );
    let sum = format!("allow if input.x == 1{}", "+1".repeat(300));
    for rego in [rules, statements, table, sum] {
        let started = Instant::now();
        let result = compile_policy(&rego, RegoVersion::V1, false);
        assert!(result.is_ok(), "{:?}", result.err());
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
    let sum = format!("allow if input.x == 1{}", "+1".repeat(60_000));
    assert!(compile_policy(&sum, RegoVersion::V1, false).err().unwrap().contains("too many"));
}

#[test]
fn a_policy_is_shared_between_threads() {
    let policy = v1("allow if input.x == input.y");
    thread::scope(|scope| {
        for x in 0..4 {
            let policy = &policy;
            scope.spawn(move || {
                for y in 0..50 {
                    let expected = if x == y { "allow" } else { "Unauthorized" };
                    assert_eq!(decide(policy, &json!({"x": x, "y": y})), expected);
                }
            });
        }
    });
}

#[test]
fn a_policy_does_not_show_its_text() {
    let policy = v1("allow if input.x == \"hush\"");
    assert!(!format!("{policy:?}").contains("hush"));
}

#[test]
fn loops_over_nothing_in_a_head_are_undefined() {
    use RegoVersion::{V0, V1};
    for (rego, version) in [
        ("x := input.a[_].b != 300\nallow if not x", V1),
        ("x := input.a[_].b != 300 # it is\nallow if not x", V1),
        ("x = input.a[_].b\nallow { not x }", V0),
        ("import rego.v1\nx := input.a[_].b\nallow if not x", V0),
        ("import future.keywords.if\nx := input.a[_].b\nallow if not x", V0),
        ("allow if not x\nx := \"y\" == input.a[_].b", V1),
        ("allow if not x\nx := (input.a[_].b)", V1),
        ("f(y) := [y, input.a[_].b]\nallow if not f(1)", V1),
        ("x := io.jwt.decode(input.a[_].b)\nallow if not x", V1),
        ("x := [1 | io.jwt.decode(input.t, y); y][input.i]\nallow if not x", V1),
        ("head_value := 1\nx := input.a[_].b\nallow if { not x; head_value == 1 }", V1),
    ] {
        let policy = compile_policy(rego, version, false).unwrap_or_else(|error| panic!("{rego}: {error}"));
        assert_eq!(decide(&policy, &json!({})), "allow", "{rego}");
        assert_eq!(decide(&policy, &json!({"a": []})), "allow", "{rego}");
    }
    let policy = compile_policy("x := input.a[_].b\nallow := true", V1, true).unwrap();
    assert_eq!(*evaluate(&policy, &json!({"a": [{"b": 7}]})).unwrap(), json!({"allow": true, "x": 7}));
    // Elsewhere in a head they still fail, and the user is told when the policy is loaded.
    let (policy, warnings) = Policy::compile("x contains input.a[_].b\nallow := true", V1, false, None).unwrap();
    assert_eq!(decide(&policy, &json!({})), "policy evaluation failed");
    assert!(warnings[0].contains("on an empty input the policy fails"), "{warnings:?}");
}

/// What the engine remembers of the evaluation at load is not what later evaluations see.
#[test]
fn every_evaluation_has_its_own_time_and_chance() {
    let rego =
        "now := time.now_ns()\nid := uuid.rfc4122(\"a\")\nallow if { now == time.now_ns(); id == uuid.rfc4122(\"a\") }";
    let policy = compile_policy(rego, RegoVersion::V1, true).unwrap();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let first = evaluate(&policy, &json!({})).unwrap();
    let second = evaluate(&policy, &json!({})).unwrap();
    assert!(u128::from(first["now"].as_u64().unwrap()) >= before);
    assert!(second["now"].as_u64() > first["now"].as_u64());
    assert_ne!(first["id"], second["id"]);
}

/// Policies as they stand in guides: roles in a token that is verified by the policy, ownership, a permission ticket.
#[test]
fn policies_as_they_are_written() {
    let roles = r#"
        parts := split(input.auth.identity, " ")
        verified := io.jwt.decode_verify(parts[1], {"secret": "secret", "alg": "HS256"})
        role := object.get(verified[2], "role", "")
        allow if { lower(parts[0]) == "bearer"; verified[0]; role == "admin" }
    "#;
    let policy = compile_policy(roles, RegoVersion::V1, true).unwrap();
    let header = "eyJhbGciOiJIUzI1NiJ9";
    // {"role":"admin"} and {"role":"guest"}, signed with `secret`.
    for (token, expected) in [
        (format!("Bearer {header}.eyJyb2xlIjoiYWRtaW4ifQ.{}", signature(header, "eyJyb2xlIjoiYWRtaW4ifQ")), "allow"),
        (
            format!("Bearer {header}.eyJyb2xlIjoiZ3Vlc3QifQ.{}", signature(header, "eyJyb2xlIjoiZ3Vlc3QifQ")),
            "Unauthorized",
        ),
        (
            format!("Bearer {header}.eyJyb2xlIjoiYWRtaW4ifQ.{}", signature(header, "eyJyb2xlIjoiZ3Vlc3QifQ")),
            "Unauthorized",
        ),
        ("Bearer".to_owned(), "Unauthorized"),
        (String::new(), "Unauthorized"),
    ] {
        assert_eq!(decide(&policy, &json!({"auth": {"identity": token}})), expected, "{token}");
    }

    let owner = r#"
        resource := object.get(input.auth.metadata, "resource-data", [])[0]
        allow { resource.owner.id == input.auth.identity.sub }
    "#;
    let policy = v0(owner);
    let owned_by = |id: &str| json!({"auth": {"identity": {"sub": "john"}, "metadata": {"resource-data": [{"owner": {"id": id}}]}}});
    assert_eq!(decide(&policy, &owned_by("john")), "allow");
    assert_eq!(decide(&policy, &owned_by("jane")), "Unauthorized");
    assert_eq!(decide(&policy, &json!({"auth": {"identity": {"sub": "john"}, "metadata": {}}})), "Unauthorized");

    let geofence = r#"
        import input.context.request.http
        allow if {
            http.method == "GET"
            split(http.path, "/") = [_, requested_country, _]
            lower(requested_country) == lower(object.get(input.auth.metadata.geo, "countryCode", ""))
        }
    "#;
    let policy = v1(geofence);
    let from = |code: &str| json!({"context": {"request": {"http": {"method": "GET", "path": "/gb/hello"}}}, "auth": {"metadata": {"geo": {"countryCode": code}}}});
    assert_eq!(decide(&policy, &from("GB")), "allow");
    assert_eq!(decide(&policy, &from("IT")), "Unauthorized");

    let addresses = r#"
        xff := split(object.get(input.request.headers, "x-forwarded-for", ""), ",")
        trusted if net.cidr_contains("192.168.1.1/24", xff[0])
        allow if trusted
        allow if { not trusted; input.request.method == "GET" }
    "#;
    let policy = v1(addresses);
    for (address, method, expected) in [
        ("192.168.1.10", "POST", "allow"),
        ("123.45.6.78", "GET", "allow"),
        ("123.45.6.78", "POST", "Unauthorized"),
        ("", "POST", "Unauthorized"),
    ] {
        let input = json!({"request": {"method": method, "headers": {"x-forwarded-for": address}}});
        assert_eq!(decide(&policy, &input), expected, "{address} {method}");
    }
}

fn signature(header: &str, payload: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, format!("{header}.{payload}").as_bytes()))
}

mod with_random_text {
    use proptest::prelude::*;

    use super::*;

    const WORDS: &[&str] = &[
        "if",
        "in",
        "every",
        "contains",
        "else",
        "not",
        "some",
        "with",
        "as",
        "default",
        "import",
        "x",
        "y",
        "allow",
        "input",
        "data",
        "\n",
        ";",
        ",",
        "|",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "{ false }",
        "{ 1 == 2 }",
        "[x]",
        ".y",
        "\"s\"",
        "`r`",
        "#",
        "# c\n",
        "rego.v1",
        "future.keywords.if",
        ":",
        "==",
        "-",
        "*",
        "count(x)",
        "1",
    ];

    /// Nothing among these is true by itself.
    const KEYWORDS: &[&str] = &[
        "if",
        "contains",
        "else",
        "not",
        "with",
        "as",
        "default",
        "x",
        "y",
        ".y",
        "\n",
        ";",
        ",",
        "{ false }",
        "(",
        ")",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Nothing that is said here about `allow` makes it true.
        #[test]
        fn a_head_whose_bodies_are_false_never_allows(
            words in proptest::collection::vec(0..KEYWORDS.len(), 0..8), is_v1: bool,
        ) {
            let text: Vec<&str> = words.iter().map(|word| KEYWORDS[*word]).collect();
            let rego = format!("allow {} {{ false }}", text.join(" "));
            let version = if is_v1 { RegoVersion::V1 } else { RegoVersion::V0 };
            match compile_policy(&rego, version, false) {
                Ok(policy) => prop_assert_ne!(decide(&policy, &json!({})), "allow", "{}", rego),
                Err(error) => prop_assert!(!error.contains("cannot be compiled"), "{}: {}", rego, error),
            }
        }

        /// Compiling any text ends soon, without a panic.
        #[test]
        fn any_text_is_compiled_or_refused(words in proptest::collection::vec(0..WORDS.len(), 0..60), is_v1: bool) {
            let text: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
            let version = if is_v1 { RegoVersion::V1 } else { RegoVersion::V0 };
            if let Err(error) = compile_policy(&text.join(" "), version, true) {
                prop_assert!(!error.contains("cannot be compiled") && !error.contains("too long"), "{}", error);
            }
        }
    }
}
