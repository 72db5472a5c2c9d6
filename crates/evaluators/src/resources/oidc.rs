//! Issuers of JSON Web Tokens and their keys, kept up to date in the background.
//!
//! Checks read what was fetched last ([`Source::keys`]) and never fetch. They may ask for newer keys, when a token
//! names a key that is not there ([`Source::refresh`]): one fetch serves all who ask while it is under way, and such
//! fetches are some seconds apart, so that made-up tokens cannot turn this process against the issuer.

mod discovery;
mod verified;

#[cfg(test)]
pub(crate) mod test_issuer;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::Guard;
use usher_engine::Failure;

use crate::resources::{
    background::{Fetch, Kept, Registry, Timing, wait_for_all},
    http::Client,
    jwks::KeySet,
};

pub use super::background::Refresh;
pub use verified::{TokenHash, VerifiedToken, VerifiedTokens};

/// Where keys come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// An OpenID Connect issuer; its discovery document says where its keys are.
    Issuer(String),
    /// A key set.
    KeySet(String),
}

/// The configuration of a [`Source`]. Rules with equal ones share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceConfig {
    /// Where the keys come from.
    pub location: Location,
    /// After what time they are fetched again; never if not given.
    pub ttl: Option<Duration>,
    /// The time limit of each request; that of the client if not given.
    pub timeout: Option<Duration>,
}

/// All sources in use.
pub struct Issuers {
    client: Client,
    sources: Registry<SourceConfig, Source>,
}

impl Issuers {
    /// No sources yet. Background tasks run on the runtime in which this is called; without one (as when a
    /// configuration is only validated) on the runtime in which a source is asked for, and if there is none either,
    /// nothing is ever fetched.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with_timing(client, Timing::default())
    }

    fn with_timing(client: Client, timing: Timing) -> Self {
        Self { client, sources: Registry::new(timing) }
    }

    /// The source of that configuration. The first who asks for it makes its keys be fetched, at once and in the
    /// background; the last who drops it ends that.
    #[must_use]
    pub fn source(&self, config: SourceConfig) -> Arc<Source> {
        self.sources.get(config.clone(), |start| Source {
            kept: Kept::start(Publication { client: self.client.clone(), config }, start),
        })
    }

    /// Waits until the keys of every source in use were fetched, or that was tried once. False if that takes longer
    /// than `at_most`.
    pub async fn wait_first_attempts(&self, at_most: Duration) -> bool {
        let attempts = self.sources.in_use().iter().filter_map(|source| source.first_attempt()).collect();
        wait_for_all(attempts, at_most).await
    }
}

/// The keys of one issuer.
pub struct Source {
    kept: Kept<Publication>,
}

/// What was fetched with success, and what was verified with it. Nothing that was verified with other keys survives
/// them.
#[derive(Debug)]
pub struct Keys {
    /// The issuer as its discovery document names it; none for a bare key set.
    pub issuer: Option<String>,
    /// Where the issuer tells about the holder of an access token (OpenID Connect Core 1.0 §5.3), if its discovery
    /// document has a usable URL for that.
    pub user_info_endpoint: Option<String>,
    /// The keys.
    pub set: KeySet,
    /// Tokens that were verified with these keys.
    pub verified: VerifiedTokens,
}

impl Source {
    /// What was fetched last with success.
    pub fn keys(&self) -> Guard<Option<Arc<Keys>>> {
        self.kept.value()
    }

    /// Whether a discovery document says where the keys are.
    #[must_use]
    pub fn has_discovery(&self) -> bool {
        self.issuer().is_some()
    }

    /// The issuer, as the configuration and the discovery document name it; none for a bare key set.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match &self.kept.fetch().config.location {
            Location::Issuer(issuer) => Some(issuer),
            Location::KeySet(_) => None,
        }
    }

    /// Asks for newer keys.
    pub fn refresh(&self) -> Refresh<impl Future<Output = ()> + Send + use<>> {
        self.kept.refresh()
    }

    /// Waits for the end of the first attempt to fetch keys, if that is still to come.
    pub fn first_attempt(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.kept.first_attempt()
    }

    /// Whether the last attempt to fetch keys failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.kept.is_failing()
    }

    /// The failure of whoever needs keys that could not be fetched.
    #[must_use]
    pub fn unavailable(&self) -> Failure {
        self.kept.unavailable(match self.kept.fetch().config.location {
            Location::Issuer(_) => "missing openid connect configuration",
            Location::KeySet(_) => "missing json web key set",
        })
    }
}

/// What an issuer publishes.
struct Publication {
    client: Client,
    config: SourceConfig,
}

impl Fetch for Publication {
    type Value = Keys;

    /// Fetches everything anew. An issuer that moved its keys is followed, which fetching the keys alone would not do.
    async fn fetch(&self, last: Option<Arc<Keys>>) -> Result<Option<Keys>, String> {
        let SourceConfig { location, timeout, .. } = &self.config;
        let keys = discovery::load(&self.client, location, *timeout).await?;
        let Some(last) = last.filter(|last| last.issuer == keys.issuer && last.set.has_same_keys(&keys.set)) else {
            tracing::info!(?location, keys = keys.set.len(), "keys fetched");
            return Ok(Some(keys));
        };
        tracing::debug!(?location, "keys are unchanged");
        let moved = last.user_info_endpoint != keys.user_info_endpoint;
        Ok(moved.then(|| Keys { verified: last.verified.clone(), ..keys }))
    }

    fn ttl(&self) -> Option<Duration> {
        self.config.ttl
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.config.location, formatter)
    }
}

/// Without what may be secret in a URL.
impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, url) = match self {
            Self::Issuer(url) => ("issuer", url),
            Self::KeySet(url) => ("key set", url),
        };
        match url::Url::parse(url) {
            Ok(url) => write!(formatter, "{kind} {}", crate::resources::http::shown(&url)),
            Err(_) => write!(formatter, "{kind}"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("config", &self.kept.fetch().config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issuers").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
