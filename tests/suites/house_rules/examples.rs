//! Every AuthConfig and AuthorizationPolicy that we show is one that we accept.

use std::{fs, path::Path};

use super::documents::documents;
use crate::support::{
    fenced,
    usher::validate,
    workspace::{files_below, root, shown},
};

/// YAML documents of one place, which are valid together.
#[derive(Debug)]
struct Example {
    /// Where it stands, for messages.
    place: String,
    documents: Vec<String>,
    /// It is shown as something that is refused: the fence says ` ```yaml invalid `.
    is_wrong: bool,
}

#[test]
fn auth_configs_in_deploy_and_documents_are_valid() {
    let examples = manifests().into_iter().chain(documents().into_iter().flat_map(|document| fenced(&document)));
    let mut failures = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.yaml");
    for example in examples {
        fs::write(&file, example.documents.join("\n---\n")).unwrap();
        let (is_valid, output) = validate(&file);
        if is_valid == example.is_wrong {
            let verdict = if is_valid { "accepted" } else { "refused" };
            failures.push(format!("{} is {verdict}:\n{output}", example.place));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The command that judges the examples can tell good from bad.
#[test]
fn validation_refuses_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.yaml");
    let good =
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec: {hosts: [a.test]}\n";
    for (text, expected) in [(good.to_owned(), true), (good.replace("hosts", "hots"), false)] {
        fs::write(&file, &text).unwrap();
        let (is_valid, output) = validate(&file);
        assert_eq!(is_valid, expected, "{text}\n{output}");
    }
}

/// The files below `deploy` that hold an AuthConfig, templates of charts left out.
fn manifests() -> Vec<Example> {
    let files = files_below(&root().join("deploy")).into_iter();
    let is_yaml = |file: &Path| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    files
        .filter(|file| is_yaml(file) && !file.components().any(|part| part.as_os_str() == "templates"))
        .filter_map(|file| {
            let documents = relevant(&fs::read_to_string(&file).unwrap());
            let has_config = documents.iter().any(|document| is_policy(document));
            has_config.then(|| Example { place: shown(&file), documents, is_wrong: false })
        })
        .collect()
}

/// The fenced blocks of a document that hold an AuthConfig, each together with all Secrets that the document shows.
fn fenced(document: &Path) -> Vec<Example> {
    let text = fs::read_to_string(document).unwrap();
    let blocks = blocks(&text);
    let all = blocks.iter().flat_map(|(_, _, block)| relevant(block));
    let secrets: Vec<_> = all.filter(|document| is_kind(document, "Secret")).collect();
    let mut examples = Vec::new();
    for (line, is_wrong, block) in &blocks {
        for config in relevant(block).into_iter().filter(|document| is_policy(document)) {
            let mut documents = vec![config];
            documents.extend(secrets.iter().cloned());
            let place = format!("{}:{line}", shown(document));
            examples.push(Example { place, documents, is_wrong: *is_wrong });
        }
    }
    examples
}

/// The blocks of YAML: the line of the fence, whether it says `invalid`, the text.
fn blocks(text: &str) -> Vec<(usize, bool, String)> {
    let of_yaml = |block: fenced::Block| {
        let mut words = block.language.split_whitespace();
        let is_yaml = matches!(words.next(), Some("yaml" | "yml"));
        is_yaml.then(|| (block.line, words.any(|word| word == "invalid"), block.text()))
    };
    fenced::blocks(text).into_iter().filter_map(of_yaml).collect()
}

/// The AuthConfigs, AuthorizationPolicies and Secrets of a YAML stream.
fn relevant(stream: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in stream.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|document| is_policy(document) || is_kind(document, "Secret"));
    documents
}

/// What is compiled: the others are only referred to.
fn is_policy(document: &str) -> bool {
    is_kind(document, "AuthConfig") || document.contains("apiVersion: envoy.kyverno.io/")
}

fn is_kind(document: &str, kind: &str) -> bool {
    document.lines().any(|line| line.strip_prefix("kind:").is_some_and(|rest| rest.trim() == kind))
}

#[test]
fn blocks_are_found_in_documents() {
    let text = "\
A list:
1. first
   ```yaml
   kind: AuthConfig
   spec: {}
   ---
   kind: Other
   ```
```sh
kind: AuthConfig
```
```yaml invalid
kind: AuthConfig
```
";
    let found = blocks(text);
    assert_eq!(
        found.iter().map(|(line, is_wrong, _)| (*line, *is_wrong)).collect::<Vec<_>>(),
        [(3, false), (12, true)]
    );
    assert_eq!(relevant(&found[0].2), ["kind: AuthConfig\nspec: {}\n"]);
}
