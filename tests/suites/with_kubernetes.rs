//! Usher in a cluster: the whole program with a Kubernetes API.
//!
//! | module | protects |
//! | --- | --- |
//! | `loading` | readiness, changes that take effect, what is in scope |
//! | `statuses` | what is written into AuthConfigs, and what is not |
//! | `secrets` | API keys by their labels, Secrets by their names, and what their changes do |
//! | `reviews` | tokens and access that the cluster reviews |
//! | `election` | several replicas |
//! | `admission` | AuthConfigs that are refused before they are stored |
//! | `snapshots` | a start while the API server is away |
//! | `chaos` | an API server that goes away, hangs or refuses while requests come in |
//!
//! Runs against a double of the API server, and unchanged against the one that `KUBECONFIG_TEST` names, but for what cannot
//! be asked of a real one: `snapshots`, `chaos` and some others always take the double. `docs/testing.md` tells more.

mod admission;
mod chaos;
mod election;
mod loading;
mod reviews;
mod secrets;
mod snapshots;
mod statuses;

use std::time::{Duration, Instant};

use crate::support::{
    kubernetes::Kubernetes,
    usher::Usher,
    wait::{until, within},
};

/// An AuthConfig that lets all pass, with a header that tells which version of it did.
fn versioned(name: &str, host: &str, version: &str) -> String {
    auth_config(name, host, "authentication: {anyone: {anonymous: {}}}", version)
}

/// An AuthConfig with these rules. Those who pass get a header that tells which version of it let them.
fn auth_config(name: &str, host: &str, rules: &str, version: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    let rules = rules.replace('\n', "\n  ");
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: {name}{namespace}}}
spec:
  hosts: [{host}]
  {rules}
  response: {{success: {{headers: {{x-version: {{plain: {{value: '{version}'}}}}}}}}}}
"
    )
}

/// What passes the schema and does not compile.
const DOES_NOT_COMPILE: &str = "authorization: {digits: {patternMatching: {patterns: [{selector: request.path, operator: \
                                matches, value: '('}]}}}";

/// What is answered to a request for this host: the status, and the version that let it pass.
fn answer(usher: &Usher, host: &str, headers: &[(&str, &str)]) -> Result<String, String> {
    let answer = usher.check(host, headers).map_err(|error| error.to_string())?;
    let version = answer.header("x-version").unwrap_or_default();
    Ok(format!("{} {version}", answer.status).trim_end().to_owned())
}

/// Waits until requests for this host are answered like this: `404`, or `200 VERSION`.
fn until_answer(usher: &Usher, host: &str, expected: &str) {
    until_answer_with(usher, host, &[], expected);
}

/// [`until_answer`] to requests with these headers.
fn until_answer_with(usher: &Usher, host: &str, headers: &[(&str, &str)], expected: &str) {
    until(&format!("`{expected}` for {host}"), || expect(usher, host, headers, expected));
}

fn expect(usher: &Usher, host: &str, headers: &[(&str, &str)], expected: &str) -> Result<(), String> {
    let answer = answer(usher, host, headers)?;
    if answer == expected { Ok(()) } else { Err(format!("it is `{answer}`")) }
}

/// A deleted AuthConfig may be served no longer than this.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Waits until a host that was deleted before `since` is no longer served: soon.
fn until_gone(usher: &Usher, host: &str, since: Instant) {
    let limit = GONE_WITHIN.saturating_sub(since.elapsed());
    within(limit, &format!("the end of {host}"), || expect(usher, host, &[], "404"));
}

/// A server of the test's namespace, which is ready.
fn start(kubernetes: &Kubernetes) -> Usher {
    Usher::start_in_cluster(kubernetes.kubeconfig(), kubernetes.in_namespace())
}

/// Waits until everything that happened before was taken in, and told: a new AuthConfig is served, and has its status.
fn until_all_is_told(kubernetes: &Kubernetes, usher: &Usher, name: &str) {
    let host = format!("{name}.test");
    kubernetes.apply(&versioned(name, &host, "1"));
    until_answer(usher, &host, "200 1");
    kubernetes.until_condition(name, "Ready", "True/Reconciled");
}
