//! One request in flight: the request itself and what earlier phases found, readable by every expression.
//!
//! ```text
//!  ROOT ─┬─ context        the attributes as received (selectors only)
//!        ├─ metadata       what earlier filters of the gateway wrote
//!        ├─ request        the well-known attributes
//!        ├─ source, destination
//!        └─ auth ─┬─ identity
//!                 ├─ metadata.NAME, authorization.NAME, response.NAME, callbacks.NAME
//!                 └─ decision        what was decided: allowed, status, reason, rule (callbacks only)
//! ```
//!
//! The document is a view: members are looked up in the structs that hold them. Members that are empty are absent, as
//! in the JSON form of the protobuf structs.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use serde_json::Value;
use usher_expr::{Document, Node, Part};

use crate::{
    Journal, Request,
    cache::size_of_value,
    observe::labels::{CustomLabels, METADATA_NAME},
    request::{Address, Metadata, Peer, Port, Time},
};

/// One request in flight.
pub struct Context<'r> {
    request: &'r Request,
    deadline: Option<Instant>,
    journal: Option<&'r Journal>,
    known: Known,
    json: OnceLock<Value>,
    metric_labels: OnceLock<Option<Box<CustomLabels>>>,
}

/// What is known about a request besides what the client sent.
#[derive(Default)]
pub(crate) struct Known {
    identity: Option<Identity>,
    found: [Found; 4],
    decision: Option<Arc<Value>>,
}

impl Known {
    /// An estimate of the memory that it holds, in bytes.
    pub(crate) fn size(&self) -> usize {
        let found = self.found.iter().flatten().map(|(_, value)| value);
        found.chain(self.identity.iter().map(|identity| &identity.value)).map(|value| size_of_value(value)).sum()
    }
}

/// Who the caller is, and the rule that says so.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name of the authentication rule.
    pub rule: Arc<str>,
    /// The identity object.
    pub value: Arc<Value>,
}

/// A phase whose results are kept by the name of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `auth.metadata`
    Metadata,
    /// `auth.authorization`
    Authorization,
    /// `auth.response`
    Response,
    /// `auth.callbacks`
    Callbacks,
}

type Found = Vec<(Arc<str>, Arc<Value>)>;

impl<'r> Context<'r> {
    /// A request about which nothing is known yet.
    #[must_use]
    pub fn new(request: &'r Request, deadline: Option<Instant>, journal: Option<&'r Journal>) -> Self {
        Self {
            request,
            deadline,
            journal,
            known: Known::default(),
            json: OnceLock::new(),
            metric_labels: OnceLock::new(),
        }
    }

    /// A request about which everything is known that there was to know, and what was decided about it: what callbacks
    /// see.
    pub(crate) fn decided(request: &'r Request, known: Known) -> Self {
        Self { request, deadline: None, journal: None, known, json: OnceLock::new(), metric_labels: OnceLock::new() }
    }

    /// What was found out, and the decision that it led to: an object, `auth.decision`.
    pub(crate) fn into_known(self, decision: Value) -> Known {
        Known { decision: Some(Arc::new(decision)), ..self.known }
    }

    /// Sets when an answer is worth nothing any more.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &'r Request {
        self.request
    }

    /// When an answer is worth nothing any more.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Where steps are written down, if somebody asked.
    #[must_use]
    pub fn journal(&self) -> Option<&'r Journal> {
        self.journal
    }

    /// Who the caller is, after authentication.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.known.identity.as_ref()
    }

    /// What the rules of a phase found so far.
    #[must_use]
    pub fn found(&self, phase: Phase) -> &[(Arc<str>, Arc<Value>)] {
        match phase {
            Phase::Metadata => &self.known.found[0],
            Phase::Authorization => &self.known.found[1],
            Phase::Response => &self.known.found[2],
            Phase::Callbacks => &self.known.found[3],
        }
    }

    /// Sets who the caller is.
    pub fn set_identity(&mut self, identity: Identity) {
        self.known.identity = Some(identity);
        self.json = OnceLock::new();
    }

    /// Adds what a rule found.
    pub fn add(&mut self, phase: Phase, rule: Arc<str>, value: Arc<Value>) {
        let found = match phase {
            Phase::Metadata => &mut self.known.found[0],
            Phase::Authorization => &mut self.known.found[1],
            Phase::Response => &mut self.known.found[2],
            Phase::Callbacks => &mut self.known.found[3],
        };
        match found.iter_mut().find(|(name, _)| *name == rule) {
            Some((_, present)) => *present = value,
            None => found.push((rule, value)),
        }
        self.json = OnceLock::new();
    }

    /// The same request with another identity, as seen while an identity is being extended.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Context<'r> {
        Context {
            request: self.request,
            deadline: self.deadline,
            journal: self.journal,
            known: Known {
                identity: Some(identity),
                found: self.known.found.clone(),
                decision: self.known.decision.clone(),
            },
            json: OnceLock::new(),
            metric_labels: OnceLock::new(),
        }
    }

    /// The labels that the gateway wants on the metrics of this request, which `read` makes of the metadata.
    pub(crate) fn metric_labels(
        &self,
        read: impl FnOnce(&Value) -> Option<Box<CustomLabels>>,
    ) -> Option<&CustomLabels> {
        let metadata = self.request.parts().metadata.as_ref()?;
        let read = || metadata.filter_metadata.get(METADATA_NAME).and_then(read);
        self.metric_labels.get_or_init(read).as_deref()
    }

    fn peer(&self, source: bool) -> &Peer {
        let parts = self.request.parts();
        if source { &parts.source } else { &parts.destination }
    }
}

impl Document for Context<'_> {
    fn member<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        let request = self.request;
        let parts = request.parts();
        match part {
            Part::ROOT => match key {
                "request" => Some(Node::Message(self, REQUEST)),
                "auth" => Some(Node::Message(self, AUTH)),
                "source" => Some(Node::Message(self, SOURCE)),
                "destination" => Some(Node::Message(self, DESTINATION)),
                "metadata" => parts.metadata.as_ref().map(|_| Node::Message(self, METADATA)),
                "context" => Some(Node::Message(self, CONTEXT)),
                _ => None,
            },
            REQUEST => match key {
                "id" => text(&parts.id),
                "time" => parts.time.map(|_| Node::Message(self, TIME)),
                "protocol" => text(&parts.protocol),
                "scheme" => text(&parts.scheme),
                "host" => text(&parts.host),
                "method" => text(&parts.method),
                "path" => text(&parts.path),
                "url_path" => text(request.url_path()),
                "query" => text(request.query()),
                "headers" => (!parts.headers.is_empty()).then_some(Node::Message(self, HEADERS)),
                "referer" => request.header("referer").and_then(text),
                "user_agent" => request.header("user-agent").and_then(text),
                "size" => integer(parts.size),
                "body" => text(&parts.body),
                "raw_body" => bytes(&parts.raw_body),
                "grpc" => request.grpc().map(|_| Node::Message(self, GRPC)),
                "context_extensions" => map(self, CONTEXT_EXTENSIONS, &parts.context_extensions),
                _ => None,
            },
            TIME => time(parts.time.unwrap_or_default(), key),
            GRPC => match key {
                "service" => request.grpc().and_then(|grpc| text(&grpc.service)),
                "method" => request.grpc().and_then(|grpc| text(&grpc.method)),
                _ => None,
            },
            HEADERS => parts.headers.get(key).map(Node::Text),
            CONTEXT_EXTENSIONS => parts.context_extensions.get(key).map(|value| Node::Text(value)),
            SOURCE | DESTINATION => {
                let peer = self.peer(part == SOURCE);
                match key {
                    "address" => text(peer.ip()),
                    "port" => integer(i64::from(peer.port())),
                    "service" => text(&peer.service),
                    "labels" => {
                        map(self, if part == SOURCE { SOURCE_LABELS } else { DESTINATION_LABELS }, &peer.labels)
                    }
                    "principal" => text(&peer.principal),
                    "certificate" => text(&peer.certificate),
                    _ => None,
                }
            }
            SOURCE_LABELS => parts.source.labels.get(key).map(|value| Node::Text(value)),
            DESTINATION_LABELS => parts.destination.labels.get(key).map(|value| Node::Text(value)),
            METADATA => metadata(parts.metadata.as_ref()?, key, [FILTER_METADATA, TYPED_METADATA], self),
            FILTER_METADATA => parts.metadata.as_ref()?.filter_metadata.get(key).map(Node::Json),
            TYPED_METADATA => parts.metadata.as_ref()?.typed_filter_metadata.get(key).map(Node::Json),
            AUTH => match key {
                "identity" => self
                    .identity()
                    .filter(|identity| !identity.value.is_null())
                    .map(|identity| Node::Json(&identity.value)),
                "metadata" => phase(self, Phase::Metadata, AUTH_METADATA),
                "authorization" => phase(self, Phase::Authorization, AUTH_AUTHORIZATION),
                "response" => phase(self, Phase::Response, AUTH_RESPONSE),
                "callbacks" => phase(self, Phase::Callbacks, AUTH_CALLBACKS),
                "decision" => self.known.decision.as_deref().map(Node::Json),
                _ => None,
            },
            AUTH_METADATA => found(self.found(Phase::Metadata), key),
            AUTH_AUTHORIZATION => found(self.found(Phase::Authorization), key),
            AUTH_RESPONSE => found(self.found(Phase::Response), key),
            AUTH_CALLBACKS => found(self.found(Phase::Callbacks), key),
            _ => self.attribute(part, key),
        }
    }

    fn members<'a>(&'a self, part: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
        let parts = self.request.parts();
        match part {
            HEADERS => parts.headers.iter().map(|(name, value)| (Cow::Borrowed(name), Node::Text(value))).collect(),
            CONTEXT_EXTENSIONS => texts(&parts.context_extensions),
            SOURCE_LABELS => texts(&parts.source.labels),
            DESTINATION_LABELS => texts(&parts.destination.labels),
            FILTER_METADATA => {
                parts.metadata.as_ref().map(|metadata| values(&metadata.filter_metadata)).unwrap_or_default()
            }
            TYPED_METADATA => {
                parts.metadata.as_ref().map(|metadata| values(&metadata.typed_filter_metadata)).unwrap_or_default()
            }
            ROUTE_FILTER_METADATA => {
                parts.route_metadata.as_ref().map(|metadata| values(&metadata.filter_metadata)).unwrap_or_default()
            }
            ROUTE_TYPED_METADATA => parts
                .route_metadata
                .as_ref()
                .map(|metadata| values(&metadata.typed_filter_metadata))
                .unwrap_or_default(),
            AUTH_METADATA => all_found(self.found(Phase::Metadata)),
            AUTH_AUTHORIZATION => all_found(self.found(Phase::Authorization)),
            AUTH_RESPONSE => all_found(self.found(Phase::Response)),
            AUTH_CALLBACKS => all_found(self.found(Phase::Callbacks)),
            _ => member_names(part)
                .iter()
                .filter_map(|name| Some((Cow::Borrowed(*name), self.member(part, name)?)))
                .collect(),
        }
    }

    fn empty<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        match (part, key) {
            (
                REQUEST,
                "id" | "protocol" | "scheme" | "host" | "method" | "path" | "url_path" | "query" | "referer"
                | "user_agent" | "body" | "raw_body",
            )
            | (SOURCE | DESTINATION, "address" | "service" | "principal" | "certificate") => Some(Node::Text("")),
            (REQUEST, "size") | (SOURCE | DESTINATION, "port") | (TIME, "seconds" | "nanos") => Some(Node::Integer(0)),
            _ => None,
        }
    }

    fn json(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self.json.get_or_init(|| Node::Message(self, Part::ROOT).to_value()))
    }
}

impl Context<'_> {
    /// The attributes as the gateway sent them, under `context`: the older paths, kept for selectors.
    fn attribute<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        let parts = self.request.parts();
        match part {
            CONTEXT => match key {
                "source" => given(&parts.source).then_some(Node::Message(self, ATTRIBUTE_SOURCE)),
                "destination" => given(&parts.destination).then_some(Node::Message(self, ATTRIBUTE_DESTINATION)),
                "request" => Some(Node::Message(self, ATTRIBUTE_REQUEST)),
                "context_extensions" => map(self, CONTEXT_EXTENSIONS, &parts.context_extensions),
                "metadata_context" => parts.metadata.as_ref().map(|_| Node::Message(self, METADATA)),
                "route_metadata_context" => parts.route_metadata.as_ref().map(|_| Node::Message(self, ROUTE_METADATA)),
                "tls_session" => parts.tls_session.as_ref().map(|_| Node::Message(self, TLS_SESSION)),
                _ => None,
            },
            ATTRIBUTE_REQUEST => match key {
                "time" => parts.time.map(|_| Node::Message(self, TIME)),
                "http" => Some(Node::Message(self, HTTP)),
                _ => None,
            },
            HTTP => match key {
                "id" => text(&parts.id),
                "method" => text(&parts.method),
                "headers" => (!parts.headers.is_empty()).then_some(Node::Message(self, HEADERS)),
                "path" => text(&parts.path),
                "host" => text(&parts.host),
                "scheme" => text(&parts.scheme),
                "query" => text(&parts.query),
                "fragment" => text(&parts.fragment),
                "size" => integer(parts.size),
                "protocol" => text(&parts.protocol),
                "body" => text(&parts.body),
                "raw_body" => bytes(&parts.raw_body),
                "header_map" => parts.header_map.as_ref().map(Node::Json),
                _ => None,
            },
            ATTRIBUTE_SOURCE | ATTRIBUTE_DESTINATION => {
                let source = part == ATTRIBUTE_SOURCE;
                let peer = self.peer(source);
                match key {
                    "address" => peer
                        .address
                        .as_ref()
                        .map(|_| Node::Message(self, if source { SOURCE_ADDRESS } else { DESTINATION_ADDRESS })),
                    "service" => text(&peer.service),
                    "labels" => map(self, if source { SOURCE_LABELS } else { DESTINATION_LABELS }, &peer.labels),
                    "principal" => text(&peer.principal),
                    "certificate" => text(&peer.certificate),
                    _ => None,
                }
            }
            SOURCE_ADDRESS if key == "Address" => Some(Node::Message(self, SOURCE_ADDRESS_KIND)),
            DESTINATION_ADDRESS if key == "Address" => Some(Node::Message(self, DESTINATION_ADDRESS_KIND)),
            SOURCE_ADDRESS_KIND | DESTINATION_ADDRESS_KIND => {
                let source = part == SOURCE_ADDRESS_KIND;
                match (self.peer(source).address.as_ref()?, key) {
                    (Address::Socket { .. }, "SocketAddress")
                    | (Address::Pipe { .. }, "Pipe")
                    | (Address::Internal { .. }, "EnvoyInternalAddress") => {
                        Some(Node::Message(self, if source { SOURCE_SOCKET } else { DESTINATION_SOCKET }))
                    }
                    _ => None,
                }
            }
            SOURCE_SOCKET | DESTINATION_SOCKET => {
                let source = part == SOURCE_SOCKET;
                match (self.peer(source).address.as_ref()?, key) {
                    (Address::Socket { protocol, .. }, "protocol") => integer(i64::from(*protocol)),
                    (Address::Socket { address, .. }, "address") => text(address),
                    (Address::Socket { .. }, "PortSpecifier") => {
                        Some(Node::Message(self, if source { SOURCE_PORT } else { DESTINATION_PORT }))
                    }
                    (Address::Pipe { path, .. }, "path") => text(path),
                    (Address::Pipe { mode, .. }, "mode") => integer(i64::from(*mode)),
                    (Address::Internal { .. }, "AddressNameSpecifier") => {
                        Some(Node::Message(self, if source { SOURCE_PORT } else { DESTINATION_PORT }))
                    }
                    (Address::Internal { endpoint_id, .. }, "endpoint_id") => text(endpoint_id),
                    _ => None,
                }
            }
            SOURCE_PORT | DESTINATION_PORT => match (self.peer(part == SOURCE_PORT).address.as_ref()?, key) {
                (Address::Socket { port: Port::Number(port), .. }, "PortValue") => {
                    Some(Node::Integer(i64::from(*port)))
                }
                (Address::Socket { port: Port::Named(name), .. }, "NamedPort") => text(name),
                (Address::Internal { server_listener_name, .. }, "ServerListenerName") => text(server_listener_name),
                _ => None,
            },
            ROUTE_METADATA => {
                metadata(parts.route_metadata.as_ref()?, key, [ROUTE_FILTER_METADATA, ROUTE_TYPED_METADATA], self)
            }
            ROUTE_FILTER_METADATA => parts.route_metadata.as_ref()?.filter_metadata.get(key).map(Node::Json),
            ROUTE_TYPED_METADATA => parts.route_metadata.as_ref()?.typed_filter_metadata.get(key).map(Node::Json),
            TLS_SESSION if key == "sni" => parts.tls_session.as_deref().and_then(text),
            _ => None,
        }
    }
}

const REQUEST: Part = Part(1);
const TIME: Part = Part(2);
const GRPC: Part = Part(3);
const HEADERS: Part = Part(4);
const CONTEXT_EXTENSIONS: Part = Part(5);
const SOURCE: Part = Part(6);
const DESTINATION: Part = Part(7);
const SOURCE_LABELS: Part = Part(8);
const DESTINATION_LABELS: Part = Part(9);
const METADATA: Part = Part(10);
const FILTER_METADATA: Part = Part(11);
const TYPED_METADATA: Part = Part(12);
const AUTH: Part = Part(13);
const AUTH_METADATA: Part = Part(14);
const AUTH_AUTHORIZATION: Part = Part(15);
const AUTH_RESPONSE: Part = Part(16);
const AUTH_CALLBACKS: Part = Part(17);
const CONTEXT: Part = Part(18);
const ATTRIBUTE_REQUEST: Part = Part(19);
const HTTP: Part = Part(20);
const ATTRIBUTE_SOURCE: Part = Part(21);
const ATTRIBUTE_DESTINATION: Part = Part(22);
const SOURCE_ADDRESS: Part = Part(23);
const DESTINATION_ADDRESS: Part = Part(24);
const SOURCE_ADDRESS_KIND: Part = Part(25);
const DESTINATION_ADDRESS_KIND: Part = Part(26);
const SOURCE_SOCKET: Part = Part(27);
const DESTINATION_SOCKET: Part = Part(28);
const SOURCE_PORT: Part = Part(29);
const DESTINATION_PORT: Part = Part(30);
const ROUTE_METADATA: Part = Part(31);
const ROUTE_FILTER_METADATA: Part = Part(32);
const ROUTE_TYPED_METADATA: Part = Part(33);
const TLS_SESSION: Part = Part(34);

/// The members that an object of fixed shape can have, in document order.
fn member_names(part: Part) -> &'static [&'static str] {
    match part {
        Part::ROOT => &["context", "metadata", "request", "source", "destination", "auth"],
        REQUEST => &[
            "id",
            "time",
            "protocol",
            "scheme",
            "host",
            "method",
            "path",
            "url_path",
            "query",
            "headers",
            "referer",
            "user_agent",
            "size",
            "body",
            "raw_body",
            "grpc",
            "context_extensions",
        ],
        TIME => &["seconds", "nanos"],
        GRPC => &["service", "method"],
        SOURCE | DESTINATION => &["address", "port", "service", "labels", "principal", "certificate"],
        METADATA | ROUTE_METADATA => &["filter_metadata", "typed_filter_metadata"],
        AUTH => &["identity", "metadata", "authorization", "response", "callbacks", "decision"],
        CONTEXT => &[
            "source",
            "destination",
            "request",
            "context_extensions",
            "metadata_context",
            "tls_session",
            "route_metadata_context",
        ],
        ATTRIBUTE_REQUEST => &["time", "http"],
        HTTP => &[
            "id",
            "method",
            "headers",
            "path",
            "host",
            "scheme",
            "query",
            "fragment",
            "size",
            "protocol",
            "body",
            "raw_body",
            "header_map",
        ],
        ATTRIBUTE_SOURCE | ATTRIBUTE_DESTINATION => &["address", "service", "labels", "principal", "certificate"],
        SOURCE_ADDRESS | DESTINATION_ADDRESS => &["Address"],
        SOURCE_ADDRESS_KIND | DESTINATION_ADDRESS_KIND => &["SocketAddress", "Pipe", "EnvoyInternalAddress"],
        SOURCE_SOCKET | DESTINATION_SOCKET => {
            &["protocol", "address", "PortSpecifier", "path", "mode", "AddressNameSpecifier", "endpoint_id"]
        }
        SOURCE_PORT | DESTINATION_PORT => &["PortValue", "NamedPort", "ServerListenerName"],
        TLS_SESSION => &["sni"],
        _ => &[],
    }
}

/// Whether the gateway told anything of a peer.
fn given(peer: &Peer) -> bool {
    let Peer { address, service, labels, principal, certificate } = peer;
    address.is_some() || [service, principal, certificate].iter().any(|text| !text.is_empty()) || !labels.is_empty()
}

fn text(value: &str) -> Option<Node<'_>> {
    (!value.is_empty()).then_some(Node::Text(value))
}

fn bytes(value: &[u8]) -> Option<Node<'_>> {
    (!value.is_empty()).then_some(Node::Bytes(value))
}

fn integer<'a>(value: i64) -> Option<Node<'a>> {
    (value != 0).then_some(Node::Integer(value))
}

fn time<'a>(time: Time, key: &str) -> Option<Node<'a>> {
    match key {
        "seconds" => integer(time.seconds),
        "nanos" => integer(i64::from(time.nanos)),
        _ => None,
    }
}

fn map<'a>(context: &'a Context<'_>, part: Part, map: &BTreeMap<String, String>) -> Option<Node<'a>> {
    (!map.is_empty()).then_some(Node::Message(context, part))
}

fn metadata<'a>(metadata: &Metadata, key: &str, parts: [Part; 2], context: &'a Context<'_>) -> Option<Node<'a>> {
    let [untyped, typed] = parts;
    match key {
        "filter_metadata" if !metadata.filter_metadata.is_empty() => Some(Node::Message(context, untyped)),
        "typed_filter_metadata" if !metadata.typed_filter_metadata.is_empty() => Some(Node::Message(context, typed)),
        _ => None,
    }
}

fn phase<'a>(context: &'a Context<'_>, phase: Phase, part: Part) -> Option<Node<'a>> {
    (!context.found(phase).is_empty()).then_some(Node::Message(context, part))
}

fn found<'a>(found: &'a [(Arc<str>, Arc<Value>)], key: &str) -> Option<Node<'a>> {
    found.iter().find(|(name, _)| **name == *key).map(|(_, value)| Node::Json(value))
}

/// Sorted by name: the order in which concurrent rules ended must not show.
fn all_found(found: &[(Arc<str>, Arc<Value>)]) -> Vec<(Cow<'_, str>, Node<'_>)> {
    let mut members: Vec<_> = found.iter().map(|(name, value)| (Cow::Borrowed(&**name), Node::Json(value))).collect();
    members.sort_by(|(left, _), (right, _)| left.cmp(right));
    members
}

fn texts(map: &BTreeMap<String, String>) -> Vec<(Cow<'_, str>, Node<'_>)> {
    map.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Node::Text(value))).collect()
}

fn values(map: &BTreeMap<String, Value>) -> Vec<(Cow<'_, str>, Node<'_>)> {
    map.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Node::Json(value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::RequestParts;

    /// Everything that a gateway can say, once.
    fn full() -> Request {
        let mut parts = RequestParts {
            id: "r-1".to_owned(),
            time: Some(Time { seconds: 1_700_000_000, nanos: 5_000 }),
            protocol: "HTTP/1.1".to_owned(),
            scheme: "http".to_owned(),
            host: "api.io:8080".to_owned(),
            method: "GET".to_owned(),
            path: "/pets?x=1".to_owned(),
            size: -1,
            ..RequestParts::default()
        };
        parts.headers.insert("authorization", "Bearer t");
        parts.source.address =
            Some(Address::Socket { protocol: 0, address: "10.0.0.1".to_owned(), port: Port::Number(5000) });
        parts.metadata = Some(Metadata {
            filter_metadata: BTreeMap::from([("f.x".to_owned(), json!({"k": "v"}))]),
            ..Metadata::default()
        });
        Request::new(parts)
    }

    #[test]
    fn the_document_has_the_shape_that_expressions_expect() {
        let request = full();
        let mut context = Context::new(&request, None, None);
        context.set_identity(Identity { rule: "jwt".into(), value: Arc::new(json!({"sub": "joe"})) });
        context.add(Phase::Metadata, "geo".into(), Arc::new(json!({"cc": "PT"})));
        let expected = r#"{"context":{"source":{"address":{"Address":{"SocketAddress":{"address":"10.0.0.1","PortSpecifier":{"PortValue":5000}}}}},"request":{"time":{"seconds":1700000000,"nanos":5000},"http":{"id":"r-1","method":"GET","headers":{"authorization":"Bearer t"},"path":"/pets?x=1","host":"api.io:8080","scheme":"http","size":-1,"protocol":"HTTP/1.1"}},"metadata_context":{"filter_metadata":{"f.x":{"k":"v"}}}},"metadata":{"filter_metadata":{"f.x":{"k":"v"}}},"request":{"id":"r-1","time":{"seconds":1700000000,"nanos":5000},"protocol":"HTTP/1.1","scheme":"http","host":"api.io:8080","method":"GET","path":"/pets?x=1","url_path":"/pets","query":"x=1","headers":{"authorization":"Bearer t"},"size":-1},"source":{"address":"10.0.0.1","port":5000},"destination":{},"auth":{"identity":{"sub":"joe"},"metadata":{"geo":{"cc":"PT"}}}}"#;
        assert_eq!(context.json().to_string(), expected);
    }

    #[test]
    fn a_peer_of_which_nothing_is_known_is_absent_among_the_attributes() {
        type Change = fn(&mut Peer);
        let changes: [Change; 5] = [
            |peer| peer.address = Some(Address::Pipe { path: String::new(), mode: 0 }),
            |peer| peer.service = "s".to_owned(),
            |peer| _ = peer.labels.insert("a".to_owned(), String::new()),
            |peer| peer.principal = "p".to_owned(),
            |peer| peer.certificate = "c".to_owned(),
        ];
        let names = |parts: RequestParts| {
            let request = Request::new(parts);
            let context = Context::new(&request, None, None);
            let names = |of: Part| context.members(of).iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
            assert_eq!(names(Part::ROOT), ["context", "request", "source", "destination", "auth"]);
            names(CONTEXT)
        };
        assert_eq!(names(RequestParts::default()), ["request"]);
        for change in changes {
            let mut parts = RequestParts::default();
            change(&mut parts.source);
            assert_eq!(names(parts), ["source", "request"]);
            let mut parts = RequestParts::default();
            change(&mut parts.destination);
            assert_eq!(names(parts), ["destination", "request"]);
        }
    }

    #[test]
    fn what_is_added_is_seen_at_once() {
        let request = full();
        let mut context = Context::new(&request, None, None);
        assert_eq!(context.json().pointer("/auth"), Some(&json!({})));
        context.add(Phase::Authorization, "b".into(), Arc::new(json!(true)));
        context.add(Phase::Authorization, "a".into(), Arc::new(json!(1)));
        assert_eq!(
            context.json().pointer("/auth/authorization").map(Value::to_string),
            Some(r#"{"a":1,"b":true}"#.to_owned())
        );
    }

    #[test]
    fn an_identity_of_null_is_absent_and_one_of_false_is_not() {
        let request = full();
        let mut context = Context::new(&request, None, None);
        context.set_identity(Identity { rule: "r".into(), value: Arc::new(Value::Null) });
        assert!(context.member(AUTH, "identity").is_none());
        context.set_identity(Identity { rule: "r".into(), value: Arc::new(json!(false)) });
        assert!(context.member(AUTH, "identity").is_some());
    }

    #[test]
    fn empty_scalars_are_absent_but_have_an_empty_value() {
        let request = Request::new(RequestParts::default());
        let context = Context::new(&request, None, None);
        assert!(context.member(REQUEST, "path").is_none());
        assert!(matches!(context.empty(REQUEST, "path"), Some(Node::Text(""))));
        assert!(context.empty(REQUEST, "headers").is_none());
        assert!(context.empty(REQUEST, "nonsense").is_none());
        assert!(matches!(context.empty(SOURCE, "port"), Some(Node::Integer(0))));
    }

    #[test]
    fn pipes_and_internal_addresses_have_no_ip() {
        let mut parts = RequestParts::default();
        parts.source.address = Some(Address::Pipe { path: "/run/x".to_owned(), mode: 0 });
        parts.destination.address =
            Some(Address::Internal { server_listener_name: "inner".to_owned(), endpoint_id: String::new() });
        let request = Request::new(parts);
        let context = Context::new(&request, None, None);
        assert_eq!(context.json().pointer("/source"), Some(&json!({})));
        assert_eq!(
            context.json().pointer("/context/destination/address"),
            Some(
                &json!({"Address": {"EnvoyInternalAddress": {"AddressNameSpecifier": {"ServerListenerName": "inner"}}}})
            )
        );
        assert_eq!(context.json().pointer("/context/source/address/Address/Pipe/path"), Some(&json!("/run/x")));
    }
}
