//! What is installed from: the chart, the manifests, the image, and what watches over it.
//!
//! ```text
//!  deploy/helm/usher ──────► engine of Helm ──┐
//!                                             ├─► objects ─► schemas of Kubernetes
//!  deploy/kustomize  ──────► kubectl ─────────┘      └─────► agreement: with each other, and with the program
//!  deploy/helm/usher/files ► promtool
//! ```
//!
//! `chart` needs Python packages, `kustomize` them and `kubectl`, `monitoring` needs `promtool`. `tests/run` installs what
//! can be installed. `image` needs nothing.

mod agreement;
mod chart;
mod cluster;
mod image;
mod kustomize;
mod monitoring;

use std::{
    env,
    ffi::OsStr,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Once,
};

use serde_json::Value;

use crate::support::{parts::missing, workspace::root};

/// Python with the packages of `tests/parts/packages`. None means: skip the test.
fn python() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let venv = root().join(".parts/packages/venv");
    if venv.join(".installed-from").is_file() {
        return Some(venv.join("bin/python"));
    }
    missing(&TOLD, "with_packages::chart", "the engine of Helm is not installed")
}

/// What `KUBECTL` names, or the program of that name. None means: skip the test.
fn kubectl() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let program = env::var_os("KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from);
    let is_there =
        Command::new(&program).args(["version", "--client"]).output().is_ok_and(|told| told.status.success());
    if is_there {
        return Some(program);
    }
    missing(&TOLD, "with_packages::kustomize", "there is no kubectl, and KUBECTL does not name one")
}

/// What `PROMTOOL` names, or the installed one. None means: skip the test.
fn promtool() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let installed = root().join(".parts/prometheus/usr/bin/promtool");
    let found = env::var_os("PROMTOOL").map(PathBuf::from).or_else(|| installed.is_file().then_some(installed));
    found.or_else(|| missing(&TOLD, "with_packages::monitoring", "promtool is not installed and PROMTOOL is not set"))
}

/// The answer of `tests/parts/packages/packages.py`.
fn packages(python: &PathBuf, arguments: &[&OsStr], input: &[u8]) -> String {
    let mut command = Command::new(python);
    command.arg(root().join("tests/parts/packages/packages.py")).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command, input)
}

/// Holds objects against the schemas of Kubernetes, which know all kinds but those of `others`.
fn judge(python: &PathBuf, objects: &[Value], others: &[&str], name: &str) {
    let answer = packages(python, &["judge".as_ref()], Value::from(objects).to_string().as_bytes());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(texts(&answer["wrong"]), [""; 0], "{name}");
    assert!(texts(&answer["unknown"]).iter().all(|kind| others.contains(kind)), "{name}: {}", answer["unknown"]);
}

/// The output of a program that must not fail.
fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{command:?} cannot be started: {error}");
        });
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap_or_else(|error| panic!("{command:?} does not take its input: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{answer}{told}", output.status);
    answer
}

/// `a/b` of an object; null where there is none.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(&format!("/{path}")).unwrap_or(&Value::Null)
}

/// The text of `a/b` of an object; empty where there is none.
fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items of `a/b` of an object.
fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The objects of a kind.
fn of_kind<'v>(objects: &'v [Value], kind: &str) -> Vec<&'v Value> {
    objects.iter().filter(|object| text(object, "kind") == kind).collect()
}

/// The object of this kind and name.
fn named<'v>(objects: &'v [Value], kind: &str, name: &str) -> &'v Value {
    let found = objects.iter().find(|object| text(object, "kind") == kind && text(object, "metadata/name") == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}
