//! Which parts of a document an expression reads.
//!
//! A root is only ever named by a path: [`lower`](super::lower) leaves no other way to the document. What an expression
//! does with the value of a path, such as looking up a computed name in it, stays within the value.

use std::iter;

use super::{
    Program,
    environment::Environment,
    path::{Key, Path},
};
use crate::references::References;

impl Program {
    /// The parts of the document that it reads, beside what the definitions that it uses read.
    #[must_use]
    pub fn references(&self) -> References {
        let mut references = References::default();
        for path in &self.inner.lowered.paths {
            references.add(iter::once(path.root.as_str()).chain(names(path)));
        }
        references
    }
}

impl Environment {
    /// The parts of the document that each definition reads, in the order in which they were defined.
    pub fn references(&self) -> impl Iterator<Item = References> {
        self.definitions().iter().map(|definition| definition.program.references())
    }
}

/// The names up to the first element of a list.
fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.steps.iter().map_while(|step| match &step.key {
        Key::Field(name) | Key::Member(name) => Some(name.as_str()),
        Key::Element(_) => None,
    })
}
