//! Messages against bytes written by hand from the field numbers of the public API, so that an error in `proto/` cannot hide
//! behind code generated from it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may stop at the first surprise")]

use prost::Message;
use prost_types::value::Kind;
use usher_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, address, header_value_option, socket_address,
};
use usher_proto::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response,
};
use usher_proto::envoy::r#type::v3::HttpStatus;
use usher_proto::google::rpc::Status;

#[test]
fn a_request_with_everything() {
    let socket = message(1, &[text(2, "10.0.0.7"), varint(3, 53144)].concat());
    let source =
        [message(1, &socket), text(2, "edge"), entry(3, "app", "web"), text(4, "spiffe://a/b"), text(5, "-----BEGIN")];
    let destination = message(1, &message(3, &[text(1, "listener"), text(2, "endpoint")].concat()));
    let http = [
        text(1, "42"),
        text(2, "GET"),
        entry(3, ":path", "/a?b"),
        entry(3, "accept", "*/*"),
        text(4, "/a?b"),
        text(5, "Example.com:443"),
        text(6, "https"),
        varint(9, 5000),
        text(10, "HTTP/2"),
        text(11, "text"),
        bytes(12, b"\xff\x00"),
        message(13, &message(1, &[text(1, "x"), bytes(3, b"\xfe")].concat())),
    ];
    let request = [message(1, &[varint(1, 1_700_000_000), varint(2, 5)].concat()), message(2, &http.concat())];
    let number = message(2, &[&[0x11_u8][..], &5.0_f64.to_le_bytes()].concat());
    let fields = message(1, &[text(1, "n"), number].concat());
    let metadata = |namespace: &str| message(1, &[text(1, namespace), message(2, &fields)].concat());
    let attributes = [
        message(1, &source.concat()),
        message(2, &destination),
        message(4, &request.concat()),
        entry(10, "host", "other.example"),
        message(11, &metadata("filters")),
        message(12, &text(1, "sni.example")),
        message(13, &metadata("routes")),
    ];
    let check = CheckRequest::decode(message(1, &attributes.concat()).as_slice()).unwrap();

    let attributes = check.attributes.unwrap();
    let source = attributes.source.unwrap();
    let Some(address::Address::SocketAddress(socket)) = source.address.unwrap().address else {
        panic!("not a socket address")
    };
    assert_eq!(
        (socket.address.as_str(), socket.port_specifier),
        ("10.0.0.7", Some(socket_address::PortSpecifier::PortValue(53144)))
    );
    assert_eq!((source.service.as_str(), source.labels["app"].as_str()), ("edge", "web"));
    assert_eq!((source.principal.as_str(), source.certificate.as_str()), ("spiffe://a/b", "-----BEGIN"));
    let address = attributes.destination.unwrap().address.unwrap().address;
    let Some(address::Address::EnvoyInternalAddress(internal)) = address else { panic!("not an internal address") };
    assert_eq!(internal.endpoint_id, "endpoint");
    let request = attributes.request.unwrap();
    let time = request.time.unwrap();
    assert_eq!((time.seconds, time.nanos), (1_700_000_000, 5));
    let http = request.http.unwrap();
    assert_eq!((http.id.as_str(), http.method.as_str(), http.path.as_str()), ("42", "GET", "/a?b"));
    assert_eq!(
        (http.host.as_str(), http.scheme.as_str(), http.protocol.as_str()),
        ("Example.com:443", "https", "HTTP/2")
    );
    assert_eq!((http.size, http.body.as_str(), http.raw_body.as_ref()), (5000, "text", &b"\xff\x00"[..]));
    assert_eq!(http.headers.into_iter().collect::<Vec<_>>(), [pair(":path", "/a?b"), pair("accept", "*/*")]);
    assert_eq!(http.header_map.unwrap().headers[0].raw_value.as_ref(), b"\xfe");
    assert_eq!(attributes.context_extensions["host"], "other.example");
    let filters = &attributes.metadata_context.unwrap().filter_metadata["filters"];
    assert_eq!(filters.fields["n"].kind, Some(Kind::NumberValue(5.0)));
    assert!(attributes.route_metadata_context.unwrap().filter_metadata.contains_key("routes"));
    assert_eq!(attributes.tls_session.unwrap().sni, "sni.example");
}

#[test]
fn absent_is_not_an_error() {
    assert_eq!(CheckRequest::decode(&[][..]).unwrap().attributes, None);
    let tcp = CheckRequest::decode(message(1, &message(1, &[])).as_slice()).unwrap().attributes.unwrap();
    assert_eq!((tcp.request, tcp.source.unwrap().address), (None, None));
}

#[test]
fn unknown_fields_and_numbers_are_skipped() {
    let header = [message(1, &[text(1, "a"), text(2, "b")].concat()), varint(3, 77), varint(900, 1)].concat();
    let option = HeaderValueOption::decode(header.as_slice()).unwrap();
    assert_eq!((option.append_action, option.header.unwrap().key.as_str()), (77, "a"));

    let unknown = [
        varint(19, 3),
        text(20, "later"),
        bytes(21, b"\xff"),
        message(22, &varint(1, 1)),
        vec![0xbd, 0x01, 1, 2, 3, 4],
    ];
    let attributes = message(1, &[entry(10, "host", "a"), unknown.concat()].concat());
    let attributes =
        CheckRequest::decode([attributes, unknown.concat()].concat().as_slice()).unwrap().attributes.unwrap();
    assert_eq!(attributes.context_extensions["host"], "a");
}

#[test]
fn broken_messages_are_errors() {
    for broken in [
        &[0x0a, 0x05, 0x00][..],                                          // shorter than its length says
        &[0x0a][..],                                                      // no length
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], // no such number
        &message(1, &message(1, &bytes(4, b"\xff"))),                     // text that is not UTF-8
        &varint(1, 1),                                                    // another wire type
    ] {
        assert!(CheckRequest::decode(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn depth_is_limited() {
    let deep = (0..200).fold(varint(4, 1), |inner, _| message(5, &message(1, &message(2, &inner))));
    let metadata = message(11, &message(1, &[text(1, "a"), message(2, &message(1, &message(2, &deep)))].concat()));
    assert!(CheckRequest::decode(message(1, &metadata).as_slice()).is_err());
}

#[test]
fn an_allowing_response() {
    let response = CheckResponse {
        status: Some(Status::default()),
        http_response: Some(check_response::HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![HeaderValueOption {
                header: Some(HeaderValue { key: "x".into(), value: "y".into(), ..Default::default() }),
                append: Some(false),
                append_action: header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
                ..Default::default()
            }],
            headers_to_remove: vec!["r".into()],
            ..Default::default()
        })),
        dynamic_metadata: Some(Default::default()),
    };
    let header = [message(1, &[text(1, "x"), text(2, "y")].concat()), message(2, &[]), varint(3, 2)].concat();
    let ok = [message(2, &header), text(5, "r")].concat();
    assert_eq!(response.encode_to_vec(), [message(1, &[]), message(3, &ok), message(4, &[])].concat());
}

#[test]
fn a_denying_and_a_failing_response() {
    let denied = DeniedHttpResponse { status: Some(HttpStatus { code: 401 }), headers: vec![], body: "no".into() };
    let bytes = [message(1, &varint(1, 401)), text(3, "no")].concat();
    for (number, response) in [
        (2, check_response::HttpResponse::DeniedResponse(denied.clone())),
        (5, check_response::HttpResponse::ErrorResponse(denied.clone())),
    ] {
        let status = Status { code: 16, message: String::new(), details: vec![] };
        let response = CheckResponse { status: Some(status), http_response: Some(response), dynamic_metadata: None };
        let expected = [message(1, &varint(1, 16)), message(number, &bytes)].concat();
        assert_eq!(response.encode_to_vec(), expected);
    }
}

#[test]
fn a_permission_check() {
    use usher_proto::authzed::api::v1::{
        CheckPermissionRequest, CheckPermissionResponse, ObjectReference, SubjectReference,
        check_permission_response::Permissionship,
    };
    let object = |object_type: &str, object_id: &str| ObjectReference {
        object_type: object_type.into(),
        object_id: object_id.into(),
    };
    let request = CheckPermissionRequest {
        resource: Some(object("post", "1")),
        permission: "read".into(),
        subject: Some(SubjectReference { object: Some(object("user", "emilia")), optional_relation: String::new() }),
        ..Default::default()
    };
    let reference = |object_type: &str, object_id: &str| [text(1, object_type), text(2, object_id)].concat();
    let expected =
        [message(2, &reference("post", "1")), text(3, "read"), message(4, &message(1, &reference("user", "emilia")))];
    assert_eq!(request.encode_to_vec(), expected.concat());

    let response =
        CheckPermissionResponse::decode([message(1, &text(1, "token")), varint(2, 2)].concat().as_slice()).unwrap();
    assert_eq!(response.checked_at.clone().unwrap().token, "token");
    assert_eq!(response.permissionship(), Permissionship::HasPermission);
}

#[test]
fn services_have_their_public_names() {
    use usher_proto::{
        authzed::api::v1::permissions_service_server, envoy::service::auth::v3::authorization_server,
        grpc::health::v1::health_server,
    };
    assert_eq!(authorization_server::SERVICE_NAME, "envoy.service.auth.v3.Authorization");
    assert_eq!(health_server::SERVICE_NAME, "grpc.health.v1.Health");
    assert_eq!(permissions_service_server::SERVICE_NAME, "authzed.api.v1.PermissionsService");
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

/// Number of a field and how it is written.
fn key(field: u64, wire_type: u64) -> Vec<u8> {
    number(field << 3 | wire_type)
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [key(field, 0), number(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [key(field, 2), number(value.len() as u64), value.to_vec()].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

fn message(field: u64, value: &[u8]) -> Vec<u8> {
    bytes(field, value)
}

/// Entry of a map from text to text.
fn entry(field: u64, name: &str, value: &str) -> Vec<u8> {
    message(field, &[text(1, name), text(2, value)].concat())
}
