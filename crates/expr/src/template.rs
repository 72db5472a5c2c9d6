//! Text with selectors in braces: `Hello, {auth.identity.name}!`.
//!
//! Outside of braces a backslash makes a brace or a backslash an ordinary character, and is dropped before any other.
//! Inside, braces balance and belong to the selector, as do backslashes. What is found is put in as it is, without any
//! encoding: whoever puts a template into a URL or into JSON must know what can stand there.

use crate::{
    document::Document,
    error::{EvaluationError, ParseError},
    references::References,
    selector::Selector,
};

/// The longest template, in bytes.
const LENGTH: usize = 64 << 10;
/// The longest text that is made, in bytes.
const OUTPUT: usize = 4 << 20;

/// Text with selectors in braces.
#[derive(Clone, Debug)]
pub struct Template {
    source: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Selector(Selector),
}

impl Template {
    /// Whether a selector is to be read as a template: whether its opening braces are other than those with which the
    /// arguments of its modifiers start (`name@modifier:{`).
    #[must_use]
    pub fn is_template(source: &str) -> bool {
        source.bytes().filter(|byte| *byte == b'{').count() != modifiers_with_braces(source.as_bytes())
    }

    /// Parses a template. A brace that is not closed is no error: from there on, the template is empty.
    ///
    /// # Errors
    /// When a selector cannot be parsed, or the template is longer than is allowed.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        if source.len() > LENGTH {
            return Err(ParseError::new(format!("template is longer than {LENGTH} bytes")));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut escaped = false;
        let mut rest = source;
        while let Some(character) = rest.chars().next() {
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
            match character {
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                '{' if !escaped => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    let Some((path, after)) = placeholder(rest) else {
                        break;
                    };
                    if !path.is_empty() {
                        let selector = Selector::parse(path)
                            .map_err(|error| ParseError::new(format!("in `{{{path}}}`: {error}")))?;
                        parts.push(Part::Selector(selector));
                    }
                    rest = after;
                }
                other => literal.push(other),
            }
            escaped = false;
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { source: source.into(), parts })
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The parts of the document that it reads.
    #[must_use]
    pub fn references(&self) -> References {
        self.parts.iter().fold(References::default(), |all, part| match part {
            Part::Text(_) => all,
            Part::Selector(selector) => all.with(selector.references()),
        })
    }

    /// The text for this document. A text that would be too long is left out altogether, because half a text may mean
    /// something else.
    #[must_use]
    pub fn render(&self, document: &dyn Document) -> String {
        self.try_render(document).unwrap_or_default()
    }

    /// The text as [`render`](Self::render) makes it.
    ///
    /// # Errors
    /// When the text would be too long, or a selector takes too much work for this document.
    pub fn try_render(&self, document: &dyn Document) -> Result<String, EvaluationError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Selector(selector) => text.push_str(&selector.try_select_text(document)?),
            }
            if text.len() > OUTPUT {
                return Err(EvaluationError::new(format!("template makes more than {OUTPUT} bytes of this document")));
            }
        }
        Ok(text)
    }
}

/// What is inside of braces of which the first is open, and what is after them.
fn placeholder(source: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((source.get(..at)?, source.get(at + 1..)?));
        }
    }
    None
}

/// How often the regular expression `[^@]+@\w+:{` matches, each match beginning after the one before. This is the
/// rule by which configurations have always been read, mail addresses before braces included.
fn modifiers_with_braces(source: &[u8]) -> usize {
    let mut matches = 0;
    let mut free_from = 0;
    for (at, byte) in source.iter().enumerate() {
        let preceded = at > free_from && at.checked_sub(1).is_some_and(|before| source.get(before) != Some(&b'@'));
        if *byte != b'@' || !preceded {
            continue;
        }
        let word = source.iter().skip(at + 1).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let end = at + 1 + word;
        if word > 0 && source.get(end..).is_some_and(|rest| rest.starts_with(b":{")) {
            matches += 1;
            free_from = end + 2;
        }
    }
    matches
}
