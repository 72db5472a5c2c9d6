//! Configurations, and what is asked with them.

pub(crate) mod changing;
mod configuration;
mod hosts;
mod name;
mod policy;
mod questions;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::certificate::{Authority, key_pair};
use crate::check::{Credential, framed, framed_large};
use crate::expected::{Expected, Wristband};
use crate::material::Material;
use crate::token::{self, Algorithm, Issuer};
use crate::upstream::Upstream;

pub(crate) use configuration::Configuration;
pub(crate) use name::Name;
pub(crate) use questions::Questions;

use configuration::{anonymous, keyed, secret};
use questions::{bearers, keys, large_keys};

/// A configuration, and what is asked with it.
pub(crate) struct Scenario {
    pub(crate) name: Name,
    pub(crate) configuration: Configuration,
    pub(crate) questions: Questions,
    pub(crate) expected: Expected,
}

/// What scenarios need beside a server.
pub(crate) struct Surroundings {
    material: Material,
    issuer: Issuer,
    pub(crate) upstream: Upstream,
}

impl Surroundings {
    /// Starts them, for as long as this process runs.
    pub(crate) fn start(material: Material) -> anyhow::Result<Self> {
        Ok(Self { issuer: Issuer::start(&material)?, upstream: Upstream::start(&material)?, material })
    }
}

/// Tokens and certificates that are asked again and again; fewer than any cache holds.
const SEEN: usize = 100;

/// Tokens that are asked once. Signing them with RSA takes some seconds; asking them, about one.
const FIRST_TOKENS: usize = 20_000;

/// Keys that are asked in turn, of as many or more: more identities than servers keep ready.
const KEYS_IN_TURN: usize = 10_000;

/// Makes the configuration of a scenario, and what is asked.
pub(crate) fn scenario(name: Name, surroundings: &Surroundings) -> anyhow::Result<Scenario> {
    let Surroundings { issuer, upstream, material } = surroundings;
    let mut expected = Expected::Code;
    let (configuration, questions) = match name {
        Name::Anonymous => (anonymous(json!({})), Questions::anonymous()),
        Name::ApiKey10 => (keyed(10, json!({})), keys(0..10)),
        Name::ApiKey10000 => (keyed(10_000, json!({})), keys(0..KEYS_IN_TURN)),
        Name::ApiKey1000000 => {
            let apart = 1_000_000 / KEYS_IN_TURN;
            (keyed(1_000_000, json!({})), keys((0..KEYS_IN_TURN).map(|number| number * apart)))
        }
        // Numbers that no key has.
        Name::UnknownKey => (keyed(10_000, json!({})), keys(10_000..11_000).denied()),
        Name::JwtSeen => (rules::of_issuer(issuer), bearers(issuer.tokens(Algorithm::Rs256, SEEN)?)),
        Name::JwtFirst => (rules::of_issuer(issuer), bearers(issuer.tokens(Algorithm::Rs256, FIRST_TOKENS)?).once()),
        Name::JwtEs256Seen => (rules::of_issuer(issuer), bearers(issuer.tokens(Algorithm::Es256, SEEN)?)),
        Name::JwtEs256First => {
            (rules::of_issuer(issuer), bearers(issuer.tokens(Algorithm::Es256, FIRST_TOKENS)?).once())
        }
        Name::JwtHs256 => (rules::of_shared_secret(), bearers(token::shared_secret_tokens(SEEN)?)),
        Name::X509 => {
            let authority = Authority::new(material)?;
            let certificates =
                (0..SEEN).map(|number| authority.client(number)).collect::<anyhow::Result<Vec<String>>>()?;
            let frames = certificates.iter().map(|certificate| framed(Credential::Certificate(certificate)));
            (rules::certified(&authority.pem), Questions::repeated(frames))
        }
        Name::Cel1 => (anonymous(rules::one_predicate()), Questions::anonymous()),
        Name::Cel10 => (anonymous(rules::ten_predicates()), Questions::anonymous()),
        Name::Gjson => (anonymous(rules::selectors()), Questions::anonymous()),
        Name::Opa => {
            let rego = "allow if input.context.request.http.method == \"GET\"";
            (anonymous(rules::policy(rego)), Questions::anonymous())
        }
        Name::Opa50 => (anonymous(rules::policy(policy::FIFTY_RULES)), Questions::anonymous()),
        Name::MetadataCached => (keyed(10, rules::metadata(upstream)), keys(0..10)),
        Name::Headers => {
            expected = Expected::Changes(rules::headers_changes());
            (anonymous(json!({"response": rules::headers()})), Questions::anonymous())
        }
        Name::Answers => {
            expected = Expected::Changes(rules::answers_changes());
            (keyed(10, rules::answers()), keys(0..10))
        }
        Name::Wristband | Name::WristbandCached => {
            let kept = name == Name::WristbandCached;
            let key = key_pair(material, "wristband.der")?;
            let (public_key, username) = (key.public_key_raw().to_vec(), "key-0".to_owned());
            expected = Expected::Wristband(Wristband { public_key, username, kept });
            let secret = secret("signing", json!({}), "key.pem", &key.serialize_pem());
            (keyed(10, rules::wristband(kept)).and(&secret), keys(0..10))
        }
        Name::Callbacks => {
            let questions = Questions { decisions: Some(Arc::clone(upstream.decisions())), ..keys(0..10) };
            (keyed(10, rules::callbacks(upstream)), questions)
        }
        Name::Hosts10000 => (hosts::configuration(10_000), hosts::questions(10_000)),
        Name::LargeCheck => (anonymous(json!({})), Questions::repeated([framed_large(Credential::None)])),
        Name::LargeCheckKey => (keyed(10, json!({})), large_keys(0..10)),
        Name::Churn => (changing::configuration(), keys(0..10)),
    };
    Ok(Scenario { name, configuration, questions, expected })
}

impl Name {
    /// How long a server may take until it answers as expected.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_secs(if self == Self::ApiKey1000000 { 600 } else { 60 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::configuration::text;
    use super::*;

    #[test]
    fn every_api_key_is_asked_and_unknown_ones_are_unknown() {
        let surroundings = Surroundings::start(Material::default()).unwrap();
        let ten = scenario(Name::ApiKey10, &surroundings).unwrap();
        assert_eq!(text(&ten.configuration).matches("\"kind\":\"Secret\"").count(), 10);
        assert_eq!(ten.questions.frames.iter().collect::<HashSet<_>>().len(), 10);
        let unknown = scenario(Name::UnknownKey, &surroundings).unwrap();
        let known = scenario(Name::ApiKey10000, &surroundings).unwrap();
        let known: HashSet<&Bytes> = known.questions.frames.iter().collect();
        assert_eq!(known.len(), 10_000);
        assert!(unknown.questions.frames.iter().all(|frame| !known.contains(frame)));
        assert_ne!(unknown.questions.expected, ten.questions.expected);
    }

    #[test]
    fn only_cached_wristbands_are_cached() {
        let surroundings = Surroundings::start(Material::default()).unwrap();
        for (name, cached) in [(Name::Wristband, false), (Name::WristbandCached, true)] {
            let scenario = scenario(name, &surroundings).unwrap();
            assert_eq!(text(&scenario.configuration).contains("\"cache\""), cached);
            assert!(matches!(scenario.expected, Expected::Wristband(Wristband { kept, .. }) if kept == cached));
        }
    }

    #[test]
    fn what_was_printed_fits_what_is_asked_later() {
        let folder = tempfile::tempdir().unwrap();
        let kept = || Material::kept(Some(folder.path().to_owned())).unwrap();
        // The ports are taken as long as this process runs: a run of its own begins without them.
        let start = || {
            for port in ["issuer-port", "upstream-port"] {
                let _ = std::fs::remove_file(folder.path().join(port));
            }
            Surroundings::start(kept()).unwrap()
        };
        let (first, second) = (start(), start());
        let configuration = |surroundings, name| text(&scenario(name, surroundings).unwrap().configuration);
        assert_eq!(configuration(&first, Name::Wristband), configuration(&second, Name::Wristband));
    }
}
