//! What was told, and what is to be told next.
//!
//! Plain values: events go in, batches of changes come out.

use std::sync::Arc;

use serde_json::Value;
use usher_api::{AuthConfigDocument, ObjectMeta, Secret, SecretDocument, SecretName};
use usher_source::{AuthConfigObject, Change};

use super::{
    batches::Batches,
    item::SecretItem,
    known::{Fingerprint, Fingerprints, Known},
    list_watch::Event,
};
use crate::status::{self, Observed};

/// Turns events into changes.
#[derive(Debug, Default)]
pub(super) struct Told {
    auth_configs: Known,
    secrets: Known,
    /// Which of the two were listed to the end.
    complete: [bool; 2],
    initial_load_told: bool,
    fingerprints: Fingerprints,
    status: Option<status::Handle>,
    batches: Batches,
}

impl Told {
    pub(super) fn new(fingerprints: Fingerprints, status: Option<status::Handle>) -> Self {
        Self { fingerprints, status, ..Self::default() }
    }

    /// Whether everything that is in the cluster was told.
    pub(super) fn is_complete(&self) -> bool {
        self.complete == [true; 2]
    }

    /// How many AuthConfigs and labelled Secrets there are.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.auth_configs.len(), self.secrets.len())
    }

    /// How many changes are to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.batches.len()
    }

    /// The batches to be sent, in this order.
    pub(super) fn take_batches(&mut self) -> Vec<Vec<Change>> {
        self.batches.take()
    }

    /// Something happened to AuthConfigs.
    pub(super) fn auth_configs(&mut self, event: Event<Value>) {
        match event {
            Event::Restart => self.auth_configs.begin_list(),
            Event::Listed(objects) => objects.into_iter().for_each(|object| self.auth_config(object)),
            Event::Changed(object) => self.auth_config(object),
            Event::Complete => {
                for (namespace, name) in self.auth_configs.end_list() {
                    self.auth_config_gone(namespace, name);
                }
                self.completed(0);
            }
            Event::Deleted(object) => {
                if let Some(Identity { namespace, name, .. }) = Identity::of(&object)
                    && self.auth_configs.remove(namespace, name)
                {
                    self.auth_config_gone(namespace.to_owned(), name.to_owned());
                }
            }
            Event::Connected => {}
        }
    }

    /// Something happened to labelled Secrets.
    pub(super) fn secrets(&mut self, event: Event<SecretItem>) {
        match event {
            Event::Restart => self.secrets.begin_list(),
            Event::Listed(objects) => objects.into_iter().for_each(|object| self.secret(object)),
            Event::Changed(object) => self.secret(object),
            Event::Complete => {
                for (namespace, name) in self.secrets.end_list() {
                    self.batches.push(Change::LabelledSecretGone { namespace, name });
                }
                self.completed(1);
            }
            Event::Deleted(object) => {
                if let Some(Identity { namespace, name, .. }) = Identity::of_secret(&object)
                    && self.secrets.remove(namespace, name)
                {
                    let (namespace, name) = (namespace.to_owned(), name.to_owned());
                    self.batches.push(Change::LabelledSecretGone { namespace, name });
                }
            }
            Event::Connected => {}
        }
    }

    /// A Secret that AuthConfigs name is this now.
    pub(super) fn named_secret(&mut self, name: SecretName, secret: Option<Arc<Secret>>) {
        self.batches.push(Change::NamedSecret { name, secret });
    }

    /// Tells what is in a snapshot, as far as the cluster has not told better.
    pub(super) fn restore(&mut self, changes: Vec<Change>) {
        for change in changes {
            let news = match &change {
                Change::AuthConfig(object) => {
                    let metadata = &object.document.metadata;
                    let fingerprint = self.fingerprints.of_specification(
                        metadata.uid.as_deref(),
                        metadata.generation,
                        metadata.resource_version.as_deref(),
                    );
                    let [complete, _] = self.complete;
                    !complete && self.auth_configs.remember(&metadata.namespace, &metadata.name, fingerprint)
                }
                Change::LabelledSecret(secret) => {
                    let ObjectMeta { namespace, name, .. } = &secret.metadata;
                    let fingerprint = fingerprint_of(&self.fingerprints, secret);
                    let [_, complete] = self.complete;
                    !complete && self.secrets.remember(namespace, name, fingerprint)
                }
                Change::NamedSecret { .. } => true,
                // A snapshot has nothing else to say here.
                _ => false,
            };
            if news {
                self.batches.push(change);
            }
        }
        self.initial_load_done();
    }

    fn auth_config(&mut self, mut object: Value) {
        let Some(Identity { namespace, name, uid, resource_version, generation }) = Identity::of(&object) else {
            tracing::warn!("the Kubernetes API told of an AuthConfig without a name; it is left out");
            return;
        };
        let fingerprint = self.fingerprints.of_specification(uid, generation, resource_version);
        let news = self.auth_configs.note(namespace, name, fingerprint);
        let observed = Observed {
            uid: uid.unwrap_or_default().to_owned(),
            resource_version: resource_version.unwrap_or_default().to_owned(),
            status: None,
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        // What is reported is no part of what is served.
        let status = object.as_object_mut().and_then(|members| members.shift_remove("status"));
        if let Some(handle) = &self.status {
            let status = status.and_then(|status| serde_json::from_value(status).ok());
            handle.observed(namespace, name, Observed { status, ..observed });
        }
        if news {
            drop_managed_fields(&mut object);
            let document = AuthConfigDocument::from_kubernetes(object);
            self.batches.push(Change::AuthConfig(Arc::new(AuthConfigObject { document, file: None })));
        }
    }

    fn auth_config_gone(&mut self, namespace: String, name: String) {
        if let Some(handle) = &self.status {
            handle.observed_gone(namespace.as_str(), name.as_str());
        }
        self.batches.push(Change::AuthConfigGone { namespace, name });
    }

    fn secret(&mut self, object: SecretItem) {
        let Some(Identity { namespace, name, uid, resource_version, .. }) = Identity::of_secret(&object) else {
            tracing::warn!("the Kubernetes API told of a Secret without a name; it is left out");
            return;
        };
        let fingerprint = self.fingerprints.of_version(uid, resource_version);
        if !self.secrets.note(namespace, name, fingerprint) {
            return;
        }
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let secret = match object {
            SecretItem::Sound(secret) => Some(secret.0),
            SecretItem::Other(object) => read_secret(object),
        };
        match secret {
            Some(secret) => self.batches.push(Change::LabelledSecret(Arc::new(secret))),
            // What it held before does not hold any more.
            None => self.batches.push(Change::LabelledSecretGone { namespace, name }),
        }
    }

    fn completed(&mut self, kind: usize) {
        if let Some(complete) = self.complete.get_mut(kind) {
            *complete = true;
        }
        if self.is_complete() {
            self.initial_load_done();
        }
    }

    fn initial_load_done(&mut self) {
        if !self.initial_load_told {
            self.initial_load_told = true;
            self.batches.push(Change::InitialLoadDone);
        }
    }
}

/// A Secret of the API. None, with a warning, if it is none.
pub(super) fn read_secret(mut object: Value) -> Option<Secret> {
    drop_managed_fields(&mut object);
    let SecretDocument { metadata, result, .. } = SecretDocument::from_kubernetes(object);
    let problems = match result {
        Ok(secret) => return Some(secret),
        Err(problems) => problems,
    };
    // The texts of problems could quote the Secret.
    let fields: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    tracing::warn!(secret = metadata.id(), ?fields, "a Secret of the Kubernetes API cannot be read");
    None
}

/// The fingerprint of a Secret that was read.
pub(super) fn fingerprint_of(fingerprints: &Fingerprints, secret: &Secret) -> Option<Fingerprint> {
    fingerprints.of_version(secret.metadata.uid.as_deref(), secret.metadata.resource_version.as_deref())
}

/// They say who wrote which field, are often the largest part of an object, and are of no use here.
fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

/// What tells an object and its versions from others.
struct Identity<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: Option<&'a str>,
    resource_version: Option<&'a str>,
    generation: Option<i64>,
}

impl<'a> Identity<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let text = |member| metadata.get(member).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
        Some(Self {
            namespace: text("namespace")?,
            name: text("name")?,
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            generation: metadata.get("generation").and_then(Value::as_i64),
        })
    }

    fn of_secret(object: &'a SecretItem) -> Option<Self> {
        let ObjectMeta { namespace, name, uid, resource_version, generation, .. } = match object {
            SecretItem::Sound(secret) => &secret.0.metadata,
            SecretItem::Other(object) => return Self::of(object),
        };
        let text = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        Some(Self {
            namespace,
            name,
            uid: text(uid),
            resource_version: text(resource_version),
            generation: *generation,
        })
    }
}

#[cfg(test)]
mod tests;
