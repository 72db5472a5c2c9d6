//! Discovery: which groups, versions, and resources there are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{kind::Kind, state::State};

/// The version that the server says it has.
const VERSION: &str = "v1.33.0";

/// Answers a path of discovery, which has no slash at its end.
pub(crate) fn find(state: &State, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
        })),
        ["livez" | "readyz" | "healthz"] => Some(json!("ok")),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> = groups(state).iter().map(|(name, versions)| group(name, versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let mut found = group(name, groups(state).get(*name)?);
            (found["kind"], found["apiVersion"]) = (json!("APIGroup"), json!("v1"));
            Some(found)
        }
        ["api", version] => resources(state, "", version),
        ["apis", group, version] => resources(state, group, version),
        _ => None,
    }
}

fn groups(state: &State) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::from([
        ("authentication.k8s.io".to_owned(), vec!["v1".to_owned()]),
        ("authorization.k8s.io".to_owned(), vec!["v1".to_owned()]),
    ]);
    for kind in state.store().kinds().filter(|kind| !kind.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first().cloned();
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

fn resources(state: &State, group: &str, version: &str) -> Option<Value> {
    let mut found: Vec<Value> = Vec::new();
    for kind in state.store().kinds().filter(|kind| kind.group == group && kind.version == version) {
        found.push(resource(
            kind,
            &kind.plural,
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        ));
        if kind.status {
            found.push(resource(kind, &format!("{}/status", kind.plural), &["get", "patch", "update"]));
        }
    }
    let review = |plural: &str, kind: &str| json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"]});
    match group {
        "authentication.k8s.io" => found.push(review("tokenreviews", "TokenReview")),
        "authorization.k8s.io" => found.push(review("subjectaccessreviews", "SubjectAccessReview")),
        _ => {}
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!found.is_empty()).then(
        || json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}),
    )
}

fn resource(kind: &Kind, name: &str, verbs: &[&str]) -> Value {
    let singular = if name.contains('/') { String::new() } else { kind.kind.to_lowercase() };
    json!({"name": name, "singularName": singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs})
}
