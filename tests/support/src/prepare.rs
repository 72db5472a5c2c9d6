//! What the server makes of an object before it keeps it: metadata, defaults, and checks.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::{
    failure::{Cause, Failure},
    kind::Kind,
    schema,
    store::members,
};

/// An object that is ready to be written, and the unknown fields that were dropped on the way.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) object: Value,
    pub(crate) dropped: Vec<String>,
}

/// Makes a new object complete. `namespace`: that of the request.
///
/// # Errors
///
/// 400 and 422, for objects that the API server would refuse.
pub(crate) fn new_object(kind: &Kind, namespace: Option<&str>, mut object: Value) -> Result<Prepared, Failure> {
    normalise(kind, namespace, &mut object)?;
    let metadata = members(&mut object["metadata"]);
    if metadata.contains_key("resourceVersion") {
        return Err(Failure::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    for given_by_server in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "selfLink"] {
        metadata.shift_remove(given_by_server);
    }
    if text(metadata, "name").is_empty()
        && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).filter(|prefix| !prefix.is_empty())
    {
        let name = format!("{prefix}{}", random_suffix());
        metadata.insert("name".to_owned(), json!(name));
    }
    metadata.insert("uid".to_owned(), json!(random_uid()));
    metadata.insert("creationTimestamp".to_owned(), json!(now()));
    if kind.custom {
        metadata.insert("generation".to_owned(), json!(1));
    }
    let name = text(metadata, "name").to_owned();
    if kind.status {
        members(&mut object).shift_remove("status");
    }
    if kind.plural == "namespaces" && kind.group.is_empty() {
        members(&mut object["metadata"]["labels"]).insert("kubernetes.io/metadata.name".to_owned(), json!(name));
        object["status"] = json!({"phase": "Active"});
    }
    if kind.plural == "customresourcedefinitions" {
        object["status"] = json!({"conditions": [
            {"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"},
        ]});
    }
    let dropped = conform(kind, &mut object);
    let mut causes = name_causes(&name);
    if causes.is_empty() {
        causes = schema_causes(kind, &object);
    }
    if causes.is_empty() { Ok(Prepared { object, dropped }) } else { Err(Failure::invalid(kind, &name, &causes)) }
}

/// Which part of an object an update is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// Makes the new version of an object complete: what the update may not touch stays as it is.
/// The resource version is that of `existing` afterwards.
///
/// # Errors
///
/// 400, 409, and 422.
pub(crate) fn new_version(
    kind: &Kind,
    namespace: Option<&str>,
    existing: &Value,
    mut object: Value,
    part: Part,
) -> Result<Prepared, Failure> {
    normalise(kind, namespace, &mut object)?;
    let name = existing["metadata"]["name"].as_str().unwrap_or_default();
    check_preconditions(kind, name, existing, &object["metadata"])?;
    let (old, new) = (&existing["metadata"], &mut object["metadata"]);
    if part == Part::Status {
        // Built-in kinds take labels and the like along; custom resources change nothing but the status.
        *new = old.clone();
        let mut with_status = existing.clone();
        match members(&mut object).shift_remove("status") {
            Some(status) => with_status["status"] = status,
            None => {
                members(&mut with_status).shift_remove("status");
            }
        }
        object = with_status;
    } else {
        for fixed in
            ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"]
        {
            let new = members(new);
            match old.get(fixed) {
                Some(value) => new.insert(fixed.to_owned(), value.clone()),
                None => new.shift_remove(fixed),
            };
        }
        if kind.status {
            match existing.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    members(&mut object).shift_remove("status");
                }
            }
        }
    }
    let dropped = conform(kind, &mut object);
    let causes = schema_causes(kind, &object);
    if !causes.is_empty() {
        return Err(Failure::invalid(kind, name, &causes));
    }
    if kind.custom && part == Part::Main && without_counted(existing) != without_counted(&object) {
        let generation = existing["metadata"]["generation"].as_i64().unwrap_or(1) + 1;
        object["metadata"]["generation"] = json!(generation);
    }
    Ok(Prepared { object, dropped })
}

/// Refuses an update or a deletion that is meant for another object, or another version of it.
pub(crate) fn check_preconditions(kind: &Kind, name: &str, existing: &Value, wanted: &Value) -> Result<(), Failure> {
    let existing = &existing["metadata"];
    if let Some(uid) = wanted["uid"].as_str().filter(|uid| !uid.is_empty() && existing["uid"] != **uid) {
        return Err(Failure::other_uid(kind, name, uid, existing["uid"].as_str().unwrap_or_default()));
    }
    if let Some(version) = wanted["resourceVersion"].as_str()
        && !matches!(version, "" | "0")
        && existing["resourceVersion"] != *version
    {
        return Err(Failure::modified(kind, name));
    }
    Ok(())
}

/// A JSON merge patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = members(target);
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The time as the API server writes it.
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Checks that the object is of this kind and namespace, and fills both in.
fn normalise(kind: &Kind, namespace: Option<&str>, object: &mut Value) -> Result<(), Failure> {
    if !object.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized (must be an object)"));
    }
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
        match object[field].as_str() {
            None | Some("") => object[field] = json!(expected),
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(Failure::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({expected})"
                )));
            }
        }
    }
    let metadata = members(&mut object["metadata"]);
    metadata.retain(|_, value| !value.is_null());
    metadata.shift_remove("managedFields");
    if !kind.namespaced {
        metadata.shift_remove("namespace");
        return Ok(());
    }
    let found = text(metadata, "namespace");
    let namespace = namespace.unwrap_or(if found.is_empty() { "default" } else { found }).to_owned();
    if !found.is_empty() && found != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".to_owned(), json!(namespace));
    Ok(())
}

/// Prunes, fills in defaults, and turns `stringData` of Secrets into `data`.
fn conform(kind: &Kind, object: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    if let Some(schema) = &kind.schema {
        dropped = schema::prune(object, schema);
        schema::fill(object, schema);
    }
    if kind.plural == "secrets" && kind.group.is_empty() {
        if let Some(texts) = members(object).shift_remove("stringData") {
            for (name, value) in texts.as_object().into_iter().flatten() {
                let encoded = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
                members(&mut object["data"]).insert(name.clone(), encoded);
            }
        }
        if object["type"].as_str().is_none_or(str::is_empty) {
            object["type"] = json!("Opaque");
        }
    }
    dropped
}

fn schema_causes(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = kind.schema.as_ref().map(|schema| schema::validate(object, schema, "")).unwrap_or_default();
    for field in ["labels", "annotations"] {
        for (key, value) in object["metadata"][field].as_object().into_iter().flatten() {
            if !value.is_string() {
                let path = format!("metadata.{field}");
                causes.push(Cause::invalid(&path, &value.to_string(), &format!("`{key}` must be a string")));
            }
        }
    }
    if kind.plural == "secrets" && kind.group.is_empty() {
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            if value.as_str().is_none_or(|value| STANDARD.decode(value).is_err()) {
                causes.push(Cause::invalid(&format!("data[{key}]"), "\"\"", "must be base64"));
            }
        }
    }
    causes
}

fn name_causes(name: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![Cause::required("metadata.name", "name or generateName is required")];
    }
    let label = |label: &str| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b':';
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|byte| alphanumeric(*byte))
            && bytes.last().is_some_and(|byte| alphanumeric(*byte))
            && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Vec::new();
    }
    let detail = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                  must start and end with an alphanumeric character";
    vec![Cause::invalid("metadata.name", &format!("{name:?}"), detail)]
}

/// What the generation counts changes of: everything but metadata and status.
fn without_counted(object: &Value) -> Map<String, Value> {
    let mut rest = object.as_object().cloned().unwrap_or_default();
    rest.shift_remove("metadata");
    rest.shift_remove("status");
    rest
}

fn text<'a>(members: &'a Map<String, Value>, field: &str) -> &'a str {
    members.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn random() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}

pub(crate) fn random_uid() -> String {
    let (high, low) = (random(), random());
    let bytes = format!("{high:016x}{low:016x}");
    format!("{}-{}-4{}-a{}-{}", &bytes[..8], &bytes[8..12], &bytes[13..16], &bytes[17..20], &bytes[20..])
}

fn random_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut number = random();
    let mut suffix = String::new();
    for _ in 0..5 {
        let length = LETTERS.len() as u64;
        suffix.push(char::from(LETTERS[(number % length) as usize]));
        number /= length;
    }
    suffix
}
