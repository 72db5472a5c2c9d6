//! No file that the compiler never sees.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::workspace::{files_below, metadata, root, shown};

#[test]
fn every_source_file_is_compiled() {
    let metadata = metadata();
    let mut reached = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            follow(Path::new(target["src_path"].as_str().unwrap()), true, &mut reached);
        }
    }
    let folders = ["crates", "tests", "benches"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| files_below(folder));
    let forgotten: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter(|file| !reached.contains(file))
        .map(|file| shown(&file))
        .collect();
    assert!(forgotten.is_empty(), "no `mod` and no target leads to {forgotten:#?}");
    assert!(reached.contains(&root().join(file!().trim_start_matches('/'))), "{} is reached", file!());
}

/// Adds a file and all that it leads to.
fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if !reached.insert(file.to_owned()) {
        return;
    }
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", shown(file)));
    let beside = file.parent().unwrap();
    let owns_folder = is_root || file.ends_with("mod.rs");
    let folder = if owns_folder { beside.to_owned() } else { beside.join(file.file_stem().unwrap()) };
    for reference in references(&text) {
        match reference {
            Reference::Module(name) => {
                let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                let found = candidates.iter().find(|candidate| candidate.is_file());
                let found = found.unwrap_or_else(|| panic!("{}: no file for `mod {name};`", shown(file)));
                follow(found, false, reached);
            }
            Reference::Path(path) => follow(&beside.join(path), true, reached),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reference {
    /// `mod NAME;`
    Module(String),
    /// `include!("PATH")`, or `#[path = "PATH"]` before a `mod`.
    Path(String),
}

/// What a file leads to. It is read line by line, in the shape that the formatter gives to it.
fn references(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut path = None;
    let mut is_raw_string = false;
    for line in text.lines().map(str::trim) {
        if is_raw_string || line.ends_with("r#\"") {
            is_raw_string = !line.starts_with("\"#");
        } else if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split('"').next();
        } else if let Some(rest) = line.strip_prefix("include!(\"") {
            found.extend(rest.split('"').next().map(|path| Reference::Path(path.to_owned())));
        } else if let Some(name) = declared_module(line) {
            found.push(match path.take() {
                Some(path) => Reference::Path(path.to_owned()),
                None => Reference::Module(name.trim_start_matches("r#").to_owned()),
            });
        }
    }
    found
}

fn declared_module(line: &str) -> Option<&str> {
    let declaration = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    declaration.strip_prefix("mod ")?.split_once(';').map(|(name, _)| name)
}

#[test]
fn references_are_found() {
    let text = r#"
mod a;
pub mod b;
pub(crate) mod c; // why
#[cfg(test)]
mod tests;
#[path = "odd.rs"]
mod d;
mod inline { }
    include!("gen/e.rs");
// mod f;
"#;
    let module = |name: &str| Reference::Module(name.to_owned());
    let path = |path: &str| Reference::Path(path.to_owned());
    let expected = [module("a"), module("b"), module("c"), module("tests"), path("odd.rs"), path("gen/e.rs")];
    assert_eq!(references(text), expected);
}
