//! Characters and classes of characters: escapes, Unicode classes, brackets.

use super::{Translator, error, push_literal};
use crate::error::ParseError;

impl Translator<'_> {
    /// The character that an escape stands for: a control character, a code, or itself.
    pub(super) fn escaped_character(&mut self) -> Result<char, ParseError> {
        let start = self.rest;
        let escaped = start.get(1..).unwrap_or_default();
        let Some(character) = escaped.chars().next() else {
            return Err(error("trailing backslash at end of expression", Some("")));
        };
        let after = escaped.get(character.len_utf8()..).unwrap_or_default();
        let octal =
            |text: &str, most: usize| text.bytes().take(most).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let (code, length) = match character {
            // One digit alone would be a reference to a group.
            '1'..='7' if octal(after, 1) == 0 => (None, 2),
            '0'..='7' => {
                let digits = 1 + octal(after, 2);
                (escaped.get(..digits).and_then(|digits| u32::from_str_radix(digits, 8).ok()), 1 + digits)
            }
            'x' => match after.strip_prefix('{') {
                Some(braced) => {
                    let digits = braced.bytes().take_while(u8::is_ascii_hexdigit).count();
                    let closed = braced.as_bytes().get(digits) == Some(&b'}');
                    let code = braced.get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    (code.filter(|_| closed), (4 + digits).min(start.len()))
                }
                None => {
                    let digits = after.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
                    let code =
                        after.get(..2).filter(|_| digits == 2).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    (code, 2 + digits)
                }
            },
            'a' => (Some(7), 2),
            'f' => (Some(12), 2),
            'n' => (Some(10), 2),
            'r' => (Some(13), 2),
            't' => (Some(9), 2),
            'v' => (Some(11), 2),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => (Some(u32::from(other)), 2),
            other => (None, 1 + other.len_utf8()),
        };
        match code.and_then(char::from_u32) {
            Some(character) => {
                self.skip(length);
                Ok(character)
            }
            None => Err(error("invalid escape sequence", Some(start.get(..length).unwrap_or(start)))),
        }
    }

    /// `\pN`, `\p{Name}`, `\p{^Name}` and the same with a large P.
    pub(super) fn unicode_class(&mut self) -> Result<String, ParseError> {
        let start = self.rest;
        let inside = start.get(2..).unwrap_or_default();
        let (name, length) = match inside.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (braced.get(..end).unwrap_or_default(), 4 + end),
                None => return Err(error("invalid character class range", Some(start))),
            },
            None => match inside.chars().next() {
                Some(letter) => (inside.get(..letter.len_utf8()).unwrap_or_default(), 2 + letter.len_utf8()),
                None => return Err(error("invalid character class range", Some(start))),
            },
        };
        let written = start.get(..length).unwrap_or(start);
        let mut negated = start.starts_with(r"\P");
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negated = !negated;
                name
            }
            None => name,
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(error("invalid character class range", Some(written)));
        }
        self.skip(length);
        let class = format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' });
        self.classes.push((class.clone(), written));
        Ok(class)
    }

    /// A class in brackets. Everything in it is written as single characters, ranges and classes, so that nothing
    /// in it can mean more to the engine.
    pub(super) fn class(&mut self) -> Result<(), ParseError> {
        let whole = self.rest;
        let unclosed = || error("missing closing ]", Some(whole));
        self.take('[');
        let mut class = String::from("[");
        if self.rest.starts_with('^') {
            self.take('^');
            class.push('^');
        }
        let mut first = true;
        loop {
            match self.rest.chars().next() {
                None => return Err(unclosed()),
                Some(']') if !first => break,
                Some(_) => {}
            }
            first = false;
            if let Some(named) = self.rest.strip_prefix("[:")
                && let Some(end) = named.find(":]")
            {
                let written = self.rest.get(..end + 4).unwrap_or_default();
                if !is_posix_class(named.get(..end).unwrap_or_default()) {
                    return Err(error("invalid character class range", Some(written)));
                }
                class.push_str(written);
                self.skip(end + 4);
                continue;
            }
            if let Some(escaped) = self.rest.strip_prefix('\\') {
                match escaped.chars().next() {
                    Some('p' | 'P') => {
                        class.push_str(&self.unicode_class()?);
                        continue;
                    }
                    Some(letter) if ascii_class(letter).is_some() => {
                        class.push_str(&format!("[{}]", ascii_class(letter).unwrap_or_default()));
                        self.skip(2);
                        continue;
                    }
                    _ => {}
                }
            }
            let range = self.rest;
            let low = self.class_character(&unclosed)?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.take('-');
                high = self.class_character(&unclosed)?;
            }
            if high < low {
                let length = range.len() - self.rest.len();
                return Err(error("invalid character class range", range.get(..length)));
            }
            push_literal(&mut class, low);
            if high != low {
                class.push('-');
                push_literal(&mut class, high);
            }
        }
        self.take(']');
        class.push(']');
        self.part(&class);
        Ok(())
    }

    fn class_character(&mut self, unclosed: &impl Fn() -> ParseError) -> Result<char, ParseError> {
        match self.rest.chars().next() {
            None => Err(unclosed()),
            Some('\\') => self.escaped_character(),
            Some(character) => {
                self.take(character);
                Ok(character)
            }
        }
    }
}

/// The inside of the brackets that a letter after a backslash stands for.
pub(super) fn ascii_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        'D' => "^0-9",
        's' => r"\t\n\x0c\r ",
        'S' => r"^\t\n\x0c\r ",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        _ => return None,
    })
}

fn is_posix_class(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    NAMES.contains(&name.strip_prefix('^').unwrap_or(name))
}
