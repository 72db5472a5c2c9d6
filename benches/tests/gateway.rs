//! `usher-benches gateway` runs from the beginning to the end through a real Envoy, with numbers that mean nothing.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_envoy_is_measured_with_checks_and_without() {
    let Some(envoy) = envoy() else { return };
    let mut command = gateway();
    // Without it, all that are installed are measured.
    if std::env::var_os("ENVOY_BIN").is_some() {
        command.arg("--envoy").arg(envoy);
    }
    command.args(["--json", "--seconds", "1", "--rounds", "1", "--rate", "50", "--connections", "2"]);
    command.args(["--only", "cel-10"]).arg("--usher").arg(usher());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    let envoys = measured["envoys"].as_object().unwrap();
    let rows = measured["rows"].as_array().unwrap();
    let asked = [("(empty)", "stock"), ("(empty)", "listener"), ("cel-10", "usher")];
    assert_eq!(rows.len(), asked.len() * envoys.len(), "{measured:#}");
    for (scenario, server) in asked {
        for envoy in envoys.keys() {
            let is_it =
                |row: &&Value| row["scenario"] == scenario && row["server"] == server && row["envoy"] == **envoy;
            let row = rows.iter().find(is_it).unwrap();
            for load in ["closed", "open"] {
                for percentile in ["p50", "p99"] {
                    let found = &row[load][percentile];
                    let positive = |name: &str| found[name].as_f64().is_some_and(|seconds| seconds > 0.0);
                    assert!(positive("without") && positive("with"), "{row:#}");
                    assert_eq!(found["addedInRounds"].as_array().unwrap().len(), 1, "{row:#}");
                }
            }
            // A check takes its time, even on a busy machine.
            assert!(row["closed"]["p50"]["added"].as_f64().unwrap() > 0.0, "{row:#}");
            assert!(row["open"]["late"].as_f64().unwrap() > 0.0, "{row:#}");
        }
    }
}

#[test]
fn tables_have_a_row_for_each_server() {
    let Some(envoy) = envoy() else { return };
    let mut command = gateway();
    command.args(["--seconds", "1", "--rounds", "2", "--load", "closed", "--only", "api-key-10"]);
    command.arg("--envoy").arg(format!("mine={}", envoy.display()));
    command.arg("--usher").arg(format!("before={}", usher().display()));
    command.arg("--usher").arg(format!("after={}", usher().display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let asked = [("(empty)", "stock"), ("(empty)", "listener"), ("api-key-10", "before"), ("api-key-10", "after")];
    for (scenario, server) in asked {
        let is_it = |line: &&str| line.split_whitespace().take(3).eq([scenario, server, "mine"]);
        assert_eq!(said.lines().filter(is_it).count(), 1, "{said}");
    }
    assert!(said.contains("load average") && !said.contains("open loop"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let usher = usher();
    for (arguments, expected) in [
        (&["--only", "x509"][..], "certificates of clients"),
        (&["--only", "jwt-first"], "only once"),
        (&["--rate", "0"], "--rate"),
        (&["--envoy", "x="], "NAME=FILE"),
        (&["--envoy", usher.to_str().unwrap()], "is no Envoy"),
    ] {
        let refused = gateway().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher-benches"));
    command.arg("gateway");
    command
}

fn usher() -> PathBuf {
    let usher = Path::new(env!("CARGO_BIN_EXE_usher-benches")).with_file_name("usher");
    assert!(usher.is_file(), "`{}` is missing: build it with `cargo build -p usher-cli`", usher.display());
    usher
}

/// The Envoy that `ENVOY_BIN` names, or the one that `tests/run` installed. None means: skip the test.
fn envoy() -> Option<PathBuf> {
    let installed = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let pythons = root.join(".parts/venv/lib").read_dir().ok()?.flatten();
        let mut files = pythons.map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
        files.find(|file| file.is_file())
    };
    let found = std::env::var_os("ENVOY_BIN").map(PathBuf::from).or_else(installed);
    if found.is_none() {
        let why = "Envoy is not installed and ENVOY_BIN is not set; tests/run installs it";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    found
}
