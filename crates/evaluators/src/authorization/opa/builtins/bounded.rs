//! Functions that the engine has, written anew: what they would make of some arguments cannot be told beforehand, or
//! cannot be allowed at all.

use std::net::IpAddr;

use regorus::{Value, unstable::BUILTINS};

use super::{Builtin, Trouble, argument, native, text};
use crate::authorization::opa::{
    budget::{charge, exhaust},
    values::from_json,
};

/// The most numbers of a range.
const MAX_RANGE: u64 = 100_000;
/// The most addresses of an expanded network.
const MAX_ADDRESSES_BITS: u8 = 16;

/// Name, number of arguments, function.
pub(super) const FUNCTIONS: &[(&str, u8, Builtin)] = &[
    ("json.is_valid", 1, json_is_valid),
    ("json.unmarshal", 1, json_unmarshal),
    ("net.cidr_expand", 1, cidr_expand),
    ("numbers.range", 2, range),
    ("numbers.range_step", 3, range_step),
    ("opa.runtime", 0, runtime),
    ("to_number", 1, to_number),
];

/// `json.unmarshal(text)`: depth as everywhere, numbers never larger than a double.
fn json_unmarshal(arguments: &[Value]) -> Result<Value, Trouble> {
    let text = text(arguments, 0)?;
    charge(text.len().saturating_mul(8))?;
    serde_json::from_str(text).ok().as_ref().and_then(from_json).ok_or(Trouble::Undefined)
}

/// `json.is_valid(text)`
fn json_is_valid(arguments: &[Value]) -> Result<Value, Trouble> {
    let is_valid = text(arguments, 0).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    Ok(Value::Bool(is_valid))
}

/// `to_number(value)`: of text, numbers as in JSON.
fn to_number(arguments: &[Value]) -> Result<Value, Trouble> {
    match argument(arguments, 0)? {
        Value::Null | Value::Bool(false) => Ok(Value::from(0_u64)),
        Value::Bool(true) => Ok(Value::from(1_u64)),
        number @ Value::Number(_) => Ok(number.clone()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(number @ serde_json::Value::Number(_)) => from_json(&number).ok_or(Trouble::Undefined),
            _ => Err(Trouble::Undefined),
        },
        _ => Err(Trouble::Undefined),
    }
}

/// `numbers.range(from, to)`: both ends included, upwards or downwards.
fn range(arguments: &[Value]) -> Result<Value, Trouble> {
    stepping(whole(arguments, 0)?, whole(arguments, 1)?, 1)
}

/// `numbers.range_step(from, to, step)`: the step is positive also downwards.
fn range_step(arguments: &[Value]) -> Result<Value, Trouble> {
    let step = u64::try_from(whole(arguments, 2)?).ok().filter(|step| *step > 0).ok_or(Trouble::Undefined)?;
    stepping(whole(arguments, 0)?, whole(arguments, 1)?, step)
}

fn whole(arguments: &[Value], index: usize) -> Result<i64, Trouble> {
    match argument(arguments, index)? {
        Value::Number(number) if number.is_integer() => number.as_i64().ok_or(Trouble::Undefined),
        _ => Err(Trouble::Undefined),
    }
}

fn stepping(from: i64, to: i64, step: u64) -> Result<Value, Trouble> {
    let last = from.abs_diff(to) / step;
    if last >= MAX_RANGE {
        return Err(exhaust("a range has too many numbers").into());
    }
    charge(usize::try_from(last).unwrap_or(usize::MAX).saturating_mul(48))?;
    let number = |index: u64| {
        let distance = index.saturating_mul(step);
        if from <= to { from.saturating_add_unsigned(distance) } else { from.saturating_sub_unsigned(distance) }
    };
    Ok(Value::from((0..=last).map(|index| Value::from(number(index))).collect::<Vec<_>>()))
}

/// `net.cidr_expand(network)`: only of networks with at most 65,536 addresses.
fn cidr_expand(arguments: &[Value]) -> Result<Value, Trouble> {
    let (address, prefix) = text(arguments, 0)?.split_once('/').ok_or(Trouble::Undefined)?;
    let address: IpAddr = address.parse().map_err(|_| Trouble::Undefined)?;
    let prefix: u8 = prefix.parse().map_err(|_| Trouble::Undefined)?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let host = bits.checked_sub(prefix).ok_or(Trouble::Undefined)?;
    if host > MAX_ADDRESSES_BITS {
        return Err(exhaust("a network has too many addresses").into());
    }
    charge((1_usize << host).saturating_mul(96))?;
    native(*BUILTINS.get("net.cidr_expand").ok_or(Trouble::Undefined)?, arguments)
}

/// `opa.runtime()`: policies learn nothing about the process.
fn runtime(_: &[Value]) -> Result<Value, Trouble> {
    Ok(Value::new_object())
}
