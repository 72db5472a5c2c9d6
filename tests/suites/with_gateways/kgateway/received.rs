//! What the sample shows of a check: a text that fits into a header, whatever a client sends.

use tonic::transport::Endpoint;
use usher_proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};

use super::{ALLOW, RECEIVED, start_usher};
use crate::support::usher::Usher;

/// The longest that is shown, in characters.
const LONGEST: usize = 4096;

#[test]
fn a_longer_text_is_left_out() {
    let usher = start_usher();
    for headers in [&[][..], &[ALLOW]] {
        let shortest = received(&usher, headers, "");
        assert!(shortest.contains(r#"headers:{key:"x-padding" value:""}"#), "{shortest}");
        let room = LONGEST - shortest.len();
        let longest = received(&usher, headers, &"a".repeat(room));
        assert_eq!(longest.len(), LONGEST, "{headers:?}");
        assert!(longest.ends_with(" metadata_context:{} route_metadata_context:{}"), "{longest}");
        for more in [1, 2, 50_000] {
            let padding = "a".repeat(room + more);
            assert_eq!(received(&usher, headers, &padding), "<too-long>", "{headers:?} and {more} more");
        }
        // What is quoted counts as it is written.
        assert_eq!(received(&usher, headers, &"\"".repeat(room)), "<too-long>", "{headers:?}");
    }
}

/// What is said about a request of which everything is known, over gRPC, as a gateway asks.
fn received(usher: &Usher, headers: &[(&str, &str)], padding: &str) -> String {
    let headers = headers.iter().copied().chain([("x-padding", padding)]);
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "www.example.com".to_owned(),
        path: "/headers".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let address = format!("http://127.0.0.1:{}", usher.grpc_port());
        let mut client = AuthorizationClient::new(Endpoint::from_shared(address).unwrap().connect_lazy());
        client.check(CheckRequest { attributes: Some(attributes) }).await.unwrap().into_inner()
    });
    let headers = match answer.http_response.unwrap() {
        HttpResponse::DeniedResponse(denied) => denied.headers,
        HttpResponse::OkResponse(allowed) => allowed.headers,
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    };
    let mut headers = headers.into_iter().filter_map(|option| option.header);
    headers.find(|header| header.key == RECEIVED).unwrap().value
}
