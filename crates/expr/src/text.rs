//! The text forms of values: what stands in headers, bodies, messages and comparisons.
//!
//! | | members of objects | integers beyond 2^53 | used for |
//! | --- | --- | --- | --- |
//! | [`stringify()`] | as they stand | rounded at the top | values that were written down |
//! | [`stringify_sorted`] | sorted | rounded | values found in a document |
//! | [`node_text`] | as they stand | all digits | templates, patterns |
//! | [`json`] | as they stand | all digits | JSON for others to parse |
//!
//! All of them print compact JSON with `<`, `>`, `&`, U+2028 and U+2029 escaped, so that the text may stand inside
//! HTML, and numbers as their shortest decimal without an exponent.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde_json::{Number, Value};

use crate::document::Node;

/// The text of a value that was written down: strings as they are, null empty, anything else as compact JSON.
#[must_use]
pub fn stringify(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Number(number) => Cow::Owned(collect(|out| write_number(number, Integers::Rounded, out))),
        other => node_text(Node::Json(other)),
    }
}

/// The text of a value that was found in a document: as [`stringify()`], with the members of objects sorted by name
/// and all numbers as an IEEE 754 double shows them.
#[must_use]
pub fn stringify_sorted(value: &Value) -> Cow<'_, str> {
    node_stringify_sorted(Node::Json(value))
}

/// The text of a value inside templates and patterns: strings decoded, integers with all their digits, null empty,
/// objects and arrays as compact JSON in document order. Borrowed where the text exists already.
#[must_use]
pub fn node_text(node: Node<'_>) -> Cow<'_, str> {
    borrowed_text(node)
        .map_or_else(|| Cow::Owned(collect(|out| write_json(node, Style::AS_IT_STANDS, out))), Cow::Borrowed)
}

/// Compact JSON with the members of objects in the order in which they stand.
#[must_use]
pub fn json(value: &Value) -> String {
    collect(|out| write_json(Node::Json(value), Style::AS_IT_STANDS, out))
}

/// [`stringify_sorted`] of a node.
pub(crate) fn node_stringify_sorted(node: Node<'_>) -> Cow<'_, str> {
    borrowed_text(node).map_or_else(|| Cow::Owned(collect(|out| write_json(node, Style::SORTED, out))), Cow::Borrowed)
}

/// Writes what [`node_text`] returns.
pub(crate) fn write_node_text(node: Node<'_>, out: &mut impl Write) -> fmt::Result {
    match borrowed_text(node) {
        Some(text) => out.write_str(text),
        None => write_json(node, Style::AS_IT_STANDS, out),
    }
}

/// Whether [`node_text`] would return this text. Compares while printing, without memory of its own.
pub(crate) fn node_text_is(node: Node<'_>, expected: &str) -> bool {
    let mut rest = Expected(expected);
    write_node_text(node, &mut rest).is_ok() && rest.0.is_empty()
}

/// Whether an integer is within the range in which doubles hold every integer.
pub(crate) fn is_exact(number: &Number) -> bool {
    const LARGEST: u64 = 1 << 53;
    match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => integer.unsigned_abs() <= LARGEST,
        (None, Some(integer)) => integer <= LARGEST,
        (None, None) => true,
    }
}

/// How JSON is printed.
#[derive(Clone, Copy)]
struct Style {
    sorted: bool,
    integers: Integers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Integers {
    AllDigits,
    Rounded,
}

impl Style {
    const AS_IT_STANDS: Self = Self { sorted: false, integers: Integers::AllDigits };
    const SORTED: Self = Self { sorted: true, integers: Integers::Rounded };
}

/// Text that exists before anything is printed.
fn borrowed_text(node: Node<'_>) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        Node::Json(Value::String(text)) => Some(text.as_str()),
        Node::Null | Node::Json(Value::Null) => Some(""),
        Node::Bool(true) | Node::Json(Value::Bool(true)) => Some("true"),
        Node::Bool(false) | Node::Json(Value::Bool(false)) => Some("false"),
        // The text of bytes has no characters that JSON would escape, and no quotes when it stands alone.
        Node::Bytes(_) | Node::Integer(_) | Node::Json(_) | Node::Message(..) => None,
    }
}

/// Prints a node; bytes without quotes, because only [`write_member`] knows that they are inside something.
fn write_json<W: Write + ?Sized>(node: Node<'_>, style: Style, out: &mut W) -> fmt::Result {
    match node {
        Node::Null | Node::Json(Value::Null) => out.write_str("null"),
        Node::Bool(value) | Node::Json(&Value::Bool(value)) => write!(out, "{value}"),
        Node::Integer(value) => write_number(&Number::from(value), style.integers, out),
        Node::Text(text) => write_quoted(text, out),
        Node::Bytes(bytes) => write!(out, "{}", Base64Display::new(bytes, &STANDARD)),
        Node::Json(Value::Number(number)) => write_number(number, style.integers, out),
        Node::Json(Value::String(text)) => write_quoted(text, out),
        Node::Json(Value::Array(elements)) => {
            out.write_char('[')?;
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.write_char(',')?;
                }
                write_json(Node::Json(element), style, out)?;
            }
            out.write_char(']')
        }
        Node::Json(Value::Object(members)) => {
            let members = members.iter().map(|(key, value)| (key.as_str(), Node::Json(value)));
            if style.sorted {
                let mut members: Vec<_> = members.collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                write_members(members.into_iter(), style, out)
            } else {
                write_members(members, style, out)
            }
        }
        Node::Message(document, part) => {
            let mut members = document.members(part);
            if style.sorted {
                members.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
            }
            write_members(members.iter().map(|(key, node)| (key.as_ref(), *node)), style, out)
        }
    }
}

fn write_members<'a, W: Write + ?Sized>(
    members: impl Iterator<Item = (&'a str, Node<'a>)>,
    style: Style,
    out: &mut W,
) -> fmt::Result {
    out.write_char('{')?;
    for (index, (key, node)) in members.enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write_quoted(key, out)?;
        out.write_char(':')?;
        if let Node::Bytes(_) = node {
            out.write_char('"')?;
            write_json(node, style, out)?;
            out.write_char('"')?;
        } else {
            write_json(node, style, out)?;
        }
    }
    out.write_char('}')
}

/// A number without exponent: integers with their digits, others as the shortest decimal that reads back the same.
fn write_number<W: Write + ?Sized>(number: &Number, integers: Integers, out: &mut W) -> fmt::Result {
    let rounded = integers == Integers::Rounded && !is_exact(number);
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(integer), _, _) if rounded => write!(out, "{}", integer as f64),
        (Some(integer), _, _) => write!(out, "{integer}"),
        (None, Some(integer), _) if rounded => write!(out, "{}", integer as f64),
        (None, Some(integer), _) => write!(out, "{integer}"),
        (None, None, Some(double)) => write!(out, "{double}"),
        (None, None, None) => write!(out, "{number}"),
    }
}

/// A JSON string, safe inside HTML and JavaScript.
fn write_quoted<W: Write + ?Sized>(text: &str, out: &mut W) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        let (plain, tail) = rest.split_at(at);
        out.write_str(plain)?;
        let mut characters = tail.chars();
        match characters.next() {
            Some('"') => out.write_str("\\\"")?,
            Some('\\') => out.write_str("\\\\")?,
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some('\u{8}') => out.write_str("\\b")?,
            Some('\u{c}') => out.write_str("\\f")?,
            Some(other) => write!(out, "\\u{:04x}", u32::from(other))?,
            None => {}
        }
        rest = characters.as_str();
    }
    out.write_str(rest)?;
    out.write_char('"')
}

fn needs_escape(character: char) -> bool {
    matches!(character, '\0'..='\u{1f}' | '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

/// Writing into a string cannot fail, so there is nothing to report.
fn collect(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    let written = write(&mut text);
    debug_assert!(written.is_ok(), "writing to a string failed");
    text
}

/// Takes what is written off the text that is expected; fails at the first difference.
struct Expected<'a>(&'a str);

impl Write for Expected<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn values_as_text() {
        for (value, written, found) in [
            (r#""a<b""#, "a<b", "a<b"),
            ("null", "", ""),
            ("true", "true", "true"),
            ("false", "false", "false"),
            ("42.0", "42", "42"),
            ("1.50", "1.5", "1.5"),
            ("1e21", "1000000000000000000000", "1000000000000000000000"),
            ("1e-7", "0.0000001", "0.0000001"),
            ("-12", "-12", "-12"),
            ("9007199254740992", "9007199254740992", "9007199254740992"),
            ("12345678901234567890", "12345678901234567000", "12345678901234567000"),
            ("-1234567890123456789", "-1234567890123456800", "-1234567890123456800"),
            (r#"["a<b"]"#, r#"["a\u003cb"]"#, r#"["a\u003cb"]"#),
            (r#"{"b": 1, "a":2}"#, r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"z":1,"a":"<"}"#, r#"{"z":1,"a":"\u003c"}"#, r#"{"a":"\u003c","z":1}"#),
            ("[12345678901234567890]", "[12345678901234567890]", "[12345678901234567000]"),
            (r#"[{"b":[],"a":{}}]"#, r#"[{"b":[],"a":{}}]"#, r#"[{"a":{},"b":[]}]"#),
        ] {
            let value = parsed(value);
            assert_eq!(stringify(&value), written);
            assert_eq!(stringify_sorted(&value), found);
        }
    }

    #[test]
    fn escapes_of_strings_inside_json() {
        let value = json!(["\"\\\n\r\t\u{8}\u{c}\u{0}\u{1f}<>&\u{2028}\u{2029}\u{7f}/é"]);
        let text = json(&value);
        assert_eq!(text, "[\"\\\"\\\\\\n\\r\\t\\b\\f\\u0000\\u001f\\u003c\\u003e\\u0026\\u2028\\u2029\u{7f}/é\"]");
        assert_eq!(parsed(&text), value, "others read the same value");
    }

    #[test]
    fn nodes_as_text() {
        let numbers = parsed("[12345678901234567890, 1.50, 1e3, null]");
        for (node, text) in [
            (Node::Null, ""),
            (Node::Bool(true), "true"),
            (Node::Integer(-7), "-7"),
            (Node::Text("a<b"), "a<b"),
            (Node::Bytes(b"hello"), "aGVsbG8="),
            (Node::Json(&numbers), "[12345678901234567890,1.5,1000,null]"),
        ] {
            assert_eq!(node_text(node), text);
            assert!(node_text_is(node, text), "{text}");
            assert!(!node_text_is(node, &format!("{text}x")), "{text}: longer");
            assert!(!node_text_is(node, "other"), "{text}: other");
        }
        assert!(!node_text_is(Node::Integer(123), "12"), "a prefix is not equal");
    }
}
