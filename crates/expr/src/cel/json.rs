//! Results as JSON, by the rules of the protobuf JSON mapping.

use base64::Engine as _;
use cel::{
    ExecutionError,
    common::{
        types::{
            CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelMap, CelOptional, CelString, CelTimestamp, CelUInt,
            Kind,
        },
        value::Val,
    },
};
use serde_json::{Map, Number, Value};

use super::{budget, functions::failure, text};
use crate::document::Node;

/// Whole numbers with a larger magnitude are written as texts: a JSON number could not hold them exactly.
const WHOLE: i64 = 9_007_199_254_740_991;

/// A node of the document as a result. Its numbers are doubles, as everywhere.
pub(super) fn of_node(node: Node<'_>) -> Result<Value, ExecutionError> {
    Ok(match node {
        #[expect(clippy::cast_precision_loss, reason = "numbers of the document are doubles")]
        Node::Integer(value) if value.unsigned_abs() > WHOLE.unsigned_abs() => double(value as f64)?,
        Node::Message(document, part) => {
            let members = document.members(part).into_iter();
            Value::Object(
                members
                    .map(|(key, node)| Ok((key.into_owned(), of_node(node)?)))
                    .collect::<Result<_, ExecutionError>>()?,
            )
        }
        Node::Json(value) if !exact(value) => round(value)?,
        node => node.to_value(),
    })
}

/// Whether every number of `value` is one that a double holds.
fn exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_exact(number),
        Value::Array(elements) => elements.iter().all(exact),
        Value::Object(members) => members.values().all(exact),
        _ => true,
    }
}

fn is_exact(number: &Number) -> bool {
    match number.as_i64() {
        Some(value) => value.unsigned_abs() <= WHOLE.unsigned_abs(),
        // A whole double is shown without its point, so it is not as it should be.
        None => number.as_f64().is_some_and(|value| value.fract() != 0.0),
    }
}

fn round(value: &Value) -> Result<Value, ExecutionError> {
    Ok(match value {
        Value::Number(number) if !is_exact(number) => double(number.as_f64().unwrap_or(f64::NAN))?,
        Value::Array(elements) => Value::Array(elements.iter().map(round).collect::<Result<_, _>>()?),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| Ok((key.clone(), round(value)?)))
                .collect::<Result<_, ExecutionError>>()?,
        ),
        other => other.clone(),
    })
}

/// A CEL value as a result.
pub(super) fn of_value(value: &dyn Val) -> Result<Value, ExecutionError> {
    budget::charge(1)?;
    Ok(match value.get_type().kind() {
        Kind::NullType => Value::Null,
        Kind::List => {
            let mut elements = value.as_iterable().ok_or_else(|| unsupported(value))?.iter();
            let mut converted = Vec::new();
            while let Some(element) = elements.next() {
                converted.push(of_value(element)?);
            }
            Value::Array(converted)
        }
        Kind::Map => of_map(value)?,
        _ => scalar(value)?,
    })
}

fn scalar(value: &dyn Val) -> Result<Value, ExecutionError> {
    if let Some(bool) = value.downcast_ref::<CelBool>() {
        Ok(Value::Bool(*bool.inner()))
    } else if let Some(string) = value.downcast_ref::<CelString>() {
        Ok(Value::String(string.inner().to_owned()))
    } else if let Some(int) = value.downcast_ref::<CelInt>() {
        let int = *int.inner();
        Ok(if int.unsigned_abs() > WHOLE.unsigned_abs() { Value::String(int.to_string()) } else { int.into() })
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        let uint = *uint.inner();
        Ok(if uint > WHOLE.unsigned_abs() { Value::String(uint.to_string()) } else { uint.into() })
    } else if let Some(found) = value.downcast_ref::<CelDouble>() {
        double(*found.inner())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(bytes.inner())))
    } else if let Some(found) = value.downcast_ref::<CelTimestamp>() {
        Ok(Value::String(timestamp(found)))
    } else if let Some(found) = value.downcast_ref::<CelDuration>() {
        Ok(Value::String(duration(found)))
    } else if let Some(optional) = value.downcast_ref::<CelOptional>() {
        of_value(optional.option().ok_or_else(|| failure("optional.none() dereference"))?)
    } else {
        Err(unsupported(value))
    }
}

/// Members in the order of the document; those of a literal, which has no order, by name.
fn of_map(map: &dyn Val) -> Result<Value, ExecutionError> {
    let mut keys = map.as_iterable().ok_or_else(|| unsupported(map))?.iter();
    let members = map.as_indexer().ok_or_else(|| unsupported(map))?;
    let mut converted = Vec::new();
    while let Some(key) = keys.next() {
        let name = key
            .downcast_ref::<CelString>()
            .ok_or_else(|| failure(format!("a map with keys of type '{}' has no JSON form", key.get_type().name())))?;
        converted.push((name.inner().to_owned(), of_value(members.get(key)?.as_ref())?));
    }
    if map.downcast_ref::<CelMap>().is_some() {
        converted.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    }
    Ok(Value::Object(Map::from_iter(converted)))
}

fn double(value: f64) -> Result<Value, ExecutionError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "whole and within range")]
    if value.fract() == 0.0 && value.abs() < i64::MAX as f64 && !(value == 0.0 && value.is_sign_negative()) {
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| failure(format!("the number {} has no JSON form", text::print(value))))
}

/// RFC 3339 in UTC, with as many digits of the fraction as needed.
pub(super) fn timestamp(value: &CelTimestamp) -> String {
    let utc = value.inner().with_timezone(&chrono::Utc);
    let whole = utc.format("%Y-%m-%dT%H:%M:%S");
    format!("{whole}{}Z", fraction(utc.timestamp_subsec_nanos()))
}

/// Seconds, with as many digits of the fraction as needed.
pub(super) fn duration(value: &CelDuration) -> String {
    let duration = value.inner();
    let (seconds, nanoseconds) = (duration.num_seconds(), duration.subsec_nanos());
    let sign = if seconds < 0 || nanoseconds < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanoseconds.unsigned_abs()))
}

fn fraction(nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return String::new();
    }
    format!(".{:09}", nanoseconds % 1_000_000_000).trim_end_matches('0').to_owned()
}

fn unsupported(value: &dyn Val) -> ExecutionError {
    failure(format!("a value of type '{}' has no JSON form", value.get_type().name()))
}
