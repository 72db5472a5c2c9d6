//! What a change of a Secret means: which AuthConfigs are compiled again, and what none of them names any more.

use std::{collections::BTreeMap, sync::Arc};

use usher_api::{ObjectMeta, Secret, SecretName};
use usher_evaluators::{Lookup, Problem, SecretUse};

use super::{Update, Version, Workspace};
use crate::{AuthConfigId, Refused, references::Named};

/// A change of a Secret.
#[derive(Debug, Clone, Copy)]
pub enum SecretChange<'a> {
    /// It is new or different, with all that it is good for.
    Set(&'a Arc<Secret>),
    /// It is gone.
    Gone {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// It is new or different, as far as its API key or its authorities are concerned.
    Labelled(&'a Secret),
    /// Its API key and its authorities are gone.
    LabelledGone {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// What it is for AuthConfigs that name it; `None`: there is none.
    Named(&'a SecretName, Option<&'a Arc<Secret>>),
}

impl Workspace {
    /// Takes in changes of Secrets. API keys and authorities count from now on as they are now; AuthConfigs that name a
    /// Secret are compiled again, once. One that does not compile, and was told by a Secret whom to believe, does not
    /// serve on with what that said before.
    pub fn change_secrets<'a>(&mut self, changes: impl IntoIterator<Item = SecretChange<'a>>, update: &mut Update) {
        let mut stale = BTreeMap::new();
        for change in changes {
            match change {
                SecretChange::Set(secret) => {
                    let metadata = &secret.metadata;
                    if self.secrets.get(&metadata.namespace, &metadata.name).is_some_and(|known| known == secret) {
                        continue;
                    }
                    self.set_labelled(secret);
                    let name = SecretName::new(&metadata.namespace, &metadata.name);
                    self.set_named(&name, Some(secret), &mut stale);
                }
                SecretChange::Gone { namespace, name } => {
                    self.remove_labelled(namespace, name);
                    self.set_named(&SecretName::new(namespace, name), None, &mut stale);
                }
                SecretChange::Labelled(secret) => self.set_labelled(secret),
                SecretChange::LabelledGone { namespace, name } => self.remove_labelled(namespace, name),
                // What nobody names any more is not kept.
                SecretChange::Named(name, _) if !self.references.is_named(name) => {}
                SecretChange::Named(name, secret) => self.set_named(name, secret, &mut stale),
            }
        }
        for (id, distrusted) in stale {
            self.compile_again(&id, distrusted, update);
        }
    }

    fn set_labelled(&self, secret: &Secret) {
        self.compiler.resources.api_keys.apply(secret);
        self.compiler.resources.authorities.apply(secret);
    }

    fn remove_labelled(&self, namespace: &str, name: &str) {
        self.compiler.resources.api_keys.remove(namespace, name);
        self.compiler.resources.authorities.remove(namespace, name);
    }

    /// Keeps what a Secret is now, and notes the AuthConfigs that are out of date by that: whether what they were told
    /// before may not be believed any more.
    fn set_named(&mut self, name: &SecretName, secret: Option<&Arc<Secret>>, stale: &mut BTreeMap<AuthConfigId, bool>) {
        let is_revoked = match (self.secrets.find(&name.namespace, &name.name), secret) {
            // Nobody looks at anything but the entries.
            (Lookup::Found(known), Some(secret)) if known.data == secret.data => None,
            (Lookup::Missing, None) => None,
            (Lookup::Found(_), _) => Some(true),
            (Lookup::Missing | Lookup::Unknown, _) => Some(false),
        };
        match secret {
            Some(secret) => self.secrets.insert(Arc::clone(secret)),
            None => {
                self.secrets.remove(&name.namespace, &name.name);
                self.secrets.insert_missing(name.clone());
            }
        }
        let Some(is_revoked) = is_revoked else { return };
        for (id, used_for) in self.references.to(name) {
            *stale.entry(id).or_default() |= is_revoked && used_for == SecretUse::Trust;
        }
    }

    /// Compiles again what was given last. `distrusted`: the version that serves now must not serve on if that fails.
    fn compile_again(&mut self, id: &AuthConfigId, distrusted: bool, update: &mut Update) {
        let Some(config) = self.configs.get_mut(id) else { return };
        config.good &= !distrusted;
        if let Some(kept) = config.kept.clone() {
            self.take_in(&kept, || Arc::clone(&kept), update);
        } else if distrusted {
            // Only its name could be read of what was given last.
            let (namespace, name) = (id.namespace.to_string(), id.name.to_string());
            let (uid, given, places) = (config.uid.clone(), config.told.given, config.places.clone());
            let problem = "a Secret that an earlier version trusted has changed, and this one cannot be read";
            let problems = vec![Problem { path: "spec".to_owned(), message: problem.to_owned() }];
            let named = self.references.remove(id);
            self.note_named(named, update);
            let metadata = ObjectMeta { namespace, name, uid, ..ObjectMeta::default() };
            self.refuse(Version { metadata: &metadata, kept: None, given }, Refused { places, problems }, update);
        }
    }

    /// Notes the Secrets of a version that is refused, with those of the version that serves on instead.
    pub(super) fn keep_references(
        &mut self,
        id: &AuthConfigId,
        mut secrets: BTreeMap<String, SecretUse>,
        update: &mut Update,
    ) {
        let serving = self.configs.get(id).filter(|config| config.good).map(|config| &config.secrets);
        for (name, used_for) in serving.into_iter().flatten() {
            let known = secrets.entry(name.clone()).or_insert(*used_for);
            *known = (*known).max(*used_for);
        }
        let named = self.references.set(id, secrets);
        self.note_named(named, update);
    }

    pub(super) fn note_named(&mut self, named: Named, update: &mut Update) {
        if self.secrets.is_on_demand() {
            for (name, _) in named.iter().filter(|(_, is_named)| !is_named) {
                self.secrets.remove(&name.namespace, &name.name);
            }
        }
        update.named_secrets.extend(named);
    }
}
