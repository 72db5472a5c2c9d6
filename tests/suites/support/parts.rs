//! Real programs that tests run next to ours. `tests/run` installs them into `.parts`.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::Command,
    sync::{LazyLock, Once},
};

use super::workspace::root;

/// The binary of Envoy: what `ENVOY_BIN` names, or the newest that is installed. None means: skip the test.
pub(crate) fn envoy() -> Option<PathBuf> {
    envoys().first().map(|newest| newest.path.clone())
}

/// One version of Envoy.
#[derive(Debug)]
pub(crate) struct EnvoyProgram {
    /// Such as `1.40.0`; for messages. What `ENVOY_BIN` names has none.
    pub(crate) version: &'static str,
    pub(crate) path: PathBuf,
}

/// The versions of Envoy that gateways of the field are built on, newest first, and the folders that `tests/run` installs
/// them into.
const ENVOYS: [(&str, &str); 2] = [("1.40.0", "venv"), ("1.36.4", "venv-envoy-1.36")];

/// What `ENVOY_BIN` names, or each of [`ENVOYS`] that is installed; in CI, all must be. Empty means: skip the test.
pub(crate) fn envoys() -> &'static [EnvoyProgram] {
    static FOUND: LazyLock<Vec<EnvoyProgram>> = LazyLock::new(|| {
        if let Some(path) = env::var_os("ENVOY_BIN") {
            return vec![EnvoyProgram { version: "", path: path.into() }];
        }
        let installed = |(version, folder): (&'static str, &str)| {
            let libraries = root().join(".parts").join(folder).join("lib").read_dir().ok()?;
            let mut binaries = libraries.flatten().map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
            Some(EnvoyProgram { version, path: binaries.find(|binary| binary.is_file())? })
        };
        ENVOYS.into_iter().filter_map(installed).collect()
    });
    static TOLD: Once = Once::new();
    let lacking = lacking(&FOUND);
    if env::var_os("ENVOY_BIN").is_none() && !lacking.is_empty() {
        // With one of them, `with_envoy` runs as a whole.
        let suite = if FOUND.is_empty() { "with_envoy, with_gateways" } else { "with_gateways, in part" };
        let why = format!("Envoy {} is not installed and ENVOY_BIN is not set", lacking.join(" and "));
        let _: Option<()> = missing(&TOLD, suite, &why);
    }
    &FOUND
}

/// The versions that are not among these.
fn lacking(found: &[EnvoyProgram]) -> Vec<&'static str> {
    let lacks = |version: &&str| found.iter().all(|program| program.version != *version);
    ENVOYS.into_iter().map(|(version, _)| version).filter(lacks).collect()
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

#[test]
fn each_envoy_that_is_missing_is_named() {
    let program = |version| EnvoyProgram { version, path: PathBuf::new() };
    assert_eq!(lacking(&[]), ["1.40.0", "1.36.4"]);
    assert_eq!(lacking(&[program("1.40.0")]), ["1.36.4"]);
    assert_eq!(lacking(&[program("1.40.0"), program("1.36.4")]), [""; 0]);
}

#[test]
fn these_versions_of_envoy_are_installed() {
    for ((version, _), list) in ENVOYS.into_iter().zip(["requirements.txt", "envoy-1.36/requirements.txt"]) {
        let list = std::fs::read_to_string(root().join("tests/parts").join(list)).unwrap();
        assert!(list.contains(&format!("\nenvoy-server=={version} ")), "{version}: {list}");
    }
}
