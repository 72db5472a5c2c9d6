//! Which configuration serves which route: of those that claim it, the oldest.

use std::collections::{BTreeMap, BTreeSet};

use usher_engine::route::RouteName;

use crate::hosts::Age;

/// All claims of routes.
#[derive(Debug)]
pub(crate) struct RouteClaims<Id> {
    claims: BTreeMap<RouteName, BTreeMap<Age, Id>>,
}

impl<Id> Default for RouteClaims<Id> {
    fn default() -> Self {
        Self { claims: BTreeMap::new() }
    }
}

impl<Id: Clone + Ord> RouteClaims<Id> {
    /// Replaces the routes that a configuration claims, and says which other configurations have won or lost one, or
    /// have another rival now.
    pub(crate) fn replace(&mut self, id: &Id, age: &Age, before: &[RouteName], after: &[RouteName]) -> BTreeSet<Id> {
        let mut rivals = BTreeSet::new();
        for route in before {
            if let Some(claims) = self.claims.get_mut(route) {
                claims.remove(age);
                rivals.extend(claims.values().cloned());
                if claims.is_empty() {
                    self.claims.remove(route);
                }
            }
        }
        for route in after {
            let claims = self.claims.entry(route.clone()).or_default();
            rivals.extend(claims.values().cloned());
            claims.insert(age.clone(), id.clone());
        }
        rivals.remove(id);
        rivals
    }

    /// Who serves a route.
    pub(crate) fn owner(&self, route: &RouteName) -> Option<&Id> {
        self.claims.get(route)?.values().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_claim_wins() {
        let age = |seen| Age { created: None, id: None, seen };
        let route = |name: &str| RouteName::new("HTTPRoute", "n", name, None).unwrap();
        let mut claims = RouteClaims::default();
        assert_eq!(claims.replace(&"x", &age(0), &[], &[route("a"), route("b")]), BTreeSet::new());
        assert_eq!(claims.replace(&"y", &age(1), &[], &[route("a")]), ["x"].into());
        assert_eq!((claims.owner(&route("a")), claims.owner(&route("c"))), (Some(&"x"), None));
        assert_eq!(claims.replace(&"x", &age(0), &[route("a"), route("b")], &[route("b")]), ["y"].into());
        assert_eq!((claims.owner(&route("a")), claims.owner(&route("b"))), (Some(&"y"), Some(&"x")));
        claims.replace(&"x", &age(0), &[route("b")], &[]);
        claims.replace(&"y", &age(1), &[route("a")], &[]);
        assert!(claims.claims.is_empty());
    }
}
