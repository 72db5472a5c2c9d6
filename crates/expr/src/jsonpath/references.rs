//! Which parts of a document a query reads.

use super::{
    JsonPath,
    compile::{Filter, Operand, Query, Segment, Selector, Start, Step},
};
use crate::references::References;

impl JsonPath {
    /// The parts of the document that it reads.
    #[must_use]
    pub fn references(&self) -> References {
        let mut references = References::default();
        note(&self.query, &mut references);
        references
    }
}

/// A query that starts at the element of a filter reads what the filter reads already; the queries in it may not.
fn note(query: &Query, references: &mut References) {
    if query.start == Start::Root {
        let names = query.segments.iter().map_while(|segment| match segment {
            Segment { descends: false, selectors } => match selectors.as_slice() {
                [Selector::Step(Step::Name(name))] => Some(name.as_str()),
                _ => None,
            },
            _ => None,
        });
        references.add(names);
    }
    for selector in query.segments.iter().flat_map(|segment| &segment.selectors) {
        if let Selector::Filter(filter) = selector {
            note_filter(filter, references);
        }
    }
}

fn note_filter(filter: &Filter, references: &mut References) {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => {
            for filter in filters {
                note_filter(filter, references);
            }
        }
        Filter::Not(filter) => note_filter(filter, references),
        Filter::Exists(query) => note(query, references),
        Filter::Compare(_, left, right) => {
            note_operand(left, references);
            note_operand(right, references);
        }
        Filter::Fits(text, _) => note_operand(text, references),
        Filter::FitsFound { text, expression, whole: _ } => {
            note_operand(text, references);
            note_operand(expression, references);
        }
    }
}

fn note_operand(operand: &Operand, references: &mut References) {
    match operand {
        Operand::Literal(_) | Operand::Query(_, Start::Current) => {}
        Operand::Query(steps, Start::Root) => references.add(steps.iter().map_while(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })),
        Operand::Length(operand) => note_operand(operand, references),
        Operand::Count(query) | Operand::Value(query) => note(query, references),
    }
}
