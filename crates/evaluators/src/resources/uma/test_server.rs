//! A UMA server on a port of its own, for tests. Behaves as Keycloak does: tokens for one client, which expire and can
//! be revoked; a list of ids that `uri` filters; descriptions by id; 401 without a valid token.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use url::Url;

use crate::test_world::is_in_trace;

/// Ends with its value.
pub(crate) struct UmaTestServer {
    /// The issuer: `http://127.0.0.1:PORT/realms/pets`
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    issuer: String,
    state: Mutex<State>,
    /// Calls below this path wait.
    held: watch::Sender<Option<&'static str>>,
}

#[derive(Default)]
struct State {
    /// The `expires_in` of tokens; left out if null.
    expires_in: Value,
    issued: usize,
    valid: HashSet<String>,
    /// Id, paths, description; in the order in which they were registered.
    resources: Vec<(String, Vec<String>, Value)>,
    /// Answers in place of the usual ones, by path.
    instead: HashMap<String, (u16, String)>,
    calls: Vec<String>,
    calls_in_trace: usize,
    waiting: usize,
    most_waiting: usize,
}

impl UmaTestServer {
    /// A server with the client `talker`, whose secret is `pw:x`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/pets", listener.local_addr().unwrap());
        let state = Mutex::new(State { expires_in: json!(300), ..State::default() });
        let shared = Arc::new(Shared { issuer: url.clone(), state, held: watch::channel(None).0 });
        let for_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&for_task)));
            }
        });
        Self { url, shared, task }
    }

    /// Registers a resource.
    pub(crate) fn register(&self, id: &str, paths: &[&str], description: Value) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.state(|state| state.resources.push((id.to_owned(), paths, description)));
    }

    /// What tokens say from now on about their life.
    pub(crate) fn set_expires_in(&self, expires_in: Value) {
        self.state(|state| state.expires_in = expires_in);
    }

    /// Accepts none of the tokens that were issued so far.
    pub(crate) fn revoke_tokens(&self) {
        self.state(|state| state.valid.clear());
    }

    /// What is answered at a path (below the issuer) from now on.
    pub(crate) fn answer_instead(&self, path: &str, status: u16, body: &str) {
        self.state(|state| state.instead.insert(path.to_owned(), (status, body.to_owned())));
    }

    /// Answers as usual again.
    pub(crate) fn answer_as_usual(&self) {
        self.state(|state| state.instead.clear());
    }

    /// From now on calls at or below this path wait; without one, none do.
    pub(crate) fn hold(&self, path: Option<&'static str>) {
        self.shared.held.send_replace(path);
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state(|state| state.waiting)
    }

    /// How many waited at a time, at most.
    pub(crate) fn most_waiting(&self) -> usize {
        self.state(|state| state.most_waiting)
    }

    /// The calls since this was asked last: method and target below the issuer.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state(|state| std::mem::take(&mut state.calls))
    }

    /// How many calls of all belonged to the trace of a check.
    pub(crate) fn calls_in_trace(&self) -> usize {
        self.state(|state| state.calls_in_trace)
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for UmaTestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some((head, body)) = read(&mut stream).await else { return };
    let line: Vec<&str> = head.split(' ').take(2).collect();
    let (method, target) = (line[0], line[1].strip_prefix("/realms/pets").unwrap());
    {
        let mut state = shared.state.lock().unwrap();
        state.calls_in_trace += usize::from(is_in_trace(&head));
        state.calls.push(format!("{method} {target}"));
        state.waiting += 1;
        state.most_waiting = state.most_waiting.max(state.waiting);
    }
    shared.held.subscribe().wait_for(|held| held.is_none_or(|path| !target.starts_with(path))).await.unwrap();
    let (status, answer) = {
        let mut state = shared.state.lock().unwrap();
        state.waiting -= 1;
        let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
        answer(&mut state, &shared.issuer, method, target, authorization, &body)
    };
    let text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn answer(
    state: &mut State,
    issuer: &str,
    method: &str,
    target: &str,
    authorization: &str,
    body: &str,
) -> (u16, String) {
    let url = Url::parse(&format!("http://h{target}")).unwrap();
    if let Some(instead) = state.instead.get(url.path()) {
        return instead.clone();
    }
    let unauthorized = (401, json!({"error": "HTTP 401 Unauthorized"}).to_string());
    let accepted = authorization.strip_prefix("Bearer ").is_some_and(|token| state.valid.contains(token));
    match (method, url.path()) {
        ("GET", "/.well-known/uma2-configuration") => {
            let document = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/protocol/openid-connect/auth"),
                "token_endpoint": format!("{issuer}/token"),
                "resource_registration_endpoint": format!("{issuer}/resource_set"),
                "grant_types_supported": ["authorization_code", "client_credentials"],
            });
            (200, document.to_string())
        }
        ("POST", "/token") => {
            let client = format!("Basic {}", STANDARD.encode("talker:pw:x"));
            if authorization != client {
                return (401, json!({"error": "unauthorized_client"}).to_string());
            }
            if body != "grant_type=client_credentials" {
                return (400, json!({"error": "unsupported_grant_type"}).to_string());
            }
            state.issued += 1;
            let token = format!("pat-{}", state.issued);
            state.valid.insert(token.clone());
            let mut answer = json!({"access_token": token, "token_type": "Bearer"});
            if !state.expires_in.is_null() {
                answer["expires_in"] = state.expires_in.clone();
            }
            (200, answer.to_string())
        }
        ("GET", path) if path.starts_with("/resource_set") && !accepted => unauthorized,
        ("GET", "/resource_set") => {
            let uri = url.query_pairs().find(|(name, _)| name == "uri").map(|(_, value)| value.into_owned());
            let ids: Vec<&str> = state
                .resources
                .iter()
                .filter(|(_, paths, _)| uri.as_ref().is_none_or(|uri| paths.contains(uri)))
                .map(|(id, ..)| id.as_str())
                .collect();
            (200, json!(ids).to_string())
        }
        ("GET", path) => {
            // The decoder at hand is one of forms, where these two mean something else.
            let id = path.strip_prefix("/resource_set/").map(|id| id.replace('+', "%2B").replace('&', "%26"));
            let id = id.map(|id| format!("id={id}"));
            let id = id.and_then(|pair| Some(url::form_urlencoded::parse(pair.as_bytes()).next()?.1.into_owned()));
            match state.resources.iter().find(|(known, ..)| Some(known) == id.as_ref()) {
                Some((.., description)) => (200, description.to_string()),
                None => (404, json!({"error": "not_found"}).to_string()),
            }
        }
        _ => (405, String::new()),
    }
}

/// The head and the body of a request.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= announced.map_or(0, |size| size.parse().unwrap()) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}
