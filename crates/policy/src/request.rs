//! The check request as policies see it: `object.attributes`, with the names of Envoy's `AttributeContext`.
//!
//! As for protobuf messages, a field that is not set reads as its empty value, and `has()` is false. What is shown is
//! the canonical request, the same that rules of AuthConfigs see.

use std::borrow::Cow;

use serde_json::{Map, Value};
use usher_engine::{
    Request,
    request::{Address, Metadata, Peer, Port},
};
use usher_expr::{Document, Node, Part};

/// A request as a document.
pub(crate) struct CheckRequest<'r>(pub(crate) &'r Request);

const OBJECT: Part = Part(1);
const ATTRIBUTES: Part = Part(2);
const REQUEST: Part = Part(3);
const TIME: Part = Part(4);
const HTTP: Part = Part(5);
const HEADERS: Part = Part(6);
const CONTEXT_EXTENSIONS: Part = Part(7);
const TLS_SESSION: Part = Part(8);
/// The parts of `source`; those of `destination` follow in the same order.
const SOURCE: Part = Part(16);
const DESTINATION: Part = Part(16 + PEER_PARTS);
const PEER_PARTS: u16 = 8;
const LABELS: u16 = 1;
const ADDRESS: u16 = 2;
const SOCKET: u16 = 3;
const PIPE: u16 = 4;
const INTERNAL: u16 = 5;
/// The parts of `metadata_context`; those of `route_metadata_context` follow in the same order.
const METADATA: Part = Part(48);
const ROUTE_METADATA: Part = Part(48 + METADATA_PARTS);
const METADATA_PARTS: u16 = 4;
const FILTER_METADATA: u16 = 1;
const TYPED_METADATA: u16 = 2;

/// What a message without fields of its own choosing reads.
fn fields(part: Part) -> &'static [&'static str] {
    match part {
        Part::ROOT => &["object"],
        OBJECT => &["attributes"],
        ATTRIBUTES => &[
            "source",
            "destination",
            "request",
            "context_extensions",
            "metadata_context",
            "route_metadata_context",
            "tls_session",
        ],
        REQUEST => &["time", "http"],
        TIME => &["seconds", "nanos"],
        HTTP => &[
            "id",
            "method",
            "headers",
            "header_map",
            "path",
            "host",
            "scheme",
            "query",
            "fragment",
            "size",
            "protocol",
            "body",
            "raw_body",
        ],
        TLS_SESSION => &["sni"],
        _ => match (peer_part(part), metadata_part(part)) {
            (Some((_, 0)), _) => &["address", "service", "labels", "principal", "certificate"],
            (Some((_, ADDRESS)), _) => &["socket_address", "pipe", "envoy_internal_address"],
            (Some((_, SOCKET)), _) => &["protocol", "address", "port_value", "named_port"],
            (Some((_, PIPE)), _) => &["path", "mode"],
            (Some((_, INTERNAL)), _) => &["server_listener_name", "endpoint_id"],
            (_, Some((_, 0))) => &["filter_metadata", "typed_filter_metadata"],
            _ => &[],
        },
    }
}

/// Whether a part belongs to `source`, and which part of it.
fn peer_part(part: Part) -> Option<(bool, u16)> {
    let offset = part.0.checked_sub(SOURCE.0).filter(|offset| *offset < 2 * PEER_PARTS)?;
    Some((offset < PEER_PARTS, offset % PEER_PARTS))
}

/// Whether a part belongs to the metadata of the request, not of the route, and which part of it.
fn metadata_part(part: Part) -> Option<(bool, u16)> {
    let offset = part.0.checked_sub(METADATA.0).filter(|offset| *offset < 2 * METADATA_PARTS)?;
    Some((offset < METADATA_PARTS, offset % METADATA_PARTS))
}

/// What a field reads, and whether it is set.
type Field<'a> = (Node<'a>, bool);

fn text(value: &str) -> Field<'_> {
    (Node::Text(value), !value.is_empty())
}

fn number(value: i64) -> Field<'static> {
    (Node::Integer(value), value != 0)
}

impl CheckRequest<'_> {
    /// What a known field reads; `None` for others, and for entries of maps that are not there.
    fn read<'a>(&'a self, part: Part, key: &str) -> Option<Field<'a>> {
        let parts = self.0.parts();
        let message = |part: Part, is_set: bool| (Node::Message(self, part), is_set);
        let entry = |value: Option<&'a String>| value.map(|value| (Node::Text(value), true));
        Some(match (part, key) {
            (Part::ROOT, "object") => message(OBJECT, true),
            (OBJECT, "attributes") => message(ATTRIBUTES, true),
            (ATTRIBUTES, "source") => message(SOURCE, true),
            (ATTRIBUTES, "destination") => message(DESTINATION, true),
            (ATTRIBUTES, "request") => message(REQUEST, true),
            (ATTRIBUTES, "context_extensions") => message(CONTEXT_EXTENSIONS, !parts.context_extensions.is_empty()),
            (ATTRIBUTES, "metadata_context") => message(METADATA, parts.metadata.is_some()),
            (ATTRIBUTES, "route_metadata_context") => message(ROUTE_METADATA, parts.route_metadata.is_some()),
            (ATTRIBUTES, "tls_session") => message(TLS_SESSION, parts.tls_session.is_some()),
            (REQUEST, "time") => message(TIME, parts.time.is_some()),
            (REQUEST, "http") => message(HTTP, true),
            (TIME, "seconds") => number(parts.time.map_or(0, |time| time.seconds)),
            (TIME, "nanos") => number(parts.time.map_or(0, |time| i64::from(time.nanos))),
            (HTTP, "id") => text(&parts.id),
            (HTTP, "method") => text(&parts.method),
            (HTTP, "headers") => message(HEADERS, !parts.headers.is_empty()),
            (HTTP, "header_map") => (Node::Json(parts.header_map.as_ref()?), true),
            (HTTP, "path") => text(&parts.path),
            (HTTP, "host") => text(&parts.host),
            (HTTP, "scheme") => text(&parts.scheme),
            (HTTP, "query") => text(&parts.query),
            (HTTP, "fragment") => text(&parts.fragment),
            (HTTP, "size") => number(parts.size),
            (HTTP, "protocol") => text(&parts.protocol),
            (HTTP, "body") => text(&parts.body),
            (HTTP, "raw_body") => (Node::Bytes(&parts.raw_body), !parts.raw_body.is_empty()),
            (TLS_SESSION, "sni") => text(parts.tls_session.as_deref().unwrap_or_default()),
            (HEADERS, name) => return parts.headers.get(name).map(|value| (Node::Text(value), true)),
            (CONTEXT_EXTENSIONS, name) => return entry(parts.context_extensions.get(name)),
            _ => {
                if let Some((source, place)) = peer_part(part) {
                    let (peer, first) =
                        if source { (&parts.source, SOURCE) } else { (&parts.destination, DESTINATION) };
                    return self.peer(peer, first.0, place, key);
                }
                let (of_request, place) = metadata_part(part)?;
                return self.metadata(of_request, place, key);
            }
        })
    }

    fn peer<'a>(&'a self, peer: &'a Peer, first: u16, place: u16, key: &str) -> Option<Field<'a>> {
        let message = |place: u16, is_set: bool| (Node::Message(self, Part(first + place)), is_set);
        let address = peer.address.as_ref();
        Some(match (place, key) {
            (0, "address") => message(ADDRESS, address.is_some()),
            (0, "service") => text(&peer.service),
            (0, "labels") => message(LABELS, !peer.labels.is_empty()),
            (0, "principal") => text(&peer.principal),
            (0, "certificate") => text(&peer.certificate),
            (LABELS, name) => (Node::Text(peer.labels.get(name)?), true),
            (ADDRESS, "socket_address") => message(SOCKET, matches!(address, Some(Address::Socket { .. }))),
            (ADDRESS, "pipe") => message(PIPE, matches!(address, Some(Address::Pipe { .. }))),
            (ADDRESS, "envoy_internal_address") => message(INTERNAL, matches!(address, Some(Address::Internal { .. }))),
            (SOCKET, "protocol") => number(match address {
                Some(Address::Socket { protocol, .. }) => i64::from(*protocol),
                _ => 0,
            }),
            (SOCKET, "address") => text(peer.ip()),
            (SOCKET, "port_value") => number(i64::from(peer.port())),
            (SOCKET, "named_port") => text(match address {
                Some(Address::Socket { port: Port::Named(name), .. }) => name,
                _ => "",
            }),
            (PIPE, "path") => text(match address {
                Some(Address::Pipe { path, .. }) => path,
                _ => "",
            }),
            (PIPE, "mode") => number(match address {
                Some(Address::Pipe { mode, .. }) => i64::from(*mode),
                _ => 0,
            }),
            (INTERNAL, "server_listener_name") => text(match address {
                Some(Address::Internal { server_listener_name, .. }) => server_listener_name,
                _ => "",
            }),
            (INTERNAL, "endpoint_id") => text(match address {
                Some(Address::Internal { endpoint_id, .. }) => endpoint_id,
                _ => "",
            }),
            _ => return None,
        })
    }

    fn metadata<'a>(&'a self, of_request: bool, place: u16, key: &str) -> Option<Field<'a>> {
        let parts = self.0.parts();
        let (metadata, first) =
            if of_request { (&parts.metadata, METADATA) } else { (&parts.route_metadata, ROUTE_METADATA) };
        let message = |place: u16, is_set: bool| (Node::Message(self, Part(first.0 + place)), is_set);
        let is_set = |any: fn(&Metadata) -> bool| metadata.as_ref().is_some_and(any);
        Some(match (place, key) {
            (0, "filter_metadata") => message(FILTER_METADATA, is_set(|it| !it.filter_metadata.is_empty())),
            (0, "typed_filter_metadata") => message(TYPED_METADATA, is_set(|it| !it.typed_filter_metadata.is_empty())),
            (FILTER_METADATA, name) => (Node::Json(metadata.as_ref()?.filter_metadata.get(name)?), true),
            (TYPED_METADATA, name) => (Node::Json(metadata.as_ref()?.typed_filter_metadata.get(name)?), true),
            _ => return None,
        })
    }

    /// The names of the entries of a map.
    fn keys(&self, part: Part) -> Vec<&str> {
        let parts = self.0.parts();
        let texts = match part {
            HEADERS => return parts.headers.iter().map(|(name, _)| name).collect(),
            CONTEXT_EXTENSIONS => Some(&parts.context_extensions),
            _ => match peer_part(part) {
                Some((source, LABELS)) => Some(if source { &parts.source.labels } else { &parts.destination.labels }),
                _ => None,
            },
        };
        if let Some(texts) = texts {
            return texts.keys().map(String::as_str).collect();
        }
        let metadata = |of_request| if of_request { parts.metadata.as_ref() } else { parts.route_metadata.as_ref() };
        let values = match metadata_part(part) {
            Some((of_request, FILTER_METADATA)) => metadata(of_request).map(|it| &it.filter_metadata),
            Some((of_request, TYPED_METADATA)) => metadata(of_request).map(|it| &it.typed_filter_metadata),
            _ => return fields(part).to_vec(),
        };
        values.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }
}

impl Document for CheckRequest<'_> {
    fn member<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        self.read(part, key).filter(|(_, is_set)| *is_set).map(|(node, _)| node)
    }

    fn members<'a>(&'a self, part: Part) -> Vec<(Cow<'a, str>, Node<'a>)> {
        let keys = self.keys(part).into_iter();
        keys.filter_map(|key| Some((Cow::Borrowed(key), self.member(part, key)?))).collect()
    }

    fn empty<'a>(&'a self, part: Part, key: &str) -> Option<Node<'a>> {
        self.read(part, key).filter(|(_, is_set)| !is_set).map(|(node, _)| node)
    }

    fn json(&self) -> Cow<'_, Value> {
        let members = self.members(Part::ROOT).into_iter();
        Cow::Owned(Value::Object(
            members.map(|(name, node)| (name.into_owned(), node.to_value())).collect::<Map<_, _>>(),
        ))
    }
}
