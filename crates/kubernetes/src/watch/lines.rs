//! A watch, line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;

use crate::exchange::{Failure, MAX_OBJECT, too_large};

/// The lines of a watch that goes on.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// So much of the buffer has no end of line.
    searched: usize,
}

/// What a line says.
#[derive(Deserialize)]
pub(super) struct Line<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

impl<T> Line<T> {
    pub(super) fn map<U>(self, object: impl FnOnce(T) -> U) -> Line<U> {
        Line { kind: self.kind, object: object(self.object) }
    }
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line. None: the watch has ended, or nothing came for as long as `silence`.
    ///
    /// # Errors
    ///
    /// When the line is longer than what is read.
    pub(super) async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_OBJECT {
                return Err(too_large(MAX_OBJECT));
            }
            // A half line at the end is lost; the watch that follows tells the event again.
            let Ok(Some(Ok(frame))) = tokio::time::timeout(silence, self.body.frame()).await else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http::{Request, Response};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use kube::Client;

    use super::*;
    use crate::{Cluster, exchange::Cause};

    const SECOND: Duration = Duration::from_secs(1);

    /// The lines of an answer that begins like this, and goes on for ever.
    async fn of_endless(begin: Vec<u8>) -> Lines {
        let begin = Bytes::from(begin);
        let client = Client::new(
            tower::service_fn(move |_: Request<Body>| {
                let begin = Ok::<_, Infallible>(Frame::data(begin.clone()));
                let body = StreamBody::new(stream::iter([begin]).chain(stream::pending()));
                std::future::ready(Ok::<_, Infallible>(Response::new(body)))
            }),
            "default",
        );
        let body = Cluster::of_client(client).open(Request::new(Vec::new())).await.unwrap();
        Lines::new(body)
    }

    #[tokio::test]
    async fn lines_are_put_together_and_half_ones_are_not_told() {
        let text = "{\"a\":1}\n\n{\"b\":";
        let mut lines = Lines::new(Body::from(text.as_bytes().to_vec()));
        assert_eq!(lines.next(SECOND).await.unwrap().as_deref(), Some(&b"{\"a\":1}\n"[..]));
        assert_eq!(lines.next(SECOND).await.unwrap().as_deref(), Some(&b"\n"[..]));
        assert_eq!(lines.next(SECOND).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_ends() {
        let mut lines = of_endless(b"{}\n".to_vec()).await;
        assert_eq!(lines.next(70 * SECOND).await.unwrap().as_deref(), Some(&b"{}\n"[..]));
        assert_eq!(lines.next(70 * SECOND).await, Ok(None));
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept() {
        let mut lines = of_endless(vec![b' '; MAX_OBJECT + 1]).await;
        assert_eq!(lines.next(SECOND).await.unwrap_err().cause, Cause::TooLarge);
    }
}
