//! HTTP/2, with the requests of a connection run inside the connection's own task.
//!
//! Run as tasks of their own, finished requests wake the connection one by one and each answer costs a write. Here all requests
//! that can go on do so, then everything they answered is written at once. The price: the requests of one connection share a
//! thread, so whatever computes for long has to move itself elsewhere.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tower::Service;

use super::preface::{self, Preface, Spoken};
use super::{Connection, Draining, Listener, Protocol, Running};

/// Limits of an HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub struct Http2Settings {
    /// Requests at a time on one connection.
    pub max_concurrent_streams: u32,
    /// Bytes of one request that may be on their way.
    pub stream_window: u32,
    /// Bytes of all requests of a connection that may be on their way; large enough that bodies do not wait for each other.
    pub connection_window: u32,
    /// Bytes of the headers of one request, as RFC 9113 §6.5.2 counts them.
    pub max_header_list_bytes: u32,
    /// Silence after which the client is asked whether it is still there.
    pub keep_alive_interval: Duration,
    /// How long it has to answer that.
    pub keep_alive_timeout: Duration,
    /// Whether answers tell the time, as those of a web server have to (RFC 9110 §6.6.1). Calls of gRPC have no use for it.
    pub date_header: bool,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 10_000,
            stream_window: 1 << 20,
            connection_window: 8 << 20,
            max_header_list_bytes: 64 << 10,
            keep_alive_interval: Duration::from_secs(2 * 60 * 60),
            keep_alive_timeout: Duration::from_secs(20),
            date_header: true,
        }
    }
}

/// Requests that were reset before they were looked at; more end the connection. A gateway whose deadlines pass in a burst needs
/// more than the library's default of 20.
const MAX_PENDING_RESETS: usize = 1000;

impl Listener {
    /// Serves HTTP/2 with any service, and with nothing in between.
    pub fn serve_http2<S, B>(self, service: S, settings: Http2Settings) -> Running
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.serve(Http2 { service, settings, strangers: Strangers::default() })
    }
}

struct Http2<S> {
    service: S,
    settings: Http2Settings,
    strangers: Strangers,
}

/// Clients that do not speak HTTP/2, and were told of: a gateway comes back with every request.
#[derive(Default)]
struct Strangers {
    known: Mutex<HashSet<(IpAddr, Spoken)>>,
}

impl Strangers {
    /// Of more clients than have anything to do here, the log says nothing.
    const MOST: usize = 64;

    /// Whether this one was not there before.
    fn is_new(&self, address: IpAddr, spoken: Spoken) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < Self::MOST && known.insert((address, spoken))
    }
}

impl<S, B> Protocol for Http2<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    async fn serve(&self, connection: Connection, draining: Draining) {
        let Connection { stream, peer, .. } = connection;
        let preface = tokio::select! {
            preface = preface::read(stream) => preface,
            () = draining.clone().begun() => return,
        };
        match preface {
            Preface::Http2(stream) => drive(TokioIo::new(stream), self.service.clone(), self.settings, draining).await,
            Preface::Other(stream, spoken) => {
                if self.strangers.is_new(peer.ip(), spoken) {
                    tracing::warn!(%peer, "{}", spoken.message());
                }
                preface::explain(stream, spoken).await;
            }
            Preface::Nothing => {}
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn drive<I, S, B>(io: I, service: S, settings: Http2Settings, draining: Draining)
where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (executor, mut spawned) = mpsc::unbounded_channel();
    let service = TowerToHyperService::new(service);
    let mut connection = pin!(
        http2::Builder::new(InConnection(executor))
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_concurrent_streams)
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_header_list_size(settings.max_header_list_bytes)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .keep_alive_interval(settings.keep_alive_interval)
            .keep_alive_timeout(settings.keep_alive_timeout)
            .auto_date_header(settings.date_header)
            .serve_connection(io, service)
    );
    let mut requests = FuturesUnordered::new();
    let mut draining = pin!(draining.begun().fuse());
    poll_fn(|context| {
        if draining.as_mut().poll(context).is_ready() {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            // Reads requests, and writes what has been answered.
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                }
                return Poll::Ready(());
            }
            let mut has_answered = false;
            while let Poll::Ready(Some(mut request)) = spawned.poll_recv(context) {
                // Most are done at once. Only those that have to wait get a place where they are woken one by one.
                match request.as_mut().poll(context) {
                    Poll::Ready(_) => has_answered = true,
                    Poll::Pending => requests.push(request),
                }
            }
            while let Poll::Ready(Some(_)) = requests.poll_next_unpin(context) {
                has_answered = true;
            }
            if !has_answered {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Hands futures to the task of their connection.
#[derive(Clone)]
struct InConnection(mpsc::UnboundedSender<Task>);

/// A request to its end. One that panics ends alone: its stream is reset when it is dropped.
type Task = Pin<Box<dyn Future<Output = Result<(), Box<dyn std::any::Any + Send>>> + Send>>;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for InConnection {
    fn execute(&self, future: F) {
        let _ = self.0.send(Box::pin(AssertUnwindSafe(future).catch_unwind()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_stranger_is_told_of_once_and_there_is_an_end() {
        let strangers = Strangers::default();
        let address = |number: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, number));
        assert!(strangers.is_new(address(1), Spoken::Other));
        assert!(!strangers.is_new(address(1), Spoken::Other));
        assert!(strangers.is_new(address(1), Spoken::Tls), "it is another mistake");
        let told = (0..=u8::MAX).filter(|number| strangers.is_new(address(*number), Spoken::Other)).count();
        assert_eq!(told, Strangers::MOST - 2);
    }
}
