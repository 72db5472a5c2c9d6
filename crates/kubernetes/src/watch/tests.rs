//! The source against a double of the API server.

mod changes;
mod failures;
mod named;
mod restoring;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use usher_api::SecretName;
use usher_source::Change;
use usher_test_support::ApiServer;

use super::*;
use crate::backoff::Backoff;

/// The longest for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A source that runs.
struct Running {
    receiver: mpsc::Receiver<Vec<Change>>,
    follow: Follow,
    health: Arc<Health>,
    task: JoinHandle<io::Result<()>>,
    _kubeconfig: TempDir,
}

fn cluster(api: &ApiServer) -> (Arc<Cluster>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Arc::new(Cluster::from_kubeconfig(vec![api.write_kubeconfig(directory.path())])), directory)
}

/// With labels as in a cluster.
fn options() -> Options {
    Options {
        watch_namespace: None,
        auth_config_label_selector: Selector::default(),
        secret_label_selector: Selector::parse("managed-by=usher").unwrap(),
    }
}

fn timing() -> Timing {
    Timing {
        backoff: Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(100) },
        ..Timing::default()
    }
}

impl Running {
    fn start(api: &ApiServer, options: Options) -> Self {
        Self::start_with(api, options, timing(), None)
    }

    fn start_with(api: &ApiServer, options: Options, timing: Timing, restore: Option<Restore>) -> Self {
        let (cluster, directory) = cluster(api);
        let mut source = Source::new(cluster, options, None, None);
        source.timing = timing;
        Self::of(source, restore, directory)
    }

    fn of(source: Source, restore: Option<Restore>, kubeconfig: TempDir) -> Self {
        let (follow, health) = (source.follow(), source.health());
        let (sender, receiver) = mpsc::channel(4);
        let task = tokio::spawn(source.watch(sender, restore));
        Self { receiver, follow, health, task, _kubeconfig: kubeconfig }
    }

    async fn batch(&mut self) -> Vec<Change> {
        let batch =
            timeout(PATIENCE, self.receiver.recv()).await.expect("a batch in time").expect("a source that runs");
        assert!(!batch.is_empty() && batch.len() <= BATCH);
        batch
    }

    /// What is told next, so many changes.
    async fn changes(&mut self, count: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < count {
            changes.extend(self.batch().await);
        }
        changes
    }

    /// Exactly this is told next, in whatever order.
    async fn tells(&mut self, expected: &[&str]) {
        let told: BTreeSet<_> = self.changes(expected.len()).await.iter().map(short).collect();
        assert_eq!(told, expected.iter().map(|&change| change.to_owned()).collect());
    }

    fn follow(&self, name: &str, followed: bool) {
        self.follow.set(vec![(SecretName::new("ns", name), followed)]);
    }

    /// Waits until the state of a watch is one of these.
    async fn is(&self, watched: Watched, wanted: impl Fn(&WatchState) -> bool) -> WatchState {
        eventually(|| {
            let state = self.health.state(watched);
            if wanted(&state) { Ok(state) } else { Err(format!("{watched}: {state:?}")) }
        })
        .await
    }

    async fn is_connected(&self, watched: Watched) {
        self.is(watched, |state| matches!(state, WatchState::Connected { .. })).await;
    }

    async fn fails(&self, watched: Watched) -> String {
        match self.is(watched, |state| matches!(state, WatchState::Failing { .. })).await {
            WatchState::Failing { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits for a result, in time.
async fn eventually<T>(attempt: impl Fn() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(reason) if begun.elapsed() > PATIENCE => panic!("{reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// A change in a few words.
fn short(change: &Change) -> String {
    let key = |secret: &usher_api::Secret| {
        let key = secret.data.get("key").cloned().unwrap_or_default();
        format!("{}={}", secret.metadata.name, String::from_utf8(key).unwrap())
    };
    match change {
        Change::AuthConfig(object) => {
            let metadata = &object.document.metadata;
            let bad = if object.document.result.is_err() { " (bad)" } else { "" };
            format!("config {} {}{bad}", metadata.id(), metadata.generation.unwrap_or_default())
        }
        Change::AuthConfigGone { namespace, name } => format!("config {namespace}/{name} gone"),
        Change::LabelledSecret(secret) => format!("secret {}", key(secret)),
        Change::LabelledSecretGone { name, .. } => format!("secret {name} gone"),
        Change::NamedSecret { secret: Some(secret), .. } => format!("named {}", key(secret)),
        Change::NamedSecret { name, secret: None } => format!("named {} none", name.name),
        Change::InitialLoadDone => "done".to_owned(),
        other => format!("{other:?}"),
    }
}

fn auth_config(namespace: &str, name: &str, host: &str) -> Value {
    json!({
        "apiVersion": usher_api::API_VERSION, "kind": usher_api::KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"hosts": [host]},
    })
}

fn secret(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": "ns", "name": name}, "stringData": {"key": key},
    })
}

fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

/// A Secret that may hold API keys.
fn api_key(name: &str, key: &str) -> Value {
    labelled(secret(name, key), json!({"managed-by": "usher"}))
}
