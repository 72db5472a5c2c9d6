//! Sets of networks: `net.cidr_intersects`, `net.cidr_contains_matches`, `net.cidr_merge`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use regorus::Value;

use super::{Builtin, Trouble, argument, text};
use crate::authorization::opa::budget::{charge, exhaust};

/// Name, number of arguments, function.
pub(super) const FUNCTIONS: &[(&str, u8, Builtin)] = &[
    ("net.cidr_contains_matches", 2, contains_matches),
    ("net.cidr_intersects", 2, intersects),
    ("net.cidr_merge", 1, merge),
];

/// The most comparisons of one call.
const MAX_PAIRS: usize = 1_000_000;

/// The addresses of a network, first and last, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Network {
    is_v6: bool,
    first: u128,
    last: u128,
}

impl Network {
    /// `10.0.0.0/8`; bits after the prefix are ignored.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        // Only digits: no sign.
        let prefix: u32 = prefix.bytes().all(|byte| byte.is_ascii_digit()).then(|| prefix.parse().ok())??;
        let host = Self::bits(address.is_ipv6()).checked_sub(prefix)?;
        let host = Self::mask(host);
        let address = Self::number(address);
        Some(Self { is_v6: text.contains(':'), first: address & !host, last: address | host })
    }

    /// A network, or an address as the network of itself.
    fn parse_any(text: &str) -> Option<Self> {
        if text.contains('/') {
            return Self::parse(text);
        }
        let address: IpAddr = text.parse().ok()?;
        let number = Self::number(address);
        Some(Self { is_v6: address.is_ipv6(), first: number, last: number })
    }

    fn bits(is_v6: bool) -> u32 {
        if is_v6 { 128 } else { 32 }
    }

    /// The lowest bits.
    fn mask(bits: u32) -> u128 {
        1_u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        }
    }

    fn contains(self, other: Self) -> bool {
        self.is_v6 == other.is_v6 && self.first <= other.first && other.last <= self.last
    }

    fn intersects(self, other: Self) -> bool {
        self.is_v6 == other.is_v6 && self.first <= other.last && other.first <= self.last
    }

    fn write(is_v6: bool, first: u128, prefix: u32) -> String {
        match (is_v6, u32::try_from(first)) {
            (false, Ok(first)) => format!("{}/{prefix}", Ipv4Addr::from(first)),
            _ => format!("{}/{prefix}", Ipv6Addr::from(first)),
        }
    }
}

/// `net.cidr_intersects(a, b)`: whether two networks have an address in common.
fn intersects(arguments: &[Value]) -> Result<Value, Trouble> {
    let network = |index| Network::parse(text(arguments, index)?).ok_or(Trouble::Undefined);
    Ok(Value::Bool(network(0)?.intersects(network(1)?)))
}

/// `net.cidr_contains_matches(networks, networks_or_addresses)`: the pairs where the first contains the second. Both
/// are a text, or an array, set or object of texts, or of arrays that begin with the text. A pair names them by index,
/// by key, or by themselves.
fn contains_matches(arguments: &[Value]) -> Result<Value, Trouble> {
    let outer = named(argument(arguments, 0)?, Network::parse)?;
    let inner = named(argument(arguments, 1)?, Network::parse_any)?;
    if outer.len().saturating_mul(inner.len()) > MAX_PAIRS {
        return Err(exhaust("too many networks are compared").into());
    }
    let mut pairs = BTreeSet::new();
    for (outer_name, outer) in &outer {
        for (inner_name, inner) in &inner {
            if outer.contains(*inner) {
                charge(128)?;
                pairs.insert(Value::from(vec![outer_name.clone(), inner_name.clone()]));
            }
        }
    }
    Ok(Value::from(pairs))
}

fn named(value: &Value, parse: fn(&str) -> Option<Network>) -> Result<Vec<(Value, Network)>, Trouble> {
    let network = |value: &Value| {
        let text = match value {
            Value::Array(elements) => elements.first(),
            other => Some(other),
        };
        match text {
            Some(Value::String(text)) => parse(text).ok_or(Trouble::Undefined),
            _ => Err(Trouble::Undefined),
        }
    };
    match value {
        Value::String(_) => Ok(vec![(value.clone(), network(value)?)]),
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| Ok((Value::from(index), network(value)?))).collect()
        }
        Value::Set(elements) => elements.iter_sorted().map(|value| Ok((value.clone(), network(value)?))).collect(),
        Value::Object(members) => {
            members.iter_sorted().map(|(key, value)| Ok((key.clone(), network(value)?))).collect()
        }
        _ => Err(Trouble::Undefined),
    }
}

/// `net.cidr_merge(networks_or_addresses)`: the fewest networks with the same addresses, as a set.
fn merge(arguments: &[Value]) -> Result<Value, Trouble> {
    let parse = |value: &Value| match value {
        Value::String(text) => Network::parse_any(text).ok_or(Trouble::Undefined),
        _ => Err(Trouble::Undefined),
    };
    let mut networks: Vec<Network> = match argument(arguments, 0)? {
        Value::Array(elements) => elements.iter().map(parse).collect::<Result<_, _>>()?,
        Value::Set(elements) => elements.iter().map(parse).collect::<Result<_, _>>()?,
        _ => return Err(Trouble::Undefined),
    };
    networks.sort_unstable();
    let mut ranges: Vec<Network> = Vec::new();
    for network in networks {
        match ranges.last_mut() {
            Some(range) if range.is_v6 == network.is_v6 && network.first <= range.last.saturating_add(1) => {
                range.last = range.last.max(network.last);
            }
            _ => ranges.push(network),
        }
    }
    let mut merged = BTreeSet::new();
    for range in ranges {
        let bits = Network::bits(range.is_v6);
        let mut first = range.first;
        loop {
            // The largest network that starts here and does not reach too far.
            let aligned = first.trailing_zeros().min(bits);
            let host = (0..=aligned).rev().find(|host| Network::mask(*host) <= range.last - first).unwrap_or(0);
            charge(96)?;
            merged.insert(Value::from(Network::write(range.is_v6, first, bits - host)));
            match first.checked_add(Network::mask(host)).and_then(|last| last.checked_add(1)) {
                Some(next) if next <= range.last => first = next,
                _ => break,
            }
        }
    }
    Ok(Value::from(merged))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::authorization::opa::values::{from_json, to_json};

    fn call(function: Builtin, arguments: &[Json]) -> Json {
        let arguments: Vec<Value> = arguments.iter().map(|argument| from_json(argument).unwrap()).collect();
        function(&arguments).map_or(json!("undefined"), |value| to_json(&value).unwrap())
    }

    #[test]
    fn networks_intersect() {
        for (a, b, expected) in [
            ("192.168.0.0/16", "192.168.1.0/24", json!(true)),
            ("192.168.1.0/24", "192.168.0.0/16", json!(true)),
            ("192.168.1.0/25", "192.168.1.64/25", json!(true)),
            ("192.168.1.0/25", "192.168.1.128/25", json!(false)),
            ("0.0.0.0/0", "::/0", json!(false)),
            ("fe80::/10", "fe80::1/128", json!(true)),
            ("192.168.1.0/33", "192.168.1.0/24", json!("undefined")),
            ("192.168.1.0/+4", "192.168.1.0/24", json!("undefined")),
            ("192.168.1.1", "192.168.1.0/24", json!("undefined")),
        ] {
            assert_eq!(call(intersects, &[json!(a), json!(b)]), expected, "{a} {b}");
        }
    }

    #[test]
    fn matches_are_named_by_index_key_or_themselves() {
        for (networks, others, expected) in [
            (json!("1.1.1.0/24"), json!("1.1.1.128"), json!([["1.1.1.0/24", "1.1.1.128"]])),
            (json!(["1.1.1.0/24", "1.1.2.0/24"]), json!(["1.1.2.3", "9.9.9.9"]), json!([[1, 0]])),
            (
                json!([["1.1.1.0/24", "office"]]),
                json!({"a": "1.1.1.1", "b": ["1.1.1.0/25", 7]}),
                json!([[0, "a"], [0, "b"]]),
            ),
            (json!(["1.1.1.0/24"]), json!("nonsense"), json!("undefined")),
            (json!(7), json!("1.1.1.1"), json!("undefined")),
        ] {
            assert_eq!(call(contains_matches, &[networks.clone(), others.clone()]), expected, "{networks} {others}");
        }
    }

    #[test]
    fn networks_are_merged() {
        for (networks, expected) in [
            (json!(["192.0.128.0/24", "192.0.129.0/24"]), json!(["192.0.128.0/23"])),
            (json!(["192.0.129.0/24", "192.0.130.0/24"]), json!(["192.0.129.0/24", "192.0.130.0/24"])),
            (json!(["10.0.0.0/8", "10.1.0.0/16", "10.0.0.1"]), json!(["10.0.0.0/8"])),
            (json!(["192.168.1.1", "192.168.1.0"]), json!(["192.168.1.0/31"])),
            (json!(["0.0.0.0/1", "128.0.0.0/1"]), json!(["0.0.0.0/0"])),
            (json!(["::/1", "8000::/1"]), json!(["::/0"])),
            (json!(["::/32", "0.0.0.0/32"]), json!(["0.0.0.0/32", "::/32"])),
            (json!([]), json!([])),
            (json!(["nonsense"]), json!("undefined")),
            (json!("10.0.0.0/8"), json!("undefined")),
        ] {
            assert_eq!(call(merge, std::slice::from_ref(&networks)), expected, "{networks}");
        }
    }
}
