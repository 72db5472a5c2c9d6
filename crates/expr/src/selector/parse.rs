//! Reading paths.

mod conditions;

use serde_json::Value;

use super::{
    modifiers::Modifier,
    path::{Child, Group, Link, Path},
    wildcard::{Piece, Wildcard},
};
use crate::error::ParseError;

/// The longest path, in bytes.
const LENGTH: usize = 8 << 10;
/// The most components, modifiers and conditions in a path.
const STEPS: usize = 512;
/// How deep paths may stand in paths: in conditions, in brackets, after `#`.
const NESTING: usize = 32;

/// Reads a whole path.
pub(super) fn parse(source: &str) -> Result<Path, ParseError> {
    if source.len() > LENGTH {
        return Err(ParseError::new(format!("selector is longer than {LENGTH} bytes")));
    }
    Parser { steps: 0, nesting: 0 }.whole_path(source)
}

/// What was counted so far.
struct Parser {
    steps: usize,
    nesting: usize,
}

/// A part that was read, and what follows it.
type Read<'s, T> = Result<(T, &'s str), ParseError>;

impl Parser {
    /// A path that ends where the text ends.
    fn whole_path(&mut self, source: &str) -> Result<Path, ParseError> {
        self.nested(|parser| parser.path(source, false)).map(|(path, _)| path)
    }

    /// A path that goes into each element, and so ends at a bar, which is left to whoever collects.
    fn element_path<'s>(&mut self, source: &'s str) -> Read<'s, Path> {
        self.nested(|parser| parser.path(source, true))
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(ParseError::new(format!("selector nests deeper than {NESTING} levels")));
        }
        let read = read(self);
        self.nesting -= 1;
        read
    }

    fn step(&mut self) -> Result<(), ParseError> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(ParseError::new(format!("selector has more than {STEPS} components")));
        }
        Ok(())
    }

    fn path<'s>(&mut self, source: &'s str, in_element: bool) -> Read<'s, Path> {
        let mut groups = Vec::new();
        let mut rest = source;
        loop {
            self.step()?;
            let (group, after) = match self.source_group(rest)? {
                Some(read) => read,
                None => self.chain(rest)?,
            };
            groups.push(group);
            rest = match after.as_bytes().first() {
                None => return Ok((Path { groups }, after)),
                Some(b'|') if in_element => return Ok((Path { groups }, after)),
                Some(b'|' | b'.') => after.get(1..).unwrap_or_default(),
                Some(_) => {
                    return Err(ParseError::new(format!("unexpected `{after}` after a complete part of the selector")));
                }
            };
        }
    }

    /// What may stand at the start of a path and makes a value of its own: a modifier, a literal, several paths.
    fn source_group<'s>(&mut self, source: &'s str) -> Result<Option<(Group, &'s str)>, ParseError> {
        if source.len() < 2 {
            return Ok(None);
        }
        match source.as_bytes().first() {
            Some(b'@') => modifier(source),
            Some(b'!') => literal(source),
            Some(b'[' | b'{') => self.several(source).map(Some),
            _ => Ok(None),
        }
    }

    /// Components that are joined by dots.
    fn chain<'s>(&mut self, source: &'s str) -> Read<'s, Group> {
        let lines = source.starts_with("..");
        let mut rest = if lines { source.get(2..).unwrap_or_default() } else { source };
        let mut links = Vec::new();
        loop {
            let (link, after) = self.component(rest)?;
            // What goes into the elements takes everything up to the bar with it.
            let is_last = matches!(link, Link::Count | Link::Each(_) | Link::Query(_));
            links.push(link);
            match after.strip_prefix('.') {
                Some(next) if !is_last && !next.starts_with(['@', '[', '{']) => {
                    self.step()?;
                    rest = next;
                }
                _ => return Ok((Group::Chain { lines, links }, after)),
            }
        }
    }

    fn component<'s>(&mut self, source: &'s str) -> Read<'s, Link> {
        if let Some(rest) = source.strip_prefix('#') {
            match rest.as_bytes().first() {
                None | Some(b'|') => return Ok((Link::Count, rest)),
                Some(b'.') => {
                    let (path, after) = self.element_path(rest.get(1..).unwrap_or_default())?;
                    return Ok((Link::Each(path), after));
                }
                Some(b'(' | b'[') => return self.query(rest),
                Some(_) => {}
            }
        }
        Ok(name(source))
    }

    /// `[path,path]` and `{"name":path,path}`.
    fn several<'s>(&mut self, source: &'s str) -> Read<'s, Group> {
        let (parts, after) = split_several(source)?;
        if source.starts_with('[') {
            let mut paths = Vec::new();
            for part in parts {
                self.step()?;
                let path = if part.name.is_some_and(|name| name.starts_with('"')) { part.path } else { part.whole };
                paths.push(self.whole_path(path)?);
            }
            Ok((Group::Elements(paths), after))
        } else {
            let mut paths = Vec::new();
            for part in parts {
                self.step()?;
                let name = match part.name {
                    Some(name) if !name.is_empty() => serde_json::from_str(name).unwrap_or_else(|_| name.to_owned()),
                    _ => name_of_last(part.path).to_owned(),
                };
                paths.push((name, self.whole_path(part.path)?));
            }
            Ok((Group::Members(paths), after))
        }
    }
}

/// A modifier with its argument; `None` when there is none of that name, and `@name` is the name of a member.
fn modifier(source: &str) -> Result<Option<(Group, &str)>, ParseError> {
    let text = source.get(1..).unwrap_or_default();
    let end = text.find([':', '|', '.']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !Modifier::exists(name) {
        return Ok(None);
    }
    let (argument, after) = match rest.strip_prefix(':') {
        None | Some("") => (None, rest.strip_prefix(':').unwrap_or(rest)),
        Some(rest) if rest.starts_with(['{', '[', '"']) => {
            let end = end_of_balanced(rest)
                .ok_or_else(|| ParseError::new(format!("argument `{rest}` of `@{name}` is not closed")))?;
            let (argument, after) = rest.split_at(end);
            (Some(argument), after)
        }
        // Any other argument goes on up to the next bar, dots included.
        Some(rest) => {
            let (argument, after) = rest.split_at(rest.find('|').unwrap_or(rest.len()));
            (Some(argument), after)
        }
    };
    Ok(Some((Group::Modifier(Modifier::new(name, argument)?), after)))
}

/// `!` and a JSON value; `None` for other text that starts with an exclamation mark.
fn literal(source: &str) -> Result<Option<(Group, &str)>, ParseError> {
    let text = source.get(1..).unwrap_or_default();
    let end = match text.as_bytes().first() {
        Some(b'{' | b'[' | b'"') => end_of_balanced(text),
        Some(b'-' | b'0'..=b'9') => Some(end_of_number(text)),
        _ => {
            let end = text.find(['|', '.']).unwrap_or(text.len());
            match text.get(..end) {
                Some("true" | "false" | "null") => Some(end),
                _ => return Ok(None),
            }
        }
    };
    let invalid = || ParseError::new(format!("`{text}` does not start with a JSON value"));
    let (value, after) = end.and_then(|end| text.split_at_checked(end)).ok_or_else(invalid)?;
    let value: Value = serde_json::from_str(value).map_err(|_| invalid())?;
    Ok(Some((Group::Literal(value), after)))
}

/// The name of a member, or the index of an element, up to the next separator. A backslash makes the next character
/// an ordinary one.
fn name(source: &str) -> (Link, &str) {
    let mut pieces = Vec::new();
    let mut characters = source.char_indices();
    let mut end = source.len();
    let mut escaped = false;
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '|' => {
                end = at;
                break;
            }
            '*' => pieces.push(Piece::Run),
            '?' => pieces.push(Piece::One),
            '\\' => {
                escaped = true;
                pieces.extend(characters.next().map(|(_, next)| Piece::Character(next)));
            }
            other => pieces.push(Piece::Character(other)),
        }
    }
    let (text, after) = source.split_at(end);
    let name: Option<String> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Character(character) => Some(*character),
            Piece::One | Piece::Run => None,
        })
        .collect();
    let link = match name {
        Some(name) => {
            let digits = !escaped && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            Link::Child(Child { name: name.into(), index: if digits { text.parse().ok() } else { None } })
        }
        None => Link::Wildcard(Wildcard::new(pieces)),
    };
    (link, after)
}

/// One of several paths in brackets.
struct Part<'s> {
    whole: &'s str,
    name: Option<&'s str>,
    path: &'s str,
}

/// Splits `[…]` or `{…}` at its commas, and each part at its colon.
fn split_several(source: &str) -> Result<(Vec<Part<'_>>, &str), ParseError> {
    let bytes = source.as_bytes();
    let mut parts = Vec::new();
    let (mut start, mut colon, mut in_modifier, mut depth) = (1, None, false, 1_usize);
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            // The colon of a modifier is not the end of a name.
            b'@' => in_modifier |= at == start || matches!(bytes.get(at - 1), Some(b'.' | b'|' | b':')),
            b':' if depth == 1 && !in_modifier && colon.is_none() => colon = Some(at),
            b'"' => at = end_of_string(bytes, at) - 1,
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (byte == b',' && depth == 1) {
            let slice = |from, to| source.get(from..to).unwrap_or_default();
            parts.push(Part {
                whole: slice(start, at),
                name: colon.map(|colon| slice(start, colon)),
                path: slice(colon.map_or(start, |colon| colon + 1), at),
            });
            if depth == 0 {
                return Ok((parts, source.get(at + 1..).unwrap_or_default()));
            }
            (start, colon, in_modifier) = (at + 1, None, false);
        }
        at += 1;
    }
    Err(ParseError::new(format!("`{source}` is not closed")))
}

/// The name that a path gives to what it finds: its last component.
fn name_of_last(path: &str) -> &str {
    let bytes = path.as_bytes();
    let last = (0..bytes.len())
        .rev()
        .find(|&at| {
            matches!(bytes.get(at), Some(b'|' | b'.'))
                && at.checked_sub(1).is_none_or(|before| bytes.get(before) != Some(&b'\\'))
        })
        .map_or(path, |at| path.get(at + 1..).unwrap_or_default());
    let simple = !last.contains(|character: char| character < ' ' || "[]{}()#|!".contains(character));
    if simple { last } else { "_" }
}

/// Where a value in braces, brackets or quotes ends.
fn end_of_balanced(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                if at > bytes.len() {
                    return None;
                }
                at -= 1;
            }
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The index after the closing quote of the string that opens at `start`; beyond the end if it is not closed.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len().max(start) + 1
}

/// Where a JSON number ends. A point belongs to it only if digits follow.
fn end_of_number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(bytes.first() == Some(&b'-'));
    end += digits(end);
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    end
}
