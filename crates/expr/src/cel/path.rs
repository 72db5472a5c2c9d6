//! Paths into the document: what most expressions read.
//!
//! `auth.identity.roles[0]`, `request.headers["x-a"]`, `has(auth.identity)` and `auth.?identity.?sub` are found when
//! the expression is loaded and followed through the document directly, one member after the other; the interpreter
//! sees a variable.

use crate::document::{Document, Node, Part};
use serde_json::Value;

/// A root and the steps from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: String,
    pub(super) steps: Vec<Step>,
    /// Ask only whether the last step leads somewhere.
    pub(super) presence: bool,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: Key,
    /// A missing member is no error: the path yields an optional value.
    pub(super) optional: bool,
}

/// What a step names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `.name`
    Field(String),
    /// `["name"]`
    Member(String),
    /// `[0]`
    Element(i64),
}

/// Where a path led.
pub(super) enum Found<'a> {
    /// A value.
    Plain(Node<'a>),
    /// The answer of an optional path.
    Optional(Option<Node<'a>>),
    /// The answer of `has()`.
    Presence(bool),
}

/// Why a path led nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost<'p> {
    /// There is no such member. The key stands in the source, so it may be told.
    Missing(&'p str),
    /// There is no such element.
    OutOfBounds(i64),
    /// Lists have no fields, texts no elements.
    Mismatch,
}

impl Path {
    pub(super) fn is_optional(&self) -> bool {
        self.steps.iter().any(|step| step.optional)
    }

    /// Follows the path. A root that the document does not have is null.
    pub(super) fn follow<'a>(&self, document: &'a dyn Document) -> Result<Found<'a>, Lost<'_>> {
        let mut current = document.member(Part::ROOT, &self.root).unwrap_or(Node::Null);
        let mut optional = false;
        let last = self.steps.len().wrapping_sub(1);
        for (index, step) in self.steps.iter().enumerate() {
            if self.presence && index == last {
                return present(current, &step.key, optional).map(Found::Presence);
            }
            optional |= step.optional;
            if optional {
                match existing(current, &step.key) {
                    Some(next) => current = next,
                    None if self.presence => return Ok(Found::Presence(false)),
                    None => return Ok(Found::Optional(None)),
                }
            } else {
                current = required(current, &step.key)?;
            }
        }
        Ok(if optional { Found::Optional(Some(current)) } else { Found::Plain(current) })
    }
}

/// The value at `key`, which must be there. A well-known scalar of a message that is empty counts as there.
fn required<'a, 'p>(node: Node<'a>, key: &'p Key) -> Result<Node<'a>, Lost<'p>> {
    match (node, key) {
        (Node::Message(document, part), Key::Field(name) | Key::Member(name)) => {
            document.member(part, name).or_else(|| document.empty(part, name)).ok_or(Lost::Missing(name))
        }
        (Node::Json(Value::Array(_)), Key::Field(_) | Key::Member(_)) => Err(Lost::Mismatch),
        (Node::Json(Value::Object(_)), Key::Field(name) | Key::Member(name)) | (_, Key::Field(name)) => {
            node.member(name).ok_or(Lost::Missing(name))
        }
        (Node::Json(Value::Array(elements)), Key::Element(index)) => usize::try_from(*index)
            .ok()
            .and_then(|index| elements.get(index))
            .map(Node::Json)
            .ok_or(Lost::OutOfBounds(*index)),
        (_, Key::Member(_) | Key::Element(_)) => Err(Lost::Mismatch),
    }
}

/// The value at `key`, if it is really there.
fn existing<'a>(node: Node<'a>, key: &Key) -> Option<Node<'a>> {
    match key {
        Key::Field(name) | Key::Member(name) => node.member(name),
        Key::Element(index) => usize::try_from(*index).ok().and_then(|index| node.element(index)),
    }
}

/// Whether something is at `key`. Values that are no objects have no members; asking a list for one is a mistake.
fn present<'p>(node: Node<'_>, key: &'p Key, optional: bool) -> Result<bool, Lost<'p>> {
    match node {
        Node::Json(Value::Array(_)) if !optional && !matches!(key, Key::Element(_)) => Err(Lost::Mismatch),
        _ => Ok(existing(node, key).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(steps: &[(&str, bool)]) -> Path {
        let step = |(name, optional): &(&str, bool)| Step { key: Key::Field((*name).to_owned()), optional: *optional };
        Path { root: "auth".to_owned(), steps: steps.iter().map(step).collect(), presence: false }
    }

    #[test]
    fn missing_members_are_named() {
        let document = json!({"auth": {"identity": {"sub": "john"}}});
        let lost = |steps: &[(&str, bool)]| match path(steps).follow(&document) {
            Err(Lost::Missing(key)) => key.to_owned(),
            _ => panic!("the path should lead nowhere"),
        };
        assert_eq!(lost(&[("nope", false), ("x", false)]), "nope");
        assert_eq!(lost(&[("identity", false), ("sub", false), ("x", false)]), "x");
        assert_eq!(lost(&[("nope", false), ("x", true)]), "nope");
    }

    #[test]
    fn optional_steps_make_the_whole_path_optional() {
        let document = json!({"auth": {"identity": {"sub": "john"}}});
        let found = |steps: &[(&str, bool)]| match path(steps).follow(&document) {
            Ok(Found::Optional(found)) => found.map(Node::to_value),
            _ => panic!("the path should be optional"),
        };
        assert_eq!(found(&[("identity", true), ("sub", false)]), Some(json!("john")));
        assert_eq!(found(&[("nope", true), ("sub", false)]), None);
        assert_eq!(found(&[("identity", true), ("sub", false), ("x", false)]), None);
    }
}
