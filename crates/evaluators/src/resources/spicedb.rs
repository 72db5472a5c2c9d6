//! SpiceDB servers: one connection for each, shared by all rules.
//!
//! ```text
//!  plan ──► Arc<Server> ◄── weak ── Servers        one Server per endpoint, however many rules name it
//!              │
//!              └─ connection      HTTP/2, made when the first check needs it; ends with the last plan that names it
//! ```
//!
//! A connection that breaks is made anew for the next question. One that is silent looks like one that is slow: when
//! questions go unanswered for [`PATIENCE`], it is left to those who still wait, and the next question makes another.

mod connection;

#[cfg(test)]
pub(crate) mod test_server;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::uri::Authority;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Certificate,
};
use usher_engine::Failure;
use usher_proto::authzed::api::v1::{CheckPermissionRequest, CheckPermissionResponse};

use crate::resources::{
    http::{Client, Dialer, Onward},
    in_use::InUse,
};
use connection::{Connection, causes};

/// How long questions go unanswered before another connection is tried.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The most time for a question that has no limit of its own.
pub const LONGEST_QUESTION: Duration = Duration::from_secs(60);

/// Where a server is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host and the port.
    pub address: Address,
    /// Whether with TLS.
    pub tls: bool,
}

/// `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name, or an address; one of IPv6 in brackets.
    host: String,
    port: u16,
}

/// The text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address such as `spicedb.example:50051`")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    /// Reads `host:port`, or `host` for port 443.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let authority: Authority = text.parse().map_err(|_| invalid())?;
        let rest = text.get(authority.host().len()..);
        let port = match rest.and_then(|rest| rest.strip_prefix(':')) {
            None if rest == Some("") => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?,
            None => return Err(invalid()),
        };
        if authority.host().is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: authority.host().to_ascii_lowercase(), port })
    }
}

impl Address {
    /// The host without brackets.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The port of TLS, as gRPC has it.
const DEFAULT_PORT: u16 = 443;

/// The key has characters that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has characters that cannot be sent, such as the end of a line")]
pub struct InvalidKey;

/// A preshared key, as it is sent.
#[derive(Clone)]
pub struct Key(MetadataValue<Ascii>);

impl Key {
    /// The key of a Secret; none if that is empty.
    ///
    /// # Errors
    /// When there are characters in it that cannot be sent: all but visible ASCII characters and spaces.
    pub fn new(key: &str) -> Result<Option<Self>, InvalidKey> {
        if key.is_empty() {
            return Ok(None);
        }
        if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidKey);
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(|_| InvalidKey)?;
        value.set_sensitive(true);
        Ok(Some(Self(value)))
    }
}

/// All servers in use.
#[derive(Debug)]
pub struct Servers {
    shared: Arc<Shared>,
    servers: InUse<Endpoint, Server>,
}

/// What all connections are made with.
#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    /// Whom to trust instead of the authorities of the machine.
    authority: Option<Certificate>,
    /// See [`PATIENCE`].
    patience: Duration,
}

impl Servers {
    /// No servers yet. They are reached by the rules of this client about addresses, and trusted if an authority of the
    /// machine vouches for them.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self::with(Shared { dialer: client.dialer(), authority: None, patience: PATIENCE })
    }

    fn with(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), servers: InUse::default() }
    }

    /// The server at that endpoint. Nothing is sent before the first question.
    #[must_use]
    pub fn server(&self, endpoint: Endpoint) -> Arc<Server> {
        self.servers.get(endpoint.clone(), || Server {
            endpoint,
            shared: Arc::clone(&self.shared),
            connection: ArcSwapOption::empty(),
            making: tokio::sync::Mutex::default(),
        })
    }
}

/// One server.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    connection: ArcSwapOption<Connection>,
    /// Held by who makes a connection.
    making: tokio::sync::Mutex<()>,
}

impl Server {
    /// Asks whether a subject has a permission, on behalf of a check.
    ///
    /// # Errors
    /// When the server refuses to say, or does not answer in time.
    pub async fn check(
        &self,
        question: CheckPermissionRequest,
        key: Option<&Key>,
        timeout: Option<Duration>,
        onward: &Onward,
    ) -> Result<CheckPermissionResponse, Refusal> {
        let mut request = Request::new(question);
        onward.put(request.metadata_mut().as_mut());
        if let Some(Key(key)) = key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        let limit = timeout.unwrap_or(LONGEST_QUESTION).min(LONGEST_QUESTION);
        match tokio::time::timeout(limit, self.ask(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::Timeout(format!("{}: no answer within {limit:?}", self.endpoint))),
        }
    }

    async fn ask(&self, request: Request<CheckPermissionRequest>) -> Result<CheckPermissionResponse, Refusal> {
        let connection = self.connection().await?;
        let waiting = Waiting { server: self, connection: &connection };
        connection.asked();
        let answer = connection.client().check_permission(request).await;
        connection.answered();
        drop(waiting);
        answer.map(tonic::Response::into_inner).map_err(|status| Refusal::of(&status, &self.endpoint))
    }

    async fn connection(&self) -> Result<Arc<Connection>, Refusal> {
        if let Some(connection) = self.connection.load_full() {
            return Ok(connection);
        }
        let _making = self.making.lock().await;
        if let Some(connection) = self.connection.load_full() {
            return Ok(connection);
        }
        let connection = Connection::prepare(&self.endpoint, &self.shared).await;
        let connection = connection.map_err(|error| Refusal::Error(format!("{}: {error}", self.endpoint)))?;
        let connection = Arc::new(connection);
        self.connection.store(Some(Arc::clone(&connection)));
        Ok(connection)
    }

    /// Takes a connection out of use, unless that has happened already.
    fn give_up(&self, connection: &Arc<Connection>) {
        let current = self.connection.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            tracing::warn!(server = %self.endpoint, "SpiceDB does not answer: the next question tries another connection");
            self.connection.compare_and_swap(&current, None);
        }
    }
}

/// Somebody who waits for an answer, until there is one or they are gone.
struct Waiting<'a> {
    server: &'a Server,
    connection: &'a Arc<Connection>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.connection.silent_for().is_some_and(|silence| silence >= self.server.shared.patience) {
            self.server.give_up(self.connection);
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server does not answer this process: the preshared key is wrong, or is missing.
    #[error("{0}")]
    Unwelcome(String),
    /// The time was over.
    #[error("{0}")]
    Timeout(String),
    /// There is no connection, or the server could not answer.
    #[error("{0}")]
    Error(String),
}

impl Refusal {
    fn of(status: &Status, endpoint: &Endpoint) -> Self {
        let detail = format!("{endpoint}: {:?}: {}{}", status.code(), status.message(), causes(status));
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Unwelcome(detail),
            Code::DeadlineExceeded => Self::Timeout(detail),
            _ => Self::Error(detail),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unwelcome(detail) => {
                tracing::debug!(detail, "SpiceDB refused a question");
                Self::denied("SpiceDB refused the question")
            }
            Refusal::Timeout(detail) => Self::undecidable("SpiceDB timed out", detail),
            Refusal::Error(detail) => Self::undecidable("SpiceDB failed", detail),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.address.host, self.address.port)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests;
