//! AuthConfigs and Secrets as files have them.

use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value, json};

use crate::check::HOST;

/// Files of YAML.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// Names and texts.
    files: Vec<(String, String)>,
}

/// Where a file is long enough: servers limit their size.
const LONG: usize = 8 << 20;

impl Configuration {
    /// With one more document, in the last file or in another one.
    pub(super) fn and(mut self, document: &Value) -> Self {
        if self.files.last().is_none_or(|(_, text)| text.len() >= LONG) {
            self.files.push((format!("bench-{}.yaml", self.files.len()), String::new()));
        }
        if let Some((_, text)) = self.files.last_mut() {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&document.to_string());
            text.push('\n');
        }
        self
    }

    /// With one more document, in a file of its own.
    pub(crate) fn and_file(mut self, name: &str, document: &Value) -> Self {
        self.files.push((name.to_owned(), format!("{document}\n")));
        self
    }

    /// Writes the files into a folder.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        self.files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
    }

    /// Writes all of it as one stream of documents.
    pub(crate) fn print(&self, mut out: impl io::Write) -> io::Result<()> {
        for (position, (_, text)) in self.files.iter().enumerate() {
            let between = if position == 0 { "" } else { "---\n" };
            out.write_all(between.as_bytes())?;
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    }
}

/// An AuthConfig that everybody passes, with more in its `spec`.
pub(super) fn anonymous(more: Value) -> Configuration {
    Configuration::default().and(&auth_config("bench", anyone(HOST, more)))
}

/// The `spec` of an AuthConfig for this host that everybody passes, with more.
pub(super) fn anyone(host: &str, more: Value) -> Value {
    merged(json!({"hosts": [host], "authentication": {"anyone": {"anonymous": {}}}}), more)
}

/// An AuthConfig for the first so many API keys, with one pattern and with more in its `spec`; and their Secrets, `key-0` and
/// so on.
pub(super) fn keyed(number: usize, more: Value) -> Configuration {
    let configuration = Configuration::default().and(&auth_config("bench", with_keys(HOST, more)));
    api_keys(configuration, number)
}

/// The `spec` of an AuthConfig for this host and for API keys, with one pattern and with more.
pub(super) fn with_keys(host: &str, more: Value) -> Value {
    let pattern = json!({"selector": "request.method", "operator": "eq", "value": "GET"});
    let spec = json!({
        "hosts": [host],
        "authentication": {"keys": {
            "apiKey": {"selector": {"matchLabels": {"group": "bench"}}},
            "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
        }},
        "authorization": {"only-reading": {"patternMatching": {"patterns": [pattern]}}},
    });
    merged(spec, more)
}

/// With the Secrets of the first so many API keys.
pub(super) fn api_keys(configuration: Configuration, number: usize) -> Configuration {
    (0..number).fold(configuration, |configuration, number| {
        configuration.and(&secret(&format!("key-{number}"), json!({"group": "bench"}), "api_key", &api_key(number)))
    })
}

/// The API key of this number.
pub(super) fn api_key(number: usize) -> String {
    format!("{number:08x}ndyBzreUzF4zqDQsqSPMHkRh")
}

/// An AuthConfig with this `spec`.
pub(super) fn auth_config(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": name, "namespace": "bench"},
        "spec": spec,
    })
}

/// A Secret with these labels and one entry.
pub(super) fn secret(name: &str, labels: Value, entry: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": "bench",
            "labels": merged(json!({"authorino.kuadrant.io/managed-by": "authorino"}), labels),
        },
        "stringData": {entry: value},
    })
}

/// Both objects in one, and so the objects within; of anything else that both have, the second one's.
fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            merge(&mut first, second);
            Value::Object(first)
        }
        (_, second) => second,
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        let value = match into.remove(&name) {
            Some(present) => merged(present, value),
            None => value,
        };
        into.insert(name, value);
    }
}

#[cfg(test)]
pub(super) fn text(configuration: &Configuration) -> String {
    let mut text = Vec::new();
    configuration.print(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_at_every_depth() {
        let first = json!({"a": {"b": {"c": 1}, "d": 2}, "e": 3});
        let second = json!({"a": {"b": {"f": 4}, "d": 5}, "g": 6});
        let expected = json!({"a": {"b": {"c": 1, "f": 4}, "d": 5}, "e": 3, "g": 6});
        assert_eq!(merged(first, second), expected);
    }

    fn documents(text: &str) -> Vec<Value> {
        text.split("---\n").map(|document| serde_json::from_str(document).unwrap()).collect()
    }

    #[test]
    fn every_document_is_read_alone() {
        let configuration = keyed(2, json!({"authorization": {"more": {}}, "response": {}}));
        let documents = documents(&text(&configuration));
        assert_eq!(documents.len(), 3);
        let spec = &documents[0]["spec"];
        assert_eq!(spec["hosts"], json!([HOST]));
        assert!(spec["authentication"]["keys"].is_object() && spec["response"].is_object());
        assert_eq!(spec["authorization"].as_object().unwrap().len(), 2);
        assert_eq!(documents[2]["stringData"]["api_key"], json!(api_key(1)));
    }

    #[test]
    fn many_documents_are_several_files_and_one_stream() {
        let long = "x".repeat(LONG / 2);
        let configuration =
            (0..5).fold(Configuration::default(), |all, number| all.and(&json!({"n": number, "x": long})));
        let configuration = configuration.and_file("other.yaml", &json!({"n": 5}));
        let folder = tempfile::tempdir().unwrap();
        configuration.write(folder.path()).unwrap();
        let mut found = Vec::new();
        for (name, expected) in [("bench-0.yaml", 2), ("bench-1.yaml", 2), ("bench-2.yaml", 1), ("other.yaml", 1)] {
            let of_file = documents(&fs::read_to_string(folder.path().join(name)).unwrap());
            assert_eq!(of_file.len(), expected, "{name}");
            found.extend(of_file);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert_eq!(documents(&text(&configuration)), found);
        assert!(found.iter().map(|document| document["n"].as_u64().unwrap()).eq(0..6));
    }
}
