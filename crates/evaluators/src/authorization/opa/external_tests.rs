use serde_json::json;
use usher_engine::{Failure, Request, RequestParts};

use super::{super::tests::with_a_client::built, *};
use crate::{
    resources::{
        background::{Timing, tests::until},
        external_policies::ExternalPolicies,
        http::test_server::{Reply, TestServer},
    },
    test_world::TestWorld,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Grants access to GET.
const GET: &str = "allow { input.request.method == \"GET\" }";
/// Grants access to POST.
const POST: &str = "allow { input.request.method == \"POST\" }";

fn rule(world: &TestWorld, spec: &Value) -> Box<dyn Evaluator> {
    let (evaluator, problems, warnings) = built(world, "r", spec);
    assert!(warnings.is_empty(), "{spec}: {warnings:?}");
    evaluator.unwrap_or_else(|| panic!("{spec}: {problems:?}"))
}

fn at(url: &str) -> Value {
    json!({"externalPolicy": {"url": url}})
}

async fn check(evaluator: &dyn Evaluator, method: &str) -> Outcome {
    let request = Request::new(RequestParts { method: method.to_owned(), ..RequestParts::default() });
    let context = Context::new(&request, None, None);
    match evaluator.evaluate(&context) {
        Evaluation::Ready(outcome) => outcome,
        Evaluation::Pending(future) => future.await,
    }
}

/// The methods to which access is granted.
async fn granted(evaluator: &dyn Evaluator) -> Vec<&'static str> {
    let mut granted = Vec::new();
    for method in ["GET", "POST"] {
        match check(evaluator, method).await {
            Ok(_) => granted.push(method),
            Err(failure) => assert_eq!(failure, Failure::denied("Unauthorized")),
        }
    }
    granted
}

/// Why no policy is there.
async fn missing(evaluator: &dyn Evaluator) -> String {
    match check(evaluator, "GET").await {
        Err(Failure::Undecidable(undecided)) if undecided.reason == "missing policy" => undecided.detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_checks_wait_for_the_policy() {
    let server = TestServer::start().await;
    let json = json!({"result": {"id": "p", "raw": GET}});
    for reply in [Reply::text(200, GET), Reply::json(&json), Reply::text(200, GET).chunked()] {
        server.set("/p", reply);
        server.set_open(false);
        let world = TestWorld::new();
        let policy = rule(&world, &at(&format!("{}/p", server.url)));
        let open = async {
            tokio::task::yield_now().await;
            server.set_open(true);
        };
        let (outcome, other, ()) = tokio::join!(check(&*policy, "GET"), check(&*policy, "POST"), open);
        assert_eq!(outcome, Ok(Arc::new(json!({"allow": true}))));
        assert_eq!(other, Err(Failure::denied("Unauthorized")));
    }
    assert_eq!(server.count("/p"), 3);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_holds_checks_up_for_a_moment_only() {
    let server = TestServer::start().await;
    server.set("/p", Reply::text(200, GET));
    server.set_open(false);
    let world = TestWorld::new();
    let policy = rule(&world, &at(&format!("{}/p", server.url)));
    assert!(!world.resources.external_policies.wait_first_attempts(Duration::from_millis(1)).await);
    assert!(missing(&*policy).await.ends_with(": not fetched yet"));
    server.set_open(true);
    assert!(world.resources.external_policies.wait_first_attempts(DAY).await);
    assert_eq!(granted(&*policy).await, ["GET"]);
}

#[tokio::test]
async fn the_request_has_all_options() {
    let server = TestServer::start().await;
    server.set("/token", Reply::json(&json!({"access_token": "t1", "token_type": "bearer", "expires_in": 300})));
    let url = format!("{}/p", server.url);
    let secret = json!({"name": "s", "key": "k"});
    let expectations = [
        (json!({"url": url}), 200, "GET /p HTTP/1.1\r\n", vec![]),
        (json!({"url": url, "sharedSecretRef": secret}), 200, "GET /p", vec!["authorization: Bearer hush"]),
        (
            json!({"url": url, "sharedSecretRef": secret, "credentials": {"customHeader": {"name": "X-Key"}}}),
            200,
            "GET /p",
            vec!["x-key: hush"],
        ),
        (
            json!({"url": url, "sharedSecretRef": secret, "credentials": {"queryString": {"name": "key"}}}),
            200,
            "GET /p?key=hush",
            vec![],
        ),
        (
            json!({"url": url, "oauth2": {
                "tokenUrl": format!("{}/token", server.url), "clientId": "usher", "clientSecretRef": secret,
            }}),
            200,
            "GET /p",
            vec!["authorization: Bearer t1"],
        ),
        (
            json!({
                "urlExpression": format!("'{url}' + '?a=' + string(1 + 1)"),
                "method": "POST",
                "headers": {"X-A": {"value": "1"}, "X-B": {"expression": "'b' + 'c'"}},
                "contentType": "application/json",
                "bodyParameters": {"env": {"value": "prod"}},
                "expectStatus": [203],
            }),
            203,
            "POST /p?a=2",
            vec!["x-a: 1", "x-b: bc", "content-type: application/json", "\r\n\r\n{\"env\":\"prod\"}"],
        ),
    ];
    for (endpoint, status, first, others) in expectations {
        server.set("/p", Reply::text(status, GET));
        let world = TestWorld::new().secret("s", &[("k", "hush")]);
        let policy = rule(&world, &json!({"externalPolicy": endpoint}));
        assert_eq!(granted(&*policy).await, ["GET"], "{endpoint}");
        let request = server.last_request("/p").unwrap();
        assert!(request.starts_with(first), "{endpoint}: {request}");
        for other in others {
            assert!(request.contains(other), "{endpoint}: {request}");
        }
    }
}

#[tokio::test]
async fn the_policy_is_compiled_as_the_rule_says() {
    let server = TestServer::start().await;
    server.set("/p", Reply::text(200, "package company.rules\nallow if role == \"admin\"\nrole := \"admin\""));
    let url = format!("{}/p", server.url);
    let world = TestWorld::new();
    let spec = json!({"externalPolicy": {"url": url}, "version": "v1", "allValues": true});
    let policy = rule(&world, &spec);
    assert_eq!(check(&*policy, "GET").await, Ok(Arc::new(json!({"allow": true, "role": "admin"}))));
    // Not in the older language.
    let policy = rule(&world, &at(&url));
    let detail = missing(&*policy).await;
    assert!(detail.contains("the policy is invalid: rego_parse_error: `if` needs"), "{detail}");
}

#[tokio::test]
async fn without_a_usable_policy_nothing_is_decided_until_there_is_one() {
    let server = TestServer::start().await;
    let url = format!("{}/p", server.url);
    let deep = format!("allow {{ {}{} }}", "[".repeat(40), "]".repeat(40));
    let long = format!("# {}\nallow = true", "x".repeat(128 << 10));
    let huge = format!("# {}\nallow = true", "x".repeat(1 << 20));
    let cases = [
        (Reply::text(404, "none"), "status 404 instead of 200"),
        (Reply::text(500, GET), "status 500 instead of 200"),
        (Reply::text(204, ""), "status 204 instead of 200"),
        (Reply::text(302, "").with_header("location", "/q"), "status 302 instead of 200"),
        (Reply::text(200, ""), "the answer holds an empty policy"),
        (Reply::text(200, "allow {"), "the policy is invalid: rego_parse_error"),
        (Reply::text(200, "allow if { false }"), "the policy is invalid: rego_parse_error: `if` needs"),
        (Reply::text(200, "allow { not_a_function(1) }"), "the policy is invalid: rego_"),
        (Reply::text(200, &deep), "brackets are nested more than 24 deep"),
        (Reply::text(200, &long), "more than 131072"),
        (Reply::text(200, &huge), "the body has more than 1048576 bytes"),
        (Reply::text(200, &huge).chunked(), "the body has more than 1048576 bytes"),
        (Reply::text(200, GET).with_header("content-type", "application/json"), "the answer is not JSON"),
        (Reply::json(&json!({"result": {}})), "the answer has no text `result.raw`"),
        (Reply::json(&json!({"result": {"raw": "allow {"}})), "the policy is invalid: rego_parse_error"),
        (Reply::text(200, GET).stalled(), "no complete answer within 200ms"),
    ];
    for (reply, cause) in cases {
        server.set("/p", reply);
        let world = TestWorld::new();
        let timeout = if cause.contains("200ms") { 200 } else { 30_000 };
        let policy = rule(&world, &json!({"externalPolicy": {"url": url, "timeout": timeout}}));
        world.resources.external_policies.wait_first_attempts(DAY).await;
        server.set("/p", Reply::text(200, GET));
        let detail = missing(&*policy).await;
        assert!(detail.contains(cause), "{detail} instead of {cause}");
        assert!(detail.starts_with("external policy of rule `r` of AuthConfig team/a: "), "{detail}");
        // The check has caused another attempt.
        let recovery = async {
            while check(&*policy, "GET").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), recovery).await.expect("it is not tried again");
        assert_eq!(granted(&*policy).await, ["GET"]);
    }
}

#[tokio::test]
async fn a_policy_is_refreshed_and_the_last_good_one_stays() {
    let server = TestServer::start().await;
    server.set("/p", Reply::text(200, GET));
    let world = TestWorld::new();
    let spec: OpaSpec = serde_json::from_value(at(&format!("{}/p", server.url))).unwrap();
    let OpaSpec { external_policy: Some(policy), .. } = &spec else { panic!("it is there") };
    let (read, ..) =
        world.build(|context, problems| read("r", &spec, policy, &FieldPath::root("opa"), context, problems));
    let (mut config, registry) = read.unwrap();
    config.ttl = Some(Duration::from_millis(1));
    let policies = ExternalPolicies::with_timing(
        Timing {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1),
            on_demand_interval: DAY,
        },
        DAY,
    );
    let policy = External { source: policies.policy(config, registry) };
    assert_eq!(granted(&policy).await, ["GET"]);
    let rounds = async |rounds| {
        let enough = server.count("/p") + rounds;
        until(|| server.count("/p") >= enough).await;
    };
    let version = policy.source.version().clone().unwrap();
    rounds(3).await;
    assert!(Arc::ptr_eq(&version, policy.source.version().as_ref().unwrap()), "the text is the same");
    let huge = "#".repeat((1 << 20) + 1);
    for failure in [
        Reply::text(404, ""),
        Reply::text(500, POST),
        Reply::text(200, "allow {"),
        Reply::text(200, ""),
        Reply::text(200, &huge),
    ] {
        server.set("/p", failure);
        rounds(3).await;
        assert!(Arc::ptr_eq(&version, policy.source.version().as_ref().unwrap()));
    }
    // Checks do not wait for a registry that hangs.
    server.set_open(false);
    rounds(1).await;
    assert_eq!(granted(&policy).await, ["GET"]);
    server.set("/p", Reply::text(200, POST));
    server.set_open(true);
    until(|| !Arc::ptr_eq(&version, policy.source.version().as_ref().unwrap())).await;
    assert_eq!(granted(&policy).await, ["POST"]);
}

#[tokio::test]
async fn an_authconfig_that_is_loaded_again_keeps_the_policy() {
    let server = TestServer::start().await;
    server.set("/p", Reply::text(200, GET));
    let url = format!("{}/p", server.url);
    let spec = json!({"externalPolicy": {"url": url, "sharedSecretRef": {"name": "s", "key": "k"}, "ttl": 3600}});
    let world = TestWorld::new().secret("s", &[("k", "one")]);
    let before = rule(&world, &spec);
    assert_eq!(granted(&*before).await, ["GET"]);
    server.set("/p", Reply::text(500, ""));
    let after = rule(&world, &spec);
    drop(before);
    assert_eq!(granted(&*after).await, ["GET"]);
    assert_eq!(server.count("/p"), 1);

    // Changed, or of another rule: another policy.
    server.set("/p", Reply::text(200, POST));
    let mut longer = spec.clone();
    longer["externalPolicy"]["ttl"] = json!(7200);
    let longer = rule(&world, &longer);
    assert_eq!(granted(&*longer).await, ["POST"]);
    let (other, ..) = built(&world, "other", &spec);
    assert_eq!(granted(&*other.unwrap()).await, ["POST"]);
    let world = world.secret("s", &[("k", "two")]);
    let rotated = rule(&world, &spec);
    assert_eq!(granted(&*rotated).await, ["POST"]);
    assert!(server.last_request("/p").unwrap().contains("authorization: Bearer two\r\n"));
    assert_eq!(granted(&*after).await, ["GET"]);
    assert_eq!(server.count("/p"), 4);
}

#[tokio::test]
async fn evaluations_that_take_long_leave_the_thread_of_the_request() {
    let server = TestServer::start().await;
    server.set("/p", Reply::text(200, "r := numbers.range(1, 300)\nallow { input.request; r[_] + r[_] + r[_] == -1 }"));
    let world = TestWorld::new();
    let policy = rule(&world, &at(&format!("{}/p", server.url)));
    world.resources.external_policies.wait_first_attempts(DAY).await;
    for _ in 0..2 {
        let failure = check(&*policy, "GET").await.unwrap_err();
        assert_eq!(failure.reason(), "policy evaluation timed out");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let world = TestWorld::new();
    let url = "http://r.test/p";
    for (endpoint, expected) in [
        (json!({}), "opa.externalPolicy: "),
        (json!({"url": url, "urlExpression": "'http://r.test/p'"}), "opa.externalPolicy: "),
        (json!({"url": "ftp://r.test/p"}), "opa.externalPolicy.url: invalid URL: unsupported scheme"),
        (json!({"url": "r.test/p"}), "opa.externalPolicy.url: invalid URL: missing scheme"),
        (json!({"urlExpression": "'nowhere'"}), "opa.externalPolicy.urlExpression: invalid URL: missing scheme"),
        (
            json!({"urlExpression": "'http://r.test' + request.path"}),
            "opa.externalPolicy: a policy is downloaded without a request at hand: ",
        ),
        (json!({"urlExpression": "1 + 1"}), "opa.externalPolicy: a policy is downloaded without a request at hand: "),
        (
            json!({"url": url, "headers": {"a": {"expression": "auth.identity.sub"}}}),
            "opa.externalPolicy: a policy is downloaded without a request at hand: ",
        ),
        (json!({"url": url, "expectStatus": ["all"]}), "opa.externalPolicy.expectStatus[0]: "),
        (json!({"url": url, "sharedSecretRef": {"name": "gone", "key": "k"}}), "opa.externalPolicy.sharedSecretRef"),
    ] {
        let (evaluator, problems, _) = built(&world, "r", &json!({"externalPolicy": endpoint}));
        assert!(evaluator.is_none(), "{endpoint}");
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{endpoint}: {problems:?}");
    }
}

#[tokio::test]
async fn what_has_no_effect_is_worth_a_warning() {
    let (evaluator, problems, warnings) = built(
        &TestWorld::new(),
        "r",
        &json!({"externalPolicy": {
            "url": "http://r.test/{request.path}",
            "headers": {"a": {"selector": "auth.identity.sub"}, "b": {"expression": "'b'"}, "c": {"value": "c"}},
            "ttl": -1,
        }}),
    );
    assert!(evaluator.is_some(), "{problems:?}");
    let nothing = "nothing is selected: a policy is downloaded without a request at hand";
    assert_eq!(
        warnings,
        [
            format!("opa.externalPolicy.url: {nothing}"),
            format!("opa.externalPolicy.headers.a: {nothing}"),
            "opa.externalPolicy.ttl: the policy is downloaded once: it is negative".to_owned(),
        ]
    );
    let (_, _, warnings) = built(&TestWorld::new(), "r", &at("http://r.test/\\{a\\}"));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn without_a_runtime_nothing_is_downloaded() {
    let world = TestWorld::new();
    let policy = rule(&world, &at("http://127.0.0.1:1/"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(missing(&*policy)).ends_with(": not fetched yet"));
}
