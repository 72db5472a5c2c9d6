//! Which crate may use which.

use std::collections::BTreeMap;

use crate::support::workspace::metadata;

/// Every crate and the crates of ours that it may use. `docs/ARCHITECTURE.md` says why.
const ARROWS: [(&str, &[&str]); 12] = [
    ("cli", &["api", "compile", "engine", "evaluators", "expr", "kubernetes", "server", "source", "telemetry"]),
    ("kubernetes", &["api", "evaluators", "source", "test-support"]),
    ("source", &["api"]),
    ("compile", &["evaluators", "policy", "engine", "expr", "api"]),
    ("server", &["engine", "proto", "telemetry"]),
    ("telemetry", &["engine"]),
    ("evaluators", &["engine", "expr", "api", "proto"]),
    ("policy", &["engine", "expr", "api"]),
    ("engine", &["expr"]),
    ("api", &[]),
    ("expr", &[]),
    ("proto", &[]),
];

#[test]
fn crates_use_only_those_below_them() {
    let metadata = metadata();
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let Some((_, folder)) = manifest.rsplit_once("/crates/") else { continue };
        let folder = folder.trim_end_matches("/Cargo.toml");
        assert_eq!(package["name"], format!("usher-{folder}"), "{manifest}");
        // Those that only tests use count too: what a test needs from above belongs into a test above.
        let dependencies = package["dependencies"].as_array().unwrap();
        let names = dependencies.iter().map(|dependency| dependency["name"].as_str().unwrap());
        let ours: Vec<_> = names.filter_map(|name| name.strip_prefix("usher-")).collect();
        crates.insert(folder, ours);
    }
    let known: Vec<_> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, uses) in &crates {
        let allowed = ARROWS.iter().find(|(known, _)| known == name).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("the crate `{name}` is new: known are {known:?}"));
        for used in uses {
            assert!(allowed.contains(used), "`{name}` may not use `{used}`, only {allowed:?}");
        }
    }
    assert_eq!(crates.len(), known.len(), "crates are missing: there are {:?}", crates.keys());
}
