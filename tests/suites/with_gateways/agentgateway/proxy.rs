//! The gateway itself: takes requests, has them checked, passes them on.

use std::{
    convert::Infallible,
    io::{BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use super::{
    ext_authz::{Checks, Outcome, Stop},
    request::Request,
};
use crate::support::http::{self as plain, Response};

/// All that the gateway is told.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// Before the route is known.
    pub(super) before_routing: Checks,
    pub(super) routes: Vec<Route>,
    /// Of the token that a policy verified before. This client verifies none.
    pub(super) claims: Option<Value>,
    /// Of the certificate that the client showed. This client asks for none.
    pub(super) principal: String,
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    /// Any of them.
    pub(super) matches: Vec<Path>,
    /// After the route is known.
    pub(super) checks: Checks,
    /// A loopback port.
    pub(super) upstream: u16,
}

/// Which paths. The longest one wins, an exact one above all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    Exact(String),
    Prefix(String),
}

impl Path {
    fn weight(&self, path: &str) -> Option<(bool, usize)> {
        match self {
            Self::Exact(exact) => (path == exact).then_some((true, exact.len())),
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some((false, prefix.len()))
            }
        }
    }
}

impl Configuration {
    /// The route of this name.
    pub(super) fn route(&self, name: &str) -> &Route {
        self.routes.iter().find(|route| route.name == name).unwrap_or_else(|| panic!("no route `{name}` in {self:?}"))
    }

    fn find(&self, path: &str) -> Option<&Route> {
        let weight = |route: &Route| route.matches.iter().filter_map(|it| it.weight(path)).max();
        self.routes
            .iter()
            .filter_map(|route| Some((weight(route)?, route)))
            .max_by_key(|(weight, _)| *weight)
            .map(|it| it.1)
    }
}

/// A running gateway.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    configuration: Arc<Configuration>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(super) fn start(configuration: Configuration) -> Self {
        let configuration = Arc::new(configuration);
        let (stop, stopped) = oneshot::channel();
        let (told, port) = std::sync::mpsc::channel();
        let shared = Arc::clone(&configuration);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                told.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    () = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { port: port.recv().unwrap(), configuration, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Sends a request through it.
    pub(super) fn send(&self, request: plain::Request<'_>) -> Response {
        request.send(self.port).unwrap()
    }

    /// A GET with these headers.
    pub(super) fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send(plain::Request { host, target, headers, ..plain::Request::default() })
    }

    /// A POST with these headers and this body.
    pub(super) fn post(&self, host: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.send(plain::Request { method: "POST", host, target, headers, body: body.as_bytes() })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It is there until the thread ends, which only this or a panic of its own brings about.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: TcpListener, configuration: Arc<Configuration>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let local = stream.local_addr().unwrap();
        let configuration = Arc::clone(&configuration);
        let connected_at = SystemTime::now();
        connections.spawn(async move {
            let service = service_fn(|incoming| {
                let configuration = Arc::clone(&configuration);
                async move {
                    let request = read(incoming, peer, local, connected_at).await;
                    let stop = match request {
                        Some(request) => handle(&configuration, request).await,
                        None => Stop::text(StatusCode::BAD_REQUEST, "no authority or host"),
                    };
                    Ok::<_, Infallible>(response(stop))
                }
            });
            // A connection that breaks is the client's to notice.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// None if it has no host.
async fn read(
    incoming: hyper::Request<Incoming>,
    peer: SocketAddr,
    local: SocketAddr,
    connected_at: SystemTime,
) -> Option<Request> {
    let (head, body) = incoming.into_parts();
    let mut request = Request {
        method: head.method,
        authority: String::new(),
        version: if head.version == http::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
        headers: head.headers,
        body: body.collect().await.ok()?.to_bytes().to_vec(),
        peer,
        local,
        connected_at,
        ..Request::example("GET", "/")
    };
    let host = request.headers.remove(header::HOST);
    request.authority = match head.uri.authority() {
        Some(authority) => authority.to_string(),
        None => host?.to_str().ok()?.to_owned(),
    };
    request.set_target(head.uri.path_and_query().map_or("/", |target| target.as_str()));
    Some(request)
}

async fn handle(configuration: &Configuration, mut request: Request) -> Stop {
    request.claims.clone_from(&configuration.claims);
    request.principal.clone_from(&configuration.principal);
    let mut headers = HeaderMap::new();
    match configuration.before_routing.run(&mut request).await {
        Outcome::Pass(more) => overwrite(&mut headers, more),
        Outcome::Stop(stop) => return stop,
    }
    let Some(route) = configuration.find(&request.path) else {
        return Stop::text(StatusCode::NOT_FOUND, "route not found");
    };
    match route.checks.run(&mut request).await {
        Outcome::Pass(more) => overwrite(&mut headers, more),
        Outcome::Stop(stop) => return stop,
    }
    let upstream = route.upstream;
    let mut answer = tokio::task::spawn_blocking(move || forward(&request, upstream)).await.unwrap();
    overwrite(&mut answer.headers, headers);
    answer
}

fn overwrite(headers: &mut HeaderMap, others: HeaderMap) {
    for (name, value) in others {
        // Each name comes once.
        headers.insert(name.unwrap(), value);
    }
}

/// Asks the upstream.
fn forward(request: &Request, upstream: u16) -> Stop {
    let mut message = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.target(), request.authority);
    for (name, value) in &request.headers {
        if ![header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            message.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    message.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len()));
    let mut stream = plain::connect(upstream).unwrap();
    stream.write_all(&[message.as_bytes(), &request.body].concat()).unwrap();
    let (first, list, body) = plain::read_message(&mut BufReader::new(stream), true).unwrap();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in list.iter().filter(|(name, _)| !["connection", "content-length"].contains(&name.as_str())) {
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        headers.append(name.unwrap(), value.unwrap());
    }
    Stop { status, headers, body }
}

fn response(stop: Stop) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from(stop.body)));
    *response.status_mut() = stop.status;
    *response.headers_mut() = stop.headers;
    response
}

#[test]
fn the_most_specific_route_is_found() {
    let route = |name: &str, path: Path| Route {
        name: name.to_owned(),
        matches: vec![path],
        checks: Checks::default(),
        upstream: 1,
    };
    let routes = vec![
        route("all", Path::Prefix("/".to_owned())),
        route("a", Path::Prefix("/a".to_owned())),
        route("a/b", Path::Prefix("/a/b".to_owned())),
        route("exact", Path::Exact("/a/b".to_owned())),
    ];
    let configuration = Configuration { routes, ..Configuration::default() };
    for (path, expected) in
        [("/", "all"), ("/ab", "all"), ("/a", "a"), ("/a/x", "a"), ("/a/b", "exact"), ("/a/b/c", "a/b")]
    {
        assert_eq!(configuration.find(path).unwrap().name, expected, "{path}");
    }
}
