//! Functions on texts that we evaluate ourselves: to pay for what they make before they make it, to search in linear
//! time, and to print numbers the way JSON documents need it.

use cel::{
    ExecutionError,
    common::{
        types::{CelDouble, CelInt, CelList, CelString},
        value::{CowVal, Val},
    },
};

use super::{
    budget,
    functions::{Arguments, ENVIRONMENT, Outcome, exactly, failure, no_overload},
};

/// Whole numbers below this are exact in a double.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// `string(value)`
pub(super) fn string<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    if let [value] = arguments.as_slice() {
        budget::charge(budget::size(value.as_ref()))?;
        if let Some(double) = value.downcast_ref::<CelDouble>() {
            return Ok(CowVal::owned(CelString::from(print(*double.inner()))));
        }
    }
    match ENVIRONMENT.find_overload("string", &arguments) {
        Some(convert) => convert(arguments),
        None => Err(no_overload("string", &arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>())),
    }
}

/// A double as text: the digits of whole numbers that are exact, since document numbers are doubles and
/// `string(request.time.seconds)` should read well; otherwise the shortest form, with an exponent from six digits on,
/// as cel-go prints it.
pub(super) fn print(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if double.fract() == 0.0 && double.abs() < EXACT {
        return format!("{double}");
    }
    let scientific = format!("{double:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{double}"),
    }
}

/// `text.indexOf(wanted)` and `text.indexOf(wanted, offset)`: in characters, -1 if it is not there.
pub(super) fn index_of<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let (text, wanted, offset) = search(&arguments)?;
    let length = text.chars().count();
    let offset = match offset {
        None => 0,
        Some(offset) => within("indexOf", offset, length, wanted.is_empty())?,
    };
    if wanted.is_empty() {
        return Ok(position(Some(offset.min(length))));
    }
    let start = byte_offset(text, offset);
    let found = text.get(start..).and_then(|rest| rest.find(wanted)).map(|bytes| bytes + start);
    Ok(position(found.map(|bytes| characters(text, bytes))))
}

/// `text.lastIndexOf(wanted)` and `text.lastIndexOf(wanted, offset)`: the last occurrence that starts no later than
/// `offset`.
pub(super) fn last_index_of<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let (text, wanted, offset) = search(&arguments)?;
    let length = text.chars().count();
    let offset = match offset {
        None => length,
        Some(offset) => within("lastIndexOf", offset, length, wanted.is_empty())?,
    };
    if wanted.is_empty() {
        return Ok(position(Some(offset.min(length))));
    }
    // An occurrence that starts at the offset ends one length of the wanted text later.
    let end = byte_offset(text, offset).saturating_add(wanted.len()).min(text.len());
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let found = text.get(..end).and_then(|head| head.rfind(wanted));
    Ok(position(found.map(|bytes| characters(text, bytes))))
}

fn search<'x>(arguments: &'x [CowVal<'_, '_>]) -> Result<(&'x str, &'x str, Option<i64>), ExecutionError> {
    match arguments {
        [text, wanted] => Ok((inner(text)?, inner(wanted)?, None)),
        [text, wanted, offset] => Ok((inner(text)?, inner(wanted)?, Some(int(offset)?))),
        _ => Err(ExecutionError::invalid_argument_count(2, arguments.len())),
    }
}

/// `offset` as a place in a text of `length` characters.
fn within(function: &str, offset: i64, length: usize, anywhere: bool) -> Result<usize, ExecutionError> {
    match usize::try_from(offset) {
        Ok(offset) if anywhere || offset < length => Ok(offset),
        _ => Err(ExecutionError::function_error(function, format!("index out of range: {offset}"))),
    }
}

fn byte_offset(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(bytes, _)| bytes)
}

fn characters(text: &str, bytes: usize) -> usize {
    text.get(..bytes).map_or(0, |head| head.chars().count())
}

fn position<'b, 'v>(index: Option<usize>) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(index.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)))
}

/// `list.join()` and `list.join(separator)`
pub(super) fn join<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let (list, separator) = match arguments.as_slice() {
        [list] => (list, ""),
        [list, separator] => (list, inner(separator)?),
        _ => return Err(ExecutionError::invalid_argument_count(1, arguments.len())),
    };
    let mut elements = list.as_iterable().ok_or_else(|| no_overload("join", &[list.as_ref()]))?.iter();
    let mut parts = Vec::new();
    let mut length = 0_usize;
    while let Some(element) = elements.next() {
        let part = element.downcast_ref::<CelString>().ok_or_else(|| no_overload("join", &[element]))?;
        length = length.saturating_add(part.len()).saturating_add(separator.len());
        parts.push(part.inner());
    }
    budget::charge((parts.len() as u64).saturating_add(budget::text(length)))?;
    Ok(CowVal::owned(CelString::from(parts.join(separator))))
}

/// `text.replace(old, new)` and `text.replace(old, new, limit)`: without a limit, or with one below zero, all.
pub(super) fn replace<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let limit = match arguments.len() {
        4 => arguments.pop().map(|limit| int(&limit)).transpose()?,
        _ => None,
    };
    let [text, old, new] = exactly(arguments)?;
    let (text, old, new) = (inner(&text)?, inner(&old)?, inner(&new)?);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let occurrences = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    let made = occurrences.min(limit).saturating_mul(new.len()).saturating_add(text.len());
    budget::charge_text(made)?;
    Ok(CowVal::owned(CelString::from(text.replacen(old, new, limit))))
}

/// `text.split(separator)` and `text.split(separator, limit)`: an empty separator splits into characters; with a limit
/// the last part holds the rest.
pub(super) fn split<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let limit = match arguments.len() {
        3 => arguments.pop().map(|limit| int(&limit)).transpose()?,
        _ => None,
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let [text, separator] = exactly(arguments)?;
    let (text, separator) = (inner(&text)?, inner(&separator)?);
    let most = if separator.is_empty() { text.len() } else { text.matches(separator).count() + 1 };
    budget::charge((most.min(limit) as u64).saturating_add(budget::text(text.len())))?;
    let parts: Vec<&str> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        characters_of(text, limit)
    } else {
        text.splitn(limit, separator).collect()
    };
    let parts = parts.into_iter().map(|part| Box::new(CelString::from(part.to_owned())) as Box<dyn Val + 'v>);
    Ok(CowVal::owned(CelList::from(parts.collect::<Vec<_>>())))
}

fn characters_of(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if parts.len() + 1 == limit {
            break;
        }
        let (head, tail) = rest.split_at(character.len_utf8());
        parts.push(head);
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

pub(super) fn inner<'x>(value: &'x CowVal<'_, '_>) -> Result<&'x str, ExecutionError> {
    value.downcast_ref::<CelString>().map(CelString::inner).ok_or_else(|| failure("no such overload"))
}

fn int(value: &CowVal<'_, '_>) -> Result<i64, ExecutionError> {
    value.downcast_ref::<CelInt>().map(|int| *int.inner()).ok_or_else(|| failure("no such overload"))
}

#[cfg(test)]
mod tests {
    use super::print;

    #[test]
    fn doubles_print_their_digits_while_they_are_exact() {
        for (double, text) in [
            (35.0, "35"),
            (-7.0, "-7"),
            (0.0, "0"),
            (1e6, "1000000"),
            (1_700_000_000.0, "1700000000"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (1e21, "1e+21"),
            (1.5, "1.5"),
            (123_456.7, "123456.7"),
            (1_234_567.5, "1.2345675e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(print(double), text);
        }
    }
}
