//! Answers as bytes, and what is told.

use prost::Message as _;
use usher_proto::{
    envoy::{
        config::core::v3 as core,
        service::auth::v3::{self as envoy, check_response::HttpResponse as Wire},
        r#type::v3 as types,
    },
    google::rpc,
};

use super::*;

/// The answer to bytes that a service with all of the protocol sends.
fn answer(code: Option<i32>, response: Option<Wire>) -> Answer {
    let status = code.map(|code| rpc::Status { code, ..rpc::Status::default() });
    let sent = envoy::CheckResponse { status, http_response: response, dynamic_metadata: None };
    Answer::of(CheckResponse::decode(&*sent.encode_to_vec()).unwrap())
}

fn denied(code: i32) -> envoy::DeniedHttpResponse {
    let header = core::HeaderValue { key: "x-why".to_owned(), value: "because".to_owned(), ..Default::default() };
    envoy::DeniedHttpResponse {
        status: Some(types::HttpStatus { code }),
        headers: vec![core::HeaderValueOption { header: Some(header), ..Default::default() }],
        body: "no".to_owned(),
    }
}

/// For each status and kind of response: what Envoy does with it, by its documentation, and what this gateway does.
#[test]
fn what_passes_here_passes_envoy() {
    let kinds = [None, Some(Wire::OkResponse(Default::default())), Some(Wire::DeniedResponse(denied(401)))];
    let kinds = kinds.into_iter().chain([Some(Wire::ErrorResponse(denied(503)))]);
    for kind in kinds {
        for code in [None, Some(0), Some(5), Some(7), Some(14), Some(16), Some(99), Some(-1)] {
            // Envoy's rule: the status decides. Whatever is not 0 is a denial or an error, and both stop the request.
            let envoy_passes = code.unwrap_or(0) == 0;
            let outcome = answer(code, kind.clone()).apply(&mut Request::example("GET", "/"));
            assert_eq!(matches!(outcome, Outcome::Pass(_)), envoy_passes, "{code:?} {kind:?}");
        }
    }
}

#[test]
fn a_denial_keeps_what_it_says_and_an_error_does_not() {
    let apply = |answer: Answer| match answer.apply(&mut Request::example("GET", "/")) {
        Outcome::Stop(stop) => stop,
        Outcome::Pass(_) => panic!("it passes"),
    };
    let stop = apply(answer(Some(16), Some(Wire::DeniedResponse(denied(401)))));
    assert_eq!((stop.status.as_u16(), stop.body.as_slice()), (401, &b"no"[..]));
    assert_eq!(stop.headers["x-why"], "because");
    for nothing in [0, -1, 70_000] {
        assert_eq!(apply(answer(Some(7), Some(Wire::DeniedResponse(denied(nothing))))).status, 403, "{nothing}");
    }
    // A response that it does not know is none.
    let stop = apply(answer(Some(14), Some(Wire::ErrorResponse(denied(503)))));
    assert_eq!((stop.status.as_u16(), stop.body.as_slice()), (403, &b"external authorization failed"[..]));
    assert!(!stop.headers.contains_key("x-why"));
}

/// So an AuthConfig has to say for how long an answer may be kept even where it may not be kept at all.
#[test]
fn metadata_of_an_earlier_check_stay() {
    let mut request = Request::example("GET", "/");
    request.metadata = Some(json!({"cacheTtl": "30s"}));
    answer(Some(16), Some(Wire::DeniedResponse(denied(401)))).apply(&mut request);
    assert_eq!(request.metadata, Some(json!({"cacheTtl": "30s"})));
    let metadata = struct_from_json(json!({"cacheTtl": "0s"}).as_object().unwrap().clone()).unwrap();
    let response = CheckResponse { dynamic_metadata: Some(metadata), ..CheckResponse::default() };
    Answer::of(response).apply(&mut request);
    assert_eq!(request.metadata, Some(json!({"cacheTtl": "0s"})));
}

#[test]
fn a_request_is_told_as_this_gateway_tells_it() {
    let mut request = Request::example("POST", "/a?b=%20");
    for (name, value) in [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")] {
        request.headers.append(name, value.parse().unwrap());
    }
    request.headers.insert("x-odd", http::HeaderValue::from_bytes(b"a\xffb").unwrap());
    request.body = b"0123456789".to_vec();
    request.claims = Some(json!({"sub": "ann"}));
    let mut check = ExtAuthz::of(1);
    let of = |check: &ExtAuthz| check.attributes(&request).unwrap();
    let http = |check: &ExtAuthz| of(check).request.unwrap().http.unwrap();

    let told = http(&check);
    assert_eq!((told.path.as_str(), told.host.as_str(), told.size), ("/a?b=%20", "www.example.com", 0));
    for (name, value) in [
        (":method", "POST"),
        (":authority", "www.example.com"),
        (":path", "/a?b=%20"),
        ("x-a", "1, 2"),
        ("cookie", "a=1; b=2"),
        ("x-odd", "a\u{fffd}b"),
    ] {
        assert_eq!(told.headers[name], value, "{name}");
    }
    assert!(!told.headers.contains_key("host") && told.body.is_empty());
    let claims = of(&check).metadata_context.unwrap().filter_metadata;
    let claims = struct_to_json(claims["envoy.filters.http.jwt_authn"].clone());
    assert_eq!(Value::Object(claims), json!({"jwt_payload": {"sub": "ann"}}));

    let body = |max_request_bytes, allow_partial_message, pack_as_bytes| {
        Some(BodyOptions { max_request_bytes, allow_partial_message, pack_as_bytes })
    };
    check.body = body(10, false, false);
    assert_eq!((http(&check).size, http(&check).body.as_str()), (10, "0123456789"));
    check.body = body(4, true, true);
    assert_eq!((http(&check).size, http(&check).raw_body.as_slice()), (-1, &b"0123"[..]));
    check.body = body(4, false, false);
    assert_eq!(check.attributes(&request).unwrap_err().status, 413);

    check.body = None;
    check.include_request_headers = vec!["x-a".to_owned()];
    assert_eq!(http(&check).headers.len(), 1);
    let expressions = [("who", "jwt"), ("wrong", "jwt.sub"), ("absent", "nothing.at.all")];
    let expressions = expressions.map(|(name, source)| (name.to_owned(), Expression::new(source)));
    check.metadata = Some(BTreeMap::from(expressions));
    let metadata = of(&check).metadata_context.unwrap().filter_metadata;
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["who"], "what is no object is left out");
}
