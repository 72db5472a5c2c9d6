//! Values as YAML that people copy: blocks for objects, one line for lists of words.

use serde_json::Value;

/// The YAML of a value, each line with so many blanks before it.
pub(super) fn block(value: &Value, indentation: usize) -> String {
    let mut text = String::new();
    write(value, indentation, &mut text);
    text
}

fn write(value: &Value, indentation: usize, text: &mut String) {
    let blanks = " ".repeat(indentation);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::Object(inner) if !inner.is_empty() => {
                        text.push_str(&format!("{blanks}{}:\n", scalar(name)));
                        write(member, indentation + 2, text);
                    }
                    Value::Array(elements) if elements.iter().any(is_large) => {
                        text.push_str(&format!("{blanks}{}:\n", scalar(name)));
                        for element in elements {
                            let inner = block(element, indentation + 2);
                            text.push_str(&format!("{blanks}- {}", inner.trim_start()));
                        }
                    }
                    member => text.push_str(&format!("{blanks}{}: {}\n", scalar(name), flow(member))),
                }
            }
        }
        value => text.push_str(&format!("{blanks}{}\n", flow(value))),
    }
}

/// Whether a value looks better on lines of its own.
fn is_large(value: &Value) -> bool {
    matches!(value, Value::Object(members) if members.values().any(|member| member.is_object() || member.is_array()))
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(elements) => format!("[{}]", elements.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", scalar(name), flow(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as it is if nobody can take it for something else, or else in quotation marks.
fn scalar(text: &str) -> String {
    const OTHERS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// In quotation marks. What JSON leaves as it is and YAML takes for a line break, or for nothing that may stand in it,
/// is escaped, too.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for letter in Value::from(text).to_string().chars() {
        match letter {
            letter if letter.is_control() || "\u{2028}\u{2029}\u{feff}".contains(letter) => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_reads_back_as_what_it_was() {
        let value = json!({
            "spec": {"a": ["x-a", ":path", "no", "1"], "b": {"c": 8192, "d": true, "e f": null}, "g": [],
                "list": [{"name": "a", "inner": {"x": [1, 2]}}, {"name": "b: #", "inner": {}}],
                "flat": [{"exact": "a"}, {"exact": "b\"c"}],
            "a\nspec: {evil: true}\n": "\u{1b}\u{7f}\u{85}\u{2028}\u{2029}\u{feff}"},
        });
        let text = block(&value, 0);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, value, "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("evil")).count(), 1, "{text}");
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text}");
        assert!(text.contains("  a: [x-a, \":path\", \"no\", \"1\"]\n"), "{text}");
        assert!(text.contains("  flat: [{exact: a}, {exact: \"b\\\"c\"}]\n"), "{text}");
    }
}
