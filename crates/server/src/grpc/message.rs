//! One gRPC message there and one back (gRPC over HTTP/2, "Requests" and "Responses").
//!
//! ```text
//!  0        1             5
//!  ├────────┼─────────────┼──────────────
//!  │ 0      │ length      │ message          0: not compressed
//! ```

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use prost::Message;
use tonic::Status;

const PREFIX: usize = 5;

/// Whether the message of a call can be read: compressed ones are not.
pub(super) fn is_readable(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => {
            let mut status = Status::unimplemented("messages must not be compressed");
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity"));
            Err(status)
        }
        _ => Ok(()),
    }
}

/// The message is longer than the limit. It was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The only message of a call, of at most `limit` bytes. Nearly always it comes in one piece, and with the headers.
pub(super) async fn read(
    body: Incoming,
    limit: usize,
    deadline: Option<Instant>,
) -> Result<Result<Bytes, TooLong>, Status> {
    let mut reading = pin!(read_all(body, limit));
    match (futures_util::poll!(reading.as_mut()), deadline) {
        (Poll::Ready(read), _) => read,
        (Poll::Pending, None) => reading.await,
        (Poll::Pending, Some(deadline)) => match tokio::time::timeout_at(deadline.into(), reading).await {
            Ok(read) => read,
            Err(_) => Err(Status::deadline_exceeded("the message did not come in time")),
        },
    }
}

async fn read_all(mut body: Incoming, limit: usize) -> Result<Result<Bytes, TooLong>, Status> {
    let mut read = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::cancelled(format!("the call broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        read = match (read.is_empty(), data.is_empty()) {
            (true, _) => data,
            (false, true) => read,
            (false, false) => joined(read, data),
        };
        match length(&read) {
            Some(expected) if expected > limit => return Ok(Err(TooLong)),
            Some(expected) if read.len() > PREFIX + expected => return Err(several()),
            _ => {}
        }
        if body.is_end_stream() {
            break;
        }
    }
    let Some(expected) = length(&read) else {
        return Err(Status::internal("there is no message"));
    };
    if read.first() != Some(&0) {
        return Err(Status::internal("the message is compressed, though nothing says how"));
    }
    read.advance(PREFIX);
    if read.len() < expected {
        return Err(Status::internal("the message has no end"));
    }
    Ok(Ok(read))
}

fn several() -> Status {
    Status::internal("there is more than one message")
}

/// The length that the prefix tells, once it is there.
fn length(read: &[u8]) -> Option<usize> {
    let [_, length @ ..] = read.first_chunk::<PREFIX>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    // Grows in place: only its first piece is copied.
    let mut both = first.try_into_mut().unwrap_or_else(|first| BytesMut::from(&*first));
    both.extend_from_slice(&second);
    both.freeze()
}

/// A body with one message.
pub(super) fn body(message: &impl Message) -> Result<Body, Status> {
    let length = message.encoded_len();
    let told = u32::try_from(length).map_err(|_| Status::internal("the answer is too long"))?;
    let mut data = BytesMut::with_capacity(PREFIX + length);
    data.put_u8(0);
    data.put_u32(told);
    message.encode(&mut data).map_err(|_| Status::internal("the answer cannot be written"))?;
    Ok(Body::Message { data: Some(data.freeze()), has_trailers: true })
}

/// The answer to a call that ends well.
pub(super) fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The body of an answer. It tells no length beforehand: that would be one header more, and none that gRPC knows.
pub(crate) enum Body {
    /// A message and, in trailers, that all is well.
    Message {
        /// Until it is sent.
        data: Option<Bytes>,
        /// Whether there are trailers still to be sent.
        has_trailers: bool,
    },
    /// Of a generated service.
    Generated(tonic::body::Body),
}

/// Nothing: the headers of the answer say it all.
impl Default for Body {
    fn default() -> Self {
        Self::Message { data: None, has_trailers: false }
    }
}

impl From<tonic::body::Body> for Body {
    fn from(body: tonic::body::Body) -> Self {
        Self::Generated(body)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Generated(body) => Pin::new(body).poll_frame(context),
            Self::Message { data, has_trailers } => Poll::Ready(match data.take() {
                Some(data) => Some(Ok(Frame::data(data))),
                None if std::mem::take(has_trailers) => Some(Ok(Frame::trailers(trailers()))),
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Generated(body) => body.is_end_stream(),
            Self::Message { data, has_trailers } => data.is_none() && !has_trailers,
        }
    }
}

fn trailers() -> HeaderMap {
    const STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers
}
