//! AuthConfigs are pruned, completed, and checked by their definition.

use serde_json::json;
use usher_test_support::ApiServer;

use crate::client::{AUTHCONFIGS, DEFINITION, ask, auth_config};

#[tokio::test]
async fn what_the_definition_says_holds() {
    let server = ApiServer::builder().definitions(DEFINITION).start();
    let mut object = auth_config("one", "a.test");
    object["spec"]["unknown"] = json!(1);
    object["spec"]["authentication"] = json!({"keys": {"apiKey": {"selector": {"matchLabels": {"a": "b"}}}}});
    let said = ask(&server, "POST", AUTHCONFIGS).json(&object).said().await;
    assert_eq!(said.code, 201, "{}", said.body);
    assert_eq!(said.headers["warning"], "299 - \"unknown field \\\"spec.unknown\\\"\"");
    assert!(said.body["spec"].get("unknown").is_none());
    let keys = &said.body["spec"]["authentication"]["keys"];
    assert_eq!((&keys["priority"], &keys["metrics"]), (&json!(0), &json!(false)));
    assert_eq!(keys["apiKey"]["allNamespaces"], false);

    let strict = ask(&server, "POST", format!("{AUTHCONFIGS}?fieldValidation=Strict")).json(&object).expect(400).await;
    assert!(strict["message"].as_str().unwrap().contains("strict decoding error: unknown field \"spec.unknown\""));

    for (spec, field, text) in [
        (json!({}), "spec.hosts", "is invalid: spec.hosts: Required value"),
        (json!({"hosts": "a"}), "spec.hosts", "must be of type array: \"string\""),
        (
            json!({"hosts": [], "authentication": {"x": {}}}),
            "spec.authentication.x",
            "must validate one and only one schema (oneOf). Found none valid",
        ),
        (
            json!({"hosts": [], "authentication": {"x": {"anonymous": {}, "plain": {"selector": "a"}}}}),
            "spec.authentication.x",
            "must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            json!({"hosts": [], "when": [{"selector": "a", "operator": "is", "value": "b"}]}),
            "spec.when[0].operator",
            "Unsupported value: \"is\"",
        ),
    ] {
        let mut object = auth_config("two", "a.test");
        object["spec"] = spec;
        let said = ask(&server, "POST", AUTHCONFIGS).json(&object).expect(422).await;
        let message = said["message"].as_str().unwrap();
        assert!(message.starts_with("AuthConfig.authorino.kuadrant.io \"two\" is invalid: "), "{message}");
        assert!(message.contains(text), "{message}");
        assert_eq!(said["details"]["kind"], "AuthConfig");
        assert_eq!(said["details"]["causes"][0]["field"], field, "{said}");
    }
}

#[tokio::test]
async fn the_status_is_checked_too() {
    let server = ApiServer::builder().definitions(DEFINITION).start();
    server.apply(auth_config("one", "a.test"));
    let path = format!("{AUTHCONFIGS}/one/status");
    let bad = json!({"status": {"conditions": [{"type": "Ready"}]}});
    let said = ask(&server, "PATCH", &path).merge(&bad).expect(422).await;
    assert!(said["message"].as_str().unwrap().contains("status.conditions[0].status: Required value"), "{said}");
    let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "more": 1});
    let said = ask(&server, "PATCH", &path).merge(&json!({"status": {"conditions": [condition]}})).expect(200).await;
    assert!(said["status"]["conditions"][0].get("more").is_none());
    let mut late = condition;
    late["lastTransitionTime"] = json!("yesterday");
    ask(&server, "PATCH", &path).merge(&json!({"status": {"conditions": [late]}})).expect(422).await;
}

#[tokio::test]
async fn definitions_can_come_later() {
    let server = ApiServer::start();
    let definition = json!({
        "metadata": {"name": "things.example.test"},
        "spec": {
            "group": "example.test", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    ask(&server, "GET", "/apis/example.test/v1/things").expect(404).await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let said = ask(&server, "POST", path).json(&definition).expect(201).await;
    assert_eq!(said["status"]["conditions"][1]["type"], "Established");
    let body = json!({"metadata": {"name": "t"}, "spec": {"dropped": true}});
    let thing = ask(&server, "POST", "/apis/example.test/v1/namespaces/ns/things").json(&body).expect(201).await;
    assert!(thing.get("spec").is_none());
}
