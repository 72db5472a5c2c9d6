//! The guides `docs/gateways/*.md`: the manifests that they show are those that are shipped and run.

use std::fs;

use serde_json::Value;
use usher_test_support::read_yaml;

use super::{kgateway, manifests};
use crate::support::{documents::Folder, workspace::root};

#[test]
fn guides_show_what_is_there() {
    for gateway in manifests::folders() {
        let mut folder = Folder::read(&format!("deploy/gateways/{gateway}"));
        folder.documents.extend(in_place_of_something(gateway));
        assert_shows(gateway, &folder);
    }
}

/// What readers put in the place of something that is shipped. The tests of the gateway do the same.
fn in_place_of_something(gateway: &str) -> Vec<Value> {
    match gateway {
        "kgateway" => vec![kgateway::guide::through_second_service()],
        _ => Vec::new(),
    }
}

/// The YAML in a guide is part of the documents. Whole AuthConfigs that are not among them are examples of something else: a
/// house rule validates these.
fn assert_shows(gateway: &str, folder: &Folder) {
    let guide = format!("docs/gateways/{gateway}.md");
    let text = fs::read_to_string(root().join(&guide)).unwrap();
    let blocks: Vec<_> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    // The guide to a plain Envoy has links to its one file instead.
    assert!(!blocks.is_empty() || gateway == "envoy", "{guide} shows nothing");
    for block in blocks {
        for shown in read_yaml(block).unwrap() {
            let is_there = folder.documents.iter().any(|document| is_somewhere_in(document, &shown));
            assert!(
                is_there || is_example(&shown, folder),
                "{guide} shows what is not below {}:\n{block}",
                folder.path.display()
            );
        }
    }
}

fn is_example(shown: &Value, folder: &Folder) -> bool {
    let name = |config: &Value| (config["metadata"]["namespace"].clone(), config["metadata"]["name"].clone());
    let is_shipped = || folder.of_kind("AuthConfig").any(|config| name(config) == name(shown));
    shown["kind"] == "AuthConfig" && shown["spec"].is_object() && !is_shipped()
}

fn is_somewhere_in(whole: &Value, part: &Value) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match whole {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new([].iter()),
    };
    is_part(whole, part) || inner.any(|inner| is_somewhere_in(inner, part))
}

/// Objects may have more members, and lists more items, than what is shown of them.
fn is_part(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| is_part(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            let mut whole = whole.iter();
            part.iter().all(|part| whole.any(|whole| is_part(whole, part)))
        }
        (whole, part) => whole == part,
    }
}
