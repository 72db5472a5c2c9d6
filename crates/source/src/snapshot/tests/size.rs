//! What a large snapshot costs. `cargo test --release -p usher-source -- --ignored --nocapture large_snapshot`

use std::time::Instant;

use super::*;

/// One change must not touch more of the file the more there is in it.
#[test]
fn one_change_leaves_the_rest_of_the_file_alone() {
    let (folder, snapshot) = open();
    let entries: Vec<_> =
        (0..3_000).map(|number| Entry::LabelledSecret(secret("ns", &format!("key-{number}"), "value"))).collect();
    snapshot.replace_all(&entries).unwrap();
    drop(snapshot);
    let path = folder.path().join(FILE_NAME);
    let before = fs::read(&path).unwrap();
    let snapshot = Snapshot::open(folder.path()).unwrap();
    snapshot.write(&[Entry::LabelledSecret(secret("ns", "key-17", "other"))]).unwrap();
    drop(snapshot);
    let after = fs::read(&path).unwrap();
    let pages = |bytes: &[u8]| bytes.chunks(4096).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, after) = (pages(&before), pages(&after));
    let changed = after.iter().zip(&before).filter(|(after, before)| after != before).count();
    let added = after.len().saturating_sub(before.len());
    assert!(before.len() > 250, "{}", before.len());
    assert!(changed + added < 40, "{changed} and {added} of {}", before.len());
}

#[test]
#[ignore = "measures; takes a while"]
fn large_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let timed = |what: &str, run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        println!("{what}: {:?}", start.elapsed());
    };
    let mut entries: Vec<_> = (0..10_000)
        .map(|number| {
            let host = format!("host-{number}.test");
            let name = format!("config-{number}");
            Entry::AuthConfig(auth_config(&format!("ns-{}", number % 100), &name, "2026-01-01T00:00:00Z", &host))
        })
        .collect();
    entries.extend((0..100_000).map(|number| {
        let name = format!("key-{number}");
        Entry::LabelledSecret(secret(&format!("ns-{}", number % 100), &name, &format!("{number:032}")))
    }));
    let mut snapshot = Some(Snapshot::open(folder.path()).unwrap());
    let file = folder.path().join(FILE_NAME);
    timed("first writing of everything", &mut || snapshot.as_ref().unwrap().replace_all(&entries).unwrap());
    println!("bytes of the file: {}", fs::metadata(&file).unwrap().len());
    timed("the same again", &mut || snapshot.as_ref().unwrap().replace_all(&entries).unwrap());
    timed("a hundred single changes", &mut || {
        for number in 0..100 {
            let entry = Entry::LabelledSecret(secret("ns-1", "key-1", &number.to_string()));
            snapshot.as_ref().unwrap().write(&[entry]).unwrap();
        }
    });
    timed("reading everything", &mut || {
        assert_eq!(snapshot.as_ref().unwrap().restore().unwrap().changes.len(), 110_000);
    });
    let crashed = tempfile::tempdir().unwrap();
    fs::copy(&file, crashed.path().join(FILE_NAME)).unwrap();
    timed("closing", &mut || drop(snapshot.take()));
    timed("opening", &mut || drop(Snapshot::open(folder.path()).unwrap()));
    timed("opening after a crash", &mut || drop(Snapshot::open(crashed.path()).unwrap()));
    println!("bytes of the file: {}", fs::metadata(&file).unwrap().len());
}
