//! An issuer on a port of its own, for tests.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Issuers, Location, Source, SourceConfig, Timing};
pub(crate) use crate::resources::background::tests::until;
use crate::resources::{
    http::{
        Client, Options,
        test_server::{Reply, TestServer},
    },
    jwks::test_keys::TestKey,
};

pub(crate) const DISCOVERY: &str = "/realm/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/realm/keys";

/// An issuer that publishes what it is told to.
pub(crate) struct TestIssuer {
    pub(crate) server: TestServer,
    /// The issuer's URL.
    pub(crate) url: String,
}

impl TestIssuer {
    pub(crate) async fn start(keys: &[&TestKey]) -> Self {
        let server = TestServer::start().await;
        let issuer = Self { url: format!("{}/realm", server.url), server };
        issuer.publish_document(&issuer.document());
        issuer.publish(keys);
        issuer
    }

    /// A document like that of an issuer with which people sign in.
    pub(crate) fn document(&self) -> Value {
        json!({
            "issuer": self.url,
            "authorization_endpoint": format!("{}/auth", self.url),
            "jwks_uri": self.keys_url(),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    pub(crate) fn keys_url(&self) -> String {
        format!("{}{KEYS}", self.server.url)
    }

    pub(crate) fn publish_document(&self, document: &Value) {
        self.server.set(DISCOVERY, Reply::json(document));
    }

    pub(crate) fn publish(&self, keys: &[&TestKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.server.set(KEYS, Reply::json(&json!({ "keys": keys })));
    }

    pub(crate) fn fail(&self) {
        self.server.set(DISCOVERY, Reply::text(500, ""));
        self.server.set(KEYS, Reply::text(500, ""));
    }

    pub(crate) fn config(&self) -> SourceConfig {
        SourceConfig { location: Location::Issuer(self.url.clone()), ttl: None, timeout: Some(Duration::from_secs(5)) }
    }

    /// Its source, after the first attempt.
    pub(crate) async fn source(&self, issuers: &Issuers) -> Arc<Source> {
        let source = issuers.source(self.config());
        assert!(issuers.wait_first_attempts(Duration::from_secs(30)).await);
        source
    }
}

/// Sources that may reach this machine, are asked at most so often by checks, and do not try again by themselves.
pub(crate) fn issuers(on_demand_interval: Duration) -> Issuers {
    let day = Duration::from_secs(24 * 3600);
    issuers_with(Timing { first_pause: day, longest_pause: day, on_demand_interval })
}

pub(super) fn issuers_with(timing: Timing) -> Issuers {
    let client = Client::new(Options { allow_loopback: true, ..Options::default() }).unwrap();
    Issuers::with_timing(client, timing)
}
