//! Regular expressions as RE2 and Go read them.
//!
//! The expression is read by the rules of RE2 and written anew for the engine at hand, which reads some of the same
//! characters in another way: here `\d`, `\w`, `\s` and `\b` know ASCII only, braces that are no repetition and
//! brackets inside of brackets are ordinary characters, and `\Q…\E` quotes. Matching takes time linear in the text.

mod characters;

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use self::characters::ascii_class;
use crate::{error::ParseError, interner::Interner};

/// The longest expression, in bytes.
const LENGTH: usize = 16 << 10;
/// How deep groups may stand in groups.
const NESTING: u32 = 200;
/// The largest repetition, alone and multiplied with those around it.
const REPETITIONS: u32 = 1000;
/// The largest compiled expression, in bytes.
const SIZE: usize = 4 << 20;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct RegularExpression {
    expression: Arc<Regex>,
}

impl RegularExpression {
    /// Compiles an expression in the syntax of RE2.
    ///
    /// # Errors
    /// `error parsing regexp: …` and the part at fault, in the words of Go.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        static KNOWN: Interner<Regex> = Interner::new();
        // One takes kilobytes, and more when it is used; all who have the same source share it.
        let expression = KNOWN.get_or_compile(source, || Ok(Self::compile(source, Dialect::Re2)?.expression))?;
        Ok(Self { expression })
    }

    /// As [`parse`](Self::parse), for an expression that a request brought: it is not shared, so that requests cannot fill
    /// what all share.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn parse_unshared(source: &str) -> Result<Self, ParseError> {
        Self::compile(source, Dialect::Re2)
    }

    /// Compiles an interoperable expression (RFC 9485) that a text must match as a whole, or only somewhere. Its
    /// syntax is nearly a subset of RE2: only the dot is different (RFC 9535, section 2.4.6 and 2.4.7).
    pub(crate) fn interoperable(source: &str, whole: bool) -> Result<Self, ParseError> {
        Self::compile(source, Dialect::Interoperable { whole })
    }

    /// Whether the expression is found anywhere in the text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.expression.is_match(text.as_bytes())
    }

    fn compile(source: &str, dialect: Dialect) -> Result<Self, ParseError> {
        if source.len() > LENGTH {
            return Err(error("expression too large", None));
        }
        let mut translator = Translator::new(source, dialect);
        translator.run()?;
        let translated = match dialect {
            Dialect::Interoperable { whole: true } => format!(r"\A(?:{})\z", translator.output),
            _ => translator.output,
        };
        let compiled = RegexBuilder::new(&translated).size_limit(SIZE).nest_limit(4 * NESTING).build();
        match compiled {
            Ok(expression) => Ok(Self { expression: Arc::new(expression) }),
            Err(regex::Error::CompiledTooBig(_)) => Err(error("expression too large", None)),
            // Only the names of Unicode classes are left to the engine.
            Err(_) => Err(match translator.classes.iter().find(|(class, _)| Regex::new(class).is_err()) {
                Some((_, written)) => error("invalid character class range", Some(written)),
                None => error("invalid expression", Some(source)),
            }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Re2,
    Interoperable { whole: bool },
}

/// Reads an expression from the left to the right and writes the same for the engine.
struct Translator<'s> {
    source: &'s str,
    rest: &'s str,
    output: String,
    /// Flags that are to be written before the next part: a repetition that follows them still belongs to the part
    /// before them.
    flags: String,
    dialect: Dialect,
    /// The groups that are open, outermost first.
    groups: Vec<Group>,
    /// The group that is being read, or the whole expression.
    current: Group,
    /// Unicode classes as written for the engine, and as they were written.
    classes: Vec<(String, &'s str)>,
}

/// What must be known of a group to judge what follows.
#[derive(Default)]
struct Group {
    /// The product of the nested repetitions of the costliest part so far.
    repetitions: u32,
    /// The same of the last part, to which a repetition would belong; `None` where there is nothing to repeat.
    last: Option<u32>,
    /// Where the repetition of the last part starts: repetitions of repetitions are refused.
    repeated_from: Option<usize>,
}

impl<'s> Translator<'s> {
    fn new(source: &'s str, dialect: Dialect) -> Self {
        Self {
            source,
            rest: source,
            output: String::with_capacity(source.len() * 2),
            flags: String::new(),
            dialect,
            groups: Vec::new(),
            current: Group::default(),
            classes: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), ParseError> {
        while let Some(character) = self.rest.chars().next() {
            match character {
                '(' => self.open_group()?,
                ')' => self.close_group()?,
                '|' => {
                    self.take('|');
                    self.end_of_part();
                    self.output.push('|');
                    self.current.last = None;
                    self.current.repeated_from = None;
                }
                '*' | '+' | '?' => self.repeat(1, 1)?,
                '{' => match Repetition::read(self.rest) {
                    Some(repetition) => self.repeat_counted(&repetition)?,
                    None => self.literal('{'),
                },
                '[' => self.class()?,
                '\\' => self.escape()?,
                '.' => {
                    self.take('.');
                    self.part(if self.dialect == Dialect::Re2 { "." } else { r"[^\n\r]" });
                }
                '^' | '$' => {
                    self.take(character);
                    self.part(if character == '^' { "^" } else { "$" });
                }
                other => self.literal(other),
            }
        }
        if self.groups.is_empty() { Ok(()) } else { Err(error("missing closing )", Some(self.source))) }
    }

    /// Moves beyond a character that was seen.
    fn take(&mut self, character: char) {
        self.skip(character.len_utf8());
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }

    fn position(&self) -> usize {
        self.source.len() - self.rest.len()
    }

    fn literal(&mut self, character: char) {
        self.take(character);
        self.end_of_part();
        push_literal(&mut self.output, character);
        self.begin_part();
    }

    /// Writes something that can be repeated.
    fn part(&mut self, translated: &str) {
        self.end_of_part();
        self.output.push_str(translated);
        self.begin_part();
    }

    fn begin_part(&mut self) {
        self.current.last = Some(1);
        self.current.repeated_from = None;
    }

    fn end_of_part(&mut self) {
        self.output.push_str(&std::mem::take(&mut self.flags));
        self.current.repetitions = self.current.repetitions.max(self.current.last.unwrap_or(1));
    }

    fn open_group(&mut self) -> Result<(), ParseError> {
        if self.groups.len() >= NESTING as usize {
            return Err(error("expression nests too deeply", Some(self.source)));
        }
        let Some(flagged) = self.rest.strip_prefix("(?") else {
            self.take('(');
            self.push_group("(?:");
            return Ok(());
        };
        if flagged.starts_with("P<") || flagged.starts_with('<') {
            return self.open_named_group();
        }
        self.read_flags()
    }

    fn push_group(&mut self, translated: &str) {
        self.end_of_part();
        self.output.push_str(translated);
        self.groups.push(std::mem::take(&mut self.current));
    }

    /// `(?P<name>` or `(?<name>`. No group is ever asked for, so none keeps its name.
    fn open_named_group(&mut self) -> Result<(), ParseError> {
        let group = self.rest;
        // Look-behind starts in the same way.
        if group.starts_with("(?<=") || group.starts_with("(?<!") {
            return Err(error("invalid or unsupported Perl syntax", group.get(..4)));
        }
        let start = if group.starts_with("(?P<") { 4 } else { 3 };
        let Some(length) = group.get(start..).and_then(|rest| rest.find('>')) else {
            return Err(error("invalid named capture", Some(group)));
        };
        let name = group.get(start..start + length).unwrap_or_default();
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !valid {
            return Err(error("invalid named capture", group.get(..=start + length)));
        }
        self.skip(start + length + 1);
        self.push_group("(?:");
        Ok(())
    }

    /// `(?flags)` or `(?flags:`.
    fn read_flags(&mut self) -> Result<(), ParseError> {
        let group = self.rest;
        let mut negated = false;
        let mut any = false;
        for (at, character) in group.char_indices().skip(2) {
            match character {
                'i' | 'm' | 's' | 'U' => any = true,
                '-' if !negated => {
                    negated = true;
                    any = false;
                }
                // A minus sign must be followed by flags.
                ':' | ')' if !negated || any => {
                    let flags = group.get(2..at).unwrap_or_default();
                    let written = if flags.is_empty() { "(?".to_owned() } else { format!("(?{flags}") };
                    self.skip(at + 1);
                    if character == ':' {
                        self.push_group(&format!("{written}:"));
                    } else {
                        if !flags.is_empty() {
                            self.flags.push_str(&format!("{written})"));
                        }
                        // Behind a repetition, the sign of another one would be read as part of the first.
                        if self.current.repeated_from.take().is_some() {
                            self.current.repetitions =
                                self.current.repetitions.max(self.current.last.take().unwrap_or(1));
                        }
                    }
                    return Ok(());
                }
                _ => {
                    return Err(error("invalid or unsupported Perl syntax", group.get(..at + character.len_utf8())));
                }
            }
        }
        Err(error("invalid or unsupported Perl syntax", Some(group)))
    }

    fn close_group(&mut self) -> Result<(), ParseError> {
        let Some(outer) = self.groups.pop() else {
            return Err(error("unexpected )", Some(self.source)));
        };
        self.take(')');
        self.end_of_part();
        self.output.push(')');
        let inner = std::mem::replace(&mut self.current, outer);
        self.current.last = Some(inner.repetitions.max(1));
        self.current.repeated_from = None;
        Ok(())
    }

    /// A repetition that is `length` bytes long and repeats at most `times`, as far as is counted.
    fn repeat(&mut self, length: usize, times: u32) -> Result<(), ParseError> {
        let start = self.position();
        let written = self.rest.get(..length).unwrap_or_default();
        let lazy = self.rest.get(length..).is_some_and(|rest| rest.starts_with('?'));
        let end = start + length + usize::from(lazy);
        let Some(last) = self.current.last else {
            return Err(error("missing argument to repetition operator", self.source.get(start..end)));
        };
        if let Some(from) = self.current.repeated_from {
            return Err(error("invalid nested repetition operator", self.source.get(from..end)));
        }
        self.skip(length);
        let product = last.saturating_mul(times.max(1));
        if product > REPETITIONS {
            return Err(error("invalid repeat count", Some(written)));
        }
        self.output.push_str(written);
        if lazy {
            self.skip(1);
            self.output.push('?');
        }
        self.current.last = Some(product);
        self.current.repeated_from = Some(start);
        Ok(())
    }

    fn repeat_counted(&mut self, repetition: &Repetition) -> Result<(), ParseError> {
        match repetition.largest() {
            Some(largest) => self.repeat(repetition.length, largest),
            None => Err(error("invalid repeat count", self.rest.get(..repetition.length))),
        }
    }

    /// A backslash outside of brackets.
    fn escape(&mut self) -> Result<(), ParseError> {
        let escaped = self.rest.get(1..).unwrap_or_default();
        let Some(character) = escaped.chars().next() else {
            return Err(error("trailing backslash at end of expression", Some("")));
        };
        let translated = match character {
            'A' => r"\A",
            'z' => r"\z",
            'b' => r"(?-u:\b)",
            'B' => r"(?-u:\B)",
            'Q' => {
                let quoted = escaped.get(1..).unwrap_or_default();
                let (text, length) = match quoted.find(r"\E") {
                    Some(end) => (quoted.get(..end).unwrap_or_default(), end + 2),
                    None => (quoted, quoted.len()),
                };
                self.skip(2 + length);
                for character in text.chars() {
                    self.end_of_part();
                    push_literal(&mut self.output, character);
                    self.begin_part();
                }
                return Ok(());
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let class = ascii_class(character).unwrap_or_default();
                self.skip(2);
                self.part(&format!("[{class}]"));
                return Ok(());
            }
            'p' | 'P' => {
                let class = self.unicode_class()?;
                self.part(&class);
                return Ok(());
            }
            _ => {
                let character = self.escaped_character()?;
                self.end_of_part();
                push_literal(&mut self.output, character);
                self.begin_part();
                return Ok(());
            }
        };
        self.skip(2);
        self.part(translated);
        Ok(())
    }
}

/// `{n}`, `{n,}` or `{n,m}`.
struct Repetition {
    least: u64,
    most: Option<u64>,
    /// In bytes, braces included.
    length: usize,
}

impl Repetition {
    /// Reads a repetition at the start of a text. Anything else that starts with a brace is ordinary text.
    fn read(source: &str) -> Option<Self> {
        let inside = source.strip_prefix('{')?;
        let inside = inside.get(..inside.find('}')?)?;
        let number = |text: &str| {
            let valid = !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'));
            valid.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (least, most) = match inside.split_once(',') {
            None => (number(inside)?, Some(number(inside)?)),
            Some((least, "")) => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        Some(Self { least, most, length: inside.len() + 2 })
    }

    /// The number of repetitions that counts against the limit; `None` if the repetition is not allowed.
    fn largest(&self) -> Option<u32> {
        if self.most.is_some_and(|most| most < self.least) {
            return None;
        }
        u32::try_from(self.most.unwrap_or(self.least)).ok().filter(|largest| *largest <= REPETITIONS)
    }
}

/// A character that stands for itself, inside of brackets and outside.
fn push_literal(output: &mut String, character: char) {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        output.push_str(&format!(r"\x{:02x}", u32::from(character)));
    } else {
        output.push(character);
    }
}

fn error(what: &str, part: Option<&str>) -> ParseError {
    ParseError::new(match part {
        Some(part) => format!("error parsing regexp: {what}: `{part}`"),
        None => format!("error parsing regexp: {what}"),
    })
}
