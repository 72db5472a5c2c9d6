use std::collections::HashSet;

use proptest::prelude::*;
use usher_proto::envoy::config::core::v3::{
    Address as WireAddress, EnvoyInternalAddress, HeaderValue, Pipe, SocketAddress, address, envoy_internal_address,
    socket_address,
};
use usher_proto::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer as WirePeer, Request as WireRequest, TlsSession,
};
use usher_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use usher_proto::{Any, Kind, Struct, Timestamp, Value as WireValue};

use super::*;

/// The same by means of the library for protocol buffers: what ours has to agree with.
mod by_library;

fn request(check: CheckRequest) -> Option<Request> {
    super::request(&check.encode_to_vec()).unwrap()
}

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
        address_name_specifier: Some(envoy_internal_address::AddressNameSpecifier::ServerListenerName("l".to_owned())),
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
    let Some(Address::Internal { server_listener_name, endpoint_id }) = &parts.destination.address else { panic!() };
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
    assert_eq!(request.parts().headers, expected.into_iter().collect());
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
        let mut check = check(HttpRequest::default());
        let address = Some(WireAddress { address: wire });
        check.attributes.as_mut().unwrap().source = Some(WirePeer { address, ..WirePeer::default() });
        let request = request(check).unwrap();
        let source = &request.parts().source;
        assert_eq!((source.ip(), source.port()), (ip, port), "{text}");
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

fn text() -> impl Strategy<Value = String> {
    "[a-cA-C:é]{0,4}"
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..6)
}

fn addresses() -> impl Strategy<Value = Option<WireAddress>> {
    let port = prop_oneof![
        Just(None),
        any::<u32>().prop_map(|port| Some(socket_address::PortSpecifier::PortValue(port))),
        text().prop_map(|name| Some(socket_address::PortSpecifier::NamedPort(name))),
    ];
    let socket = (text(), any::<i32>(), port).prop_map(|(address, protocol, port_specifier)| {
        let socket = SocketAddress { address, protocol, port_specifier, ..SocketAddress::default() };
        address::Address::SocketAddress(socket)
    });
    let pipe = (text(), any::<u32>()).prop_map(|(path, mode)| address::Address::Pipe(Pipe { path, mode }));
    let internal = (prop::option::of(text()), text()).prop_map(|(name, endpoint_id)| {
        let name = name.map(envoy_internal_address::AddressNameSpecifier::ServerListenerName);
        let internal = EnvoyInternalAddress { address_name_specifier: name, endpoint_id };
        address::Address::EnvoyInternalAddress(internal)
    });
    prop::option::of(prop::option::of(prop_oneof![socket, pipe, internal]))
        .prop_map(|address| address.map(|address| WireAddress { address }))
}

fn peers() -> impl Strategy<Value = Option<WirePeer>> {
    let peer = (addresses(), text(), texts(), text(), text()).prop_map(
        |(address, service, labels, principal, certificate)| WirePeer {
            address,
            service,
            labels,
            principal,
            certificate,
        },
    );
    prop::option::of(peer)
}

fn metadata() -> impl Strategy<Value = Option<WireMetadata>> {
    let typed = prop::collection::btree_map(
        text(),
        (text(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(type_url, value)| Any { type_url, value }),
        0..2,
    );
    let value = text().prop_map(|text| {
        let value = WireValue { kind: Some(Kind::StringValue(text)) };
        Struct { fields: [("k".to_owned(), value)].into() }
    });
    let untyped = prop::collection::btree_map(text(), value, 0..3);
    prop::option::of(
        (untyped, typed).prop_map(|(filter_metadata, typed_filter_metadata)| WireMetadata {
            filter_metadata,
            typed_filter_metadata,
        }),
    )
}

fn header_maps() -> impl Strategy<Value = Option<HeaderMap>> {
    let header = (text(), text(), prop::collection::vec(any::<u8>(), 0..3))
        .prop_map(|(key, value, raw_value)| HeaderValue { key, value, raw_value: raw_value.into() });
    prop::option::of(prop::collection::vec(header, 0..3).prop_map(|headers| HeaderMap { headers }))
}

fn https() -> impl Strategy<Value = HttpRequest> {
    let first = ("[a-z]{1,4}", text(), texts(), text(), text(), text());
    let second =
        (text(), text(), any::<i64>(), text(), text(), prop::collection::vec(any::<u8>(), 0..3), header_maps());
    (first, second).prop_map(
        |((id, method, headers, path, host, scheme), (query, fragment, size, protocol, body, raw_body, header_map))| {
            HttpRequest {
                id,
                method,
                headers,
                path,
                host,
                scheme,
                query,
                fragment,
                size,
                protocol,
                body,
                raw_body: raw_body.into(),
                header_map,
            }
        },
    )
}

fn checks() -> impl Strategy<Value = CheckRequest> {
    let time = prop::option::of((any::<i64>(), any::<i32>()))
        .prop_map(|time| time.map(|(seconds, nanos)| Timestamp { seconds, nanos }));
    let request = prop::option::of((time, prop::option::of(https())))
        .prop_map(|request| request.map(|(time, http)| WireRequest { time, http }));
    let tls_session = prop::option::of(text().prop_map(|sni| TlsSession { sni }));
    let attributes = (peers(), peers(), request, texts(), metadata(), tls_session, metadata());
    prop::option::of(attributes.prop_map(
        |(source, destination, request, context_extensions, metadata_context, tls_session, route_metadata_context)| {
            AttributeContext {
                source,
                destination,
                request,
                context_extensions,
                metadata_context,
                tls_session,
                route_metadata_context,
            }
        },
    ))
    .prop_map(|attributes| CheckRequest { attributes })
}

/// Everything that is known of a request; an error is an error, whatever its text.
fn both(message: &[u8]) -> [Result<String, ()>; 2] {
    let ours = super::request(message).map(|request| request.map(|request| request.parts().clone()));
    [ours.map_err(drop), by_library::parts(message).map_err(drop)].map(|parts| {
        let mut parts = parts?;
        // All that are sent are shorter than those that are made up, which differ.
        if let Some(parts) = parts.as_mut().filter(|parts| parts.id.len() == 36) {
            parts.id.clear();
        }
        Ok(format!("{parts:?}"))
    })
}

/// A field of each kind that no message of a check has: a number, eight bytes, a text, a group, four bytes.
const UNKNOWN: [&[u8]; 5] = [
    &[0xc0, 0x3e, 1],
    &[0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0xc2, 0x3e, 2, b'h', b'i'],
    &[0xc3, 0x3e, 0x08, 1, 0xc4, 0x3e],
    &[0xc5, 0x3e, 1, 2, 3, 4],
];

proptest! {
    #[test]
    fn messages_say_what_the_library_reads_in_them(
        check in checks(),
        unknown in prop::sample::subsequence(UNKNOWN.to_vec(), 0..=UNKNOWN.len()),
        other in checks(),
    ) {
        let mut message = check.encode_to_vec();
        message.extend(unknown.concat());
        let [ours, theirs] = both(&message);
        prop_assert!(ours.is_ok());
        prop_assert_eq!(ours, theirs);
        // One after the other, messages are merged.
        message.extend(other.encode_to_vec());
        let [ours, theirs] = both(&message);
        prop_assert!(ours.is_ok());
        prop_assert_eq!(ours, theirs);
    }

    // The other way round does not hold: see the next test.
    #[test]
    fn broken_messages_are_refused_where_the_library_refuses_them(
        check in checks(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut message = check.encode_to_vec();
        for (at, byte) in changes {
            if !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
            }
        }
        for end in [message.len(), end.index(message.len() + 1)] {
            let [ours, theirs] = both(&message[..end]);
            if ours.is_ok() {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}

/// The library does not look at the kind of a map's field: it takes whatever comes for a length and an entry.
#[test]
fn an_entry_of_a_map_is_a_message() {
    // `AttributeContext.context_extensions`, a peer's `labels`, and the headers of a request.
    for (field, around) in [(10, &[][..]), (3, &[1][..]), (3, &[4, 2][..])] {
        for kind in [0, 1, 2, 3, 4, 5] {
            let mut message = vec![field << 3 | kind, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
            for outer in around.iter().rev().chain(&[1]) {
                message.splice(0..0, [outer << 3 | 2, u8::try_from(message.len()).unwrap()]);
            }
            let [ours, theirs] = both(&message);
            match kind {
                2 => assert_eq!(ours, theirs, "{message:?}"),
                _ => assert_eq!(ours, Err(()), "{message:?}"),
            }
            assert!(theirs.is_ok(), "{message:?}");
        }
    }
}
