//! Labels that the gateway wants on the metrics of a request.
//!
//! They stand in the filter metadata of the request, under [`METADATA_NAME`], an object of name and value:
//!
//! ```json
//! {"tenant": "t1", "tier": 3, "beta": true, "user": {"cel_expr": "auth.identity.username"}}
//! ```
//!
//! | value | label |
//! | --- | --- |
//! | string, number, boolean | its text |
//! | `{"cel_expr": "EXPRESSION"}` | the text of the expression's value, as far as the request is known at that moment |
//! | anything else | none |
//!
//! The metadata is the gateway's, but values may well come from clients, so everything about them is bounded, and
//! nothing that is wrong with them is an error: the label is left out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use moka::sync::Cache;
use serde_json::Value;
use usher_expr::{
    cel::{COST_LIMIT_EXCEEDED, Program},
    text,
};

use super::family::BUILT_IN_LABELS;
use crate::Context;

/// The name of the filter metadata that labels stand in.
pub(crate) const METADATA_NAME: &str = "io.kuadrant.metrics.labels";

/// The most labels of a request. Of more, the first ones by name count.
const LABELS: usize = 16;

/// The most bytes of a label's name. Labels with a longer one are left out.
const NAME_BYTES: usize = 64;

/// The most bytes of a label's value. Longer values are cut.
const VALUE_BYTES: usize = 256;

/// The most bytes of names and values together. Labels that do not fit are left out.
const TEXT_BYTES: usize = 1024;

/// The most bytes of an expression. Labels with a longer one are left out.
const EXPRESSION_BYTES: usize = 1024;

/// The most expressions that are kept compiled.
const EXPRESSIONS: u64 = 1000;

/// Names and values, sorted by name, each name once; never empty.
pub(super) type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// Expressions by their text, compiled once. Of those that cannot be compiled, this is kept.
#[derive(Debug)]
pub(super) struct Expressions(Cache<String, Option<Program>>);

impl Default for Expressions {
    fn default() -> Self {
        Self(Cache::new(EXPRESSIONS))
    }
}

impl Expressions {
    /// Nobody waits for another's compilation: to compile a text twice costs little, and a lock might cost much.
    fn get(&self, source: &str) -> Option<Program> {
        if source.len() > EXPRESSION_BYTES {
            return None;
        }
        if let Some(known) = self.0.get(source) {
            return known;
        }
        let program = match catch_unwind(AssertUnwindSafe(|| Program::expression_of_request(source))) {
            Ok(Ok(program)) => Some(program),
            Ok(Err(error)) => {
                tracing::debug!(expression = source, %error, "the expression of a metric label is invalid");
                None
            }
            Err(_) => None,
        };
        self.0.insert(source.to_owned(), program.clone());
        program
    }
}

/// The labels of one request.
#[derive(Debug)]
pub(crate) struct CustomLabels {
    labels: Vec<(Arc<str>, Source)>,
    /// An expression was too expensive. One such evaluation per request is enough.
    is_exhausted: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Text(Arc<str>),
    Expression(Program),
}

/// What the metadata says about one label.
enum Given<'a> {
    Value(&'a Value),
    Expression(&'a str),
}

impl CustomLabels {
    /// The usable labels of the metadata, if there are any.
    pub(super) fn read(metadata: &Value, expressions: &Expressions) -> Option<Box<Self>> {
        let members = metadata.as_object()?;
        let mut given: Vec<(String, &str, Given<'_>)> = members
            .iter()
            .filter_map(|(name, value)| {
                let given = match value {
                    Value::String(_) | Value::Number(_) | Value::Bool(_) => Given::Value(value),
                    Value::Object(members) => Given::Expression(members.get("cel_expr")?.as_str()?),
                    Value::Null | Value::Array(_) => return None,
                };
                Some((label_name(name)?, name.as_str(), given))
            })
            .collect();
        // Protobuf maps have no order, so which labels count must not depend on it.
        given.sort_unstable_by(|(left, left_given, _), (right, right_given, _)| {
            (left, left_given).cmp(&(right, right_given))
        });
        given.dedup_by(|(later, ..), (earlier, ..)| later == earlier);
        given.truncate(LABELS);
        let labels: Vec<_> = given
            .into_iter()
            .filter_map(|(name, _, given)| {
                let source = match given {
                    Given::Value(value) => Source::Text(label_value(value)?),
                    Given::Expression(source) => Source::Expression(expressions.get(source)?),
                };
                Some((name.into(), source))
            })
            .collect();
        (!labels.is_empty()).then(|| Box::new(Self { labels, is_exhausted: AtomicBool::new(false) }))
    }

    /// Those that have a value now, if there are any.
    pub(super) fn evaluate(&self, context: &Context<'_>) -> Option<Labels> {
        let mut room = TEXT_BYTES;
        let labels: Vec<_> = self
            .labels
            .iter()
            .filter_map(|(name, source)| {
                let value = match source {
                    Source::Text(text) => Arc::clone(text),
                    Source::Expression(program) => self.value(program, context)?,
                };
                room = room.checked_sub(name.len() + value.len())?;
                Some((Arc::clone(name), value))
            })
            .collect();
        (!labels.is_empty()).then(|| labels.into())
    }

    fn value(&self, program: &Program, context: &Context<'_>) -> Option<Arc<str>> {
        if self.is_exhausted.load(Ordering::Relaxed) {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(|| program.evaluate(context))) {
            Ok(Ok(value)) => label_value(&value),
            Ok(Err(error)) => {
                if error.message == COST_LIMIT_EXCEEDED {
                    self.is_exhausted.store(true, Ordering::Relaxed);
                }
                tracing::debug!(expression = program.source(), %error, "a metric label has no value");
                None
            }
            Err(_) => None,
        }
    }
}

/// The name as it may stand on a page of metrics, if it may.
fn label_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_BYTES {
        return None;
    }
    let name: String = name
        .char_indices()
        .map(|(index, character)| match character {
            'a'..='z' | 'A'..='Z' | '_' => character,
            '0'..='9' if index > 0 => character,
            _ => '_',
        })
        .collect();
    // Names that begin so are Prometheus's own.
    (!name.starts_with("__") && !BUILT_IN_LABELS.contains(&name.as_str())).then_some(name)
}

/// The value as a label. An empty one is the same as none, and two series with the same labels would spoil the page.
fn label_value(value: &Value) -> Option<Arc<str>> {
    let text = text::stringify_sorted(value);
    let text = text.get(..text.floor_char_boundary(VALUE_BYTES))?;
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::{Request, context::Identity, testing::request};

    fn evaluated(labels: &CustomLabels, context: &Context<'_>) -> Vec<(String, String)> {
        let found = labels.evaluate(context);
        found
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn read(metadata: &Value, request: &Request) -> Vec<(String, String)> {
        match CustomLabels::read(metadata, &Expressions::default()) {
            Some(labels) => evaluated(&labels, &Context::new(request, None, None)),
            None => Vec::new(),
        }
    }

    #[test]
    fn labels_by_kind_of_value() {
        let cel = |source: &str| json!({"cel_expr": source});
        for (value, expected) in [
            (json!("gold"), Some("gold")),
            (json!("a\"b\\\n"), Some("a\"b\\\n")),
            (json!(5), Some("5")),
            (json!(1_500_000.0), Some("1500000")),
            (json!(0.5), Some("0.5")),
            (json!(true), Some("true")),
            (json!(false), Some("false")),
            (cel("request.method"), Some("GET")),
            (cel("1 + 1"), Some("2")),
            (cel("[1, 'a']"), Some("[1,\"a\"]")),
            (json!({"cel_expr": "'x'", "other": 1}), Some("x")),
            (cel("''"), None),
            (cel("null"), None),
            (cel("auth.identity.username"), None),
            (cel("1 / 0"), None),
            (cel("nonsense("), None),
            (cel(""), None),
            (json!({"cel_expr": 5}), None),
            (json!({}), None),
            (json!({"other": "x"}), None),
            (json!(["a"]), None),
            (json!(null), None),
            (json!(""), None),
        ] {
            let expected: Vec<_> = expected.iter().map(|text| ("l".to_owned(), (*text).to_owned())).collect();
            assert_eq!(read(&json!({"l": value}), &request()), expected, "{value}");
        }
        for metadata in [json!(null), json!([]), json!("l"), json!({})] {
            assert!(CustomLabels::read(&metadata, &Expressions::default()).is_none(), "{metadata}");
        }
    }

    #[test]
    fn what_is_found_out_later_is_a_label_later() {
        let request = request();
        let labels = CustomLabels::read(
            &json!({"user": {"cel_expr": "auth.identity.username"}, "m": {"cel_expr": "request.method"}}),
            &Expressions::default(),
        )
        .unwrap();
        let mut context = Context::new(&request, None, None);
        assert_eq!(evaluated(&labels, &context), [("m".to_owned(), "GET".to_owned())]);
        context.set_identity(Identity { rule: "r".into(), value: Arc::new(json!({"username": "john"})) });
        assert_eq!(
            evaluated(&labels, &context),
            [("m".to_owned(), "GET".to_owned()), ("user".to_owned(), "john".to_owned())]
        );
    }

    #[test]
    fn names_are_made_valid_or_refused() {
        for (name, expected) in [
            ("tenant", Some("tenant")),
            ("_Tenant9", Some("_Tenant9")),
            ("a-b.c/d", Some("a_b_c_d")),
            ("9a", Some("_a")),
            ("é", Some("_")),
            ("quantile", Some("quantile")),
            ("", None),
            ("__name__", None),
            ("--a", None),
            ("le", None),
            ("status", None),
            ("namespace", None),
            ("authconfig", None),
            ("evaluator_type", None),
            ("evaluator-name", None),
            (&"a".repeat(NAME_BYTES), Some(&*"a".repeat(NAME_BYTES))),
            (&"a".repeat(NAME_BYTES + 1), None),
        ] {
            assert_eq!(label_name(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn each_name_is_there_once_whatever_the_order() {
        for metadata in [json!({"a-b": "1", "a_b": "2", "a.b": null}), json!({"a_b": "2", "a.b": null, "a-b": "1"})] {
            assert_eq!(read(&metadata, &request()), [("a_b".to_owned(), "1".to_owned())], "{metadata}");
        }
    }

    #[test]
    fn number_and_size_of_labels_are_bounded() {
        let many: Map<_, _> = (0..1000).rev().map(|number| (format!("l{number:03}"), json!("x"))).collect();
        let found = read(&Value::Object(many), &request());
        assert_eq!(found.len(), LABELS);
        assert_eq!((found[0].0.as_str(), found[15].0.as_str()), ("l000", "l015"));

        for value in [json!("é".repeat(200)), json!({"cel_expr": format!("'{}'", "é".repeat(200))})] {
            assert_eq!(read(&json!({"l": value}), &request()), [("l".to_owned(), "é".repeat(128))]);
        }
        assert_eq!(read(&json!({"l": format!("{}é", "x".repeat(255))}), &request())[0].1, "x".repeat(255));

        let long =
            json!({"a": "x".repeat(256), "b": "x".repeat(256), "c": "x".repeat(256), "d": "x".repeat(256), "e": "y"});
        let names: Vec<_> = read(&long, &request()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c", "e"]);

        let source = format!("'{}'", "x".repeat(EXPRESSION_BYTES - 1));
        assert_eq!(read(&json!({"l": {"cel_expr": source}}), &request()), []);
    }

    #[test]
    fn expressions_are_compiled_once_whether_they_are_valid_or_not() {
        let expressions = Expressions::default();
        for _ in 0..3 {
            assert!(expressions.get("request.path").is_some());
            assert!(expressions.get("nonsense(").is_none());
        }
        expressions.0.run_pending_tasks();
        assert_eq!(expressions.0.entry_count(), 2);
        assert!(matches!(expressions.0.get("nonsense("), Some(None)));
        for number in 0..EXPRESSIONS + 100 {
            expressions.0.insert(number.to_string(), None);
        }
        expressions.0.run_pending_tasks();
        assert!(expressions.0.entry_count() <= EXPRESSIONS);
    }

    #[test]
    fn an_expression_without_end_is_evaluated_once_per_request() {
        let list = format!("[{}]", vec!["1"; 100].join(","));
        let expensive = format!("{list}.map(a, {list}.map(b, {list}.map(c, a + b + c))).size() > 0");
        let metadata = json!({"a": {"cel_expr": "request.method"}, "b": {"cel_expr": expensive}, "c": "text",
            "d": {"cel_expr": "request.path"}});
        let labels = CustomLabels::read(&metadata, &Expressions::default()).unwrap();
        let request = request();
        let context = Context::new(&request, None, None);
        let names = || evaluated(&labels, &context).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(), ["a", "c"]);
        assert_eq!(names(), ["c"]);
    }
}
