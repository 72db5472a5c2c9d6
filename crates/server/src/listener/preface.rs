//! The first bytes of a connection that should speak HTTP/2 (RFC 9113 §3.4).
//!
//! A gateway whose cluster is not marked as HTTP/2 speaks HTTP/1.1; then every check fails and nothing says why. So it is told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::HANDSHAKE_TIMEOUT;
use super::stream::{Rewound, Stream};

const PREFACE: &[u8; Rewound::CAPACITY] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const EXPLANATION: &str = "this port speaks gRPC over HTTP/2; mark the cluster as h2c\n";

/// What a client began with.
pub(crate) enum Preface {
    /// The preface, to be read again.
    Http2(Rewound),
    /// Something else.
    Other(Stream),
    /// Nothing, or not in time: probes of load balancers do so.
    Nothing,
}

pub(crate) async fn read(mut stream: Stream) -> Preface {
    let mut first = [0; Rewound::CAPACITY];
    let mut length = 0;
    let reading = async {
        while let Some(rest) = first.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match stream.read(rest).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => length += read,
            }
            if first.get(..length) != PREFACE.get(..length) {
                return Some(false);
            }
        }
        Some(true)
    };
    match timeout(HANDSHAKE_TIMEOUT, reading).await {
        Ok(Some(true)) => Preface::Http2(Rewound::new(first, length, stream)),
        Ok(Some(false)) => Preface::Other(stream),
        Ok(None) | Err(_) => Preface::Nothing,
    }
}

/// Answers in HTTP/1.1 and closes. What the client still sends is read for a moment: closing over unread bytes would reset the
/// connection and with it the answer.
pub(crate) async fn explain(mut stream: Stream) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let answer = format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{EXPLANATION}",
        EXPLANATION.len()
    );
    let _ = timeout(PATIENCE, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}
