//! A service that some scenarios call: it knows accounts, and is told of decisions. Part of this process, on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::check::PATH;
use crate::material::Material;

/// Answers over HTTP/1.1, on the loopback address, for as long as this process runs.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What was asked.
struct Seen {
    accounts: AtomicU64,
    decisions: Arc<Window>,
}

impl Upstream {
    /// Starts it.
    pub(crate) fn start(material: &Material) -> anyhow::Result<Self> {
        let listener = material.listen("upstream-port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen { accounts: AtomicU64::new(0), decisions: Arc::new(Window::new()) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&seen);
        std::thread::spawn(move || runtime.block_on(serve(listener, served)));
        Ok(Self { address, seen })
    }

    /// Where the account of `NAME` is: append the name.
    pub(crate) fn accounts_url(&self) -> String {
        format!("http://{}/accounts/", self.address)
    }

    /// Where to tell of decisions.
    pub(crate) fn decisions_url(&self) -> String {
        format!("http://{}/decisions", self.address)
    }

    /// How often somebody asked for an account.
    pub(crate) fn accounts_asked(&self) -> u64 {
        self.seen.accounts.load(Ordering::Relaxed)
    }

    /// The decisions that it waits for.
    pub(crate) fn decisions(&self) -> &Arc<Window> {
        &self.seen.decisions
    }
}

/// Checks of which nobody was told yet. It has room for some only: who asks faster than the server can tell has to wait, because a
/// server drops what it cannot tell, and a check without its callback is cheap.
#[derive(Debug)]
pub(crate) struct Window(Semaphore);

/// Fewer than any server lets wait, and more than are under way at a time.
const ROOM: u16 = 256;

impl Window {
    fn new() -> Self {
        Self(Semaphore::new(ROOM.into()))
    }

    /// As if there was none: what a server had still to tell when it was stopped does not come any more.
    pub(crate) fn clear(&self) {
        self.0.forget_permits(self.0.available_permits());
        self.0.add_permits(ROOM.into());
    }

    /// Waits for room, and takes it.
    pub(crate) async fn enter(&self) -> anyhow::Result<()> {
        self.0.acquire().await?.forget();
        Ok(())
    }

    /// One was told.
    pub(crate) fn leave(&self) {
        self.0.add_permits(1);
    }

    /// Waits until all were told, each once.
    pub(crate) async fn emptied(&self) -> anyhow::Result<()> {
        drop(self.0.acquire_many(ROOM.into()).await?);
        match self.0.available_permits().saturating_sub(ROOM.into()) {
            0 => Ok(()),
            more => bail!("there were {more} callbacks more than checks"),
        }
    }

    /// How many there are. While [`emptied`](Self::emptied) waits it holds what room there is, and so all is taken.
    pub(crate) fn waiting(&self) -> usize {
        usize::from(ROOM).saturating_sub(self.0.available_permits())
    }
}

async fn serve(listener: std::net::TcpListener, seen: Arc<Seen>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let seen = Arc::clone(&seen);
        // Who sends something else than was agreed gets no answer, and so the scenario fails.
        tokio::spawn(async move { drop(converse(stream, &seen).await) });
    }
}

/// Answers one request after the other.
async fn converse(mut stream: TcpStream, seen: &Seen) -> anyhow::Result<()> {
    const LONGEST: usize = 64 << 10;
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        if let Some(Request { target, body, length }) = Request::read(&received)? {
            let answer = seen.answer(target, body);
            stream.write_all(answer.as_bytes()).await?;
            received.drain(..length);
            continue;
        }
        if received.len() > LONGEST || stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

impl Seen {
    fn answer(&self, target: &str, body: &[u8]) -> String {
        if let Some(name) = target.strip_prefix("GET /accounts/") {
            self.accounts.fetch_add(1, Ordering::Relaxed);
            let account = json!({"name": name, "status": "good", "plan": "gold"}).to_string();
            let length = account.len();
            return format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{account}"
            );
        }
        if target == "POST /decisions" && is_expected(body) {
            self.decisions.leave();
            return "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        }
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned()
    }
}

/// Whether this is what the scenario `callbacks` tells of a check.
fn is_expected(body: &[u8]) -> bool {
    let Ok(Value::Object(told)) = serde_json::from_slice(body) else { return false };
    let who = told.get("who").and_then(Value::as_str).unwrap_or_default();
    who.starts_with("key-")
        && told.get("path") == Some(&PATH.into())
        && told.get("allowed") == Some(&true.into())
        && told.get("status") == Some(&200.into())
}

/// A request of HTTP/1.1.
struct Request<'a> {
    /// The method and the path, with a space between them.
    target: &'a str,
    body: &'a [u8],
    /// Bytes of all of it.
    length: usize,
}

impl<'a> Request<'a> {
    /// The first request of what was received; none if it is not complete.
    fn read(received: &'a [u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        let head = str::from_utf8(received.get(..end).unwrap_or_default())?;
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let target = first.strip_suffix(" HTTP/1.1").context("this is not HTTP/1.1")?;
        let content_length = headers
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, length)| length.trim().parse::<usize>())?;
        let length = (end + 4).saturating_add(content_length);
        let body = received.get(end + 4..length);
        Ok(body.map(|body| Self { target, body, length }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn ask(upstream: &Upstream, requests: &str) -> String {
        let mut stream = std::net::TcpStream::connect(upstream.address).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    }

    fn told(status: u16) -> String {
        let body = json!({"who": "key-3", "path": PATH, "allowed": true, "status": status}).to_string();
        format!("POST /decisions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn accounts_are_counted() {
        let upstream = Upstream::start(&Material::default()).unwrap();
        assert!(upstream.accounts_url().ends_with("/accounts/"));
        let answers = ask(&upstream, &"GET /accounts/key-3 HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2));
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert!(answers.ends_with(r#"{"name":"key-3","status":"good","plan":"gold"}"#), "{answers}");
        assert_eq!(upstream.accounts_asked(), 2);
        assert!(ask(&upstream, "GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400"));
        assert_eq!(ask(&upstream, "GET /accounts/key-3 HTTP/1.0\r\n\r\n"), "");
        assert_eq!(upstream.accounts_asked(), 2);
    }

    #[tokio::test]
    async fn decisions_make_room_if_they_are_as_expected() {
        let upstream = Upstream::start(&Material::default()).unwrap();
        let window = upstream.decisions();
        window.enter().await.unwrap();
        window.enter().await.unwrap();
        assert!(ask(&upstream, &told(200)).starts_with("HTTP/1.1 204"));
        assert!(ask(&upstream, &told(403)).starts_with("HTTP/1.1 400"));
        assert_eq!(window.waiting(), 1);
        assert!(timeout(Duration::from_millis(10), window.emptied()).await.is_err());
        ask(&upstream, &told(200));
        window.emptied().await.unwrap();
        ask(&upstream, &told(200));
        assert!(window.emptied().await.unwrap_err().to_string().contains("1 callbacks more"));
        window.clear();
        window.emptied().await.unwrap();
    }

    #[tokio::test]
    async fn the_window_is_of_limited_size() {
        let window = Window::new();
        for _ in 0..ROOM {
            window.enter().await.unwrap();
        }
        assert_eq!(window.waiting(), usize::from(ROOM));
        assert!(timeout(Duration::from_millis(10), window.enter()).await.is_err());
        window.leave();
        window.enter().await.unwrap();
    }
}
