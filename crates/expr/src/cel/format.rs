//! `text.format(list)`: printf-style substitution.
//!
//! A clause is `%`, an optional precision `.N`, and one of `s d f e b x X o`; `%%` is a percent sign. Constant texts
//! with a literal list are checked when they are loaded.

use std::fmt::Write as _;

use cel::common::{
    types::{CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelString, CelTimestamp, CelType, CelUInt, Kind},
    value::{CowVal, Val},
};

use super::{
    budget,
    functions::{Arguments, Outcome, exactly, failure, no_overload},
    json, text,
    types::Type,
};

/// Digits after the point where a clause does not say.
const PRECISION: usize = 6;

/// The most digits a clause may ask for.
const PRECISION_LIMIT: usize = 100;

/// `text.format(list)`
pub(super) fn format<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [text, list] = exactly(arguments)?;
    let source = text::inner(&text)?;
    let mut elements = list.as_iterable().ok_or_else(|| no_overload("format", &[list.as_ref()]))?.iter();
    let mut made = String::with_capacity(source.len());
    for (index, piece) in pieces(source).enumerate() {
        match piece.map_err(failure)? {
            Piece::Text(text) => made.push_str(text),
            Piece::Clause(clause) => {
                let argument = elements.next().ok_or_else(|| failure(format!("index {index} out of range")))?;
                budget::charge(budget::size(argument).saturating_add(1))?;
                clause
                    .print(argument, &mut made)
                    .map_err(|reason| failure(format!("error during formatting: {reason}")))?;
            }
        }
    }
    Ok(CowVal::owned(CelString::from(made)))
}

/// What is wrong with a constant text and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The argument that does not fit, if it is about one.
    pub(super) argument: Option<usize>,
    pub(super) message: String,
}

/// Checks a constant text against the types of its arguments.
pub(super) fn verify(source: &str, arguments: &[Type]) -> Result<(), Mistake> {
    let mut used = 0;
    for piece in pieces(source) {
        let clause = match piece {
            Ok(Piece::Text(_)) => continue,
            Ok(Piece::Clause(clause)) => clause,
            Err(message) => {
                return Err(Mistake { argument: None, message });
            }
        };
        let Some(found) = arguments.get(used) else {
            return Err(Mistake { argument: None, message: format!("index {used} out of range") });
        };
        if !clause.accepts(found) {
            let message = format!("error during formatting: {}, was given {found}", clause.expectation());
            return Err(Mistake { argument: Some(used), message });
        }
        used += 1;
    }
    if used < arguments.len() {
        let message =
            format!("too many arguments supplied to string.format (expected {used}, got {})", arguments.len());
        return Err(Mistake { argument: Some(used), message });
    }
    Ok(())
}

enum Piece<'s> {
    Text(&'s str),
    Clause(Clause),
}

#[derive(Clone, Copy)]
enum Clause {
    Text,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Hexadecimal { upper: bool },
    Octal,
}

/// The texts and clauses of `source` in order. Ends after the first mistake.
fn pieces(source: &str) -> impl Iterator<Item = Result<Piece<'_>, String>> {
    let mut rest = source;
    std::iter::from_fn(move || {
        let Some(after) = rest.strip_prefix('%') else {
            let end = rest.find('%').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            rest = after;
            return (!text.is_empty()).then_some(Ok(Piece::Text(text)));
        };
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            return Some(Ok(Piece::Text("%")));
        }
        match clause(after) {
            Ok((clause, after)) => {
                rest = after;
                Some(Ok(Piece::Clause(clause)))
            }
            Err(reason) => {
                rest = "";
                Some(Err(format!("could not parse formatting clause: {reason}")))
            }
        }
    })
}

/// Reads a clause after its percent sign; what follows it is returned too.
fn clause(source: &str) -> Result<(Clause, &str), String> {
    let (precision, rest) = match source.strip_prefix('.') {
        None => (PRECISION, source),
        Some(digits) => {
            let end = digits
                .find(|character: char| !character.is_ascii_digit())
                .ok_or("could not find end of precision specifier")?;
            let (digits, rest) = digits.split_at(end);
            let precision: usize = digits.parse().map_err(|_| "error while converting precision to integer")?;
            if precision > PRECISION_LIMIT {
                return Err(format!("precision {precision} exceeds the maximum of {PRECISION_LIMIT}"));
            }
            (precision, rest)
        }
    };
    let mut characters = rest.chars();
    let clause = match characters.next() {
        Some('s') => Clause::Text,
        Some('d') => Clause::Decimal,
        Some('f') => Clause::Fixed(precision),
        Some('e') => Clause::Scientific(precision),
        Some('b') => Clause::Binary,
        Some('x') => Clause::Hexadecimal { upper: false },
        Some('X') => Clause::Hexadecimal { upper: true },
        Some('o') => Clause::Octal,
        Some(other) => return Err(format!("unrecognized formatting clause `{other}`")),
        None => return Err("unexpected end of string".to_owned()),
    };
    Ok((clause, characters.as_str()))
}

impl Clause {
    /// Whether an argument of this static type may be given. Doubles that the document brings are whole numbers as
    /// often as not, so `%d` takes them at run time, but a literal double is a mistake.
    fn accepts(self, found: &Type) -> bool {
        if found.is_open() {
            return true;
        }
        match self {
            Self::Text => !matches!(found, Type::Optional(_)),
            Self::Decimal | Self::Octal => matches!(found, Type::Int | Type::Uint),
            Self::Fixed(_) | Self::Scientific(_) => {
                matches!(found, Type::Int | Type::Uint | Type::Double)
            }
            Self::Binary => matches!(found, Type::Int | Type::Uint | Type::Bool),
            Self::Hexadecimal { .. } => {
                matches!(found, Type::Int | Type::Uint | Type::String | Type::Bytes)
            }
        }
    }

    fn expectation(self) -> &'static str {
        match self {
            Self::Text => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                 durations, and timestamps"
            }
            Self::Decimal => "decimal clause can only be used on integers",
            Self::Fixed(_) => "fixed-point clause can only be used on doubles",
            Self::Scientific(_) => "scientific clause can only be used on doubles",
            Self::Binary => "only integers and bools can be formatted as binary",
            Self::Hexadecimal { .. } => "only integers, byte buffers, and strings can be formatted as hex",
            Self::Octal => "octal clause can only be used on integers",
        }
    }

    fn print(self, argument: &dyn Val, into: &mut String) -> Result<(), String> {
        let printed = match self {
            Self::Text => return print_text(argument, false, into),
            Self::Decimal => match Number::of(argument) {
                Some(Number::Double(double)) => Some(plain(double)),
                Some(Number::Int(int)) => Some(int.to_string()),
                Some(Number::Uint(uint)) => Some(uint.to_string()),
                None => None,
            },
            Self::Fixed(precision) => double(argument)
                .map(|double| non_finite(double).map_or_else(|| format!("{double:.precision$}"), str::to_owned)),
            Self::Scientific(precision) => double(argument).map(|double| scientific(double, precision)),
            Self::Binary => match argument.downcast_ref::<CelBool>() {
                Some(bool) => Some(u8::from(*bool.inner()).to_string()),
                None => magnitude(argument).map(|(sign, value)| format!("{sign}{value:b}")),
            },
            Self::Octal => magnitude(argument).map(|(sign, value)| format!("{sign}{value:o}")),
            Self::Hexadecimal { upper } => {
                hexadecimal(argument).map(|digits| if upper { digits.to_ascii_uppercase() } else { digits })
            }
        };
        let printed =
            printed.ok_or_else(|| format!("{}, was given {}", self.expectation(), argument.get_type().name()))?;
        into.push_str(&printed);
        Ok(())
    }
}

/// `%s`. Inside lists and maps, what is not a number, a boolean, null or a type is quoted.
fn print_text(value: &dyn Val, quoted: bool, into: &mut String) -> Result<(), String> {
    let plain_text = |text: &str, into: &mut String| {
        if quoted {
            let _ = write!(into, "{text:?}");
        } else {
            into.push_str(text);
        }
    };
    match value.get_type().kind() {
        Kind::NullType => into.push_str("null"),
        Kind::List => {
            let mut elements = value.as_iterable().ok_or("the list cannot be read")?.iter();
            into.push('[');
            let mut first = true;
            while let Some(element) = elements.next() {
                into.push_str(if std::mem::take(&mut first) { "" } else { ", " });
                print_text(element, true, into)?;
            }
            into.push(']');
        }
        Kind::Map => {
            let mut keys = value.as_iterable().ok_or("the map cannot be read")?.iter();
            let members = value.as_indexer().ok_or("the map cannot be read")?;
            let mut entries = Vec::new();
            while let Some(key) = keys.next() {
                let mut entry = String::new();
                print_text(key, true, &mut entry)?;
                entry.push(':');
                let member = members.get(key).map_err(|_| "the map cannot be read")?;
                print_text(member.as_ref(), true, &mut entry)?;
                entries.push(entry);
            }
            entries.sort_unstable();
            let _ = write!(into, "{{{}}}", entries.join(", "));
        }
        _ => {
            if let Some(number) = Number::of(value) {
                match number {
                    Number::Int(int) => into.push_str(&int.to_string()),
                    Number::Uint(uint) => into.push_str(&uint.to_string()),
                    Number::Double(double) => match non_finite(double) {
                        Some(text) => plain_text(text, into),
                        None => into.push_str(&plain(double)),
                    },
                }
            } else if let Some(bool) = value.downcast_ref::<CelBool>() {
                into.push_str(if *bool.inner() { "true" } else { "false" });
            } else if let Some(string) = value.downcast_ref::<CelString>() {
                plain_text(string, into);
            } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
                plain_text(&String::from_utf8_lossy(bytes.inner()), into);
            } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
                plain_text(&json::duration(duration), into);
            } else if let Some(timestamp) = value.downcast_ref::<CelTimestamp>() {
                plain_text(&json::timestamp(timestamp), into);
            } else if let Some(of) = value.downcast_ref::<CelType>() {
                into.push_str(of.name());
            } else {
                let (expectation, found) = (Clause::Text.expectation(), value.get_type().name());
                return Err(format!("{expectation}, was given {found}"));
            }
        }
    }
    Ok(())
}

enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

impl Number {
    fn of(value: &dyn Val) -> Option<Self> {
        if let Some(int) = value.downcast_ref::<CelInt>() {
            Some(Self::Int(*int.inner()))
        } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
            Some(Self::Uint(*uint.inner()))
        } else {
            value.downcast_ref::<CelDouble>().map(|double| Self::Double(*double.inner()))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the clause prints a double")]
fn double(value: &dyn Val) -> Option<f64> {
    Number::of(value).map(|number| match number {
        Number::Int(int) => int as f64,
        Number::Uint(uint) => uint as f64,
        Number::Double(double) => double,
    })
}

/// The sign and the digits of a whole number. Doubles of the document count if they are whole and exact.
fn magnitude(value: &dyn Val) -> Option<(&'static str, u64)> {
    match Number::of(value)? {
        Number::Int(int) => Some((if int < 0 { "-" } else { "" }, int.unsigned_abs())),
        Number::Uint(uint) => Some(("", uint)),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, exact and positive")]
        Number::Double(double) if double.fract() == 0.0 && double.abs() < text::EXACT => {
            Some((if double < 0.0 { "-" } else { "" }, double.abs() as u64))
        }
        Number::Double(_) => None,
    }
}

fn hexadecimal(value: &dyn Val) -> Option<String> {
    let bytes = if let Some(string) = value.downcast_ref::<CelString>() {
        string.as_bytes()
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        bytes.inner()
    } else {
        return magnitude(value).map(|(sign, value)| format!("{sign}{value:x}"));
    };
    Some(bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    }))
}

fn non_finite(double: f64) -> Option<&'static str> {
    if double.is_nan() {
        Some("NaN")
    } else if double.is_infinite() {
        Some(if double > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// The shortest digits that read back as `double`, without an exponent.
fn plain(double: f64) -> String {
    non_finite(double).map_or_else(|| double.to_string(), str::to_owned)
}

fn scientific(double: f64, precision: usize) -> String {
    if let Some(text) = non_finite(double) {
        return text.to_owned();
    }
    let printed = format!("{double:.precision$e}");
    let Some((mantissa, exponent)) = printed.split_once('e') else {
        return printed;
    };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_texts_are_checked() {
        for (source, arguments, mistake) in [
            ("%s and %d", vec![Type::String, Type::Int], None),
            ("%d", vec![Type::Dyn], None),
            ("100%%", vec![], None),
            ("%d", vec![Type::Double], Some((Some(0), "decimal clause"))),
            ("%s %x", vec![Type::Int, Type::Double], Some((Some(1), "as hex"))),
            ("%d %d", vec![Type::Int], Some((None, "index 1 out of range"))),
            ("%d", vec![Type::Int, Type::Int], Some((Some(1), "too many arguments"))),
            ("%z", vec![Type::Int], Some((None, "unrecognized formatting clause `z`"))),
            ("%.101f", vec![Type::Double], Some((None, "exceeds the maximum"))),
            ("%.", vec![Type::Double], Some((None, "end of precision"))),
            ("%", vec![Type::Double], Some((None, "unexpected end"))),
        ] {
            match (verify(source, &arguments), mistake) {
                (Ok(()), None) => {}
                (Err(found), Some((argument, message))) => {
                    assert_eq!(found.argument, argument, "{source}");
                    assert!(found.message.contains(message), "{source}: {}", found.message);
                }
                (found, _) => panic!("{source}: {found:?}"),
            }
        }
    }
}
