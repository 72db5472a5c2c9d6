//! One HTTP/2 connection for gRPC, made when it is needed.

use std::{
    error::Error,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{task::spawn_blocking, time::Instant};
use tonic::transport::{self, Channel, ClientTlsConfig};
use usher_proto::authzed::api::v1::permissions_service_client::PermissionsServiceClient;

use super::{Endpoint, Shared};

/// The largest question, in bytes. Object ids and permissions are short.
const MAX_QUESTION: usize = 64 * 1024;
/// The largest answer, in bytes: a number and a token.
const MAX_ANSWER: usize = 16 * 1024;
/// How long the handshake of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// A connection, or the way to it.
pub(super) struct Connection {
    client: PermissionsServiceClient<Channel>,
    /// When the first question was asked since the last answer, if any was.
    silent_since: Mutex<Option<Instant>>,
}

impl Connection {
    /// A connection that is made with the first question, and again if it breaks.
    pub(super) async fn prepare(endpoint: &Endpoint, shared: &Shared) -> Result<Self, String> {
        let dialer = shared.dialer.clone();
        let (host, port) = (endpoint.address.bare_host().to_owned(), endpoint.address.port);
        let connector = tower::service_fn(move |_| {
            let (dialer, host) = (dialer.clone(), host.clone());
            async move { dialer.connect(&host, port).await.map(TokioIo::new) }
        });
        let channel = channel(endpoint, shared).await?.connect_with_connector_lazy(connector);
        let client = PermissionsServiceClient::new(channel)
            .max_encoding_message_size(MAX_QUESTION)
            .max_decoding_message_size(MAX_ANSWER);
        Ok(Self { client, silent_since: Mutex::default() })
    }

    /// A handle to ask one question with.
    pub(super) fn client(&self) -> PermissionsServiceClient<Channel> {
        self.client.clone()
    }

    /// Notes that a question is being asked.
    pub(super) fn asked(&self) {
        self.silence().get_or_insert_with(Instant::now);
    }

    /// Notes that a question was answered, somehow.
    pub(super) fn answered(&self) {
        *self.silence() = None;
    }

    /// How long questions have been waiting for any answer; none if they are not.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        self.silence().map(|since| since.elapsed())
    }

    fn silence(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tonic has to know about the server.
async fn channel(endpoint: &Endpoint, shared: &Shared) -> Result<transport::Endpoint, String> {
    let failed = |error: transport::Error| format!("{error}{}", causes(&error));
    let scheme = if endpoint.tls { "https" } else { "http" };
    let channel = transport::Endpoint::from_shared(format!("{scheme}://{endpoint}"))
        .and_then(|channel| channel.user_agent(concat!("usher/", env!("CARGO_PKG_VERSION"))))
        .map_err(failed)?;
    if !endpoint.tls {
        return Ok(channel);
    }
    let tls = ClientTlsConfig::new().timeout(HANDSHAKE_TIME).domain_name(endpoint.address.bare_host());
    match &shared.authority {
        Some(authority) => channel.tls_config(tls.ca_certificate(authority.clone())).map_err(failed),
        // They are files.
        None => spawn_blocking(move || channel.tls_config(tls.with_native_roots()).map_err(failed))
            .await
            .map_err(|error| error.to_string())?,
    }
}

/// The causes of an error, each after `: `.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("silent_for", &self.silent_for()).finish_non_exhaustive()
    }
}
