//! The message that is asked, as a gateway would send it, and the one thing that is read from the answer.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use usher_proto::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use usher_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use usher_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};

/// The host that every scenario configures.
pub(crate) const HOST: &str = "api.bench.example.com";

/// What a client shows of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    None,
    /// The header `authorization`.
    Authorization(&'a str),
    /// The certificate of the connection, as the gateway passes it on.
    Certificate(&'a str),
}

/// A check of a request that a browser would send through a gateway: a gRPC message with its five bytes of prefix.
pub(crate) fn framed(credential: Credential<'_>) -> Bytes {
    framed_for(HOST, credential)
}

/// The same for another host.
pub(crate) fn framed_for(host: &str, credential: Credential<'_>) -> Bytes {
    frame(&request(host, credential))
}

/// The same with more headers, 60 in all: about 16 KB.
pub(crate) fn framed_large(credential: Credential<'_>) -> Bytes {
    let mut check = request(HOST, credential);
    let http = check.attributes.as_mut().and_then(|attributes| attributes.request.as_mut()?.http.as_mut());
    if let Some(http) = http {
        let missing = HEADERS_OF_LARGE.saturating_sub(http.headers.len());
        http.headers.extend((0..missing).map(|number| (format!("x-bench-{number:02}"), long_value(number))));
    }
    frame(&check)
}

const HEADERS_OF_LARGE: usize = 60;

/// Text that differs from header to header, as long as a session or a token in a header may be.
fn long_value(number: usize) -> String {
    const LENGTH: usize = 320;
    (0..LENGTH / 8)
        .map(|part| format!("{:08x}", (number * LENGTH + part).wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF))
        .collect()
}

fn frame(check: &CheckRequest) -> Bytes {
    let length = check.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&check.encode_to_vec());
    frame.freeze()
}

/// `status.code` of an answer, from the beginning of its gRPC frame; none if it has no status or is no such answer.
///
/// Not a decoder: it reads what an encoder writes that puts fields in their order, and no more than that.
pub(crate) fn status_code(frame: &[u8]) -> Option<i32> {
    const STATUS: u8 = 1 << 3 | 2;
    const CODE: u8 = 1 << 3;
    let message = frame.strip_prefix(&[0])?.get(4..)?;
    let status = match *message {
        [STATUS, 0..0x80, ..] => message.get(2..)?,
        // A length of two bytes.
        [STATUS, _, 0..0x80, ..] => message.get(3..)?,
        _ => return None,
    };
    match (message.get(1)?, status) {
        // What is zero is left out.
        (0, _) => Some(0),
        (_, [CODE, code @ 0..0x80, ..]) => Some((*code).into()),
        (_, [field, ..]) if *field != CODE => Some(0),
        _ => None,
    }
}

/// The answer in a gRPC frame.
pub(crate) fn answer(frame: &[u8]) -> anyhow::Result<CheckResponse> {
    let message = frame.strip_prefix(&[0]).and_then(|rest| rest.get(4..)).context("the answer is no gRPC message")?;
    Ok(CheckResponse::decode(message)?)
}

fn request(host: &str, credential: Credential<'_>) -> CheckRequest {
    let headers = [
        (":authority", host),
        (":method", "GET"),
        (":path", PATH),
        (":scheme", "https"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("cookie", "session=6f1c0b5e2d; theme=dark; locale=en-GB; consent=all"),
        ("referer", "https://bench.example.com/orders"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("x-envoy-attempt-count", "1"),
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-proto", "https"),
    ];
    let mut headers: BTreeMap<String, String> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut source = peer(CLIENT, 51724);
    match credential {
        Credential::Authorization(value) => headers.insert("authorization".to_owned(), value.to_owned()),
        Credential::None | Credential::Certificate(_) => headers.insert("x-request-id".to_owned(), ID.to_owned()),
    };
    if let Credential::Certificate(certificate) = credential {
        certificate.clone_into(&mut source.certificate);
    }
    let http = HttpRequest {
        id: "8137269542510931274".to_owned(),
        method: "GET".to_owned(),
        headers,
        path: PATH.to_owned(),
        host: host.to_owned(),
        scheme: "https".to_owned(),
        size: -1,
        protocol: "HTTP/1.1".to_owned(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(source),
            destination: Some(peer("10.244.1.17", 8443)),
            request: Some(Request {
                time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_456_000 }),
                http: Some(http),
            }),
            ..AttributeContext::default()
        }),
    }
}

/// The path and query of every request.
pub(crate) const PATH: &str = "/v1/orders/42?expand=items&page=2";
/// The address of every client.
pub(crate) const CLIENT: &str = "203.0.113.7";

const ID: &str = "3b0f1b52-8a4f-4c50-9f3c-6d6d3f1c2a77";

fn peer(address: &str, port: u32) -> Peer {
    let socket_address = SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Peer {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket_address)) }),
        ..Peer::default()
    }
}

#[cfg(test)]
mod tests {
    use usher_proto::envoy::service::auth::v3::OkHttpResponse;
    use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
    use usher_proto::google::rpc::Status;

    use super::*;

    #[test]
    fn the_check_is_of_ordinary_size() {
        let frame = framed(Credential::None);
        let check = CheckRequest::decode(&frame[5..]).unwrap();
        assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
        let http = check.attributes.unwrap().request.unwrap().http.unwrap();
        assert_eq!(http.headers.len(), 14);
        assert!((740..=780).contains(&(frame.len() - 5)), "{}", frame.len() - 5);
        let decode = |credential| CheckRequest::decode(&framed(credential)[5..]).unwrap().attributes.unwrap();
        let http = decode(Credential::Authorization("APIKEY x")).request.unwrap().http.unwrap();
        assert_eq!(http.headers.len(), 14);
        assert_eq!(http.headers["authorization"], "APIKEY x");
        let with_certificate = decode(Credential::Certificate("PEM"));
        assert_eq!(with_certificate.source.unwrap().certificate, "PEM");
        assert_eq!(with_certificate.request.unwrap().http.unwrap().headers.len(), 14);
    }

    #[test]
    fn large_checks_have_the_usual_headers_and_more() {
        let frame = framed_large(Credential::Authorization("APIKEY x"));
        assert!((16_000..16_700).contains(&(frame.len() - 5)), "{}", frame.len() - 5);
        let http = CheckRequest::decode(&frame[5..]).unwrap().attributes.unwrap().request.unwrap().http.unwrap();
        assert_eq!(http.headers.len(), 60);
        assert_eq!((&*http.headers["authorization"], &*http.headers[":method"]), ("APIKEY x", "GET"));
        let values: std::collections::HashSet<&String> = http.headers.values().collect();
        assert!(values.len() >= 58, "{}", values.len());
    }

    #[test]
    fn codes_are_read_as_they_were_written() {
        let framed = |answer: CheckResponse| {
            let bytes = answer.encode_to_vec();
            let mut frame = vec![0];
            frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&bytes);
            frame
        };
        let ok = || Some(HttpResponse::OkResponse(OkHttpResponse::default()));
        for (status, expected) in [
            (None, None),
            (Some(Status::default()), Some(0)),
            (Some(Status { message: "fine".to_owned(), ..Status::default() }), Some(0)),
            (Some(Status { code: 7, ..Status::default() }), Some(7)),
            (Some(Status { code: 16, message: "x".repeat(100), ..Status::default() }), Some(16)),
            (Some(Status { code: 16, message: "x".repeat(1000), ..Status::default() }), Some(16)),
            (Some(Status { code: 0, message: "x".repeat(1000), ..Status::default() }), Some(0)),
        ] {
            let answer = CheckResponse { status: status.clone(), http_response: ok(), ..CheckResponse::default() };
            let frame = framed(answer.clone());
            assert_eq!(status_code(&frame), expected, "{status:?}");
            assert_eq!(super::answer(&frame).unwrap(), answer);
        }
        for broken in
            [&[][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 2, 10, 0], &[0, 0, 0, 0, 1, 10], &[0, 0, 0, 0, 3, 10, 1, 8]]
        {
            assert_eq!(status_code(broken), None, "{broken:?}");
        }
        for broken in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 10, 0], &[0, 0, 0, 0, 1, 10]] {
            assert!(super::answer(broken).is_err(), "{broken:?}");
        }
    }
}
