//! Create, get, update, patch, delete.

use serde_json::json;
use usher_test_support::ApiServer;

use crate::client::{AUTHCONFIGS, METADATA, SECRETS, ask, auth_config, secret};

#[tokio::test]
async fn objects_are_created_with_metadata() {
    let server = ApiServer::start();
    let created = ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(201).await;
    let metadata = &created["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], "ns");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    let found = ask(&server, "GET", format!("{AUTHCONFIGS}/one")).expect(200).await;
    assert_eq!(found, created);
    assert_eq!(server.get("authconfigs", "ns", "one").unwrap(), created);

    let again = ask(&server, "POST", AUTHCONFIGS).json(&auth_config("one", "a.test")).expect(409).await;
    let expected = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "authconfigs.authorino.kuadrant.io \"one\" already exists", "reason": "AlreadyExists",
        "details": {"name": "one", "group": "authorino.kuadrant.io", "kind": "authconfigs"}, "code": 409,
    });
    assert_eq!(again, expected);

    let missing = ask(&server, "GET", format!("{SECRETS}/none")).expect(404).await;
    assert_eq!(missing["message"], "secrets \"none\" not found");
    assert_eq!(missing["reason"], "NotFound");
    assert_eq!(missing["details"], json!({"name": "none", "kind": "secrets"}));
}

#[tokio::test]
async fn names_can_be_generated() {
    let server = ApiServer::start();
    let body = json!({"metadata": {"generateName": "key-"}});
    let first = ask(&server, "POST", SECRETS).json(&body).expect(201).await;
    let second = ask(&server, "POST", SECRETS).json(&body).expect(201).await;
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("key-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    assert_eq!(first["kind"], "Secret");
}

#[tokio::test]
async fn what_is_no_object_of_this_place_is_refused() {
    let server = ApiServer::start();
    for (body, code, text) in [
        (
            json!({"metadata": {}}),
            422,
            "Secret \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (json!({"metadata": {"name": "Upper"}}), 422, "RFC 1123 subdomain"),
        (
            json!({"metadata": {"name": "x", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match",
        ),
        (json!({"kind": "ConfigMap", "metadata": {"name": "x"}}), 400, "does not match the expected kind"),
        (
            json!({"metadata": {"name": "x", "resourceVersion": "1"}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (json!({"metadata": {"name": "x"}, "data": {"a": "???"}}), 422, "data[a]"),
        (json!({"metadata": {"name": "x", "labels": {"a": 1}}}), 422, "metadata.labels"),
        (json!([]), 400, "must be an object"),
    ] {
        let said = ask(&server, "POST", SECRETS).json(&body).expect(code).await;
        assert!(said["message"].as_str().unwrap().contains(text), "{said}");
    }
    for path in ["/apis/none/v1/things", "/api/v1/nothing", "/api/v1/namespaces/ns/secrets/x/status", "/none"] {
        let said = ask(&server, "GET", path).expect(404).await;
        assert_eq!(said["message"], "the server could not find the requested resource");
    }
    ask(&server, "PATCH", format!("{SECRETS}/x"))
        .header("content-type", "application/json-patch+json")
        .expect(415)
        .await;
    ask(&server, "POST", format!("{SECRETS}/x")).expect(405).await;
}

#[tokio::test]
async fn updates_need_the_version_that_they_replace() {
    let server = ApiServer::start();
    let created = server.apply(auth_config("one", "a.test"));
    let path = format!("{AUTHCONFIGS}/one");
    let mut changed = created.clone();
    changed["spec"]["hosts"] = json!(["b.test"]);
    let updated = ask(&server, "PUT", &path).json(&changed).expect(200).await;
    assert_eq!(updated["metadata"]["generation"], 2);
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);

    let conflict = ask(&server, "PUT", &path).json(&changed).expect(409).await;
    assert_eq!(conflict["reason"], "Conflict");
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on authconfigs.authorino.kuadrant.io \"one\": the object has been modified; please apply \
         your changes to the latest version and try again"
    );
    changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let unversioned = ask(&server, "PUT", &path).json(&changed).expect(422).await;
    assert!(unversioned["message"].as_str().unwrap().contains("must be specified for an update"));
    changed["metadata"]["uid"] = json!("other");
    changed["metadata"]["resourceVersion"] = updated["metadata"]["resourceVersion"].clone();
    let other = ask(&server, "PUT", &path).json(&changed).expect(409).await;
    assert!(other["message"].as_str().unwrap().contains("Precondition failed: UID in precondition: other"));
    ask(&server, "PUT", format!("{AUTHCONFIGS}/two")).json(&updated).expect(400).await;

    // A Secret may be replaced whatever its version, a missing one may not.
    server.apply(secret("s", ""));
    ask(&server, "PUT", format!("{SECRETS}/s")).json(&secret("s", "a=b")).expect(200).await;
    ask(&server, "PUT", format!("{SECRETS}/t")).json(&secret("t", "a=b")).expect(404).await;
}

#[tokio::test]
async fn what_changes_nothing_is_no_write() {
    let server = ApiServer::start();
    let created = server.apply(auth_config("one", "a.test"));
    let before = server.resource_version();
    let path = format!("{AUTHCONFIGS}/one");
    assert_eq!(ask(&server, "PUT", &path).json(&created).expect(200).await, created);
    assert_eq!(ask(&server, "PATCH", &path).merge(&json!({"spec": {}})).expect(200).await, created);
    assert_eq!(server.resource_version(), before);
}

#[tokio::test]
async fn generations_count_changes_of_the_spec_only() {
    let server = ApiServer::start();
    server.apply(auth_config("one", "a.test"));
    let path = format!("{AUTHCONFIGS}/one");
    let labelled = ask(&server, "PATCH", &path).merge(&json!({"metadata": {"labels": {"a": "b"}}})).expect(200).await;
    assert_eq!(labelled["metadata"]["generation"], 1);
    let with_status = json!({"status": {"summary": {"ready": true}}});
    let patched = ask(&server, "PATCH", format!("{path}/status")).merge(&with_status).expect(200).await;
    assert_eq!(patched["metadata"]["generation"], 1);
    let changed = ask(&server, "PATCH", &path).merge(&json!({"spec": {"hosts": ["b.test"]}})).expect(200).await;
    assert_eq!(changed["metadata"]["generation"], 2);
}

#[tokio::test]
async fn the_status_is_written_apart() {
    let server = ApiServer::start();
    let mut object = auth_config("one", "a.test");
    object["status"] = json!({"summary": {"ready": true}});
    let created = ask(&server, "POST", AUTHCONFIGS).json(&object).expect(201).await;
    assert!(created.get("status").is_none());

    let path = format!("{AUTHCONFIGS}/one");
    let patch = json!({"status": {"a": 1, "b": 2}, "spec": {"hosts": []}, "metadata": {"labels": {"x": "y"}}});
    let patched = ask(&server, "PATCH", format!("{path}/status")).merge(&patch).expect(200).await;
    assert_eq!(patched["status"], json!({"a": 1, "b": 2}));
    assert_eq!(patched["spec"], created["spec"]);
    assert!(patched["metadata"].get("labels").is_none());
    let patched =
        ask(&server, "PATCH", format!("{path}/status")).merge(&json!({"status": {"a": null}})).expect(200).await;
    assert_eq!(patched["status"], json!({"b": 2}));

    let mut whole = patched.clone();
    whole["status"] = json!({"c": 3});
    let main = ask(&server, "PUT", &path).json(&whole).expect(200).await;
    assert_eq!(main["status"], json!({"b": 2}));
    let status = ask(&server, "PUT", format!("{path}/status")).json(&whole).expect(200).await;
    assert_eq!(status["status"], json!({"c": 3}));
    assert_eq!(ask(&server, "GET", format!("{path}/status")).expect(200).await, status);
}

#[tokio::test]
async fn patches_can_have_preconditions() {
    let server = ApiServer::start();
    let created = server.apply(auth_config("one", "a.test"));
    let path = format!("{AUTHCONFIGS}/one/status");
    for (metadata, code) in [
        (json!({"uid": created["metadata"]["uid"]}), 200),
        (json!({"uid": "other"}), 409),
        (json!({"resourceVersion": created["metadata"]["resourceVersion"]}), 409),
        (json!({"resourceVersion": (server.resource_version() + 1).to_string()}), 200),
    ] {
        let patch = json!({"metadata": metadata, "status": {"code": code, "asked": metadata}});
        ask(&server, "PATCH", &path).merge(&patch).expect(code).await;
    }
    ask(&server, "PATCH", format!("{AUTHCONFIGS}/none/status")).merge(&json!({})).expect(404).await;
}

#[tokio::test]
async fn objects_are_deleted() {
    let server = ApiServer::start();
    let created = server.apply(secret("s", ""));
    let path = format!("{SECRETS}/s");
    let wrong = json!({"preconditions": {"uid": "other"}});
    ask(&server, "DELETE", &path).json(&wrong).expect(409).await;
    let said = ask(&server, "DELETE", &path).expect(200).await;
    let details = json!({"name": "s", "kind": "secrets", "uid": created["metadata"]["uid"]});
    let expected =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    assert_eq!(said, expected);
    ask(&server, "DELETE", &path).expect(404).await;

    let mut held = secret("held", "");
    held["metadata"]["finalizers"] = json!(["test/held"]);
    server.apply(held);
    let path = format!("{SECRETS}/held");
    let marked = ask(&server, "DELETE", &path).expect(200).await;
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    ask(&server, "GET", &path).expect(200).await;
    ask(&server, "PATCH", &path).merge(&json!({"metadata": {"finalizers": null}})).expect(200).await;
    ask(&server, "GET", &path).expect(404).await;

    server.load([secret("a", "x=y"), secret("b", "x=y"), secret("c", "")]);
    ask(&server, "DELETE", format!("{SECRETS}?labelSelector=x%3Dy")).expect(200).await;
    assert_eq!(server.objects("secrets").len(), 1);
}

#[tokio::test]
async fn string_data_of_secrets_is_encoded() {
    let server = ApiServer::start();
    let body = json!({"metadata": {"name": "s"}, "data": {"a": "YQ=="}, "stringData": {"a": "b", "c": "d"}});
    let created = ask(&server, "POST", SECRETS).json(&body).expect(201).await;
    assert_eq!(created["data"], json!({"a": "Yg==", "c": "ZA=="}));
    assert!(created.get("stringData").is_none());
    assert_eq!(created["type"], "Opaque");
}

#[tokio::test]
async fn leases_are_created_and_taken_over() {
    let server = ApiServer::start();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
    let body = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let created = ask(&server, "POST", leases).json(&body).expect(201).await;
    let mut taken = created.clone();
    taken["spec"]["holderIdentity"] = json!("b");
    ask(&server, "PUT", format!("{leases}/l")).json(&taken).expect(200).await;
    let mut late = created;
    late["spec"]["holderIdentity"] = json!("c");
    ask(&server, "PUT", format!("{leases}/l")).json(&late).expect(409).await;
    ask(&server, "PUT", format!("{leases}/l")).json(&body).expect(422).await;
}

#[tokio::test]
async fn metadata_can_be_asked_for_alone() {
    let server = ApiServer::start();
    let created = server.apply(secret("s", "a=b"));
    let path = format!("{SECRETS}/s");
    let found = ask(&server, "GET", &path).header("accept", METADATA).expect(200).await;
    let expected = json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": created["metadata"],
    });
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let server = ApiServer::start();
    let before = server.resource_version();
    ask(&server, "POST", format!("{SECRETS}?dryRun=All")).json(&secret("s", "")).expect(201).await;
    assert_eq!(server.get("secrets", "ns", "s"), None);
    assert_eq!(server.resource_version(), before);
}

#[tokio::test]
async fn namespaces_must_exist_if_asked_for() {
    let server = ApiServer::builder().strict_namespaces().start();
    let said = ask(&server, "POST", SECRETS).json(&secret("s", "")).expect(404).await;
    assert_eq!(said["message"], "namespaces \"ns\" not found");
    ask(&server, "POST", "/api/v1/namespaces").json(&json!({"metadata": {"name": "ns"}})).expect(201).await;
    ask(&server, "POST", SECRETS).json(&secret("s", "")).expect(201).await;
    let found = ask(&server, "GET", "/api/v1/namespaces/ns").expect(200).await;
    assert_eq!(found["metadata"]["labels"]["kubernetes.io/metadata.name"], "ns");
}

#[tokio::test]
async fn discovery_names_what_there_is() {
    let server = ApiServer::start();
    assert_eq!(ask(&server, "GET", "/version").expect(200).await["major"], "1");
    assert_eq!(ask(&server, "GET", "/api").expect(200).await["versions"], json!(["v1"]));
    let groups = ask(&server, "GET", "/apis").expect(200).await;
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"authorino.kuadrant.io") && names.contains(&"coordination.k8s.io"), "{names:?}");
    for (path, resource) in [
        ("/api/v1", "secrets"),
        ("/apis/authorino.kuadrant.io/v1beta3", "authconfigs/status"),
        ("/apis/authentication.k8s.io/v1", "tokenreviews"),
    ] {
        let list = ask(&server, "GET", path).expect(200).await;
        let found = list["resources"].as_array().unwrap().iter().any(|found| found["name"] == resource);
        assert!(found, "{list}");
    }
}
