//! What is written comes back; what is not ours, damaged or half-written never does.

mod faults;
mod size;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use serde_json::json;
use tempfile::TempDir;
use usher_api::{
    AuthConfigDocument, Claimed, Document, HostAliases, Lines, ObjectMeta, RouteReference, read_documents,
};

use super::{
    file::{AUTH_CONFIGS, LABELLED_SECRETS, NAMED_SECRETS},
    *,
};

impl Snapshot {
    /// The file.
    fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is nothing in it: no AuthConfig and no Secret.
    fn is_empty(&self) -> Result<bool, SnapshotError> {
        self.with_database("read", |database| {
            let transaction = database.begin_read()?;
            let mut is_empty = true;
            for table in [AUTH_CONFIGS, LABELLED_SECRETS, NAMED_SECRETS] {
                is_empty &= transaction.open_table(table)?.is_empty()?;
            }
            Ok(is_empty)
        })
    }
}

fn open() -> (TempDir, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::open(folder.path()).unwrap();
    (folder, snapshot)
}

fn auth_config(namespace: &str, name: &str, created: &str, host: &str) -> Arc<AuthConfig> {
    let document = AuthConfigDocument::from_kubernetes(json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "generation": 3},
        "spec": {"hosts": [host], "authentication": {"keys": {"apiKey": {"selector": {"matchLabels": {"a": "b"}}}}}},
        "status": {"conditions": []},
    }));
    Arc::new(document.result.unwrap())
}

fn secret(namespace: &str, name: &str, value: &str) -> Arc<Secret> {
    Arc::new(Secret {
        metadata: ObjectMeta {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: [("kept".to_owned(), "too".to_owned())].into(),
            uid: Some("b2a9".to_owned()),
            resource_version: Some("17".to_owned()),
            ..ObjectMeta::default()
        },
        secret_type: "Opaque".to_owned(),
        immutable: Some(true),
        data: [("api_key".to_owned(), value.into()), ("bytes".to_owned(), vec![0, 255, 10])].into(),
    })
}

fn named(namespace: &str, name: &str, value: Option<&str>) -> Entry {
    Entry::NamedSecret {
        name: SecretName::new(namespace, name),
        secret: value.map(|value| secret(namespace, name, value)),
    }
}

fn labelled_gone(namespace: &str, name: &str) -> Entry {
    Entry::LabelledSecretGone { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn auth_config_gone(namespace: &str, name: &str) -> Entry {
    Entry::AuthConfigGone { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The changes in short.
fn shown(restored: &Restored) -> Vec<String> {
    let show = |change: &Change| match change {
        Change::NamedSecret { name, secret: None } => format!("named {name}: none"),
        Change::NamedSecret { name, secret: Some(secret) } => format!("named {name}: {}", key(secret)),
        Change::LabelledSecret(secret) => format!("labelled {}: {}", secret.metadata.id(), key(secret)),
        Change::AuthConfig(object) => {
            let document = &object.document;
            let problems = document.result.as_ref().err().map(|problems| format!(" {problems:?}"));
            format!("{} {:?}{}", document.metadata.id(), document.claimed.hosts, problems.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    restored.changes.iter().map(show).collect()
}

fn key(secret: &Secret) -> String {
    String::from_utf8(secret.data["api_key"].clone()).unwrap()
}

#[test]
fn everything_comes_back_in_order_and_survives_a_restart() {
    let (folder, snapshot) = open();
    assert!(snapshot.is_empty().unwrap());
    let restored = snapshot.restore().unwrap();
    assert!(restored.changes.is_empty() && restored.written.is_none() && !restored.complete);

    let before = SystemTime::now() - Duration::from_millis(1);
    let young = auth_config("a", "young", "2026-03-01T00:00:00Z", "young.test");
    let old = auth_config("b", "old", "2025-03-01T00:00:00Z", "old.test");
    let entries = [
        Entry::AuthConfig(Arc::clone(&young)),
        Entry::LabelledSecret(secret("ns", "both", "labelled")),
        Entry::AuthConfig(Arc::clone(&old)),
        named("ns", "both", Some("named")),
        named("ns", "absent", None),
    ];
    snapshot.write(&entries).unwrap();
    assert!(!snapshot.is_empty().unwrap());
    drop(snapshot);

    let snapshot = Snapshot::open(folder.path()).unwrap();
    let restored = snapshot.restore().unwrap();
    let expected = [
        "named ns/absent: none",
        "named ns/both: named",
        "labelled ns/both: labelled",
        r#"b/old ["old.test"]"#,
        r#"a/young ["young.test"]"#,
    ];
    assert_eq!(shown(&restored), expected);
    assert_eq!((restored.auth_configs, restored.secrets, restored.unreadable), (2, 3, 0));
    assert!(restored.written.unwrap() >= before && restored.written.unwrap() <= SystemTime::now());
    assert!(!restored.complete);

    let Change::LabelledSecret(labelled) = &restored.changes[2] else { panic!() };
    assert_eq!(*labelled, secret("ns", "both", "labelled"));
    let Change::AuthConfig(object) = &restored.changes[3] else { panic!() };
    assert_eq!(object.file, None);
    let read = object.document.result.as_ref().unwrap();
    assert!(old.status.is_some());
    assert_eq!(*read, AuthConfig { status: None, ..(*old).clone() });
    assert_eq!(object.document.metadata, old.metadata);
}

#[test]
fn the_latest_entry_counts_and_what_is_gone_is_gone() {
    let (_folder, snapshot) = open();
    let write = |entries: &[Entry]| snapshot.write(entries).unwrap();
    write(&[
        Entry::LabelledSecret(secret("ns", "a", "1")),
        Entry::LabelledSecret(secret("ns", "a", "2")),
        Entry::LabelledSecret(secret("ns", "b", "1")),
        Entry::AuthConfig(auth_config("ns", "a", "2026-01-01T00:00:00Z", "a.test")),
        Entry::AuthConfig(auth_config("ns", "b", "2026-01-01T00:00:00Z", "b.test")),
        named("ns", "a", Some("1")),
        named("ns", "b", Some("1")),
    ]);
    write(&[
        labelled_gone("ns", "b"),
        labelled_gone("ns", "never there"),
        auth_config_gone("ns", "a"),
        Entry::NamedSecretGone(SecretName::new("ns", "a")),
        named("ns", "b", None),
    ]);
    let expected = ["named ns/b: none", "labelled ns/a: 2", r#"ns/b ["b.test"]"#];
    assert_eq!(shown(&snapshot.restore().unwrap()), expected);
    write(&[auth_config_gone("ns", "b"), labelled_gone("ns", "a"), Entry::NamedSecretGone(SecretName::new("ns", "b"))]);
    assert!(snapshot.is_empty().unwrap());
}

/// Namespace and name must not run into each other.
#[test]
fn objects_of_similar_names_are_kept_apart() {
    let (_folder, snapshot) = open();
    snapshot
        .write(&[
            Entry::LabelledSecret(secret("a", "b.c", "1")),
            Entry::LabelledSecret(secret("a-b", "c", "2")),
            Entry::LabelledSecret(secret("a", "b", "3")),
        ])
        .unwrap();
    let expected = ["labelled a/b: 3", "labelled a/b.c: 1", "labelled a-b/c: 2"];
    assert_eq!(shown(&snapshot.restore().unwrap()), expected);
}

#[test]
fn everything_that_there_is_replaces_what_was_there() {
    let (folder, snapshot) = open();
    snapshot
        .write(&[
            Entry::LabelledSecret(secret("ns", "stays", "1")),
            Entry::LabelledSecret(secret("ns", "goes", "1")),
            Entry::AuthConfig(auth_config("ns", "goes", "2026-01-01T00:00:00Z", "goes.test")),
            named("ns", "goes", None),
        ])
        .unwrap();
    let all = [
        Entry::LabelledSecret(secret("ns", "stays", "1")),
        Entry::AuthConfig(auth_config("ns", "new", "2026-01-01T00:00:00Z", "new.test")),
    ];
    snapshot.replace_all(&all).unwrap();
    let restored = snapshot.restore().unwrap();
    assert_eq!(shown(&restored), ["labelled ns/stays: 1", r#"ns/new ["new.test"]"#]);
    assert!(restored.complete);

    // A later difference leaves it complete, and so does a restart.
    snapshot.write(&[labelled_gone("ns", "stays")]).unwrap();
    drop(snapshot);
    let snapshot = Snapshot::open(folder.path()).unwrap();
    let restored = snapshot.restore().unwrap();
    assert_eq!(shown(&restored), [r#"ns/new ["new.test"]"#]);
    assert!(restored.complete);

    // A source that has nothing is complete too.
    snapshot.replace_all(&[]).unwrap();
    assert!(snapshot.is_empty().unwrap());
    assert!(snapshot.restore().unwrap().complete);
}

#[test]
fn what_an_auth_config_claimed_that_was_not_served_stays_claimed() {
    let (_folder, snapshot) = open();
    let config = auth_config("ns", "bad", "2026-01-01T00:00:00Z", "good.test");
    snapshot.write(&[Entry::AuthConfig(Arc::clone(&config))]).unwrap();
    let claimed = Claimed {
        hosts: vec!["bad.web.svc.test".to_owned(), "not a host".to_owned()],
        host_aliases: Some(HostAliases::KubernetesService),
        routes: vec![RouteReference { name: "web".to_owned(), ..RouteReference::default() }],
    };
    let document = AuthConfigDocument {
        metadata: config.metadata.clone(),
        claimed: claimed.clone(),
        lines: Lines::default(),
        result: Err(Vec::new()),
    };
    snapshot.write(&[Entry::UnservedAuthConfig(Arc::new(AuthConfigObject { document, file: None }))]).unwrap();
    let restored = snapshot.restore().unwrap();
    assert_eq!((restored.auth_configs, restored.unreadable), (1, 0));
    let Change::AuthConfig(object) = &restored.changes[0] else { panic!() };
    // Of no version, so that whoever has it tells it again.
    let metadata = ObjectMeta { generation: None, resource_version: None, ..config.metadata.clone() };
    assert_eq!((&object.document.metadata, &object.document.claimed), (&metadata, &claimed));
    assert!(object.document.result.is_err());

    snapshot.write(&[Entry::AuthConfig(config)]).unwrap();
    assert_eq!(shown(&snapshot.restore().unwrap()), [r#"ns/bad ["good.test"]"#]);
}

/// Whatever users may write comes back as it was read.
#[test]
fn every_example_comes_back_as_it_was() {
    let (mut auth_configs, mut secrets) = (Vec::new(), Vec::new());
    for (text, number) in examples().iter().zip(0..) {
        for document in read_documents(text) {
            match document {
                Document::AuthConfig(document) => {
                    let Ok(mut config) = document.result else { continue };
                    complete(&mut config.metadata, number);
                    config.status = None;
                    auth_configs.push(config);
                }
                Document::Secret(document) => {
                    let Ok(mut secret) = document.result else { continue };
                    complete(&mut secret.metadata, number);
                    secrets.push(secret);
                }
                _ => {}
            }
        }
    }
    assert!(auth_configs.len() > 25 && secrets.len() > 5, "{} and {}", auth_configs.len(), secrets.len());
    for (index, metadata) in auth_configs.iter_mut().map(|config| &mut config.metadata).enumerate() {
        metadata.name = format!("{}-{index}", metadata.name);
    }
    for (index, secret) in secrets.iter_mut().enumerate() {
        secret.metadata.name = format!("{}-{index}", secret.metadata.name);
    }

    let (_folder, snapshot) = open();
    let mut entries: Vec<_> = auth_configs.iter().map(|config| Entry::AuthConfig(Arc::new(config.clone()))).collect();
    entries.extend(secrets.iter().map(|secret| Entry::LabelledSecret(Arc::new(secret.clone()))));
    snapshot.write(&entries).unwrap();
    let restored = snapshot.restore().unwrap();
    assert_eq!((restored.unreadable, restored.changes.len()), (0, entries.len()));
    for change in &restored.changes {
        match change {
            Change::AuthConfig(object) => {
                let read = object.document.result.as_ref().unwrap();
                let written = auth_configs.iter().find(|config| config.metadata == read.metadata).unwrap();
                assert_eq!(read, written);
                assert_eq!(object.document.claimed, written.spec.claimed());
                // Equal objects may still differ in the order of their members.
                let text = |config: &AuthConfig| serde_json::to_string(&config.spec).unwrap();
                assert_eq!(text(read), text(written));
                assert_eq!(read.metadata.to_json().to_string(), written.metadata.to_json().to_string());
            }
            Change::LabelledSecret(read) => {
                let written = secrets.iter().find(|secret| secret.metadata == read.metadata).unwrap();
                assert!(**read == *written, "{written:?}");
                assert_eq!(read.to_identity_json().to_string(), written.to_identity_json().to_string());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What the Kubernetes API adds to objects.
fn complete(metadata: &mut ObjectMeta, number: i64) {
    metadata.uid = Some(format!("uid-{number}"));
    metadata.creation_timestamp = Some("2026-01-02T03:04:05Z".to_owned());
    metadata.generation = Some(number + 1);
    metadata.resource_version = Some("815".to_owned());
    metadata.labels.insert("team.example.com/name".to_owned(), String::new());
    metadata.annotations.insert("note".to_owned(), "ö \"quoted\"\nsecond line".to_owned());
    metadata.other.insert("ownerReferences".to_owned(), json!([{"kind": "AuthPolicy", "controller": true, "z": null}]));
    metadata.other.insert("finalizers".to_owned(), json!(["b", "a"]));
}

/// The YAML that the project shows: files, and fenced blocks of documents.
fn examples() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut texts = vec![
        fs::read_to_string(root.join("crates/api/tests/data/complete.yaml")).unwrap(),
        fs::read_to_string(root.join("README.md")).map(|text| fenced(&text).join("\n---\n")).unwrap(),
    ];
    let mut folders = vec![root.join("docs"), root.join("deploy/examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("yaml") => texts.push(fs::read_to_string(path).unwrap()),
                Some("md") => texts.extend(fenced(&fs::read_to_string(path).unwrap())),
                _ => {}
            }
        }
    }
    texts
}

/// The fenced blocks of YAML, without the indentation of their fence.
fn fenced(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indentation = line.len() - line.trim_start().len();
        if !line.trim_start().starts_with("```yaml") {
            continue;
        }
        let block = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
        let block: Vec<_> = block.map(|line| line.get(indentation..).unwrap_or_default()).collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

#[test]
fn nothing_secret_is_shown() {
    let (_folder, snapshot) = open();
    let entry = Entry::LabelledSecret(secret("ns", "a", "hunter2"));
    snapshot.write(std::slice::from_ref(&entry)).unwrap();
    let shown = format!("{snapshot:?} {entry:?} {:?}", snapshot.restore().unwrap());
    assert!(shown.contains("ns"), "{shown}");
    for hidden in ["hunter2", "aHVudGVyMg==", "104, 117", "too"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
