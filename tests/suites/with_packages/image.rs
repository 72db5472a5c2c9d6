//! The image cannot be built by a test. What it is made of can be looked at.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::workspace::{root, shown, usher};

/// The lines of the Dockerfile, continued ones joined, without comments.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

/// What is copied from the folder of the repository.
fn copied() -> Vec<String> {
    let copies = instructions().into_iter().filter_map(|line| line.strip_prefix("COPY ").map(str::to_owned));
    copies
        .filter(|line| !line.starts_with("--from="))
        .flat_map(|line| {
            let mut paths: Vec<_> = line.split(' ').map(str::to_owned).collect();
            paths.pop();
            paths
        })
        .collect()
}

#[test]
fn it_starts_the_server_as_nobody() {
    let instructions = instructions();
    let last = |name: &str| {
        let prefix = format!("{name} ");
        let found = instructions.iter().rev().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    // Arguments are appended to it, by Kubernetes and by an operator of Authorino.
    assert_eq!(last("ENTRYPOINT"), r#"["/usher", "server"]"#);
    assert!(!instructions.iter().any(|line| line.starts_with("CMD")), "arguments would replace it");
    assert_eq!(last("USER"), "65532:65532");
    assert_eq!(last("EXPOSE"), "50051 5001 8083 8080 8081 9443");
    assert!(last("FROM").contains("distroless/cc"), "the program needs the C library, and nothing else");
    assert!(instructions.iter().any(|line| line == "COPY --from=build /out/usher /usher"));
    let server = Command::new(usher()).args(["server", "--help"]).output().unwrap();
    assert!(server.status.success());
}

#[test]
fn the_compiler_is_new_enough() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let needed = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(instructions()[0].starts_with(&format!("FROM rust:{needed}-")), "{} and Rust {needed}", instructions()[0]);
}

#[test]
fn all_that_the_program_is_made_of_is_copied() {
    let root = root();
    let copied: Vec<_> = copied().into_iter().map(|path| root.join(path)).collect();
    for path in &copied {
        assert!(path.exists(), "{} is copied, and does not exist", shown(path));
        assert!(!is_ignored(path), "{} is copied, and .dockerignore leaves it out", shown(path));
    }
    // Made by the compiler: the program, then every file that it was made of.
    let listed = fs::read_to_string(usher().with_extension("d")).unwrap();
    let sources: Vec<_> = listed.split_once(": ").unwrap().1.split_whitespace().map(PathBuf::from).collect();
    assert!(sources.len() > 100, "{} sources", sources.len());
    let built = root.join("target");
    for source in sources.iter().filter(|source| !source.starts_with(&built)) {
        assert!(copied.iter().any(|path| source.starts_with(path)), "{} is not copied", shown(source));
        assert!(!is_ignored(source), ".dockerignore leaves {} out", shown(source));
    }
}

#[test]
fn cargo_reads_the_workspace_as_it_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    for path in copied() {
        copy(&root().join(&path), &folder.path().join(&path));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder.path()).args(["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Manifests and sources; no more is looked at.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let is_wanted = entry.path().extension().is_some_and(|extension| extension == "toml" || extension == "rs");
        if !is_ignored(&entry.path()) && (entry.path().is_dir() || is_wanted) {
            copy(&entry.path(), &to.join(name));
        }
    }
}

/// Whether `.dockerignore` leaves a path out: everything, but for what is named, but for what is hidden or made.
fn is_ignored(path: &Path) -> bool {
    let text = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let path = path.strip_prefix(root()).unwrap();
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let mut is_ignored = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, ignores) = line.strip_prefix('!').map_or((line, true), |pattern| (pattern, false));
        let fits = match pattern.strip_prefix("**/") {
            Some(".*") => parts.iter().any(|part| part.starts_with('.')),
            Some(name) => parts.iter().any(|part| part == name),
            None => pattern == "*" || parts.first().is_some_and(|part| part == pattern),
        };
        if fits {
            is_ignored = ignores;
        }
    }
    is_ignored
}

#[test]
fn what_is_hidden_or_made_is_left_out() {
    for (path, expected) in [
        ("crates/cli/src/main.rs", false),
        ("Cargo.lock", false),
        ("LICENSE", false),
        (".git/config", true),
        (".parts/venv", true),
        ("target/debug/usher", true),
        ("tests/parts/node_modules/x", true),
        ("deploy/crds/authconfigs.yaml", true),
        ("docs/cli.md", true),
    ] {
        assert_eq!(is_ignored(&root().join(path)), expected, "{path}");
    }
}
