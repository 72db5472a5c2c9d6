//! AuthConfigs that change: the one that is asked about, and others.

use serde_json::{Value, json};

use super::configuration::{Configuration, api_keys, auth_config, with_keys};
use crate::check::HOST;

/// The header for the upstream that says how often the AuthConfig that is asked about has changed.
pub(crate) const REVISION: &str = "x-revision";

/// AuthConfigs beside the one that is asked about.
const OTHERS: u32 = 100;

/// All of them before the first change, with ten API keys.
pub(super) fn configuration() -> Configuration {
    let keys = api_keys(Configuration::default(), 10);
    (0..OTHERS)
        .map(|number| other(number, 0))
        .chain([asked(0)])
        .fold(keys, |all, file| all.and_file(&file.name, &file.document))
}

/// An AuthConfig, alone in its file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) document: Value,
}

/// What the change with this number, from 1, makes: every second one is of the AuthConfig that is asked about, which then has
/// [`revision`] so many.
pub(crate) fn change(number: u32) -> File {
    match number % 2 {
        0 => asked(revision(number)),
        _ => other(number / 2 % OTHERS, number),
    }
}

/// The revision of the AuthConfig that is asked about after so many changes.
pub(crate) fn revision(changes: u32) -> u32 {
    changes / 2
}

fn asked(revision: u32) -> File {
    file("asked", HOST, revision)
}

fn other(number: u32, revision: u32) -> File {
    file(&format!("other-{number}"), &format!("other-{number}.bench.example.com"), revision)
}

fn file(name: &str, host: &str, revision: u32) -> File {
    let predicate = json!({"predicate": "request.url_path.startsWith('/v1/')"});
    let more = json!({
        "authorization": {"first-version": {"patternMatching": {"patterns": [predicate]}}},
        "response": {"success": {"headers": {REVISION: {"plain": {"value": revision.to_string()}}}}},
    });
    File { name: format!("{name}.yaml"), document: auth_config(name, with_keys(host, more)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_change_in_turn() {
        let names: Vec<String> = (1..=6).map(|number| change(number).name).collect();
        assert_eq!(names.join(" "), "other-0.yaml asked.yaml other-1.yaml asked.yaml other-2.yaml asked.yaml");
        assert_eq!(change(2 * OTHERS + 1).name, "other-0.yaml");
        let document = change(6).document.to_string();
        assert!(document.contains("\"value\":\"3\"") && document.contains(HOST), "{document}");
        assert_eq!([1, 2, 3, 6].map(revision), [0, 1, 1, 3]);
    }
}
