//! Which AuthConfigs name which Secrets.

use std::collections::{BTreeMap, HashMap};

use usher_api::SecretName;
use usher_evaluators::SecretUse;

use crate::AuthConfigId;

/// The Secrets that AuthConfigs name, in both directions. A Secret is of the namespace of the AuthConfig.
#[derive(Debug, Default)]
pub(crate) struct References {
    named_by: HashMap<AuthConfigId, BTreeMap<String, SecretUse>>,
    naming: HashMap<SecretName, BTreeMap<AuthConfigId, SecretUse>>,
}

/// Secrets that somebody names now and nobody named before (true), or the other way round (false).
pub(crate) type Named = Vec<(SecretName, bool)>;

impl References {
    /// Replaces the Secrets that an AuthConfig names.
    pub(crate) fn set(&mut self, id: &AuthConfigId, secrets: BTreeMap<String, SecretUse>) -> Named {
        let mut named = Named::new();
        for (secret, used_for) in &secrets {
            let name = SecretName::new(&id.namespace, secret);
            let naming = self.naming.entry(name.clone()).or_default();
            if naming.is_empty() {
                named.push((name, true));
            }
            naming.insert(id.clone(), *used_for);
        }
        let before = match secrets.is_empty() {
            true => self.named_by.remove(id),
            false => self.named_by.insert(id.clone(), secrets),
        };
        let now = self.named_by.get(id);
        for secret in before.unwrap_or_default().into_keys() {
            if now.is_some_and(|now| now.contains_key(&secret)) {
                continue;
            }
            let name = SecretName::new(&id.namespace, &secret);
            if let Some(naming) = self.naming.get_mut(&name) {
                naming.remove(id);
                if naming.is_empty() {
                    self.naming.remove(&name);
                    named.push((name, false));
                }
            }
        }
        named
    }

    /// Forgets an AuthConfig.
    pub(crate) fn remove(&mut self, id: &AuthConfigId) -> Named {
        self.set(id, BTreeMap::new())
    }

    /// Whether any AuthConfig names a Secret.
    pub(crate) fn is_named(&self, name: &SecretName) -> bool {
        self.naming.contains_key(name)
    }

    /// The AuthConfigs that name a Secret, and what for.
    pub(crate) fn to(&self, name: &SecretName) -> Vec<(AuthConfigId, SecretUse)> {
        self.naming.get(name).into_iter().flatten().map(|(id, used_for)| (id.clone(), *used_for)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_forgotten() {
        let id = |name: &str| AuthConfigId { namespace: "ns".into(), name: name.into() };
        let secrets = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), SecretUse::Credential)).collect();
        let mut references = References::default();
        let named = |names: &[(&str, bool)]| {
            names.iter().map(|(name, is_named)| (SecretName::new("ns", name), *is_named)).collect::<Vec<_>>()
        };
        assert_eq!(references.set(&id("a"), secrets(&["s", "t"])), named(&[("s", true), ("t", true)]));
        assert_eq!(references.set(&id("b"), secrets(&["s"])), []);
        let to = |references: &References, name| {
            references.to(&SecretName::new("ns", name)).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(to(&references, "s"), [id("a"), id("b")]);
        assert_eq!(references.set(&id("a"), secrets(&["u", "t"])), named(&[("u", true)]));
        assert_eq!(references.set(&id("a"), secrets(&["t"])), named(&[("u", false)]));
        assert_eq!((to(&references, "s"), to(&references, "t")), (vec![id("b")], vec![id("a")]));
        assert!(references.to(&SecretName::new("other", "s")).is_empty());
        assert!(references.is_named(&SecretName::new("ns", "t")));
        assert_eq!(references.remove(&id("a")), named(&[("t", false)]));
        assert_eq!(references.set(&id("b"), BTreeMap::new()), named(&[("s", false)]));
        assert!(references.named_by.is_empty() && references.naming.is_empty());
    }
}
