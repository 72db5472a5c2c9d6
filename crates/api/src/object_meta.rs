//! The metadata of an object: what it is called, and what is attached to it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::problem::Problems;
use crate::validate::{UnknownFields, suggest, type_name};

/// The metadata that AuthConfigs and Secrets share.
#[derive(Clone, Default, PartialEq)]
pub struct ObjectMeta {
    /// Name of the object, unique for its kind in its namespace. Empty only where it could not be read.
    pub name: String,
    /// Namespace of the object. Default: `default`.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Identifier that the Kubernetes API gave the object.
    pub uid: Option<String>,
    /// When the object was made, RFC 3339.
    pub creation_timestamp: Option<String>,
    /// Number that grows with each change of the object's specification.
    pub generation: Option<i64>,
    /// Version of the object, as the Kubernetes API counts.
    pub resource_version: Option<String>,
    /// Other members, such as `ownerReferences` and `managedFields`, as they were read.
    pub other: Map<String, Value>,
}

impl fmt::Debug for ObjectMeta {
    /// Of annotations the names only: tools keep copies of whole objects there, of Secrets too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectMeta")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("labels", &self.labels)
            .field("annotations", &self.annotations.keys().collect::<Vec<_>>())
            .field("uid", &self.uid)
            .field("generation", &self.generation)
            .field("resource_version", &self.resource_version)
            .finish_non_exhaustive()
    }
}

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// The members of Kubernetes' ObjectMeta, in the order in which it writes them.
const MEMBERS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

impl ObjectMeta {
    /// `namespace/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The metadata as the Kubernetes API writes it: members in its order, empty ones left out.
    pub fn to_json(&self) -> Value {
        let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
        let map = |map: &BTreeMap<String, String>| {
            (!map.is_empty())
                .then(|| map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect())
        };
        let mut json = Map::new();
        for member in MEMBERS {
            let value = match member {
                "name" => text(&self.name),
                "namespace" => text(&self.namespace),
                "uid" => self.uid.as_deref().and_then(text),
                "resourceVersion" => self.resource_version.as_deref().and_then(text),
                "generation" => self.generation.filter(|generation| *generation != 0).map(Value::from),
                "creationTimestamp" => self.creation_timestamp.as_deref().and_then(text),
                "labels" => map(&self.labels),
                "annotations" => map(&self.annotations),
                other => self.other.get(other).cloned(),
            };
            if let Some(value) = value {
                json.insert(member.to_owned(), value);
            }
        }
        Value::Object(json)
    }

    /// Reads `metadata` of a document, as far as it can be read.
    pub(crate) fn read(metadata: Option<Value>, unknown: UnknownFields, problems: &mut Problems) -> Self {
        let mut meta = Self { namespace: DEFAULT_NAMESPACE.to_owned(), ..Self::default() };
        let members = match metadata {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                problems.add("metadata", format!("must be of type object, found {}", type_name(&other)));
                return meta;
            }
        };
        let mut read_text = |name: &str, value: Value| match value {
            Value::String(text) => Some(text),
            other => {
                let message = format!("must be of type string, found {}", type_name(&other));
                problems.add(format!("metadata.{name}"), message);
                None
            }
        };
        let mut wrong_types = Vec::new();
        let mut unknown_members = Vec::new();
        for (name, value) in members {
            match name.as_str() {
                _ if value.is_null() => {}
                "name" => meta.name = read_text(&name, value).unwrap_or_default(),
                "namespace" => {
                    if let Some(namespace) = read_text(&name, value).filter(|namespace| !namespace.is_empty()) {
                        meta.namespace = namespace;
                    }
                }
                "uid" => meta.uid = read_text(&name, value),
                "creationTimestamp" => meta.creation_timestamp = read_text(&name, value),
                "resourceVersion" => meta.resource_version = read_text(&name, value),
                "generation" => match value.as_i64() {
                    Some(generation) => meta.generation = Some(generation),
                    None => wrong_types.push((name, "integer", type_name(&value))),
                },
                "labels" | "annotations" => {
                    let Value::Object(entries) = value else {
                        wrong_types.push((name, "object", type_name(&value)));
                        continue;
                    };
                    let map = if name == "labels" { &mut meta.labels } else { &mut meta.annotations };
                    for (key, value) in entries {
                        match value {
                            Value::String(value) => {
                                map.insert(key, value);
                            }
                            other => wrong_types.push((format!("{name}.{key}"), "string", type_name(&other))),
                        }
                    }
                }
                known if MEMBERS.contains(&known) => {
                    meta.other.insert(name, value);
                }
                _ => unknown_members.push(name),
            }
        }
        for (name, expected, found) in wrong_types {
            problems.add(format!("metadata.{name}"), format!("must be of type {expected}, found {found}"));
        }
        if unknown == UnknownFields::Refuse {
            for name in unknown_members {
                if problems.is_full() {
                    problems.count();
                    continue;
                }
                problems.add(format!("metadata.{name}"), suggest(&name, MEMBERS.iter().copied()));
            }
        }
        if meta.name.is_empty() {
            problems.add("metadata.name", "Required value");
        } else if !is_dns_subdomain(&meta.name) {
            let message = format!(
                "`{}` is not a valid name: only lower case letters, digits, `-` and `.`, with a letter or digit at both \
                 ends of each part, at most 253 characters",
                meta.name
            );
            problems.add("metadata.name", message);
        }
        if !is_dns_label(&meta.namespace) {
            let message = format!(
                "`{}` is not a valid namespace: only lower case letters, digits and `-`, with a letter or digit at both \
                 ends, at most 63 characters",
                meta.namespace
            );
            problems.add("metadata.namespace", message);
        }
        meta
    }
}

/// A DNS subdomain in lower case (RFC 1123), as Kubernetes asks of names.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_part)
}

/// A DNS label in lower case (RFC 1123), as Kubernetes asks of namespaces.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_part(name)
}

fn is_dns_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(letter_or_digit)
        && bytes.last().is_some_and(letter_or_digit)
        && bytes.iter().all(|byte| letter_or_digit(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(metadata: Value) -> (ObjectMeta, Vec<String>) {
        let mut problems = Problems::default();
        let meta = ObjectMeta::read(Some(metadata), UnknownFields::Refuse, &mut problems);
        (meta, problems.into_sorted(&crate::Lines::default()).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn members_are_written_in_the_order_of_kubernetes() {
        let (meta, problems) = read(json!({
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"z": "1", "a": "2"},
            "labels": {"app": "x"},
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "resourceVersion": "7",
            "uid": "u",
            "namespace": "n",
            "name": "s",
        }));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            meta.to_json().to_string(),
            concat!(
                r#"{"name":"s","namespace":"n","uid":"u","resourceVersion":"7","#,
                r#""creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"x"},"annotations":{"a":"2","z":"1"},"#,
                r#""managedFields":[{"manager":"kubectl"}]}"#
            )
        );
        assert_eq!(meta.id(), "n/s");
    }

    #[test]
    fn what_is_missing_has_defaults_and_nulls_count_as_missing() {
        let (meta, problems) =
            read(json!({"name": "a", "creationTimestamp": null, "labels": null, "generation": null}));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(meta.namespace, "default");
        assert_eq!(meta.to_json(), json!({"name": "a", "namespace": "default"}));
    }

    #[test]
    fn all_problems_are_told() {
        let (meta, problems) = read(json!({
            "name": "Über", "namespace": "a.b", "labels": {"a": 1, "b": "c"}, "annotations": [], "generation": "x", "lables": {},
        }));
        assert_eq!(meta.labels, BTreeMap::from([("b".to_owned(), "c".to_owned())]));
        let expected = [
            "metadata.labels.a: must be of type string, found integer",
            "metadata.annotations: must be of type object, found array",
            "metadata.generation: must be of type integer, found string",
            "metadata.lables: unknown field `lables`, did you mean `labels`?",
            "metadata.name: `Über` is not a valid name",
            "metadata.namespace: `a.b` is not a valid namespace",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
        assert_eq!(read(json!({"generateName": "a-"})).1, ["metadata.name: Required value"]);
        assert_eq!(read(json!("a")).1, ["metadata: must be of type object, found string"]);
    }
}
