//! Which of several replicas writes.
//!
//! Replicas agree by a Lease of `coordination.k8s.io/v1`: whoever is named in it leads, as long as it says so again and
//! again. A replica that cannot say so in time stops leading before anybody else may start; it goes on serving and
//! goes on trying.
//!
//! ```text
//!  get ─ missing ──────────────► create ─┐
//!   │                                    ├─► leading ── update every 2 s ──┐
//!   └─ free, expired, or ours ─► update ─┘      ▲───────────────────────────┘
//!   └─ held by another: wait                    └─ no update for 10 s: not leading
//! ```
//!
//! Times of other machines are not looked at: a Lease has expired when this replica has not seen it change for as long
//! as it is granted. Only `get`, `create` and `update` are asked of the API, which is what the roles of existing
//! installations allow on Leases; ready-made loops write with `patch`.

mod record;

use std::{fs, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::{digest, rand};
use http::{Method, StatusCode};
use prometheus::IntGauge;
use serde_json::Value;
use tokio::{
    select,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use self::record::{Candidate, Holder};
use crate::{
    Cluster,
    backoff::{Backoff, jittered},
    exchange::{self, Failure, JSON, MAX_OBJECT, in_time},
    metrics::ControllerMetrics,
    resources::{LEASES, is_name},
};

/// Whether this replica leads, now and as it changes.
pub type Leadership = watch::Receiver<bool>;

/// A Lease, who wants it, and how long things take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `metadata.namespace` of the Lease.
    pub namespace: String,
    /// `metadata.name` of the Lease.
    pub name: String,
    /// What is written into the Lease: who leads. Different for each replica.
    pub identity: String,
    /// How long others wait, in whole seconds. Default: 15 s.
    pub lease_duration: Duration,
    /// How long this replica leads without being able to write the Lease. Shorter than `lease_duration`. Default: 10 s.
    pub renew_deadline: Duration,
    /// How long between two attempts. Shorter than `renew_deadline`. Default: 2 s.
    pub retry_period: Duration,
}

impl Options {
    /// The Lease of this namespace and name, with the default times.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Leads without asking anybody, for ever: for a replica that is alone.
pub fn always() -> Leadership {
    watch::channel(true).1
}

/// Takes part in the election until the [`Election`] is released or dropped.
///
/// Must be called within a runtime of tokio.
pub fn elect(cluster: Arc<Cluster>, options: Options, metrics: &ControllerMetrics) -> (Leadership, Election) {
    let gauge = metrics.leadership(&options.name);
    gauge.set(0);
    let (leading, leadership) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let candidate = Candidate::new(options.identity.clone(), options.lease_duration);
    let replica = Replica { cluster, options, candidate, ours: None, until: None, leader: None, leading, gauge };
    (leadership, Election { stop, task: Aborted(tokio::spawn(replica.run(stopped))) })
}

/// This replica's part in the election. When it is dropped, the others wait until the Lease has expired.
#[derive(Debug)]
pub struct Election {
    // Dropped first: the task must not take the end of `stop` for a word.
    task: Aborted,
    stop: oneshot::Sender<()>,
}

impl Election {
    /// Stops leading, and says so in the Lease so that nobody has to wait. Takes no longer than some seconds.
    pub async fn release(mut self) {
        // Errors say that the task has ended.
        let _ = self.stop.send(());
        let _ = (&mut self.task.0).await;
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The name of the Lease for servers with this label selector, as text. Servers with different selectors do not get in
/// each other's way.
#[must_use]
pub fn name(label_selector: &str) -> String {
    let hash = digest::digest(&digest::SHA256, label_selector.as_bytes());
    let start: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{start}.authorino.kuadrant.io")
}

/// A name for this process that no other has: the name of the host and a random UUID.
#[must_use]
pub fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("localhost").to_owned();
    format!("{host}_{}", uuid())
}

/// A UUID of version 4.
fn uuid() -> String {
    let mut bytes = [0; 16];
    if rand::fill(&mut bytes).is_err() {
        let time = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        bytes = (time ^ (u128::from(std::process::id()) << 96)).to_be_bytes();
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| hex.get(part).unwrap_or_default().to_owned()).join("-")
}

/// Where Kubernetes tells the containers of a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace that this process is in: that of its pod, else that of the kubeconfig's current context.
///
/// Reads files, waiting for them.
///
/// # Errors
///
/// When neither says so.
pub fn own_namespace(cluster: &Cluster) -> Result<String, NoNamespace> {
    namespace_of(Path::new(NAMESPACE_FILE), cluster)
}

fn namespace_of(file: &Path, cluster: &Cluster) -> Result<String, NoNamespace> {
    let pod = fs::read_to_string(file).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    pod.or_else(|| cluster.context_namespace()).filter(|namespace| is_name(namespace)).ok_or(NoNamespace)
}

/// Nobody says which namespace this process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoNamespace;

impl std::fmt::Display for NoNamespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            "the namespace for the lease is not known: this is not a pod with a service account, and the current context \
             of the kubeconfig names no namespace",
        )
    }
}

impl std::error::Error for NoNamespace {}

/// How many times longer attempts to lead become while they fail.
const LONGEST_PAUSE: u32 = 5;

/// How long giving up the Lease may take.
const RELEASE_TIME: Duration = Duration::from_secs(3);

struct Replica {
    cluster: Arc<Cluster>,
    options: Options,
    candidate: Candidate,
    /// The Lease as this replica wrote it last.
    ours: Option<Value>,
    /// While leading: until when at most.
    until: Option<Instant>,
    /// The other replica that was found to lead last.
    leader: Option<String>,
    leading: watch::Sender<bool>,
    gauge: IntGauge,
}

impl Replica {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut failures: u32 = 0;
        loop {
            let begin = Instant::now();
            // An answer that is lost leaves time for another attempt.
            let patience = self.options.renew_deadline / 2;
            let limit = self.until.map_or(patience, |until| until.saturating_duration_since(begin).min(patience));
            let attempt = select! {
                biased;
                _ = &mut stopped => break,
                attempt = in_time(limit, self.attempt()) => attempt,
            };
            let now = Instant::now();
            match &attempt {
                // What counts is when it was asked: others saw the change afterwards.
                Ok(Holder::Us) => self.lead(begin + self.options.renew_deadline),
                Ok(Holder::Other(other)) => {
                    self.follow(&format_args!("`{other}` leads"));
                    if self.leader.as_ref() != Some(other) {
                        tracing::info!(lease = self.options.name, leader = other, "another replica leads");
                        self.leader = Some(other.clone());
                    }
                }
                Err(failure) if self.until.is_some_and(|until| now >= until) => self.follow(failure),
                Err(_) => {}
            }
            let failure = attempt.err();
            failures = self.count(failures, failure.as_ref());
            let next = self.next_attempt(now, failures, failure.as_ref());
            select! {
                biased;
                _ = &mut stopped => break,
                () = sleep_until(next) => {}
            }
        }
        self.release().await;
    }

    /// How many attempts have failed in a row, this one included. Tells of the first.
    fn count(&self, failures: u32, failure: Option<&Failure>) -> u32 {
        let Some(failure) = failure else { return 0 };
        let Options { namespace, name, .. } = &self.options;
        if failures == 0 {
            tracing::warn!(namespace, name, error = %failure, "cannot take part in the election of a leader; will try again");
        } else {
            tracing::debug!(namespace, name, error = %failure, failures, "still cannot take part in the election");
        }
        failures.saturating_add(1)
    }

    fn next_attempt(&self, now: Instant, failures: u32, failure: Option<&Failure>) -> Instant {
        let period = self.options.retry_period;
        match (self.until, failure) {
            // Who leads has no time to lose.
            (Some(until), _) => until.min(now + period),
            (None, None) => now + jittered(period),
            (None, Some(failure)) => {
                let backoff = Backoff { first: period, longest: period.saturating_mul(LONGEST_PAUSE) };
                now + failure.at_least(jittered(backoff.pause(failures)))
            }
        }
    }

    fn lead(&mut self, until: Instant) {
        self.leader = None;
        if self.until.replace(until).is_none() {
            tracing::info!(lease = self.options.name, "this replica leads and writes the status of AuthConfigs");
            self.gauge.set(1);
            self.leading.send_replace(true);
        }
    }

    fn follow(&mut self, why: &dyn std::fmt::Display) {
        if self.until.take().is_some() {
            tracing::warn!(lease = self.options.name, %why, "this replica no longer leads; it goes on serving");
            self.gauge.set(0);
            self.leading.send_replace(false);
        }
    }

    /// Writes the Lease, if it may.
    async fn attempt(&mut self) -> Result<Holder, Failure> {
        if let Some(ours) = &self.ours {
            let lease = self.candidate.taken(ours);
            match self.write(Method::PUT, lease).await {
                Ok(()) => return Ok(Holder::Us),
                // Somebody else has written it.
                Err(failure) if is_outdated(&failure) => self.ours = None,
                Err(failure) => return Err(failure),
            }
        }
        let result = match self.read().await {
            Ok(found) => match self.candidate.look(&found, Instant::now()) {
                Holder::Us => self.write(Method::PUT, self.candidate.taken(&found)).await,
                other => return Ok(other),
            },
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => {
                let Options { namespace, name, .. } = &self.options;
                self.write(Method::POST, self.candidate.new_lease(namespace, name)).await
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok(()) => Ok(Holder::Us),
            Err(failure) if failure.status() == Some(StatusCode::CONFLICT) => {
                Ok(Holder::Other("another replica".to_owned()))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn read(&self) -> Result<Value, Failure> {
        self.ask(Method::GET, None).await
    }

    async fn write(&mut self, method: Method, lease: Value) -> Result<(), Failure> {
        self.ours = Some(self.ask(method, Some(lease)).await?);
        Ok(())
    }

    async fn ask(&self, method: Method, lease: Option<Value>) -> Result<Value, Failure> {
        let Options { namespace, name, .. } = &self.options;
        let path = match method {
            Method::POST => LEASES.of_namespace(namespace)?,
            _ => LEASES.object(namespace, name)?,
        };
        let request = exchange::request(method, path, lease.map(|lease| (JSON, lease)))?;
        self.cluster.ask(request, LEASES.kind, MAX_OBJECT).await
    }

    /// Gives up the Lease if this replica may hold it.
    async fn release(mut self) {
        if self.until.take().is_none() && self.ours.is_none() {
            return;
        }
        self.gauge.set(0);
        self.leading.send_replace(false);
        let given_up = in_time(RELEASE_TIME, async {
            if let Some(ours) = self.ours.take() {
                match self.ask(Method::PUT, Some(self.candidate.released(&ours))).await {
                    Err(failure) if is_outdated(&failure) => {}
                    result => return result.map(|_| ()),
                }
            }
            let found = self.read().await?;
            if self.candidate.is_holder(&found) {
                self.ask(Method::PUT, Some(self.candidate.released(&found))).await?;
            }
            Ok(())
        });
        match given_up.await {
            Ok(()) => tracing::info!(lease = self.options.name, "this replica no longer leads: it ends"),
            Err(failure) => tracing::warn!(lease = self.options.name, error = %failure, "the lease was not given up"),
        }
    }
}

impl Drop for Replica {
    /// Whoever no longer renews does not lead.
    fn drop(&mut self) {
        self.gauge.set(0);
        self.leading.send_replace(false);
    }
}

/// Whether the API has another version than the one that was to be written, or none.
fn is_outdated(failure: &Failure) -> bool {
    matches!(failure.status(), Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND))
}

#[cfg(test)]
mod tests;
