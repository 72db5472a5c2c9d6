//! What holds for any path and any document.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use usher_expr::{
    Document, Node, Part,
    jsonpath::JsonPath,
    pattern::{Operator, Pattern, regular_expression::RegularExpression},
    selector::Selector,
    template::Template,
    text,
};

/// Few names, so that paths find something.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "1", "0", "é", "x-y", "#", "@this", "a b", ""]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-4..4_i64).prop_map(Value::from),
        // Not too many digits: reading JSON may miss the last one.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        prop::sample::select(vec!["", "a", "b c", "x&y", "{\"a\":[1]}", "YQ==", "[", "\"", "é\u{2028}\u{0}"])
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::vec((name(), value()), 0..6).prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Text that looks like a path.
fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "0",
        "1",
        "é",
        "#",
        "#(a==1)",
        "#(a>b)#",
        "#(",
        ")",
        "#[b]#",
        "*",
        "?",
        "..",
        ".",
        "|",
        "\\",
        "@this",
        "@reverse",
        "@flatten:{\"deep\":true}",
        "@join",
        "@keys",
        "@values",
        "@tostr",
        "@fromstr",
        "@group",
        "@strip",
        "@extract:{\"sep\":\"\",\"pos\":1}",
        "@extract:{\"pos\":-1}",
        "@replace:{\"old\":\"\",\"new\":\"aa\"}",
        "@case:upper",
        "@base64:decode",
        "@base64:encode",
        "@pretty:{\"sortKeys\":true}",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "!",
        "!1",
        "!{\"a\":1}",
        "~true",
        "==",
        "%",
        " ",
        "[a,b]",
        "{a,\"n\":b}",
    ]);
    let separator = prop::sample::select(vec!["", ".", ".", "|"]);
    prop::collection::vec((piece, separator), 0..8)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, separator)| [piece, separator]).collect())
}

/// A document that shows its members one by one, as the document of a request does, and not as JSON.
struct View(Value);

impl View {
    fn node(value: &Value) -> Node<'_> {
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::String(text) => Node::Text(text),
            Value::Number(number) => number.as_i64().map_or(Node::Json(value), Node::Integer),
            Value::Array(_) | Value::Object(_) => Node::Json(value),
        }
    }
}

impl Document for View {
    fn member<'a>(&'a self, _: Part, key: &str) -> Option<Node<'a>> {
        self.0.get(key).map(Self::node)
    }

    fn members<'a>(&'a self, _: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
        let members = self.0.as_object().into_iter().flatten();
        members.map(|(key, value)| (Cow::Borrowed(key.as_str()), Self::node(value))).collect()
    }

    fn json(&self) -> Cow<'_, Value> {
        Cow::Borrowed(&self.0)
    }
}

/// A value as doubles hold its numbers.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(elements) => elements.iter().map(rounded).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(source in any::<String>(), document in object()) {
        if let Ok(selector) = Selector::parse(&source) {
            let _ = selector.select(&document);
        }
        if let Ok(template) = Template::parse(&source) {
            let _ = template.render(&document);
        }
        if let Ok(path) = JsonPath::parse(&source) {
            let _ = path.select(&document);
        }
        if let Ok(expression) = RegularExpression::parse(&source) {
            let _ = expression.is_match(&source);
        }
        let _ = Template::is_template(&source);
    }

    #[test]
    fn paths_give_the_same_for_views_and_json(source in path(), document in object()) {
        let Ok(selector) = Selector::parse(&source) else { return Ok(()) };
        let view = View(document.clone());
        prop_assert_eq!(selector.select(&document), selector.select(&view));
        prop_assert_eq!(selector.select_text(&document), selector.select_text(&view));
    }

    #[test]
    fn text_is_what_patterns_compare_with(source in path(), document in object()) {
        let Ok(selector) = Selector::parse(&source) else { return Ok(()) };
        let text = selector.select_text(&document).into_owned();
        let compare = |value: &str| Pattern::new(selector.clone(), Operator::Eq, value).unwrap().test(&document);
        prop_assert_eq!(compare(&text), Ok(true));
        prop_assert_eq!(compare(&format!("{text}.")), Ok(false));
        // A template shows the same, unless the path has a brace of its own that would end it.
        if !source.is_empty() && !source.contains(['{', '}', '\\']) {
            let template = Template::parse(&format!("<{{{source}}}>")).unwrap();
            prop_assert_eq!(template.render(&document), format!("<{text}>"));
        }
    }

    #[test]
    fn dotted_names_are_followed_one_by_one(names in prop::collection::vec(name(), 1..5), document in object()) {
        let escaped: Vec<String> = names.iter().map(|name| name.replace('@', "\\@").replace('#', "\\#")).collect();
        let mut expected = Some(&document);
        for name in &names {
            expected = match expected {
                Some(Value::Object(members)) => members.get(name),
                Some(Value::Array(elements)) => name.parse::<usize>().ok().and_then(|index| elements.get(index)),
                _ => None,
            };
        }
        let expected = expected.cloned().unwrap_or(Value::Null);
        let source = escaped.join(".");
        // Two dots at the start have a meaning of their own.
        prop_assume!(!source.starts_with(".."));
        let plain = Selector::parse(&source).unwrap();
        prop_assert_eq!(rounded(&plain.select(&document)), rounded(&expected));

        // The same path in forms that are not plain.
        let bars = Selector::parse(&escaped.join("|")).unwrap();
        prop_assert_eq!(rounded(&bars.select(&document)), rounded(&expected));
        let modified = Selector::parse(&format!("{source}|@this")).unwrap();
        prop_assert_eq!(modified.select(&document), plain.select(&document));
        let through_a_copy = Selector::parse(&format!("[@this].0.{source}")).unwrap();
        prop_assert_eq!(through_a_copy.select(&document), plain.select(&document));
    }

    #[test]
    fn json_text_is_json(document in value()) {
        let text = text::json(&document);
        let reread: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(rounded(&reread), rounded(&document));
        let unsafe_in_html = text.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\n']);
        prop_assert!(!unsafe_in_html);
        let sorted: Value = serde_json::from_str(&text::json(&rounded(&document))).unwrap();
        prop_assert_eq!(rounded(&sorted), rounded(&document));
    }

    #[test]
    fn tostr_and_fromstr_are_inverse(document in object()) {
        let there = Selector::parse("@tostr|@fromstr").unwrap().select(&document);
        prop_assert_eq!(rounded(&there), rounded(&document));
        let coded = Selector::parse("@tostr|@base64:encode|@base64:decode|@fromstr").unwrap().select(&document);
        prop_assert_eq!(rounded(&coded), rounded(&document));
    }

    #[test]
    fn a_literal_in_a_regular_expression_matches_itself(text in any::<String>()) {
        prop_assume!(!text.contains("\\E"));
        let quoted = RegularExpression::parse(&format!("\\A\\Q{text}\\E\\z"));
        if !text.ends_with('\\') {
            prop_assert!(quoted.unwrap().is_match(&text));
        }
        let class: String = text.chars().map(|character| match character {
            '\\' | ']' | '[' | '^' | '-' => format!("\\{character}"),
            other => other.to_string(),
        }).collect();
        if !text.is_empty() {
            let class = RegularExpression::parse(&format!("\\A[{class}]+\\z")).unwrap();
            prop_assert!(class.is_match(&text));
        }
    }

    #[test]
    fn queries_find_what_their_parser_s_own_evaluator_finds(
        segments in prop::collection::vec(prop::sample::select(vec![
            ".a", ".b", "['1']", "[0]", "[-1]", "[*]", ".*", "..a", "..[0]", "..*", "[0:2]", "[::-1]", "[1::2]",
            "[?@.a]", "[?!@.b]", "[?@ == 1]", "[?@.a != 'a']", "[?@.a < 2 || @ == 'a']", "[?@.a && @.b]",
            "[?$.a]", "[?@ == $.a]", "[?length(@) > 1]", "[?value(@.a) == 1]", "[?match(@, 'a.*')]", "[?search(@, 'b')]",
        ]), 0..4),
        document in object(),
    ) {
        use jsonpath_rust::JsonPath as _;
        let source = format!("${}", segments.concat());
        let path = JsonPath::parse(&source).unwrap();
        let Ok(selected) = path.try_select(&document) else { return Ok(()) };
        let view = View(document.clone());
        prop_assert_eq!(&path.select(&view), &selected);
        let found: Vec<Value> = document.query(&source).unwrap().into_iter().cloned().collect();
        let singular = segments.iter().all(|segment| [".a", ".b", "['1']", "[0]", "[-1]"].contains(segment));
        let expected = if singular { found.into_iter().next().unwrap_or(Value::Null) } else { Value::Array(found) };
        prop_assert_eq!(selected, expected, "{}", source);
    }
}
