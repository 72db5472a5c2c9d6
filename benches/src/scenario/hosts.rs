//! Many AuthConfigs, each for hosts of its own.

use serde_json::json;

use super::Questions;
use super::configuration::{Configuration, anyone, auth_config};
use crate::check::{Credential, framed_for};

/// One in so many AuthConfigs has a wildcard.
const WILDCARD_EVERY: usize = 10;

/// So many AuthConfigs that everybody passes.
pub(super) fn configuration(number: usize) -> Configuration {
    (0..number).fold(Configuration::default(), |configuration, number| {
        let host = match number % WILDCARD_EVERY {
            0 => format!("*.{}", domain(number)),
            _ => domain(number),
        };
        configuration.and(&auth_config(&format!("tenant-{number}"), anyone(&host, json!({}))))
    })
}

/// One check of each. There is no AuthConfig for any other host, so that each answer without an error comes from the right one.
pub(super) fn questions(number: usize) -> Questions {
    Questions::repeated((0..number).map(|number| {
        let host = match number % WILDCARD_EVERY {
            0 => format!("api.{}", domain(number)),
            _ => domain(number),
        };
        framed_for(&host, Credential::None)
    }))
}

fn domain(number: usize) -> String {
    format!("tenant-{number}.bench.example.com")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::scenario::configuration::text;

    #[test]
    fn every_tenth_host_is_a_wildcard_and_all_are_asked() {
        let text = text(&configuration(30));
        assert_eq!(text.matches("\"kind\":\"AuthConfig\"").count(), 30);
        assert_eq!(text.matches("\"hosts\":[\"*.tenant-").count(), 3);
        assert!(text.contains("\"hosts\":[\"*.tenant-20.bench.example.com\"]"));
        assert!(text.contains("\"hosts\":[\"tenant-21.bench.example.com\"]"));
        assert_eq!(questions(30).frames.iter().collect::<HashSet<_>>().len(), 30);
    }
}
