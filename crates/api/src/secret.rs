//! Secrets: what AuthConfigs refer to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::ObjectMeta;

/// Names a Secret: namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl SecretName {
    /// The Secret `name` of `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A Secret, decoded.
#[derive(Clone, Default, PartialEq)]
pub struct Secret {
    /// Name, namespace, labels and the rest of the object's metadata.
    pub metadata: ObjectMeta,
    /// The type, such as `Opaque` (the default) or `kubernetes.io/tls`.
    pub secret_type: String,
    /// Whether the Secret cannot be changed any more.
    pub immutable: Option<bool>,
    /// The entries.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Secret {
    /// The Secret as the Kubernetes API writes it in JSON: members in its order, entries in base64, empty ones left
    /// out. This is what the identity of a request with an API key consists of.
    pub fn to_identity_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("kind".to_owned(), "Secret".into());
        json.insert("apiVersion".to_owned(), "v1".into());
        json.insert("metadata".to_owned(), self.metadata.to_json());
        if let Some(immutable) = self.immutable {
            json.insert("immutable".to_owned(), immutable.into());
        }
        if !self.data.is_empty() {
            let data = self.data.iter().map(|(name, value)| (name.clone(), BASE64_STANDARD.encode(value).into()));
            json.insert("data".to_owned(), Value::Object(data.collect()));
        }
        if !self.secret_type.is_empty() {
            json.insert("type".to_owned(), self.secret_type.clone().into());
        }
        Value::Object(json)
    }
}

impl fmt::Debug for Secret {
    /// Names only. Annotations are left out too: tools keep copies of the whole Secret there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .field("labels", &self.metadata.labels)
            .field("type", &self.secret_type)
            .field("data", &self.data.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: "key".to_owned(),
                namespace: "ns".to_owned(),
                labels: [("app".to_owned(), "x".to_owned())].into(),
                annotations: [("last-applied".to_owned(), "hunter2".to_owned())].into(),
                uid: Some("u".to_owned()),
                creation_timestamp: Some("2026-01-02T03:04:05Z".to_owned()),
                ..ObjectMeta::default()
            },
            secret_type: "Opaque".to_owned(),
            immutable: None,
            data: [("api_key".to_owned(), b"hunter2".to_vec()), ("a".to_owned(), vec![0xff])].into(),
        }
    }

    #[test]
    fn the_identity_is_written_as_kubernetes_writes_a_secret() {
        assert_eq!(
            secret().to_identity_json().to_string(),
            concat!(
                r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"key","namespace":"ns","uid":"u","#,
                r#""creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"x"},"annotations":{"last-applied":"hunter2"}},"#,
                r#""data":{"a":"/w==","api_key":"aHVudGVyMg=="},"type":"Opaque"}"#
            )
        );
        let empty = Secret { immutable: Some(true), ..Secret::default() };
        assert_eq!(
            empty.to_identity_json().to_string(),
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{},"immutable":true}"#
        );
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        let shown = format!("{:?} {:?}", secret(), secret().metadata);
        assert!(shown.contains("api_key") && shown.contains("key"), "{shown}");
        for hidden in ["hunter2", "aHVudGVyMg==", "104, 117"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
