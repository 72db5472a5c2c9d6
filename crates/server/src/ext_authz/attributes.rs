//! `CheckRequest` to the canonical request, moving what it can.
//!
//! Gateways differ: headers come as a map or as a list of raw bytes, addresses may be pipes or internal listeners, and a filter
//! for plain TCP sends no request at all.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use usher_engine::request::{Address, Metadata, Peer, Port, Time};
use usher_engine::{Request, RequestParts};
use usher_proto::envoy::config::core::v3::{
    Address as WireAddress, HeaderMap, Metadata as WireMetadata, address, envoy_internal_address, socket_address,
};
use usher_proto::envoy::service::auth::v3::CheckRequest;
use usher_proto::envoy::service::auth::v3::attribute_context::Peer as WirePeer;
use usher_proto::value::struct_to_json;

use crate::headers;

/// The request that a check is about; none if the check is not about an HTTP request.
pub(crate) fn request(check: CheckRequest) -> Option<Request> {
    let attributes = check.attributes?;
    let request = attributes.request?;
    let http = request.http?;
    let (headers, header_map) = match http.header_map {
        Some(list) if http.headers.is_empty() => (joined(&list), Some(list_to_json(list))),
        Some(list) => (http.headers, Some(list_to_json(list))),
        None => (http.headers, None),
    };
    let id = match headers.get("x-request-id") {
        Some(id) if !id.is_empty() => id.clone(),
        _ if !http.id.is_empty() => http.id,
        _ => made_up_id(),
    };
    Some(Request::new(RequestParts {
        id,
        time: request.time.map(|time| Time { seconds: time.seconds, nanos: time.nanos }),
        protocol: http.protocol,
        scheme: http.scheme,
        host: http.host,
        method: http.method,
        path: http.path,
        query: http.query,
        fragment: http.fragment,
        headers,
        header_map,
        size: http.size,
        body: http.body,
        raw_body: http.raw_body.into(),
        source: attributes.source.map(peer).unwrap_or_default(),
        destination: attributes.destination.map(peer).unwrap_or_default(),
        context_extensions: attributes.context_extensions,
        metadata: attributes.metadata_context.map(metadata),
        route_metadata: attributes.route_metadata_context.map(metadata),
        tls_session: attributes.tls_session.map(|session| session.sni),
    }))
}

/// An identifier for a request that has none, in the form of a version 4 UUID (RFC 9562 §5.4): unpredictable to others, but
/// not meant to be a secret.
pub(crate) fn made_up_id() -> String {
    static HASHERS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let [high, low] = HASHERS.each_ref().map(|hasher| hasher.hash_one(number));
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Headers by lower-case name; repeated ones joined with a comma, as gateways do that send a map.
fn joined(list: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for header in &list.headers {
        let value = match header.raw_value.is_empty() {
            true => header.value.clone(),
            false => headers::text(&header.raw_value),
        };
        joined
            .entry(header.key.to_ascii_lowercase())
            .and_modify(|present| {
                present.push(',');
                present.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

/// The list as protobuf's own JSON mapping writes it: empty members left out, bytes in base64.
fn list_to_json(list: HeaderMap) -> Value {
    let headers = list.headers.into_iter().map(|header| {
        let raw_value = STANDARD.encode(&header.raw_value);
        let members = [("key", header.key), ("value", header.value), ("raw_value", raw_value)];
        let members = members.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(members.map(|(name, text)| (name.to_owned(), text.into())).collect())
    });
    json!({ "headers": headers.collect::<Vec<_>>() })
}

fn peer(peer: WirePeer) -> Peer {
    Peer {
        address: peer.address.and_then(address),
        service: peer.service,
        labels: peer.labels,
        principal: peer.principal,
        certificate: peer.certificate,
    }
}

fn address(address: WireAddress) -> Option<Address> {
    Some(match address.address? {
        address::Address::SocketAddress(socket) => Address::Socket {
            protocol: socket.protocol,
            address: socket.address,
            port: match socket.port_specifier {
                Some(socket_address::PortSpecifier::PortValue(number)) => Port::Number(number),
                Some(socket_address::PortSpecifier::NamedPort(name)) => Port::Named(name),
                None => Port::Number(0),
            },
        },
        address::Address::Pipe(pipe) => Address::Pipe { path: pipe.path, mode: pipe.mode },
        address::Address::EnvoyInternalAddress(internal) => Address::Internal {
            server_listener_name: match internal.address_name_specifier {
                Some(envoy_internal_address::AddressNameSpecifier::ServerListenerName(name)) => name,
                None => String::new(),
            },
            endpoint_id: internal.endpoint_id,
        },
    })
}

fn metadata(metadata: WireMetadata) -> Metadata {
    let untyped = metadata.filter_metadata.into_iter();
    let typed = metadata.typed_filter_metadata.into_iter();
    Metadata {
        filter_metadata: untyped.map(|(name, value)| (name, struct_to_json(value).into())).collect(),
        typed_filter_metadata: typed
            .map(|(name, any)| {
                let members = [("type_url", any.type_url), ("value", STANDARD.encode(any.value))];
                let object: Map<_, _> =
                    members.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect();
                (name, object.into())
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use usher_proto::envoy::config::core::v3::{EnvoyInternalAddress, HeaderValue, Pipe, SocketAddress};
    use usher_proto::envoy::service::auth::v3::AttributeContext;
    use usher_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as WireRequest, TlsSession};
    use usher_proto::{Any, Kind, Struct, Timestamp, Value as WireValue};

    use super::*;

    fn check(http: HttpRequest) -> CheckRequest {
        let request = WireRequest { time: None, http: Some(http) };
        CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
    }

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn everything_arrives() {
        let socket = SocketAddress {
            address: "10.0.0.7".to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(5000)),
            ..SocketAddress::default()
        };
        let internal = EnvoyInternalAddress {
            address_name_specifier: Some(envoy_internal_address::AddressNameSpecifier::ServerListenerName(
                "l".to_owned(),
            )),
            endpoint_id: "e".to_owned(),
        };
        let value = WireValue { kind: Some(Kind::NumberValue(5.0)) };
        let metadata = WireMetadata {
            filter_metadata: [("f".to_owned(), Struct { fields: [("n".to_owned(), value)].into() })].into(),
            typed_filter_metadata: [("t".to_owned(), Any { type_url: "u".to_owned(), value: vec![1, 2] })].into(),
        };
        let mut check = check(HttpRequest {
            id: "42".to_owned(),
            method: "GET".to_owned(),
            headers: map(&[("x-request-id", "from-header"), (":path", "/p?q")]),
            path: "/p?q".to_owned(),
            host: "Example.com:443".to_owned(),
            scheme: "https".to_owned(),
            size: -1,
            protocol: "HTTP/2".to_owned(),
            body: "text".to_owned(),
            raw_body: vec![0xff, 0].into(),
            ..HttpRequest::default()
        });
        let attributes = check.attributes.as_mut().unwrap();
        attributes.request.as_mut().unwrap().time = Some(Timestamp { seconds: 7, nanos: 8 });
        attributes.source = Some(WirePeer {
            address: Some(WireAddress { address: Some(address::Address::SocketAddress(socket)) }),
            service: "s".to_owned(),
            labels: map(&[("app", "web")]),
            principal: "p".to_owned(),
            certificate: "c".to_owned(),
        });
        let address = WireAddress { address: Some(address::Address::EnvoyInternalAddress(internal)) };
        attributes.destination = Some(WirePeer { address: Some(address), ..WirePeer::default() });
        attributes.context_extensions = map(&[("host", "other")]);
        attributes.metadata_context = Some(metadata);
        attributes.tls_session = Some(TlsSession { sni: "sni".to_owned() });

        let request = request(check).unwrap();
        let parts = request.parts();
        assert_eq!(
            (parts.id.as_str(), parts.method.as_str(), parts.host.as_str()),
            ("from-header", "GET", "Example.com:443")
        );
        assert_eq!((parts.scheme.as_str(), parts.protocol.as_str(), parts.size), ("https", "HTTP/2", -1));
        assert_eq!((request.url_path(), request.query()), ("/p", "q"));
        assert_eq!((parts.body.as_str(), parts.raw_body.as_slice()), ("text", &[0xff, 0][..]));
        assert_eq!(parts.time, Some(Time { seconds: 7, nanos: 8 }));
        assert_eq!((parts.source.ip(), parts.source.port()), ("10.0.0.7", 5000));
        assert_eq!((parts.source.service.as_str(), parts.source.labels["app"].as_str()), ("s", "web"));
        assert_eq!((parts.source.principal.as_str(), parts.source.certificate.as_str()), ("p", "c"));
        let Some(Address::Internal { server_listener_name, endpoint_id }) = &parts.destination.address else {
            panic!()
        };
        assert_eq!((server_listener_name.as_str(), endpoint_id.as_str()), ("l", "e"));
        assert_eq!(request.lookup_host(), "other");
        let metadata = parts.metadata.as_ref().unwrap();
        assert_eq!(metadata.filter_metadata["f"], json!({"n": 5}));
        assert_eq!(metadata.typed_filter_metadata["t"], json!({"type_url": "u", "value": "AQI="}));
        assert_eq!((parts.tls_session.as_deref(), parts.route_metadata.is_none()), (Some("sni"), true));
    }

    #[test]
    fn a_list_of_raw_headers_is_as_good_as_a_map() {
        let header = |key: &str, value: &str, raw_value: &'static [u8]| HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: raw_value.into(),
        };
        let list = HeaderMap {
            headers: vec![
                header(":path", "", b"/a"),
                header("X-Multi", "", b"one"),
                header("x-multi", "two", b""),
                header("x-bytes", "", b"a\xff\xfeb"),
                header("x-empty", "", b""),
            ],
        };
        let request = request(check(HttpRequest { header_map: Some(list), ..HttpRequest::default() })).unwrap();
        let expected = map(&[(":path", "/a"), ("x-bytes", "a!!b"), ("x-empty", ""), ("x-multi", "one,two")]);
        assert_eq!(request.parts().headers, expected);
        let expected = json!({"headers": [
            {"key": ":path", "raw_value": "L2E="},
            {"key": "X-Multi", "raw_value": "b25l"},
            {"key": "x-multi", "value": "two"},
            {"key": "x-bytes", "raw_value": "Yf/+Yg=="},
            {"key": "x-empty"},
        ]});
        assert_eq!(request.parts().header_map, Some(expected));
    }

    #[test]
    fn addresses_need_not_be_sockets() {
        let pipe = address::Address::Pipe(Pipe { path: "@abstract".to_owned(), mode: 0 });
        let named = address::Address::SocketAddress(SocketAddress {
            port_specifier: Some(socket_address::PortSpecifier::NamedPort("http".to_owned())),
            ..SocketAddress::default()
        });
        let anonymous = address::Address::EnvoyInternalAddress(EnvoyInternalAddress::default());
        for (wire, ip, port) in [(None, "", 0), (Some(pipe), "", 0), (Some(named), "", 0), (Some(anonymous), "", 0)] {
            let text = format!("{wire:?}");
            let peer = peer(WirePeer { address: Some(WireAddress { address: wire }), ..WirePeer::default() });
            assert_eq!((peer.ip(), peer.port()), (ip, port), "{text}");
        }
    }

    #[test]
    fn without_an_http_request_there_is_nothing_to_decide() {
        assert!(request(CheckRequest::default()).is_none());
        assert!(request(CheckRequest { attributes: Some(AttributeContext::default()) }).is_none());
        let attributes = AttributeContext { request: Some(WireRequest::default()), ..AttributeContext::default() };
        assert!(request(CheckRequest { attributes: Some(attributes) }).is_none());
    }

    #[test]
    fn every_request_has_an_id() {
        let id = |header: Option<&str>, id: &str| {
            let headers = header.map(|id| ("x-request-id".to_owned(), id.to_owned())).into_iter().collect();
            let http = HttpRequest { id: id.to_owned(), headers, ..HttpRequest::default() };
            request(check(http)).unwrap().parts().id.clone()
        };
        assert_eq!(id(Some("header"), "own"), "header");
        assert_eq!(id(Some(""), "own"), "own");
        assert_eq!(id(None, "own"), "own");
        let made_up: HashSet<String> = (0..100).map(|_| id(Some(""), "")).collect();
        assert_eq!(made_up.len(), 100);
        for id in made_up {
            let groups: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!((groups.as_slice(), &id[14..15]), (&[8, 4, 4, 4, 12][..], "4"), "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}
