//! HTTP for everything that is not gRPC: HTTP/1.1, and HTTP/2 where TLS settled on it.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;

use crate::listener::{Connection, Draining, Http2Settings, Listener, Protocol, Running, drive};

/// How long a client may take for the headers of a request, and keep a connection without one. Gateways keep idle connections
/// for reuse, and a port with its connections all taken by slow clients is free again after this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of the head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Headers of a request; gateways add many of their own.
const MAX_HEADERS: usize = 256;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request<Incoming>, client: &Client) -> impl Future<Output = Answer> + Send;

    /// Instead of an answer, when making it panicked.
    fn after_panic(&self) -> Answer {
        plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Shown in the TLS handshake.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// Serves a listener.
pub(crate) fn serve<H: Handler>(listener: Listener, handler: H) -> Running {
    listener.serve(Http(Arc::new(handler)))
}

struct Http<H>(Arc<H>);

impl<H: Handler> Protocol for Http<H> {
    async fn serve(&self, connection: Connection, draining: Draining) {
        let Connection { stream, peer, is_http2, client_certificate } = connection;
        let client = Arc::new(Client { certificate: client_certificate });
        let handler = Arc::clone(&self.0);
        let answer = move |request| {
            let (handler, client) = (Arc::clone(&handler), Arc::clone(&client));
            async move { Ok::<_, Infallible>(answer(&*handler, request, &client).await) }
        };
        let io = TokioIo::new(stream);
        if is_http2 {
            return drive(io, tower::service_fn(answer), Http2Settings::default(), draining).await;
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, hyper::service::service_fn(answer));
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = draining.begun() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "an HTTP connection ended");
        }
    }
}

async fn answer<H: Handler>(handler: &H, request: Request<Incoming>, client: &Client) -> Answer {
    let answer = AssertUnwindSafe(async { handler.handle(request, client).await }).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        tracing::error!("answering an HTTP request panicked");
        handler.after_panic()
    })
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// An answer in plain text.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, "application/json", text)
}

pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Refuses methods that do not read.
pub(crate) fn unless_reading(method: &Method) -> Option<Answer> {
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(answer)
}
