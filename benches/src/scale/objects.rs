//! What is in the cluster: AuthConfigs, API keys, Secrets that AuthConfigs name, and Secrets of others.
//!
//! Objects are as large as those of `kubectl apply`, which leaves a copy of the object in an annotation. What else real
//! ones have, notes of the API server about who wrote which field, that of the tests does not keep.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::check::{Credential, framed_for};
use crate::token;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// AuthConfigs; at least [`NAMED_EVERY`].
    pub(crate) auth_configs: usize,
    /// Secrets with API keys; at least as many as AuthConfigs.
    pub(crate) secrets: usize,
    /// Secrets of 4 kB that have nothing to do with the server.
    pub(crate) other_secrets: usize,
}

/// One of so many AuthConfigs names a Secret.
pub(crate) const NAMED_EVERY: usize = 10;

/// Objects are spread over so many namespaces.
const NAMESPACES: usize = 100;

impl Size {
    /// All objects, in parts that can be loaded at once.
    pub(super) fn objects(self) -> impl Iterator<Item = Vec<Value>> {
        const PART: usize = 1000;
        let all = (0..self.auth_configs)
            .map(|number| AuthConfig { number, revision: 0 }.object())
            .chain((0..self.auth_configs).step_by(NAMED_EVERY).map(|number| Named { number, revision: 0 }.object()))
            .chain((0..self.secrets).map(move |number| Key::of(self, number).object()))
            .chain((0..self.other_secrets).map(other_secret));
        let mut all = all.peekable();
        std::iter::from_fn(move || all.peek().is_some().then(|| all.by_ref().take(PART).collect()))
    }
}

/// A version of an AuthConfig.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuthConfig {
    pub(super) number: usize,
    /// Told by the answers to checks.
    pub(super) revision: u32,
}

/// The header of an answer that tells the revision.
pub(super) const REVISION: &str = "x-revision";

impl AuthConfig {
    pub(super) fn object(self) -> Value {
        let (namespace, name) = (namespace(self.number), name(self.number));
        let mut authentication = json!({"keys": {
            "apiKey": {"selector": {"matchLabels": {"api": name}}},
            "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
        }});
        if let (true, Some(rules)) = (is_naming(self.number), authentication.as_object_mut()) {
            let jwt = json!({"jwt": {"secretRef": {"name": Named::name(self.number)}}});
            rules.insert("tokens".to_owned(), jwt);
        }
        let is_known = "has(auth.identity.metadata) ? auth.identity.metadata.name : auth.identity.sub";
        complete(json!({
            "apiVersion": "authorino.kuadrant.io/v1beta3",
            "kind": "AuthConfig",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": namespace}},
            "spec": {
                "hosts": [host(self.number)],
                "authentication": authentication,
                "authorization": {
                    "only-reading": {"patternMatching": {"patterns": [
                        {"selector": "request.method", "operator": "eq", "value": "GET"},
                        {"predicate": "request.path.startsWith('/v1/')"},
                    ]}},
                    "not-from-the-cluster": {
                        "when": [{"predicate": "request.path.startsWith('/v1/orders')"}],
                        "patternMatching": {"patterns": [{"predicate": "!source.address.startsWith('10.')"}]},
                    },
                },
                "response": {"success": {"headers": {
                    "x-user": {"plain": {"expression": is_known}},
                    REVISION: {"plain": {"value": self.revision.to_string()}},
                }}},
            },
        }))
    }

    /// Its path, and that of the collection.
    pub(super) fn paths(number: usize) -> (String, String) {
        let collection = format!("/apis/authorino.kuadrant.io/v1beta3/namespaces/{}/authconfigs", namespace(number));
        (format!("{collection}/{}", name(number)), collection)
    }
}

/// A version of an API key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) number: usize,
    /// For which AuthConfig it is.
    pub(super) auth_config: usize,
    pub(super) revision: u32,
}

impl Key {
    /// The first version of a key: they go round.
    pub(super) fn of(size: Size, number: usize) -> Self {
        Self { number, auth_config: number.checked_rem(size.auth_configs).unwrap_or_default(), revision: 0 }
    }

    pub(super) fn object(self) -> Value {
        let labels = json!({"authorino.kuadrant.io/managed-by": "authorino", "api": name(self.auth_config)});
        let data = json!({"api_key": base64(self.value().as_bytes())});
        secret(&namespace(self.auth_config), &self.name(), labels, data)
    }

    pub(super) fn path(self) -> String {
        secret_path(&namespace(self.auth_config), &self.name())
    }

    /// A check that shows it, of its AuthConfig.
    pub(super) fn check(self) -> Bytes {
        let value = format!("APIKEY {}", self.value());
        framed_for(&host(self.auth_config), Credential::Authorization(&value))
    }

    fn name(self) -> String {
        format!("key-{:07}", self.number)
    }

    fn value(self) -> String {
        format!("{:08x}{:08x}ndyBzreUzF4zqDQs", self.number, self.revision)
    }
}

/// A version of a Secret that an AuthConfig names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// That of the AuthConfig.
    pub(super) number: usize,
    pub(super) revision: u32,
}

impl Named {
    pub(super) fn object(self) -> Value {
        let data = json!({"key": base64(self.value().as_bytes())});
        secret(&namespace(self.number), &Self::name(self.number), json!({}), data)
    }

    pub(super) fn path(self) -> String {
        secret_path(&namespace(self.number), &Self::name(self.number))
    }

    /// A check with a token that it signed, of its AuthConfig.
    pub(super) fn check(self) -> anyhow::Result<Bytes> {
        let value = format!("Bearer {}", token::shared_secret_token(&self.value(), self.number)?);
        Ok(framed_for(&host(self.number), Credential::Authorization(&value)))
    }

    fn name(number: usize) -> String {
        format!("{}-tokens", name(number))
    }

    fn value(self) -> String {
        format!("{:016x}{:016x}", self.number, self.revision)
    }
}

/// Whether an AuthConfig names a Secret.
pub(super) fn is_naming(number: usize) -> bool {
    number.is_multiple_of(NAMED_EVERY)
}

fn namespace(number: usize) -> String {
    format!("team-{:02}", number % NAMESPACES)
}

fn name(number: usize) -> String {
    format!("api-{number:06}")
}

fn host(number: usize) -> String {
    format!("{}.{}.scale.example.com", name(number), namespace(number))
}

/// As Helm keeps its releases.
fn other_secret(number: usize) -> Value {
    const LENGTH: usize = 3 * 1024;
    let release: Vec<u8> = (0..LENGTH).map(|at| (at * 31 + number).to_le_bytes()[0]).collect();
    let labels = json!({"owner": "helm", "version": "1"});
    secret(&namespace(number), &format!("release-{number:06}"), labels, json!({"release": base64(&release)}))
}

fn secret(namespace: &str, name: &str, labels: Value, data: Value) -> Value {
    complete(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": data,
    }))
}

fn secret_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

/// With what `kubectl apply` adds.
fn complete(mut object: Value) -> Value {
    let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{object}\n")});
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), applied);
    }
    object
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SIZE: Size = Size { auth_configs: 20, secrets: 45, other_secrets: 3 };

    #[test]
    fn a_cluster_has_as_many_objects_as_asked_for_each_once() {
        let objects: Vec<Value> = SIZE.objects().flatten().collect();
        let names: HashSet<_> =
            objects.iter().map(|it| (it["kind"].to_string(), it["metadata"]["name"].to_string())).collect();
        assert_eq!((objects.len(), names.len()), (20 + 2 + 45 + 3, 20 + 2 + 45 + 3));
        let large = Size { secrets: 2500, ..SIZE };
        let parts: Vec<usize> = large.objects().map(|part| part.len()).collect();
        assert_eq!(parts, [1000, 1000, 525]);
    }

    #[test]
    fn keys_are_where_their_auth_config_looks_for_them() {
        for number in [0, 7, 44] {
            let key = Key::of(SIZE, number);
            let (secret, auth_config) = (key.object(), AuthConfig { number: key.auth_config, revision: 0 }.object());
            assert_eq!(secret["metadata"]["namespace"], auth_config["metadata"]["namespace"]);
            let selector = &auth_config["spec"]["authentication"]["keys"]["apiKey"]["selector"]["matchLabels"]["api"];
            assert_eq!(secret["metadata"]["labels"]["api"], *selector);
        }
        let key = Key::of(SIZE, 7);
        assert_ne!(key.check(), Key { revision: 1, ..key }.check());
    }

    #[test]
    fn objects_are_of_ordinary_size() {
        let size = |object: Value| object.to_string().len();
        let auth_config = size(AuthConfig { number: 1, revision: 0 }.object());
        assert!((2000..3000).contains(&auth_config), "{auth_config}");
        let key = size(Key::of(SIZE, 1).object());
        assert!((550..750).contains(&key), "{key}");
        let other = size(other_secret(1));
        assert!((8000..10_000).contains(&other), "{other}, with what was applied");
    }
}
