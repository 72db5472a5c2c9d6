//! A connection to the gateway: HTTP/1.1, kept open, one request at a time. No library for HTTP, so that as much as possible
//! of the time is the gateway's.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::check::CLIENT;

/// A connection that stays open as long as all answers are as expected.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    answer: BytesMut,
}

impl Connection {
    /// Opens it for the client that all checks are about (PROXY protocol, version 1).
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let own = stream.local_addr()?.port();
        stream.write_all(format!("PROXY TCP4 {CLIENT} 127.0.0.1 {own} {}\r\n", address.port()).as_bytes()).await?;
        Ok(Self { stream, answer: BytesMut::with_capacity(LONGEST) })
    }

    /// Sends a request, and reads all of its answer.
    ///
    /// # Errors
    /// If the answer is not 200, or is not all that comes. The connection must not be used again.
    pub(super) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the gateway closed the connection");
            }
            let Some(answer) = answer(&self.answer)? else { continue };
            if answer.status != 200 {
                bail!("the gateway answers with HTTP {}: `{}`", answer.status, String::from_utf8_lossy(answer.all));
            }
            return Ok(());
        }
    }
}

/// The most bytes of an answer. Those that are expected have about 100.
const LONGEST: usize = 16 << 10;

#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    all: &'a [u8],
}

/// The answer that these bytes are; none if more of it has yet to come.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<Answer<'_>>> {
    ensure!(bytes.len() <= LONGEST, "the answer of the gateway is longer than {LONGEST} bytes");
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = bytes.split_at_checked(end + 4).context("the answer is too short")?;
    let head = std::str::from_utf8(head).context("the answer of the gateway is no text")?;
    let (line, headers) = head.split_once("\r\n").context("the answer of the gateway has no first line")?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.with_context(|| format!("the gateway answers with `{line}`"))?;
    let length = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>()));
    let length = length.context("the gateway does not tell the length of its answer")??;
    match body.len() {
        received if received < length => Ok(None),
        received if received == length => Ok(Some(Answer { status, all: bytes })),
        _ => bail!("the gateway sends more than one answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: envoy\r\nContent-Length: 4\r\n\r\nfine";

    #[test]
    fn answers_are_complete_or_not() {
        for length in 0..FINE.len() {
            assert_eq!(answer(&FINE[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(answer(FINE).unwrap(), Some(Answer { status: 200, all: FINE }));
        let denied = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(answer(denied).unwrap(), Some(Answer { status: 403, all: denied }));
        for broken in [
            &[FINE, b"H"].concat()[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 2\r\ncontent-length: 0\r\n\r\n",
            b"\r\n\r\n",
            b"HTTP/1.1 200 \xff\r\ncontent-length: 0\r\n\r\n",
            &[b'x'; LONGEST + 1],
        ] {
            assert!(answer(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }

    #[tokio::test]
    async fn connections_are_used_again_until_an_answer_is_not_as_expected() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let start = format!("PROXY TCP4 {CLIENT} 127.0.0.1 ");
            let mut first = String::new();
            while !first.ends_with("\r\n") {
                first.push(stream.read_u8().await.unwrap().into());
            }
            assert!(first.starts_with(&start), "{first}");
            let mut request = [0; 4];
            for answer in [FINE, FINE, b"HTTP/1.1 503 Unavailable\r\ncontent-length: 4\r\n\r\nbusy"] {
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(&request, b"ask!");
                // In two pieces.
                let (first, second) = answer.split_at(20);
                stream.write_all(first).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(second).await.unwrap();
            }
        });
        let mut connection = Connection::open(address).await.unwrap();
        connection.ask(b"ask!").await.unwrap();
        connection.ask(b"ask!").await.unwrap();
        let error = connection.ask(b"ask!").await.unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("busy"), "{error}");
        gateway.await.unwrap();
        assert!(connection.ask(b"ask!").await.is_err(), "it is closed");
    }
}
