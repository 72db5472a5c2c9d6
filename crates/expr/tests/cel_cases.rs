//! CEL, from the outside: the cases of `cel/cases.yaml`, rows about one document, limits, and whatever proptest makes up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise, in their helpers too"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use usher_expr::cel::Program;

#[path = "cel/documents.rs"]
mod documents;
#[path = "cel/environments.rs"]
mod environments;
#[path = "cel/robustness.rs"]
mod robustness;
#[path = "cel/rows.rs"]
mod rows;

#[derive(serde::Deserialize)]
struct Suite {
    documents: BTreeMap<String, Value>,
    cases: BTreeMap<String, Vec<Case>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    cel: String,
    document: Option<String>,
    #[serde(default)]
    predicate: bool,
    #[serde(default, deserialize_with = "some")]
    value: Option<Value>,
    refused: Option<Value>,
    fails: Option<Value>,
    #[serde(rename = "because")]
    _because: Option<String>,
}

/// A `null` that is written is an outcome too.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

#[test]
fn cases() {
    let suite: Suite = serde_saphyr::from_str(include_str!("cel/cases.yaml")).unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for (group, case) in suite.cases.iter().flat_map(|(group, cases)| cases.iter().map(move |case| (group, case))) {
        let document = case.document.as_ref().map_or_else(|| json!({}), |name| suite.documents[name].clone());
        count += 1;
        if let Err(what) = case.check(&document) {
            wrong.push(format!("{group}: {}: {what}", case.cel));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(count, 638);
}

impl Case {
    fn check(&self, document: &Value) -> Result<(), String> {
        let outcome = evaluate(&self.cel, self.predicate, document);
        match (&self.value, &self.refused, &self.fails, outcome) {
            (Some(wanted), None, None, Ok(found)) if same(wanted, &found) => Ok(()),
            (None, Some(wanted), None, Err(Failure::Refused(found)))
            | (None, None, Some(wanted), Err(Failure::Failed(found)))
                if wanted.as_str().is_none_or(|part| found.contains(part)) =>
            {
                Ok(())
            }
            (value, refused, fails, outcome) => {
                Err(format!("wanted value {value:?}, refused {refused:?}, fails {fails:?}; found {outcome:?}"))
            }
        }
    }
}

#[derive(Debug)]
enum Failure {
    Refused(String),
    Failed(String),
}

fn evaluate(source: &str, predicate: bool, document: &Value) -> Result<Value, Failure> {
    let program = if predicate { Program::predicate(source) } else { Program::expression(source) };
    let program = program.map_err(|error| Failure::Refused(error.message))?;
    let outcome = if predicate { program.test(document).map(Value::Bool) } else { program.evaluate(document) };
    outcome.map_err(|error| Failure::Failed(error.message))
}

/// Equal, with numbers compared by value: `1` and `1.0` are the same.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        (left, right) => left == right,
    }
}
