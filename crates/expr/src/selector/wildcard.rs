//! Names with `*` and `?`.

use super::budget::{Budget, Overrun};

/// A name in which `*` stands for any run of characters and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Character(char),
    One,
    Run,
}

impl Wildcard {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        Self(pieces)
    }

    /// Reads a pattern in which `\` makes the next character an ordinary one.
    pub(super) fn parse(text: &str) -> Self {
        let mut characters = text.chars();
        let mut pieces = Vec::new();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' => Piece::Run,
                '?' => Piece::One,
                '\\' => Piece::Character(characters.next().unwrap_or('\\')),
                other => Piece::Character(other),
            });
        }
        Self(pieces)
    }

    /// Whether the whole text fits. After a mismatch only the latest `*` takes one character more, so the cost is at
    /// most the product of both lengths, and it is paid for as it arises.
    pub(super) fn matches(&self, text: &str, budget: &mut Budget) -> Result<bool, Overrun> {
        let mut pieces = self.0.as_slice();
        let mut rest = text;
        let mut retry: Option<(&[Piece], &str)> = None;
        loop {
            budget.charge(1)?;
            let mut characters = rest.chars();
            let next = characters.next();
            match (pieces.split_first(), next) {
                (Some((Piece::Run, after)), _) => {
                    retry = Some((after, rest));
                    pieces = after;
                    continue;
                }
                (Some((Piece::One, after)), Some(_)) => {
                    pieces = after;
                    rest = characters.as_str();
                    continue;
                }
                (Some((Piece::Character(expected), after)), Some(found)) if *expected == found => {
                    pieces = after;
                    rest = characters.as_str();
                    continue;
                }
                (None, None) => return Ok(true),
                _ => {}
            }
            let Some((after, from)) = retry else {
                return Ok(false);
            };
            let mut longer = from.chars();
            if longer.next().is_none() {
                return Ok(false);
            }
            retry = Some((after, longer.as_str()));
            pieces = after;
            rest = longer.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        for (pattern, text, fits) in [
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "banana", true),
            ("*a", "bananas", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdef", false),
            ("?ip", "zip", true),
            ("?ip", "ip", false),
            ("?", "é", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "anything", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"\", r"\", true),
        ] {
            assert_eq!(Wildcard::parse(pattern).matches(text, &mut Budget::new()), Ok(fits), "{pattern} on {text}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = "*".to_owned() + &"a".repeat(2_000) + "b";
        let text = "a".repeat(1 << 20);
        assert_eq!(Wildcard::parse(&pattern).matches(&text, &mut Budget::new()), Err(Overrun));
    }
}
