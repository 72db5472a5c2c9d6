//! Following a path through a document.

use serde_json::{Map, Value};

use super::{
    Selected,
    budget::{Budget, Overrun},
    path::{Group, Link, Path},
    query::Query,
};
use crate::document::{Node, Part};

/// Where a chain of dots ended.
enum End<'a> {
    Found(Selected<'a>),
    /// Nothing was found. What follows after a bar is still asked for its opinion of nothing (`@extract` has one) if
    /// the last name was looked for, that is, if everything before it exists.
    Missing {
        looked: bool,
    },
}

impl Path {
    /// What the path leads to from `start`.
    pub(super) fn follow<'a>(&self, start: Selected<'a>, budget: &mut Budget) -> Result<Selected<'a>, Overrun> {
        let mut current = start;
        for group in &self.groups {
            budget.charge(1)?;
            current = match group {
                Group::Chain { lines, links } => match walk_selected(links, *lines, current, budget)? {
                    End::Found(found) => found,
                    End::Missing { looked: true } => Selected::Missing,
                    End::Missing { looked: false } => return Ok(Selected::Missing),
                },
                Group::Modifier(modifier) => modifier.apply(current, budget)?,
                Group::Literal(value) => Selected::Value(copy(Node::Json(value), budget)?),
                Group::Elements(paths) => {
                    let mut elements = Vec::new();
                    for path in paths {
                        elements.extend(path.copied(&current, budget)?);
                    }
                    Selected::Value(Value::Array(elements))
                }
                Group::Members(paths) => {
                    let mut members = Map::new();
                    for (name, path) in paths {
                        if let Some(value) = path.copied(&current, budget)? {
                            budget.charge(name.len())?;
                            members.entry(name.as_str()).or_insert(value);
                        }
                    }
                    Selected::Value(Value::Object(members))
                }
            };
        }
        Ok(current)
    }

    /// A copy of what the path leads to.
    fn copied(&self, start: &Selected<'_>, budget: &mut Budget) -> Result<Option<Value>, Overrun> {
        let start = start.node().map_or(Selected::Missing, Selected::Node);
        owned(self.follow(start, budget)?, budget)
    }
}

fn walk_selected<'a>(
    links: &[Link],
    lines: bool,
    start: Selected<'a>,
    budget: &mut Budget,
) -> Result<End<'a>, Overrun> {
    match start {
        Selected::Missing => Ok(End::Missing { looked: false }),
        Selected::Node(node) => walk(links, lines, node, budget),
        // What is found inside a value that was made cannot be borrowed from it for longer than this call.
        Selected::Value(value) => Ok(match walk(links, lines, Node::Json(&value), budget)? {
            End::Found(found) => {
                owned(found, budget)?.map_or(End::Missing { looked: true }, |value| End::Found(Selected::Value(value)))
            }
            End::Missing { looked } => End::Missing { looked },
        }),
    }
}

/// Follows links from a node. Only wildcards call it again, because they may have to try several members.
fn walk<'a>(links: &[Link], lines: bool, start: Node<'a>, budget: &mut Budget) -> Result<End<'a>, Overrun> {
    let mut node = start;
    for (position, link) in links.iter().enumerate() {
        let rest = links.get(position + 1..).unwrap_or_default();
        let elements = if lines && position == 0 { Some(Elements::One(node)) } else { Elements::of(node) };
        let next = match (link, elements) {
            (Link::Child(child), Some(elements)) => child.index.and_then(|index| elements.get(index)),
            (Link::Child(child), None) => match is_object(node) {
                true => node.member(&child.name),
                false => return Ok(End::Missing { looked: false }),
            },
            (Link::Wildcard(_), Some(_)) => None,
            (Link::Wildcard(wildcard), None) => {
                let mut looked = is_object(node) && rest.is_empty();
                for (name, member) in members(node) {
                    if !wildcard.matches(&name, budget)? {
                        continue;
                    }
                    match walk(rest, false, member, budget)? {
                        End::Missing { looked: looked_inside } => looked |= looked_inside,
                        found @ End::Found(_) => return Ok(found),
                    }
                }
                return Ok(End::Missing { looked });
            }
            (Link::Count, Some(elements)) => {
                return Ok(End::Found(Selected::Node(Node::Integer(
                    i64::try_from(elements.len()).unwrap_or(i64::MAX),
                ))));
            }
            (Link::Count, None) => match is_object(node) {
                true => node.member("#"),
                false => return Ok(End::Missing { looked: false }),
            },
            (Link::Each(path), Some(elements)) => {
                let mut found = Vec::new();
                for element in elements.iter() {
                    budget.charge(1)?;
                    found.extend(owned(path.follow(Selected::Node(element), budget)?, budget)?);
                }
                return Ok(End::Found(Selected::Value(Value::Array(found))));
            }
            (Link::Each(path), None) => {
                let start = match node.member("#") {
                    Some(member) => Selected::Node(member),
                    // As after any other name that is not there.
                    None if is_object(node) && path.makes_a_value() => Selected::Missing,
                    None => return Ok(End::Missing { looked: false }),
                };
                return end(path, start, budget);
            }
            (Link::Query(query), Some(elements)) => return query_elements(query, elements, budget),
            (Link::Query(query), None) => {
                let is_looked_for = is_object(node) && query.is_name;
                return match &query.then {
                    None => Ok(End::Missing { looked: is_looked_for }),
                    Some(path) if is_looked_for && path.makes_a_value() => end(path, Selected::Missing, budget),
                    Some(_) => Ok(End::Missing { looked: false }),
                };
            }
        };
        match next {
            Some(next) => node = next,
            None => {
                return Ok(End::Missing { looked: rest.is_empty() });
            }
        }
    }
    Ok(End::Found(Selected::Node(node)))
}

/// Where a path ended that is the last part of a chain.
fn end<'a>(path: &Path, start: Selected<'a>, budget: &mut Budget) -> Result<End<'a>, Overrun> {
    Ok(match path.follow(start, budget)? {
        Selected::Missing => End::Missing { looked: true },
        found => End::Found(found),
    })
}

fn query_elements<'a>(query: &Query, elements: Elements<'a>, budget: &mut Budget) -> Result<End<'a>, Overrun> {
    let mut all = Vec::new();
    for element in elements.iter() {
        budget.charge(1)?;
        if !query.fits(element, budget)? {
            continue;
        }
        let found = match &query.then {
            None => Selected::Node(element),
            Some(path) => path.follow(Selected::Node(element), budget)?,
        };
        if query.all {
            all.extend(owned(found, budget)?);
        } else {
            return Ok(match found {
                Selected::Missing => End::Missing { looked: true },
                found => End::Found(found),
            });
        }
    }
    Ok(if query.all {
        End::Found(Selected::Value(Value::Array(all)))
    } else {
        End::Missing { looked: query.then.is_none() }
    })
}

/// The elements of an array, or one value that is treated as if it were in an array.
#[derive(Clone, Copy)]
enum Elements<'a> {
    Array(&'a [Value]),
    One(Node<'a>),
}

impl<'a> Elements<'a> {
    fn of(node: Node<'a>) -> Option<Self> {
        match node {
            Node::Json(Value::Array(elements)) => Some(Self::Array(elements)),
            _ => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Array(elements) => elements.len(),
            Self::One(_) => 1,
        }
    }

    fn get(self, index: usize) -> Option<Node<'a>> {
        match self {
            Self::Array(elements) => elements.get(index).map(Node::Json),
            Self::One(node) => (index == 0).then_some(node),
        }
    }

    fn iter(self) -> impl Iterator<Item = Node<'a>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// Whether a node has members, even if there are none.
pub(crate) fn is_object(node: Node<'_>) -> bool {
    matches!(node, Node::Message(..) | Node::Json(Value::Object(_)))
}

/// All members of an object, in document order.
pub(crate) fn members(node: Node<'_>) -> Vec<(std::borrow::Cow<'_, str>, Node<'_>)> {
    match node {
        Node::Message(document, part) => document.members(part),
        Node::Json(value @ Value::Object(_)) => crate::document::Document::members(value, Part::ROOT),
        _ => Vec::new(),
    }
}

/// The value itself, copied out of the document if need be.
pub(super) fn owned(selected: Selected<'_>, budget: &mut Budget) -> Result<Option<Value>, Overrun> {
    match selected {
        Selected::Missing => Ok(None),
        Selected::Node(node) => copy(node, budget).map(Some),
        Selected::Value(value) => Ok(Some(value)),
    }
}

/// A copy, paid for before it is made.
pub(crate) fn copy(node: Node<'_>, budget: &mut Budget) -> Result<Value, Overrun> {
    charge(node, budget)?;
    Ok(node.to_value())
}

pub(super) fn charge(node: Node<'_>, budget: &mut Budget) -> Result<(), Overrun> {
    /// What a value takes beside its text.
    const VALUE: usize = 32;
    match node {
        Node::Null | Node::Bool(_) | Node::Integer(_) => budget.charge(VALUE),
        Node::Text(text) => budget.charge(VALUE + text.len()),
        Node::Bytes(bytes) => budget.charge(VALUE + bytes.len().saturating_mul(4) / 3),
        Node::Json(Value::String(text)) => budget.charge(VALUE + text.len()),
        Node::Json(Value::Array(elements)) => {
            budget.charge(VALUE)?;
            elements.iter().try_for_each(|element| charge(Node::Json(element), budget))
        }
        Node::Json(Value::Object(members)) => {
            budget.charge(VALUE)?;
            members.iter().try_for_each(|(name, member)| {
                budget.charge(name.len())?;
                charge(Node::Json(member), budget)
            })
        }
        Node::Json(_) => budget.charge(VALUE),
        Node::Message(document, part) => {
            budget.charge(VALUE)?;
            document.members(part).into_iter().try_for_each(|(name, member)| {
                budget.charge(name.len())?;
                charge(member, budget)
            })
        }
    }
}
