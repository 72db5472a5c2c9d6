//! Documents name only files that exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::workspace::{files_below, root, shown};

/// The documents for people: the README, how to contribute, all guides.
pub(super) fn documents() -> Vec<PathBuf> {
    let root = root();
    let mut documents: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md"].iter().map(|name| root.join(name)).collect();
    for folder in ["docs", "deploy", "crates", "proto", "tests"] {
        documents.extend(files_below(&root.join(folder)));
    }
    documents.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "md"));
    documents
}

#[test]
fn documents_name_files_that_exist() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (line, path) in named_paths(&text) {
            let base = match &path {
                Named::Link(_) => document.parent().unwrap().to_owned(),
                Named::Code(_) => root(),
            };
            let (Named::Link(path) | Named::Code(path)) = path;
            if !exists(&base.join(&path)) {
                wrong.push(format!("{}:{line}: `{path}`", shown(&document)));
            }
        }
    }
    assert!(wrong.is_empty(), "these files do not exist: {wrong:#?}");
}

/// A path with `*` names whatever fits; there must be something.
fn exists(path: &Path) -> bool {
    let Some(starred) = path.components().position(|part| part.as_os_str().to_string_lossy().contains('*')) else {
        return path.exists();
    };
    let folder: PathBuf = path.components().take(starred).collect();
    folder.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// The target of a link, from the folder of the document.
    Link(String),
    /// Between backticks, from the folder of the repository.
    Code(String),
}

/// The paths that a document names outside of fenced blocks, with their line numbers.
fn named_paths(text: &str) -> Vec<(usize, Named)> {
    const FOLDERS: [&str; 7] = ["crates/", "tests/", "benches/", "proto/", "deploy/", "docs/", ".ci/"];
    let mut paths = Vec::new();
    let mut is_fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        if is_fenced {
            continue;
        }
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split(['#', ' ']).next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') {
                paths.push((number, Named::Link(path.to_owned())));
            }
        }
        for code in line.split('`').skip(1).step_by(2) {
            let is_ours = FOLDERS.iter().any(|folder| code.starts_with(folder));
            if is_ours && !has_placeholder(code) {
                let path = code.split(['#', ':']).next().unwrap_or_default();
                paths.extend(alternatives(path).into_iter().map(|path| (number, Named::Code(path))));
            }
        }
    }
    paths
}

/// `crates/NAME/src`, `docs/<page>.md`, or a command rather than a path.
fn has_placeholder(code: &str) -> bool {
    let is_word =
        |part: &str| part.len() > 1 && part.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
    let stem = |part: &str| part.split('.').next().map(str::to_owned).unwrap_or_default();
    let is_capital_file = |part: &str| part.ends_with(".md");
    code.contains(['<', '$', ' ', '…']) || code.split('/').any(|part| is_word(&stem(part)) && !is_capital_file(part))
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    let braces = path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (choices, after))) = braces else { return vec![path.to_owned()] };
    choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
}

#[test]
fn paths_are_found_in_documents() {
    let text = "\
See [the guide](guides/first.md#start) and [us](https://usher.test/a) or [below](#below).
`crates/engine/src/plan.rs` and `crates/{api,expr}/src`, not `crates/NAME/src` or `cargo run`; `docs/ARCHITECTURE.md`.
```sh
ls `crates/nothing`
```
`tests/*.txt`
";
    let link = |path: &str| Named::Link(path.to_owned());
    let code = |path: &str| Named::Code(path.to_owned());
    let expected = [
        (1, link("guides/first.md")),
        (2, code("crates/engine/src/plan.rs")),
        (2, code("crates/api/src")),
        (2, code("crates/expr/src")),
        (2, code("docs/ARCHITECTURE.md")),
        (6, code("tests/*.txt")),
    ];
    assert_eq!(named_paths(text), expected);
    assert!(exists(&root().join("crates/*/Cargo.toml")) && !exists(&root().join("no-such-folder/*")));
}
