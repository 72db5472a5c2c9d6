//! One Secret with an API key, packed.
//!
//! There may be millions, and between changes nobody needs more of one than its namespace, its labels and its age. So
//! the strings of the Secret stand one after the other in a single block of memory, each behind its length, and the
//! identity is made from them when it is wanted.

use std::{cmp::Ordering, collections::BTreeMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use usher_api::{ObjectMeta, RequirementKind, Secret, Selector};

/// A Secret, packed.
///
/// ```text
/// name, namespace, creation timestamp,
/// number of labels, (name, value)…          what lookups read comes first
/// uid, resource version, generation, type, immutable, other metadata as JSON,
/// number of annotations, (name, value)…, number of entries, (name, value)…
/// ```
pub(super) struct Record {
    bytes: Box<[u8]>,
}

impl Record {
    pub(super) fn new(secret: &Secret) -> Self {
        let Secret { metadata, secret_type, immutable, data } = secret;
        let ObjectMeta {
            name,
            namespace,
            labels,
            annotations,
            uid,
            creation_timestamp,
            generation,
            resource_version,
            other,
        } = metadata;
        let mut writer = Writer::default();
        writer.text(name);
        writer.text(namespace);
        writer.optional(creation_timestamp.as_deref());
        writer.pairs(labels.iter().map(|(name, value)| (name, value.as_bytes())));
        writer.optional(uid.as_deref());
        writer.optional(resource_version.as_deref());
        writer.optional(generation.map(|generation| generation.to_string()).as_deref());
        writer.text(secret_type);
        writer.optional(immutable.map(|immutable| if immutable { "t" } else { "f" }));
        writer.optional((!other.is_empty()).then(|| Value::Object(other.clone()).to_string()).as_deref());
        writer.pairs(annotations.iter().map(|(name, value)| (name, value.as_bytes())));
        writer.pairs(data.iter().map(|(name, value)| (name, value.as_slice())));
        Self { bytes: writer.bytes.into_boxed_slice() }
    }

    /// What [`Secret::to_identity_json`] says of the Secret.
    pub(super) fn identity(&self) -> Value {
        let mut reader = Reader(&self.bytes);
        let name = reader.text();
        let namespace = reader.text();
        let creation_timestamp = reader.optional();
        let labels = reader.object(|value| utf8(value).to_owned());
        let uid = reader.optional();
        let resource_version = reader.optional();
        let generation = reader.optional().and_then(|generation| generation.parse::<i64>().ok());
        let secret_type = reader.text();
        let immutable = reader.optional().map(|immutable| immutable == "t");
        if reader.optional().is_some() {
            // Other metadata stand among these.
            return self.secret().to_identity_json();
        }
        let annotations = reader.object(|value| utf8(value).to_owned());
        let data = reader.object(|value| BASE64_STANDARD.encode(value));

        let text = |text: &str| (!text.is_empty()).then(|| Value::String(text.to_owned()));
        let metadata = object([
            ("name", text(name)),
            ("namespace", text(namespace)),
            ("uid", uid.and_then(text)),
            ("resourceVersion", resource_version.and_then(text)),
            ("generation", generation.filter(|generation| *generation != 0).map(Value::from)),
            ("creationTimestamp", creation_timestamp.and_then(text)),
            ("labels", labels),
            ("annotations", annotations),
        ]);
        Value::Object(object([
            ("kind", text("Secret")),
            ("apiVersion", text("v1")),
            ("metadata", Some(Value::Object(metadata))),
            ("immutable", immutable.map(Value::Bool)),
            ("data", data),
            ("type", text(secret_type)),
        ]))
    }

    /// The Secret again.
    fn secret(&self) -> Secret {
        let mut reader = Reader(&self.bytes);
        let name = reader.text().to_owned();
        let namespace = reader.text().to_owned();
        let creation_timestamp = reader.optional().map(str::to_owned);
        let labels = reader.texts();
        let uid = reader.optional().map(str::to_owned);
        let resource_version = reader.optional().map(str::to_owned);
        let generation = reader.optional().and_then(|generation| generation.parse().ok());
        let secret_type = reader.text().to_owned();
        let immutable = reader.optional().map(|immutable| immutable == "t");
        let other = reader.optional().and_then(|json| serde_json::from_str::<Map<_, _>>(json).ok()).unwrap_or_default();
        let annotations = reader.texts();
        let data = reader.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let metadata = ObjectMeta {
            name,
            namespace,
            labels,
            annotations,
            uid,
            creation_timestamp,
            generation,
            resource_version,
            other,
        };
        Secret { metadata, secret_type, immutable, data }
    }

    pub(super) fn name(&self) -> &str {
        Reader(&self.bytes).text()
    }

    pub(super) fn namespace(&self) -> &str {
        let mut reader = Reader(&self.bytes);
        reader.bytes();
        reader.text()
    }

    fn created(&self) -> Option<&str> {
        let mut reader = Reader(&self.bytes);
        reader.bytes();
        reader.bytes();
        reader.optional()
    }

    /// Whether a selector wants the labels of this Secret.
    pub(super) fn is_selected_by(&self, selector: &Selector) -> bool {
        selector.requirements().iter().all(|requirement| {
            let label = self.label(requirement.key());
            let number = || label.and_then(|value| value.parse::<i64>().ok());
            match requirement.kind() {
                RequirementKind::In(values) => label.is_some_and(|value| values.contains(value)),
                RequirementKind::NotIn(values) => label.is_none_or(|value| !values.contains(value)),
                RequirementKind::Exists => label.is_some(),
                RequirementKind::DoesNotExist => label.is_none(),
                RequirementKind::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
                RequirementKind::LessThan(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }

    /// The older first. Where the age of one is not known, or equal, the namespace and then the name decide, so that
    /// all processes that see the same Secrets agree.
    pub(super) fn by_age(&self, other: &Self) -> Ordering {
        let age = |record: &Self, other: &Self| {
            let (created, other) = (record.created(), other.created());
            created.is_none().cmp(&other.is_none()).then_with(|| created.cmp(&other))
        };
        age(self, other)
            .then_with(|| self.namespace().cmp(other.namespace()))
            .then_with(|| self.name().cmp(other.name()))
    }

    fn label(&self, name: &str) -> Option<&str> {
        let mut reader = Reader(&self.bytes);
        for _ in 0..3 {
            reader.bytes();
        }
        reader.pairs().find(|(label, _)| *label == name).map(|(_, value)| utf8(value))
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Lengths take one byte, or, from 255, a byte 255 and eight more.
    fn length(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(short) if short < u8::MAX => self.bytes.push(short),
            _ => {
                self.bytes.push(u8::MAX);
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
    }

    fn block(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.block(text.as_bytes());
    }

    /// Nothing is an empty block; a text has a byte in front, so that an empty one differs.
    fn optional(&mut self, text: Option<&str>) {
        match text {
            None => self.length(0),
            Some(text) => {
                self.length(text.len() + 1);
                self.bytes.push(b'=');
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn pairs<'a>(&mut self, pairs: impl ExactSizeIterator<Item = (&'a String, &'a [u8])>) {
        self.length(pairs.len());
        for (name, value) in pairs {
            self.text(name);
            self.block(value);
        }
    }
}

/// Reads what [`Writer`] wrote.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn length(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        if first < u8::MAX {
            return first.into();
        }
        let Some((length, rest)) = self.0.split_first_chunk() else { return 0 };
        self.0 = rest;
        usize::from_le_bytes(*length)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.length();
        let Some((bytes, rest)) = self.0.split_at_checked(length) else { return &[] };
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> &'a str {
        utf8(self.bytes())
    }

    fn optional(&mut self) -> Option<&'a str> {
        self.bytes().split_first().map(|(_, text)| utf8(text))
    }

    fn pairs(&mut self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let count = self.length();
        (0..count).map(|_| (self.text(), self.bytes()))
    }

    /// The pairs as JSON, if there are any.
    fn object(&mut self, value: impl Fn(&[u8]) -> String) -> Option<Value> {
        let count = self.length();
        let mut members = Map::with_capacity(count);
        for _ in 0..count {
            let (name, bytes) = (self.text(), self.bytes());
            members.insert(name.to_owned(), Value::String(value(bytes)));
        }
        (count > 0).then_some(Value::Object(members))
    }

    fn texts(&mut self) -> BTreeMap<String, String> {
        self.pairs().map(|(name, value)| (name.to_owned(), utf8(value).to_owned())).collect()
    }
}

/// The members that there are.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let mut object = Map::with_capacity(N);
    object.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    object
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn full() -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: "key".to_owned(),
                namespace: "ns".to_owned(),
                labels: [("app".to_owned(), "x".to_owned()), ("level".to_owned(), "7".to_owned())].into(),
                annotations: [("note".to_owned(), "ü".repeat(200))].into(),
                uid: Some("u".to_owned()),
                creation_timestamp: Some("2026-01-02T03:04:05Z".to_owned()),
                generation: Some(-3),
                resource_version: Some(String::new()),
                other: [("managedFields".to_owned(), json!([{"manager": "m"}]))].into_iter().collect(),
            },
            secret_type: "Opaque".to_owned(),
            immutable: Some(false),
            data: [("api_key".to_owned(), vec![0, 255, b'k']), ("long".to_owned(), vec![1; 70_000])].into(),
        }
    }

    #[test]
    fn a_secret_survives_packing() {
        let without_other = ObjectMeta { other: Map::new(), ..full().metadata };
        for secret in [
            full(),
            Secret { metadata: without_other.clone(), ..full() },
            Secret { metadata: ObjectMeta { generation: Some(0), ..without_other }, ..full() },
            Secret::default(),
            Secret { immutable: Some(true), ..Secret::default() },
        ] {
            let record = Record::new(&secret);
            assert!(record.secret() == secret, "{secret:?}");
            // The order of members counts, too.
            assert_eq!(record.identity().to_string(), secret.to_identity_json().to_string());
            assert_eq!(record.name(), secret.metadata.name);
            assert_eq!(record.namespace(), secret.metadata.namespace);
        }
    }

    #[test]
    fn labels_are_selected_as_on_the_secret_itself() {
        let secret = full();
        let record = Record::new(&secret);
        for text in [
            "",
            "app",
            "!app",
            "app=x",
            "app=y",
            "app!=x",
            "app!=y",
            "other",
            "!other",
            "app in (w,x)",
            "app notin (x)",
            "other notin (x)",
            "level>6",
            "level>7",
            "level<8",
            "level<7",
            "app>1",
            "app=x,level=7",
            "app=x,level=8",
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(record.is_selected_by(&selector), selector.matches(&secret.metadata.labels), "{text}");
        }
    }

    #[test]
    fn the_older_one_comes_first() {
        let made = |created: Option<&str>, name: &str| {
            let mut secret = full();
            secret.metadata.name = name.to_owned();
            secret.metadata.creation_timestamp = created.map(str::to_owned);
            Record::new(&secret)
        };
        let order = [
            made(Some("2025-01-01T00:00:00Z"), "z"),
            made(Some("2026-01-01T00:00:00Z"), "a"),
            made(Some("2026-01-01T00:00:00Z"), "b"),
            made(None, "a"),
        ];
        for (i, left) in order.iter().enumerate() {
            for (j, right) in order.iter().enumerate() {
                assert_eq!(left.by_age(right), i.cmp(&j), "{i} {j}");
            }
        }
    }
}
