//! Errors of an evaluation in words.
//!
//! They are shown to callers as the reason of a denial, so they name what the source spells (keys, functions) and the
//! types of values, never values themselves: a key that was computed may be a credential.

use cel::{ExecutionError, OverloadError, Value};

use super::{
    budget,
    path::{Lost, Path},
};
use crate::document::Document;

/// Why `source`, evaluated over `document`, has no value.
pub(super) fn describe(error: &ExecutionError, source: &str, paths: &[Path], document: &dyn Document) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => missing(key, source),
        ExecutionError::UndeclaredReference(name) => match super::lower::path_index(name) {
            // Nobody could be told why the path led nowhere; following it once more tells.
            Some(index) => match paths.get(index).map(|path| path.follow(document)) {
                Some(Err(lost)) => describe_lost(&lost),
                _ => budget::COST_LIMIT_EXCEEDED.to_owned(),
            },
            None => format!("undeclared reference to '{name}'"),
        },
        ExecutionError::NoSuchOverload(overload) => no_overload(overload),
        ExecutionError::UnexpectedType { got, want } if want == "iterable" => {
            format!("expression of type '{got}' cannot be range of a comprehension")
        }
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("no such overload: {}", operator_name(operator))
        }
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(_, left, _) => match left {
            Value::UInt(_) => "unsigned integer overflow",
            Value::Timestamp(_) => "timestamp overflow",
            Value::Duration(_) => "duration overflow",
            _ => "integer overflow",
        }
        .to_owned(),
        ExecutionError::IndexOutOfBounds(index) => match index {
            Value::Int(index) => out_of_bounds("index out of bounds", &index.to_string(), source),
            Value::UInt(index) => out_of_bounds("index out of bounds", &index.to_string(), source),
            Value::Float(index) => out_of_bounds("index out of bounds", &index.to_string(), source),
            _ => "index out of bounds".to_owned(),
        },
        ExecutionError::UnsupportedIndex(..) => "no such overload: _[_]".to_owned(),
        ExecutionError::UnsupportedKeyType(_) => "unsupported key type".to_owned(),
        ExecutionError::FunctionError { function, message } => function_error(function, message, source),
        ExecutionError::UnexpectedType { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. } => "no such overload".to_owned(),
        _ => "the expression cannot be evaluated".to_owned(),
    }
}

/// Why a path led nowhere.
pub(super) fn describe_lost(lost: &Lost<'_>) -> String {
    match lost {
        Lost::Missing(key) => format!("no such key: {key}"),
        Lost::OutOfBounds(index) => format!("index out of bounds: {index}"),
        Lost::Mismatch => "no such overload".to_owned(),
    }
}

fn missing(key: &str, source: &str) -> String {
    if !key.is_empty() && source.contains(key) { format!("no such key: {key}") } else { "no such key".to_owned() }
}

fn out_of_bounds(message: &str, index: &str, source: &str) -> String {
    if source.contains(index) { format!("{message}: {index}") } else { message.to_owned() }
}

fn no_overload(overload: &OverloadError) -> String {
    let function = overload.function().trim_start_matches('@');
    let types = overload.argument_types();
    if function.starts_with('_') || function == "in" {
        return match function {
            "_&&_" | "_||_" | "_?_:_" => "no such overload".to_owned(),
            "in" => "no such overload: _in_".to_owned(),
            operator => format!("no such overload: {operator}"),
        };
    }
    if let Some(operator) = ["!_", "-_"].into_iter().find(|operator| *operator == function) {
        return format!("no such overload: {operator}");
    }
    match types.split_first() {
        Some((target, arguments)) if overload.is_member_function() => {
            format!("no such overload: {target}.{function}({})", arguments.join(", "))
        }
        _ => format!("no such overload: {function}({})", types.join(", ")),
    }
}

fn operator_name(operator: &str) -> &str {
    match operator {
        "add" => "_+_",
        "sub" => "_-_",
        "mul" => "_*_",
        "div" => "_/_",
        "rem" => "_%_",
        other => other,
    }
}

/// Errors of the interpreter's functions quote their arguments, so only those that are known not to are shown.
fn function_error(function: &str, message: &str, source: &str) -> String {
    match function {
        "" | "value" => message.to_owned(),
        "charAt" | "indexOf" | "lastIndexOf" | "substring" => match message.split_once(": ") {
            Some((what, index)) if what == "index out of range" => out_of_bounds(what, index, source),
            _ => "invalid substring range".to_owned(),
        },
        "int" | "uint" | "double" | "bool" | "bytes" | "string" | "timestamp" | "duration" => {
            format!("the value cannot be converted to {function}")
        }
        "timezone" => "unknown time zone".to_owned(),
        other => format!("{other} failed"),
    }
}
