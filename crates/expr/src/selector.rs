//! Selectors: paths into the document.
//!
//! | path | selects |
//! | --- | --- |
//! | `auth.identity.name` | members, one inside the other |
//! | `auth.identity.roles.0`, `….roles.#` | an element of an array, the number of elements |
//! | `….objects.#.id` | one value from each element, where there is one |
//! | `….objects.#(id>=2)`, `#(id>=2)#` | the first element that fits, all that fit |
//! | `request.headers.x-*` | the first member that fits the pattern |
//! | `[request.method,request.path]`, `{"m":request.method}` | an array, an object of several values |
//! | `request.path.@extract:{"sep":"/","pos":1}` | what a modifier makes of a value |
//! | `a.b\|c` | `c` of the result of `a.b`, also where a dot would go into every element |
//! | `k\.e\.y` | the member `k.e.y` |
//!
//! A path is parsed when it is loaded. A path of names and indexes is then followed through the document without a
//! copy; only what collects or changes values makes new ones, within a budget.

pub(crate) mod budget;
mod modifiers;
mod parse;
mod path;
mod query;
mod references;
mod walk;
mod wildcard;

use std::borrow::Cow;

use serde_json::{Number, Value};

pub(crate) use self::walk::{copy, is_object, members};
use self::{
    budget::Budget,
    path::{Child, Group, Path},
};
use crate::{
    document::{Document, Node, Part},
    error::{EvaluationError, ParseError},
    text,
};

/// A path into the document.
#[derive(Clone, Debug)]
pub struct Selector {
    source: Box<str>,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Names and indexes, one after the other.
    Plain(Box<[Child]>),
    /// Everything else.
    Path(Path),
}

/// What a path led to.
#[derive(Clone)]
pub(crate) enum Selected<'a> {
    /// Nothing at all, which is not the same as JSON `null`.
    Missing,
    /// A value of the document.
    Node(Node<'a>),
    /// A value that was made.
    Value(Value),
}

impl Selector {
    /// Parses a path. Text that only happens to contain no path, such as a sentence, is a path too: to a member that
    /// no document has.
    ///
    /// # Errors
    /// When brackets, quotes or arguments are not closed or make no sense, or the path is longer or nested deeper
    /// than is allowed.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        let path = parse::parse(source)?;
        let form = match plain(&path) {
            Some(children) => Form::Plain(children),
            None => Form::Path(path),
        };
        Ok(Self { source: source.into(), form })
    }

    /// The path as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value, null where there is none. Integers that a double cannot hold are rounded as a double would.
    #[must_use]
    pub fn select(&self, document: &dyn Document) -> Value {
        self.try_select(document).unwrap_or(Value::Null)
    }

    /// The value as [`select`](Self::select) gives it.
    ///
    /// # Errors
    /// When the path takes too much work for this document.
    pub fn try_select(&self, document: &dyn Document) -> Result<Value, EvaluationError> {
        Ok(match self.find(document)? {
            Selected::Missing => Value::Null,
            Selected::Node(node) => rounded(node.to_value()),
            Selected::Value(value) => rounded(value),
        })
    }

    /// The text of the value as it stands in templates and patterns (see [`text::node_text`]), empty where there is
    /// no value. Borrowed from the document where the value is text already.
    #[must_use]
    pub fn select_text<'a>(&'a self, document: &'a dyn Document) -> Cow<'a, str> {
        self.try_select_text(document).unwrap_or(Cow::Borrowed(""))
    }

    /// The text as [`select_text`](Self::select_text) gives it.
    ///
    /// # Errors
    /// When the path takes too much work for this document.
    pub fn try_select_text<'a>(&'a self, document: &'a dyn Document) -> Result<Cow<'a, str>, EvaluationError> {
        Ok(match self.find(document)? {
            Selected::Missing => Cow::Borrowed(""),
            Selected::Node(node) => text::node_text(node),
            Selected::Value(Value::String(text)) => Cow::Owned(text),
            Selected::Value(value) => Cow::Owned(text::node_text(Node::Json(&value)).into_owned()),
        })
    }

    /// The text of the value as it stands in headers and bodies (see [`text::stringify_sorted`]), empty where there
    /// is no value.
    ///
    /// # Errors
    /// When the path takes too much work for this document.
    pub fn try_stringify<'a>(&'a self, document: &'a dyn Document) -> Result<Cow<'a, str>, EvaluationError> {
        Ok(match self.find(document)? {
            Selected::Missing => Cow::Borrowed(""),
            Selected::Node(node) => text::node_stringify_sorted(node),
            Selected::Value(Value::String(text)) => Cow::Owned(text),
            Selected::Value(value) => Cow::Owned(text::stringify_sorted(&value).into_owned()),
        })
    }

    /// Follows the path, without a copy where none is needed.
    pub(crate) fn find<'a>(&self, document: &'a dyn Document) -> Result<Selected<'a>, EvaluationError> {
        let root = Node::Message(document, Part::ROOT);
        match &self.form {
            Form::Plain(children) => Ok(children
                .iter()
                .try_fold(root, |node, child| child.of(node))
                .map_or(Selected::Missing, Selected::Node)),
            Form::Path(path) => path
                .follow(Selected::Node(root), &mut Budget::new())
                .map_err(|overrun| overrun.of("selector", &self.source)),
        }
    }
}

impl Selected<'_> {
    /// The value, if there is one.
    pub(crate) fn node(&self) -> Option<Node<'_>> {
        match self {
            Self::Missing => None,
            Self::Node(node) => Some(*node),
            Self::Value(value) => Some(Node::Json(value)),
        }
    }
}

/// The steps of a path of names and indexes only.
fn plain(path: &Path) -> Option<Box<[Child]>> {
    match path.groups.as_slice() {
        [Group::Chain { lines: false, links }] => links.iter().map(|link| link.plain_child().cloned()).collect(),
        _ => None,
    }
}

/// Numbers as IEEE 754 doubles hold them: what readers of these values were promised, and what those see who parse
/// the JSON that is made of them with anything common.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if !text::is_exact(&number) => {
            Value::Number(number.as_f64().and_then(Number::from_f64).unwrap_or(number))
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(rounded).collect()),
        Value::Object(mut members) => {
            for member in members.values_mut() {
                *member = rounded(member.take());
            }
            Value::Object(members)
        }
        other => other,
    }
}
