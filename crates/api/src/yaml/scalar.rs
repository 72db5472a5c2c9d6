//! Plain scalars: texts, numbers and so on (YAML 1.2.2, section 10.3).

use serde_json::{Number, Value};

/// A plain scalar, resolved by the core schema.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(Some(number)) => Value::Number(number),
            Some(None) => {
                return Err("the number cannot be written in JSON".to_owned());
            }
            None => Value::String(text.to_owned()),
        },
    })
}

/// None if the text is not a number; `Some(None)` if it is one that JSON does not know.
fn number(text: &str) -> Option<Option<Number>> {
    let based = |digits: &str, base: u32| {
        let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
        valid.then(|| u64::from_str_radix(digits, base).ok().map(Number::from))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(None),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(None),
        _ => {}
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let mut rest = unsigned.split_at(whole).1;
    if rest.is_empty() && whole > 0 {
        let positive = text.strip_prefix('+').unwrap_or(text);
        let small = positive.parse::<i64>().map(Number::from).or_else(|_| positive.parse::<u64>().map(Number::from));
        return Some(small.ok().or_else(|| float(text)));
    }
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = after.split_at(fraction).1;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(exponent);
        if length == 0 || length != exponent.len() {
            return None;
        }
    } else if !rest.is_empty() {
        return None;
    }
    Some(float(text))
}

fn float(text: &str) -> Option<Number> {
    text.parse::<f64>().ok().and_then(Number::from_f64)
}
