//! Which parts of a document a path reads.

use super::{
    Form, Selector,
    modifiers::Modifier,
    path::{Group, Link, Path},
};
use crate::references::References;

/// Where a walk through a document is.
#[derive(Clone)]
enum Place {
    /// At the part to which these names lead.
    At(Vec<String>),
    /// In a value that was made of what was read before.
    Made,
}

impl Selector {
    /// The parts of the document that it reads.
    #[must_use]
    pub fn references(&self) -> References {
        let mut references = References::default();
        match &self.form {
            Form::Plain(children) => references.add(children.iter().map(|child| child.name.as_ref())),
            Form::Path(path) => path.note(Place::At(Vec::new()), &mut references),
        }
        references
    }
}

impl Path {
    /// Notes what is read by following the path from `start`.
    fn note(&self, start: Place, references: &mut References) {
        let mut place = start;
        for group in &self.groups {
            place = group.note(place, references);
        }
        read(&place, references);
    }
}

impl Group {
    fn note(&self, start: Place, references: &mut References) -> Place {
        match self {
            Self::Chain { lines, links } => chain(links, *lines, start, references),
            Self::Modifier(Modifier::This) => start,
            Self::Modifier(_) => read(&start, references),
            // What stands there depends on the document only in that there is nothing where nothing was found.
            Self::Literal(_) => several([].into_iter(), &start, references),
            Self::Elements(paths) => several(paths.iter(), &start, references),
            Self::Members(paths) => several(paths.iter().map(|(_, path)| path), &start, references),
        }
    }
}

/// Notes what several paths read, and at least whether there is something where they start.
fn several<'p>(paths: impl Iterator<Item = &'p Path>, start: &Place, references: &mut References) -> Place {
    let mut inner = References::default();
    for path in paths {
        path.note(start.clone(), &mut inner);
    }
    if let Place::At(names) = start
        && !names.is_empty()
        && !inner.iter().any(|read| read.starts_with(names))
    {
        inner.add(names);
    }
    references.add_all(inner);
    Place::Made
}

fn chain(links: &[Link], lines: bool, start: Place, references: &mut References) -> Place {
    // The first link asks for an element of what is treated as an array.
    if lines {
        return read(&start, references);
    }
    let mut place = start;
    for link in links {
        place = match (link, place) {
            (Link::Child(child), Place::At(mut names)) => {
                names.push(child.name.to_string());
                Place::At(names)
            }
            (Link::Child(_), Place::Made) => Place::Made,
            // Paths in them start at elements of what is read here, or at a member of it.
            (Link::Wildcard(_) | Link::Count | Link::Each(_) | Link::Query(_), place) => {
                return read(&place, references);
            }
        };
    }
    place
}

/// Notes that all of a part is read.
fn read(place: &Place, references: &mut References) -> Place {
    if let Place::At(names) = place {
        references.add(names);
    }
    Place::Made
}
