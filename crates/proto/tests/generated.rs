//! The committed Rust in `src/gen` is what the compiler makes of `proto/`.
//!
//! `UPDATE_GENERATED=1 cargo test -p usher-proto` writes it anew.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

const SOURCES: &[&str] = &[
    "authzed/api/v1/permission_service.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "grpc/health/v1/health.proto",
];

#[test]
fn generated_code_is_fresh() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    let temporary = tempfile::tempdir().unwrap();
    generate(temporary.path());
    let fresh = files(temporary.path());
    assert!(fresh.contains_key("envoy.service.auth.v3.rs"), "the compiler wrote {:?}", fresh.keys());

    if env::var_os("UPDATE_GENERATED").is_some() {
        for name in files(&committed).keys().filter(|name| !fresh.contains_key(*name)) {
            fs::remove_file(committed.join(name)).unwrap();
        }
        fs::create_dir_all(&committed).unwrap();
        for (name, text) in &fresh {
            fs::write(committed.join(name), text).unwrap();
        }
        return;
    }

    let committed = files(&committed);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    let stale: Vec<_> =
        fresh.iter().filter(|(name, text)| committed.get(*name) != Some(text)).map(|(name, _)| name).collect();
    assert!(
        stale.is_empty() && names(&committed) == names(&fresh),
        "src/gen is not what proto/ says (stale: {stale:?}, there: {:?}, expected: {:?}); run `UPDATE_GENERATED=1 cargo test -p usher-proto`",
        names(&committed),
        names(&fresh),
    );
}

fn generate(into: &Path) {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile(SOURCES, [root]).unwrap();
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(into)
        .compile_fds(descriptors)
        .unwrap();
}

/// Name and text of every file in a directory; none if there is no such directory.
fn files(directory: &Path) -> BTreeMap<String, String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.unwrap().path();
            // The compiler escapes keywords in file names too, where nobody needs it.
            let name = path.file_name().unwrap().to_str().unwrap().replace("r#", "");
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}
