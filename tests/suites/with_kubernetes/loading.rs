//! What is served, from the start on, and whose it is.

use std::time::Instant;

use usher_test_support::Fault;

use super::{answer, start, until_all_is_told, until_answer, until_gone, versioned};
use crate::support::{kubernetes::Kubernetes, usher::Usher};

#[test]
fn nothing_is_decided_before_everything_was_read() {
    for resource in ["authconfigs", "secrets"] {
        let kubernetes = Kubernetes::double();
        kubernetes.apply(&versioned("talker", "talker.test", "1"));
        kubernetes.api().fail(Fault::hang().verb("list").resource(resource));
        let usher = Usher::begin_in_cluster(kubernetes.kubeconfig(), kubernetes.in_namespace());
        // Whatever can be known without that list is known by now.
        let other = if resource == "secrets" { "authconfigs" } else { "secrets" };
        kubernetes.api().wait_for(crate::support::wait::PATIENCE, |api| (api.open_watches(other) > 0).then_some(()));

        for host in ["talker.test", "nobody.test"] {
            assert_eq!(answer(&usher, host, &[]).unwrap(), "503", "{host} without {resource}");
        }
        let (ready, verbose) = (usher.probe("/readyz").unwrap(), usher.probe("/readyz?verbose").unwrap());
        assert_eq!((ready.status, verbose.status), (500, 500), "{resource}");
        assert!(verbose.text().contains("[-]load failed"), "{}", verbose.text());
        assert_eq!(usher.probe("/healthz").unwrap().status, 200);

        kubernetes.api().clear_faults();
        usher.until_ready();
        assert_eq!(answer(&usher, "talker.test", &[]).unwrap(), "200 1");
        assert_eq!(answer(&usher, "nobody.test", &[]).unwrap(), "404");
    }
}

#[test]
fn changes_take_effect() {
    let kubernetes = Kubernetes::start();
    kubernetes.apply(&versioned("first", "first.test", "1"));
    let usher = start(&kubernetes);
    // What was there is served as soon as the server is ready.
    assert_eq!(answer(&usher, "first.test", &[]).unwrap(), "200 1");
    assert_eq!(answer(&usher, "second.test", &[]).unwrap(), "404");

    kubernetes.apply(&versioned("second", "second.test", "1"));
    until_answer(&usher, "second.test", "200 1");
    kubernetes.apply(&versioned("second", "second.test", "2"));
    until_answer(&usher, "second.test", "200 2");
    kubernetes.apply(&versioned("second", "moved.test", "3"));
    until_answer(&usher, "moved.test", "200 3");
    assert_eq!(answer(&usher, "second.test", &[]).unwrap(), "404");

    for (name, host) in [("first", "first.test"), ("second", "moved.test")] {
        kubernetes.delete("AuthConfig", name);
        until_gone(&usher, host, Instant::now());
    }
    let verbose = usher.probe("/readyz?verbose").unwrap();
    let expected = "[+]load ok\n[+]authconfigs ok\n[+]source ok\nhealthz check passed\n";
    assert_eq!((verbose.status, &*verbose.text()), (200, expected));
}

#[test]
fn other_namespaces_are_left_alone() {
    let mut kubernetes = Kubernetes::start();
    let other = kubernetes.add_namespace();
    let usher = start(&kubernetes);
    kubernetes.apply(&versioned(&format!("{other}/foreign"), "foreign.test", "1"));
    // By the time in which this is, that would be too.
    until_all_is_told(&kubernetes, &usher, "own");
    assert_eq!(answer(&usher, "foreign.test", &[]).unwrap(), "404");
    let foreign = kubernetes.get("AuthConfig", &format!("{other}/foreign"));
    assert!(foreign.is_object() && foreign.get("status").is_none(), "{foreign}");
}

#[test]
fn label_selectors_divide_the_work() {
    let mut kubernetes = Kubernetes::start();
    let other = kubernetes.add_namespace();
    let [left, right] = ["shard=left", "shard in (right,far-right)"]
        .map(|shard| Usher::start_in_cluster(kubernetes.kubeconfig(), kubernetes.in_cluster(shard)));
    let labelled = |name: &str, host: &str, shard: &str| {
        let document = versioned(name, host, shard);
        kubernetes.apply(&document.replace("metadata: {", &format!("metadata: {{labels: {{shard: {shard}}}, ")));
    };
    let foreign = format!("{other}/b");
    labelled("a", "a.test", "left");
    labelled(&foreign, "b.test", "far-right");
    until_answer(&left, "a.test", "200 left");
    until_answer(&right, "b.test", "200 far-right");
    for name in ["a", &*foreign] {
        kubernetes.until_condition(name, "Ready", "True/Reconciled");
    }
    assert_eq!((answer(&left, "b.test", &[]), answer(&right, "a.test", &[])), (Ok("404".into()), Ok("404".into())));

    // The label moves it from one to the other; a label that nobody wants takes it out, and leaves its status.
    labelled("a", "a.test", "right");
    until_answer(&right, "a.test", "200 right");
    until_answer(&left, "a.test", "404");
    let (_, status) = kubernetes.until_status("a", |status| status.generations() == (2, 2));
    labelled("a", "a.test", "middle");
    until_answer(&right, "a.test", "404");
    assert_eq!(answer(&left, "a.test", &[]).unwrap(), "404");
    assert_eq!(kubernetes.get("AuthConfig", "a")["status"], status.0);
}
