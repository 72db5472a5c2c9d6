//! An HTTP server that answers each request with what it got.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

use super::http;

/// Answers 200 with JSON: `method`, `target`, `headers` (values of one name joined with `,`), `body`. A header `x-answer`
/// of the request, such as `x-answer: set-cookie: a=1`, is a header of the answer.
#[derive(Debug)]
pub(crate) struct Upstream {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicUsize,
    is_over: AtomicBool,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let upstream = Self { port, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&state);
                // A connection that breaks is the caller's to notice.
                thread::spawn(move || answer(stream, &state));
            }
        });
        upstream
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the listening thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn answer(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(http::TIMEOUT))?;
    let (first, headers, body) = http::read_message(&mut BufReader::new(&mut stream), false)?;
    state.requests.fetch_add(1, Ordering::SeqCst);
    let mut words = first.split(' ');
    let mut joined = BTreeMap::<String, String>::new();
    let mut asked_for = String::new();
    for (name, value) in headers {
        if name == "x-answer" {
            asked_for.push_str(&format!("{value}\r\n"));
        }
        joined.entry(name).and_modify(|values| *values = format!("{values},{value}")).or_insert(value);
    }
    let echo = json!({
        "method": words.next(),
        "target": words.next(),
        "headers": joined,
        "body": String::from_utf8_lossy(&body),
    })
    .to_string();
    let length = echo.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{asked_for}")?;
    // No connection is used twice, so none can be closed while Envoy sends on it.
    write!(stream, "connection: close\r\n\r\n{echo}")
}
