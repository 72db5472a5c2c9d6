//! `google.protobuf.Struct` to JSON and back.
//!
//! Both directions are total up to a depth: a decoded message is never deeper than the decoder allows (100 messages, which is
//! about 33 objects), and JSON deeper than [`MAX_DEPTH`] is refused, because the reader at the other end would refuse the whole
//! message.

use prost_types::value::Kind;
use prost_types::{ListValue, NullValue, Struct, Value};
use serde_json::{Map, Number};

/// Objects and lists inside each other that [`struct_from_json`] accepts. Readers of protobuf stop at 100 nested messages; an
/// object in an object costs three, and the message around the `Struct` some more.
pub const MAX_DEPTH: usize = 30;

/// The value is nested deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDeep;

impl std::fmt::Display for TooDeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "value is nested more than {MAX_DEPTH} levels deep")
    }
}

impl std::error::Error for TooDeep {}

/// JSON object of a `Struct`. Whole numbers below 2^53 become integers, so that they print as they were written; numbers that
/// JSON does not have (infinities, "not a number") become `null`.
pub fn struct_to_json(value: Struct) -> Map<String, serde_json::Value> {
    value.fields.into_iter().map(|(name, value)| (name, to_json(value))).collect()
}

/// JSON of a `Value`; a value without a kind is `null`. See [`struct_to_json`] for numbers.
pub fn to_json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(to_json).collect(),
        Some(Kind::StructValue(value)) => struct_to_json(value).into(),
    }
}

/// `Struct` of a JSON object.
///
/// # Errors
///
/// [`TooDeep`] if it is nested deeper than [`MAX_DEPTH`].
pub fn struct_from_json(object: Map<String, serde_json::Value>) -> Result<Struct, TooDeep> {
    struct_below(object, MAX_DEPTH)
}

/// `Value` of a JSON value that is to stand inside a `Struct`.
///
/// # Errors
///
/// [`TooDeep`] if the `Struct` would be nested deeper than [`MAX_DEPTH`].
pub fn from_json(value: serde_json::Value) -> Result<Value, TooDeep> {
    value_below(value, MAX_DEPTH - 1)
}

fn struct_below(object: Map<String, serde_json::Value>, depth: usize) -> Result<Struct, TooDeep> {
    let depth = depth.checked_sub(1).ok_or(TooDeep)?;
    let fields =
        object.into_iter().map(|(name, value)| Ok((name, value_below(value, depth)?))).collect::<Result<_, _>>()?;
    Ok(Struct { fields })
}

fn value_below(value: serde_json::Value, depth: usize) -> Result<Value, TooDeep> {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(NullValue::NullValue.into()),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        // Only numbers of arbitrary precision, which are not in use here, have no nearest double.
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => {
            let depth = depth.checked_sub(1).ok_or(TooDeep)?;
            let values = values.into_iter().map(|value| value_below(value, depth)).collect::<Result<_, _>>()?;
            Kind::ListValue(ListValue { values })
        }
        serde_json::Value::Object(object) => Kind::StructValue(struct_below(object, depth)?),
    };
    Ok(Value { kind: Some(kind) })
}

fn number(value: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if value.trunc() == value && value.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        return (value as i64).into();
    }
    Number::from_f64(value).map_or(serde_json::Value::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;

    use super::*;

    fn object(value: serde_json::Value) -> Map<String, serde_json::Value> {
        match value {
            serde_json::Value::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    fn nested_lists(levels: usize) -> serde_json::Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    fn nested_objects(levels: usize) -> serde_json::Value {
        (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn goes_round() {
        for value in [
            json!({}),
            json!({"s": "text", "t": true, "n": null, "i": 5, "negative": -7, "f": 0.5, "big": 1e300}),
            json!({"list": [1, "two", [3], {"four": 4}], "object": {"a": {"b": {}}}}),
            json!({"seconds": 1_637_954_644}),
        ] {
            let there = struct_from_json(object(value.clone())).unwrap();
            assert_eq!(serde_json::Value::Object(struct_to_json(there)), value);
        }
    }

    #[test]
    fn numbers() {
        for (number, expected) in [
            (5.0, json!(5)),
            (-0.0, json!(0)),
            (9_007_199_254_740_991.0, json!(9_007_199_254_740_991_i64)),
            (1e16, json!(1e16)),
            (0.25, json!(0.25)),
            (f64::NAN, json!(null)),
            (f64::INFINITY, json!(null)),
        ] {
            assert_eq!(to_json(Value { kind: Some(Kind::NumberValue(number)) }), expected, "{number}");
        }
        assert_eq!(to_json(Value { kind: None }), json!(null));
    }

    #[test]
    fn deep_values_are_refused() {
        assert!(struct_from_json(object(nested_objects(MAX_DEPTH))).is_ok());
        assert_eq!(struct_from_json(object(nested_objects(MAX_DEPTH + 1))), Err(TooDeep));
        assert!(from_json(nested_lists(MAX_DEPTH - 1)).is_ok());
        assert_eq!(from_json(nested_lists(MAX_DEPTH)), Err(TooDeep));
    }

    #[test]
    fn what_is_accepted_can_be_read_back() {
        let deepest = struct_from_json(object(nested_objects(MAX_DEPTH))).unwrap();
        let answer =
            crate::envoy::service::auth::v3::CheckResponse { dynamic_metadata: Some(deepest), ..Default::default() };
        let bytes = answer.encode_to_vec();
        assert_eq!(crate::envoy::service::auth::v3::CheckResponse::decode(bytes.as_slice()).unwrap(), answer);
    }
}
