//! Where configuration comes from: files, or a Kubernetes cluster.

use std::{env, io, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use prometheus::Registry;
use tokio::{sync::mpsc, task::JoinHandle};
use usher_evaluators::{
    Secrets,
    resources::kubernetes::{Kubernetes, Rate, Reviews},
};
use usher_kubernetes::{
    Cluster, ControllerMetrics, lease, status,
    watch::{self, Health},
};
use usher_source::{Change, directory, snapshot::SnapshotWriter};

use super::super::options::ConfigOptions;
use crate::{
    Error,
    cluster::{ClusterSide, SnapshotKeeper},
    runtime::CompilerOptions,
    settings::{Number, boolean},
};

/// How the cluster is spoken to.
#[derive(Debug, Args)]
pub(super) struct ClusterOptions {
    /// Of several replicas, let only the one that holds a Lease write statuses.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    enable_leader_election: bool,

    /// How often a second each rule may ask the Kubernetes API to review something; 0: as often as it wants. Default: 20.
    #[arg(long, env = "KUBE_CLIENT_QPS", default_value = "20", value_name = "NUMBER")]
    kube_client_qps: Number<f64>,

    /// How often at once, after a rest, each rule may ask the Kubernetes API to review something. Default: 30.
    #[arg(long, env = "KUBE_CLIENT_BURST", default_value = "30", value_name = "NUMBER")]
    kube_client_burst: Number<u32>,

    /// A folder where the configuration that is served is kept, to be served at the next start should the Kubernetes API
    /// be away then. Holds Secrets as they are, in a file that only this user can read.
    #[arg(long, env = "SNAPSHOT_DIR", default_value = "", value_name = "FOLDER", hide_default_value = true)]
    snapshot_dir: String,

    /// Without effect; for deployments that give it. Webhooks are served by `usher webhooks`.
    #[arg(long, hide = true, value_name = "PORT")]
    webhook_service_port: Option<String>,

    /// Without effect; for deployments that give it. Profiles are not served.
    #[arg(long, hide = true, value_name = "ADDRESS")]
    pprof_bind_address: Option<String>,
}

/// A source of configuration, before it has told anything.
pub(super) enum Source {
    /// Files.
    Directory(directory::Source),
    /// A cluster.
    Cluster(Box<ClusterSource>),
}

/// A cluster as the source of configuration, with all that goes with it.
pub(super) struct ClusterSource {
    cluster: Arc<Cluster>,
    source: watch::Source,
    writer: status::Writer,
    side: ClusterSide,
    election: Option<lease::Election>,
}

/// A source that tells.
pub(super) struct Started {
    /// Ends when the source does.
    pub(super) watch: JoinHandle<io::Result<()>>,
    /// Who else is told of what comes from a cluster.
    pub(super) cluster: Option<ClusterSide>,
    /// What runs beside a cluster as the source.
    pub(super) beside: Option<Beside>,
}

/// What runs beside the source, to be ended when the process ends.
pub(super) struct Beside {
    election: Option<lease::Election>,
    writer: JoinHandle<()>,
    snapshot: Option<Arc<SnapshotWriter>>,
}

impl Source {
    /// The source that the flags name.
    pub(super) fn new(
        paths: &[PathBuf],
        config: &ConfigOptions,
        options: &ClusterOptions,
        registry: &Registry,
    ) -> Result<Self, Error> {
        for (flag, given) in [
            ("webhook-service-port", &options.webhook_service_port),
            ("pprof-bind-address", &options.pprof_bind_address),
        ] {
            if given.is_some() {
                tracing::info!(flag, "this flag has no effect");
            }
        }
        if paths.is_empty() {
            return ClusterSource::new(config, options, registry).map(|source| Self::Cluster(Box::new(source)));
        }
        for (flag, given) in [
            ("enable-leader-election", options.enable_leader_election),
            ("snapshot-dir", !options.snapshot_dir.is_empty()),
        ] {
            if given {
                return Err(
                    format!("`--{flag}` is for configuration from a cluster: it does not go with `--config`").into()
                );
            }
        }
        Ok(Self::Directory(config.directory(paths)))
    }

    /// How what the source tells is compiled.
    pub(super) fn compiler_options(&self, config: &ConfigOptions, options: &ClusterOptions) -> CompilerOptions {
        match self {
            Self::Directory(_) => {
                CompilerOptions { kubernetes: options.limited(config.reviews()), ..config.for_files() }
            }
            Self::Cluster(source) => {
                // Loopback is the pod itself, and those who write AuthConfigs are not those who run it.
                config.compiler_options(options.limited(Some(source.cluster.clone() as Arc<dyn Reviews>)), false)
            }
        }
    }

    /// How Secrets that AuthConfigs name are found.
    pub(super) fn secrets(&self) -> Secrets {
        match self {
            Self::Directory(_) => Secrets::complete(),
            Self::Cluster(_) => Secrets::on_demand(),
        }
    }

    /// How the watches are doing, if there are any.
    pub(super) fn health(&self) -> Option<Arc<Health>> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(source) => Some(source.source.health()),
        }
    }

    /// Starts to tell.
    pub(super) fn start(self, sender: mpsc::Sender<Vec<Change>>) -> Started {
        match self {
            Self::Directory(source) => {
                Started { watch: tokio::spawn(source.watch(sender)), cluster: None, beside: None }
            }
            Self::Cluster(source) => {
                let ClusterSource { source, writer, side, election, .. } = *source;
                let restore = side.snapshot.as_ref().map(SnapshotKeeper::restore);
                let snapshot = side.snapshot.as_ref().map(SnapshotKeeper::writer);
                let beside = Beside { election, writer: tokio::spawn(writer.run()), snapshot };
                let watch = tokio::spawn(source.watch(sender, restore));
                Started { watch, cluster: Some(side), beside: Some(beside) }
            }
        }
    }
}

impl ClusterSource {
    /// Takes part in the election at once, so it must be called within a runtime.
    fn new(config: &ConfigOptions, options: &ClusterOptions, registry: &Registry) -> Result<Self, Error> {
        let metrics = ControllerMetrics::register(registry)?;
        let cluster = Cluster::from_environment().or_else(|| {
            let file = PathBuf::from(env::var_os("HOME")?).join(".kube/config");
            file.is_file().then(|| Cluster::from_kubeconfig(vec![file]))
        });
        let Some(cluster) = cluster else {
            return Err("there is no configuration: give `--config`, or set KUBECONFIG, or run in a pod".into());
        };
        let cluster = Arc::new(cluster.with_metrics(Arc::clone(&metrics)));
        let (leadership, election) = match options.enable_leader_election {
            true => {
                let name = lease::name(&config.auth_config_label_selector.to_string());
                let lease = lease::Options::new(lease::own_namespace(&cluster)?, name, lease::identity());
                let (leadership, election) = lease::elect(Arc::clone(&cluster), lease, &metrics);
                (leadership, Some(election))
            }
            false => (lease::always(), None),
        };
        let snapshot = match options.snapshot_dir.as_str() {
            "" => None,
            // What is kept for a bad day must not make one.
            folder => SnapshotKeeper::open(folder.as_ref())
                .inspect_err(|error| tracing::error!(error = crate::chain(error), "no snapshot is kept"))
                .ok(),
        };
        let settings = status::Settings::default();
        let (writer, status) = status::Writer::new(Arc::clone(&cluster), leadership, Arc::clone(&metrics), &settings);
        let watched = watch::Options {
            watch_namespace: config.namespace(),
            auth_config_label_selector: config.auth_config_label_selector.clone(),
            secret_label_selector: config.secret_label_selector.clone(),
        };
        let source =
            watch::Source::new(Arc::clone(&cluster), watched, Some(status.clone()), Some(Arc::clone(&metrics)));
        let side = ClusterSide { follow: source.follow(), status, metrics, health: source.health(), snapshot };
        Ok(Self { cluster, source, writer, side, election })
    }
}

impl ClusterOptions {
    /// The Kubernetes API for rules, which may ask only so often.
    fn limited(&self, reviews: Option<Arc<dyn Reviews>>) -> Kubernetes {
        let burst =
            NonZeroU32::new(self.kube_client_burst.or_default("kube-client-burst", 30)).unwrap_or(NonZeroU32::MIN);
        let per_second = self.kube_client_qps.or_default("kube-client-qps", 20.0);
        Kubernetes { reviews, rate: (per_second > 0.0).then_some(Rate { per_second, burst }) }
    }
}

/// How long the snapshot may take to be finished.
const SNAPSHOT_TIME: Duration = Duration::from_secs(5);

impl Beside {
    /// Gives up the Lease, so that another replica need not wait, and finishes the snapshot.
    pub(super) async fn end(self) {
        self.writer.abort();
        if let Some(election) = self.election {
            election.release().await;
        }
        if let Some(snapshot) = self.snapshot {
            let finished = tokio::task::spawn_blocking(move || snapshot.flush_and_stop(SNAPSHOT_TIME)).await;
            if !finished.unwrap_or(false) {
                tracing::warn!("the snapshot lacks what changed last");
            }
        }
    }
}
