//! A small HTTP server for tests, on a port of its own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Answers by path; the query is ignored. Ends with its value.
pub(crate) struct TestServer {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What to answer.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    chunked: bool,
    stalled: bool,
}

struct Shared {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    requests: Mutex<Vec<String>>,
    open: watch::Sender<bool>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared =
            Arc::new(Shared { replies: Mutex::default(), requests: Mutex::default(), open: watch::channel(true).0 });
        let for_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&for_task)));
            }
        });
        Self { url, shared, task }
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.set_each(path, [reply]);
    }

    /// One reply after the other; the last one again and again.
    pub(crate) fn set_each(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// Whether requests are answered, or wait.
    pub(crate) fn set_open(&self, open: bool) {
        self.shared.open.send_replace(open);
    }

    /// How many requests came for a path, answered or not.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|request| path_of(request) == path).count()
    }

    pub(crate) fn last_request(&self, path: &str) -> Option<String> {
        self.shared.requests.lock().unwrap().iter().rfind(|request| path_of(request) == path).cloned()
    }

    pub(crate) fn last_target(&self, path: &str) -> Option<String> {
        self.last_request(path).map(|request| target_of(&request).to_owned())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reply {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), chunked: false, stalled: false }
    }

    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::text(200, &body.to_string()).with_header("content-type", "application/json")
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without an announcement of the size.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Never completed.
    pub(crate) fn stalled(mut self) -> Self {
        self.stalled = true;
        self
    }
}

impl Shared {
    fn next_reply(&self, path: &str) -> Reply {
        let mut replies = self.replies.lock().unwrap();
        let Some(replies) = replies.get_mut(path) else { return Reply::text(404, "") };
        if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else { return };
    shared.requests.lock().unwrap().push(request.clone());
    shared.open.subscribe().wait_for(|open| *open).await.unwrap();
    let reply = shared.next_reply(path_of(&request));
    let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.chunked {
        text.push_str("transfer-encoding: chunked\r\n\r\n");
        for chunk in reply.body.as_bytes().chunks(400) {
            text.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()));
        }
        text.push_str("0\r\n\r\n");
    } else {
        let announced = reply.body.len() + usize::from(reply.stalled);
        text.push_str(&format!("content-length: {announced}\r\n\r\n{}", reply.body));
    }
    let _ = stream.write_all(text.as_bytes()).await;
    if reply.stalled {
        // Until the client gives up.
        let _ = stream.read(&mut [0]).await;
    }
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= announced.map_or(0, |size| size.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}

fn target_of(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

fn path_of(request: &str) -> &str {
    target_of(request).split('?').next().unwrap_or_default()
}
