//! Files that others use, may read, wrote, damaged or left half-written.

use super::super::file::{self, ObjectTable, PROPERTIES};
use super::super::tables::put_and_remove;
use super::*;

fn aside(folder: &TempDir) -> PathBuf {
    folder.path().join(format!("{FILE_NAME}.unusable"))
}

#[test]
fn only_one_can_have_it_open() {
    let (folder, snapshot) = open();
    snapshot.write(&[named("ns", "a", None)]).unwrap();
    let error = Snapshot::open(folder.path()).unwrap_err();
    assert!(matches!(error, SnapshotError::InUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("the snapshot `") && message.ends_with("` is in use by another process"), "{message}");
    assert!(!aside(&folder).exists());
    drop(snapshot);
    assert!(!Snapshot::open(folder.path()).unwrap().is_empty().unwrap());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("made/below");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let snapshot = Snapshot::open(&folder).unwrap();
    snapshot.write(&[named("ns", "a", None)]).unwrap();
    let file = snapshot.path().to_owned();
    assert_eq!(file, folder.join(FILE_NAME));
    for (path, expected) in [(scratch.path().join("made"), 0o700), (folder.clone(), 0o700), (file.clone(), 0o600)] {
        assert_eq!(mode(&path), expected, "{path:?}");
    }

    // A file that was copied, in a folder that others may use.
    drop(snapshot);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let snapshot = Snapshot::open(&folder).unwrap();
    assert_eq!((mode(&file), mode(&folder)), (0o600, 0o755));
    assert!(!snapshot.is_empty().unwrap(), "what was in it is used");
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    fs::write(&target, "of somebody else").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    for target in [target.clone(), scratch.path().join("missing")] {
        let folder = tempfile::tempdir().unwrap();
        symlink(&target, folder.path().join(FILE_NAME)).unwrap();
        let error = Snapshot::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("cannot be opened: it is a symbolic link"), "{error}");
        assert!(!aside(&folder).exists());
    }
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!scratch.path().join("missing").exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Snapshot::open(&file.join("below")).unwrap_err();
    assert!(matches!(error, SnapshotError::Folder { .. }), "{error}");

    fs::create_dir(scratch.path().join(FILE_NAME)).unwrap();
    let error = Snapshot::open(scratch.path()).unwrap_err();
    assert!(matches!(error, SnapshotError::Failed { action: "opened", .. }), "{error}");
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside() {
    let of_another_format = |version: Option<u64>| {
        move |path: &Path| {
            let database = Database::create(path).unwrap();
            let transaction = database.begin_write().unwrap();
            if let Some(version) = version {
                transaction.open_table(PROPERTIES).unwrap().insert(file::FORMAT, version).unwrap();
            } else {
                transaction.open_table(AUTH_CONFIGS).unwrap();
            }
            transaction.commit().unwrap();
        }
    };
    let of_other_types = |path: &Path| {
        let database = Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, u32, u32> = redb::TableDefinition::new("properties");
        transaction.open_table(table).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    };
    type Make<'m> = &'m dyn Fn(&Path);
    let cases: [(&str, Make<'_>); 8] = [
        ("a word", &|path| fs::write(path, "hello").unwrap()),
        ("text", &|path| fs::write(path, "kind: Secret\n".repeat(10_000)).unwrap()),
        ("zeros", &|path| fs::write(path, vec![0; 1 << 20]).unwrap()),
        ("the first bytes only", &|path| fs::write(path, b"redb\x1A\x0A\xA9\x0D\x0A").unwrap()),
        ("a later version", &of_another_format(Some(file::FORMAT_VERSION + 1))),
        ("an earlier version", &of_another_format(Some(0))),
        ("no version", &of_another_format(None)),
        ("another program's", &of_other_types),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    for (case, make) in cases {
        let _ = fs::remove_file(&path);
        make(&path);
        let before = fs::read(&path).unwrap();
        let snapshot = Snapshot::open(folder.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(snapshot.is_empty().unwrap(), "{case}");
        snapshot.write(&[named("ns", "a", None)]).unwrap();
        drop(snapshot);
        assert_eq!(Snapshot::open(folder.path()).unwrap().restore().unwrap().secrets, 1, "{case}");
        assert_eq!(fs::read(aside(&folder)).unwrap().len(), before.len(), "{case}");
        fs::remove_file(aside(&folder)).unwrap();
    }

    // An empty file is none.
    fs::write(&path, "").unwrap();
    assert!(Snapshot::open(folder.path()).unwrap().is_empty().unwrap());
    assert!(!aside(&folder).exists());
}

/// The file as a crash leaves it: copied while it is open.
#[test]
fn a_crash_loses_nothing_that_was_written_and_brings_nothing_that_was_not() {
    let (_folder, snapshot) = open();
    snapshot.write(&[named("ns", "a", Some("first")), named("ns", "b", Some("first"))]).unwrap();
    snapshot.write(&[named("ns", "a", Some("second"))]).unwrap();

    let restored_from_copy = |snapshot: &Snapshot| {
        let after_crash = tempfile::tempdir().unwrap();
        fs::copy(snapshot.path(), after_crash.path().join(FILE_NAME)).unwrap();
        let restored = shown(&Snapshot::open(after_crash.path()).unwrap().restore().unwrap());
        assert!(!aside(&after_crash).exists());
        restored
    };
    let expected = ["named ns/a: second", "named ns/b: first"];
    assert_eq!(restored_from_copy(&snapshot), expected);

    // While something is being written, so much that it does not stay in memory.
    let database = snapshot.database.lock().unwrap().take().unwrap();
    let transaction = database.begin_write().unwrap();
    let size = fs::metadata(snapshot.path()).unwrap().len();
    let large = "x".repeat(100_000);
    let more: Vec<_> = (0..200).map(|number| named("ns", &format!("n{number}"), Some(&large))).collect();
    let others = [named("ns", "a", Some("third")), Entry::NamedSecretGone(SecretName::new("ns", "b"))];
    put_and_remove(&transaction, others.iter().chain(&more), false).unwrap();
    assert!(fs::metadata(snapshot.path()).unwrap().len() > size + (16 << 20), "some of it is in the file");
    assert_eq!(restored_from_copy(&snapshot), expected);
    transaction.abort().unwrap();
    *snapshot.database.lock().unwrap() = Some(database);
    assert_eq!(shown(&snapshot.restore().unwrap()), expected);
}

/// A file with one byte changed, or cut off, is as good as before or is set aside: nothing comes back changed.
#[test]
fn damage_is_noticed() {
    let (_folder, snapshot) = open();
    let entries: Vec<_> = (0..40).map(|number| named("ns", &format!("n{number}"), Some("value"))).collect();
    snapshot.write(&entries).unwrap();
    let (path, good) = (snapshot.path().to_owned(), shown(&snapshot.restore().unwrap()));
    drop(snapshot);
    let bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();

    let damaged = tempfile::tempdir().unwrap();
    let path = damaged.path().join(FILE_NAME);
    let mut set_aside = 0;
    let mut check = |what: String, bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let snapshot = Snapshot::open(damaged.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let restored = shown(&snapshot.restore().unwrap_or_else(|error| panic!("{what}: {error}")));
        if aside(&damaged).exists() {
            assert!(restored.is_empty(), "{what}");
            fs::remove_file(aside(&damaged)).unwrap();
            set_aside += 1;
        } else {
            assert!(restored == good || restored.is_empty(), "{what}: {restored:?}");
        }
        drop(snapshot);
        fs::remove_file(&path).unwrap();
    };
    for step in 0..60 {
        let position = if step < 20 { step * 16 } else { used / 60 * step };
        let mut changed = bytes.clone();
        changed[position] ^= 0x55;
        check(format!("byte {position}"), &changed);
    }
    for length in [1, 63, 320, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 1] {
        check(format!("{length} bytes"), &bytes[..length]);
    }
    assert!(set_aside >= 10, "{set_aside}");
}

#[test]
fn objects_that_cannot_be_read_are_left_out_but_hosts_stay_claimed() {
    let (_folder, snapshot) = open();
    snapshot
        .write(&[
            Entry::AuthConfig(auth_config("ns", "good", "2026-01-01T00:00:00Z", "good.test")),
            named("ns", "a", None),
        ])
        .unwrap();
    let put = |table: ObjectTable, name: &str, row: &str| {
        let database = snapshot.database.lock().unwrap();
        let transaction = database.as_ref().unwrap().begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(("ns", name), row.as_bytes()).unwrap();
        transaction.commit().unwrap();
    };
    let version = "authorino.kuadrant.io/v1beta3";
    let config = |name: &str, spec: &str| {
        format!(r#"{{"apiVersion":"{version}","metadata":{{"name":"{name}","namespace":"ns"}},"spec":{spec}}}"#)
    };
    put(AUTH_CONFIGS, "not-json", "{\"hosts\":");
    put(AUTH_CONFIGS, "of-a-later-version", &config("of-a-later-version", r#"{"hosts":["later.test"],"when":7}"#));
    put(AUTH_CONFIGS, "renamed", &config("another", r#"{"hosts":["renamed.test"]}"#));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    put(LABELLED_SECRETS, "not-json", &deep);
    put(
        LABELLED_SECRETS,
        "not-base64",
        r#"{"metadata":{"name":"not-base64","namespace":"ns"},"data":{"a":"hunter2!"}}"#,
    );
    put(NAMED_SECRETS, "renamed", r#"{"metadata":{"name":"another","namespace":"ns"}}"#);

    let restored = snapshot.restore().unwrap();
    assert_eq!((restored.auth_configs, restored.secrets, restored.unreadable), (4, 1, 6));
    let of: Vec<_> = restored
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::AuthConfig(object) => Some(&object.document),
            _ => None,
        })
        .map(|document| (document.metadata.id(), document.claimed.hosts.join(","), document.result.is_ok()))
        .collect();
    let expected = [
        ("ns/good", "good.test", true),
        ("ns/not-json", "", false),
        ("ns/of-a-later-version", "later.test", false),
        ("ns/renamed", "renamed.test", false),
    ];
    assert_eq!(of, expected.map(|(id, hosts, is_good)| (id.to_owned(), hosts.to_owned(), is_good)));
    assert!(!format!("{restored:?}").contains("hunter2"));
}

/// The database refuses to work after an error until it is opened again.
#[test]
fn after_an_error_it_works_again() {
    let (_folder, snapshot) = open();
    snapshot.write(&[named("ns", "a", None)]).unwrap();
    let failing = |_: &Database| Err::<(), _>(redb::Error::Io(std::io::Error::other("no space left")));
    let error = snapshot.with_database("written", failing).unwrap_err();
    assert!(error.to_string().ends_with("cannot be written: no space left"), "{error}");
    assert!(snapshot.database.lock().unwrap().is_none());
    snapshot.write(&[named("ns", "b", None)]).unwrap();
    let panicking = |_: &Database| -> Result<(), redb::Error> { panic!("for the test") };
    let error = snapshot.with_database("read", panicking).unwrap_err();
    assert!(error.to_string().ends_with("cannot be read: the file is damaged"), "{error}");
    assert_eq!(snapshot.restore().unwrap().secrets, 2);
}
