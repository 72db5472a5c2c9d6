//! `CheckRequest` to the parts of a request, as it is done with generated types.

use prost::DecodeError;
use usher_proto::envoy::service::auth::v3::attribute_context::Peer as WirePeer;

use super::*;

pub(super) fn parts(message: &[u8]) -> Result<Option<RequestParts>, DecodeError> {
    CheckRequest::decode(message).map(converted)
}

fn converted(check: CheckRequest) -> Option<RequestParts> {
    let attributes = check.attributes?;
    let request = attributes.request?;
    let http = request.http?;
    let (headers, header_map) = match http.header_map {
        Some(list) if http.headers.is_empty() => (joined(&list), Some(list_to_json(list))),
        Some(list) => (http.headers, Some(list_to_json(list))),
        None => (http.headers, None),
    };
    let headers: usher_engine::request::Headers = headers.into_iter().collect();
    let id = match headers.get("x-request-id") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ if !http.id.is_empty() => http.id,
        _ => made_up_id(),
    };
    Some(RequestParts {
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
        metadata: attributes.metadata_context.map(super::super::metadata),
        route_metadata: attributes.route_metadata_context.map(super::super::metadata),
        tls_session: attributes.tls_session.map(|session| session.sni),
    })
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
