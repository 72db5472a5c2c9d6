//! One object as it is kept: serialised, with what selectors ask for beside it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::ObjectKey;
use crate::kind::Kind;

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: u64,
    /// The object in JSON without its first brace, `apiVersion`, and `kind`, which lists of built-in kinds leave out.
    body: Bytes,
    /// `metadata` in JSON.
    metadata: Bytes,
}

/// How an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Full,
    /// As an item of a list: built-in kinds leave out what the list says already.
    Item,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Stored {
    /// Takes an object with its final metadata.
    pub(crate) fn new(object: &Value, version: u64) -> Self {
        let (namespace, name) = key_of(object);
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let metadata = serde_json::to_vec(&object["metadata"]).unwrap();
        let mut body = vec![];
        body.extend_from_slice(b"\"metadata\":");
        body.extend_from_slice(&metadata);
        for (field, value) in object.as_object().into_iter().flatten() {
            if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
                body.push(b',');
                serde_json::to_writer(&mut body, field).unwrap();
                body.push(b':');
                serde_json::to_writer(&mut body, value).unwrap();
            }
        }
        body.push(b'}');
        Self { namespace, name, labels, version, body: body.into(), metadata: metadata.into() }
    }

    pub(crate) fn key(&self) -> ObjectKey {
        (self.namespace.clone(), self.name.clone())
    }

    pub(crate) fn value(&self, kind: &Kind) -> Value {
        let mut text = Vec::new();
        self.write(kind, View::Full, &mut text);
        serde_json::from_slice(&text).unwrap()
    }

    /// Appends the object in JSON.
    pub(crate) fn write(&self, kind: &Kind, view: View, to: &mut Vec<u8>) {
        match view {
            View::Metadata => {
                to.extend_from_slice(
                    b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
                );
                to.extend_from_slice(&self.metadata);
                to.push(b'}');
                return;
            }
            View::Item if !kind.custom => to.push(b'{'),
            View::Item | View::Full => {
                let head = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind);
                to.extend_from_slice(head.as_bytes());
            }
        }
        to.extend_from_slice(&self.body);
    }

    /// The same with another resource version: events of deletion have one of their own.
    pub(crate) fn at_version(&self, kind: &Kind, version: u64) -> Self {
        let mut object = self.value(kind);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        Self::new(&object, version)
    }
}

/// Namespace and name of an object.
pub(crate) fn key_of(object: &Value) -> ObjectKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// The members of an object; none if it is none.
pub(crate) fn members(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().unwrap()
}
