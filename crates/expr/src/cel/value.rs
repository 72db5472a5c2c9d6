//! The document as CEL values, borrowed.
//!
//! Objects stay where they are and answer member by member; lists become CEL lists when they are selected (their
//! elements stay borrowed); numbers are doubles, as everywhere in JSON.

use std::{fmt, sync::OnceLock};

use base64::Engine as _;
use cel::{
    ExecutionError,
    common::{
        traits::{self, Container, Indexer, Iterable, Sizer, Zeroer},
        types::{self, CelBool, CelDouble, CelInt, CelList, CelNull, CelString, Kind, Type},
        value::{CowVal, Val},
    },
};
use serde_json::Value;

use super::{budget, functions::equal};
use crate::document::{Document, Node, Part};

static NULL: CelNull = CelNull;

/// A node as a CEL value. What is copied for it, lists and texts, is paid for.
pub(super) fn value<'b, 'v>(node: Node<'v>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(match node {
        Node::Null | Node::Json(Value::Null) => CowVal::Borrowed(&NULL),
        Node::Bool(value) | Node::Json(&Value::Bool(value)) => CowVal::owned(CelBool::from(value)),
        Node::Text(text) => string(text)?,
        Node::Json(Value::String(text)) => string(text)?,
        _ => CowVal::Owned(boxed(node)?),
    })
}

fn string<'b, 'v>(text: &'v str) -> Result<CowVal<'b, 'v>, ExecutionError> {
    budget::charge_text(text.len())?;
    Ok(CowVal::owned(CelString::from(text)))
}

fn boxed<'v>(node: Node<'v>) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    Ok(match node {
        Node::Null | Node::Json(Value::Null) => Box::new(CelNull),
        Node::Bool(value) | Node::Json(&Value::Bool(value)) => Box::new(CelBool::from(value)),
        #[expect(clippy::cast_precision_loss, reason = "numbers of the document are doubles")]
        Node::Integer(value) => Box::new(CelDouble::from(value as f64)),
        Node::Text(text) => {
            budget::charge_text(text.len())?;
            Box::new(CelString::from(text))
        }
        Node::Bytes(bytes) => {
            budget::charge_text(bytes.len())?;
            Box::new(CelString::from(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        Node::Message(document, part) => Box::new(Object::new(Source::Message(document, part))),
        Node::Json(Value::Number(number)) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        Node::Json(Value::String(text)) => {
            budget::charge_text(text.len())?;
            Box::new(CelString::from(text.as_str()))
        }
        Node::Json(Value::Object(members)) => Box::new(Object::new(Source::Json(members))),
        Node::Json(Value::Array(elements)) => {
            budget::charge(elements.len() as u64)?;
            let elements = elements.iter().map(|element| boxed(Node::Json(element)));
            Box::new(CelList::from(elements.collect::<Result<Vec<_>, _>>()?))
        }
    })
}

/// An object of the document: a CEL map that reads its members when they are asked for.
struct Object<'a> {
    source: Source<'a>,
    /// Iteration lends out keys, so they need a place to be; most objects are never iterated over.
    keys: OnceLock<Vec<CelString<'a>>>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Json(&'a serde_json::Map<String, Value>),
    Message(&'a dyn Document, Part),
}

impl<'a> Object<'a> {
    fn new(source: Source<'a>) -> Self {
        Self { source, keys: OnceLock::new() }
    }

    fn keys(&self) -> &[CelString<'a>] {
        self.keys.get_or_init(|| {
            let keys: Vec<CelString<'a>> = match self.source {
                Source::Json(members) => members.keys().map(|key| CelString::from(key.as_str())).collect(),
                Source::Message(document, part) => {
                    document.members(part).into_iter().map(|(key, _)| CelString::from(key)).collect()
                }
            };
            // Whoever asked cannot be told; the evaluation is thrown away at its end.
            let _ = budget::charge(keys.len() as u64);
            keys
        })
    }

    /// The member that is there.
    fn member(&self, key: &str) -> Option<Node<'a>> {
        match self.source {
            Source::Json(members) => members.get(key).map(Node::Json),
            Source::Message(document, part) => document.member(part, key),
        }
    }

    /// What reading the member gives: the empty value where a well-known scalar is not there.
    fn read(&self, key: &str) -> Option<Node<'a>> {
        self.member(key).or_else(|| match self.source {
            Source::Json(_) => None,
            Source::Message(document, part) => document.empty(part, key),
        })
    }
}

/// Shows no values: they are credentials as often as not.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("object")
    }
}

impl Val for Object<'_> {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &types::MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        // `equal` would ask here again about anything but two maps.
        other.get_type().kind() == Kind::Map && equal(self, other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self::new(self.source))
    }
}

impl Container for Object<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        match key.downcast_ref::<CelString>() {
            Some(key) => Ok(self.member(key).is_some()),
            None if is_key(key) => Ok(false),
            None => Err(not_a_key(key)),
        }
    }
}

impl Indexer for Object<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match key.downcast_ref::<CelString>() {
            Some(key) => match self.read(key) {
                Some(node) => value(node),
                None => Err(ExecutionError::no_such_key(key)),
            },
            None if is_key(key) => Err(ExecutionError::no_such_key("")),
            None => Err(not_a_key(key)),
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Iterable for Object<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.keys().iter()))
    }
}

impl Sizer for Object<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.keys().len()).unwrap_or(i64::MAX))
    }
}

impl Zeroer for Object<'_> {
    fn is_zero_value(&self) -> bool {
        self.keys().is_empty()
    }
}

struct Keys<'b, 'a>(std::slice::Iter<'b, CelString<'a>>);

impl<'b, 'a: 'v, 'v> traits::Iterator<'b, 'v> for Keys<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &(dyn Val + 'v))
    }
}

/// Whether maps can have such keys at all; those of the document are texts.
fn is_key(key: &dyn Val) -> bool {
    matches!(key.get_type().kind(), Kind::Int | Kind::UInt | Kind::Double | Kind::Boolean)
}

fn not_a_key(key: &dyn Val) -> ExecutionError {
    ExecutionError::UnexpectedType { got: key.get_type().name().to_owned(), want: "map key".to_owned() }
}
