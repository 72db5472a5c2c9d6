//! What selectors, templates and JSONPath queries select: the cases are in `selector_data`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::Deserialize;
use serde_json::Value;
use usher_expr::{Document, Expression, jsonpath::JsonPath, selector::Selector, template::Template};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paths {
    document: String,
    cases: Vec<PathCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathCase {
    path: String,
    value: Value,
    text: Option<String>,
    stringified: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Modifiers {
    cases: Vec<ModifierCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModifierCase {
    v: Option<String>,
    path: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    document: String,
    kinds: Vec<Kind>,
    cases: Vec<TemplateCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    selector: String,
    template: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateCase {
    template: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    cases: Vec<RefusedCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedCase {
    path: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Queries {
    document: String,
    cases: Vec<QueryCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryCase {
    query: String,
    value: Option<Value>,
    refused: Option<String>,
}

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Fails with all mistakes at once.
fn assert_none(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
}

#[test]
fn paths() {
    let Paths { document, cases } = read(include_str!("selector_data/paths.yaml"));
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut mistakes = Vec::new();
    for PathCase { path, value, text, stringified } in cases {
        let selector = match Selector::parse(&path) {
            Ok(selector) => selector,
            Err(error) => {
                mistakes.push(format!("{path}: {error}"));
                continue;
            }
        };
        assert_eq!(selector.source(), path);
        let selected = selector.select(&document);
        if !same(&selected, &value) {
            mistakes.push(format!("{path}: {selected} instead of {value}"));
        }
        if let Some(text) = &text
            && selector.select_text(&document) != *text
        {
            mistakes.push(format!("{path}: text {} instead of {text}", selector.select_text(&document)));
        }
        let expected = stringified.or_else(|| value.as_str().map(str::to_owned));
        let resolved = Expression::Selector(selector).resolve_text(&document).unwrap().into_owned();
        if let Some(expected) = expected
            && resolved != expected
        {
            mistakes.push(format!("{path}: stringified {resolved} instead of {expected}"));
        }
    }
    assert_none(&mistakes);
}

/// Equal as JSON, however a number is written, but with members in the same order.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((left_name, left), (name, right))| left_name == name && same(left, right))
        }
        _ => left == right,
    }
}

#[test]
fn modifiers() {
    let Modifiers { cases } = read(include_str!("selector_data/modifiers.yaml"));
    let mut mistakes = Vec::new();
    for ModifierCase { v, path, value } in cases {
        let document: Value = match &v {
            Some(v) => serde_json::from_str(&format!(r#"{{"v":{v}}}"#)).unwrap(),
            None => serde_json::json!({}),
        };
        let selected = Selector::parse(&path).unwrap().select(&document);
        if !same(&selected, &value) {
            mistakes.push(format!("{path} of {v:?}: {selected} instead of {value}"));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn templates() {
    let Templates { document, kinds, cases } = read(include_str!("selector_data/templates.yaml"));
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut mistakes = Vec::new();
    for Kind { selector, template } in kinds {
        if Template::is_template(&selector) != template {
            mistakes.push(format!("{selector}: taken for the other kind"));
        }
    }
    for TemplateCase { template, text } in cases {
        let rendered = Template::parse(&template).unwrap().render(&document);
        if rendered != text {
            mistakes.push(format!("{template}: {rendered} instead of {text}"));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn templates_name_the_selector_that_is_refused() {
    let error = Template::parse("a {b.#(} c").unwrap_err();
    assert_eq!(error.message, "in `{b.#(}`: condition `#(` is not closed");
}

#[test]
fn refused() {
    let Refused { cases } = read(include_str!("selector_data/refused.yaml"));
    let mut mistakes = Vec::new();
    for RefusedCase { path, message } in cases {
        match Selector::parse(&path) {
            Ok(_) => mistakes.push(format!("{path}: accepted")),
            Err(error) if !error.message.contains(&message) => mistakes.push(format!("{path}: {error}")),
            Err(_) => {}
        }
    }
    assert_none(&mistakes);
}

#[test]
fn queries() {
    let Queries { document, cases } = read(include_str!("selector_data/jsonpath.yaml"));
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut mistakes = Vec::new();
    for QueryCase { query, value, refused } in cases {
        match (JsonPath::parse(&query), refused) {
            (Ok(path), None) => {
                let selected = path.select(&document);
                // `value: null` reads as absent.
                let value = value.unwrap_or(Value::Null);
                if !same(&selected, &value) {
                    mistakes.push(format!("{query}: {selected} instead of {value}"));
                }
            }
            (Ok(_), Some(_)) => mistakes.push(format!("{query}: accepted")),
            (Err(error), Some(message)) if error.message.contains(&message) => {}
            (Err(error), _) => mistakes.push(format!("{query}: {error}")),
        }
    }
    assert_none(&mistakes);
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    for (path, message) in [
        ("a".repeat(9_000), "longer than"),
        (".".repeat(600), "more than 512 components"),
        ("a|".repeat(600), "more than 512 components"),
        ("#.".repeat(40), "nests deeper"),
        ("[".repeat(40) + &"]".repeat(40), "nests deeper"),
        ("#(".repeat(40) + &")".repeat(40), "nests deeper"),
    ] {
        let error = Selector::parse(&path).unwrap_err();
        assert!(error.message.contains(message), "{path}: {error}");
    }
    assert!(Template::parse(&"x".repeat(70_000)).is_err());
    assert!(JsonPath::parse(&("$".to_owned() + &".a".repeat(4_000))).is_err());
}

#[test]
fn what_multiplies_ends() {
    let document = serde_json::json!({
        "text": "a".repeat(1_000),
        "list": vec![vec![Value::from(1); 30]; 30],
    });
    for path in [
        "text".to_owned() + &r#"|@replace:{"old":"a","new":"aaaaaaaaaa"}"#.repeat(20),
        "text".to_owned() + &"|@tostr".repeat(60),
        "text".to_owned() + &"|[@this,@this]".repeat(60),
        "list".to_owned() + &"|{@this,\"b\":@this}".repeat(60),
    ] {
        let selector = Selector::parse(&path).unwrap();
        assert!(selector.try_select(&document).is_err(), "{path}");
        assert_eq!(selector.select(&document), Value::Null);
        assert_eq!(selector.select_text(&document), "");
        assert!(Expression::Selector(selector).resolve(&document).is_err());
    }
    let nested = "$..[?count($..[?count($..*) > 1]) > 1]";
    assert!(JsonPath::parse(nested).unwrap().try_select(&document).is_err());

    let long = Template::parse(&"{text}".repeat(8_000)).unwrap();
    assert!(long.try_render(&document).is_err());
    assert_eq!(long.render(&document), "");
}

#[test]
fn text_of_the_document_is_borrowed() {
    let document = serde_json::json!({"a": {"b": ["text"]}});
    let document: &dyn Document = &document;
    for path in ["a.b.0", "a.b|0", "a.*.0", "a.b.#(%t*)", "a.b.0.@this", "a.b.0.@extract", "missing"] {
        let selector = Selector::parse(path).unwrap();
        let text = selector.select_text(document);
        assert!(matches!(text, std::borrow::Cow::Borrowed(_)), "{path} copies {text}");
    }
}
