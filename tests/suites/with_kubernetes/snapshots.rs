//! A start while the API server is away.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::{answer, auth_config, until_answer, until_answer_with, versioned};
use crate::support::{
    kubernetes::{Kubernetes, LABEL},
    usher::Usher,
    wait::until,
};

const KEYS: &str = "authentication: {keys: {apiKey: {selector: {matchLabels: {app: talker}}}}}";

#[test]
fn what_was_served_is_served_while_the_api_server_is_away() {
    let kubernetes = Kubernetes::double();
    let folder = tempfile::tempdir().unwrap();
    let snapshots = folder.path().join("snapshots");
    let mut flags = kubernetes.in_namespace();
    flags.push(format!("--snapshot-dir={}", snapshots.display()));
    let labels = "app: talker, authorino.kuadrant.io/managed-by: authorino";
    for (name, key) in [("ann", "key-of-ann"), ("bob", "key-of-bob")] {
        kubernetes.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, labels: {{{labels}}}}}, stringData: {{api_key: {key}}}}}"
        ));
    }
    kubernetes.apply(&auth_config("keys", "keys.test", KEYS, "1"));
    kubernetes.apply(&versioned("stays", "stays.test", "1"));
    kubernetes.apply(&versioned("goes", "goes.test", "1"));
    let mut usher = Usher::start_in_cluster(kubernetes.kubeconfig(), flags);
    // What came after the start is remembered too.
    kubernetes.apply(&versioned("stays", "stays.test", "2"));
    until_answer(&usher, "stays.test", "200 2");
    assert_eq!(usher.metric("usher_source_restored_from_snapshot", &[]), 0.0);
    assert!(usher.terminate().success());
    for file in fs::read_dir(&snapshots).unwrap() {
        let (path, mode) = file.map(|file| (file.path(), file.metadata().unwrap().permissions().mode())).unwrap();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    let api = kubernetes.api();
    let namespace = kubernetes.namespace().to_owned();
    api.pause();
    usher.begin_again();
    // Until it is clear that the API server is away, nothing is decided.
    assert_eq!(answer(&usher, "stays.test", &[]).unwrap(), "503");
    usher.until_ready();
    let ann = [("authorization", "Bearer key-of-ann")];
    let bob = [("authorization", "Bearer key-of-bob")];
    assert_eq!(answer(&usher, "stays.test", &[]).unwrap(), "200 2");
    assert_eq!(answer(&usher, "goes.test", &[]).unwrap(), "200 1");
    assert_eq!(
        (answer(&usher, "keys.test", &ann), answer(&usher, "keys.test", &[])),
        (Ok("200 1".into()), Ok("401".into()))
    );
    assert_eq!(answer(&usher, "nobody.test", &[]).unwrap(), "404");
    assert_eq!(usher.metric("usher_source_restored_from_snapshot", &[]), 1.0);
    assert_eq!(usher.metric("usher_source_connected", &[]), 0.0);
    let verbose = usher.probe("/readyz?verbose").unwrap();
    assert!(
        verbose.status == 200 && verbose.text().contains("[+]load ok\n   what is served comes from a snapshot of 20"),
        "{}",
        verbose.text()
    );
    assert!(verbose.text().contains("[-]source failed, not counted: "), "{}", verbose.text());

    // The API server comes back, and without what went meanwhile.
    assert!(api.delete("authconfigs", &namespace, "goes"));
    assert!(api.delete("secrets", &namespace, "bob"));
    let mut changed = api.get("authconfigs", &namespace, "stays").unwrap();
    changed["spec"]["response"]["success"]["headers"]["x-version"]["plain"]["value"] = json!("3");
    changed["metadata"]["labels"][LABEL] = json!(namespace);
    api.apply(changed);
    api.compact();
    api.resume();
    until_answer(&usher, "stays.test", "200 3");
    until_answer(&usher, "goes.test", "404");
    until_answer_with(&usher, "keys.test", &bob, "401");
    assert_eq!(answer(&usher, "keys.test", &ann).unwrap(), "200 1");
    until("the end of the snapshot", || match usher.metric("usher_source_restored_from_snapshot", &[]) {
        0.0 => Ok(()),
        value => Err(value.to_string()),
    });
    kubernetes.until_status("stays", |status| status.generations() == (3, 3));
}

#[test]
fn without_a_snapshot_nothing_is_decided_while_the_api_server_is_away() {
    let kubernetes = Kubernetes::double();
    kubernetes.apply(&versioned("talker", "talker.test", "1"));
    kubernetes.api().pause();
    let usher = Usher::begin_in_cluster(kubernetes.kubeconfig(), kubernetes.in_namespace());
    until("an attempt", || match usher.probe("/readyz?verbose").unwrap().text() {
        text if text.contains("[-]source failed") && !text.contains("connecting") => Ok(()),
        text => Err(text),
    });
    assert_eq!(answer(&usher, "talker.test", &[]).unwrap(), "503");
    assert_eq!(usher.probe("/readyz").unwrap().status, 500);
    kubernetes.api().resume();
    usher.until_ready();
    assert_eq!(answer(&usher, "talker.test", &[]).unwrap(), "200 1");
}
