//! Secrets of the Kubernetes API, read without detours.
//!
//! A cluster may have hundreds of thousands of them, and nearly all are as they should be. Those are read straight into
//! what is kept. Anything that is not is an error here, which says nothing: whoever gets one reads the object as JSON,
//! and [`SecretDocument::from_kubernetes`](crate::SecretDocument::from_kubernetes) says what is wrong.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::object_meta::{is_dns_label, is_dns_subdomain};
use crate::{ObjectMeta, Secret};

/// A Secret of the Kubernetes API with which nothing is wrong, without `metadata.managedFields`.
///
/// It is deserialized to what [`SecretDocument::from_kubernetes`](crate::SecretDocument::from_kubernetes) makes of the
/// same object. The error, which does not tell what it found, is that anything is unusual about the object, be it wrong
/// or not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Object")]
pub struct SoundSecret(pub Secret);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    metadata: Metadata,
    immutable: Option<bool>,
    #[serde(default)]
    data: BTreeMap<String, String>,
    /// The API never answers with it.
    string_data: Option<IgnoredAny>,
    #[serde(rename = "type")]
    secret_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    generate_name: Option<Value>,
    self_link: Option<Value>,
    deletion_timestamp: Option<Value>,
    deletion_grace_period_seconds: Option<Value>,
    owner_references: Option<Value>,
    finalizers: Option<Value>,
}

impl TryFrom<Object> for SoundSecret {
    type Error = &'static str;

    fn try_from(object: Object) -> Result<Self, Self::Error> {
        const UNUSUAL: &str = "not a usual Secret";
        let Object { metadata, immutable, data, string_data, secret_type } = object;
        if string_data.is_some() || !is_dns_subdomain(&metadata.name) || !is_dns_label(&metadata.namespace) {
            return Err(UNUSUAL);
        }
        let decoded = |(name, value): (String, String)| Some((name, BASE64_STANDARD.decode(value).ok()?));
        let data = data.into_iter().map(decoded).collect::<Option<_>>().ok_or(UNUSUAL)?;
        let secret_type = secret_type.filter(|name| !name.is_empty()).unwrap_or_else(|| "Opaque".to_owned());
        Ok(Self(Secret { metadata: metadata.into(), secret_type, immutable, data }))
    }
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let others = [
            ("generateName", metadata.generate_name),
            ("selfLink", metadata.self_link),
            ("deletionTimestamp", metadata.deletion_timestamp),
            ("deletionGracePeriodSeconds", metadata.deletion_grace_period_seconds),
            ("ownerReferences", metadata.owner_references),
            ("finalizers", metadata.finalizers),
        ];
        let other: Map<_, _> = others.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            uid: metadata.uid,
            creation_timestamp: metadata.creation_timestamp,
            generation: metadata.generation,
            resource_version: metadata.resource_version,
            other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::SecretDocument;

    fn full() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "immutable": true,
            "metadata": {
                "name": "key.one", "generateName": "key.", "namespace": "ns", "selfLink": "/s", "uid": "u",
                "resourceVersion": "7", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
                "deletionTimestamp": "2026-01-02T03:04:06Z", "deletionGracePeriodSeconds": 0,
                "labels": {"app": "x"}, "annotations": {"note": "a \"quoted\" ü"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}],
                "finalizers": ["f"], "managedFields": [{"manager": "m"}],
            },
            "data": {"api_key": "aHVudGVyMg==", "empty": ""},
        })
    }

    /// The object with this value at a path.
    fn with(path: &str, value: Value) -> Value {
        let mut object = full();
        let (parent, member) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), value);
        object
    }

    fn read(object: &Value) -> Option<Secret> {
        serde_json::from_str::<SoundSecret>(&object.to_string()).ok().map(|SoundSecret(secret)| secret)
    }

    fn read_with_problems(mut object: Value) -> Option<Secret> {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        SecretDocument::from_kubernetes(object).result.ok()
    }

    #[test]
    fn usual_secrets_are_read_as_on_the_long_way() {
        for object in [
            full(),
            json!({"metadata": {"name": "a", "namespace": "b"}}),
            with("/type", json!("")),
            with("/type", json!(null)),
            with("/immutable", json!(null)),
            with("/unknown", json!({"a": [1]})),
            with("/kind", json!(7)),
            with("/metadata/unknown", json!(true)),
            with("/metadata/uid", json!(null)),
            with("/metadata/finalizers", json!(null)),
            with("/metadata/generation", json!(null)),
            with("/metadata/labels", json!({})),
        ] {
            let secret = read(&object);
            assert!(secret.is_some(), "{object}");
            let expected = read_with_problems(object.clone());
            assert_eq!(secret, expected, "{object}");
            let json = |secret: Option<Secret>| secret.map(|secret| secret.to_identity_json().to_string());
            assert_eq!(json(secret), json(expected), "{object}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_long_way() {
        for (path, value) in [
            ("/metadata/name", json!("")),
            ("/metadata/name", json!("Key")),
            ("/metadata/name", json!(null)),
            ("/metadata/namespace", json!("")),
            ("/metadata/namespace", json!("a.b")),
            ("/metadata/namespace", json!(7)),
            ("/metadata/generation", json!("1")),
            ("/metadata/generation", json!(u64::MAX)),
            ("/metadata/labels", json!({"a": 1})),
            ("/metadata/labels", json!(null)),
            ("/metadata/annotations", json!([])),
            ("/metadata/uid", json!(1)),
            ("/immutable", json!("true")),
            ("/type", json!(1)),
            ("/data", json!(null)),
            ("/data", json!({"a": "%"})),
            ("/data", json!({"a": null})),
            ("/data", json!({"a": "aHVu\ndGVyMg=="})),
            ("/stringData", json!({"a": "b"})),
        ] {
            assert_eq!(read(&with(path, value.clone())), None, "{path} {value}");
        }
        for object in [json!(null), json!([]), json!({}), json!({"metadata": {}}), json!({"metadata": 1})] {
            assert_eq!(read(&object), None, "{object}");
        }
        let error = serde_json::from_value::<SoundSecret>(with("/data", json!({"a": "hunter2!"}))).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
