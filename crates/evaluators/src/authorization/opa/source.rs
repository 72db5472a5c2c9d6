//! The text of a policy before it is parsed: what the parser must never see, and what makes the text a module.
//!
//! The parser of the engine reads some texts in exponential time, recurses without bound on others, and in the older
//! syntax takes a keyword whose import is missing for the name of a rule: `allow if { false }` becomes an unconditional
//! `allow`. All of that shows in the tokens already, so the tokens are looked at first, with the lexer of the engine,
//! so that there is one opinion about where strings and comments end.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::{
    PolicyLengthConfig, Source,
    unstable::{Lexer, Token, TokenKind},
};

use super::policy::{PolicyError, RegoVersion};

/// The most bytes of a policy.
pub(super) const MAX_BYTES: usize = 128 * 1024;
/// The deepest nesting of brackets.
const MAX_BRACKETS: usize = 24;
/// The most tokens that the parser may have to read, each counted as often as it is read again.
const MAX_PARSER_WORK: u64 = 1_000_000;
/// The most `-` in a row: each is a recursion of the parser.
const MAX_SIGNS: usize = 8;
/// The most imports: every one is compared with all others.
const MAX_IMPORTS: usize = 100;

/// The file name in messages of the engine.
pub(super) const FILE: &str = "policy.rego";

/// The words that are keywords only when imported, before version 1 of the language.
const LATE_KEYWORDS: [&str; 4] = ["if", "in", "every", "contains"];

/// The module that is made of what the user wrote: a package if it has none, and `default allow = false` unless it has
/// a default of its own. The default comes last because imports must come first; lines keep their numbers.
pub(super) fn module(rego: &str, version: RegoVersion) -> Result<String, PolicyError> {
    if rego.len() > MAX_BYTES {
        return Err(PolicyError::new(format!("the policy has {} bytes, more than {MAX_BYTES}", rego.len())));
    }
    if rego.contains('\0') {
        return Err(PolicyError::new("rego_parse_error: the policy contains a NUL character"));
    }
    let tokens = tokens(rego)?;
    check_signs(&tokens)?;
    check_nesting(&tokens)?;
    check_imports(&tokens)?;
    if version == RegoVersion::V0 {
        check_late_keywords(&tokens)?;
    }
    let package = match tokens.first() {
        Some(token) if is_word(token, "package") => "",
        _ => "package usher ",
    };
    let default = if has_default_allow(&tokens) { "" } else { "default allow = false\n" };
    Ok(format!("{package}{rego}\n{default}"))
}

/// The limits of the engine's own reader, set so that ours are the stricter ones; long lines are harmless.
pub(super) fn length_limits() -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MIN.saturating_add(4 * MAX_BYTES),
        max_lines: NonZeroUsize::MIN.saturating_add(4 * MAX_BYTES),
    }
}

fn tokens(rego: &str) -> Result<Vec<Token>, PolicyError> {
    let limits = length_limits();
    let source =
        Source::from_contents_with_limits(FILE.to_owned(), rego.to_owned(), limits.max_file_bytes, limits.max_lines)
            .map_err(|error| PolicyError::parse(&error))?;
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(limits.max_col);
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next_token().map_err(|error| PolicyError::parse(&error))?;
        if token.0 == TokenKind::Eof {
            return Ok(tokens);
        }
        tokens.push(token);
    }
}

fn text(token: &Token) -> &str {
    match token.0 {
        TokenKind::String | TokenKind::RawString => "",
        _ => token.1.text(),
    }
}

fn is_word(token: &Token, word: &str) -> bool {
    token.0 == TokenKind::Ident && token.1.text() == word
}

fn is_symbol(token: &Token, symbol: &str) -> bool {
    token.0 == TokenKind::Symbol && token.1.text() == symbol
}

fn check_signs(tokens: &[Token]) -> Result<(), PolicyError> {
    let mut run = 0;
    for token in tokens {
        run = if is_symbol(token, "-") { run + 1 } else { 0 };
        if run > MAX_SIGNS {
            return Err(PolicyError::at(token.1.line, format_args!("more than {MAX_SIGNS} signs in a row")));
        }
    }
    Ok(())
}

/// Bounds the work of the parser: it tries what a bracket holds as a comprehension first and reads it again as a list,
/// set or object, at every level; after a `|` up to three times.
fn check_nesting(tokens: &[Token]) -> Result<(), PolicyError> {
    struct Bracket {
        work: u64,
        rereads: bool,
        pipe: bool,
    }
    let mut open: Vec<Bracket> = Vec::new();
    let mut work: u64 = 0;
    let mut add = |open: &mut Vec<Bracket>, amount: u64| match open.last_mut() {
        Some(bracket) => bracket.work = bracket.work.saturating_add(amount),
        None => work = work.saturating_add(amount),
    };
    for token in tokens {
        add(&mut open, 1);
        match text(token) {
            "[" | "{" => open.push(Bracket { work: 0, rereads: true, pipe: false }),
            "(" | "set(" => open.push(Bracket { work: 0, rereads: false, pipe: false }),
            "|" => {
                if let Some(bracket) = open.last_mut() {
                    bracket.pipe = true;
                }
            }
            "]" | "}" | ")" => {
                if let Some(bracket) = open.pop() {
                    let times = if !bracket.rereads {
                        1
                    } else if bracket.pipe {
                        4
                    } else {
                        2
                    };
                    add(&mut open, bracket.work.saturating_mul(times));
                }
            }
            _ => {}
        }
        if open.len() > MAX_BRACKETS {
            return Err(PolicyError::at(
                token.1.line,
                format_args!("brackets are nested more than {MAX_BRACKETS} deep"),
            ));
        }
    }
    // What is still open never ends well, but the parser reads it before it knows.
    while let Some(bracket) = open.pop() {
        add(&mut open, bracket.work.saturating_mul(4));
    }
    if work > MAX_PARSER_WORK {
        return Err(PolicyError::new("rego_parse_error: brackets are nested too deeply around too much text"));
    }
    Ok(())
}

fn check_imports(tokens: &[Token]) -> Result<(), PolicyError> {
    if tokens.iter().filter(|token| is_word(token, "import")).count() > MAX_IMPORTS {
        return Err(PolicyError::new(format!("rego_parse_error: more than {MAX_IMPORTS} imports")));
    }
    Ok(())
}

/// Refuses `if`, `in`, `every` and `contains` where they stand as keywords without being imported.
///
/// The engine would take them for names: of variables in the better case, of rules without a body in the worse one.
fn check_late_keywords(tokens: &[Token]) -> Result<(), PolicyError> {
    let imported = imported_keywords(tokens);
    for (index, token) in tokens.iter().enumerate() {
        let Some(keyword) = LATE_KEYWORDS.iter().find(|keyword| is_word(token, keyword)) else { continue };
        if imported.contains(keyword) {
            continue;
        }
        let is_member = index.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|t| is_symbol(t, "."));
        // `contains` is also the name of a function.
        let is_call = *keyword == "contains" && tokens.get(index + 1).is_some_and(|t| is_symbol(t, "("));
        if !is_member && !is_call {
            return Err(PolicyError::at(
                token.1.line,
                format_args!("`{keyword}` needs `import rego.v1`, `import future.keywords.{keyword}` or `version: v1`"),
            ));
        }
    }
    Ok(())
}

fn imported_keywords(tokens: &[Token]) -> Vec<&'static str> {
    let mut imported = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if !is_word(token, "import") {
            continue;
        }
        let path: Vec<&str> = tokens.iter().skip(index + 1).take(6).map(text).collect();
        match path.as_slice() {
            ["rego", ".", "v1", ..] => imported.extend(LATE_KEYWORDS),
            ["future", ".", "keywords", ".", "every", ..] => imported.extend(["every", "in"]),
            ["future", ".", "keywords", ".", keyword, ..] => {
                imported.extend(LATE_KEYWORDS.iter().filter(|known| *known == keyword));
            }
            ["future", ".", "keywords", ..] => imported.extend(LATE_KEYWORDS),
            _ => {}
        }
    }
    imported
}

fn has_default_allow(tokens: &[Token]) -> bool {
    tokens.windows(3).any(|window| match window {
        [default, allow, assign] => {
            is_word(default, "default") && is_word(allow, "allow") && matches!(text(assign), "=" | ":=")
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module_error(rego: &str, version: RegoVersion) -> String {
        module(rego, version).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_module_gets_what_it_lacks() {
        for (rego, expected) in [
            ("allow = true", "package usher allow = true\ndefault allow = false\n"),
            ("package a.b\nallow = true", "package a.b\nallow = true\ndefault allow = false\n"),
            (
                "# package a\nallow = true # end",
                "package usher # package a\nallow = true # end\ndefault allow = false\n",
            ),
            ("default allow := false", "package usher default allow := false\n"),
            ("x = `default allow = true`", "package usher x = `default allow = true`\ndefault allow = false\n"),
            ("", "package usher \ndefault allow = false\n"),
        ] {
            assert_eq!(module(rego, RegoVersion::V0).unwrap(), expected, "{rego}");
        }
    }

    /// This guard stands between a missing import and a policy that allows everything. It stays.
    #[test]
    fn keywords_without_their_import_are_refused_in_the_older_syntax() {
        for (rego, keyword) in [
            ("allow if { false }", "if"),
            ("allow if false", "if"),
            ("allow := true if { false }", "if"),
            ("allow\nif\n{ false }", "if"),
            ("allow if\n{ false }", "if"),
            ("allow { false } else := true if { false }", "if"),
            ("default allow = false\nallow if input.x", "if"),
            ("import future.keywords.in\nallow if { false }", "if"),
            ("import future.keywords.every\nallow if { false }", "if"),
            ("import future.keywords.contains\nimport data.future.keywords.if\nallow if { false }", "if"),
            ("# import rego.v1\nallow if { false }", "if"),
            ("x := `import rego.v1`\nallow if { false }", "if"),
            ("deny contains \"x\" { true }", "contains"),
            ("deny contains x { x = 1 }", "contains"),
            ("allow { 1 in [1] }", "in"),
            ("allow { some x in input.y; x }", "in"),
            ("import future.keywords.if\nallow { 1 in [1] }", "in"),
            ("allow { every x in [1] { x == 2 } }", "every"),
        ] {
            let error = module_error(rego, RegoVersion::V0);
            assert!(error.contains(&format!("`{keyword}` needs `import rego.v1`")), "{rego}: {error}");
        }
    }

    #[test]
    fn keywords_are_fine_where_they_are_imported_or_are_no_keywords() {
        for (rego, version) in [
            ("import rego.v1\nallow if { true }", RegoVersion::V0),
            ("import future.keywords\nallow if { 1 in [1] }", RegoVersion::V0),
            ("import future.keywords.if\nallow if true", RegoVersion::V0),
            ("import future.keywords.every\nallow { every x in [1] { x == 1 } }", RegoVersion::V0),
            ("allow { contains(input.x, \"if in every\") }", RegoVersion::V0),
            ("allow { input.if.in.every.contains }", RegoVersion::V0),
            ("allow { input[\"if\"] == `in` } # if in every", RegoVersion::V0),
            ("allow if { 1 in [1] }", RegoVersion::V1),
        ] {
            assert_eq!(module_error(rego, version), "", "{rego}");
        }
    }

    #[test]
    fn texts_that_the_parser_cannot_digest_are_refused() {
        let nested =
            |open: &str, close: &str, depth: usize| format!("x = {}1{}", open.repeat(depth), close.repeat(depth));
        for (rego, part) in [
            (nested("[", "]", 20), "nested too deeply"),
            (nested("{", "}", 20), "nested too deeply"),
            (nested("{1:", "}", 20), "nested too deeply"),
            (nested("[1|", ",2]", 10), "nested too deeply"),
            (nested("[", "", 20), "nested too deeply"),
            (nested("(", ")", 25), "more than 24 deep"),
            (nested("f(", ")", 25), "more than 24 deep"),
            (nested("a[", "]", 1000), "more than 24 deep"),
            (format!("x = [[[[[[[[[[{}]]]]]]]]]]", "1,".repeat(2000)), "nested too deeply"),
            (format!("x = {}1", "- ".repeat(100)), "signs in a row"),
            (format!("x = {}1", "-\n".repeat(100)), "signs in a row"),
            ("import data.a\n".repeat(101), "imports"),
            (format!("x = `{}`", "a".repeat(MAX_BYTES)), "bytes"),
            ("allow = true\0".to_owned(), "NUL"),
            ("x = \"abc".to_owned(), "rego_parse_error"),
            ("x = `abc".to_owned(), "rego_parse_error"),
        ] {
            let error = module_error(&rego, RegoVersion::V1);
            assert!(error.contains(part), "{}: {error}", rego.chars().take(50).collect::<String>());
        }
    }

    #[test]
    fn ordinary_nesting_is_accepted() {
        let table = format!(
            "roles = {{\"admin\": {{\"paths\": [{}]}}}}",
            "{\"m\": [\"GET\", \"PUT\"], \"p\": \"/x\"},".repeat(1500)
        );
        for rego in [
            "x = [[[[[[[[[[[[1]]]]]]]]]]]]",
            "allow { f(g(h([x | x = input.a[_]; y = {z | z = input.b[x[\"k\"][0]]}; count(y) > 0])))[0] }",
            "x = \"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\" # {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{",
            table.as_str(),
        ] {
            assert_eq!(module_error(rego, RegoVersion::V1), "", "{}", rego.chars().take(50).collect::<String>());
        }
    }
}
