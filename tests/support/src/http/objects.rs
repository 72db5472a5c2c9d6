//! Requests for objects.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use super::{
    Question, WATCH_TIME,
    answer::{Answer, json_answer, raw_answer, warn},
    route::Target,
    watch::{self, Watching},
};
use crate::{
    failure::Failure,
    filter::Filter,
    kind::Kind,
    prepare::{self, Part},
    state::State,
    store::{self, ObjectKey, Stored, View},
    write::{self, Options, Written},
};

/// Patches are tried as kube-apiserver does; the media types that are understood as merge patches.
const MERGE_PATCHES: [&str; 2] = ["application/merge-patch+json", "application/strategic-merge-patch+json"];

/// Answers one.
///
/// # Errors
///
/// What the API server would refuse.
pub(crate) async fn answer(
    state: &std::sync::Arc<State>,
    target: &Target,
    question: &Question,
) -> Result<Response<Answer>, Failure> {
    let kind = target.kind.as_ref();
    let part = if target.subresource.is_some() { Part::Status } else { Part::Main };
    let options = options(question);
    let key = target.name.as_ref().map(|name| (target.namespace.clone().unwrap_or_default(), name.clone()));
    match (&question.method, key) {
        (&Method::GET, _) if question.query.is_true("watch") => watch(state, target, question),
        (&Method::GET, Some(key)) => get(state, kind, &key, question),
        (&Method::GET, None) => list(state, target, question),
        (&Method::POST, None) => {
            let written = write::create(state, kind, target.namespace.as_deref(), question.json()?, options).await?;
            Ok(written_answer(201, kind, written, question))
        }
        (&Method::PUT, Some(key)) => {
            let object = question.json()?;
            let create = state.store().get(kind, &key).is_none();
            let written = write::replace(state, kind, &key, part, object, options).await?;
            Ok(written_answer(if create { 201 } else { 200 }, kind, written, question))
        }
        (&Method::PATCH, Some(key)) => {
            let patch = merge_patch(question)?;
            let change = |existing: &Value| {
                let mut object = existing.clone();
                prepare::merge(&mut object, &patch);
                Ok(object)
            };
            let written = write::update(state, kind, &key, part, options, change).await?;
            Ok(written_answer(200, kind, written, question))
        }
        (&Method::DELETE, Some(key)) if part == Part::Main => {
            let preconditions = delete_options(question)?;
            let (object, gone) = write::delete(state, kind, &key, &preconditions, options).await?;
            Ok(json_answer(200, &if gone { deleted(kind, &object) } else { object }))
        }
        (&Method::DELETE, None) => delete_all(state, target, question, options).await,
        _ => Err(Failure::of_code(405, "the server does not allow this method on the requested resource")),
    }
}

fn options(question: &Question) -> Options {
    Options {
        dry_run: question.query.get("dryRun") == "All",
        strict: question.query.get("fieldValidation") == "Strict",
        admission: true,
    }
}

fn get(state: &State, kind: &Kind, key: &ObjectKey, question: &Question) -> Result<Response<Answer>, Failure> {
    let found = state.store().get(kind, key).ok_or_else(|| Failure::not_found(kind, &key.1))?;
    let mut json = Vec::new();
    found.write(kind, wanted_view(question), &mut json);
    Ok(raw_answer(200, json.into()))
}

fn list(state: &State, target: &Target, question: &Question) -> Result<Response<Answer>, Failure> {
    let kind = target.kind.as_ref();
    let query = &question.query;
    let filter = filter(target, question)?;
    let limit = query.number("limit")?.unwrap_or_default();
    let token = Some(query.get("continue")).filter(|token| !token.is_empty());
    let version = query.number("resourceVersion")?.unwrap_or_default();
    let store = state.store();
    if version > store.version() {
        return Err(Failure::too_large(version, store.version()));
    }
    let exactly = (query.get("resourceVersionMatch") == "Exact" && version > 0).then_some(version);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = store.list(kind, &store::Question { filter: &filter, limit, token, exactly })?;
    drop(store);

    let metadata_only = wanted_view(question) == View::Metadata;
    let (api_version, list_kind, view) = if metadata_only {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned(), View::Metadata)
    } else {
        (kind.api_version(), format!("{}List", kind.kind), View::Item)
    };
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(token) = &page.token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let mut json =
        format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .into_bytes();
    write_all(kind, &page.objects, view, &mut json);
    json.extend_from_slice(b"]}");
    Ok(raw_answer(200, json.into()))
}

fn write_all(kind: &Kind, objects: &[std::sync::Arc<Stored>], view: View, json: &mut Vec<u8>) {
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        object.write(kind, view, json);
    }
}

fn watch(state: &std::sync::Arc<State>, target: &Target, question: &Question) -> Result<Response<Answer>, Failure> {
    let query = &question.query;
    let mut filter = filter(target, question)?;
    if let Some(name) = &target.name {
        filter.only(name);
    }
    let version = query.number("resourceVersion")?.unwrap_or_default();
    let time = query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    let view = match wanted_view(question) {
        View::Metadata => View::Metadata,
        View::Full | View::Item => View::Full,
    };
    let wanted = Watching {
        kind: std::sync::Arc::clone(&target.kind),
        filter,
        view,
        bookmarks: query.is_true("allowWatchBookmarks"),
        time: time.map_or(WATCH_TIME, std::time::Duration::from_secs),
    };
    if query.is_true("sendInitialEvents") {
        return Err(Failure::of_code(
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for \
             watch unless the WatchList feature gate is enabled",
        ));
    }
    watch::answer(state, wanted, version)
}

async fn delete_all(
    state: &State,
    target: &Target,
    question: &Question,
    options: Options,
) -> Result<Response<Answer>, Failure> {
    let kind = target.kind.as_ref();
    let filter = filter(target, question)?;
    let asked = store::Question { filter: &filter, limit: 0, token: None, exactly: None };
    let page = state.store().list(kind, &asked)?;
    for object in page.objects {
        match write::delete(state, kind, &object.key(), &Value::Null, options).await {
            Err(failure) if failure.code != 404 => return Err(failure),
            _ => {}
        }
    }
    Ok(json_answer(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
}

fn filter(target: &Target, question: &Question) -> Result<Filter, Failure> {
    Filter::new(target.namespace.as_deref(), question.query.get("labelSelector"), question.query.get("fieldSelector"))
}

/// Which form of the object the client wants. The first media type that is understood decides.
fn wanted_view(question: &Question) -> View {
    let first = question.accept.split(',').next().unwrap_or_default();
    let partial = first
        .split(';')
        .map(str::trim)
        .any(|parameter| matches!(parameter, "as=PartialObjectMetadata" | "as=PartialObjectMetadataList"));
    if partial { View::Metadata } else { View::Full }
}

fn merge_patch(question: &Question) -> Result<Value, Failure> {
    let media_type = question.content_type.split(';').next().unwrap_or_default().trim();
    if !MERGE_PATCHES.contains(&media_type) {
        return Err(Failure::of_code(
            415,
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                MERGE_PATCHES.join(", ")
            ),
        ));
    }
    let patch = question.json()?;
    if patch.is_object() { Ok(patch) } else { Err(Failure::bad_request("a patch must be an object")) }
}

/// The preconditions of `DeleteOptions`, in the form of an object.
fn delete_options(question: &Question) -> Result<Value, Failure> {
    if question.body.is_empty() { Ok(Value::Null) } else { Ok(question.json()?["preconditions"].clone()) }
}

fn written_answer(code: u16, kind: &Kind, written: Written, question: &Question) -> Response<Answer> {
    let mut answer = if wanted_view(question) == View::Metadata {
        let mut json = Vec::new();
        Stored::new(&written.object, 0).write(kind, View::Metadata, &mut json);
        raw_answer(code, Bytes::from(json))
    } else {
        json_answer(code, &written.object)
    };
    if question.query.get("fieldValidation") != "Ignore" {
        warn(&mut answer, &written.warnings);
    }
    answer
}

/// How a deletion is answered.
fn deleted(kind: &Kind, object: &Value) -> Value {
    let mut details =
        json!({"name": object["metadata"]["name"], "kind": kind.plural, "uid": object["metadata"]["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
