//! An API server that goes away, hangs or refuses, while requests come in.
//!
//! `USHER_CHAOS_SECONDS` says how long it is away (3 by default).

mod load;

use std::{
    env,
    fs::File,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use usher_test_support::{ApiServer, Fault};

use self::load::Load;
use super::{answer, auth_config, start, until_answer, until_answer_with, until_gone, versioned};
use crate::support::{
    http::Request,
    kubernetes::Kubernetes,
    ports::free_port,
    usher::Usher,
    wait::{PATIENCE, until, within},
    workspace,
};

const KEYS: &str = "authentication: {keys: {apiKey: {selector: {matchLabels: {app: talker}}}}}";
const LABELS: &str = "app: talker, authorino.kuadrant.io/managed-by: authorino";

fn api_key(name: &str, key: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, labels: {{{LABELS}}}}}, stringData: {{api_key: {key}}}}}"
    )
}

/// How long the API server is away.
fn away() -> Duration {
    let seconds = env::var("USHER_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Changes an object past the HTTP interface: its version becomes `version`.
fn set_version(api: &ApiServer, namespace: &str, name: &str, version: &str) {
    let mut object = api.get("authconfigs", namespace, name).unwrap();
    object["spec"]["response"]["success"]["headers"]["x-version"]["plain"]["value"] = json!(version);
    api.apply(object);
}

#[test]
fn no_check_fails_while_the_api_server_is_away() {
    let kubernetes = Kubernetes::double();
    let (api, namespace) = (kubernetes.api(), kubernetes.namespace());
    kubernetes.apply(&api_key("ann", "key-of-ann"));
    kubernetes.apply(&auth_config("keys", "keys.test", KEYS, "1"));
    kubernetes.apply(&versioned("open", "open.test", "1"));
    kubernetes.apply(&versioned("goes", "goes.test", "1"));
    let usher = start(&kubernetes);
    kubernetes.until_status("open", |status| status.generations() == (1, 1));

    let load =
        Load::start(&usher, &[("keys.test", "key-of-ann", 200), ("open.test", "", 200), ("nobody.test", "", 404)]);
    load.until_more(100);
    api.pause();
    let gone = Instant::now();
    // Meanwhile things change, which nobody can know.
    set_version(api, namespace, "open", "2");
    assert!(api.delete("authconfigs", namespace, "goes"));
    let document = usher_test_support::read_yaml(&versioned(&format!("{namespace}/new"), "new.test", "1")).unwrap();
    document.into_iter().for_each(|object| drop(api.apply(object)));
    // The versions that the watches know are forgotten.
    api.compact();
    within(away() + PATIENCE, "the end of the absence", || {
        assert_eq!(answer(&usher, "goes.test", &[]).unwrap(), "200 1", "what is served stays");
        if gone.elapsed() >= away() { Ok(()) } else { Err("not yet".to_owned()) }
    });
    assert_eq!(usher.metric("usher_source_connected", &[]), 0.0);
    assert_eq!(usher.probe("/readyz").unwrap().status, 200);
    api.resume();

    for (host, expected) in [("open.test", "200 2"), ("goes.test", "404"), ("new.test", "200 1")] {
        until_answer(&usher, host, expected);
    }
    // All are told of changes again: a deletion within a second, also while the history goes once more.
    api.wait_for(PATIENCE, |api| (api.open_watches("authconfigs") > 0).then_some(()));
    assert!(api.delete("authconfigs", namespace, "new"));
    until_gone(&usher, "new.test", Instant::now());
    api.drop_watches();
    api.compact();
    set_version(api, namespace, "open", "3");
    until_answer(&usher, "open.test", "200 3");
    kubernetes.until_status("open", |status| status.generations() == (3, 3));
    load.until_more(100);
    load.end_without_failures();
}

#[test]
fn a_connection_that_says_nothing_any_more_stops_nothing_but_news() {
    let kubernetes = Kubernetes::double();
    let api = kubernetes.api();
    kubernetes.apply(&versioned("open", "open.test", "1"));
    kubernetes.apply(&api_key("ann", "key-of-ann"));
    kubernetes.apply(&auth_config("keys", "keys.test", KEYS, "1"));
    let usher = start(&kubernetes);
    let load = Load::start(&usher, &[("keys.test", "key-of-ann", 200), ("open.test", "", 200)]);
    // Every request hangs, and the watches have to begin anew.
    api.fail(Fault::hang());
    api.drop_watches();
    api.compact();
    set_version(api, kubernetes.namespace(), "open", "2");
    load.until_more(200);
    assert_eq!(answer(&usher, "open.test", &[]).unwrap(), "200 1");
    api.clear_faults();
    until_answer(&usher, "open.test", "200 2");
    load.end_without_failures();
}

#[test]
fn errors_are_waited_out() {
    waits_out(&Fault::answer(500));
}

#[test]
fn an_overloaded_api_server_is_waited_for() {
    waits_out(&Fault::answer(429).retry_after(1));
}

#[test]
fn missing_rights_are_waited_for() {
    waits_out(&Fault::forbid());
}

/// Checks are answered as before while lists and watches fail like this, and changes arrive afterwards.
fn waits_out(fault: &Fault) {
    let kubernetes = Kubernetes::double();
    let api = kubernetes.api();
    kubernetes.apply(&versioned("open", "open.test", "1"));
    let usher = start(&kubernetes);
    let load = Load::start(&usher, &[("open.test", "", 200)]);
    for resource in ["authconfigs", "secrets"] {
        api.fail(fault.clone().verb("list").resource(resource).times(1));
        api.fail(fault.clone().verb("watch").resource(resource).times(1));
    }
    // They have to begin anew, and to read the lists again.
    api.drop_watches();
    api.compact();
    set_version(api, kubernetes.namespace(), "open", "2");
    until_answer(&usher, "open.test", "200 2");
    kubernetes.apply(&api_key("ann", "key-of-ann"));
    kubernetes.apply(&auth_config("keys", "keys.test", KEYS, "1"));
    until_answer_with(&usher, "keys.test", &[("authorization", "Bearer key-of-ann")], "200 1");
    load.end_without_failures();
}

#[test]
fn a_lost_lease_stops_writing_and_nothing_else() {
    let kubernetes = Kubernetes::double();
    let (api, namespace) = (kubernetes.api(), kubernetes.namespace());
    let mut flags = kubernetes.in_namespace();
    flags.push("--enable-leader-election".to_owned());
    let usher = Usher::start_in_cluster(kubernetes.kubeconfig(), flags);
    let leads = |usher: &Usher| usher.metric("leader_election_master_status", &[]) == 1.0;
    kubernetes.apply(&versioned("open", "open.test", "1"));
    kubernetes.until_status("open", |status| status.generations() == (1, 1));
    let load = Load::start(&usher, &[("open.test", "", 200)]);

    // Somebody else takes it, and holds it.
    let mut lease =
        api.objects("leases").into_iter().find(|lease| lease["metadata"]["namespace"] == namespace).unwrap();
    let own = lease["spec"]["holderIdentity"].clone();
    lease["spec"]["holderIdentity"] = json!("another");
    let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
    api.apply(lease);
    until("the loss", || if leads(&usher) { Err("it still leads".to_owned()) } else { Ok(()) });
    let patches = api.count("patch", "authconfigs/status");
    kubernetes.apply(&versioned("open", "open.test", "2"));
    until_answer(&usher, "open.test", "200 2");
    kubernetes.apply(&versioned("later", "later.test", "1"));
    until_answer(&usher, "later.test", "200 1");
    assert_eq!(usher.probe("/readyz").unwrap().status, 200);
    assert_eq!(api.count("patch", "authconfigs/status"), patches);
    assert_eq!(kubernetes.get("AuthConfig", "open")["status"]["observedGeneration"], 1);

    // The other gives it up.
    let mut lease = api.get("leases", namespace, &name).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "another");
    lease["spec"]["holderIdentity"] = json!("");
    api.apply(lease);
    kubernetes.until_status("open", |status| status.generations() == (2, 2));
    kubernetes.until_status("later", |status| status.generations() == (1, 1));
    assert_eq!(api.get("leases", namespace, &name).unwrap()["spec"]["holderIdentity"], own);
    load.end_without_failures();
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let kubernetes = Kubernetes::double();
    kubernetes.apply(&versioned("open", "open.test", "1"));
    let (port, health) = (free_port(), free_port());
    // Every write to this device fails, as on a disk that is full.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let child = Command::new(workspace::usher())
        .arg("server")
        .args(kubernetes.in_namespace())
        .env("KUBECONFIG", kubernetes.kubeconfig())
        .args([
            "--bind-address",
            "127.0.0.1",
            "--ext-auth-grpc-port",
            "0",
            "--oidc-http-port",
            "0",
            "--metrics-addr",
            "0",
        ])
        .args(["--ext-auth-http-port", &port.to_string(), "--health-probe-addr", &format!("127.0.0.1:{health}")])
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut ended = Ended(child);
    until("readiness", || {
        let exit = ended.0.try_wait().unwrap();
        assert!(exit.is_none(), "it ended: {exit:?}");
        let answer = Request { target: "/readyz", ..Request::default() }.send(health);
        answer.map_err(|error| error.to_string()).and_then(|it| if it.status == 200 { Ok(()) } else { Err(it.text()) })
    });
    // Of the second there would be a line in the log.
    for (host, expected) in [("open.test", 200), ("nobody.test", 404), ("open.test", 200)] {
        let answer = Request { host, target: "/check", ..Request::default() }.send(port).unwrap();
        assert_eq!(answer.status, expected, "{host}");
    }
    assert_eq!(ended.0.try_wait().unwrap(), None);
}

/// A process that is killed when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails only if it ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
