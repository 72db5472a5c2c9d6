//! What equal sources are compiled to, once for all of them.
//!
//! Many AuthConfigs of a cluster have the same expressions: to parse one takes longer than anything else about an
//! AuthConfig, and what comes of it is a large part of the memory of a plan. So they share it:
//!
//! ```text
//!   source ─┬─ compiled for somebody who still has it ──────► the same
//!           └─ otherwise: compile ─┬─► an error, not kept
//!                                  └─► kept as long as anybody has it
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use crate::error::ParseError;

/// What is compiled, by source. Keeps nothing alive.
pub(crate) struct Interner<T> {
    known: OnceLock<Mutex<Known<T>>>,
}

struct Known<T> {
    by_source: HashMap<Box<str>, Weak<T>>,
    /// With so many sources, those that nobody has any more are taken out.
    tidy_at: usize,
}

/// Fewer sources than this are not worth the trouble.
const FEW: usize = 64;

impl<T> Interner<T> {
    pub(crate) const fn new() -> Self {
        Self { known: OnceLock::new() }
    }

    /// What `source` is compiled to. Nobody waits for another's compilation: of two at the same time, one counts.
    ///
    /// # Errors
    /// Those of `compile`.
    pub(crate) fn get_or_compile(
        &self,
        source: &str,
        compile: impl FnOnce() -> Result<Arc<T>, ParseError>,
    ) -> Result<Arc<T>, ParseError> {
        let shared = self.known().by_source.get(source).and_then(Weak::upgrade);
        if let Some(shared) = shared {
            return Ok(shared);
        }
        let new = compile()?;
        let mut known = self.known();
        if let Some(shared) = known.by_source.get(source).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        if known.by_source.len() >= known.tidy_at {
            known.by_source.retain(|_, compiled| compiled.strong_count() > 0);
            known.by_source.shrink_to(FEW);
            // Twice as many as are left, so that each source is looked at about once for each that comes.
            known.tidy_at = (2 * known.by_source.len()).max(FEW);
        }
        known.by_source.insert(source.into(), Arc::downgrade(&new));
        Ok(new)
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        let empty = || Mutex::new(Known { by_source: HashMap::new(), tidy_at: FEW });
        self.known.get_or_init(empty).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(interner: &Interner<String>, source: &str) -> Arc<String> {
        interner.get_or_compile(source, || Ok(Arc::new(source.to_uppercase()))).unwrap()
    }

    #[test]
    fn equal_sources_share_what_they_are_compiled_to_as_long_as_anybody_has_it() {
        let interner = Interner::new();
        let (first, second, other) = (compiled(&interner, "a"), compiled(&interner, "a"), compiled(&interner, "b"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((first.as_str(), other.as_str()), ("A", "B"));
        let weak = Arc::downgrade(&first);
        drop((first, second));
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(*compiled(&interner, "a"), "A");
    }

    #[test]
    fn errors_are_not_kept() {
        let interner = Interner::<String>::new();
        for _ in 0..2 {
            let error = interner.get_or_compile("a", || Err(ParseError::new("no"))).unwrap_err();
            assert_eq!(error, ParseError::new("no"));
        }
        assert!(interner.known().by_source.is_empty());
        assert_eq!(*compiled(&interner, "a"), "A");
    }

    #[test]
    fn of_two_at_the_same_time_one_counts() {
        let interner = Interner::new();
        let mut within = None;
        let outer = interner.get_or_compile("a", || {
            within = Some(compiled(&interner, "a"));
            Ok(Arc::new(String::new()))
        });
        assert!(Arc::ptr_eq(&outer.unwrap(), &within.unwrap()));
    }

    #[test]
    fn sources_that_nobody_has_are_taken_out() {
        let interner = Interner::new();
        let kept: Vec<_> = (0..100).map(|number| compiled(&interner, &format!("kept {number}"))).collect();
        for number in 0..10_000 {
            compiled(&interner, &number.to_string());
            assert!(interner.known().by_source.len() <= 2 * kept.len());
        }
        for (number, kept) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(kept, &compiled(&interner, &format!("kept {number}"))));
        }
    }
}
