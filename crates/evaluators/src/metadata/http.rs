//! `http`: what an HTTP service answers. Also what callbacks are made of.
//!
//! # What it does
//! Makes the request that is described (see [`http_endpoint`] for its fields) and gives the
//! answer: as JSON if its `Content-Type` contains `application/json`, where several values one after another become a
//! list, and else as a string. The status of the answer does not matter, unless `expectStatus` lists those that do.
//!
//! # Example
//! ```yaml
//! metadata:
//!   geo:
//!     http:
//!       url: http://geo.svc:8080/countries?ip={context.source.address.Address.SocketAddress.address}
//!       headers: {Accept: {value: application/json}}
//!       sharedSecretRef: {name: geo, key: token}
//!       expectStatus: [2xx]
//!       timeout: 500
//!     cache: {key: {selector: context.source.address.Address.SocketAddress.address}, ttl: 300}
//! ```
//!
//! # Errors
//! Without an answer there is no metadata, and access is up to the rules that follow; with `onError: deny` the request
//! does not pass.
//! - The request cannot be made (an expression has no value, the URL is invalid): the error itself; the caller's doing.
//! - `connection failed`, `request timed out`, `response too large`, `request failed`, `unexpected response` (a status
//!   that is not expected), `invalid response` (what says to be JSON is none), `token request failed`: the service's
//!   doing.

use std::sync::Arc;

use usher_api::HttpEndpointSpec;
use usher_engine::{Context, Evaluation, Evaluator};

use crate::{
    BuildContext, FieldPath, Problems,
    http_endpoint::{self, HttpEndpoint},
};

/// Asks an HTTP service.
#[derive(Debug)]
pub struct Http {
    endpoint: HttpEndpoint,
}

/// Reads `http` of a rule.
pub fn build(
    spec: &HttpEndpointSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Http> {
    Some(Http { endpoint: http_endpoint::build(spec, at, context, problems)? })
}

impl Evaluator for Http {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let request = self.endpoint.request(context).and_then(|request| request.because_of(context.request()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Evaluation::failure(error.into()),
        };
        Evaluation::pending(async move {
            let response = request.send().await?;
            Ok(Arc::new(self.endpoint.read(&response)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_engine::Failure;

    use super::*;
    use crate::{
        resources::http::test_server::{Reply, TestServer},
        test_world::{TestWorld, check, is_in_trace},
    };

    #[tokio::test]
    async fn requests_that_come_back_to_rules_end() {
        let server = TestServer::start().await;
        server.set("/", Reply::json(&json!(true)));
        let spec = serde_json::from_value(json!({"url": server.url, "headers": {"x-usher-nesting": {"value": "0"}}}));
        let world = TestWorld::new();
        let spec = spec.unwrap();
        let (rule, ..) = world.build(|context, problems| build(&spec, &FieldPath::root("http"), context, problems));
        let rule = rule.unwrap();
        for (told, sent) in [("1", 2), ("2", 3), ("", 1), ("x", 1), ("1, 2", 3), ("-1", 1)] {
            check(&rule, "/", &[("x-usher-nesting", told)], "jwt").await.unwrap();
            let request = server.last_request("/").unwrap();
            let line = format!("\r\nx-usher-nesting: {sent}\r\n");
            assert!(request.contains(&line), "{told}: {request}");
        }
        let before = server.count("/");
        for told in ["3", "4", "65535", "0,3"] {
            let failure = check(&rule, "/", &[("x-usher-nesting", told)], "jwt").await.unwrap_err();
            assert!(
                matches!(&failure, Failure::Undecidable(undecided) if undecided.reason == "requests nested too deep"),
                "{told}: {failure:?}"
            );
        }
        assert_eq!(server.count("/"), before);
    }

    #[tokio::test]
    async fn the_answer_is_the_metadata_and_failures_say_whose_they_are() {
        let server = TestServer::start().await;
        server.set("/pets", Reply::json(&json!({"owner": "ann"})));
        server.set("/text", Reply::text(404, "none"));
        server.set("/broken", Reply::text(200, "{oops").with_header("content-type", "application/json"));
        let url = &server.url;
        let headers = json!({"X-User": {"expression": "request.headers.user"}, "Baggage": {"value": "mine"}});
        let spec = json!({"url": format!("{url}{{request.path}}"), "headers": headers});
        let spec = serde_json::from_value(spec).unwrap();
        let world = TestWorld::new();
        let (rule, problems, warnings) =
            world.build(|context, problems| build(&spec, &FieldPath::root("http"), context, problems));
        assert_eq!((problems, warnings), (Vec::new(), Vec::new()));
        let rule = rule.unwrap();
        let user = &[("user", "bob")][..];
        assert_eq!(*check(&rule, "/pets", user, "jwt").await.unwrap(), json!({"owner": "ann"}));
        let request = server.last_request("/pets").unwrap();
        assert!(request.contains("\r\nx-user: bob\r\n"), "{request}");
        assert!(is_in_trace(&request), "{request}");
        assert!(request.contains("\r\nx-usher-nesting: 1\r\n"), "{request}");
        assert_eq!(*check(&rule, "/text", user, "jwt").await.unwrap(), json!("none"));
        let failure = check(&rule, "/broken", user, "jwt").await.unwrap_err();
        assert!(matches!(&failure, Failure::Undecidable(undecided) if undecided.reason == "invalid response"));
        let failure = check(&rule, "/pets", &[("other", "x")], "jwt").await.unwrap_err();
        assert_eq!(failure, Failure::denied("no such key: user"));
        let failure = check(&rule, "@evil.test/", user, "jwt").await.unwrap_err();
        assert_eq!(failure, Failure::denied("invalid URL: a value changes scheme, host or port"));
        assert_eq!(server.count("/pets"), 1);
    }
}
