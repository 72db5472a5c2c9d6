//! Who is told of the decision: the methods of `spec.callbacks`.
//!
//! # What it does
//! `http`, the only method, makes the request that is described (see [`http_endpoint`](crate::http_endpoint) for its
//! fields). It may use all that the phases found, and the answer is kept as `auth.callbacks.NAME` for callbacks of later
//! priorities. It cannot change the decision. A `cache` has no effect: whoever wants to be told, is told each time.
//!
//! # Example
//! ```yaml
//! callbacks:
//!   audit:
//!     http:
//!       url: http://audit.svc:8080/decisions
//!       method: POST
//!       contentType: application/json
//!       bodyParameters:
//!         who: {selector: auth.identity.sub}
//!         path: {selector: request.path}
//! ```
//!
//! # Errors
//! Those of [`metadata::http`]; they are logged and count as failures, nothing more.

use usher_api::{CallbackSpec, CommonEvaluatorSpec};
use usher_engine::Step;

use crate::{
    BuildContext, FieldPath, Problems, metadata,
    step::{Method, step},
};

/// Builds the callback `name`.
pub fn build(
    name: &str,
    spec: &CallbackSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Step> {
    let http = metadata::http::build(&spec.http, &at.field("http"), context, problems);
    if spec.common.cache.is_some() {
        problems.warn(&at.field("cache"), "has no effect: callbacks are made each time");
    }
    let common = CommonEvaluatorSpec { cache: None, ..spec.common.clone() };
    step(name, &common, Some(Method::new("CALLBACK_HTTP", http)), at, context, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        resources::http::test_server::{Reply, TestServer},
        test_world::{TestWorld, check, is_in_trace},
    };

    #[tokio::test]
    async fn a_callback_is_made_each_time() {
        let server = TestServer::start().await;
        server.set("/told", Reply::text(500, "boom"));
        let spec = json!({
            "http": {
                "url": format!("{}/told", server.url),
                "method": "POST",
                "contentType": "application/json",
                "bodyParameters": {"who": {"selector": "auth.identity.sub"}, "path": {"selector": "request.path"}},
            },
            "priority": 3,
            "cache": {"key": {"value": "one"}, "ttl": 60},
        });
        let spec = serde_json::from_value(spec).unwrap();
        let world = TestWorld::new();
        let (step, problems, warnings) =
            world.build(|context, problems| build("audit", &spec, &FieldPath::root("audit"), context, problems));
        assert_eq!(problems, [""; 0]);
        assert_eq!(warnings, ["audit.cache: has no effect: callbacks are made each time"]);
        let step = step.unwrap();
        assert_eq!((&*step.name, step.priority, step.cache.is_none()), ("audit", 3, true));
        for _ in 0..2 {
            assert_eq!(*check(&*step.evaluator, "/a", &[], "jwt").await.unwrap(), json!("boom"));
        }
        assert_eq!(server.count("/told"), 2);
        let request = server.last_request("/told").unwrap();
        assert!(request.ends_with(r#"{"path":"/a","who":"ann"}"#), "{request}");
        assert!(is_in_trace(&request), "{request}");
    }
}
