//! Conditions: from `when`, `patternMatching` and named sets of patterns to predicates.
//!
//! | written | means |
//! | --- | --- |
//! | a list | all of its elements |
//! | `selector`, `operator`, `value` | a comparison |
//! | `predicate` | a CEL expression that is true |
//! | `patternRef` | all patterns of the named set, as one |
//! | `all`, `any` | all, or at least one, of the elements |
//!
//! An empty list, `all`, `any` or named set says nothing and is left out. Left out of everything that an `any` has, it
//! leaves an alternative without choices, which is false: what says nothing never lets anybody in.

use std::{collections::BTreeMap, sync::Arc};

use usher_api::{Comparison, Condition, Operator, PatternExpression, PatternExpressionOrRef};
use usher_expr::{
    Predicate, cel,
    jsonpath::JsonPath,
    pattern::{self, Pattern},
    selector::Selector,
};

use crate::{BuildContext, FieldPath, Problems};

/// The predicate of `when`: nothing where there is no condition, or where something is wrong.
pub fn build(
    list: &[PatternExpressionOrRef],
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Predicate> {
    if list.is_empty() { None } else { all(list, at, context, problems) }
}

/// The predicate that all elements of the list hold; one that always holds where the list is empty.
pub fn all(
    list: &[PatternExpressionOrRef],
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Predicate> {
    let mut builder = Builder { patterns: context.patterns, problems, room: Some(MOST_OPERANDS) };
    Some(Predicate::All(builder.operands(list, at, MOST_NESTED)?))
}

/// The named sets of patterns of an AuthConfig, each compiled once and shared by all that refer to it.
#[derive(Debug, Default)]
pub struct NamedSets(BTreeMap<String, NamedSet>);

#[derive(Debug)]
enum NamedSet {
    /// Has no pattern, so it says nothing.
    Empty,
    /// All of its patterns.
    Patterns(Arc<Predicate>),
    /// Something is wrong with it, which was said.
    Wrong,
}

impl NamedSets {
    /// Compiles the named sets, also those that nothing refers to.
    pub fn build(
        patterns: &BTreeMap<String, Vec<PatternExpression>>,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Self {
        let compile = |name: &str, set: &[PatternExpression], problems: &mut Problems| {
            let mut operands = Vec::with_capacity(set.len());
            let mut wrong = false;
            for (index, pattern) in set.iter().enumerate() {
                match named_pattern(pattern, &at.key(name).index(index), problems) {
                    Some(operand) => operands.push(operand),
                    None => wrong = true,
                }
            }
            match (wrong, operands.is_empty()) {
                (true, _) => NamedSet::Wrong,
                (false, true) => NamedSet::Empty,
                (false, false) => NamedSet::Patterns(Arc::new(Predicate::All(operands))),
            }
        };
        Self(patterns.iter().map(|(name, set)| (name.clone(), compile(name, set, problems))).collect())
    }
}

/// How deep `all` and `any` may be nested.
const MOST_NESTED: usize = 64;

/// How many comparisons, predicates and references one list may have.
const MOST_OPERANDS: usize = 10_000;

struct Builder<'b> {
    patterns: &'b NamedSets,
    problems: &'b mut Problems,
    /// How many more operands there may be; nothing once there were too many, which is said once.
    room: Option<usize>,
}

impl Builder<'_> {
    /// The operands that the elements of a list stand for; nothing if one of them is wrong.
    fn operands(
        &mut self,
        list: &[PatternExpressionOrRef],
        at: &FieldPath<'_>,
        levels: usize,
    ) -> Option<Vec<Predicate>> {
        let mut operands = Some(Vec::with_capacity(list.len()));
        for (index, element) in list.iter().enumerate() {
            let operand = self.operand(element, &at.index(index), levels);
            // After something wrong the rest is only looked at for more problems.
            operands = match (operands, operand) {
                (Some(mut operands), Some(operand)) => {
                    operands.extend(operand);
                    Some(operands)
                }
                _ => None,
            };
        }
        operands
    }

    /// What an element stands for: `Some(None)` if it says nothing, `None` if it is wrong.
    fn operand(
        &mut self,
        element: &PatternExpressionOrRef,
        at: &FieldPath<'_>,
        levels: usize,
    ) -> Option<Option<Predicate>> {
        match self.problems.take(at, element.condition())? {
            Condition::Comparison(comparison) => {
                self.take_room(1, at)?;
                comparison_of(comparison, at, self.problems).map(Some)
            }
            Condition::Predicate(source) => {
                self.take_room(1, at)?;
                let program = self.problems.take(&at.field("predicate"), cel::Program::predicate(source))?;
                Some(Some(Predicate::Cel(program)))
            }
            Condition::PatternRef(name) => self.named_set(name, &at.field("patternRef")),
            Condition::All([]) | Condition::Any([]) => Some(None),
            Condition::All(list) => {
                let operands = self.nested(list, &at.field("all"), levels)?;
                Some((!operands.is_empty()).then_some(Predicate::All(operands)))
            }
            Condition::Any(list) => Some(Some(Predicate::Any(self.nested(list, &at.field("any"), levels)?))),
        }
    }

    fn nested(&mut self, list: &[PatternExpressionOrRef], at: &FieldPath<'_>, levels: usize) -> Option<Vec<Predicate>> {
        let Some(levels) = levels.checked_sub(1) else {
            self.problems.add(at, format!("conditions are nested deeper than {MOST_NESTED} levels"));
            return None;
        };
        self.operands(list, at, levels)
    }

    fn named_set(&mut self, name: &str, at: &FieldPath<'_>) -> Option<Option<Predicate>> {
        self.take_room(1, at)?;
        match self.patterns.0.get(name) {
            Some(NamedSet::Patterns(predicate)) => Some(Some(Predicate::Shared(Arc::clone(predicate)))),
            Some(NamedSet::Empty) => Some(None),
            // What is wrong with a set is said at the set.
            Some(NamedSet::Wrong) => {
                self.problems.add(at, format!("the pattern set `{name}` is wrong"));
                None
            }
            None => {
                self.problems.add(at, format!("there is no pattern set `{name}`"));
                None
            }
        }
    }

    fn take_room(&mut self, operands: usize, at: &FieldPath<'_>) -> Option<()> {
        let room = self.room?;
        self.room = room.checked_sub(operands);
        if self.room.is_none() {
            self.problems.add(at, format!("there are more than {MOST_OPERANDS} comparisons and predicates"));
        }
        self.room.map(|_| ())
    }
}

fn named_pattern(pattern: &PatternExpression, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Predicate> {
    comparison_of(problems.take(at, pattern.comparison())?, at, problems)
}

fn comparison_of(comparison: Comparison<'_>, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Predicate> {
    let (subject, operator, value) = match comparison {
        Comparison::Selector(path, operator, value) => {
            let selector = problems.take(&at.field("selector"), Selector::parse(path))?;
            (pattern::Subject::from(selector), operator, value)
        }
        Comparison::JsonPath(path, operator, value) => {
            let path = problems.take(&at.field("jsonPath"), JsonPath::parse(path))?;
            (pattern::Subject::from(path), operator, value)
        }
    };
    let operator = match operator {
        Operator::Eq => pattern::Operator::Eq,
        Operator::Neq => pattern::Operator::Neq,
        Operator::Incl => pattern::Operator::Incl,
        Operator::Excl => pattern::Operator::Excl,
        Operator::Matches => pattern::Operator::Matches,
    };
    problems.take(&at.field("value"), Pattern::new(subject, operator, value)).map(Predicate::Pattern)
}
