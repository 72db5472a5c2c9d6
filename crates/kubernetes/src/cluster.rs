//! Where the Kubernetes API is, and the client for it.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Uri, header::USER_AGENT};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{Context, KubeConfigOptions, Kubeconfig},
};
use tokio::{
    runtime::Handle,
    sync::{self, OnceCell, Semaphore},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::metrics::{ControllerMetrics, CountRequests};

/// The Kubernetes API of one cluster.
///
/// Configuration and credentials are read when they are needed first; if that fails, again later
/// ([`Cluster::SET_UP_PAUSE`]). Tokens in files are read again by the client as they change. Proxies of the environment
/// are not used.
pub struct Cluster {
    source: Source,
    metrics: Option<Arc<ControllerMetrics>>,
    client: OnceCell<Client>,
    /// The attempt to make the client that is under way. Whoever waits for it may give up; the next goes on waiting.
    attempt: sync::Mutex<Option<JoinHandle<Result<Client, NoClient>>>>,
    failure: Mutex<Option<(Instant, NoClient)>>,
    /// A review needs one of these.
    pub(crate) reviews: Semaphore,
}

/// Where the configuration is.
#[derive(Debug, Clone)]
enum Source {
    /// In these files, of which the first that says something counts.
    Kubeconfig(Vec<PathBuf>),
    /// Where Kubernetes puts it into the containers of a pod.
    InCluster,
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoClient(String);

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

impl Cluster {
    /// How long a configuration that cannot be read is not tried again.
    pub const SET_UP_PAUSE: Duration = Duration::from_secs(5);

    /// How many reviews may be under way at a time.
    pub const CONCURRENCY: usize = 64;

    /// The cluster that the environment names: with `KUBECONFIG`, a list of files separated as in `PATH`, of which the
    /// current context counts; else with `KUBERNETES_SERVICE_HOST`, as in every pod. None if neither is set. Nothing is
    /// read yet.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        Self::named_by(env::var_os("KUBECONFIG"), env::var_os("KUBERNETES_SERVICE_HOST"))
    }

    fn named_by(kubeconfig: Option<OsString>, service_host: Option<OsString>) -> Option<Self> {
        let files: Vec<_> = kubeconfig.iter().flat_map(env::split_paths).collect();
        let files: Vec<_> = files.into_iter().filter(|file| !file.as_os_str().is_empty()).collect();
        if !files.is_empty() {
            return Some(Self::from_kubeconfig(files));
        }
        service_host.filter(|host| !host.is_empty()).map(|_| Self::new(Source::InCluster))
    }

    /// The cluster that is the current context of these files. Nothing is read yet.
    #[must_use]
    pub fn from_kubeconfig(files: Vec<PathBuf>) -> Self {
        Self::new(Source::Kubeconfig(files))
    }

    fn new(source: Source) -> Self {
        let reviews = Semaphore::new(Self::CONCURRENCY);
        let (client, attempt, failure) = (OnceCell::new(), sync::Mutex::default(), Mutex::default());
        Self { source, metrics: None, client, attempt, failure, reviews }
    }

    /// The cluster that this client speaks to.
    #[cfg(test)]
    pub(crate) fn of_client(client: Client) -> Self {
        Self { client: OnceCell::new_with(Some(client)), ..Self::from_kubeconfig(Vec::new()) }
    }

    /// The same cluster, with its requests counted.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<ControllerMetrics>) -> Self {
        Self { metrics: Some(metrics), ..Self::new(self.source) }
    }

    /// The namespace of the kubeconfig's current context. Reads the files, waiting for them.
    pub(crate) fn context_namespace(&self) -> Option<String> {
        let Source::Kubeconfig(files) = &self.source else { return None };
        let kubeconfig = merged(files).ok()?;
        current(&kubeconfig)?.namespace.clone().filter(|namespace| !namespace.is_empty())
    }

    /// The client.
    pub(crate) async fn client(&self) -> Result<&Client, NoClient> {
        self.client
            .get_or_try_init(|| async {
                let recent = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((_, failure)) = recent.filter(|(at, _)| at.elapsed() < Self::SET_UP_PAUSE) {
                    return Err(failure);
                }
                let mut attempt = self.attempt.lock().await;
                let result = attempt.get_or_insert_with(|| self.set_up()).await;
                *attempt = None;
                let result = result.unwrap_or_else(|error| Err(NoClient::of(error)));
                let failure = result.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
                result
            })
            .await
    }

    fn set_up(&self) -> JoinHandle<Result<Client, NoClient>> {
        let source = self.source.clone();
        let metrics = self.metrics.clone();
        // Files are read, and a kubeconfig may name a program that makes credentials, for as long as it likes.
        spawn_blocking(move || {
            let mut config = match source {
                Source::Kubeconfig(files) => from_files(&files)?,
                Source::InCluster => Config::incluster().map_err(NoClient::of)?,
            };
            config.connect_timeout = Some(CONNECT_TIME);
            // Whoever asks has a time limit, and the answer "too many requests" is an answer.
            config.default_retry = false;
            config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION")))));
            if config.accept_invalid_certs {
                tracing::warn!("the kubeconfig says that anybody may pass for the Kubernetes API");
            }
            let host = host(&config.cluster_url);
            let count = CountRequests::new(metrics.as_deref(), &host);
            let client = ClientBuilder::try_from(config).map_err(NoClient::of)?.with_layer(&count).build();
            tracing::info!(host, "the Kubernetes API is here");
            Ok(client)
        })
    }
}

/// Name and port, as far as they are given.
fn host(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn from_files(files: &[PathBuf]) -> Result<Config, NoClient> {
    let kubeconfig = merged(files)?;
    if names_proxy(&kubeconfig) {
        return Err(NoClient("`proxy-url` is not supported".to_owned()));
    }
    let mut config = Handle::current()
        .block_on(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()))
        .map_err(NoClient::of)?;
    // What is left is that of the environment.
    config.proxy_url = None;
    Ok(config)
}

fn merged(files: &[PathBuf]) -> Result<Kubeconfig, NoClient> {
    let kubeconfig = files.iter().try_fold(Kubeconfig::default(), |merged, file| {
        Kubeconfig::read_from(file).and_then(|next| merged.merge(next))
    });
    kubeconfig.map_err(NoClient::of)
}

fn current(kubeconfig: &Kubeconfig) -> Option<&Context> {
    let current = kubeconfig.contexts.iter().find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    current.and_then(|named| named.context.as_ref())
}

/// Whether the cluster of the current context is to be reached through a proxy.
fn names_proxy(kubeconfig: &Kubeconfig) -> bool {
    let name = current(kubeconfig).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|cluster| Some(&cluster.name) == name);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()).and_then(|cluster| cluster.proxy_url.as_ref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

impl NoClient {
    /// An error with its causes.
    fn of(error: impl std::error::Error) -> Self {
        Self(chain(&error))
    }
}

/// An error with its causes, as far as they say something new: some errors repeat their cause.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for NoClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the Kubernetes API cannot be asked: {}", self.0)
    }
}

impl std::error::Error for NoClient {}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_files_or_the_pods_own_cluster_or_none() {
        let cases = [
            (None, None, None),
            (Some(""), Some(""), None),
            (Some(":"), None, None),
            (Some("/a:/b"), Some("10.0.0.1"), Some(r#"Kubeconfig(["/a", "/b"])"#)),
            (Some(""), Some("10.0.0.1"), Some("InCluster")),
            (None, Some("10.0.0.1"), Some("InCluster")),
        ];
        for (kubeconfig, host, expected) in cases {
            let cluster = Cluster::named_by(kubeconfig.map(Into::into), host.map(Into::into));
            let source = cluster.map(|cluster| format!("{:?}", cluster.source));
            assert_eq!(source.as_deref(), expected, "{kubeconfig:?} {host:?}");
        }
    }
}
