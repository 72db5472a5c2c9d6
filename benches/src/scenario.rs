//! Configurations, and what is asked with them.

mod configuration;

use std::sync::Arc;

use bytes::Bytes;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::certificate::{Authority, ORGANIZATION};
use crate::check::{CLIENT, Credential, framed};
use crate::expected::{Changes, Expected, WRISTBAND, Wristband};
use crate::token::{self, Issuer, SHARED_SECRET};
use crate::upstream::{Upstream, Window};

use configuration::{anonymous, api_key, auth_config, keyed, secret};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Everybody may pass.
    Anonymous,
    /// One of 10 API keys, and one pattern.
    #[value(name = "api-key-10")]
    ApiKey10,
    /// One of 10,000 API keys, and one pattern.
    #[value(name = "api-key-10000")]
    ApiKey10000,
    /// API keys that do not exist, next to 10,000 that do: denied.
    UnknownKey,
    /// Tokens that were seen before, and one CEL predicate.
    JwtSeen,
    /// Tokens that were never seen before, and one CEL predicate.
    JwtFirst,
    /// Tokens of a shared secret that were seen before, and one CEL predicate.
    JwtHs256,
    /// Client certificates that were seen before, and one pattern.
    X509,
    /// Ten CEL predicates.
    #[value(name = "cel-10")]
    Cel10,
    /// A policy of one line.
    Opa,
    /// An API key, and a pattern about metadata that were fetched before.
    MetadataCached,
    /// One plain header and one JSON header for the upstream.
    Headers,
    /// An API key that is taken out, as another header is; two headers with more values for the upstream, and one for the client.
    Answers,
    /// An API key, and a token for the upstream, signed for each request.
    Wristband,
    /// An API key, and a token for the upstream that was signed before.
    WristbandCached,
    /// An API key, and a service that is told of each decision.
    Callbacks,
}

impl Name {
    /// All, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        <Self as clap::ValueEnum>::value_variants().to_vec()
    }

    /// The word on the command line.
    pub(crate) fn word(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A configuration, and what is asked with it.
pub(crate) struct Scenario {
    pub(crate) name: Name,
    /// YAML of an AuthConfig and its Secrets.
    pub(crate) configuration: String,
    pub(crate) questions: Questions,
    pub(crate) expected: Expected,
}

/// What scenarios need beside a server.
pub(crate) struct Surroundings {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
}

impl Surroundings {
    /// Starts them, for as long as this process runs.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self { issuer: Issuer::start()?, upstream: Upstream::start()? })
    }
}

/// Checks to ask, all with the same expected code.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// gRPC frames, asked in this order; at least one.
    pub(crate) frames: Arc<[Bytes]>,
    /// `status.code` of every answer, a google.rpc.Code.
    pub(crate) expected: i32,
    /// Whether each may be asked once only, or again and again.
    pub(crate) once: bool,
    /// Who is to be told of the decision about each of them, if anybody is.
    pub(crate) decisions: Option<Arc<Window>>,
}

impl Questions {
    pub(crate) fn repeated(frames: impl IntoIterator<Item = Bytes>) -> Self {
        Self { frames: frames.into_iter().collect(), expected: OK, once: false, decisions: None }
    }

    /// What every server that allows everybody can be asked.
    pub(crate) fn anonymous() -> Self {
        Self::repeated([framed(Credential::None)])
    }
}

const OK: i32 = 0;
const UNAUTHENTICATED: i32 = 16;

/// Tokens and certificates that are asked again and again; fewer than any cache holds.
const SEEN: usize = 100;

/// Tokens that are asked once. Signing them takes some seconds; asking them, about one.
const FIRST_TOKENS: usize = 20_000;

/// Makes the configuration of a scenario, and what is asked.
pub(crate) fn scenario(name: Name, surroundings: &Surroundings) -> anyhow::Result<Scenario> {
    let Surroundings { issuer, upstream } = surroundings;
    let mut expected = Expected::Code;
    let (configuration, questions) = match name {
        Name::Anonymous => (anonymous(json!({})), Questions::anonymous()),
        Name::ApiKey10 => (keyed(10, json!({})), keys(0..10)),
        Name::ApiKey10000 => (keyed(10_000, json!({})), keys(0..10_000)),
        // Numbers that no key has.
        Name::UnknownKey => (keyed(10_000, json!({})), Questions { expected: UNAUTHENTICATED, ..keys(10_000..11_000) }),
        Name::JwtSeen => (readers(json!({"jwksUrl": issuer.key_set_url()})), bearers(issuer.tokens(SEEN)?)),
        Name::JwtFirst => {
            let questions = Questions { once: true, ..bearers(issuer.tokens(FIRST_TOKENS)?) };
            (readers(json!({"jwksUrl": issuer.key_set_url()})), questions)
        }
        Name::JwtHs256 => {
            let mut configuration = readers(json!({"secretRef": {"name": "shared"}}));
            configuration.push_str(&secret("shared", json!({}), "key", SHARED_SECRET));
            (configuration, bearers(token::shared_secret_tokens(SEEN)?))
        }
        Name::X509 => certificates()?,
        Name::Cel10 => (anonymous(json!({"authorization": ten_predicates()})), Questions::anonymous()),
        Name::Opa => {
            let rego = "allow if input.context.request.http.method == \"GET\"";
            let policy = json!({"policy": {"opa": {"rego": rego, "version": "v1"}}});
            (anonymous(json!({"authorization": policy})), Questions::anonymous())
        }
        Name::MetadataCached => (keyed(10, metadata(upstream)), keys(0..10)),
        Name::Headers => {
            expected = Expected::Changes(headers_changes());
            (anonymous(json!({"response": headers()})), Questions::anonymous())
        }
        Name::Answers => {
            expected = Expected::Changes(answers_changes());
            (keyed(10, answers()), keys(0..10))
        }
        Name::Wristband | Name::WristbandCached => {
            let kept = name == Name::WristbandCached;
            let key = KeyPair::generate()?;
            let (public_key, username) = (key.public_key_raw().to_vec(), "key-0".to_owned());
            expected = Expected::Wristband(Wristband { public_key, username, kept });
            let mut configuration = keyed(10, wristband(kept));
            configuration.push_str(&secret("signing", json!({}), "key.pem", &key.serialize_pem()));
            (configuration, keys(0..10))
        }
        Name::Callbacks => {
            let questions = Questions { decisions: Some(Arc::clone(upstream.decisions())), ..keys(0..10) };
            (keyed(10, callbacks(upstream)), questions)
        }
    };
    Ok(Scenario { name, configuration, questions, expected })
}

fn keys(numbers: impl IntoIterator<Item = usize>) -> Questions {
    let frame = |number| framed(Credential::Authorization(&format!("APIKEY {}", api_key(number))));
    Questions::repeated(numbers.into_iter().map(frame))
}

fn bearers(tokens: Vec<String>) -> Questions {
    let frame = |token| framed(Credential::Authorization(&format!("Bearer {token}")));
    Questions::repeated(tokens.into_iter().map(frame))
}

fn readers(jwt: Value) -> String {
    let predicate = json!({"predicate": "'reader' in auth.identity.realm_access.roles"});
    auth_config(json!({
        "authentication": {"idp": {"jwt": jwt}},
        "authorization": {"readers": {"patternMatching": {"patterns": [predicate]}}},
    }))
}

fn certificates() -> anyhow::Result<(String, Questions)> {
    let authority = Authority::new()?;
    let labels = json!({"clients-of": "bench"});
    let pattern = json!({"selector": "auth.identity.Organization", "operator": "incl", "value": ORGANIZATION});
    let mut configuration = auth_config(json!({
        "authentication": {"clients": {"x509": {"selector": {"matchLabels": labels}}}},
        "authorization": {"organization": {"patternMatching": {"patterns": [pattern]}}},
    }));
    configuration.push_str(&secret("authority", labels, "ca.crt", &authority.pem));
    let certificates = (0..SEEN).map(|number| authority.client(number)).collect::<anyhow::Result<Vec<String>>>()?;
    let frames = certificates.iter().map(|certificate| framed(Credential::Certificate(certificate)));
    Ok((configuration, Questions::repeated(frames)))
}

fn ten_predicates() -> Value {
    let predicates = [
        "request.method == 'GET'",
        "request.host == 'api.bench.example.com'",
        "request.path.startsWith('/v1/')",
        "request.url_path == '/v1/orders/42'",
        "request.headers['x-forwarded-proto'] == 'https'",
        "request.headers['accept-language'].contains('en')",
        "!('x-debug' in request.headers)",
        "source.address.startsWith('203.0.113.')",
        "request.url_path.split('/').size() == 4",
        "has(auth.identity.anonymous) && auth.identity.anonymous",
    ];
    let patterns: Vec<Value> = predicates.map(|predicate| json!({"predicate": predicate})).into();
    json!({"ten": {"patternMatching": {"patterns": patterns}}})
}

/// For longer than anything is measured.
const DAY: u32 = 24 * 3600;

fn metadata(upstream: &Upstream) -> Value {
    let pattern = json!({"selector": "auth.metadata.account.status", "operator": "eq", "value": "good"});
    json!({
        "metadata": {"account": {
            "http": {"url": format!("{}{{auth.identity.metadata.name}}", upstream.accounts_url())},
            "cache": {"key": {"selector": "auth.identity.metadata.name"}, "ttl": DAY},
        }},
        "authorization": {"in-good-standing": {"patternMatching": {"patterns": [pattern]}}},
    })
}

fn headers() -> Value {
    json!({"success": {"headers": {
        "x-route": {"plain": {"selector": "request.url_path"}},
        "x-auth-data": {"json": {"properties": {
            "method": {"selector": "request.method"},
            "client": {"expression": "source.address"},
            "anonymous": {"selector": "auth.identity.anonymous"},
            "plan": {"value": "gold"},
        }}},
    }}})
}

fn headers_changes() -> Changes {
    let data = format!(r#"{{"anonymous":true,"client":"{CLIENT}","method":"GET","plan":"gold"}}"#);
    let headers = vec![pair("x-auth-data", &data), pair("x-route", "/v1/orders/42")];
    Changes { headers, ..Changes::default() }
}

fn answers() -> Value {
    let key = json!({"removeCredential": true});
    json!({
        "authentication": {"keys": key},
        "response": {"success": {
            "headers": {
                "x-forwarded-for": {"action": "append", "plain": {"selector": "source.address"}},
                "via": {"action": "append", "plain": {"value": "1.1 usher"}},
            },
            "removeHeaders": ["referer"],
            "responseHeaders": {"cache-control": {"action": "addIfAbsent", "plain": {"value": "private"}}},
        }},
    })
}

fn answers_changes() -> Changes {
    Changes {
        headers: vec![pair("via", "1.1 usher"), pair("x-forwarded-for", &format!("{CLIENT},{CLIENT}"))],
        removed: vec!["authorization".to_owned(), "referer".to_owned()],
        response_headers: vec![pair("cache-control", "private")],
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn wristband(kept: bool) -> Value {
    let name = json!({"selector": "auth.identity.metadata.name"});
    let mut item = json!({"wristband": {
        "issuer": format!("https://tokens.bench.example.com/bench/bench/{WRISTBAND}"),
        "customClaims": {"username": name},
        "tokenDuration": DAY,
        "signingKeyRefs": [{"name": "signing", "algorithm": "ES256"}],
    }});
    if let (true, Some(item)) = (kept, item.as_object_mut()) {
        item.insert("cache".to_owned(), json!({"key": name, "ttl": DAY}));
    }
    json!({"response": {"success": {"headers": {WRISTBAND: item}}}})
}

fn callbacks(upstream: &Upstream) -> Value {
    json!({"callbacks": {"audit": {"http": {
        "url": upstream.decisions_url(),
        "method": "POST",
        "contentType": "application/json",
        "bodyParameters": {
            "who": {"selector": "auth.identity.metadata.name"},
            "path": {"selector": "request.path"},
            "allowed": {"selector": "auth.decision.allowed"},
            "status": {"selector": "auth.decision.status"},
        },
    }}}})
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_api_key_is_asked_and_unknown_ones_are_unknown() {
        let surroundings = Surroundings::start().unwrap();
        let ten = scenario(Name::ApiKey10, &surroundings).unwrap();
        assert_eq!(ten.configuration.matches("\"kind\":\"Secret\"").count(), 10);
        assert_eq!(ten.questions.frames.iter().collect::<HashSet<_>>().len(), 10);
        let unknown = scenario(Name::UnknownKey, &surroundings).unwrap();
        let known = scenario(Name::ApiKey10000, &surroundings).unwrap();
        let known: HashSet<_> = known.questions.frames.iter().collect();
        assert!(unknown.questions.frames.iter().all(|frame| !known.contains(frame)));
        assert_eq!(unknown.questions.expected, UNAUTHENTICATED);
    }

    #[test]
    fn only_cached_wristbands_are_cached() {
        let surroundings = Surroundings::start().unwrap();
        for (name, cached) in [(Name::Wristband, false), (Name::WristbandCached, true)] {
            let scenario = scenario(name, &surroundings).unwrap();
            assert_eq!(scenario.configuration.contains("\"cache\""), cached);
            assert!(matches!(scenario.expected, Expected::Wristband(Wristband { kept, .. }) if kept == cached));
        }
    }

    #[test]
    fn names_are_words() {
        let words: Vec<String> = Name::all().into_iter().map(Name::word).collect();
        assert_eq!(
            words,
            [
                "anonymous",
                "api-key-10",
                "api-key-10000",
                "unknown-key",
                "jwt-seen",
                "jwt-first",
                "jwt-hs256",
                "x509",
                "cel-10",
                "opa",
                "metadata-cached",
                "headers",
                "answers",
                "wristband",
                "wristband-cached",
                "callbacks"
            ]
        );
    }
}
