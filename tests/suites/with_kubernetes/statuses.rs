//! What is written into AuthConfigs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{DOES_NOT_COMPILE, answer, auth_config, start, until_all_is_told, until_answer, until_gone, versioned};
use crate::support::{
    kubernetes::{Kubernetes, Status},
    usher::Usher,
    wait::until,
};

/// Pieces of work that were done about AuthConfigs.
fn compiled(usher: &Usher) -> f64 {
    usher.metric("controller_runtime_reconcile_total", &["controller=\"authconfig\""])
}

/// Statuses that were written, or tried to be.
fn written(usher: &Usher) -> f64 {
    usher.metric("controller_runtime_reconcile_total", &["controller=\"authconfig_status\""])
}

#[test]
fn a_status_says_what_is_served() {
    let kubernetes = Kubernetes::start();
    let _usher = start(&kubernetes);
    let rules = "authentication: {anyone: {anonymous: {}}, key: {apiKey: {selector: {matchLabels: {app: a}}}}}
metadata: {more: {http: {url: 'http://example.com/'}}}
authorization: {all: {patternMatching: {patterns: [{predicate: 'true'}]}}}";
    kubernetes.apply(&auth_config("talker", "b.test, a.test", rules, "1"));
    let (object, mut status) = kubernetes.until_condition("talker", "Ready", "True/Reconciled");

    let mut times = Vec::new();
    for condition in status.0["conditions"].as_array_mut().unwrap() {
        times.push(condition.as_object_mut().unwrap().remove("lastTransitionTime").unwrap());
    }
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
    for time in times.iter().map(|time| time.as_str().unwrap()) {
        assert!(time.len() == "2026-01-31T10:00:00Z".len() && time.ends_with('Z') && time >= created, "{time}");
    }
    let expected = json!({
        "conditions": [
            {"type": "Available", "status": "True", "reason": "HostsLinked"},
            {"type": "Ready", "status": "True", "reason": "Reconciled"},
        ],
        "summary": {
            "ready": true, "hostsReady": ["a.test", "b.test"], "numHostsReady": "2/2", "numIdentitySources": 2,
            "numMetadataSources": 1, "numAuthorizationPolicies": 1, "numResponseItems": 1,
            "festivalWristbandEnabled": false,
        },
        "observedGeneration": 1,
        "servedGeneration": 1,
    });
    assert_eq!(status.0, expected);

    // Another version: the generations go on, the times of transition stay.
    kubernetes.apply(&auth_config("talker", "a.test", rules, "2"));
    let (_, status) = kubernetes.until_status("talker", |status| status.generations() == (2, 2));
    let conditions = status.0["conditions"].as_array().unwrap();
    assert_eq!(conditions.iter().map(|it| it["lastTransitionTime"].clone()).collect::<Vec<_>>(), times);
    assert_eq!(status.0["summary"]["numHostsReady"], "1/1");
}

#[test]
fn an_invalid_version_leaves_the_earlier_one_served_and_says_so() {
    let kubernetes = Kubernetes::start();
    let usher = start(&kubernetes);
    kubernetes.apply(&versioned("talker", "talker.test", "1"));
    kubernetes.until_status("talker", |status| status.generations() == (1, 1));

    kubernetes.apply(&auth_config("talker", "talker.test", DOES_NOT_COMPILE, "2"));
    let (_, status) = kubernetes.until_status("talker", |status| status.generations() == (2, 1));
    assert_eq!(
        (&*status.condition("Available"), &*status.condition("Ready")),
        ("True/HostsLinked", "False/Invalid"),
        "{status:?}"
    );
    let message = status.message("Ready");
    assert!(message.starts_with("Spec.authorization.digits.patternMatching.patterns[0]"), "{message}");
    assert_eq!((&status.0["summary"]["ready"], &status.0["summary"]["numHostsReady"]), (&json!(false), &json!("1/1")));
    assert_eq!(answer(&usher, "talker.test", &[]).unwrap(), "200 1");
    let refused = usher.metric("controller_runtime_terminal_reconcile_errors_total", &["controller=\"authconfig\""]);
    assert_eq!(refused, 1.0);
    let verbose = usher.probe("/readyz?verbose").unwrap().text();
    assert!(verbose.contains("[-]authconfigs failed, not counted: authconfig is not ready: "), "{verbose}");

    kubernetes.apply(&versioned("talker", "talker.test", "3"));
    let (_, status) = kubernetes.until_status("talker", |status| status.generations() == (3, 3));
    assert_eq!(status.condition("Ready"), "True/Reconciled");
    until_answer(&usher, "talker.test", "200 3");

    // What never compiled keeps its hosts from being left open.
    kubernetes.apply(&auth_config("broken", "broken.test", DOES_NOT_COMPILE, "1"));
    let (_, status) = kubernetes.until_condition("broken", "Ready", "False/Invalid");
    assert_eq!((status.condition("Available"), status.generations()), ("False/HostsNotLinked".to_owned(), (1, 0)));
    assert_eq!(status.0.get("servedGeneration"), None);
    assert_eq!(answer(&usher, "broken.test", &[]).unwrap(), "503");
}

#[test]
fn nothing_is_written_and_nothing_compiled_when_nothing_changes() {
    let kubernetes = Kubernetes::start();
    let mut usher = start(&kubernetes);
    kubernetes.apply(&versioned("talker", "talker.test", "1"));
    kubernetes.until_condition("talker", "Ready", "True/Reconciled");

    // An annotation is a change of the object, and none of what is served.
    let patch = json!({"metadata": {"annotations": {"example.com/note": "x"}}});
    let before = kubernetes.patch("AuthConfig", "talker", &patch);
    until_all_is_told(&kubernetes, &usher, "other");
    assert_eq!(kubernetes.get("AuthConfig", "talker"), before, "nobody has written it");
    // Two AuthConfigs, and a status for each: what was written led to nothing.
    assert_eq!((compiled(&usher), written(&usher)), (2.0, 2.0));

    // Nor does a new process write what is there.
    assert!(usher.terminate().success());
    usher.restart();
    until_all_is_told(&kubernetes, &usher, "third");
    assert_eq!(kubernetes.get("AuthConfig", "talker"), before);
    assert_eq!((compiled(&usher), written(&usher)), (3.0, 1.0));

    // Who else writes a status is put right, once.
    let path =
        format!("/apis/authorino.kuadrant.io/v1beta3/namespaces/{}/authconfigs/talker/status", kubernetes.namespace());
    let foreign = json!({"type": "Foreign", "status": "True", "lastTransitionTime": "2026-01-31T10:00:00Z"});
    let (status, answer) = kubernetes.request("PATCH", &path, Some(&json!({"status": {"conditions": [foreign]}})));
    assert_eq!(status, 200, "{answer}");
    let (_, status) = kubernetes.until_condition("talker", "Ready", "True/Reconciled");
    assert_eq!(status.condition("Foreign"), "True/");
    assert_eq!(compiled(&usher), 3.0);
}

#[test]
fn a_host_belongs_to_the_oldest_and_goes_to_the_next() {
    let mut kubernetes = Kubernetes::start();
    let other = kubernetes.add_namespace();
    // The older one has the later name.
    let (older, younger) = (format!("{other}/zebra"), "ape");
    let first = kubernetes.apply(&versioned(&older, "shared.test", "older"));
    until_a_later_second(&first);
    kubernetes.apply(&versioned(younger, "shared.test, own.test", "younger"));
    let usher = Usher::start_in_cluster(kubernetes.kubeconfig(), kubernetes.in_cluster(""));

    assert_eq!(answer(&usher, "shared.test", &[]).unwrap(), "200 older");
    assert_eq!(answer(&usher, "own.test", &[]).unwrap(), "200 younger");
    let (_, status) = kubernetes.until_condition(&older, "HostConflict", "True/HostWanted");
    let message = format!("`shared.test` is also claimed by {}/ape", kubernetes.namespace());
    assert_eq!((status.condition("Ready"), status.message("HostConflict")), ("True/Reconciled".to_owned(), message));
    let (_, status) = kubernetes.until_condition(younger, "HostConflict", "True/HostTaken");
    let conditions = [status.condition("Available"), status.condition("Ready"), status.message("HostConflict")];
    assert_eq!(
        conditions,
        ["True/HostsLinked", "False/HostsNotLinked", &format!("`shared.test` belongs to {other}/zebra")]
    );
    assert_eq!(status.0["summary"]["numHostsReady"], "1/2");

    kubernetes.delete("AuthConfig", &older);
    until_answer(&usher, "shared.test", "200 younger");
    let is_alone = |status: &Status| status.condition("HostConflict").is_empty();
    let (_, status) =
        kubernetes.until_status(younger, |status| status.condition("Ready") == "True/Reconciled" && is_alone(status));
    assert_eq!(status.0["summary"]["numHostsReady"], "2/2");

    // Whoever comes again is the younger one now.
    let again = kubernetes.apply(&versioned(&older, "shared.test", "older"));
    assert!(again["metadata"]["uid"] != first["metadata"]["uid"]);
    kubernetes.until_condition(&older, "HostConflict", "True/HostTaken");
    kubernetes.until_condition(younger, "HostConflict", "True/HostWanted");
    assert_eq!(answer(&usher, "shared.test", &[]).unwrap(), "200 younger");
    kubernetes.delete("AuthConfig", younger);
    until_gone(&usher, "own.test", std::time::Instant::now());
    until_answer(&usher, "shared.test", "200 older");
    kubernetes.until_condition(&older, "HostConflict", "");
}

/// Waits until what is created has a later time of creation, which has no fractions of seconds.
fn until_a_later_second(object: &Value) {
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
    let [hours, minutes, seconds] = [11, 14, 17].map(|at| created[at..at + 2].parse::<u64>().unwrap());
    let of_day = (hours * 60 + minutes) * 60 + seconds;
    until("a later second", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 86_400;
        if now == of_day { Err(created.to_owned()) } else { Ok(()) }
    });
}
