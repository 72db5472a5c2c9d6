//! What was told, and what is to be told next.
//!
//! Plain values: events go in, batches of changes come out.

use std::sync::Arc;

use serde_json::Value;
use usher_api::{AuthConfigDocument, ObjectMeta, Secret, SecretDocument, SecretName};
use usher_source::{AuthConfigObject, Change};

use super::{
    batches::Batches,
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
    pub(super) fn secrets(&mut self, event: Event<Value>) {
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
                if let Some(Identity { namespace, name, .. }) = Identity::of(&object)
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

    fn secret(&mut self, object: Value) {
        let Some(Identity { namespace, name, uid, resource_version, .. }) = Identity::of(&object) else {
            tracing::warn!("the Kubernetes API told of a Secret without a name; it is left out");
            return;
        };
        let fingerprint = self.fingerprints.of_version(uid, resource_version);
        if !self.secrets.note(namespace, name, fingerprint) {
            return;
        }
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match read_secret(object) {
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn auth_config(namespace: &str, name: &str, generation: i64, version: u64) -> Value {
        json!({
            "apiVersion": usher_api::API_VERSION, "kind": usher_api::KIND,
            "metadata": {
                "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
                "generation": generation, "resourceVersion": version.to_string(),
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            },
            "spec": {"hosts": [format!("{name}.example.com")]},
            "status": {"summary": {"ready": true, "hostsReady": [], "numHostsReady": "0/1", "numIdentitySources": 0,
                "numMetadataSources": 0, "numAuthorizationPolicies": 0, "numResponseItems": 0,
                "festivalWristbandEnabled": false}},
        })
    }

    fn secret(name: &str, version: u64) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
            "metadata": {
                "namespace": "ns", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
                "labels": {"app": "x"}, "annotations": {"note": "y"}, "creationTimestamp": "2026-01-02T03:04:05Z",
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}],
                "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            },
            "data": {"api_key": "aHVudGVyMg=="},
        })
    }

    /// The batches, in short.
    fn told(told: &mut Told) -> Vec<Vec<String>> {
        let short = |change: &Change| match change {
            Change::AuthConfig(object) => {
                let ok = if object.document.result.is_ok() { "" } else { " (bad)" };
                format!("config {}{ok}", object.document.metadata.name)
            }
            Change::AuthConfigGone { name, .. } => format!("config {name} gone"),
            Change::LabelledSecret(secret) => format!("secret {}", secret.metadata.name),
            Change::LabelledSecretGone { name, .. } => format!("secret {name} gone"),
            Change::NamedSecret { name, secret } => format!("named {} {}", name.name, secret.is_some()),
            Change::InitialLoadDone => "done".to_owned(),
            other => format!("{other:?}"),
        };
        told.take_batches().iter().map(|batch| batch.iter().map(short).collect()).collect()
    }

    fn loaded() -> Told {
        let mut state = Told::default();
        state.auth_configs(Event::Restart);
        state.secrets(Event::Restart);
        state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 1, 1), auth_config("ns", "b", 1, 2)]));
        state.secrets(Event::Listed(vec![secret("k", 3)]));
        state.secrets(Event::Complete);
        assert!(!state.is_complete());
        state.auth_configs(Event::Complete);
        assert!(state.is_complete());
        assert_eq!(told(&mut state), [["config a", "config b", "secret k", "done"]]);
        state
    }

    #[test]
    fn only_what_changes_something_is_told() {
        let mut state = loaded();
        state.auth_configs(Event::Changed(auth_config("ns", "a", 1, 10)));
        state.secrets(Event::Changed(secret("k", 3)));
        assert!(told(&mut state).is_empty(), "a status, and the same again");
        state.auth_configs(Event::Changed(auth_config("ns", "a", 2, 11)));
        state.secrets(Event::Changed(secret("k", 12)));
        assert_eq!(told(&mut state), [["config a", "secret k"]]);
        state.auth_configs(Event::Deleted(auth_config("ns", "b", 1, 13)));
        state.auth_configs(Event::Deleted(auth_config("ns", "never", 1, 14)));
        state.secrets(Event::Deleted(secret("k", 15)));
        assert_eq!(told(&mut state), [["config b gone", "secret k gone"]]);
    }

    #[test]
    fn a_list_anew_tells_what_is_different_and_what_is_gone() {
        let mut state = loaded();
        state.auth_configs(Event::Restart);
        state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 1, 1), auth_config("ns", "c", 1, 9)]));
        // It fails half-way: nothing is gone.
        state.auth_configs(Event::Restart);
        assert_eq!(told(&mut state), [["config c"]]);
        state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 3, 20)]));
        state.auth_configs(Event::Complete);
        assert_eq!(told(&mut state), [["config b gone", "config c gone", "config a"]]);
        state.secrets(Event::Restart);
        state.secrets(Event::Complete);
        assert_eq!(told(&mut state), [["secret k gone"]]);
    }

    #[test]
    fn bad_objects_are_told_or_left_out_and_stop_nothing() {
        let mut state = Told::default();
        let mut bad = auth_config("ns", "bad", 1, 1);
        bad["spec"] = json!({"hosts": 7});
        let mut bad_secret = secret("k", 4);
        bad_secret["data"]["api_key"] = json!("%%%");
        state.auth_configs(Event::Listed(vec![json!(7), json!({"metadata": {"name": "a"}}), bad]));
        state.secrets(Event::Listed(vec![json!(null), secret("k", 3)]));
        assert_eq!(told(&mut state), [["config bad (bad)", "secret k"]]);
        state.secrets(Event::Changed(bad_secret));
        assert_eq!(told(&mut state), [["secret k gone"]]);
    }

    #[test]
    fn batches_are_bounded_and_hold_each_object_once_what_is_gone_first() {
        let mut state = loaded();
        state.auth_configs(Event::Changed(auth_config("ns", "c", 1, 10)));
        state.auth_configs(Event::Deleted(auth_config("ns", "a", 1, 11)));
        state.auth_configs(Event::Deleted(auth_config("ns", "c", 1, 12)));
        state.named_secret(SecretName::new("ns", "k"), None);
        state.secrets(Event::Deleted(secret("k", 13)));
        assert_eq!(
            told(&mut state),
            [vec!["config a gone", "config c"], vec!["config c gone", "secret k gone", "named k false"],]
        );
        let many = (0..2500).map(|number| secret(&format!("s{number}"), number)).collect();
        state.secrets(Event::Listed(many));
        assert!(state.waiting() >= 2500);
        let sizes: Vec<_> = state.take_batches().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
        assert_eq!((state.waiting(), state.len()), (0, (1, 2500)));
    }

    #[test]
    fn a_snapshot_counts_where_the_cluster_has_not_spoken() {
        let mut before = Told::default();
        before.auth_configs(Event::Listed(vec![
            auth_config("ns", "kept", 1, 1),
            auth_config("ns", "gone", 1, 2),
            auth_config("ns", "newer", 1, 3),
        ]));
        before.secrets(Event::Listed(vec![secret("k", 4), secret("old", 5)]));
        let mut snapshot = before.take_batches().concat();
        snapshot.push(Change::NamedSecret { name: SecretName::new("ns", "n"), secret: None });

        let mut state = Told::default();
        state.auth_configs(Event::Restart);
        state.auth_configs(Event::Listed(vec![auth_config("ns", "newer", 2, 30)]));
        assert_eq!(told(&mut state), [["config newer"]]);
        state.restore(snapshot.clone());
        assert_eq!(
            told(&mut state),
            [["config kept", "config gone", "secret k", "secret old", "named n false", "done"]]
        );
        assert!(!state.is_complete());

        state.secrets(Event::Restart);
        state.secrets(Event::Listed(vec![secret("k", 4)]));
        state.secrets(Event::Complete);
        state.auth_configs(Event::Restart);
        state.auth_configs(Event::Listed(vec![auth_config("ns", "kept", 1, 40), auth_config("ns", "newer", 2, 30)]));
        state.auth_configs(Event::Complete);
        assert_eq!(told(&mut state), [["secret old gone", "config gone gone"]], "and not done again");
        assert!(state.is_complete());

        let mut half = Told::default();
        half.auth_configs(Event::Restart);
        half.auth_configs(Event::Complete);
        half.restore(snapshot);
        assert_eq!(told(&mut half), [["secret k", "secret old", "named n false", "done"]], "there are no AuthConfigs");
    }

    #[test]
    fn identities_are_as_before_without_the_managed_fields() {
        let plain = SecretDocument::from_kubernetes(secret("k", 3)).result.unwrap().to_identity_json();
        let mut expected = plain.clone();
        assert!(expected["metadata"].as_object_mut().unwrap().shift_remove("managedFields").is_some());
        let read = read_secret(secret("k", 3)).unwrap().to_identity_json();
        assert_eq!(read.to_string(), expected.to_string());
    }

    #[test]
    fn metadata_that_others_need_is_kept() {
        let mut state = Told::default();
        state.auth_configs(Event::Changed(auth_config("ns", "a", 2, 7)));
        let batches = state.take_batches();
        let [Change::AuthConfig(object)] = &batches.concat()[..] else { panic!() };
        let metadata = &object.document.metadata;
        assert_eq!((metadata.uid.as_deref(), metadata.generation), (Some("uid-ns-a"), Some(2)));
        assert_eq!(metadata.creation_timestamp.as_deref(), Some("2026-01-02T03:04:05Z"));
        assert!(metadata.other.is_empty(), "{:?}", metadata.other);
        assert_eq!(object.document.result.as_ref().unwrap().status, None);
    }
}
