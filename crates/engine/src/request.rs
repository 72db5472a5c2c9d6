//! The canonical request: what the gateway said, free of protobuf, with everything that is derived from it computed
//! once and used by lookup, conditions and every evaluator alike.

mod headers;

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

pub use self::headers::{Collector, Headers};
use crate::{TraceContext, cache::size_of_value, host};

/// One request to decide about.
#[derive(Debug, Default)]
pub struct Request {
    parts: RequestParts,
    target: Target,
    grpc: Option<Grpc>,
    trace: TraceContext,
}

/// What a request is made of: one member per attribute of Envoy's `AttributeContext`.
///
/// Empty means absent, as in protobuf.
#[derive(Debug, Default, Clone)]
pub struct RequestParts {
    /// Identifies the decision in logs and answers: the `x-request-id` header, else `http.id`, else made up.
    pub id: String,
    /// When the gateway received the first byte.
    pub time: Option<Time>,
    /// `HTTP/1.1`, `HTTP/2`, …
    pub protocol: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `Host` or `:authority` as sent: case and port kept.
    pub host: String,
    /// The method as sent; any token is possible.
    pub method: String,
    /// The request target as sent, with its query.
    pub path: String,
    /// `http.query`, which Envoy leaves empty; only shown, never interpreted.
    pub query: String,
    /// `http.fragment`, which Envoy leaves empty; only shown, never interpreted.
    pub fragment: String,
    /// Headers by lower-case name; repeated headers are joined with a comma.
    pub headers: Headers,
    /// The list of raw headers as received, for configurations that look at it; `headers` is filled from it.
    pub header_map: Option<Value>,
    /// Bytes of the body as counted by the gateway; -1 when unknown.
    pub size: i64,
    /// The body as text.
    pub body: String,
    /// The body as bytes, when the gateway packs it so.
    pub raw_body: Vec<u8>,
    /// The peer that sent the request.
    pub source: Peer,
    /// The peer that received it.
    pub destination: Peer,
    /// Set by the gateway's configuration for a route; trustworthy.
    pub context_extensions: BTreeMap<String, String>,
    /// What earlier filters of the gateway found out.
    pub metadata: Option<Metadata>,
    /// Static metadata of the selected route.
    pub route_metadata: Option<Metadata>,
    /// The server name of the TLS connection to the gateway; present but empty on plaintext connections.
    pub tls_session: Option<String>,
}

/// A point in time, `google.protobuf.Timestamp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// One end of the connection.
#[derive(Debug, Default, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: Option<Address>,
    /// What it calls itself; spoofable, never an identity.
    pub service: String,
    /// Labels given by the gateway.
    pub labels: BTreeMap<String, String>,
    /// The name in its certificate; empty without one.
    pub principal: String,
    /// Its certificate as URL-encoded PEM, when the gateway passes it on.
    pub certificate: String,
}

impl Peer {
    /// The IP address of a socket; nothing for pipes and internal listeners.
    #[must_use]
    pub fn ip(&self) -> &str {
        match &self.address {
            Some(Address::Socket { address, .. }) => address,
            _ => "",
        }
    }

    /// The port of a socket, 0 where there is none.
    #[must_use]
    pub fn port(&self) -> u32 {
        match &self.address {
            Some(Address::Socket { port: Port::Number(port), .. }) => *port,
            _ => 0,
        }
    }
}

/// An address as gateways write it: internal listeners and pipes have neither IP address nor port.
#[derive(Debug, Clone)]
pub enum Address {
    /// An IP address and port.
    Socket {
        /// 0 for TCP, 1 for UDP.
        protocol: i32,
        /// The IP address.
        address: String,
        /// The port.
        port: Port,
    },
    /// A Unix socket.
    Pipe {
        /// Its path.
        path: String,
        /// Its file mode.
        mode: u32,
    },
    /// A listener inside the gateway.
    Internal {
        /// The listener's name.
        server_listener_name: String,
        /// Tells endpoints of one listener apart.
        endpoint_id: String,
    },
}

/// A port by number or by name.
#[derive(Debug, Clone)]
pub enum Port {
    /// By number; 0 when not given.
    Number(u32),
    /// By name.
    Named(String),
}

/// Metadata of a request or a route, by the name of the filter that wrote it.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Untyped metadata.
    pub filter_metadata: BTreeMap<String, Value>,
    /// Typed metadata, as `{"type_url": …, "value": base64}`.
    pub typed_filter_metadata: BTreeMap<String, Value>,
}

/// The two parts of the path of a gRPC call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grpc {
    /// `package.Service`.
    pub service: String,
    /// `Method`.
    pub method: String,
}

/// A request target, split once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Target {
    /// `None` when it equals the raw text before the query, which is nearly always.
    decoded_path: Option<String>,
    path_end: usize,
    query_start: usize,
    query_end: usize,
}

/// The header that says how many requests of rules are nested. Clients may set it, to their own harm: a check of a request
/// that is nested too deep is not decided.
pub const NESTING_HEADER: &str = "x-usher-nesting";

/// So many requests of rules may be nested. Rules that ask a service behind the same gateway, whose rules ask another, are
/// as many as anybody means to have.
pub const MOST_NESTED: u16 = 3;

impl Request {
    /// The canonical form of what a gateway said.
    #[must_use]
    pub fn new(parts: RequestParts) -> Self {
        let target = Target::split(&parts.path);
        let mut request = Self { parts, target, grpc: None, trace: TraceContext::default() };
        request.grpc = request.find_grpc();
        request
    }

    /// What the gateway said.
    #[must_use]
    pub fn parts(&self) -> &RequestParts {
        &self.parts
    }

    /// The value of a header; the name is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)
    }

    /// The path without query and fragment, percent-decoded. A path that cannot be decoded is left as it is, and a
    /// path that begins with two slashes is still a path.
    #[must_use]
    pub fn url_path(&self) -> &str {
        match &self.target.decoded_path {
            Some(path) => path,
            None => self.parts.path.get(..self.target.path_end).unwrap_or_default(),
        }
    }

    /// The text between `?` and the fragment, not decoded.
    #[must_use]
    pub fn query(&self) -> &str {
        self.parts.path.get(self.target.query_start..self.target.query_end).unwrap_or_default()
    }

    /// Service and method when this is a gRPC call: a content type that begins with `application/grpc` and a path of
    /// two segments.
    #[must_use]
    pub fn grpc(&self) -> Option<&Grpc> {
        self.grpc.as_ref()
    }

    /// The host to look the configuration up by: the context extension `host` where the gateway sets one, even when
    /// it is empty, else the host of the request.
    #[must_use]
    pub fn lookup_host(&self) -> &str {
        self.parts.context_extensions.get(host::CONTEXT_EXTENSION).unwrap_or(&self.parts.host)
    }

    /// Whether the gateway says by which host to look the configuration up.
    pub(crate) fn names_lookup_host(&self) -> bool {
        self.parts.context_extensions.contains_key(host::CONTEXT_EXTENSION)
    }

    /// How many requests of rules led to this one, as their headers tell: one that is made because of a check whose request
    /// was itself made by a rule counts one more.
    #[must_use]
    pub fn nesting(&self) -> u16 {
        let told = self.header(NESTING_HEADER).unwrap_or_default().split(',');
        told.filter_map(|number| number.trim().parse().ok()).max().unwrap_or_default()
    }

    /// The trace that the check belongs to: not what the client sent, and nothing that an expression sees.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// Sets the trace that goes along with whatever others are asked about this request.
    pub fn set_trace(&mut self, trace: TraceContext) {
        self.trace = trace;
    }

    /// An estimate of the memory that it holds, in bytes.
    pub(crate) fn size(&self) -> usize {
        let parts = &self.parts;
        let texts = [&parts.host, &parts.path, &parts.body, &parts.source.certificate, &parts.destination.certificate];
        let maps = [&parts.context_extensions, &parts.source.labels, &parts.destination.labels];
        let metadata = [&parts.metadata, &parts.route_metadata].into_iter().flatten();
        let values = metadata
            .flat_map(|metadata| [&metadata.filter_metadata, &metadata.typed_filter_metadata])
            .flat_map(BTreeMap::values)
            .chain(&parts.header_map);
        size_of::<Self>()
            + parts.raw_body.len()
            + parts.headers.size()
            + self.trace.size()
            + texts.into_iter().map(String::len).sum::<usize>()
            + maps.into_iter().flatten().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + values.map(size_of_value).sum::<usize>()
    }

    fn find_grpc(&self) -> Option<Grpc> {
        if !self.header("content-type")?.starts_with("application/grpc") {
            return None;
        }
        let (service, method) = self.url_path().strip_prefix('/')?.split_once('/')?;
        if service.is_empty() || method.is_empty() || method.contains('/') {
            return None;
        }
        Some(Grpc { service: service.to_owned(), method: method.to_owned() })
    }
}

impl Target {
    fn split(raw: &str) -> Self {
        let query = raw.find('?');
        let fragment = raw.find('#');
        let end = fragment.unwrap_or(raw.len());
        let (path_end, query_start) = match query {
            Some(at) if at < end => (at, at + 1),
            _ => (end, end),
        };
        let path = raw.get(..path_end).unwrap_or_default();
        let undecoded = Self { decoded_path: None, path_end, query_start, query_end: end };
        match decode_path(path) {
            Some(Cow::Borrowed(same)) if same.len() == path.len() => undecoded,
            Some(decoded) => Self { decoded_path: Some(decoded.into_owned()), ..undecoded },
            None => undecoded,
        }
    }
}

/// The path component of a request target, percent-decoded; `None` where it cannot be: then nothing is decoded.
fn decode_path(target: &str) -> Option<Cow<'_, str>> {
    if target.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let path = if target.starts_with('/') || target == "*" {
        target
    } else if let Some((_, rest)) = scheme(target) {
        match rest.strip_prefix("//") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None if rest.starts_with('/') => rest,
            None => "", // an authority or something opaque: CONNECT host:443
        }
    } else if target.split('/').next().is_some_and(|first| first.contains(':')) {
        return None;
    } else {
        target
    };
    percent_decode(path)
}

/// Splits `scheme:rest` (RFC 3986 §3.1).
fn scheme(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

/// Decodes `%XX`; `None` when a percent sign is not followed by two hexadecimal digits.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(match String::from_utf8(decoded) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_path(path: &str) -> Request {
        Request::new(RequestParts { path: path.to_owned(), ..RequestParts::default() })
    }

    #[test]
    fn a_target_is_split_and_decoded_once() {
        let cases = [
            ("/foo?bar=baz", "/foo", "bar=baz"),
            ("/foo", "/foo", ""),
            ("", "", ""),
            ("/foo%20bar", "/foo bar", ""),
            ("/a%2Fb?x=%2F", "/a/b", "x=%2F"),
            ("/a//b/../c", "/a//b/../c", ""),
            ("/a?x=1#frag", "/a", "x=1"),
            ("/a#f?x=1", "/a", ""),
            ("/a??b=c", "/a", "?b=c"),
            ("/a?", "/a", ""),
            ("/a;b=c?x=1;y=2", "/a;b=c", "x=1;y=2"),
            ("*", "*", ""),
            ("http://h/p?q=1", "/p", "q=1"),
            ("http://h?q=1", "", "q=1"),
            ("host:443", "", ""),
            ("//evil.com/admin", "//evil.com/admin", ""),
            ("///x", "///x", ""),
            ("/é", "/é", ""),
            ("/a?x=%zz", "/a", "x=%zz"),
            ("/%zz", "/%zz", ""),
            ("/%", "/%", ""),
            ("/100%?a=b", "/100%", "a=b"),
            ("/a\u{0}%41?q", "/a\u{0}%41", "q"),
            ("//a:b/c", "//a:b/c", ""),
            ("127.0.0.1:443", "127.0.0.1:443", ""),
            ("/%ff", "/\u{fffd}", ""),
        ];
        for (path, url_path, query) in cases {
            let request = with_path(path);
            assert_eq!(request.url_path(), url_path, "url_path of {path:?}");
            assert_eq!(request.query(), query, "query of {path:?}");
        }
    }

    #[test]
    fn grpc_calls_are_recognised_by_content_type_and_path() {
        let cases = [
            ("application/grpc", "/UserService/GetUser", Some(("UserService", "GetUser"))),
            (
                "application/grpc+proto",
                "/com.example.UserService/GetUser",
                Some(("com.example.UserService", "GetUser")),
            ),
            ("application/grpc-web", "/S/M", Some(("S", "M"))),
            ("application/grpc", "/OnlyService", None),
            ("application/grpc", "/a/b/c", None),
            ("application/grpc", "//M", None),
            ("application/grpc", "/S/", None),
            ("application/grpc", "/", None),
            ("application/grpc", "S/M", None),
            ("application/json", "/S/M", None),
            ("Application/grpc", "/S/M", None),
        ];
        for (content_type, path, expected) in cases {
            let mut parts = RequestParts { path: path.to_owned(), ..RequestParts::default() };
            parts.headers.insert("content-type", content_type);
            let request = Request::new(parts);
            let found = request.grpc().map(|grpc| (grpc.service.as_str(), grpc.method.as_str()));
            assert_eq!(found, expected, "{content_type} {path}");
        }
    }

    #[test]
    fn the_gateway_may_name_the_host_to_look_up() {
        let mut parts = RequestParts { host: "public.test".to_owned(), ..RequestParts::default() };
        assert_eq!(Request::new(parts.clone()).lookup_host(), "public.test");
        parts.context_extensions.insert("host".to_owned(), String::new());
        assert_eq!(Request::new(parts).lookup_host(), "");
    }
}
