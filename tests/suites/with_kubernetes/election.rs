//! Several replicas: all serve, one writes.

use std::time::{Duration, Instant};

use super::{answer, until_answer, versioned};
use crate::support::{
    kubernetes::Kubernetes,
    usher::Usher,
    wait::{until, within},
};

/// That of a server without a label selector.
const LEASE: &str = "e3b0c442.authorino.kuadrant.io";

fn replica(kubernetes: &Kubernetes) -> Usher {
    let mut flags = kubernetes.in_namespace();
    flags.push("--enable-leader-election".to_owned());
    Usher::start_in_cluster(kubernetes.kubeconfig(), flags)
}

fn leads(usher: &Usher) -> bool {
    usher.metric("leader_election_master_status", &[&format!("name=\"{LEASE}\"")]) == 1.0
}

fn writes(usher: &Usher) -> f64 {
    usher.metric("rest_client_requests_total", &["method=\"PATCH\""])
}

#[test]
fn all_replicas_serve_and_one_writes_until_it_ends() {
    let kubernetes = Kubernetes::start();
    let first = replica(&kubernetes);
    until("a leader", || if leads(&first) { Ok(()) } else { Err("nobody leads".to_owned()) });
    let second = replica(&kubernetes);
    let holder = || kubernetes.get("Lease", LEASE)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let leader = holder();
    assert!(!leader.is_empty());

    kubernetes.apply(&versioned("talker", "talker.test", "1"));
    for usher in [&first, &second] {
        until_answer(usher, "talker.test", "200 1");
    }
    kubernetes.until_status("talker", |status| status.generations() == (1, 1));
    kubernetes.apply(&versioned("talker", "talker.test", "2"));
    kubernetes.until_status("talker", |status| status.generations() == (2, 2));
    assert_eq!((leads(&first), leads(&second), holder()), (true, false, leader.clone()));
    assert_eq!((writes(&first), writes(&second)), (2.0, 0.0));

    // Whoever is asked to end gives the Lease up: nobody has to wait until it has expired.
    let mut first = first;
    assert!(first.terminate().success());
    let ended = Instant::now();
    kubernetes.apply(&versioned("talker", "talker.test", "3"));
    until_answer(&second, "talker.test", "200 3");
    within(Duration::from_secs(8), "another leader", || if leads(&second) { Ok(()) } else { Err(holder()) });
    assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", ended.elapsed());
    kubernetes.until_status("talker", |status| status.generations() == (3, 3));
    let lease = kubernetes.get("Lease", LEASE);
    assert!(holder() != leader && !holder().is_empty(), "{lease}");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15, "{lease}");
    assert_eq!(answer(&second, "talker.test", &[]).unwrap(), "200 3");

    // Whoever comes back follows.
    first.restart();
    until_answer(&first, "talker.test", "200 3");
    assert_eq!((leads(&first), leads(&second)), (false, true));
}
