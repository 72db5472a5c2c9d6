//! Configurations, and what is asked with them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::check::{HOST, framed};
use crate::token::Issuer;

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
    /// Ten CEL predicates.
    #[value(name = "cel-10")]
    Cel10,
    /// A policy of one line.
    Opa,
    /// One plain header and one JSON header for the upstream.
    Headers,
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
}

impl Questions {
    fn repeated(frames: impl IntoIterator<Item = Bytes>) -> Self {
        Self { frames: frames.into_iter().collect(), expected: OK, once: false }
    }

    /// What every server that allows everybody can be asked.
    pub(crate) fn anonymous() -> Self {
        Self::repeated([framed(None)])
    }
}

const OK: i32 = 0;
const UNAUTHENTICATED: i32 = 16;

/// Tokens that are asked again and again; fewer than any cache holds.
const SEEN_TOKENS: usize = 100;

/// Tokens that are asked once. Signing them takes some seconds; asking them, about one.
const FIRST_TOKENS: usize = 20_000;

/// Makes the configuration of a scenario, and what is asked.
pub(crate) fn scenario(name: Name, issuer: &Issuer) -> anyhow::Result<Scenario> {
    let (configuration, questions) = match name {
        Name::Anonymous => (auth_config(anonymous(), json!({}), json!({})), Questions::anonymous()),
        Name::ApiKey10 => api_keys(10),
        Name::ApiKey10000 => api_keys(10_000),
        Name::UnknownKey => {
            let (configuration, _) = api_keys(10_000);
            // Numbers that no key has.
            let frames = (10_000..11_000).map(|number| framed(Some(&format!("APIKEY {}", api_key(number)))));
            (configuration, Questions { expected: UNAUTHENTICATED, ..Questions::repeated(frames) })
        }
        Name::JwtSeen => (jwt(issuer), Questions::repeated(bearers(issuer, SEEN_TOKENS)?)),
        Name::JwtFirst => {
            (jwt(issuer), Questions { once: true, ..Questions::repeated(bearers(issuer, FIRST_TOKENS)?) })
        }
        Name::Cel10 => (auth_config(anonymous(), ten_predicates(), json!({})), Questions::anonymous()),
        Name::Opa => {
            let rego = "allow if input.context.request.http.method == \"GET\"";
            let policy = json!({"policy": {"opa": {"rego": rego, "version": "v1"}}});
            (auth_config(anonymous(), policy, json!({})), Questions::anonymous())
        }
        Name::Headers => (auth_config(anonymous(), json!({}), headers()), Questions::anonymous()),
    };
    Ok(Scenario { name, configuration, questions })
}

fn anonymous() -> Value {
    json!({"anyone": {"anonymous": {}}})
}

fn api_keys(number: usize) -> (String, Questions) {
    let authentication = json!({"keys": {
        "apiKey": {"selector": {"matchLabels": {"group": "bench"}}},
        "credentials": {"authorizationHeader": {"prefix": "APIKEY"}},
    }});
    let pattern = json!({"selector": "request.method", "operator": "eq", "value": "GET"});
    let authorization = json!({"only-reading": {"patternMatching": {"patterns": [pattern]}}});
    let mut configuration = auth_config(authentication, authorization, json!({}));
    for number in 0..number {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": format!("key-{number}"),
                "namespace": "bench",
                "labels": {"group": "bench", "authorino.kuadrant.io/managed-by": "authorino"},
            },
            "stringData": {"api_key": api_key(number)},
        });
        configuration.push_str("---\n");
        configuration.push_str(&secret.to_string());
        configuration.push('\n');
    }
    let frames = (0..number).map(|number| framed(Some(&format!("APIKEY {}", api_key(number)))));
    (configuration, Questions::repeated(frames))
}

fn api_key(number: usize) -> String {
    format!("{number:08x}ndyBzreUzF4zqDQsqSPMHkRh")
}

fn jwt(issuer: &Issuer) -> String {
    let authentication = json!({"idp": {"jwt": {"jwksUrl": issuer.key_set_url()}}});
    let predicate = json!({"predicate": "'reader' in auth.identity.realm_access.roles"});
    let authorization = json!({"readers": {"patternMatching": {"patterns": [predicate]}}});
    auth_config(authentication, authorization, json!({}))
}

fn bearers(issuer: &Issuer, number: usize) -> anyhow::Result<Vec<Bytes>> {
    let tokens = issuer.tokens(number)?;
    Ok(tokens.iter().map(|token| framed(Some(&format!("Bearer {token}")))).collect())
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

fn auth_config(authentication: Value, authorization: Value, response: Value) -> String {
    let auth_config = json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": "bench", "namespace": "bench"},
        "spec": {
            "hosts": [HOST],
            "authentication": authentication,
            "authorization": authorization,
            "response": response,
        },
    });
    format!("{auth_config}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_api_key_is_asked_and_unknown_ones_are_unknown() {
        let (configuration, questions) = api_keys(10);
        assert_eq!(configuration.matches("\"kind\":\"Secret\"").count(), 10);
        assert_eq!(questions.frames.iter().collect::<HashSet<_>>().len(), 10);
        let issuer = Issuer::start().unwrap();
        let unknown = scenario(Name::UnknownKey, &issuer).unwrap();
        let (_, known) = api_keys(10_000);
        let known: HashSet<_> = known.frames.iter().collect();
        assert!(unknown.questions.frames.iter().all(|frame| !known.contains(frame)));
        assert_eq!(unknown.questions.expected, UNAUTHENTICATED);
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
                "cel-10",
                "opa",
                "headers"
            ]
        );
    }
}
