//! Folders as users keep them: read once, changed step by step, and watched.

mod load;
mod steps;
mod watch;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A folder with configuration, and a place beside it from which files are renamed into it.
struct Folder {
    scratch: TempDir,
}

impl Folder {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("config")).unwrap();
        Self { scratch }
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("config")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Puts a file in place by a rename.
    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        let new = self.beside("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Links a name to `..data/NAME` as Kubernetes does for volumes, and `..data` to a version.
    fn publish(&self, version: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.path(version).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink(version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        for (name, _) in files {
            if fs::symlink_metadata(self.path(name)).is_err() {
                symlink(Path::new("..data").join(name), self.path(name)).unwrap();
            }
        }
    }

    fn source(&self) -> Source {
        Source::new(vec![self.root()], Options::default())
    }

    /// Changes in words; the folder's own name is left out.
    fn words(&self, changes: &[Change]) -> Vec<String> {
        let root = format!("{}/", self.root().display());
        let mut words = Vec::new();
        for change in changes {
            match change {
                Change::AuthConfig(object) => {
                    let document = &object.document;
                    let name = document.metadata.id().replace(&root, "");
                    let state = if document.result.is_ok() { "" } else { " broken" };
                    words.push(format!("AuthConfig {name} {}{state}", document.claimed.hosts.join(",")));
                }
                Change::AuthConfigGone { namespace, name } => {
                    words.push(format!("AuthConfig {namespace}/{} gone", name.replace(&root, "")));
                }
                Change::AuthorizationPolicy(object) => {
                    let document = &object.document;
                    let name = document.metadata.name.replace(&root, "");
                    let state = if document.result.is_ok() { "" } else { " broken" };
                    words.push(format!("AuthorizationPolicy {name}{state}"));
                }
                Change::AuthorizationPolicyGone { name } => {
                    words.push(format!("AuthorizationPolicy {} gone", name.replace(&root, "")));
                }
                Change::Secret(secret) => {
                    let key = secret.data.get("k").map(|value| String::from_utf8_lossy(value).into_owned());
                    words.push(format!("Secret {} {}", secret.metadata.id(), key.unwrap_or_default()));
                }
                Change::SecretGone { namespace, name } => words.push(format!("Secret {namespace}/{name} gone")),
                Change::Problems(problems) if problems.is_empty() => words.push("all is well".to_owned()),
                Change::Problems(problems) => words.extend(problems.iter().map(|problem| self.problem(problem))),
                Change::InitialLoadDone => words.push("loaded".to_owned()),
                // Files are read whole.
                other => panic!("{other:?}"),
            }
        }
        words
    }

    fn problem(&self, problem: &FileProblem) -> String {
        let severity = if problem.severity == Severity::Warning { "warning" } else { "error" };
        let root = self.root().display().to_string();
        format!("{severity} {}", problem.to_string().replace(&format!("{root}/"), "").replace(&root, "."))
    }
}

fn auth_config(name: &str, host: &str) -> String {
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata:\n  name: {name}\nspec:\n  hosts: [{host}]\n"
    )
}

fn labelled(name: &str, labels: &str, host: &str) -> String {
    auth_config(name, host).replace("\nspec", &format!("\n  labels: {labels}\nspec"))
}

fn secret(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{k: \"{value}\"}}\n")
}

fn documents(documents: &[String]) -> String {
    documents.join("---\n")
}
