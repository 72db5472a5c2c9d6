//! A server with whom everything goes wrong that can go wrong.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens.
    Refused,
    /// Connections are taken and nothing is said.
    Silence,
    /// The connection is reset in the middle of the body.
    Reset,
    /// Status 500.
    InternalError,
    /// 10 MB come back.
    Huge,
    /// A page for people instead of what was asked for.
    WrongType,
    /// The connection should be TLS, and is not.
    BadTls,
    /// A redirect to the address where cloud machines find their credentials.
    Redirect,
}

/// All of them.
pub(crate) const FAULTS: [Fault; 8] = [
    Fault::Refused,
    Fault::Silence,
    Fault::Reset,
    Fault::InternalError,
    Fault::Huge,
    Fault::WrongType,
    Fault::BadTls,
    Fault::Redirect,
];

/// Where the server is reached, and for how long it exists.
pub(crate) struct Server {
    /// Host and port.
    pub(crate) authority: String,
    /// With its scheme.
    pub(crate) url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers with JSON what is in `healthy`, by path; everything else goes wrong. `{url}` in a text is the server's
    /// own URL.
    pub(crate) async fn start(fault: Fault, healthy: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        // With steps that go well the server is one that can be reached and speaks plain HTTP.
        let scheme = if fault == Fault::BadTls && healthy.is_empty() { "https" } else { "http" };
        let url = format!("{scheme}://{authority}");
        let healthy: Arc<Vec<(&str, String)>> =
            Arc::new(healthy.iter().map(|(path, json)| (*path, json.replace("{url}", &url))).collect());
        let task = if fault == Fault::Refused && healthy.is_empty() {
            tokio::spawn(async move { drop(listener) })
        } else {
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let healthy = Arc::clone(&healthy);
                    tokio::spawn(async move { serve(stream, fault, &healthy).await });
                }
            })
        };
        tokio::task::yield_now().await;
        Self { authority, url, task }
    }
}

async fn serve(mut stream: TcpStream, fault: Fault, healthy: &[(&str, String)]) -> Option<()> {
    let mut received = Vec::new();
    while !received.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&received).into_owned();
    let path = head.split(' ').nth(1)?.split('?').next()?;
    if let Some((_, json)) = healthy.iter().find(|(healthy, _)| *healthy == path) {
        assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
        return answer(&mut stream, "200 OK", "content-type: application/json", json.as_bytes()).await;
    }
    match fault {
        Fault::Silence => {
            // Until the other side gives up.
            while stream.read(&mut [0; 1024]).await.ok()? > 0 {}
            None
        }
        // After steps that go well the server can only go away.
        Fault::Refused | Fault::BadTls => None,
        Fault::Reset => {
            let begun =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"active\": true, ";
            stream.write_all(begun.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            stream.set_zero_linger().ok()
        }
        Fault::InternalError => {
            answer(&mut stream, "500 Internal Server Error", "content-type: text/plain", b"it broke").await
        }
        Fault::Huge => {
            let body = vec![b' '; 10 << 20];
            answer(&mut stream, "200 OK", "content-type: application/json", &body).await
        }
        Fault::WrongType => answer(&mut stream, "200 OK", "content-type: text/html", b"<h1>Sign in</h1>").await,
        Fault::Redirect => {
            let location = "location: http://169.254.169.254/latest/meta-data/iam";
            answer(&mut stream, "302 Found", location, b"").await
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str, header: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    // A client that has enough closes the connection: no fault of ours.
    stream.write_all(body).await.ok()?;
    stream.shutdown().await.ok()?;
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await;
    Some(())
}
