//! The document that expressions read, seen through a view.
//!
//! ```text
//!  Selector ─┐                 ┌─ Part::ROOT ── "request" ─► Node::Message(part 3)
//!  CEL ──────┼─► dyn Document ─┤                             └─ "method" ─► Node::Text("GET")
//!  JSONPath ─┘                 └─ "auth" ─► … ─► Node::Json(&claims)
//! ```
//!
//! The authorization document is never printed to be read: a path is resolved step by step against whatever the
//! request and the earlier phases already hold in memory. Only what wants the document as a whole asks for
//! [`Document::json`], which the implementer makes once and keeps.

use std::borrow::Cow;

use serde_json::Value;

/// Names one object of a [`Document`]; what the numbers mean is the implementer's business.
///
/// A pair of document and part is cheap to copy, so a view of a nested object needs no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part(pub u16);

impl Part {
    /// The document itself.
    pub const ROOT: Self = Self(0);
}

/// A JSON-shaped document that is read member by member.
///
/// Implementations answer from borrowed data and keep the order of members stable: selectors with wildcards take the
/// first member that fits.
pub trait Document: Send + Sync {
    /// The member `key` of an object of the document, `None` where there is none.
    fn member<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>>;

    /// All members of an object of the document, in document order. Absent members are not listed.
    fn members<'a>(&'a self, part: Part) -> Vec<(Cow<'a, str>, Node<'a>)>;

    /// What CEL reads where [`member`](Self::member) has nothing: the empty value of a well-known scalar (as for
    /// fields of protobuf messages), or `None` for a key that does not exist at all.
    fn empty<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        let _ = (part, key);
        None
    }

    /// The whole document as JSON: made at most once per state of the document.
    fn json(&self) -> Cow<'_, Value>;
}

/// One value of a [`Document`], borrowed.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// JSON `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number: ports, sizes, seconds.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes, shown as standard base64 with padding.
    Bytes(&'a [u8]),
    /// A value that exists as JSON already: an identity, a metadata answer.
    Json(&'a Value),
    /// An object of a document.
    Message(&'a dyn Document, Part),
}

impl<'a> Node<'a> {
    /// The member `key` if this is an object that has it.
    #[must_use]
    pub fn member(self, key: &str) -> Option<Self> {
        match self {
            Self::Message(document, part) => document.member(part, key),
            Self::Json(Value::Object(members)) => members.get(key).map(Self::Json),
            _ => None,
        }
    }

    /// The element at `index` if this is an array that is long enough.
    #[must_use]
    pub fn element(self, index: usize) -> Option<Self> {
        match self {
            Self::Json(Value::Array(elements)) => elements.get(index).map(Self::Json),
            _ => None,
        }
    }

    /// A copy as plain JSON.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::from(value),
            Self::Text(value) => Value::String(value.to_owned()),
            Self::Bytes(value) => Value::String(base64(value)),
            Self::Json(value) => value.clone(),
            Self::Message(document, part) => Value::Object(
                document.members(part).into_iter().map(|(key, node)| (key.into_owned(), node.to_value())).collect(),
            ),
        }
    }
}

/// Standard base64 with padding, the form in which bytes appear in JSON.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Any JSON value is a document: used by tests, by offline tools and for values that were materialised already.
impl Document for Value {
    fn member<'a>(&'a self, _: Part, key: &str) -> Option<Node<'a>> {
        Node::Json(self).member(key)
    }

    fn members<'a>(&'a self, _: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
        match self {
            Self::Object(members) => {
                members.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Node::Json(value))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn json(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}
