//! Real programs that tests run next to ours. `tests/run` installs them into `.parts`.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::Command,
    sync::Once,
};

use super::workspace::root;

/// The binary of Envoy: what `ENVOY_BIN` names, or the installed one. None means: skip the test.
pub(crate) fn envoy() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let installed = || {
        let libraries = root().join(".parts/venv/lib").read_dir().ok()?;
        libraries
            .flatten()
            .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
            .find(|binary| binary.is_file())
    };
    let found = env::var_os("ENVOY_BIN").map(PathBuf::from).or_else(installed);
    found.or_else(|| missing(&TOLD, "with_envoy", "Envoy is not installed and ENVOY_BIN is not set"))
}

/// Whether the OpenID provider can run. None means: skip the test.
pub(crate) fn issuer() -> Option<()> {
    static TOLD: Once = Once::new();
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let has_provider = root().join(".parts/node_modules/oidc-provider").is_dir();
    if has_node && has_provider {
        return Some(());
    }
    missing(&TOLD, "with_issuer", "node or the package oidc-provider is not installed")
}

/// The program `spicedb` and its first arguments: what `SPICEDB_BIN` names, or our script that serves the installed engine.
/// None means: skip the test.
pub(crate) fn spicedb() -> Option<Vec<PathBuf>> {
    static TOLD: Once = Once::new();
    let installed = || {
        let part = root().join(".parts/spicedb");
        let is_complete = ["venv", "node_modules"].iter().all(|folder| part.join(folder).join(INSTALLED).is_file());
        is_complete.then(|| vec![part.join("venv/bin/python"), root().join("tests/parts/spicedb.py")])
    };
    let found = env::var_os("SPICEDB_BIN").map(|binary| vec![binary.into()]).or_else(installed);
    if found.is_none() {
        // Not even CI has it, unless it is asked for.
        let why = "its engine is not installed and SPICEDB_BIN is not set; WITH_SPICEDB=true tests/run installs it";
        TOLD.call_once(|| skipped("with_spicedb", why));
    }
    found
}

/// The file with which `tests/run` marks a folder that it installed completely.
const INSTALLED: &str = ".installed-from";

pub(crate) fn missing<T>(told: &Once, suite: &str, why: &str) -> Option<T> {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "{why}; tests/run installs it");
    told.call_once(|| skipped(suite, &format!("{why}; tests/run installs it")));
    None
}

fn skipped(suite: &str, why: &str) {
    // Written to the stream itself, because what tests print is shown only if they fail.
    let _ = writeln!(io::stderr(), "SKIPPED: suite {suite}: {why}");
}
