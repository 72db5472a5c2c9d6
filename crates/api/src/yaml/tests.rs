//! Tests of reading YAML.

use serde_json::json;

use super::*;

fn one(text: &str) -> (Value, Lines, Vec<Problem>) {
    let mut documents = read(text);
    assert_eq!(documents.len(), 1, "{text}");
    let YamlDocument { value, lines, problems } = documents.remove(0);
    let problems = problems.into_sorted(&lines);
    (value, lines, problems)
}

#[test]
fn plain_scalars_are_resolved_by_the_core_schema() {
    let table = [
        ("", json!(null)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("nUll", json!("nUll")),
        ("true", json!(true)),
        ("FALSE", json!(false)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("n", json!("n")),
        ("0", json!(0)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("0755", json!(755)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("0x", json!("0x")),
        ("1_000", json!("1_000")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("100000000000000000000", json!(1e20)),
        ("1.5", json!(1.5)),
        ("-.5", json!(-0.5)),
        ("1.", json!(1.0)),
        ("1e3", json!(1000.0)),
        ("1e", json!("1e")),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("12:30", json!("12:30")),
        ("2026-01-02", json!("2026-01-02")),
        ("'5'", json!("5")),
        ("\"true\"", json!("true")),
        ("!!str 5", json!("5")),
        ("! 5", json!("5")),
        ("!!int \"5\"", json!(5)),
        ("!!float 5", json!(5)),
        ("|\n  5\n", json!("5\n")),
    ];
    for (text, expected) in table {
        let (value, _, problems) = one(&format!("a: {text}"));
        assert_eq!(value, json!({ "a": expected }), "{text}");
        assert_eq!(problems, [], "{text}");
    }
}

#[test]
fn what_json_cannot_say_is_a_problem() {
    for (text, message) in [
        ("a: .inf", "a: the number cannot be written in JSON"),
        ("a: -.INF", "a: the number cannot be written in JSON"),
        ("a: .nan", "a: the number cannot be written in JSON"),
        ("a: 1e999", "a: the number cannot be written in JSON"),
        ("a: 0xffffffffffffffffff", "a: the number cannot be written in JSON"),
        ("a: !!int x", "a: the tag `!!int` is not supported here"),
        ("a: !!binary aGk=", "a: the tag `!!binary` is not supported here"),
        ("a: !include b.yaml", "a: the tag `!include` is not supported here"),
        ("a: !!set {b: c}", "a: the tag `!!set` is not supported here"),
        ("? [a, b]\n: c", "a list or a mapping cannot be a key"),
        ("a: 1\nb: 2\na: 3", "a: the field `a` is given twice"),
        ("a: {b: 1, \"b\": 2}", "a.b: the field `b` is given twice"),
        ("<<: 5", "only mappings can be merged"),
        ("<<: [{}, 5]", "only mappings can be merged"),
    ] {
        let (_, _, problems) = one(text);
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [message], "{text}");
    }
    let (value, _, problems) = one("a: 1\nb: 2\na: 3");
    assert_eq!((value, problems[0].line), (json!({"a": 1, "b": 2}), Some(3)));
}

#[test]
fn keys_are_texts_and_keep_their_order() {
    let (value, _, problems) = one("z: 1\n5: 2\ntrue: 3\n~: 4\na: 5");
    assert_eq!(value.to_string(), r#"{"z":1,"5":2,"true":3,"~":4,"a":5}"#);
    assert_eq!(problems, []);
}

#[test]
fn json_is_read_too() {
    let text =
        "{\n\t\"a\": [1, 2.5, null, true],\n\t\"b\": {\"c\": \"x\\u00e9\\ud83d\\ude00\\n\\/\"},\n\t\"d\":\"e\"\n}";
    let (value, lines, problems) = one(text);
    assert_eq!(problems, []);
    assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    assert_eq!((lines.find("b.c"), lines.find("d")), (Some(3), Some(4)));
}

#[test]
fn every_field_knows_its_line() {
    let text =
        "# comment\na: 1\nlist:\n  - b: |\n      text\n      text\n    c: 2\n\n  - d\nflow: {e: 1,\n  f: 2}\r\ng: 3";
    let (_, lines, _) = one(text);
    for (path, line) in [
        ("a", 2),
        ("list", 3),
        ("list[0]", 4),
        ("list[0].b", 4),
        ("list[0].c", 7),
        ("list[1]", 9),
        ("flow.e", 10),
        ("flow.f", 11),
        ("g", 12),
    ] {
        assert_eq!(lines.find(path), Some(line), "{path}");
    }
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let text = "base: &base {a: 1, b: 2}\nother: &other\n  b: 3\n  c: 4\none: *base\nmerged:\n  <<: *base\n  a: 0\nboth:\n  <<: [*other, *base]\n\"<<\": text\n";
    let (value, lines, problems) = one(text);
    assert_eq!(problems, []);
    assert_eq!(value["one"], json!({"a": 1, "b": 2}));
    assert_eq!(value["merged"], json!({"a": 0, "b": 2}));
    assert_eq!(value["both"], json!({"b": 3, "c": 4, "a": 1}));
    assert_eq!(value["<<"], "text");
    assert_eq!((lines.find("merged.b"), lines.find("both.c"), lines.find("one")), (Some(1), Some(4), Some(5)));
}

#[test]
fn documents_are_separate_and_a_broken_one_gives_what_was_understood() {
    let text = "a: 1\n---\nb: 2\nc: [1, {d: [2, }\n---\ne: 3\n---\n# nothing\n---\nf: 4\n";
    let documents = read(text);
    let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2, "c": [1]}), json!({"e": 3}), json!(null), json!({"f": 4})]);
    let problems: Vec<_> = documents.iter().map(|document| !document.problems.is_empty()).collect();
    assert_eq!(problems, [false, true, false, false, false]);
}

#[test]
fn bombs_are_defused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    let wide = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), vec!["*a"; 1000].join(", "));
    let recursive = "a: &a [*a]".to_owned();
    let deep_flow = "[".repeat(100_000);
    let deep_block = "- ".repeat(100_000);
    let mut deep_alias = "- &a0 [[[[[[[[[[0]]]]]]]]]]\n".to_owned();
    for level in 1..20 {
        deep_alias.push_str(&format!("- &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1));
    }
    for (text, message) in [
        (laughs, "anchors and aliases stand for more than 4194304 bytes"),
        (wide, "anchors and aliases stand for more than 4194304 bytes"),
        (recursive, "an alias must not stand within what it stands for"),
        (deep_flow, "nested more than 100 deep"),
        (deep_block, "nested more than 100 deep"),
        (deep_alias, "nested more than 100 deep"),
    ] {
        let (_, _, problems) = one(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains(message), "{}", problems[0].message);
    }
}
