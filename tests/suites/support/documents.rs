//! The YAML documents of a folder: what a user would apply.

use std::{fs, path::PathBuf};

use serde_json::Value;
use usher_test_support::read_yaml;

use super::workspace::{files_below, root};

/// All documents below a folder of the repository.
#[derive(Debug)]
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
        let files = files_below(&path).into_iter().filter(|file| file.extension().is_some_and(|it| it == "yaml"));
        let read = |file: PathBuf| {
            let text = fs::read_to_string(&file).unwrap();
            read_yaml(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        let documents: Vec<_> = files.flat_map(read).collect();
        assert!(!documents.is_empty(), "no documents below {}", path.display());
        Self { path, documents }
    }

    /// The documents of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The one document of this kind with this name.
    pub(crate) fn one<'a>(&'a self, kind: &'a str, name: &str) -> &'a Value {
        let mut found = self.of_kind(kind).filter(|document| document["metadata"]["name"] == name);
        let one = found.next().unwrap_or_else(|| panic!("no {kind} `{name}` below {}", self.path.display()));
        assert!(found.next().is_none(), "two {kind} `{name}` below {}", self.path.display());
        one
    }

    /// What Usher is told: the AuthConfigs and Secrets, as one text.
    pub(crate) fn for_usher(&self) -> String {
        let kinds = ["AuthConfig", "Secret"];
        let texts = kinds.into_iter().flat_map(|kind| self.of_kind(kind)).map(Value::to_string);
        texts.collect::<Vec<_>>().join("\n---\n")
    }
}
