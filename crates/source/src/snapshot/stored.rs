//! How objects are written in the file, and what of them is read back.

use serde_json::{Map, Value, json};
use usher_api::{
    API_VERSION, AuthConfig, AuthConfigDocument, Claimed, KIND, Lines, ObjectMeta, Problem, Secret, SecretDocument,
};

/// Stands for a Secret that is named and does not exist.
pub(super) const NO_SECRET: &[u8] = b"";

/// Marks an AuthConfig of which only the hosts are kept. No object of the Kubernetes API has such a member.
const UNSERVED: &str = "unserved";

/// The AuthConfig as the Kubernetes API writes it, without its status.
pub(super) fn auth_config(config: &AuthConfig) -> Vec<u8> {
    let Ok(spec) = serde_json::to_value(&config.spec) else {
        // There is no such specification; its hosts would be refused.
        return unserved_auth_config(&config.metadata, &config.spec.claimed());
    };
    bytes(&auth_config_json(&config.metadata, spec))
}

/// An AuthConfig of which no version can be served.
pub(super) fn unserved_auth_config(metadata: &ObjectMeta, claimed: &Claimed) -> Vec<u8> {
    let mut object = auth_config_json(metadata, json!(claimed));
    object.insert(UNSERVED.to_owned(), true.into());
    bytes(&object)
}

/// The Secret as the Kubernetes API writes it.
pub(super) fn secret(secret: &Secret) -> Vec<u8> {
    secret.to_identity_json().to_string().into_bytes()
}

/// The AuthConfig, and what is wrong with the row if it cannot be read.
///
/// There is always a document, of that name: its hosts, as far as they can be read, must not be left to others.
///
/// One that cannot be served is of no version that a source could know again: the source has to tell it anew, since what
/// was wrong with it may be right by then.
pub(super) fn read_auth_config(namespace: &str, name: &str, row: &[u8]) -> (AuthConfigDocument, Option<String>) {
    let (mut document, problem) = read_row(namespace, name, row);
    if document.result.is_err() {
        document.metadata.generation = None;
        document.metadata.resource_version = None;
    }
    (document, problem)
}

fn read_row(namespace: &str, name: &str, row: &[u8]) -> (AuthConfigDocument, Option<String>) {
    let refused = |message: &str| vec![Problem { path: String::new(), line: None, message: message.to_owned() }];
    let Ok(value) = serde_json::from_slice::<Value>(row) else {
        let message = "it is not JSON";
        let metadata = ObjectMeta { namespace: namespace.to_owned(), name: name.to_owned(), ..ObjectMeta::default() };
        let result = Err(refused(message));
        let document = AuthConfigDocument { metadata, claimed: Claimed::default(), lines: Lines::default(), result };
        return (document, Some(message.to_owned()));
    };
    let is_unserved = value.get(UNSERVED).is_some();
    let mut document = AuthConfigDocument::from_kubernetes(value);
    if is_unserved {
        document.result = Err(refused("no version of it could be served when the snapshot was written"));
    }
    if document.metadata.namespace != namespace || document.metadata.name != name {
        namespace.clone_into(&mut document.metadata.namespace);
        name.clone_into(&mut document.metadata.name);
        document.result = Err(refused("it is stored under another name than its own"));
    } else if is_unserved {
        return (document, None);
    }
    let problem = document.result.as_ref().err().map(|problems| in_words(problems));
    (document, problem)
}

/// The Secret, or why it cannot be read.
pub(super) fn read_secret(namespace: &str, name: &str, row: &[u8]) -> Result<Secret, String> {
    let value: Value = serde_json::from_slice(row).map_err(|_| "it is not JSON".to_owned())?;
    let is_typed = value.get("type").is_some();
    let mut secret = SecretDocument::from_kubernetes(value).result.map_err(|problems| in_words(&problems))?;
    if secret.metadata.namespace != namespace || secret.metadata.name != name {
        return Err("it is stored under another name than its own".to_owned());
    }
    if !is_typed {
        secret.secret_type.clear();
    }
    Ok(secret)
}

/// What is known of a Secret that is named: None if there is no such Secret.
pub(super) fn read_named_secret(namespace: &str, name: &str, row: &[u8]) -> Result<Option<Secret>, String> {
    if row == NO_SECRET { Ok(None) } else { read_secret(namespace, name, row).map(Some) }
}

fn auth_config_json(metadata: &ObjectMeta, spec: Value) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), API_VERSION.into());
    object.insert("kind".to_owned(), KIND.into());
    object.insert("metadata".to_owned(), metadata.to_json());
    object.insert("spec".to_owned(), spec);
    object
}

fn bytes(object: &Map<String, Value>) -> Vec<u8> {
    // Maps of JSON with texts as names can always be written.
    serde_json::to_vec(object).unwrap_or_default()
}

/// The first problem, and how many more there are.
fn in_words(problems: &[Problem]) -> String {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    match problems.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}
