//! `text.matches(pattern)`: regular expressions as RE2 understands them.
//!
//! Constant patterns are compiled when the program is loaded. Others are compiled when they are met, and kept in a
//! small cache that all programs share.

use std::{
    any::Any,
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use cel::common::{
    types::{CelBool, CelString, Type},
    value::{StaticVal, Val},
};

use super::{
    budget,
    functions::{Arguments, Outcome, exactly, failure, no_overload, owned},
    text::inner,
};
use crate::{error::ParseError, pattern::regular_expression::RegularExpression};

/// The most patterns in the cache.
const CACHE_LIMIT: usize = 256;

/// What compiling a pattern costs, in units of the budget.
const COMPILATION: u64 = 1_000;

/// A compiled pattern, as a value that the interpreter carries from the program to [`matches`].
#[derive(Clone, Debug)]
pub(super) struct Pattern(RegularExpression);

impl Pattern {
    pub(super) fn compile(source: &str) -> Result<Self, ParseError> {
        RegularExpression::parse(source).map(Self)
    }

    /// Whether the pattern is found anywhere in the text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// `text.matches(pattern)`; the pattern is a text or a [`Pattern`].
pub(super) fn matches<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [text, pattern] = exactly(arguments)?;
    let searched = inner(&text)?;
    budget::charge_text(searched.len())?;
    let matched = if let Some(pattern) = pattern.downcast_ref::<Pattern>() {
        pattern.is_match(searched)
    } else if let Some(source) = pattern.downcast_ref::<CelString>() {
        let known = cached(source);
        let pattern = match known {
            Some(pattern) => pattern,
            None => {
                budget::charge(COMPILATION)?;
                let pattern = RegularExpression::parse_unshared(source).map(Pattern);
                let pattern = pattern.map_err(|_| failure("invalid regular expression"))?;
                remember(source, &pattern);
                pattern
            }
        };
        pattern.is_match(searched)
    } else {
        return Err(no_overload("matches", &[text.as_ref(), pattern.as_ref()]));
    };
    owned(CelBool::from(matched))
}

static CACHE: LazyLock<Mutex<HashMap<String, Pattern>>> = LazyLock::new(Mutex::default);

fn cached(source: &str) -> Option<Pattern> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned()
}

fn remember(source: &str, pattern: &Pattern) {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    // Patterns that are computed from requests would otherwise push out the others one by one, for ever.
    if cache.len() >= CACHE_LIMIT {
        cache.clear();
    }
    cache.insert(source.to_owned(), pattern.clone());
}

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
