//! Selectors, templates, JSONPath queries and patterns: parsed, then evaluated on a document.
//!
//! Input: a line with the path, a line with a value to compare with, and a JSON document; without one a fixed document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use usher_expr::{
    Document, Expression,
    jsonpath::JsonPath,
    pattern::{Operator, Pattern, Subject},
    selector::Selector,
    template::Template,
};
use usher_fuzz::line;

fuzz_target!(|text: &str| {
    let (path, rest) = line(text);
    let (value, document) = line(rest);
    match serde_json::from_str::<Value>(document) {
        Ok(document) => run(path, value, &document),
        Err(_) => run(path, value, &usher_fuzz::context()),
    }
});

fn run(path: &str, value: &str, document: &dyn Document) {
    if let Ok(selector) = Selector::parse(path) {
        assert_eq!(selector.source(), path);
        let text = selector.try_select_text(document);
        assert_eq!(selector.try_select(document).is_ok(), text.is_ok());
        if let Ok(Value::String(selected)) = selector.try_select(document) {
            assert_eq!(text.as_deref().ok(), Some(selected.as_str()));
        }
        let _ = selector.try_stringify(document);
        patterns(selector, value, document);
    }
    if let Ok(query) = JsonPath::parse(path) {
        let _ = query.try_select(document);
        patterns(query, value, document);
    }
    let _ = Template::is_template(path);
    if let Ok(template) = Template::parse(path) {
        assert!(
            template.try_render(document).is_ok_and(|text| text.len() <= 4 << 20)
                || template.render(document).is_empty()
        );
    }
    if let Ok(expression) = Expression::selector(path) {
        let _ = expression.resolve(document);
        let _ = expression.resolve_text(document);
    }
}

fn patterns(subject: impl Into<Subject> + Clone, value: &str, document: &dyn Document) {
    let test = |operator: &str| {
        let operator: Operator = operator.parse().expect("an operator");
        Pattern::new(subject.clone(), operator, value).ok().and_then(|pattern| pattern.test(document).ok())
    };
    for (operator, opposite) in [("eq", "neq"), ("incl", "excl")] {
        assert_eq!(test(operator).map(|truth| !truth), test(opposite), "{operator}");
    }
    let _ = test("matches");
}
