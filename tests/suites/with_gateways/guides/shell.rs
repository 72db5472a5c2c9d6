//! As much of a shell as the guides need. All else is an error, so that no command is taken for another one.

use std::collections::BTreeMap;

/// The variables that were set so far.
pub(super) type Variables = BTreeMap<String, String>;

/// The words of a command: quotes, variables, a comment at the end.
///
/// # Errors
/// What is not known here: pipes, redirections, patterns, commands within commands, variables that nobody has set.
pub(super) fn words(command: &str, variables: &Variables) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' => {
                let (quoted, after) = rest.split_once('\'').ok_or("a quote is not closed")?;
                word.get_or_insert_default().push_str(quoted);
                rest = after;
            }
            '"' => rest = double_quoted(rest, variables, word.get_or_insert_default())?,
            '$' => {
                let (value, after) = variable(rest, variables)?;
                if value.is_empty() || value.contains(char::is_whitespace) {
                    return Err(format!("a shell takes `{value}` apart: quotes are missing"));
                }
                word.get_or_insert_default().push_str(&value);
                rest = after;
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '~' | '!' => {
                return Err(format!("`{letter}` without quotes is not known here"));
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing quote; gives what follows it.
fn double_quoted<'t>(text: &'t str, variables: &Variables, word: &mut String) -> Result<&'t str, String> {
    let mut rest = text;
    loop {
        let letter = rest.chars().next().ok_or("a quote is not closed")?;
        rest = &rest[letter.len_utf8()..];
        match letter {
            '"' => return Ok(rest),
            '$' => {
                let (value, after) = variable(rest, variables)?;
                word.push_str(&value);
                rest = after;
            }
            '\\' | '`' => return Err(format!("`{letter}` between double quotes is not known here")),
            letter => word.push(letter),
        }
    }
}

/// The value of the variable whose name begins here, and what follows.
fn variable<'t>(text: &'t str, variables: &Variables) -> Result<(String, &'t str), String> {
    let end = text.find(|letter: char| !is_of_name(letter)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let value = variables.get(name).ok_or_else(|| format!("nothing has set `${name}`"))?;
    Ok((value.clone(), rest))
}

/// `NAME=VALUE`: the name, and the text of the value.
pub(super) fn assignment(command: &str) -> Option<(&str, &str)> {
    let (name, value) = command.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(is_of_name) && !name.starts_with(|it: char| it.is_ascii_digit());
    is_name.then_some((name, value))
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[test]
fn commands_are_taken_apart() {
    let variables =
        [("A", "1"), ("B", "b c"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (command, expected) in [
        ("curl -i  http://a/b#c # a comment", &["curl", "-i", "http://a/b#c"][..]),
        (r#"-H 'Host: a' -d '{"a": "$A"}' ''"#, &["-H", "Host: a", "-d", r#"{"a": "$A"}"#, ""]),
        (r#"x$A"y $B-$A"z "$EMPTY""#, &["x1y b c-1z", ""]),
        ("a='b c'd http://$A/e", &["a=b cd", "http://1/e"]),
        ("--output jsonpath='{.status[0]}'", &["--output", "jsonpath={.status[0]}"]),
    ] {
        assert_eq!(words(command, &variables).unwrap(), expected, "{command}");
    }
    for command in [
        "a | b",
        "a && b",
        "a; b",
        "a > b",
        "a < b",
        "a `b`",
        "a $(b)",
        "a \"$(b)\"",
        "a \"`b`\"",
        r"a \",
        r#"a "\n""#,
        "a 'b",
        "a \"b",
        "http://a?b=c",
        "a*",
        "$B",
        "$EMPTY",
        "$C",
        "\"$C\"",
        "${A}",
        "\"${A}\"",
        "\"$\"",
        "$(a)",
        "! a",
    ] {
        assert!(words(command, &variables).is_err(), "{command}");
    }
}

#[test]
fn assignments_are_told_from_commands() {
    assert_eq!(assignment("A_1='b=c'"), Some(("A_1", "'b=c'")));
    for command in ["curl -d a=b", "1A=b", "=b", "a-b=c", "a"] {
        assert_eq!(assignment(command), None, "{command}");
    }
}
