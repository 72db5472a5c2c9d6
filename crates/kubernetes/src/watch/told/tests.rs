use serde_json::json;

use super::{super::item::Item as _, *};

fn auth_config(namespace: &str, name: &str, generation: i64, version: u64) -> Value {
    json!({
        "apiVersion": usher_api::API_VERSION, "kind": usher_api::KIND,
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
            "generation": generation, "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {"hosts": [format!("{name}.example.com")]},
        "status": {"summary": {"ready": true, "hostsReady": [], "numHostsReady": "0/1", "numIdentitySources": 0,
            "numMetadataSources": 0, "numAuthorizationPolicies": 0, "numResponseItems": 0,
            "festivalWristbandEnabled": false}},
    })
}

fn secret(name: &str, version: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
        "metadata": {
            "namespace": "ns", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "labels": {"app": "x"}, "annotations": {"note": "y"}, "creationTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}],
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "data": {"api_key": "aHVudGVyMg=="},
    })
}

/// As it is read from a line.
fn item(object: Value) -> SecretItem {
    let line = json!({"type": "ADDED", "object": object}).to_string();
    SecretItem::read_line(line.as_bytes()).unwrap().object
}

/// The batches, in short.
fn told(told: &mut Told) -> Vec<Vec<String>> {
    let short = |change: &Change| match change {
        Change::AuthConfig(object) => {
            let ok = if object.document.result.is_ok() { "" } else { " (bad)" };
            format!("config {}{ok}", object.document.metadata.name)
        }
        Change::AuthConfigGone { name, .. } => format!("config {name} gone"),
        Change::LabelledSecret(secret) => format!("secret {}", secret.metadata.name),
        Change::LabelledSecretGone { name, .. } => format!("secret {name} gone"),
        Change::NamedSecret { name, secret } => format!("named {} {}", name.name, secret.is_some()),
        Change::InitialLoadDone => "done".to_owned(),
        other => format!("{other:?}"),
    };
    told.take_batches().iter().map(|batch| batch.iter().map(short).collect()).collect()
}

fn loaded() -> Told {
    let mut state = Told::default();
    state.auth_configs(Event::Restart);
    state.secrets(Event::Restart);
    state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 1, 1), auth_config("ns", "b", 1, 2)]));
    state.secrets(Event::Listed(vec![item(secret("k", 3))]));
    state.secrets(Event::Complete);
    assert!(!state.is_complete());
    state.auth_configs(Event::Complete);
    assert!(state.is_complete());
    assert_eq!(told(&mut state), [["config a", "config b", "secret k", "done"]]);
    state
}

#[test]
fn only_what_changes_something_is_told() {
    let mut state = loaded();
    state.auth_configs(Event::Changed(auth_config("ns", "a", 1, 10)));
    state.secrets(Event::Changed(item(secret("k", 3))));
    assert!(told(&mut state).is_empty(), "a status, and the same again");
    state.auth_configs(Event::Changed(auth_config("ns", "a", 2, 11)));
    state.secrets(Event::Changed(item(secret("k", 12))));
    assert_eq!(told(&mut state), [["config a", "secret k"]]);
    state.auth_configs(Event::Deleted(auth_config("ns", "b", 1, 13)));
    state.auth_configs(Event::Deleted(auth_config("ns", "never", 1, 14)));
    state.secrets(Event::Deleted(item(secret("k", 15))));
    assert_eq!(told(&mut state), [["config b gone", "secret k gone"]]);
}

#[test]
fn a_list_anew_tells_what_is_different_and_what_is_gone() {
    let mut state = loaded();
    state.auth_configs(Event::Restart);
    state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 1, 1), auth_config("ns", "c", 1, 9)]));
    // It fails half-way: nothing is gone.
    state.auth_configs(Event::Restart);
    assert_eq!(told(&mut state), [["config c"]]);
    state.auth_configs(Event::Listed(vec![auth_config("ns", "a", 3, 20)]));
    state.auth_configs(Event::Complete);
    assert_eq!(told(&mut state), [["config b gone", "config c gone", "config a"]]);
    state.secrets(Event::Restart);
    state.secrets(Event::Complete);
    assert_eq!(told(&mut state), [["secret k gone"]]);
}

#[test]
fn bad_objects_are_told_or_left_out_and_stop_nothing() {
    let mut state = Told::default();
    let mut bad = auth_config("ns", "bad", 1, 1);
    bad["spec"] = json!({"hosts": 7});
    let mut bad_secret = secret("k", 4);
    bad_secret["data"]["api_key"] = json!("%%%");
    state.auth_configs(Event::Listed(vec![json!(7), json!({"metadata": {"name": "a"}}), bad]));
    state.secrets(Event::Listed(vec![item(json!(null)), item(secret("k", 3))]));
    assert_eq!(told(&mut state), [["config bad (bad)", "secret k"]]);
    state.secrets(Event::Changed(item(bad_secret)));
    assert_eq!(told(&mut state), [["secret k gone"]]);
}

#[test]
fn batches_are_bounded_and_hold_each_object_once_what_is_gone_first() {
    let mut state = loaded();
    state.auth_configs(Event::Changed(auth_config("ns", "c", 1, 10)));
    state.auth_configs(Event::Deleted(auth_config("ns", "a", 1, 11)));
    state.auth_configs(Event::Deleted(auth_config("ns", "c", 1, 12)));
    state.named_secret(SecretName::new("ns", "k"), None);
    state.secrets(Event::Deleted(item(secret("k", 13))));
    assert_eq!(
        told(&mut state),
        [vec!["config a gone", "config c"], vec!["config c gone", "secret k gone", "named k false"],]
    );
    let many = (0..2500).map(|number| item(secret(&format!("s{number}"), number))).collect();
    state.secrets(Event::Listed(many));
    assert!(state.waiting() >= 2500);
    let sizes: Vec<_> = state.take_batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    assert_eq!((state.waiting(), state.len()), (0, (1, 2500)));
}

#[test]
fn a_snapshot_counts_where_the_cluster_has_not_spoken() {
    let mut before = Told::default();
    before.auth_configs(Event::Listed(vec![
        auth_config("ns", "kept", 1, 1),
        auth_config("ns", "gone", 1, 2),
        auth_config("ns", "newer", 1, 3),
    ]));
    before.secrets(Event::Listed(vec![item(secret("k", 4)), item(secret("old", 5))]));
    let mut snapshot = before.take_batches().concat();
    snapshot.push(Change::NamedSecret { name: SecretName::new("ns", "n"), secret: None });

    let mut state = Told::default();
    state.auth_configs(Event::Restart);
    state.auth_configs(Event::Listed(vec![auth_config("ns", "newer", 2, 30)]));
    assert_eq!(told(&mut state), [["config newer"]]);
    state.restore(snapshot.clone());
    assert_eq!(told(&mut state), [["config kept", "config gone", "secret k", "secret old", "named n false", "done"]]);
    assert!(!state.is_complete());

    state.secrets(Event::Restart);
    state.secrets(Event::Listed(vec![item(secret("k", 4))]));
    state.secrets(Event::Complete);
    state.auth_configs(Event::Restart);
    state.auth_configs(Event::Listed(vec![auth_config("ns", "kept", 1, 40), auth_config("ns", "newer", 2, 30)]));
    state.auth_configs(Event::Complete);
    assert_eq!(told(&mut state), [["secret old gone", "config gone gone"]], "and not done again");
    assert!(state.is_complete());

    let mut half = Told::default();
    half.auth_configs(Event::Restart);
    half.auth_configs(Event::Complete);
    half.restore(snapshot);
    assert_eq!(told(&mut half), [["secret k", "secret old", "named n false", "done"]], "there are no AuthConfigs");
}

#[test]
fn identities_are_as_before_without_the_managed_fields() {
    let plain = SecretDocument::from_kubernetes(secret("k", 3)).result.unwrap().to_identity_json();
    let mut expected = plain.clone();
    assert!(expected["metadata"].as_object_mut().unwrap().shift_remove("managedFields").is_some());
    let read = read_secret(secret("k", 3)).unwrap().to_identity_json();
    assert_eq!(read.to_string(), expected.to_string());
}

#[test]
fn metadata_that_others_need_is_kept() {
    let mut state = Told::default();
    state.auth_configs(Event::Changed(auth_config("ns", "a", 2, 7)));
    let batches = state.take_batches();
    let [Change::AuthConfig(object)] = &batches.concat()[..] else { panic!() };
    let metadata = &object.document.metadata;
    assert_eq!((metadata.uid.as_deref(), metadata.generation), (Some("uid-ns-a"), Some(2)));
    assert_eq!(metadata.creation_timestamp.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert!(metadata.other.is_empty(), "{:?}", metadata.other);
    assert_eq!(object.document.result.as_ref().unwrap().status, None);
}

#[test]
fn it_makes_no_difference_how_a_secret_was_read() {
    let mut object = secret("k", 3);
    let sound = item(object.clone());
    assert!(matches!(sound, SecretItem::Sound(_)), "{sound:?}");
    let read = |item: SecretItem| {
        let mut state = Told::default();
        state.secrets(Event::Changed(item.clone()));
        state.secrets(Event::Changed(item));
        match state.take_batches().concat().as_slice() {
            [Change::LabelledSecret(secret)] => (Secret::clone(secret), state.secrets.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(sound), read(SecretItem::Other(object.clone())));

    for nameless in [json!(null), json!(""), json!("Not A Name")] {
        object["metadata"]["name"] = nameless;
        let mut state = Told::default();
        state.secrets(Event::Changed(item(object.clone())));
        assert!(!matches!(state.take_batches().concat().as_slice(), [Change::LabelledSecret(_)]));
    }
}
