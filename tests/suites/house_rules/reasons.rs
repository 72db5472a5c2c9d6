//! The reasons that the reference shows are those that the code gives.

use std::{fs, path::Path};

use super::{documents::documents, markdown};
use crate::support::workspace::{files_below, root, shown};

#[test]
fn reasons_in_tables_are_texts_of_the_code() {
    let mut literals = Vec::new();
    for file in files_below(&root().join("crates")) {
        if is_production(&file) {
            literals.extend(string_literals(&fs::read_to_string(&file).unwrap()));
        }
    }
    let mut count = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let lines: Vec<_> = markdown::sections(&text).into_iter().flat_map(|section| section.lines).collect();
        for table in markdown::tables(&lines).iter().filter(|table| table.header[0] == "reason") {
            for (line, cells) in &table.rows {
                for reason in markdown::code(cells[0]) {
                    count += 1;
                    if !is_in(&literals, reason) {
                        wrong.push(format!("{}:{line}: `{reason}`", shown(&document)));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no code says this: {wrong:#?}");
    assert!(count > 50, "only {count} reasons were found");
}

/// Whether the fixed parts of a reason, between `…`, stand in string literals. A part may be put together of several at
/// a colon, as errors with a cause are.
fn is_in(literals: &[String], reason: &str) -> bool {
    let occurs = |text: &str| literals.iter().any(|literal| literal.contains(text));
    reason.split('…').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        let part = part.trim_end_matches(':');
        occurs(part) || part.contains(": ") && part.split(": ").all(&occurs)
    })
}

/// Whether it is Rust that runs when somebody uses the program.
fn is_production(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_string_lossy();
    let is_test =
        name == "tests.rs" || name == "testing.rs" || name.ends_with("_tests.rs") || name.starts_with("test_");
    file.extension().is_some_and(|extension| extension == "rs")
        && !is_test
        && file.components().any(|part| part.as_os_str() == "src")
}

/// The string literals of a Rust file, up to the tests at its end.
fn string_literals(text: &str) -> Vec<String> {
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let mut literals = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let before = &rest[..at];
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if let Some(inner) = rest.strip_prefix('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let is_raw = before[..before.len() - hashes].ends_with('r');
            let (literal, after) = if is_raw { raw(inner, hashes) } else { quoted(inner) };
            literals.push(literal);
            rest = after;
        } else if rest.starts_with("'\\") {
            rest = rest[2..].split_once('\'').map_or("", |(escaped, after)| match escaped {
                "" => after.strip_prefix('\'').unwrap_or(after),
                _ => after,
            });
        } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
            rest = rest.splitn(3, '\'').nth(2).unwrap_or_default();
        } else {
            rest = &rest[1..];
        }
    }
    literals
}

/// A raw literal from behind its opening quote, and what follows it.
fn raw(text: &str, hashes: usize) -> (String, &str) {
    let end = format!("\"{}", "#".repeat(hashes));
    let (literal, after) = text.split_once(&end).unwrap_or((text, ""));
    (literal.to_owned(), after)
}

/// A literal from behind its opening quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                // The line goes on behind the indentation of the next one.
                Some('\n') => characters = characters.as_str().trim_start().chars(),
                Some(escaped) => literal.push(escaped),
                None => break,
            },
            _ => literal.push(character),
        }
    }
    (literal, characters.as_str())
}

#[test]
fn string_literals_are_found() {
    let text = r##"
//! "no" doc's comment
fn f<'a>(x: &'a str) -> char { // it's "not"
    let a = "one \
             text with \"quotes\"";
    let b = ['"', '\'', '\\', '\n'];
    let c = r#"raw "text""#;
    let d = 6 / 3; let e = r"raw";
    'b'
}
#[cfg(test)]
mod tests {
    const A: &str = "of a test";
}
"##;
    assert_eq!(string_literals(text), ["one text with \"quotes\"", "raw \"text\"", "raw"]);
    let literals = [
        "oidc: malformed jwt: ".to_owned(),
        "expected {} parts".to_owned(),
        "x509: ".to_owned(),
        "bad usage".to_owned(),
    ];
    let cases = [
        ("oidc: malformed jwt: …", true),
        ("expected … parts", true),
        ("x509: bad usage", true),
        ("x509: good usage", false),
        ("expected … pieces", false),
    ];
    for (reason, expected) in cases {
        assert_eq!(is_in(&literals, reason), expected, "{reason}");
    }
}
