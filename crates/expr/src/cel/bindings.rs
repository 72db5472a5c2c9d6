//! Which types agree, and what that says about types not known yet.
//!
//! The rules are those of the checker of cel-go, whose verdicts configurations rely on: `dyn` agrees with
//! everything, null with timestamps, durations, objects and optional values, and a type variable takes the most general of the
//! types it meets.

use super::types::Type;

/// How many comparisons of types one expression may need. Far above what people write; only contrived types that
/// double with every step come near.
const STEP_LIMIT: u32 = 1_000_000;

/// How many parts a type may have before it is taken for `dyn`.
const SIZE_LIMIT: u32 = 512;

/// What the type variables of one expression stand for.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    bound: Vec<Option<Type>>,
    /// What to put back when a comparison fails half way.
    trail: Vec<(usize, Option<Type>)>,
    steps: u32,
}

impl Bindings {
    /// A type that nothing is known about yet.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Variable(self.bound.len() - 1)
    }

    /// Whether a value of type `from` may stand where `to` is expected. Learns from it if so, forgets it if not.
    pub(super) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.trail.clear();
        let agrees = self.agree(from, to);
        if !agrees {
            self.undo();
        }
        agrees
    }

    /// As [`assignable`](Self::assignable) for argument lists.
    pub(super) fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        if from.len() != to.len() {
            return false;
        }
        self.trail.clear();
        let agrees = from.iter().zip(to).all(|(from, to)| self.agree(from, to));
        if !agrees {
            self.undo();
        }
        agrees
    }

    /// `of` with everything in place that is known by now.
    pub(super) fn resolve(&self, of: &Type) -> Type {
        self.substitute(of, false, &mut SIZE_LIMIT.clone())
    }

    /// `of` as it is when nothing more can be learned: what is still open is `dyn`.
    pub(super) fn close(&self, of: &Type) -> Type {
        self.substitute(of, true, &mut SIZE_LIMIT.clone())
    }

    /// Whether the comparisons took more steps than an expression may need.
    pub(super) fn exhausted(&self) -> bool {
        self.steps > STEP_LIMIT
    }

    fn agree(&mut self, from: &Type, to: &Type) -> bool {
        self.steps = self.steps.saturating_add(1);
        if self.exhausted() {
            return true;
        }
        if let Type::Variable(variable) = to {
            match self.take(from, *variable) {
                Taken::Yes => return true,
                Taken::Contradiction => return false,
                Taken::No => {}
            }
        }
        if let Type::Variable(variable) = from {
            return matches!(self.take(to, *variable), Taken::Yes);
        }
        match (from, to) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Timestamp | Type::Duration | Type::Optional(_) | Type::Object(_))
            }
            (Type::Metatype(_), Type::Metatype(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.agree(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.agree(a, c) && self.agree(b, d),
            (a, b) => a == b,
        }
    }

    /// Whether `variable` may stand for `of`, alone or besides what it stands for already.
    fn take(&mut self, of: &Type, variable: usize) -> Taken {
        if matches!(of, Type::Variable(other) if *other == variable) {
            return Taken::Yes;
        }
        if let Some(bound) = self.bound.get(variable).cloned().flatten() {
            if *of == bound {
                return Taken::Yes;
            }
            if !self.agree(of, &bound) {
                return Taken::Contradiction;
            }
            let general = if of.is_as_general_as(&bound) { of.clone() } else { bound };
            if !self.mentions(&general, variable) {
                self.bind(variable, general);
            }
            return Taken::Yes;
        }
        if self.mentions(of, variable) {
            return Taken::No;
        }
        self.bind(variable, of.clone());
        Taken::Yes
    }

    fn bind(&mut self, variable: usize, to: Type) {
        if let Some(bound) = self.bound.get_mut(variable) {
            self.trail.push((variable, bound.take()));
            *bound = Some(to);
        }
    }

    fn undo(&mut self) {
        while let Some((variable, before)) = self.trail.pop() {
            if let Some(bound) = self.bound.get_mut(variable) {
                *bound = before;
            }
        }
    }

    /// Whether `variable` occurs in `within`, directly or through what other variables stand for.
    fn mentions(&mut self, within: &Type, variable: usize) -> bool {
        self.steps = self.steps.saturating_add(1);
        if self.exhausted() {
            return true;
        }
        match within {
            Type::Variable(other) => {
                *other == variable
                    || self.bound.get(*other).cloned().flatten().is_some_and(|bound| self.mentions(&bound, variable))
            }
            Type::List(inner) | Type::Optional(inner) | Type::Metatype(inner) => self.mentions(inner, variable),
            Type::Map(key, value) => self.mentions(key, variable) || self.mentions(value, variable),
            _ => false,
        }
    }

    fn substitute(&self, of: &Type, close: bool, fuel: &mut u32) -> Type {
        if *fuel == 0 {
            return Type::Dyn;
        }
        *fuel -= 1;
        match of {
            Type::Variable(variable) => match self.bound.get(*variable) {
                Some(Some(bound)) => self.substitute(bound, close, fuel),
                _ if close => Type::Dyn,
                _ => of.clone(),
            },
            Type::List(inner) => Type::list(self.substitute(inner, close, fuel)),
            Type::Optional(inner) => Type::optional(self.substitute(inner, close, fuel)),
            Type::Metatype(inner) => Type::type_of(self.substitute(inner, close, fuel)),
            Type::Map(key, value) => {
                let key = self.substitute(key, close, fuel);
                Type::map(key, self.substitute(value, close, fuel))
            }
            other => other.clone(),
        }
    }
}

enum Taken {
    Yes,
    /// The variable stands for something else already.
    Contradiction,
    /// The variable would stand for something that contains it.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_takes_the_most_general_type_it_meets() {
        let mut bindings = Bindings::default();
        let element = bindings.fresh();
        assert!(bindings.assignable(&Type::Int, &element));
        assert!(!bindings.assignable(&Type::String, &element));
        assert_eq!(bindings.close(&element), Type::Int);
        assert!(bindings.assignable(&Type::Dyn, &element));
        assert_eq!(bindings.close(&element), Type::Dyn);
        assert!(bindings.assignable(&Type::String, &element));
    }

    #[test]
    fn a_failed_comparison_leaves_nothing_behind() {
        let mut bindings = Bindings::default();
        let element = bindings.fresh();
        let wanted = [element.clone(), Type::list(element.clone())];
        assert!(!bindings.all_assignable(&[Type::Int, Type::String], &wanted));
        assert_eq!(bindings.resolve(&element), element);
        assert!(bindings.all_assignable(&[Type::String, Type::list(Type::String)], &wanted));
    }

    #[test]
    fn a_type_never_contains_itself() {
        let mut bindings = Bindings::default();
        let element = bindings.fresh();
        assert!(!bindings.assignable(&Type::list(element.clone()), &element));
    }

    #[test]
    fn null_agrees_with_what_may_be_absent() {
        let mut bindings = Bindings::default();
        for (other, agrees) in [
            (Type::Timestamp, true),
            (Type::Duration, true),
            (Type::optional(Type::Int), true),
            (Type::Object("test.Object"), true),
            (Type::Null, true),
            (Type::Dyn, true),
            (Type::Int, false),
            (Type::map(Type::String, Type::Dyn), false),
        ] {
            assert_eq!(bindings.assignable(&Type::Null, &other), agrees, "{other}");
            assert_eq!(bindings.assignable(&other, &Type::Null), agrees, "{other}");
        }
    }
}
