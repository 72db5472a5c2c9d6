//! The parsed form of a path.
//!
//! ```text
//! objs.#(id>=2)#.n.k | 0 . @case:upper
//! └──────────────┬─┘   │   └─ Group::Modifier
//! Group::Chain   │     └─ Group::Chain [Child]
//!  Child objs ─ Query { then: n.k }
//! ```

use serde_json::Value;

use super::{modifiers::Modifier, query::Query, wildcard::Wildcard};
use crate::document::Node;

/// Groups, each applied to what the one before it found.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Debug)]
pub(super) enum Group {
    /// Names, indexes and what is asked of arrays, joined by dots. With `lines`, the value is read as the only
    /// element of an array.
    Chain { lines: bool, links: Vec<Link> },
    /// What a modifier makes of the value.
    Modifier(Modifier),
    /// A value that stands in the path.
    Literal(Value),
    /// An array of what several paths find.
    Elements(Vec<Path>),
    /// An object of what several paths find.
    Members(Vec<(String, Path)>),
}

#[derive(Clone, Debug)]
pub(super) enum Link {
    Child(Child),
    /// The first member whose name fits.
    Wildcard(Wildcard),
    /// `#`: the number of elements.
    Count,
    /// `#.path`: what the path finds in each element.
    Each(Path),
    /// `#(…)`, `#(…)#`: elements that fit.
    Query(Box<Query>),
}

/// The member of an object by name, or the element of an array by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) name: Box<str>,
    pub(super) index: Option<usize>,
}

impl Path {
    /// Whether it begins with something that also has an opinion of nothing.
    pub(super) fn makes_a_value(&self) -> bool {
        matches!(self.groups.first(), Some(Group::Modifier(_) | Group::Elements(_) | Group::Members(_)))
    }
}

impl Link {
    pub(super) fn plain_child(&self) -> Option<&Child> {
        match self {
            Self::Child(child) => Some(child),
            _ => None,
        }
    }
}

impl Child {
    #[inline]
    pub(super) fn of<'a>(&self, node: Node<'a>) -> Option<Node<'a>> {
        match node {
            Node::Json(Value::Array(_)) => node.element(self.index?),
            _ => node.member(&self.name),
        }
    }
}
