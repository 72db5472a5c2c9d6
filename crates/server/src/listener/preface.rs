//! The first bytes of a connection that should speak HTTP/2 (RFC 9113 §3.4).
//!
//! A gateway whose cluster is not marked as HTTP/2 speaks HTTP/1.1; then every check fails and nothing says why. So it is told:
//! to the client in an answer that it can read, to the operator in the log, in the words of each gateway.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::HANDSHAKE_TIMEOUT;
use super::stream::{Rewound, Stream};

const PREFACE: &[u8; Rewound::CAPACITY] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const EXPLANATION: &str = "this port speaks gRPC over HTTP/2, not HTTP/1.1; mark it as HTTP/2 for the gateway: \
    appProtocol kubernetes.io/h2c (kgateway), a port name that begins with grpc (Istio), http2_protocol_options (Envoy)\n";

/// What a client began with.
pub(crate) enum Preface {
    /// The preface, to be read again.
    Http2(Rewound),
    /// Something else.
    Other(Stream, Spoken),
    /// Nothing, or not in time: probes of load balancers do so.
    Nothing,
}

/// What a client speaks instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Spoken {
    /// HTTP/1.1, or anything that is not known.
    Other,
    /// TLS, to a port that has none.
    Tls,
}

impl Spoken {
    fn of(first: &[u8]) -> Self {
        /// A record that holds a handshake (RFC 8446 §5.1).
        const HANDSHAKE: u8 = 22;
        if first.first() == Some(&HANDSHAKE) { Self::Tls } else { Self::Other }
    }

    /// What the operator is told.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Other => {
                "a client does not speak HTTP/2; if it is a gateway, mark this port as HTTP/2 for it: appProtocol \
                 kubernetes.io/h2c on the port of the Service (kgateway), a port name that begins with grpc (Istio), \
                 http2_protocol_options on the cluster (Envoy)"
            }
            Self::Tls => {
                "a client speaks TLS to a port without it; set --tls-cert and --tls-cert-key, or let the gateway speak \
                 plain HTTP/2 (h2c)"
            }
        }
    }
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
                return Some(Err(Spoken::of(&first)));
            }
        }
        Some(Ok(()))
    };
    match timeout(HANDSHAKE_TIMEOUT, reading).await {
        Ok(Some(Ok(()))) => Preface::Http2(Rewound::new(first, length, stream)),
        Ok(Some(Err(spoken))) => Preface::Other(stream, spoken),
        Ok(None) | Err(_) => Preface::Nothing,
    }
}

/// Answers in HTTP/1.1, if that can be understood, and closes. What the client still sends is read for a moment: closing
/// over unread bytes would reset the connection and with it the answer.
pub(crate) async fn explain(mut stream: Stream, spoken: Spoken) {
    const PATIENCE: Duration = Duration::from_secs(2);
    if spoken == Spoken::Tls {
        return;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_instead_is_told_apart() {
        for (first, spoken) in [
            (&b"GET / HTTP/1.1\r\n"[..], Spoken::Other),
            (b"POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1", Spoken::Other),
            (b"\x16\x03\x01\x02\x00\x01", Spoken::Tls),
            (b"", Spoken::Other),
        ] {
            assert_eq!(Spoken::of(first), spoken, "{first:?}");
        }
    }
}
