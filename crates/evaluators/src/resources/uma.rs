//! Servers of User-Managed Access 2.0 (UMA), as a resource server sees them: where they are asked, found out in the
//! background, and the tokens with which.
//!
//! ```text
//!  plan ──► Arc<UmaServer> ─┬─ endpoints    from /.well-known/uma2-configuration, fetched at once and every hour
//!                           └─ token        a protection API token, fetched when it is needed and kept while it lasts
//! ```

mod token;

#[cfg(test)]
pub(crate) mod test_server;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::Guard;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use serde_json::Value;
use url::Url;
use usher_engine::Failure;

use crate::{
    json_answer::first_value,
    resources::{
        background::{Fetch, Kept, Registry, Timing, wait_for_all},
        http::{Client, FetchError, Onward, Request, Response, parse_url, shown},
    },
};

pub use token::Token;
use token::Tokens;

/// The configuration of an [`UmaServer`]. Rules with equal ones share it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UmaConfig {
    /// The URL of the server: its issuer.
    pub endpoint: String,
    /// The `Authorization` header of this process at the server.
    pub authorization: HeaderValue,
    /// The time limit of each request; that of the client if not given.
    pub timeout: Option<Duration>,
}

/// All servers in use.
pub struct UmaServers {
    client: Client,
    servers: Registry<UmaConfig, UmaServer>,
}

impl UmaServers {
    /// No servers yet. Their configurations are fetched on the runtime in which this is called; without one on the
    /// runtime in which a server is asked for, and if there is none either, nothing is ever fetched.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with_timing(client, Timing::default())
    }

    fn with_timing(client: Client, timing: Timing) -> Self {
        Self { client, servers: Registry::new(timing) }
    }

    /// The server of that configuration. The first who asks for it makes it be looked for, at once and in the
    /// background; the last who drops it ends that.
    #[must_use]
    pub fn server(&self, config: UmaConfig) -> Arc<UmaServer> {
        self.servers.get(config.clone(), |start| {
            let discovery =
                Discovery { client: self.client.clone(), endpoint: config.endpoint.clone(), timeout: config.timeout };
            let tokens = Tokens::new(self.client.clone(), config.authorization, config.timeout);
            UmaServer { endpoints: Kept::start(discovery, start), tokens }
        })
    }

    /// Waits until the configuration of every server in use was fetched, or that was tried once. False if that takes
    /// longer than `at_most`.
    pub async fn wait_first_attempts(&self, at_most: Duration) -> bool {
        let attempts = self.servers.in_use().iter().filter_map(|server| server.first_attempt()).collect();
        wait_for_all(attempts, at_most).await
    }
}

/// A UMA authorization server.
pub struct UmaServer {
    endpoints: Kept<Discovery>,
    tokens: Tokens,
}

/// Where a server is asked (Federated Authorization for UMA 2.0 §2).
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// For tokens.
    pub token: Url,
    /// For resources.
    pub resource_registration: Url,
}

impl UmaServer {
    /// Where it is asked, as it said last.
    pub fn endpoints(&self) -> Guard<Option<Arc<Endpoints>>> {
        self.endpoints.value()
    }

    /// Waits for the end of the first attempt to find that out, if that is still to come.
    pub fn first_attempt(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.endpoints.first_attempt()
    }

    /// The failure of whoever needs the endpoints while they are not known. Makes them be looked for sooner, perhaps.
    #[must_use]
    pub fn unavailable(&self) -> Failure {
        let _ = self.endpoints.refresh();
        self.endpoints.unavailable("missing uma configuration")
    }

    /// A token for the protection API (UMA: "PAT"): the last one if it is still good, else a new one. All who need a
    /// new one at the same time share it.
    ///
    /// # Errors
    /// When the server gives none.
    pub async fn token(&self, endpoints: &Endpoints) -> Result<Token, Failure> {
        self.tokens.get(&endpoints.token).await
    }

    /// Forgets a token that the server does not accept any more.
    pub async fn forget(&self, token: &Token) {
        self.tokens.forget(token).await;
    }

    /// Asks the protection API for what is at a URL, on behalf of a check.
    ///
    /// # Errors
    /// When there is no complete answer within time and size.
    pub async fn get(&self, url: &Url, token: &Token, onward: &Onward) -> Result<Response, FetchError> {
        let discovery = self.endpoints.fetch();
        let mut request = Request::get(url.as_str(), discovery.timeout);
        request.headers = HeaderMap::from_iter([
            (AUTHORIZATION, token.authorization().clone()),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        onward.put(&mut request.headers);
        discovery.client.fetch(request).await
    }
}

/// How the configuration of a server is fetched.
struct Discovery {
    client: Client,
    endpoint: String,
    timeout: Option<Duration>,
}

/// Servers move their endpoints hardly ever.
const TTL: Duration = Duration::from_secs(3600);

impl Fetch for Discovery {
    type Value = Endpoints;

    async fn fetch(&self, last: Option<Arc<Endpoints>>) -> Result<Option<Endpoints>, String> {
        let base = self.endpoint.strip_suffix('/').unwrap_or(&self.endpoint);
        let mut request = Request::get(format!("{base}/.well-known/uma2-configuration"), self.timeout);
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.client.fetch(request).await.map_err(|error| error.to_string())?;
        if response.status != StatusCode::OK {
            return Err(format!("status {} instead of 200", response.status.as_u16()));
        }
        let endpoints = read(&first_value(response.body).await?, &self.endpoint)?;
        Ok(Some(endpoints).filter(|endpoints| last.as_deref() != Some(endpoints)))
    }

    fn ttl(&self) -> Option<Duration> {
        Some(TTL)
    }
}

/// Reads the configuration document of the server `issuer`.
fn read(document: &Value, issuer: &str) -> Result<Endpoints, String> {
    let member = |name: &str| {
        let value = document.get(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("the uma configuration has no `{name}`"))
    };
    let named = member("issuer")?;
    // Byte for byte, as with OpenID Connect: who answers for one server must not be able to speak for another.
    if named != issuer {
        return Err(format!(
            "uma endpoint does not match the issuer returned by provider, expected \"{issuer}\" got \"{named}\""
        ));
    }
    let url =
        |name: &str| parse_url(member(name)?).map_err(|error| format!("`{name}` of the uma configuration: {error}"));
    Ok(Endpoints { token: url("token_endpoint")?, resource_registration: url("resource_registration_endpoint")? })
}

impl fmt::Display for Discovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(&self.endpoint) {
            Ok(url) => write!(formatter, "uma server {}", shown(&url)),
            Err(_) => formatter.write_str("uma server"),
        }
    }
}

/// Without what is secret.
impl fmt::Debug for UmaConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UmaConfig").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl fmt::Debug for UmaServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UmaServer({})", self.endpoints.fetch())
    }
}

impl fmt::Debug for UmaServers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UmaServers").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
