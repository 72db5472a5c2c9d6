//! Scripted reviews.

use serde_json::{Value, json};
use usher_test_support::{ApiServer, ReviewAnswer};

use crate::client::ask;

const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESSES: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

async fn review(server: &ApiServer, path: &str, spec: &Value) -> Value {
    ask(server, "POST", path).json(&json!({"spec": spec})).expect(201).await
}

#[tokio::test]
async fn reviews_are_answered_as_scripted() {
    let server = ApiServer::start();
    let nobody = review(&server, TOKENS, &json!({"token": "t"})).await;
    assert_eq!(nobody["status"], json!({"user": {}}));
    assert_eq!(nobody["kind"], "TokenReview");
    assert_eq!(review(&server, ACCESSES, &json!({"user": "u"})).await["status"], json!({"allowed": false}));

    let known = json!({"authenticated": true, "user": {"username": "u"}});
    server.script_token_review(json!({"token": "t"}), ReviewAnswer::Status(known.clone()));
    assert_eq!(review(&server, TOKENS, &json!({"token": "t", "audiences": ["a"]})).await["status"], known);
    assert_eq!(review(&server, TOKENS, &json!({"token": "other"})).await["status"], json!({"user": {}}));
    let verb = json!({"resourceAttributes": {"verb": "get"}});
    server.script_access_review(verb.clone(), ReviewAnswer::Status(json!({"allowed": true})));
    server.script_access_review(json!({"user": "broken"}), ReviewAnswer::Error(500));
    let asked = json!({"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}});
    assert_eq!(review(&server, ACCESSES, &asked).await["status"], json!({"allowed": true}));
    ask(&server, "POST", ACCESSES).json(&json!({"spec": {"user": "broken"}})).expect(500).await;
    ask(&server, "POST", ACCESSES).json(&json!({})).expect(400).await;
    ask(&server, "GET", ACCESSES).expect(405).await;

    assert_eq!(server.reviews().len(), 6);
    assert_eq!(server.reviews()[4]["spec"], asked);
    assert_eq!(server.count("create", "tokenreviews"), 3);
}

#[tokio::test]
async fn other_processes_script_them_too() {
    let server = ApiServer::start();
    let scripts = json!({
        "tokenReviews": [{"match": {"token": "t"}, "status": {"authenticated": true}}],
        "subjectAccessReviews": [{"code": 503}],
    });
    ask(&server, "PUT", "/double/reviews").json(&scripts).expect(200).await;
    assert_eq!(review(&server, TOKENS, &json!({"token": "t"})).await["status"], json!({"authenticated": true}));
    ask(&server, "POST", ACCESSES).json(&json!({"spec": {}})).expect(503).await;
    let asked = ask(&server, "GET", "/double/reviews").expect(200).await;
    assert_eq!(asked["reviews"].as_array().unwrap().len(), 2);
    ask(&server, "PUT", "/double/reviews").json(&json!({"tokenReviews": [{}]})).expect(400).await;
}
