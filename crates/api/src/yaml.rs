//! Reads YAML, and JSON as part of it: documents as JSON values, with the line of every field.
//!
//! Plain scalars are resolved by the core schema of YAML 1.2.2 (section 10.3): `yes` and `on` are texts. A mapping may
//! take in others by merge keys (`<<`). A document that breaks off is given as far as it was understood.

mod scalar;

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};
use scalar::resolve;
use serde_json::{Map, Value};

use crate::Lines;
use crate::problem::{Problem, Problems};
use crate::validate::shorten;

/// How deep collections may be nested, aliases replaced by what they stand for.
const MAX_DEPTH: usize = 100;
/// How much aliases may add to a document: bytes of scalars, and one for each value.
const MAX_ALIAS_WEIGHT: usize = 4 << 20;

/// One document of a text.
pub(crate) struct YamlDocument {
    /// What was understood; null if the document is empty.
    pub(crate) value: Value,
    pub(crate) lines: Lines,
    /// Why the document cannot be relied on; each with its line.
    pub(crate) problems: Problems,
}

/// The documents of a text, in their order. A broken document does not keep those after it from being read.
pub(crate) fn read(text: &str) -> Vec<YamlDocument> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text.strip_prefix('\u{feff}').unwrap_or(text), options);
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    loop {
        let failure = match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((Event::DocumentEnd, _))) => {
                documents.push(std::mem::take(&mut builder).finish());
                continue;
            }
            Some(Ok((event, span))) => match builder.event(event, span) {
                Ok(()) => continue,
                Err(problem) => problem,
            },
            Some(Err(error)) => {
                let message = match error.kind() {
                    ErrorKind::RecursionLimitExceeded => too_deep(),
                    _ => syntax(&error.info()),
                };
                Problem { path: builder.path(), line: Some(error.marker().line()), message }
            }
        };
        builder.problems.push(failure);
        documents.push(std::mem::take(&mut builder).finish());
        if !parser.proceed_next_document().unwrap_or(false) {
            break;
        }
    }
    documents
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep")
}

fn syntax(info: &str) -> String {
    let info = info.trim_end_matches('.');
    let mut letters = info.chars();
    let lower = letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str());
    format!("not valid YAML: {}", lower.unwrap_or_default())
}

/// Makes a value out of events.
#[derive(Default)]
struct Builder {
    /// The collections that are open, outermost first.
    open: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    alias_weight: usize,
    problems: Problems,
}

/// A value that is complete.
#[derive(Clone)]
struct Node {
    value: Value,
    lines: Lines,
    /// Bytes of scalars, and one for each value.
    weight: usize,
    /// How many collections are nested.
    height: usize,
    /// Whether it is a plain `<<`.
    merge: bool,
}

/// A collection that is open.
struct Frame {
    anchor: usize,
    line: usize,
    weight: usize,
    height: usize,
    content: Content,
}

enum Content {
    Sequence { items: Vec<Value>, lines: Vec<Lines> },
    Mapping { members: Map<String, Value>, lines: Vec<(String, Lines)>, key: Option<Key>, merged: Vec<Node> },
}

/// A key that waits for its value.
struct Key {
    name: String,
    line: usize,
    role: Role,
}

enum Role {
    /// The value becomes a member.
    Member,
    /// The value is a mapping, or several, to be merged.
    Merge,
    /// The value is dropped: the key cannot be one.
    Dropped,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), line);
                self.complete(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", line);
                self.open(anchor, line, Content::Sequence { items: Vec::new(), lines: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", line);
                let content =
                    Content::Mapping { members: Map::new(), lines: Vec::new(), key: None, merged: Vec::new() };
                self.open(anchor, line, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.problem(line, "an alias must not stand within what it stands for"));
                };
                let (weight, height) = (node.weight, node.height);
                self.spend(weight, line)?;
                if self.open.len() + height > MAX_DEPTH {
                    return Err(self.problem(line, &too_deep()));
                }
                if let Some(mut node) = self.anchors.get(&anchor).cloned() {
                    node.lines.line = line;
                    self.complete(node, 0)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, anchor: usize, line: usize, content: Content) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.problem(line, &too_deep()));
        }
        self.open.push(Frame { anchor, line, weight: 1, height: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(frame) = self.open.pop() else {
            return Ok(());
        };
        let (anchor, line) = (frame.anchor, frame.line);
        let (node, problem) = frame.into_node();
        if let Some(message) = problem {
            self.complain(line, message);
        }
        self.complete(node, anchor)
    }

    /// Puts a complete value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.spend(node.weight, node.lines.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight += node.weight;
        frame.height = frame.height.max(node.height + 1);
        match &mut frame.content {
            Content::Sequence { items, lines } => {
                items.push(node.value);
                lines.push(node.lines);
            }
            Content::Mapping { members, lines, key: waiting, merged } => match waiting.take() {
                None => {
                    let line = node.lines.line;
                    let (name, complaint) = match node.value {
                        Value::String(name) => (name, None),
                        Value::Null => ("null".to_owned(), None),
                        Value::Bool(_) | Value::Number(_) => (node.value.to_string(), None),
                        Value::Array(_) | Value::Object(_) => {
                            (String::new(), Some("a list or a mapping cannot be a key".to_owned()))
                        }
                    };
                    let complaint = complaint.or_else(|| {
                        members.contains_key(&name).then(|| format!("the field `{}` is given twice", shorten(&name)))
                    });
                    let role = match complaint {
                        Some(_) => Role::Dropped,
                        None if node.merge => Role::Merge,
                        None => Role::Member,
                    };
                    *waiting = Some(Key { name, line, role });
                    if let Some(complaint) = complaint {
                        self.complain(line, &complaint);
                    }
                }
                Some(Key { name, line, role: Role::Member }) => {
                    let mut below = node.lines;
                    below.line = line;
                    lines.push((name.clone(), below));
                    members.insert(name, node.value);
                }
                Some(Key { role: Role::Merge, .. }) => merged.push(node),
                Some(Key { role: Role::Dropped, .. }) => {}
            },
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Node {
        let key = matches!(self.open.last(), Some(Frame { content: Content::Mapping { key: None, .. }, .. }));
        let plain = style == ScalarStyle::Plain;
        let value = match tag {
            None if key || !plain => Ok(Value::String(text.to_owned())),
            None => resolve(text),
            Some(tag) if tag.core_suffix() == Some("str") || tag.suffix() == "!" || tag.suffix().is_empty() => {
                Ok(Value::String(text.to_owned()))
            }
            Some(tag) => match (tag.core_suffix(), resolve(text)) {
                (Some("null"), Ok(value)) if value.is_null() => Ok(value),
                (Some("bool"), Ok(value)) if value.is_boolean() => Ok(value),
                (Some("int"), Ok(value)) if value.is_i64() || value.is_u64() => Ok(value),
                (Some("float"), Ok(value)) if value.is_number() => Ok(value),
                (Some("float"), Err(message)) => Err(message),
                _ => Err(format!("the tag `{}` is not supported here", shorten(&tag.original()))),
            },
        };
        let value = value.unwrap_or_else(|message| {
            self.complain(line, &message);
            Value::Null
        });
        Node {
            value,
            lines: Lines { line, ..Lines::default() },
            weight: 1 + text.len(),
            height: 0,
            merge: key && plain && tag.is_none() && text == "<<",
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, line: usize) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
            && tag.suffix() != "!"
            && !tag.suffix().is_empty()
        {
            let message = format!("the tag `{}` is not supported here", shorten(&tag.original()));
            self.complain(line, &message);
        }
    }

    /// Counts copies that anchors and aliases make.
    fn spend(&mut self, weight: usize, line: usize) -> Result<(), Problem> {
        self.alias_weight += weight;
        if self.alias_weight > MAX_ALIAS_WEIGHT {
            return Err(
                self.problem(line, &format!("anchors and aliases stand for more than {MAX_ALIAS_WEIGHT} bytes"))
            );
        }
        Ok(())
    }

    /// Tells a problem that does not keep the rest of the document from being read.
    fn complain(&mut self, line: usize, message: &str) {
        if self.problems.is_full() {
            self.problems.count();
        } else {
            let problem = self.problem(line, message);
            self.problems.push(problem);
        }
    }

    fn problem(&self, line: usize, message: &str) -> Problem {
        Problem { path: self.path(), line: Some(line), message: message.to_owned() }
    }

    /// Where in the document the builder is.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open {
            match &frame.content {
                Content::Sequence { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Content::Mapping { key: Some(key), .. } => {
                    if !path.is_empty() && !key.name.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shorten(&key.name));
                }
                Content::Mapping { key: None, .. } => {}
            }
        }
        path
    }

    fn finish(mut self) -> YamlDocument {
        // What is still open belongs to a document that broke off.
        while let Some(frame) = self.open.pop() {
            let (node, _) = frame.into_node();
            if self.complete(node, 0).is_err() {
                break;
            }
        }
        let (value, lines) = match self.root {
            Some(node) => (node.value, node.lines),
            None => (Value::Null, Lines::default()),
        };
        YamlDocument { value, lines, problems: self.problems }
    }
}

impl Frame {
    /// The complete collection, and what is wrong with it.
    fn into_node(self) -> (Node, Option<&'static str>) {
        let Frame { line, weight, height, content, .. } = self;
        let mut problem = None;
        let (value, lines) = match content {
            Content::Sequence { items, lines } => {
                (Value::Array(items), Lines { line, members: Vec::new(), items: lines })
            }
            Content::Mapping { mut members, mut lines, merged, .. } => {
                for Node { value, lines: below, .. } in merged {
                    let sources = match (value, below) {
                        (Value::Object(source), below) => vec![(source, below)],
                        (Value::Array(list), below) => list
                            .into_iter()
                            .zip(below.items)
                            .filter_map(|(value, below)| match value {
                                Value::Object(source) => Some((source, below)),
                                _ => {
                                    problem = Some("only mappings can be merged");
                                    None
                                }
                            })
                            .collect(),
                        _ => {
                            problem = Some("only mappings can be merged");
                            Vec::new()
                        }
                    };
                    for (source, below) in sources {
                        // What the mapping has itself counts, then what came first.
                        let mut below: HashMap<_, _> = below.members.into_iter().collect();
                        for (name, value) in source {
                            if !members.contains_key(&name) {
                                lines.extend(below.remove_entry(&name));
                                members.insert(name, value);
                            }
                        }
                    }
                }
                (Value::Object(members), Lines { line, members: lines, items: Vec::new() })
            }
        };
        (Node { value, lines: Lines { line, ..lines }, weight, height, merge: false }, problem)
    }
}

#[cfg(test)]
mod tests;
