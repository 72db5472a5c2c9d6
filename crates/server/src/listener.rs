//! Ports: bind, accept, TLS, and an orderly end.

mod http2;
mod preface;
mod stream;

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

pub use self::http2::Http2Settings;
pub(crate) use self::http2::drive;
pub(crate) use self::stream::Stream;
use crate::Tls;

/// Longest TLS handshake, and longest wait for the first bytes of a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Address and port; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// None for plain TCP.
    pub tls: Option<Tls>,
    /// Connections at a time; more wait in the queue of the system.
    pub max_connections: usize,
}

impl ListenerSettings {
    /// Connections at a time unless said otherwise.
    pub const MAX_CONNECTIONS: usize = 10_000;

    /// Plain TCP on an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, tls: None, max_connections: Self::MAX_CONNECTIONS }
    }

    /// All interfaces, IPv4 and IPv6.
    #[must_use]
    pub fn all_interfaces(port: u16) -> Self {
        Self::new((Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// With TLS, or without.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }
}

/// A port could not be taken.
#[derive(Debug)]
pub struct BindError {
    /// The port that was asked for.
    pub address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on `{}`", self.address)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A port that is taken and not served yet: connections wait.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    max_connections: usize,
}

impl Listener {
    /// Takes a port. Without IPv6 on this machine, "all interfaces" means IPv4.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the port is taken, not allowed, or not of this machine.
    pub async fn bind(settings: ListenerSettings) -> Result<Self, BindError> {
        let ListenerSettings { address, tls, max_connections } = settings;
        let failed = |source| BindError { address, source };
        let listener = match TcpListener::bind(address).await {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            other => other,
        };
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls, max_connections })
    }

    /// The address that was taken, with its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves every connection with a protocol.
    pub(crate) fn serve<P: Protocol>(self, protocol: P) -> Running {
        let address = self.address;
        let (drain, draining) = watch::channel(None);
        let task = tokio::spawn(self.accept(Arc::new(protocol), draining));
        Running { address, drain, task }
    }

    /// Accepts connections until told to drain. Returns how many connections were cut.
    async fn accept<P: Protocol>(self, protocol: Arc<P>, mut drain: watch::Receiver<Option<Instant>>) -> usize {
        let mut connections = JoinSet::new();
        let permits = Arc::new(Semaphore::new(self.max_connections.max(1)));
        loop {
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            tokio::select! {
                biased;
                // The sender is gone with the handle: nobody can ask for an orderly end any more.
                changed = drain.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return connections.len(),
                },
                Some(ended) = connections.join_next() => report(ended),
                (accepted, permit) = next => match (accepted, permit) {
                    (Ok((tcp, peer)), Ok(permit)) => {
                        let draining = Draining(drain.clone());
                        connections.spawn(connection(tcp, peer, self.tls.clone(), Arc::clone(&protocol), draining, permit));
                    }
                    (Err(error), _) => refused(error).await,
                    (Ok(_), Err(_)) => break,
                },
            }
        }
        drop(self.listener);
        let deadline = (*drain.borrow()).unwrap_or_else(Instant::now);
        while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
            report(ended);
        }
        let cut = connections.len();
        connections.shutdown().await;
        cut
    }
}

/// A port that is served. Dropped, it stops at once, and so do its connections.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    drain: watch::Sender<Option<Instant>>,
    task: JoinHandle<usize>,
}

impl Running {
    /// The address that is served, with its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, tells clients to go elsewhere (GOAWAY, `connection: close`), lets requests end for at most `grace`, then
    /// cuts. Returns how many connections had to be cut.
    pub async fn shutdown(self, grace: Duration) -> usize {
        let now = Instant::now();
        let _ = self.drain.send(Some(now.checked_add(grace).unwrap_or(now)));
        self.task.await.unwrap_or_default()
    }
}

/// What is spoken on the connections of a port.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// Serves one connection to its end; soon after draining began.
    fn serve(&self, connection: Connection, draining: Draining) -> impl Future<Output = ()> + Send;
}

/// A connection that is open.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    /// Whether TLS settled on HTTP/2.
    pub(crate) is_http2: bool,
    /// The certificate that the client showed, if it did; verified or not, as the settings of TLS say.
    pub(crate) client_certificate: Option<CertificateDer<'static>>,
}

/// Tells when the port begins to drain.
#[derive(Clone)]
pub(crate) struct Draining(watch::Receiver<Option<Instant>>);

impl Draining {
    pub(crate) async fn begun(mut self) {
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

async fn connection<P: Protocol>(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    protocol: Arc<P>,
    draining: Draining,
    _permit: OwnedSemaphorePermit,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let connection = match tls {
        None => Connection { stream: Stream::Plain(tcp), peer, is_http2: false, client_certificate: None },
        Some(tls) => match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls.current()).accept(tcp)).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                let client_certificate = session.peer_certificates().and_then(|chain| chain.first().cloned());
                Connection { stream: Stream::Tls(Box::new(stream)), peer, is_http2, client_certificate }
            }
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
        },
    };
    protocol.serve(connection, draining).await;
}

/// Accepting fails for a while when the process has no file descriptors left, and never for good.
async fn refused(error: io::Error) {
    let is_about_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !is_about_one_connection {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a connection panicked");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing;

    /// Writes one byte and reads to the end.
    struct Greeting;

    impl Protocol for Greeting {
        async fn serve(&self, mut connection: Connection, draining: Draining) {
            let talk = async {
                let _ = connection.stream.write_all(b"h").await;
                let _ = connection.stream.read_to_end(&mut Vec::new()).await;
            };
            tokio::select! {
                () = talk => {}
                () = draining.begun() => {}
            }
        }
    }

    async fn greeted(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'h');
        stream
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let listener = testing::listener(None).await;
        let error = Listener::bind(ListenerSettings::new(listener.address())).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on `{}`", listener.address()));
        assert!(std::error::Error::source(&error).is_some());
    }

    #[tokio::test]
    async fn all_interfaces_include_loopback() {
        let running = Listener::bind(ListenerSettings::all_interfaces(0)).await.unwrap().serve(Greeting);
        greeted(SocketAddr::from((Ipv4Addr::LOCALHOST, running.address().port()))).await;
    }

    #[tokio::test]
    async fn connections_above_the_limit_wait() {
        let settings = ListenerSettings { max_connections: 1, ..ListenerSettings::new(([127, 0, 0, 1], 0).into()) };
        let running = Listener::bind(settings).await.unwrap().serve(Greeting);
        let first = greeted(running.address()).await;
        let mut second = TcpStream::connect(running.address()).await.unwrap();
        assert!(timeout(Duration::from_millis(50), second.read_u8()).await.is_err());
        drop(first);
        assert_eq!(second.read_u8().await.unwrap(), b'h');
    }

    #[tokio::test]
    async fn shutdown_and_drop_end_connections() {
        let running = testing::listener(None).await.serve(Greeting);
        let mut open = greeted(running.address()).await;
        assert_eq!(running.shutdown(Duration::from_secs(60)).await, 0);
        assert_eq!(open.read(&mut [0]).await.unwrap(), 0);

        let running = testing::listener(None).await.serve(Greeting);
        let mut open = greeted(running.address()).await;
        drop(running);
        assert!(!matches!(open.read(&mut [0]).await, Ok(read) if read > 0));
    }
}
