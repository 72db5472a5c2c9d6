//! Writing: create, update, patch, delete.
//!
//! ```text
//!  read what is there -> make the new object (prepare) -> ask webhooks (admission) -> write, if nothing came between
//! ```

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    admission::{self, Operation, Request},
    failure::{Cause, Failure},
    kind::Kind,
    prepare::{self, Part, Prepared},
    state::State,
    store::{ObjectKey, Stored, key_of},
};

/// How an object is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Everything but the write itself.
    pub(crate) dry_run: bool,
    /// Refuse unknown fields, instead of a warning.
    pub(crate) strict: bool,
    /// Whether webhooks are asked. The handle of a server does not.
    pub(crate) admission: bool,
}

/// What became of a write.
pub(crate) struct Written {
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// Creates an object.
///
/// # Errors
///
/// What the API server would refuse, and 409 if there is one of this name.
pub(crate) async fn create(
    state: &State,
    kind: &Kind,
    namespace: Option<&str>,
    object: Value,
    options: Options,
) -> Result<Written, Failure> {
    let prepared = prepare::new_object(kind, namespace, object)?;
    let mut warnings = unknown_fields(kind, &prepared, options)?;
    let mut object = prepared.object;
    need_namespace(state, kind, &object)?;
    if options.admission {
        let request = Request { operation: Operation::Create, kind, object: Some(&object), old: None, options };
        warnings.extend(admission::ask(state, &request).await?);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if options.dry_run {
        let there = state.store().get(kind, &key_of(&object)).is_some();
        return if there { Err(Failure::already_exists(kind, &name)) } else { Ok(Written { object, warnings }) };
    }
    let put = state.store().put(kind, &mut object, None);
    put.map_err(|_| Failure::already_exists(kind, &name))?;
    state.tell(|signal| signal.writes += 1);
    Ok(Written { object, warnings })
}

/// Changes an object: `change` makes the wanted version of the one that is there.
///
/// # Errors
///
/// 404 if there is none, what `change` says, and what the API server would refuse.
pub(crate) async fn update(
    state: &State,
    kind: &Kind,
    key: &ObjectKey,
    part: Part,
    options: Options,
    change: impl Fn(&Value) -> Result<Value, Failure>,
) -> Result<Written, Failure> {
    let namespace = kind.namespaced.then_some(key.0.as_str());
    loop {
        let Some(existing) = state.store().get(kind, key) else { return Err(Failure::not_found(kind, &key.1)) };
        let old = existing.value(kind);
        let prepared = prepare::new_version(kind, namespace, &old, change(&old)?, part)?;
        let mut warnings = unknown_fields(kind, &prepared, options)?;
        let mut object = prepared.object;
        if options.admission && part == Part::Main {
            let request =
                Request { operation: Operation::Update, kind, object: Some(&object), old: Some(&old), options };
            warnings.extend(admission::ask(state, &request).await?);
        }
        // A write that changes nothing is none.
        if options.dry_run || object == old {
            return Ok(Written { object, warnings });
        }
        let done = if is_over(&object) {
            let mut store = state.store();
            let same = store.get(kind, key).is_some_and(|found| found.version == existing.version);
            same && store.remove(kind, key).is_some()
        } else {
            state.store().put(kind, &mut object, Some(existing.version)).is_ok()
        };
        if done {
            state.tell(|signal| signal.writes += 1);
            return Ok(Written { object, warnings });
        }
    }
}

/// Replaces an object. `object` is the whole new one.
///
/// # Errors
///
/// As [`update`]; 422 if the kind must name the version that is replaced, and it does not.
pub(crate) async fn replace(
    state: &State,
    kind: &Kind,
    key: &ObjectKey,
    part: Part,
    object: Value,
    options: Options,
) -> Result<Written, Failure> {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let lease = kind.plural == "leases";
    match object["metadata"]["name"].as_str() {
        Some(name) if name != key.1 => {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.1
            )));
        }
        Some(_) => {}
        None => return Err(Failure::bad_request("name must be provided")),
    }
    if version.is_empty() && lease && state.store().get(kind, key).is_none() {
        return create(state, kind, Some(&key.0), object, options).await;
    }
    if version.is_empty() && (kind.custom || lease) && state.store().get(kind, key).is_some() {
        let shown = if kind.custom { "0x0" } else { "\"\"" };
        let cause = Cause::invalid("metadata.resourceVersion", shown, "must be specified for an update");
        return Err(Failure::invalid(kind, &key.1, &[cause]));
    }
    update(state, kind, key, part, options, |_| Ok(object.clone())).await
}

/// Deletes an object, or marks it as deleted while it has finalizers. `Some` in the second case.
///
/// # Errors
///
/// 404 if there is none, 409 if it is not the one that is meant.
pub(crate) async fn delete(
    state: &State,
    kind: &Kind,
    key: &ObjectKey,
    preconditions: &Value,
    options: Options,
) -> Result<(Value, bool), Failure> {
    let Some(existing) = state.store().get(kind, key) else { return Err(Failure::not_found(kind, &key.1)) };
    let mut object = existing.value(kind);
    prepare::check_preconditions(kind, &key.1, &object, preconditions)?;
    if options.admission {
        let request = Request { operation: Operation::Delete, kind, object: None, old: Some(&object), options };
        admission::ask(state, &request).await?;
    }
    if options.dry_run {
        return Ok((object, true));
    }
    let held = object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    if !held {
        state.store().remove(kind, key);
        state.tell(|signal| signal.writes += 1);
        return Ok((object, true));
    }
    if object["metadata"]["deletionTimestamp"].is_null() {
        object["metadata"]["deletionTimestamp"] = json!(prepare::now());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        let put = state.store().put(kind, &mut object, Some(existing.version));
        put.map_err(|_| Failure::modified(kind, &key.1))?;
        state.tell(|signal| signal.writes += 1);
    }
    Ok((object, false))
}

/// Writes objects without checks and without events for each waiting watch in between: for many at once.
pub(crate) fn load(state: &State, objects: Vec<(Arc<Kind>, Value)>) -> Result<(), Failure> {
    let mut store = state.store();
    for (kind, object) in objects {
        let mut object = prepare::new_object(&kind, None, object)?.object;
        let there: Option<Arc<Stored>> = store.get(&kind, &key_of(&object));
        let expected = there.map(|there| there.version);
        let _ = store.put(&kind, &mut object, expected);
    }
    drop(store);
    state.tell(|signal| signal.writes += 1);
    Ok(())
}

fn unknown_fields(kind: &Kind, prepared: &Prepared, options: Options) -> Result<Vec<String>, Failure> {
    let dropped: Vec<String> = prepared.dropped.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    if options.strict && !dropped.is_empty() {
        return Err(Failure::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            dropped.join(", ")
        )));
    }
    Ok(dropped)
}

fn need_namespace(state: &State, kind: &Kind, object: &Value) -> Result<(), Failure> {
    let strict = state.settings().strict_namespaces;
    if !strict || !kind.namespaced {
        return Ok(());
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let store = state.store();
    let namespaces = store.kind(&(String::new(), "v1".to_owned(), "namespaces".to_owned()));
    match namespaces {
        Some(kind) if store.get(&kind, &(String::new(), namespace.to_owned())).is_none() => {
            Err(Failure::not_found(&kind, namespace))
        }
        _ => Ok(()),
    }
}

/// Whether an object was deleted, and nothing holds it any more.
fn is_over(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
}
