//! The YAML documents of a folder: what a user would apply.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use usher_test_support::read_yaml;

use super::workspace::{files_below, root};

/// All documents below a folder of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its documents, in the order of the names of their files.
    pub(crate) documents: Vec<Value>,
}

impl Folder {
    /// Reads the files `*.yaml` below `deploy/gateways/kgateway`, for example.
    pub(crate) fn read(path: &str) -> Self {
        let path = root().join(path);
        let documents = read(files_below(&path));
        assert!(!documents.is_empty(), "no documents below {}", path.display());
        Self { path, documents }
    }

    /// Reads one file, or the files `*.yaml` directly in a folder, as `kubectl apply -f` does.
    pub(crate) fn read_flat(path: &Path) -> Self {
        let is_here = |file: &PathBuf| file == path || file.parent() == Some(path);
        let files = if path.is_file() { vec![path.to_owned()] } else { files_below(path) };
        let documents = read(files.into_iter().filter(is_here).collect());
        assert!(!documents.is_empty(), "no documents in {}", path.display());
        Self { path: path.to_owned(), documents }
    }

    /// The documents of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The one document of this kind with this name.
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        &self.documents[self.position(kind, name)]
    }

    /// The same one, to be changed.
    pub(crate) fn edit(&mut self, kind: &str, name: &str) -> &mut Value {
        let position = self.position(kind, name);
        &mut self.documents[position]
    }

    /// All others.
    pub(crate) fn without(mut self, kind: &str, name: &str) -> Self {
        let position = self.position(kind, name);
        self.documents.remove(position);
        self
    }

    fn position(&self, kind: &str, name: &str) -> usize {
        let is_it = |document: &Value| document["kind"] == kind && document["metadata"]["name"] == name;
        let found: Vec<_> = (0..self.documents.len()).filter(|position| is_it(&self.documents[*position])).collect();
        let [position] = found[..] else {
            panic!("{} documents {kind} `{name}` below {}", found.len(), self.path.display());
        };
        position
    }

    /// What Usher is told of them.
    pub(crate) fn for_usher(&self) -> String {
        for_usher(&self.documents)
    }
}

/// The documents of those files that are YAML.
fn read(files: Vec<PathBuf>) -> Vec<Value> {
    let files = files.into_iter().filter(|file| file.extension().is_some_and(|it| it == "yaml"));
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        read_yaml(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.flat_map(read).collect()
}

/// What Usher is told of documents: the AuthConfigs and Secrets, as one text.
pub(crate) fn for_usher(documents: &[Value]) -> String {
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
    let texts = ["AuthConfig", "Secret"].into_iter().flat_map(of_kind).map(Value::to_string);
    texts.collect::<Vec<_>>().join("\n---\n")
}
