//! What patterns accept: the cases are in `pattern_data`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::Deserialize;
use serde_json::{Value, json};
use usher_expr::{
    Predicate,
    jsonpath::JsonPath,
    pattern::{Operator, Pattern, Subject, regular_expression::RegularExpression},
    selector::Selector,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operators {
    cases: Vec<OperatorCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorCase {
    v: Option<String>,
    selector: Option<String>,
    json_path: Option<String>,
    eq: Option<String>,
    neq: Option<String>,
    incl: Option<String>,
    excl: Option<String>,
    matches: Option<String>,
    is: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expressions {
    cases: Vec<ExpressionCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpressionCase {
    expression: String,
    #[serde(default)]
    yes: Vec<String>,
    #[serde(default)]
    no: Vec<String>,
    refused: Option<String>,
}

/// Fails with all mistakes at once.
fn assert_none(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
}

#[test]
fn operators() {
    let Operators { cases } = serde_saphyr::from_str(include_str!("pattern_data/operators.yaml")).unwrap();
    let mut mistakes = Vec::new();
    for case in cases {
        let document: Value = match &case.v {
            Some(v) => serde_json::from_str(&format!(r#"{{"v":{v}}}"#)).unwrap(),
            None => json!({}),
        };
        let subject: Subject = match (&case.selector, &case.json_path) {
            (Some(selector), _) => Selector::parse(selector).unwrap().into(),
            (None, Some(path)) => JsonPath::parse(path).unwrap().into(),
            (None, None) => Selector::parse("v").unwrap().into(),
        };
        let comparisons = [
            ("eq", &case.eq),
            ("neq", &case.neq),
            ("incl", &case.incl),
            ("excl", &case.excl),
            ("matches", &case.matches),
        ];
        let mut tested = false;
        for (operator, value) in comparisons {
            let Some(value) = value else { continue };
            tested = true;
            let pattern = Pattern::new(subject.clone(), operator.parse().unwrap(), value).unwrap();
            if pattern.test(&document) != Ok(case.is) {
                mistakes.push(format!("{:?} {operator} {value}: not {}", case.v, case.is));
            }
        }
        assert!(tested, "a case without an operator tests nothing");
    }
    assert_none(&mistakes);
}

#[test]
fn other_operators_are_refused() {
    for name in ["", "EQ", "contains"] {
        let error = name.parse::<Operator>().unwrap_err();
        assert!(error.message.starts_with("unsupported operator for json authorization"), "{error}");
    }
}

#[test]
fn regular_expressions() {
    let Expressions { cases } = serde_saphyr::from_str(include_str!("pattern_data/regular_expressions.yaml")).unwrap();
    let mut mistakes = Vec::new();
    for ExpressionCase { expression, yes, no, refused } in cases {
        match (RegularExpression::parse(&expression), refused) {
            (Ok(compiled), None) => {
                for text in yes.iter().filter(|text| !compiled.is_match(text)) {
                    mistakes.push(format!("{expression}: does not match {text:?}"));
                }
                for text in no.iter().filter(|text| compiled.is_match(text)) {
                    mistakes.push(format!("{expression}: matches {text:?}"));
                }
            }
            (Ok(_), Some(_)) => mistakes.push(format!("{expression}: accepted")),
            (Err(error), Some(message))
                if error.message.starts_with("error parsing regexp: ") && error.message.contains(&message) => {}
            (Err(error), _) => mistakes.push(format!("{expression}: {error}")),
        }
    }
    assert_none(&mistakes);
}

#[test]
fn patterns_are_refused_when_loaded() {
    let selector = Selector::parse("v").unwrap();
    let error = Pattern::new(selector, Operator::Matches, "[a").unwrap_err();
    assert_eq!(error.message, "error parsing regexp: missing closing ]: `[a`");
    assert!(RegularExpression::parse(&"(".repeat(300)).is_err());
    assert!(RegularExpression::parse(&"a".repeat(20_000)).is_err());
}

#[test]
fn the_deepest_groups_compile() {
    let deep = "(".repeat(200) + "a" + &")".repeat(200);
    assert!(RegularExpression::parse(&deep).unwrap().is_match("a"));
}

/// An operand of which the answer is known, or an error if it is asked.
fn operand(answer: Option<bool>) -> Predicate {
    let (selector, value) = match answer {
        Some(true) => ("yes".to_owned(), "yes"),
        Some(false) => ("yes".to_owned(), "no"),
        // Doubling its value again and again goes beyond what an evaluation may cost.
        None => ("yes".to_owned() + &"|[@this,@this]".repeat(60), ""),
    };
    Predicate::Pattern(Pattern::new(Selector::parse(&selector).unwrap(), Operator::Eq, value).unwrap())
}

#[test]
fn all_and_any_look_no_further_than_they_must() {
    let document = json!({"yes": "yes"});
    let (yes, no, error) = (Some(true), Some(false), None);
    type Answer = Option<bool>;
    let cases: [(&[Answer], Answer, Answer); 9] = [
        (&[], yes, no),
        (&[yes], yes, yes),
        (&[no], no, no),
        (&[error], error, error),
        (&[yes, no], no, yes),
        (&[no, error], no, error),
        (&[error, no], error, error),
        (&[yes, error], error, yes),
        (&[error, yes], error, error),
    ];
    for (operands, all, any) in cases {
        let operands = || operands.iter().map(|answer| operand(*answer)).collect();
        assert_eq!(Predicate::All(operands()).test(&document).ok(), all);
        assert_eq!(Predicate::Any(operands()).test(&document).ok(), any);
    }
    assert_eq!(Predicate::always().test(&document), Ok(true));
    assert_eq!(Predicate::Any(vec![Predicate::always()]).test(&document), Ok(true));
    let nested = Predicate::Any(vec![
        Predicate::All(vec![operand(yes), operand(no)]),
        Predicate::All(vec![operand(yes), operand(yes)]),
    ]);
    assert_eq!(nested.test(&document), Ok(true));
}
