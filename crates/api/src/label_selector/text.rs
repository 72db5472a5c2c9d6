//! Label selectors as they are written on command lines.

use std::collections::BTreeSet;
use std::fmt;

use super::{Requirement, RequirementKind, Selector, SelectorError};

impl Selector {
    /// Reads the form in which selectors are written on command lines and in queries of the Kubernetes API:
    /// requirements separated by commas, each one of `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`,
    /// `a>1`, `a<1`. An empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let fail = |message: String| Err(SelectorError { path: String::new(), message });
        let tokens = tokens(text);
        let mut rest = tokens.as_slice();
        let mut requirements = Vec::new();
        if rest.is_empty() {
            return Ok(Self { requirements });
        }
        loop {
            let (key, kind, after) = match rest {
                [Token::Not, Token::Word(key), after @ ..] => (*key, RequirementKind::DoesNotExist, after),
                [Token::Word(key), Token::Equal, after @ ..] => {
                    let (value, after) = word(after);
                    (*key, RequirementKind::In([value].into()), after)
                }
                [Token::Word(key), Token::NotEqual, after @ ..] => {
                    let (value, after) = word(after);
                    (*key, RequirementKind::NotIn([value].into()), after)
                }
                [Token::Word(key), operator @ (Token::Greater | Token::Less), Token::Word(number), after @ ..] => {
                    let Ok(number) = number.parse() else {
                        return fail(format!("label selector `{text}`: `{number}` is not a whole number"));
                    };
                    let kind = if matches!(operator, Token::Greater) {
                        RequirementKind::GreaterThan(number)
                    } else {
                        RequirementKind::LessThan(number)
                    };
                    (*key, kind, after)
                }
                [Token::Word(key), Token::Word(operator @ ("in" | "notin")), Token::Open, after @ ..] => {
                    let Some((values, after)) = values(after) else {
                        return fail(format!(
                            "label selector `{text}`: the list after `{operator}` does not end with `)`"
                        ));
                    };
                    let kind =
                        if *operator == "in" { RequirementKind::In(values) } else { RequirementKind::NotIn(values) };
                    (*key, kind, after)
                }
                [Token::Word(key), after @ ..] => (*key, RequirementKind::Exists, after),
                _ => {
                    return fail(format!("label selector `{text}`: the name of a label is missing"));
                }
            };
            let requirement = Requirement::new(key, kind, "").map_err(|error| SelectorError {
                path: String::new(),
                message: format!("label selector `{text}`: {}", error.message),
            })?;
            requirements.push(requirement);
            rest = match after {
                [] => return Ok(Self { requirements }),
                [Token::Comma, after @ ..] => after,
                [token, ..] => {
                    return fail(format!("label selector `{text}`: unexpected `{token}`"));
                }
            };
        }
    }
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    /// The textual form, as the Kubernetes API reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, kind }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match kind {
                RequirementKind::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values))?,
                RequirementKind::In(values) => write!(f, "{key} in ({})", list(values))?,
                RequirementKind::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values))?,
                RequirementKind::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                RequirementKind::Exists => f.write_str(key)?,
                RequirementKind::DoesNotExist => write!(f, "!{key}")?,
                RequirementKind::GreaterThan(number) => write!(f, "{key}>{number}")?,
                RequirementKind::LessThan(number) => write!(f, "{key}<{number}")?,
            }
        }
        Ok(())
    }
}

/// A word that may be missing: then it is empty.
fn word<'t, 's>(tokens: &'s [Token<'t>]) -> (String, &'s [Token<'t>]) {
    match tokens {
        [Token::Word(word), after @ ..] => ((*word).to_owned(), after),
        _ => (String::new(), tokens),
    }
}

/// The values up to the closing bracket, which is needed; a missing value is empty.
fn values<'t, 's>(mut rest: &'s [Token<'t>]) -> Option<(BTreeSet<String>, &'s [Token<'t>])> {
    let mut values = BTreeSet::new();
    loop {
        let (value, after) = word(rest);
        values.insert(value);
        match after {
            [Token::Comma, after @ ..] => rest = after,
            [Token::Close, after @ ..] => return Some((values, after)),
            _ => return None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Comma,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    Open,
    Close,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Not => "!",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Open => "(",
            Self::Close => ")",
        })
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = [
            ("==", Token::Equal),
            ("!=", Token::NotEqual),
            ("=", Token::Equal),
            ("!", Token::Not),
            (",", Token::Comma),
            (">", Token::Greater),
            ("<", Token::Less),
            ("(", Token::Open),
            (")", Token::Close),
        ]
        .into_iter()
        .find(|(symbol, _)| rest.starts_with(symbol))
        .map_or_else(
            || {
                let end = rest.find(|c: char| c.is_whitespace() || "=!,><()".contains(c)).unwrap_or(rest.len());
                let (word, _) = rest.split_at(end);
                (Token::Word(word), end)
            },
            |(symbol, token)| (token, symbol.len()),
        );
        tokens.push(token);
        rest = rest.split_at(length).1.trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_textual_form_selects_as_kubernetes_does() {
        let table = [
            ("", "a=b", true),
            ("  ", "", true),
            ("a", "a=b", true),
            ("a", "b=a", false),
            ("!a", "b=a", true),
            ("! a", "a=", false),
            ("a=b", "a=b", true),
            ("a==b", "a=b", true),
            ("a = b", "a=c", false),
            ("a!=b", "a=c", true),
            ("a!=b", "c=d", true),
            ("a!=b", "a=b", false),
            ("a=", "a=", true),
            ("a=,c=d", "a= c=d", true),
            ("a in (x,y)", "a=y", true),
            ("a in (x, y )", "a=z", false),
            ("a in (x,)", "a=", true),
            ("a notin (x,y)", "a=z", true),
            ("a notin (x,y)", "", true),
            ("a notin(x,y)", "a=x", false),
            ("a>1", "a=2", true),
            ("a>1", "a=1", false),
            ("a<1", "a=zero", false),
            ("in in (in)", "in=in", true),
            ("a=b,c!=d,e in (x,y),f,!g", "a=b e=x f=1", true),
            ("a=b,c!=d,e in (x,y),f,!g", "a=b e=x f=1 g=2", false),
            ("a=b,c!=d,e in (x,y),f,!g", "a=b c=d e=x f=1", false),
            ("authorino.kuadrant.io/managed-by=authorino", "authorino.kuadrant.io/managed-by=authorino x=y", true),
        ];
        for (text, object, expected) in table {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&labels(object)), expected, "{text} on `{object}`");
            let again = Selector::parse(&selector.to_string()).unwrap();
            assert_eq!(again, selector, "{text} written as {selector}");
        }
    }

    #[test]
    fn wrong_text_is_refused() {
        for text in [
            ",",
            "a,",
            "a,,b",
            "=b",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a b",
            "!",
            "!!a",
            "a=b c",
            "a>b",
            "a=b=c",
            "(a)",
            "a/b/c=d",
            "-a",
            "a=b-",
            "ä=b",
        ] {
            let error = Selector::parse(text).expect_err(text);
            assert!(error.to_string().starts_with(&format!("label selector `{text}`: ")), "{error}");
        }
    }
}
