//! `usher doctor needs`: with the settings that it prints, a gateway sends all that AuthConfigs read.
//!
//! ```text
//!  manifests ──without the settings that say what is sent──┐
//!  AuthConfigs ──► usher doctor needs --gateway GATEWAY ───┴─► the same manifests, with what is printed ──► the same answers
//! ```
//!
//! Here is what the tests of all gateways have in common. The tests themselves stand with each gateway, and run its requests. Of
//! Istio there is only the body, and what is printed is what is shipped.

use std::{fs, process::Command};

use serde_json::{Map, Value};
use usher_test_support::read_yaml;

use crate::support::{documents::Folder, workspace::usher};

/// Fields for one object of a gateway.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    /// Which object: `TrafficPolicy, for HTTPRoute/shop/web`.
    pub(super) title: String,
    pub(super) fields: Value,
}

/// What is printed for a gateway and some of the AuthConfigs of a folder, `NAMESPACE/NAME`; none: all of them.
pub(super) fn needs(gateway: &str, folder: &Folder, auth_configs: &[&str]) -> Vec<Settings> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    fs::write(&file, folder.for_usher()).unwrap();
    let mut command = Command::new(usher());
    command.args(["doctor", "needs", "--gateway", gateway, "--config"]).arg(&file);
    for auth_config in auth_configs {
        command.args(["--auth-config", auth_config]);
    }
    let output = command.output().unwrap();
    let [text, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{gateway} {auth_configs:?}: {text}{errors}");
    parse(&text)
}

/// The only settings that are printed.
pub(super) fn only(settings: Vec<Settings>) -> Value {
    let titles: Vec<_> = settings.iter().map(|it| it.title.clone()).collect();
    let Ok([only]) = <[Settings; 1]>::try_from(settings) else { panic!("one object is expected: {titles:?}") };
    only.fields
}

/// Each document has a title above it, as a comment. One that is only comments says that there is nothing to set.
fn parse(text: &str) -> Vec<Settings> {
    let documents = text.split("---\n").filter_map(|document| {
        let fields = read_yaml(document).unwrap_or_else(|error| panic!("{error} in {text}")).pop()?;
        let title = document.lines().next().and_then(|line| line.strip_prefix("# "));
        Some(Settings { title: title.unwrap_or_else(|| panic!("no title in {text}")).to_owned(), fields })
    });
    documents.collect()
}

/// Writes fields into an object, as a reader does: one by one, also those of the item of a list that has the same name.
pub(super) fn merge(object: &mut Value, fields: &Value) {
    match (object, fields) {
        (Value::Object(object), Value::Object(fields)) => {
            for (name, field) in fields {
                merge(object.entry(name).or_insert(Value::Null), field);
            }
        }
        (Value::Array(items), Value::Array(named)) if named.iter().all(|item| item["name"].is_string()) => {
            for item in named {
                match items.iter_mut().find(|it| it["name"] == item["name"]) {
                    Some(it) => merge(it, item),
                    None => items.push(item.clone()),
                }
            }
        }
        (object, fields) => *object = fields.clone(),
    }
}

/// Takes fields away that are there.
pub(super) fn take(object: &mut Value, names: &[&str]) -> Map<String, Value> {
    let object = object.as_object_mut().unwrap();
    let take = |name: &&str| ((*name).to_owned(), object.remove(*name).unwrap_or_else(|| panic!("no `{name}`")));
    names.iter().map(take).collect()
}

#[test]
fn settings_are_read_and_written_as_a_reader_does() {
    let text =
        "# A, for HTTPRoute/a/b\nspec:\n  a: [1]\n---\n# B\nlist:\n- name: p\n  b: {c: true}\n- name: q\n# a note\n";
    let settings = parse(text);
    assert_eq!(settings.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["A, for HTTPRoute/a/b", "B"]);
    let mut object: Value =
        read_yaml("{spec: {a: [2, 3], d: 4}, list: [{name: o}, {name: p, b: {e: 5}, f: 6}]}").unwrap().remove(0);
    settings.iter().for_each(|it| merge(&mut object, &it.fields));
    let expected = "{spec: {a: [1], d: 4}, list: [{name: o}, {name: p, b: {c: true, e: 5}, f: 6}, {name: q}]}";
    assert_eq!(object, read_yaml(expected).unwrap()[0]);
    assert_eq!(parse("# nothing to set\n# headers: all\n"), []);
}

/// What Istio is told of the body stands in the settings of the mesh, for all that ask this provider. There is nothing else to set.
#[test]
fn istio_is_told_of_the_body_as_it_is_shipped() {
    const PROVIDER: &str = "/spec/meshConfig/extensionProviders/0/envoyExtAuthzGrpc";
    let shipped = Folder::read("deploy/gateways/istio");
    let mut mesh = shipped.one("IstioOperator", "usher").clone();
    let provider = mesh.pointer_mut(PROVIDER).unwrap();
    // What is the default is not shipped.
    provider["includeRequestBodyInCheck"]["packAsBytes"] = false.into();
    let expected = provider.clone();
    take(provider, &["includeRequestBodyInCheck"]);
    merge(&mut mesh["spec"]["meshConfig"], &only(needs("istio", &shipped, &[])));
    assert_eq!(mesh.pointer(PROVIDER), Some(&expected));
    assert_eq!(needs("istio", &shipped, &["shop/inventory"]), [], "a sidecar sends all that it reads");

    let waypoint = Folder::read("deploy/gateways/istio-waypoint");
    assert_eq!(needs("istio-waypoint", &waypoint, &[]), []);
    let provider = &waypoint.one("IstioOperator", "usher")["spec"]["meshConfig"]["extensionProviders"][0];
    assert_eq!(provider["envoyExtAuthzGrpc"].get("includeRequestBodyInCheck"), None);
}
