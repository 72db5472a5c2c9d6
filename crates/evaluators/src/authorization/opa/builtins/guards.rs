//! What functions of the engine are asked before they are called: how much will this make, how long will it take?

use regorus::Value;

use super::{Guard, Trouble, argument, text};
use crate::authorization::opa::{
    budget::{charge, exhaust},
    values::{digits, weigh},
};

/// The most steps of a function whose time grows with the product of the sizes of its arguments.
const MAX_STEPS: usize = 50_000_000;
/// The most bytes (estimated) of an argument when written out, where that matters.
const MAX_WEIGHT: usize = 16 << 20;
/// The most digits of a number that is written out or read; the time for it grows with their square.
const MAX_DIGITS: usize = 10_000;
/// The widest field of a format.
const MAX_WIDTH: u32 = 1000;
/// The most bytes of a pattern.
const MAX_PATTERN: usize = 16 * 1024;
/// The most bytes of a YAML document: aliases, flow collections and indentation take more than linear time.
const MAX_YAML: usize = 64 * 1024;
/// The deepest nesting of a YAML document.
const MAX_YAML_DEPTH: usize = 64;
/// Bytes that an element of a list takes.
const ELEMENT: usize = 48;

const GUARDS: &[(&str, Guard)] = &[
    ("array.concat", all_members),
    ("array.reverse", all_members),
    ("array.slice", all_members),
    ("base64.decode", three_times),
    ("base64.encode", three_times),
    ("base64url.decode", three_times),
    ("base64url.encode", three_times),
    ("base64url.encode_no_pad", three_times),
    ("bits.and", numbers),
    ("bits.lsh", shift),
    ("bits.negate", numbers),
    ("bits.or", numbers),
    ("bits.rsh", numbers),
    ("bits.xor", numbers),
    ("concat", concat),
    ("format_int", numbers),
    ("glob.match", pattern_first),
    ("glob.quote_meta", pattern_first),
    ("graph.reachable", weight),
    ("graph.reachable_paths", paths),
    ("hex.decode", three_times),
    ("hex.encode", three_times),
    ("indexof", search),
    ("indexof_n", search),
    ("intersection", weight),
    ("json.filter", weight),
    ("json.marshal", written),
    ("json.marshal_with_options", written_nicely),
    ("json.patch", weight),
    ("json.remove", weight),
    ("lower", three_times),
    ("max", weight),
    ("min", weight),
    ("object.filter", weight),
    ("object.remove", weight),
    ("object.subset", weight),
    ("object.union", weight),
    ("object.union_n", weight),
    ("product", product),
    ("regex.find_all_string_submatch_n", pieces_of_second),
    ("regex.find_n", pieces_of_second),
    ("regex.is_valid", pattern_first),
    ("regex.match", pattern_first),
    ("regex.replace", regex_replace),
    ("regex.split", pieces_of_second),
    ("regex.template_match", pattern_first),
    ("replace", replace),
    ("sort", weight),
    ("split", pieces_of_first),
    ("sprintf", sprintf),
    ("strings.any_prefix_match", all_pairs),
    ("strings.any_suffix_match", all_pairs),
    ("strings.count", count),
    ("strings.replace_n", replace_n),
    ("strings.reverse", three_times),
    ("substring", three_times),
    ("sum", weight),
    ("trim", search),
    ("trim_left", search),
    ("trim_right", search),
    ("union", weight),
    ("units.parse", unit),
    ("units.parse_bytes", unit),
    ("upper", three_times),
    ("urlquery.decode", three_times),
    ("urlquery.decode_object", pieces_of_first),
    ("urlquery.encode", three_times),
    ("urlquery.encode_object", written),
    ("walk", walk),
    ("yaml.is_valid", yaml),
    ("yaml.marshal", written),
    ("yaml.unmarshal", yaml),
];

/// The guard of a function, if it needs one.
pub(super) fn guard(name: &str) -> Option<Guard> {
    GUARDS.iter().find(|(known, _)| *known == name).map(|(_, guard)| *guard)
}

/// The functions that have a guard.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    GUARDS.iter().map(|(name, _)| *name)
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.len(),
        Value::Set(elements) => elements.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

fn size(arguments: &[Value], index: usize) -> usize {
    arguments.get(index).map_or(0, length)
}

fn steps(factors: [usize; 2]) -> Result<(), Trouble> {
    let [a, b] = factors;
    if a.saturating_mul(b) > MAX_STEPS {
        return Err(exhaust("the policy searches for too much in too much").into());
    }
    Ok(())
}

/// What the arguments are when written out.
fn weigh_all(arguments: &[Value]) -> Result<usize, Trouble> {
    let mut all: usize = 0;
    for argument in arguments {
        let weight = weigh(argument, MAX_WEIGHT);
        if weight >= MAX_WEIGHT {
            return Err(exhaust("a value is too large").into());
        }
        all = all.saturating_add(weight);
    }
    Ok(all)
}

/// A text of about the size of the argument, at most three times as long.
fn three_times(arguments: &[Value]) -> Result<(), Trouble> {
    Ok(charge(size(arguments, 0).saturating_mul(3))?)
}

/// A list that shares the members of its arguments.
fn all_members(arguments: &[Value]) -> Result<(), Trouble> {
    let members = arguments.iter().map(length).fold(0, usize::saturating_add);
    Ok(charge(members.saturating_mul(ELEMENT))?)
}

/// Something that takes time and memory in proportion to what its arguments are when written out.
fn weight(arguments: &[Value]) -> Result<(), Trouble> {
    let weight = weigh_all(arguments)?;
    Ok(charge(weight)?)
}

/// Text, of anything.
fn written(arguments: &[Value]) -> Result<(), Trouble> {
    numbers(arguments)?;
    let weight = weigh_all(arguments)?;
    Ok(charge(weight.saturating_mul(2))?)
}

/// Text, indented by what the second argument says.
fn written_nicely(arguments: &[Value]) -> Result<(), Trouble> {
    numbers(arguments)?;
    let (value, options) = arguments.split_at_checked(1).ok_or(Trouble::Undefined)?;
    // Every value may stand in a line of its own, indented as deep as values are nested.
    Ok(charge(weigh_all(value)?.saturating_mul(weigh_all(options)?.saturating_add(8)))?)
}

/// Every value with the way to it.
fn walk(arguments: &[Value]) -> Result<(), Trouble> {
    let weight = weigh_all(arguments)?;
    Ok(charge(weight.saturating_mul(16))?)
}

/// Numbers that are written out or calculated with digit by digit.
fn numbers(arguments: &[Value]) -> Result<(), Trouble> {
    if arguments.iter().any(|argument| digits(argument) > MAX_DIGITS) {
        return Err(exhaust("a number has too many digits").into());
    }
    Ok(())
}

fn shift(arguments: &[Value]) -> Result<(), Trouble> {
    numbers(arguments)?;
    match argument(arguments, 1)? {
        Value::Number(by) if by.as_u64().is_some_and(|by| by > 32_768) => {
            Err(exhaust("a number has too many digits").into())
        }
        _ => Ok(()),
    }
}

fn product(arguments: &[Value]) -> Result<(), Trouble> {
    let factors = argument(arguments, 0)?;
    let all = match factors {
        Value::Array(elements) => elements.iter().map(digits).fold(0, usize::saturating_add),
        Value::Set(elements) => elements.iter().map(digits).fold(0, usize::saturating_add),
        _ => 0,
    };
    if all > MAX_DIGITS * 10 {
        return Err(exhaust("a number has too many digits").into());
    }
    Ok(())
}

fn concat(arguments: &[Value]) -> Result<(), Trouble> {
    let parts = argument(arguments, 1)?;
    let between = size(arguments, 0).saturating_mul(length(parts));
    let all = match parts {
        Value::Array(elements) => elements.iter().map(length).fold(0, usize::saturating_add),
        Value::Set(elements) => elements.iter().map(length).fold(0, usize::saturating_add),
        _ => 0,
    };
    Ok(charge(all.saturating_add(between))?)
}

fn replaced(text: usize, old: usize, new: usize) -> usize {
    let times = match old {
        0 => text.saturating_add(1),
        old => text / old,
    };
    text.saturating_add(times.saturating_mul(new))
}

fn replace(arguments: &[Value]) -> Result<(), Trouble> {
    Ok(charge(replaced(size(arguments, 0), size(arguments, 1), size(arguments, 2)))?)
}

fn replace_n(arguments: &[Value]) -> Result<(), Trouble> {
    let Value::Object(pairs) = argument(arguments, 0)? else { return Err(Trouble::Undefined) };
    let mut text = size(arguments, 1);
    for (old, new) in pairs.iter() {
        text = replaced(text, length(old), length(new));
        charge(text)?;
    }
    Ok(())
}

fn regex_replace(arguments: &[Value]) -> Result<(), Trouble> {
    // The replacement may repeat what was found, as a whole, for every two bytes of it.
    let (text, new) = (size(arguments, 0), size(arguments, 2));
    check_pattern(size(arguments, 1))?;
    let longest = if text_has_group(arguments) { text.saturating_mul(new / 2 + 1) } else { replaced(text, 0, new) };
    Ok(charge(text.saturating_add(longest))?)
}

fn text_has_group(arguments: &[Value]) -> bool {
    text(arguments, 2).is_ok_and(|new| new.contains('$'))
}

fn check_pattern(size: usize) -> Result<(), Trouble> {
    if size > MAX_PATTERN { Err(exhaust("a pattern is too long").into()) } else { Ok(()) }
}

fn pattern_first(arguments: &[Value]) -> Result<(), Trouble> {
    check_pattern(size(arguments, 0))?;
    Ok(charge(arguments.iter().map(length).fold(0, usize::saturating_add))?)
}

fn pieces_of_first(arguments: &[Value]) -> Result<(), Trouble> {
    Ok(charge(size(arguments, 0).saturating_mul(8))?)
}

fn pieces_of_second(arguments: &[Value]) -> Result<(), Trouble> {
    check_pattern(size(arguments, 0))?;
    Ok(charge(size(arguments, 1).saturating_mul(8))?)
}

fn search(arguments: &[Value]) -> Result<(), Trouble> {
    steps([size(arguments, 0), size(arguments, 1)])?;
    Ok(charge(size(arguments, 0).saturating_mul(8))?)
}

fn count(arguments: &[Value]) -> Result<(), Trouble> {
    // The engine cannot count what is empty.
    if size(arguments, 1) == 0 {
        return Err(Trouble::Undefined);
    }
    steps([size(arguments, 0), size(arguments, 1)])
}

fn all_pairs(arguments: &[Value]) -> Result<(), Trouble> {
    let some = |index: usize| match arguments.get(index) {
        Some(Value::String(_)) => 1,
        _ => size(arguments, index),
    };
    steps([some(0), some(1).saturating_mul(16)])
}

fn unit(arguments: &[Value]) -> Result<(), Trouble> {
    let unit = text(arguments, 0)?;
    // `1e1000000` is a number of a million digits.
    let exponent = unit.find(['e', 'E']).and_then(|at| unit.get(at + 1..)).unwrap_or_default();
    let digits = exponent.trim_start_matches(['+', '-', '0']).bytes().take_while(u8::is_ascii_digit).count();
    if unit.len() > 100 || digits > 3 { Err(Trouble::Undefined) } else { Ok(()) }
}

fn sprintf(arguments: &[Value]) -> Result<(), Trouble> {
    let format = text(arguments, 0)?;
    let Value::Array(values) = argument(arguments, 1)? else { return Err(Trouble::Undefined) };
    let mut widths: usize = 0;
    let mut rest = format.chars().peekable();
    while let Some(next) = rest.next() {
        if next != '%' {
            continue;
        }
        let mut width: u32 = 0;
        while let Some(digit) = rest.next_if(|c| c.is_numeric() || *c == '.') {
            // The engine takes any digit of Unicode for one it can read.
            if !digit.is_ascii() {
                return Err(Trouble::Undefined);
            }
            width = width.saturating_mul(10).saturating_add(digit.to_digit(10).unwrap_or(0));
        }
        if width > MAX_WIDTH {
            return Err(exhaust("a format is too wide").into());
        }
        rest.next_if_eq(&'%');
        widths = widths.saturating_add(usize::try_from(width).unwrap_or(usize::MAX));
    }
    let mut weight = format.len().saturating_add(widths);
    for value in values.iter() {
        numbers(std::slice::from_ref(value))?;
        weight = weight.saturating_add(weigh_all(std::slice::from_ref(value))?.saturating_mul(2));
    }
    Ok(charge(weight)?)
}

/// The ways through a graph are counted before they are collected.
fn paths(arguments: &[Value]) -> Result<(), Trouble> {
    const MAX_VISITS: usize = 20_000;
    const MAX_LENGTH: usize = 200;

    fn visit<'a>(graph: &'a Value, node: &'a Value, way: &mut Vec<&'a Value>, left: &mut usize) -> Result<(), Trouble> {
        let too_much = || Trouble::from(exhaust("a graph has too many ways"));
        *left = left.checked_sub(1 + way.len()).ok_or_else(too_much)?;
        if way.contains(&node) {
            return Ok(());
        }
        if way.len() >= MAX_LENGTH {
            return Err(too_much());
        }
        let Value::Object(members) = graph else { return Err(Trouble::Undefined) };
        way.push(node);
        match members.get(node) {
            Some(Value::Array(next)) => next.iter().try_for_each(|node| visit(graph, node, way, left))?,
            Some(Value::Set(next)) => next.iter().try_for_each(|node| visit(graph, node, way, left))?,
            _ => {}
        }
        way.pop();
        Ok(())
    }

    weight(arguments)?;
    let (graph, start) = (argument(arguments, 0)?, argument(arguments, 1)?);
    let mut left = MAX_VISITS;
    match start {
        Value::Array(nodes) => nodes.iter().try_for_each(|node| visit(graph, node, &mut Vec::new(), &mut left)),
        Value::Set(nodes) => nodes.iter().try_for_each(|node| visit(graph, node, &mut Vec::new(), &mut left)),
        _ => Err(Trouble::Undefined),
    }
}

/// A document that is small and flat enough; what only looks nested is refused as well.
fn yaml(arguments: &[Value]) -> Result<(), Trouble> {
    let document = text(arguments, 0)?;
    if document.len() > MAX_YAML {
        return Err(exhaust("a YAML document is too large").into());
    }
    let mut brackets: usize = 0;
    let mut dashes: usize = 0;
    let mut deepest: usize = 0;
    for byte in document.bytes() {
        match byte {
            b'[' | b'{' => brackets += 1,
            b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'-' | b'?' | b':' => dashes += 1,
            b'\n' => dashes = 0,
            b' ' => {}
            _ => dashes = 0,
        }
        deepest = deepest.max(brackets).max(dashes);
    }
    // A level of indentation takes at least one column.
    let indent = document.lines().map(|line| line.len() - line.trim_start_matches(' ').len()).max().unwrap_or(0);
    if deepest > MAX_YAML_DEPTH || indent > 4 * MAX_YAML_DEPTH {
        return Err(Trouble::Undefined);
    }
    Ok(charge(document.len().saturating_mul(8))?)
}
