use std::sync::Mutex;

use serde_json::json;
use usher_api::RegoVersion;
use usher_engine::{Request as Asked, context::Identity, request::RequestParts};

use super::*;

fn opa(rego: &str, http: Option<Arc<dyn HttpSend>>) -> Opa {
    let (policy, _) =
        Policy::compile(rego, RegoVersion::V1, false, http).unwrap_or_else(|error| panic!("{rego}: {error}"));
    Opa::new(policy)
}

/// As after some evaluations that were quick.
fn known_as_quick(opa: &Opa) {
    for _ in 0..200 {
        opa.note(Duration::from_micros(1));
    }
}

fn asked(body: &str) -> Asked {
    let parts = RequestParts {
        method: "GET".to_owned(),
        path: "/a/b?c=d".to_owned(),
        host: "opa.test".to_owned(),
        body: body.to_owned(),
        headers: [("x-h", "1")].into(),
        context_extensions: std::collections::BTreeMap::from([("e".to_owned(), "x".to_owned())]),
        raw_body: b"abc".to_vec(),
        ..RequestParts::default()
    };
    Asked::new(parts)
}

async fn finish(evaluation: Evaluation<'_>) -> Outcome {
    match evaluation {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(future) => future.await,
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(5))
}

#[tokio::test]
async fn the_input_is_the_authorization_document() {
    let request = asked("");
    let mut context = Context::new(&request, soon(), None);
    context.set_identity(Identity { rule: "r".into(), value: Arc::new(json!({"sub": "u", "age": 7, "ratio": 0.5})) });
    let policy = r#"
        allow if {
            input.context.request.http.path == "/a/b?c=d"
            input.request.url_path == "/a/b"
            input.request.query == "c=d"
            input.request.method == "GET"
            input.request.headers["x-h"] == "1"
            input.request.context_extensions.e == "x"
            input.request.raw_body == "YWJj"
            not input.request.body
            not input.metadata
            input.auth.identity == {"sub": "u", "age": 7, "ratio": 0.5}
        }
    "#;
    let opa = opa(policy, None);
    known_as_quick(&opa);
    let evaluation = opa.evaluate(&context);
    assert!(matches!(&evaluation, Evaluation::Ready(Ok(value)) if **value == json!({"allow": true})));
}

#[tokio::test]
async fn simple_policies_are_answered_in_place_and_long_ones_elsewhere() {
    let request = asked("");
    let context = Context::new(&request, soon(), None);
    let quick = opa("allow if input.request.method == \"GET\"", None);
    assert!(matches!(quick.evaluate(&context), Evaluation::Pending(_)));
    known_as_quick(&quick);
    assert!(matches!(quick.evaluate(&context), Evaluation::Ready(Ok(_))));
    // Measured to be slow.
    quick.note(Duration::from_secs(1));
    let evaluation = quick.evaluate(&context);
    assert!(matches!(evaluation, Evaluation::Pending(_)));
    assert!(finish(evaluation).await.is_ok());
    known_as_quick(&quick);
    assert!(matches!(quick.evaluate(&context), Evaluation::Ready(Ok(_))));
    // Looks as if it could be slow.
    let loops = "input.request.headers[_] == \"1\"\n".repeat(MAX_GROWTH_IN_PLACE + 1);
    let slow = opa(&format!("allow if {{\n{loops}}}"), None);
    known_as_quick(&slow);
    let evaluation = slow.evaluate(&context);
    assert!(matches!(evaluation, Evaluation::Pending(_)));
    assert!(finish(evaluation).await.is_ok());
}

#[tokio::test]
async fn without_time_nothing_is_decided() {
    let request = asked("");
    let late = Context::new(&request, Some(Instant::now()), None);
    let policy = opa("allow := true", None);
    let failure = finish(policy.evaluate(&late)).await.unwrap_err();
    assert!(matches!(&failure, Failure::Undecidable(_)) && failure.reason() == TIME_OVER, "{failure:?}");

    let policy = opa(
        "r := numbers.range(1, 300)\nallow if { input.request; some a in r; some b in r; some c in r; a + b + c == -1 }",
        None,
    );
    for deadline in [None, Some(Instant::now() + Duration::from_millis(30))] {
        let context = Context::new(&request, deadline, None);
        let failure = finish(policy.evaluate(&context)).await.unwrap_err();
        assert!(matches!(&failure, Failure::Undecidable(_)) && failure.reason() == TIME_OVER, "{failure:?}");
    }
}

/// Two values that are huge when compared member by member: a single step of the engine.
fn endless() -> Opa {
    let mut rego = String::from("a0 := [input.request.method]\nb0 := [input.request.method]\n");
    let levels = 27;
    for level in 1..=levels {
        let before = level - 1;
        rego.push_str(&format!("a{level} := [a{before}, a{before}]\nb{level} := [b{before}, b{before}]\n"));
    }
    rego.push_str(&format!("allow if {{ input.request.method; a{levels} < b{levels} }}"));
    // On an empty input nothing is compared.
    let policy = opa(&rego, None);
    known_as_quick(&policy);
    policy
}

#[tokio::test]
async fn an_evaluation_counts_until_it_ends_also_when_its_caller_has_gone() {
    let policy = endless();
    let request = asked("");
    let context = Context::new(&request, soon(), None);
    let gone = tokio::time::timeout(Duration::from_millis(20), finish(policy.evaluate(&context))).await;
    assert!(gone.is_err());
    let counted = async {
        while policy.runaways.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    let refused = finish(policy.evaluate(&context)).await.unwrap_err();
    assert_eq!(refused.reason(), LIMIT, "{refused:?}");
}

#[tokio::test]
async fn an_evaluation_that_does_not_end_is_given_up_and_not_repeated() {
    let policy = endless();
    let request = asked("");
    let context = Context::new(&request, soon(), None);
    let first = finish(policy.evaluate(&context)).await.unwrap_err();
    let second = finish(policy.evaluate(&context)).await.unwrap_err();
    assert_eq!(first.reason(), TIME_OVER, "{first:?}");
    assert_eq!(second.reason(), LIMIT, "{second:?}");
    // Until it ends after all.
    while policy.runaways.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, Default)]
struct Server {
    calls: Mutex<Vec<String>>,
}

impl HttpSend for Server {
    fn send(&self, request: Request) -> Result<Response, &'static str> {
        self.calls.lock().unwrap().push(format!("{} {}", request.method, request.url));
        if request.url.contains("gone") {
            return Err("connection failed");
        }
        let mut headers = ::http::HeaderMap::new();
        headers.insert("content-type", ::http::HeaderValue::from_static("application/json"));
        let body = bytes::Bytes::from_static(b"{\"ok\": true}");
        Ok(Response { status: ::http::StatusCode::OK, headers, body })
    }
}

#[tokio::test]
async fn policies_may_ask_others() {
    let request = asked("");
    let context = Context::new(&request, soon(), None);
    for (url, calls, expected) in [("http://pdp.test/", 1, true), ("http://gone.test/", 2, false)] {
        let server = Arc::new(Server::default());
        let rego = format!(
            "answer := http.send({{\"method\": \"get\", \"url\": \"{url}\"}}).body\nallow if {{ answer.ok; http.send({{\"method\": \"get\", \"url\": \"{url}\"}}).status_code == 200 }}\nelse if http.send({{\"url\": \"{url}\", \"method\": \"get\"}})"
        );
        let policy = opa(&rego, Some(server.clone()));
        // Not while it is loaded.
        assert_eq!(server.calls.lock().unwrap().len(), 0);
        let evaluation = policy.evaluate(&context);
        assert!(matches!(evaluation, Evaluation::Pending(_)));
        assert_eq!(finish(evaluation).await.is_ok(), expected, "{url}");
        // Once for all calls of an evaluation, if it was answered.
        assert_eq!(server.calls.lock().unwrap().len(), calls, "{url}");
    }
}

pub(super) mod with_a_client {
    use super::*;
    use crate::{
        resources::http::test_server::{Reply, TestServer},
        test_world::{Built, TestWorld},
    };

    /// The evaluator of the rule `name`.
    pub(in super::super) fn built(
        world: &TestWorld,
        name: &str,
        spec: &serde_json::Value,
    ) -> Built<Box<dyn Evaluator>> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        world.build(|context, problems| build(name, &spec, &FieldPath::root("opa"), context, problems))
    }

    #[tokio::test]
    async fn what_is_wrong_is_noted_at_its_field() {
        let world = TestWorld::new();
        for (spec, expected) in [
            (json!({"rego": "allow {"}), "opa.rego: rego_parse_error"),
            (json!({"rego": "allow if { true }"}), "opa.rego: rego_parse_error: `if` needs"),
            (json!({}), "opa: "),
            (json!({"rego": "allow = true", "externalPolicy": {"url": "http://r.test/"}}), "opa: "),
        ] {
            let (evaluator, problems, _) = built(&world, "r", &spec);
            assert!(evaluator.is_none());
            assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        }
        let (evaluator, problems, _) = built(&world, "r", &json!({"rego": "allow = true"}));
        assert!(evaluator.is_some() && problems.is_empty(), "{problems:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn http_send_goes_through_the_client_for_everything_outbound() {
        let server = TestServer::start().await;
        server.set("/", Reply::json(&json!({"ok": true})));
        let request = asked("");
        let context = Context::new(&request, soon(), None);
        for (url, expected) in [(format!("{}/", server.url), true), ("http://169.254.169.254/".to_owned(), false)] {
            let rego = format!("allow {{ http.send({{\"method\": \"get\", \"url\": \"{url}\"}}).body.ok == true }}");
            let (evaluator, problems, _) = built(&TestWorld::new(), "r", &json!({"rego": rego}));
            let evaluator = evaluator.unwrap_or_else(|| panic!("{problems:?}"));
            assert_eq!(finish(evaluator.evaluate(&context)).await.is_ok(), expected, "{url}");
        }
        assert_eq!(server.count("/"), 1);
    }
}
