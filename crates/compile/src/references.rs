//! Which AuthConfigs name which Secrets.

use std::collections::{BTreeMap, HashMap};

use usher_evaluators::SecretUse;

use crate::AuthConfigId;

/// The Secrets that AuthConfigs name, in both directions. A Secret is of the namespace of the AuthConfig.
#[derive(Debug, Default)]
pub(crate) struct References {
    named_by: HashMap<AuthConfigId, BTreeMap<String, SecretUse>>,
    naming: HashMap<(String, String), BTreeMap<AuthConfigId, SecretUse>>,
}

impl References {
    /// Replaces the Secrets that an AuthConfig names.
    pub(crate) fn set(&mut self, id: AuthConfigId, secrets: BTreeMap<String, SecretUse>) {
        self.remove(&id);
        if secrets.is_empty() {
            return;
        }
        for (secret, used_for) in &secrets {
            let key = (id.namespace.to_string(), secret.clone());
            self.naming.entry(key).or_default().insert(id.clone(), *used_for);
        }
        self.named_by.insert(id, secrets);
    }

    /// Forgets an AuthConfig.
    pub(crate) fn remove(&mut self, id: &AuthConfigId) {
        for secret in self.named_by.remove(id).unwrap_or_default().into_keys() {
            let key = (id.namespace.to_string(), secret);
            if let Some(naming) = self.naming.get_mut(&key) {
                naming.remove(id);
                if naming.is_empty() {
                    self.naming.remove(&key);
                }
            }
        }
    }

    /// The AuthConfigs that name a Secret, and what for.
    pub(crate) fn to(&self, namespace: &str, name: &str) -> Vec<(AuthConfigId, SecretUse)> {
        let naming = self.naming.get(&(namespace.to_owned(), name.to_owned()));
        naming.into_iter().flatten().map(|(id, used_for)| (id.clone(), *used_for)).collect()
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
        references.set(id("a"), secrets(&["s", "t"]));
        references.set(id("b"), secrets(&["s"]));
        let to =
            |references: &References, name| references.to("ns", name).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(to(&references, "s"), [id("a"), id("b")]);
        references.set(id("a"), secrets(&["t"]));
        assert_eq!((to(&references, "s"), to(&references, "t")), (vec![id("b")], vec![id("a")]));
        assert!(references.to("other", "s").is_empty());
        references.remove(&id("a"));
        references.set(id("b"), BTreeMap::new());
        assert!(references.named_by.is_empty() && references.naming.is_empty());
    }
}
