//! Predicates that need no interpreter.
//!
//! ```text
//!  request.path.startsWith("/v1/") && !("x-debug" in request.headers)
//!
//!  Both ─┬─ Text { path 0, StartsWith("/v1/") }
//!        └─ Not ── Holds { path 1, "x-debug" }
//! ```
//!
//! The interpreter makes a value of everything that it touches. What most predicates ask can be answered by looking at
//! the document: is a text there, does it begin so, is it one of these, and how such answers combine.
//!
//! An answer of this file is the answer of the interpreter. Where that would be an error, or a member has a type for
//! which the comparison means something else, there is no answer: the interpreter is asked then, and says what is wrong.

use cel::common::{
    ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
    types::CelString,
};
use serde_json::Value;

use super::{
    budget,
    lower::{Constant, Lowered, constant_index, path_index},
    matches::Pattern,
    path::Found,
};
use crate::document::{Document, Node};

/// A predicate; paths are numbers of [`Lowered::paths`].
#[derive(Debug)]
pub(super) enum Test {
    /// A member that is true, or `has()`.
    Truth(usize),
    Not(Box<Test>),
    Both(Box<[Test; 2]>),
    Either(Box<[Test; 2]>),
    /// `path == "text"`
    Is {
        path: usize,
        text: Box<str>,
    },
    /// `path in ["a", "b"]`
    OneOf {
        path: usize,
        texts: Box<[Box<str>]>,
    },
    /// `"text" in path`
    Holds {
        path: usize,
        text: Box<str>,
    },
    /// `path.startsWith("text")` and the like
    Text {
        path: usize,
        relation: Relation,
    },
    /// `path.size() < 3`, `path.split("/").size() == 4`
    Size {
        path: usize,
        separator: Option<Box<str>>,
        order: Order,
        than: i64,
    },
}

/// What is asked about a text.
#[derive(Debug)]
pub(super) enum Relation {
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    Matches(Pattern),
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Test {
    /// The predicate that a lowered tree is, if it is one of these.
    pub(super) fn of(tree: &IdedExpr, lowered: &Lowered) -> Option<Self> {
        if let Some(path) = variable(tree) {
            return Some(Self::Truth(path));
        }
        let Expr::Call(CallExpr { func_name, target, args }) = &tree.expr else { return None };
        match (func_name.as_str(), target.as_deref(), args.as_slice()) {
            (operators::LOGICAL_NOT, None, [operand]) => Some(Self::Not(Box::new(Self::of(operand, lowered)?))),
            (operators::LOGICAL_AND, None, [left, right]) => {
                Some(Self::Both(Box::new([Self::of(left, lowered)?, Self::of(right, lowered)?])))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                Some(Self::Either(Box::new([Self::of(left, lowered)?, Self::of(right, lowered)?])))
            }
            (operators::IN, None, [value, container]) => Self::membership(value, container, lowered),
            ("@matches", None, [text, pattern]) => {
                let Constant::Pattern(pattern) = constant(pattern, lowered)? else { return None };
                Some(Self::Text { path: variable(text)?, relation: Relation::Matches(pattern.clone()) })
            }
            (name @ ("startsWith" | "endsWith" | "contains"), Some(text), [part]) => {
                let (path, part) = (variable(text)?, literal_text(part)?.into());
                let relation = match name {
                    "startsWith" => Relation::StartsWith(part),
                    "endsWith" => Relation::EndsWith(part),
                    _ => Relation::Contains(part),
                };
                Some(Self::Text { path, relation })
            }
            (operator, None, [left, right]) => {
                Self::comparison(operator, left, right, lowered).or_else(|| Self::size(operator, left, right))
            }
            _ => None,
        }
    }

    /// A path compared with a text. Optional values equal no text, which the interpreter knows.
    fn comparison(operator: &str, left: &IdedExpr, right: &IdedExpr, lowered: &Lowered) -> Option<Self> {
        let (path, text) = match variable(left) {
            Some(path) => (path, literal_text(right)?),
            None => (variable(right)?, literal_text(left)?),
        };
        let plain = lowered.paths.get(path).is_some_and(|path| !path.presence && !path.is_optional());
        let is = plain.then(|| Self::Is { path, text: text.into() })?;
        match operator {
            operators::EQUALS => Some(is),
            operators::NOT_EQUALS => Some(Self::Not(Box::new(is))),
            _ => None,
        }
    }

    fn membership(value: &IdedExpr, container: &IdedExpr, lowered: &Lowered) -> Option<Self> {
        if let Some(text) = literal_text(value) {
            return Some(Self::Holds { path: variable(container)?, text: text.into() });
        }
        let Constant::List(list) = constant(container, lowered)? else { return None };
        let texts = list.inner().iter().map(|text| Some(text.downcast_ref::<CelString>()?.inner().into()));
        Some(Self::OneOf { path: variable(value)?, texts: texts.collect::<Option<_>>()? })
    }

    /// The size of a text, of its parts, or of a list.
    fn size(operator: &str, left: &IdedExpr, right: &IdedExpr) -> Option<Self> {
        let order = match operator {
            operators::EQUALS => Order::Equal,
            operators::NOT_EQUALS => Order::NotEqual,
            operators::LESS => Order::Less,
            operators::LESS_EQUALS => Order::LessOrEqual,
            operators::GREATER => Order::Greater,
            operators::GREATER_EQUALS => Order::GreaterOrEqual,
            _ => return None,
        };
        let Expr::Literal(LiteralValue::Int(than)) = &right.expr else { return None };
        let Expr::Call(CallExpr { func_name, target, args }) = &left.expr else { return None };
        let sized = match (func_name.as_str(), target.as_deref(), args.as_slice()) {
            ("size", Some(sized), []) | ("size", None, [sized]) => sized,
            _ => return None,
        };
        let (path, separator) = match variable(sized) {
            Some(path) => (path, None),
            None => {
                let [parts, _] = arguments(sized, "@sized")? else { return None };
                let [text, separator] = arguments(parts, "@split")? else { return None };
                let separator = literal_text(separator).filter(|separator| !separator.is_empty())?;
                (variable(text)?, Some(separator.into()))
            }
        };
        Some(Self::Size { path, separator, order, than: *than.inner() })
    }

    /// The answer for a document, if there is one here. What is looked at is paid for, unless there is no answer.
    pub(super) fn answer(&self, lowered: &Lowered, document: &dyn Document) -> Option<bool> {
        budget::attempt(|| self.ask(lowered, document))
    }

    fn ask(&self, lowered: &Lowered, document: &dyn Document) -> Option<bool> {
        let follow = |path: &usize| lowered.paths.get(*path)?.follow(document).ok();
        let node = |path: &usize| match follow(path)? {
            Found::Plain(node) => Some(node),
            Found::Optional(_) | Found::Presence(_) => None,
        };
        match self {
            Self::Truth(path) => match follow(path)? {
                Found::Plain(Node::Bool(value) | Node::Json(&Value::Bool(value))) | Found::Presence(value) => {
                    Some(value)
                }
                Found::Plain(_) | Found::Optional(_) => None,
            },
            Self::Not(operand) => Some(!operand.ask(lowered, document)?),
            Self::Both(operands) => {
                let [left, right] = &**operands;
                Some(left.ask(lowered, document)? && right.ask(lowered, document)?)
            }
            Self::Either(operands) => {
                let [left, right] = &**operands;
                Some(left.ask(lowered, document)? || right.ask(lowered, document)?)
            }
            Self::Is { path, text } => match node(path)? {
                Node::Text(found) => Some(*found == **text),
                Node::Json(Value::String(found)) => Some(**found == **text),
                Node::Bytes(_) => None,
                _ => Some(false),
            },
            Self::OneOf { path, texts } => {
                let found = text_of(node(path)?)?;
                budget::charge(texts.len() as u64).ok()?;
                Some(texts.iter().any(|text| **text == *found))
            }
            Self::Holds { path, text } => match node(path)? {
                Node::Message(document, part) => Some(document.member(part, text).is_some()),
                Node::Json(Value::Object(members)) => Some(members.contains_key(&**text)),
                Node::Json(Value::Array(elements)) => {
                    budget::charge(elements.len() as u64).ok()?;
                    Some(elements.iter().any(|element| element.as_str() == Some(text)))
                }
                _ => None,
            },
            Self::Text { path, relation } => {
                let text = text_of(node(path)?)?;
                Some(match relation {
                    Relation::StartsWith(part) => text.starts_with(&**part),
                    Relation::EndsWith(part) => text.ends_with(&**part),
                    Relation::Contains(part) => text.contains(&**part),
                    Relation::Matches(pattern) => pattern.is_match(text),
                })
            }
            Self::Size { path, separator, order, than } => {
                let size = match (node(path)?, separator) {
                    (Node::Json(Value::Array(elements)), None) => elements.len(),
                    (node, None) => text_of(node)?.chars().count(),
                    (node, Some(separator)) => {
                        let parts = text_of(node)?.split(&**separator).count();
                        budget::charge(parts as u64).ok()?;
                        parts
                    }
                };
                Some(order.holds(i64::try_from(size).ok()?, *than))
            }
        }
    }
}

impl Order {
    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// The text of a member that is one, paid for.
fn text_of(node: Node<'_>) -> Option<&str> {
    let text = match node {
        Node::Text(text) => text,
        Node::Json(Value::String(text)) => text,
        _ => return None,
    };
    budget::charge_text(text.len()).ok()?;
    Some(text)
}

fn variable(expression: &IdedExpr) -> Option<usize> {
    match &expression.expr {
        Expr::Ident(name) => path_index(name),
        _ => None,
    }
}

fn constant<'l>(expression: &IdedExpr, lowered: &'l Lowered) -> Option<&'l Constant> {
    match &expression.expr {
        Expr::Ident(name) => lowered.constants.get(constant_index(name)?),
        _ => None,
    }
}

fn literal_text(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// The arguments of a call of a function that is no member.
fn arguments<'e>(expression: &'e IdedExpr, function: &str) -> Option<&'e [IdedExpr]> {
    match &expression.expr {
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == function => Some(args),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::*, *};

    /// What the interpreter says, whatever the shape of the program.
    fn interpreted(program: &Program, document: &dyn Document) -> Result<Value, EvaluationError> {
        let _budget = Budget::start();
        program.interpret(document, &program.variables(document), |value| json::of_value(value.as_ref()))
    }

    /// Checks that both ways agree; says whether there was an answer without the interpreter.
    fn agrees(source: &str, document: &dyn Document) -> bool {
        let Ok(program) = Program::expression(source) else { return false };
        let lowered = &program.inner.lowered;
        let Some(test) = Test::of(&lowered.tree, lowered) else { return false };
        let _budget = Budget::start();
        let answer = test.answer(lowered, document);
        if let Some(answer) = answer {
            assert_eq!(interpreted(&program, document), Ok(Value::Bool(answer)), "{source}");
        }
        assert_eq!(program.evaluate(document), interpreted(&program, document), "{source}");
        answer.is_some()
    }

    fn document() -> Value {
        json!({
            "request": {"method": "GET", "path": "/v1/é/42", "headers": {"x-a": "1", "": "x"}, "size": 3},
            "auth": {"identity": {"admin": true, "no": false, "null": null, "age": 5, "name": "jöhn", "roles": ["a", "b", 1, null, ["a"]],
                "none": [], "object": {"a": 1}}},
        })
    }

    #[test]
    fn all_cases_agree() {
        #[derive(serde::Deserialize)]
        struct Suite {
            documents: BTreeMap<String, Value>,
            cases: BTreeMap<String, Vec<Case>>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            cel: String,
            document: Option<String>,
        }
        let suite: Suite = serde_saphyr::from_str(include_str!("../../tests/cel/cases.yaml")).unwrap();
        let mut answered = 0;
        for case in suite.cases.values().flatten() {
            let document = case.document.as_ref().map_or_else(|| json!({}), |name| suite.documents[name].clone());
            answered += usize::from(agrees(&case.cel, &document));
        }
        assert!(answered > 20, "{answered}");
    }

    #[test]
    fn common_predicates_need_no_interpreter() {
        for source in [
            "request.path.startsWith('/v1/')",
            "request.path.endsWith('42') || request.path.endsWith('43')",
            "request.headers['x-a'].contains('1')",
            "!('x-debug' in request.headers)",
            "request.path.split('/').size() == 4",
            "size(request.path.split('/')) >= 4",
            "request.path.size() < 9 && auth.identity.roles.size() == 5",
            "has(auth.identity.admin) && auth.identity.admin",
            "request.method in ['GET', 'HEAD']",
            "'a' in auth.identity.roles",
            "'a' in auth.identity.object",
            "request.path.matches('^/v[0-9]+/')",
            "auth.identity.age != 'five' && 'GET' == request.method",
        ] {
            assert!(agrees(source, &document()), "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_the_interpreter() {
        for source in [
            "request.nope.startsWith('/')",
            "auth.identity.age.startsWith('/')",
            "auth.identity.age && auth.identity.admin",
            "auth.identity.nope || auth.identity.admin",
            "!auth.identity.name",
            "'a' in auth.identity.age",
            "auth.identity.age in ['a', 'b']",
            "auth.identity.null.size() == 0",
        ] {
            assert!(!agrees(source, &document()), "{source}");
        }
    }

    #[test]
    fn what_is_read_is_paid_for() {
        let document = json!({"request": {"path": "x".repeat(1 << 20)}});
        let source = vec!["request.path.endsWith('y')"; 200].join(" || ");
        let error = Program::predicate(&source).unwrap().test(&document).unwrap_err();
        assert_eq!(error.message, COST_LIMIT_EXCEEDED);
    }

    fn predicates() -> impl Strategy<Value = String> {
        let path = prop::sample::select(vec![
            "request.method",
            "request.path",
            "request.headers",
            "request.headers['x-a']",
            "request.nope",
            "request.size",
            "auth.identity.admin",
            "auth.identity.no",
            "auth.identity.null",
            "auth.identity.age",
            "auth.identity.name",
            "auth.identity.roles",
            "auth.identity.roles[0]",
            "auth.identity.none",
            "auth.identity.object",
            "auth.identity.?name",
        ]);
        let text = prop::sample::select(vec!["", "GET", "a", "/", "x-a", "1", "é", "42", "jöhn"]);
        let number = -1..6_i64;
        let order = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
        let leaf = (0..11_u8, path, text, number, order).prop_map(|(kind, path, text, number, order)| match kind {
            0 => path.to_owned(),
            1 => format!("{path} == '{text}'"),
            2 => format!("'{text}' != {path}"),
            3 => format!("{path} in ['a', '{text}']"),
            4 => format!("'{text}' in {path}"),
            5 => format!("{path}.startsWith('{text}')"),
            6 => format!("{path}.endsWith('{text}')"),
            7 => format!("{path}.contains('{text}')"),
            8 => format!("{path}.matches('^{text}.*4')"),
            9 => format!("size({path}) {order} {number}"),
            _ => format!("{path}.split('{text}').size() {order} {number}"),
        });
        leaf.prop_recursive(4, 16, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|operand| format!("!({operand})")),
                (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) && ({right})")),
                (inner.clone(), inner).prop_map(|(left, right)| format!("({left}) || ({right})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn whatever_is_asked_the_interpreter_agrees(source in predicates()) {
            agrees(&source, &document());
        }
    }
}
