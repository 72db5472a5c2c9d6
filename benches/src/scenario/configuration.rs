//! AuthConfigs and Secrets as files have them.

use serde_json::{Map, Value, json};

use crate::check::HOST;

/// An AuthConfig that everybody passes, with more in its `spec`.
pub(super) fn anonymous(more: Value) -> String {
    auth_config(merged(json!({"authentication": {"anyone": {"anonymous": {}}}}), more))
}

/// An AuthConfig for the first so many API keys, with one pattern and with more in its `spec`; and their Secrets, `key-0` and
/// so on.
pub(super) fn keyed(number: usize, more: Value) -> String {
    let pattern = json!({"selector": "request.method", "operator": "eq", "value": "GET"});
    let spec = json!({
        "authentication": {"keys": {
            "apiKey": {"selector": {"matchLabels": {"group": "bench"}}},
            "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
        }},
        "authorization": {"only-reading": {"patternMatching": {"patterns": [pattern]}}},
    });
    let mut configuration = auth_config(merged(spec, more));
    for number in 0..number {
        let secret = secret(&format!("key-{number}"), json!({"group": "bench"}), "api_key", &api_key(number));
        configuration.push_str(&secret);
    }
    configuration
}

/// The API key of this number.
pub(super) fn api_key(number: usize) -> String {
    format!("{number:08x}ndyBzreUzF4zqDQsqSPMHkRh")
}

/// An AuthConfig with this `spec`, for the host of all checks.
pub(super) fn auth_config(spec: Value) -> String {
    let auth_config = json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": "bench", "namespace": "bench"},
        "spec": merged(json!({"hosts": [HOST]}), spec),
    });
    format!("{auth_config}\n")
}

/// One more document: a Secret with these labels and one entry.
pub(super) fn secret(name: &str, labels: Value, entry: &str, value: &str) -> String {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": "bench",
            "labels": merged(json!({"authorino.kuadrant.io/managed-by": "authorino"}), labels),
        },
        "stringData": {entry: value},
    });
    format!("---\n{secret}\n")
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
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_at_every_depth() {
        let first = json!({"a": {"b": {"c": 1}, "d": 2}, "e": 3});
        let second = json!({"a": {"b": {"f": 4}, "d": 5}, "g": 6});
        let expected = json!({"a": {"b": {"c": 1, "f": 4}, "d": 5}, "e": 3, "g": 6});
        assert_eq!(merged(first, second), expected);
    }

    #[test]
    fn every_document_is_read_alone() {
        let configuration = keyed(2, json!({"authorization": {"more": {}}, "response": {}}));
        let documents: Vec<Value> =
            configuration.split("---\n").map(|document| serde_json::from_str(document).unwrap()).collect();
        assert_eq!(documents.len(), 3);
        let spec = &documents[0]["spec"];
        assert_eq!(spec["hosts"], json!([HOST]));
        assert!(spec["authentication"]["keys"].is_object() && spec["response"].is_object());
        assert_eq!(spec["authorization"].as_object().unwrap().len(), 2);
        assert_eq!(documents[2]["stringData"]["api_key"], json!(api_key(1)));
    }
}
