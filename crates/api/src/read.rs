//! Reading documents: from the text of a file, or as objects of the Kubernetes API.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::Problems;
use crate::schema::Schema;
use crate::validate::{self, UnknownFields, shorten, suggest, type_name};
use crate::yaml::{self, YamlDocument};
use crate::{
    API_VERSION, AuthConfig, AuthConfigSpec, AuthorizationPolicy, AuthorizationPolicySpec, Claimed, KIND, Lines,
    ObjectMeta, POLICY_API_VERSION, POLICY_KIND, Problem, Secret,
};

/// The most bytes of a text that is read.
const MAX_TEXT: usize = 64 << 20;

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// An AuthConfig, good or bad.
    AuthConfig(Box<AuthConfigDocument>),
    /// An AuthorizationPolicy, good or bad.
    AuthorizationPolicy(Box<AuthorizationPolicyDocument>),
    /// A Secret, good or bad.
    Secret(Box<SecretDocument>),
    /// A document of a kind that means nothing to us.
    Ignored(IgnoredDocument),
    /// A document of which not even the kind is known.
    Unreadable(UnreadableDocument),
}

/// An AuthConfig as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfigDocument {
    /// What it is called, as far as it could be read: a missing name is empty.
    pub metadata: ObjectMeta,
    /// The hosts and routes that it claims, as far as they could be read. An AuthConfig with problems claims them too:
    /// they must not be left without any.
    pub claimed: Claimed,
    /// Where its fields stand in the text; empty for objects of the Kubernetes API.
    pub lines: Lines,
    /// The AuthConfig, or everything that is wrong with it.
    pub result: Result<AuthConfig, Vec<Problem>>,
}

/// An AuthorizationPolicy as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicyDocument {
    /// What it is called, as far as it could be read: a missing name is empty. The namespace is empty: policies have
    /// none.
    pub metadata: ObjectMeta,
    /// Where its fields stand in the text; empty for objects of the Kubernetes API.
    pub lines: Lines,
    /// The AuthorizationPolicy, or everything that is wrong with it.
    pub result: Result<AuthorizationPolicy, Vec<Problem>>,
}

/// A Secret as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretDocument {
    /// What it is called, as far as it could be read: a missing name is empty.
    pub metadata: ObjectMeta,
    /// The line at which it begins, counted from 1; None for objects of the Kubernetes API.
    pub line: Option<usize>,
    /// The Secret, or everything that is wrong with it.
    pub result: Result<Secret, Vec<Problem>>,
}

/// A document of another kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredDocument {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
    /// Its `metadata.name`, if it has one.
    pub name: Option<String>,
    /// The line at which it begins, counted from 1.
    pub line: Option<usize>,
}

/// A document of which not even the kind is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableDocument {
    /// The line at which it begins, counted from 1.
    pub line: Option<usize>,
    /// Everything that is wrong with it; at least one.
    pub problems: Vec<Problem>,
}

/// Reads a text with any number of YAML or JSON documents, among them lists (`kind: List`), whose items are documents of
/// their own. Documents keep their order; empty ones are left out. Unknown fields are problems here.
///
/// Never fails as a whole: what cannot be read is a document with problems. The text may have 64 MiB; documents may be
/// nested 100 deep, and aliases may add 4 MiB to each.
pub fn read_documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes, more than {MAX_TEXT}", text.len());
        let problems = vec![Problem { path: String::new(), line: None, message }];
        documents.push(Document::Unreadable(UnreadableDocument { line: None, problems }));
        return documents;
    }
    for YamlDocument { value, lines, problems } in yaml::read(text) {
        read_document(value, lines, problems, &mut documents);
    }
    documents
}

impl AuthConfigDocument {
    /// Reads an object of the Kubernetes API. Fields that the schema does not know are dropped, as the API does when
    /// its schema is ours; all else is checked as for files.
    pub fn from_kubernetes(object: Value) -> Self {
        match object {
            Value::Object(members) => auth_config(members, Lines::default(), UnknownFields::Drop, Problems::default()),
            other => auth_config(Map::new(), Lines::default(), UnknownFields::Drop, not_an_object(&other)),
        }
    }
}

impl SecretDocument {
    /// Reads an object of the Kubernetes API. Fields that are not known are dropped.
    pub fn from_kubernetes(object: Value) -> Self {
        match object {
            Value::Object(members) => secret(members, &Lines::default(), UnknownFields::Drop, Problems::default()),
            other => secret(Map::new(), &Lines::default(), UnknownFields::Drop, not_an_object(&other)),
        }
    }
}

fn not_an_object(value: &Value) -> Problems {
    let mut problems = Problems::default();
    problems.add("", format!("a document must be of type object, found {}", type_name(value)));
    problems
}

fn line_of(lines: &Lines) -> Option<usize> {
    lines.find("")
}

fn read_document(value: Value, lines: Lines, mut problems: Problems, documents: &mut Vec<Document>) {
    let unreadable = |problems: Problems, lines: &Lines| {
        Document::Unreadable(UnreadableDocument { line: line_of(lines), problems: problems.into_sorted(lines) })
    };
    let mut members = match value {
        Value::Object(members) => members,
        Value::Null if problems.is_empty() => return,
        other => {
            if !other.is_null() {
                problems.add("", format!("a document must be of type object, found {}", type_name(&other)));
            }
            documents.push(unreadable(problems, &lines));
            return;
        }
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match (api_version.as_str(), kind.as_str()) {
        (_, KIND) => {
            let document = auth_config(members, lines, UnknownFields::Refuse, problems);
            documents.push(Document::AuthConfig(Box::new(document)));
        }
        (version, POLICY_KIND) if group(version) == group(POLICY_API_VERSION) => {
            let document = authorization_policy(members, lines, problems);
            documents.push(Document::AuthorizationPolicy(Box::new(document)));
        }
        (version, VALIDATING_POLICY) if group(version) == VALIDATING_POLICY_GROUP && is_for_envoy(&members) => {
            let document = validating_policy(members, lines, problems);
            documents.push(Document::AuthorizationPolicy(Box::new(document)));
        }
        ("v1", "Secret") => {
            let document = secret(members, &lines, UnknownFields::Refuse, problems);
            documents.push(Document::Secret(Box::new(document)));
        }
        (_, list) if list.ends_with("List") && members.contains_key("items") => {
            let item_kind = list.strip_suffix("List").unwrap_or_default();
            let (mut problems_of_items, mut rest) = problems.into_items();
            let items = match members.remove("items") {
                Some(Value::Array(items)) => items,
                None | Some(Value::Null) => Vec::new(),
                Some(other) => {
                    rest.add("items", format!("must be of type array, found {}", type_name(&other)));
                    Vec::new()
                }
            };
            if !rest.is_empty() {
                documents.push(unreadable(rest, &lines));
            }
            let below = lines.members.into_iter().find(|(name, _)| name == "items").map(|(_, below)| below);
            let mut below = below.unwrap_or_default().items.into_iter();
            for (index, mut item) in items.into_iter().enumerate() {
                // Items of typed lists need not repeat what the list says.
                if let Value::Object(members) = &mut item
                    && !item_kind.is_empty()
                    && !members.contains_key("kind")
                {
                    members.insert("kind".to_owned(), item_kind.into());
                    members.entry("apiVersion").or_insert_with(|| api_version.clone().into());
                }
                let problems = problems_of_items.remove(&index).unwrap_or_default();
                read_document(item, below.next().unwrap_or_default(), problems, documents);
            }
        }
        (api_version, kind) => {
            for (name, value) in [("apiVersion", api_version), ("kind", kind)] {
                match members.get(name) {
                    _ if !value.is_empty() => {}
                    None | Some(Value::Null | Value::String(_)) => problems.add(name, "Required value"),
                    Some(other) => problems.add(name, format!("must be of type string, found {}", type_name(other))),
                }
            }
            documents.push(if problems.is_empty() {
                let name = members.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
                Document::Ignored(IgnoredDocument {
                    name: name.map(str::to_owned),
                    line: line_of(&lines),
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                })
            } else {
                unreadable(problems, &lines)
            });
        }
    }
}

/// The members of an AuthConfig.
const AUTH_CONFIG_MEMBERS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

fn auth_config(
    mut members: Map<String, Value>,
    lines: Lines,
    unknown: UnknownFields,
    mut problems: Problems,
) -> AuthConfigDocument {
    match members.get("apiVersion") {
        Some(Value::String(version)) if version == API_VERSION => {}
        // Items of lists of the Kubernetes API need not say what they are.
        None if unknown == UnknownFields::Drop => {}
        None | Some(Value::Null) => problems.add("apiVersion", "Required value"),
        Some(Value::String(version)) => {
            problems.add("apiVersion", format!("`{}` is not supported; use `{API_VERSION}`", shorten(version)));
        }
        Some(other) => problems.add("apiVersion", format!("must be of type string, found {}", type_name(other))),
    }
    let metadata = ObjectMeta::read(members.remove("metadata"), unknown, &mut problems);
    let claimed = members.get("spec").map(Claimed::read).unwrap_or_default();
    let spec = match members.remove("spec") {
        None | Some(Value::Null) => {
            problems.add("spec", "Required value");
            Value::Null
        }
        Some(mut spec) => {
            validate::check(Schema::spec(), &mut spec, "spec", unknown, &mut problems);
            spec
        }
    };
    // A status is only a report; one that cannot be read is as good as none.
    let status = members.remove("status").and_then(|status| serde_json::from_value(status).ok());
    if unknown == UnknownFields::Refuse {
        for name in members.keys().filter(|name| !AUTH_CONFIG_MEMBERS.contains(&name.as_str())) {
            if problems.is_full() {
                problems.count();
            } else {
                problems.add(name.clone(), suggest(name, AUTH_CONFIG_MEMBERS.iter().copied()));
            }
        }
    }
    let spec: Option<AuthConfigSpec> = if problems.is_empty() {
        serde_json::from_value(spec).map_err(|error| problems.add("spec", format!("cannot be read: {error}"))).ok()
    } else {
        None
    };
    let result = match spec {
        Some(spec) => Ok(AuthConfig { metadata: metadata.clone(), spec, status }),
        None => Err(problems.into_sorted(&lines)),
    };
    AuthConfigDocument { metadata, claimed, lines, result }
}

/// The members of an AuthorizationPolicy.
const POLICY_MEMBERS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

fn authorization_policy(
    mut members: Map<String, Value>,
    lines: Lines,
    mut problems: Problems,
) -> AuthorizationPolicyDocument {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let version = members.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != POLICY_API_VERSION {
        let message = format!("`{}` is not supported; use `{POLICY_API_VERSION}`", shorten(version));
        problems.add("apiVersion", message);
    }
    let metadata = cluster_metadata(&mut members, &mut problems);
    let mut spec = members.remove("spec").unwrap_or_default();
    if spec.is_null() {
        problems.add("spec", "Required value");
    } else {
        let schema = SCHEMA.get_or_init(Schema::of::<AuthorizationPolicySpec>);
        validate::check(schema, &mut spec, "spec", UnknownFields::Refuse, &mut problems);
    }
    for name in members.keys().filter(|name| !POLICY_MEMBERS.contains(&name.as_str())) {
        if problems.is_full() {
            problems.count();
        } else {
            problems.add(name.clone(), suggest(name, POLICY_MEMBERS.iter().copied()));
        }
    }
    let spec: Option<AuthorizationPolicySpec> = if problems.is_empty() {
        serde_json::from_value(spec).map_err(|error| problems.add("spec", format!("cannot be read: {error}"))).ok()
    } else {
        None
    };
    let result = match spec {
        Some(spec) => Ok(AuthorizationPolicy { metadata: metadata.clone(), spec }),
        None => Err(problems.into_sorted(&lines)),
    };
    AuthorizationPolicyDocument { metadata, lines, result }
}

/// The kind that took the place of AuthorizationPolicies, and its group.
const VALIDATING_POLICY: &str = "ValidatingPolicy";
const VALIDATING_POLICY_GROUP: &str = "policies.kyverno.io";

/// Whether a ValidatingPolicy is meant for an authorization server: others are for the Kubernetes API.
fn is_for_envoy(members: &Map<String, Value>) -> bool {
    let mode = members.get("spec").and_then(|spec| spec.get("evaluation")?.get("mode")?.as_str());
    mode == Some("Envoy")
}

/// A policy of a kind that is refused. It counts as one that cannot be read, so that what it denies is not let in. No
/// AuthorizationPolicy can have its name.
fn validating_policy(
    mut members: Map<String, Value>,
    lines: Lines,
    mut problems: Problems,
) -> AuthorizationPolicyDocument {
    let mut metadata = cluster_metadata(&mut members, &mut problems);
    metadata.name.push_str(" (ValidatingPolicy)");
    let message =
        format!("`{VALIDATING_POLICY}` is not supported; write it as `{POLICY_KIND}` of `{POLICY_API_VERSION}`");
    problems.add("kind", message);
    AuthorizationPolicyDocument { metadata, result: Err(problems.into_sorted(&lines)), lines }
}

/// The metadata of an object that belongs to no namespace.
fn cluster_metadata(members: &mut Map<String, Value>, problems: &mut Problems) -> ObjectMeta {
    let metadata = ObjectMeta::read(members.remove("metadata"), UnknownFields::Refuse, problems);
    ObjectMeta { namespace: String::new(), ..metadata }
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// A Secret as users write it, without what all objects have.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct SecretManifest {
    /// Whether the Secret cannot be changed any more.
    immutable: Option<bool>,
    /// The entries, in base64.
    data: BTreeMap<String, String>,
    /// Further entries, in plain text.
    string_data: BTreeMap<String, String>,
    /// The type.
    #[serde(rename = "type")]
    secret_type: Option<String>,
}

fn secret(
    mut members: Map<String, Value>,
    lines: &Lines,
    unknown: UnknownFields,
    mut problems: Problems,
) -> SecretDocument {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let metadata = ObjectMeta::read(members.remove("metadata"), unknown, &mut problems);
    members.remove("apiVersion");
    members.remove("kind");
    let mut manifest = Value::Object(members);
    validate::check(SCHEMA.get_or_init(Schema::of::<SecretManifest>), &mut manifest, "", unknown, &mut problems);

    let mut secret = Secret { metadata: metadata.clone(), ..Secret::default() };
    // Messages of the decoder would show what it found.
    match serde_json::from_value::<SecretManifest>(manifest) {
        Ok(manifest) => {
            for (name, encoded) in manifest.data {
                // Line breaks are allowed, as for the Kubernetes API: tools wrap long texts.
                let encoded: Vec<u8> = encoded.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
                match BASE64_STANDARD.decode(encoded) {
                    Ok(value) => {
                        secret.data.insert(name, value);
                    }
                    Err(_) => problems.add(format!("data.{name}"), "must be base64; plain text goes to `stringData`"),
                }
            }
            secret.data.extend(manifest.string_data.into_iter().map(|(name, value)| (name, value.into_bytes())));
            secret.immutable = manifest.immutable;
            secret.secret_type =
                manifest.secret_type.filter(|name| !name.is_empty()).unwrap_or_else(|| "Opaque".to_owned());
        }
        Err(_) if problems.is_empty() => problems.add("", "cannot be read"),
        Err(_) => {}
    }
    let line = line_of(lines);
    let result = if problems.is_empty() { Ok(secret) } else { Err(problems.into_sorted(lines)) };
    SecretDocument { metadata, line, result }
}
