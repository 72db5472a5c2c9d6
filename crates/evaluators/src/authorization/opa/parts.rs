//! The parts of the input that a policy can see, so that no others are made for it.
//!
//! ```text
//!  input.context.request.http.method        context ── request ── http ─┬─ method   (all of it)
//!  input.context.request.http.headers[x]                                └─ headers  (all of it)
//! ```
//!
//! A reference is followed up to its first component that is not a fixed name; what is found there is seen as a whole.

use regorus::Value;
use usher_expr::References;

/// The most components of a reference that are told apart.
const MAX_COMPONENTS: usize = 32;

/// What is seen of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parts {
    /// The value as a whole.
    All,
    /// Only these members, in the order of their names.
    Members(Vec<Member>),
}

/// What is seen of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The name, as the value that is the key of an object: made once, shared by all inputs.
    pub(super) key: Value,
    pub(super) parts: Parts,
}

impl Default for Parts {
    /// Nothing is seen.
    fn default() -> Self {
        Self::Members(Vec::new())
    }
}

impl Member {
    pub(super) fn name(&self) -> &str {
        match &self.key {
            Value::String(name) => name,
            _ => "",
        }
    }
}

impl Parts {
    /// Adds what is found at the end of a path.
    pub(super) fn add(&mut self, path: &[String]) {
        let mut parts = self;
        for name in path.iter().take(MAX_COMPONENTS) {
            // All of it is seen already.
            let Self::Members(members) = parts else { return };
            let index = match members.binary_search_by(|member| member.name().cmp(name)) {
                Ok(index) => index,
                Err(index) => {
                    members.insert(index, Member { key: Value::from(name.as_str()), parts: Self::default() });
                    index
                }
            };
            let Some(member) = members.get_mut(index) else { return };
            parts = &mut member.parts;
        }
        *parts = Self::All;
    }

    /// The same as the names that lead to each part.
    pub(super) fn references(&self) -> References {
        let mut references = References::default();
        self.note(&mut Vec::new(), &mut references);
        references
    }

    /// As deep as [`MAX_COMPONENTS`] at most.
    fn note<'p>(&'p self, names: &mut Vec<&'p str>, references: &mut References) {
        match self {
            Self::All => references.add(names.iter().copied()),
            Self::Members(members) => {
                for member in members {
                    names.push(member.name());
                    member.parts.note(names, references);
                    names.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(paths: &[&str]) -> Vec<String> {
        let mut parts = Parts::default();
        for path in paths {
            let path: Vec<String> = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            parts.add(&path);
        }
        paths_of(&parts)
    }

    fn paths_of(parts: &Parts) -> Vec<String> {
        parts.references().iter().map(|names| names.join(".")).collect()
    }

    #[test]
    fn the_shorter_path_wins() {
        for (paths, expected) in [
            (vec![], vec![]),
            (vec!["b.c", "a", "b.a.x"], vec!["a", "b.a.x", "b.c"]),
            (vec!["a.b.c", "a.b"], vec!["a.b"]),
            (vec!["a.b", "a.b.c"], vec!["a.b"]),
            (vec!["a", ""], vec![""]),
            (vec!["", "a"], vec![""]),
        ] {
            assert_eq!(parts(&paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn what_lies_too_deep_is_seen_as_a_whole() {
        let path = vec!["a".to_owned(); 100_000];
        let mut parts = Parts::default();
        parts.add(&path);
        assert_eq!(paths_of(&parts), [vec!["a"; MAX_COMPONENTS].join(".")]);
    }
}
