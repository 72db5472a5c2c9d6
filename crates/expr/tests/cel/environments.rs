//! Environments with roots, definitions and functions of their own.

use std::cell::Cell;

use serde_json::{Value, json};
use usher_expr::{
    EvaluationError,
    cel::{Argument, Budget, Environment, Function, Library, Object, ObjectType, Output, Program, Scope},
};

#[derive(Debug, Clone)]
struct Badge {
    name: String,
}

impl Object for Badge {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![("Name", json!(self.name)), ("Claims", json!({"role": self.name, "level": 3, "nested": {"a": [1, "x"]}}))]
    }

    fn size(&self) -> usize {
        self.name.len()
    }
}

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
}

fn make(arguments: &[Argument<'_>]) -> Result<Box<dyn Object>, EvaluationError> {
    MADE.set(MADE.get() + 1);
    match arguments {
        [name] => Ok(Box::new(Badge { name: name.text()?.to_owned() })),
        _ => Err(EvaluationError::new("one name")),
    }
}

fn with_suffix(arguments: &[Argument<'_>]) -> Result<Box<dyn Object>, EvaluationError> {
    match arguments {
        [badge, number, yes] => {
            let badge = badge.object::<Badge>().ok_or_else(|| EvaluationError::new("no badge"))?;
            let suffix = if yes.boolean()? { number.integer()? } else { 0 };
            Ok(Box::new(Badge { name: format!("{}{suffix}", badge.name) }))
        }
        [badge, json] => {
            let badge = badge.object::<Badge>().ok_or_else(|| EvaluationError::new("no badge"))?;
            Ok(Box::new(Badge { name: format!("{}{}", badge.name, json.json()?) }))
        }
        _ => Err(EvaluationError::new("no such overload")),
    }
}

static BADGES: Library = Library {
    objects: &[ObjectType { name: "test.Badge", fields: &[("Name", "string"), ("Claims", "map(string, dyn)")] }],
    functions: &[
        Function { name: "badge.Make", signatures: "(string) -> test.Badge", call: make },
        Function {
            name: "With",
            signatures: "test.Badge.(int, bool) -> test.Badge | test.Badge.(map(string, dyn)) -> test.Badge",
            call: with_suffix,
        },
    ],
};

fn environment(definitions: &[(&str, &str)]) -> Environment {
    let mut environment = Environment::new(&["object"], "variables", &[&BADGES]);
    for (name, source) in definitions {
        environment.define(name, source).unwrap();
    }
    environment
}

fn document() -> Value {
    json!({"object": {"headers": {"authorization": "Bearer x", "n": 7}, "roles": ["a", "b"]}})
}

/// Whether `source` is true; errors as texts.
fn test(environment: &Environment, source: &str) -> Result<bool, String> {
    let program = environment.program(source, Output::Boolean).map_err(|error| error.message)?;
    let (document, budget) = (document(), Budget::start());
    Scope::new(environment, &document, &budget).test(&program).map_err(|error| error.message)
}

#[test]
fn definitions_and_functions_give_values() {
    let environment = environment(&[
        ("headers", "object.headers"),
        ("header", r#"variables.headers[?"authorization"].orValue("").split(" ")"#),
        ("badge", r#"size(variables.header) == 2 ? badge.Make(variables.header[1]) : null"#),
        ("parts", r#"{"list": [1, 2u, 1.5, b"x", null, true], "time": timestamp(0), "for": duration("1s")}"#),
        ("maybe", r#"object[?"nothing"]"#),
        ("some", r#"[object.?roles]"#),
    ]);
    for source in [
        "variables.header[0].lowerAscii() == 'bearer'",
        "variables.badge != null && variables.badge.Name == 'x'",
        "!(variables.badge == null)",
        "variables.badge.Claims.?role.orValue('') == 'x'",
        "variables.badge.Claims.?nothing.orValue('none') == 'none'",
        "variables.badge.Claims.level == 3 && variables.badge.Claims.nested.a[1] == 'x'",
        "has(variables.badge.Claims.role) && !has(variables.badge.Claims.nothing)",
        "'role' in variables.badge.Claims",
        "variables.badge.Claims.nested == {'a': [1.0, 'x']}",
        "badge.Make('y').With(3, true).Name == 'y3'",
        "badge.Make('y').With({'a': [1]}).Name == 'y{\"a\":[1]}'",
        "variables.parts.list[3] == b'x' && size(variables.parts.list) == 6 && variables.parts.list[4] == null",
        "variables.parts.time < timestamp(1) && variables.parts['for'] == duration('1s')",
        "!variables.maybe.hasValue() && variables.some[0].value() == ['a', 'b']",
        "variables.headers.n == 7 && variables.headers.?other.orValue('none') == 'none'",
        ".variables.header[1] == 'x'",
        "object.roles.all(role, role in variables.headers || role < variables.header[1])",
        "[{'header': 1}].all(variables, variables.header == 1)",
        "[{'Make': 1}].exists(badge, badge.Make == 1)",
    ] {
        assert_eq!(test(&environment, source), Ok(true), "{source}");
    }
}

#[test]
fn a_definition_is_evaluated_when_it_is_needed_and_once() {
    let environment = environment(&[
        ("made", "badge.Make('once')"),
        ("again", "variables.made.Name + variables.made.Name"),
        ("wrong", "object.nothing.at.all"),
        ("uses", "variables.wrong == 1"),
    ]);
    let [first, wrong] = ["variables.again == 'onceonce' && variables.made.Name == 'once'", "variables.uses"]
        .map(|source| environment.program(source, Output::Boolean).unwrap());
    let (document, budget) = (document(), Budget::start());
    let scope = Scope::new(&environment, &document, &budget);
    assert_eq!(MADE.get(), 0);
    assert_eq!(scope.test(&first), Ok(true));
    assert_eq!(scope.test(&first), Ok(true));
    assert_eq!(MADE.get(), 1);
    let unneeded = environment.program("true || variables.uses", Output::Boolean).unwrap();
    assert_eq!(scope.test(&unneeded), Ok(true));
    // The path is followed where it is used, so the definition that uses it fails.
    assert_eq!(scope.test(&wrong).unwrap_err().message, "variables.uses: no such key: nothing");
}

#[test]
fn objects_are_given_out() {
    let environment = environment(&[("badge", "badge.Make('a')")]);
    let wanted = Output::Object("test.Badge");
    let program = environment.program("variables.badge.With(1, true)", wanted).unwrap();
    let (document, budget) = (document(), Budget::start());
    let scope = Scope::new(&environment, &document, &budget);
    assert_eq!(scope.object::<Badge>(&program).unwrap().name, "a1");
    let error = environment.program("'text'", wanted).unwrap_err().message;
    assert_eq!(error, "type error: got string, wanted test.Badge output type");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let environment = environment(&[("badge", "badge.Make('a')"), ("text", "'x'")]);
    for (source, part) in [
        ("request.method == 'GET'", "undeclared reference to 'request'"),
        ("variables.nothing == 1", "undefined field 'nothing'"),
        ("variables == 1", "'variables' is no value by itself; use 'variables.NAME'"),
        ("has(variables.text)", "'has' cannot look into it"),
        ("variables.badge.Nothing == 1", "undefined field 'Nothing'"),
        ("variables.badge + 1 == 2", "found no matching overload for '_+_' applied to '(test.Badge, int)'"),
        ("badge.Make(1).Name == ''", "found no matching overload for 'badge.Make' applied to '(int)'"),
        ("badge.Make('a').With('b').Name == ''", "found no matching overload for 'With'"),
        ("badge.Other('a') == 1", "undeclared reference to 'badge'"),
        ("variables.text == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("test.Badge{Name: 'x'} == null", "undeclared reference to 'test.Badge'"),
    ] {
        let error = test(&environment, source).unwrap_err();
        assert!(error.contains(part), "{source}: {error}");
    }
    let mut environment = environment;
    for (name, source, part) in [
        ("text", "1", "`text` is defined already"),
        ("a.b", "1", "`a.b` is not a name"),
        ("", "1", "`` is not a name"),
        ("self", "variables.self", "undefined field 'self'"),
    ] {
        let error = environment.define(name, source).unwrap_err().message;
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn expressions_of_auth_configs_see_none_of_it() {
    for source in ["object", "variables.x", "jwt.Decode('a', 'b')", "envoy.Allowed()", "'a'.WithBody('b')"] {
        assert!(Program::expression(source).is_err(), "{source}");
    }
}

#[test]
fn definitions_are_bounded_together() {
    // Each level is within the limits; all of them on one stack would not be.
    let mut environment = environment(&[("v0", "1 + size(object.roles)")]);
    let refused = (1..200).find_map(|index| {
        let source = format!("{}variables.v{}{}", "(1 + ".repeat(20), index - 1, ")".repeat(20));
        environment.define(&format!("v{index}"), &source).err().map(|error| (index, error.message))
    });
    let (index, message) = refused.expect("the limit is met");
    assert!(index < 15 && message.contains("levels deep with those that it uses"), "{index}: {message}");
    assert_eq!(test(&environment, &format!("variables.v{} > 100", index - 1)), Ok(true));

    // All definitions together have one budget.
    let slow =
        "object.roles.map(a, 'x').map(a, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).map(l, l.map(a, l.map(b, l.map(c, c))))";
    let mut environment = Environment::new(&["object"], "variables", &[]);
    let mut names = Vec::new();
    for index in 0..600 {
        environment.define(&format!("s{index}"), slow).unwrap();
        names.push(format!("size(variables.s{index}) == 2"));
    }
    let (document, budget) = (document(), Budget::start());
    let scope = Scope::new(&environment, &document, &budget);
    let failed = names
        .iter()
        .map(|source| environment.program(source, Output::Boolean).unwrap())
        .find_map(|program| scope.test(&program).err());
    assert_eq!(failed.unwrap().message, "cost limit exceeded");
}
