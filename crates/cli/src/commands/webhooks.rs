//! `usher webhooks`: a validating admission webhook, which refuses AuthConfigs that would not compile.

mod review;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use prometheus::{Registry, process_collector::ProcessCollector};
use tokio::signal::unix::SignalKind;
use usher_server::{
    Listener, ListenerSettings, Readiness, ReadinessCheck, Running, Tls, TlsSettings, admin,
    admission::{self, WebhookMetrics},
};

use self::review::{AUTH_CONFIGS, AuthConfigs};
use crate::{
    Error,
    exit::Exit,
    logs::LogOptions,
    ports,
    settings::{ListenAddress, listen_address},
};

/// Refuse AuthConfigs that would not compile: a validating admission webhook of Kubernetes.
///
/// Says what `validate` would say, before anything is stored. Needs no access to the cluster and calls nothing.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address that the webhook listens at.
    #[arg(long, env = "BIND_ADDRESS", default_value = "::", value_name = "ADDRESS")]
    bind_address: IpAddr,

    /// Port of the webhook, HTTPS.
    #[arg(long, default_value_t = 9443)]
    port: u16,

    /// Certificate of the webhook, a PEM file; read again when it changes.
    #[arg(long, env = "TLS_CERT", default_value = CERTIFICATE, value_name = "FILE")]
    tls_cert: String,

    /// Private key of the webhook, a PEM file.
    #[arg(long, env = "TLS_CERT_KEY", default_value = KEY, value_name = "FILE")]
    tls_cert_key: String,

    /// Lowest TLS version: 1.2 or 1.3. Empty: 1.2.
    #[arg(long, env = "TLS_MIN_VERSION", default_value = "", value_name = "VERSION", hide_default_value = true)]
    tls_min_version: String,

    /// Where metrics are served; 0: nowhere.
    #[arg(long, default_value = ":8080", value_parser = listen_address, value_name = "ADDRESS")]
    metrics_addr: ListenAddress,

    /// Where probes are answered; 0: nowhere.
    #[arg(long, default_value = ":8081", value_parser = listen_address, value_name = "ADDRESS")]
    health_probe_addr: ListenAddress,

    #[command(flatten)]
    logs: LogOptions,
}

/// Where the certificates of webhooks are mounted by custom.
const CERTIFICATE: &str = "/tmp/k8s-webhook-server/serving-certs/tls.crt";
const KEY: &str = "/tmp/k8s-webhook-server/serving-certs/tls.key";

/// How long running reviews are waited for at the end; they have less time than that.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Runs the command until the process is asked to end.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    arguments.logs.start();
    match run_to_end(arguments) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(error = crate::chain(&*error), "ended by an error");
            Exit::Invalid
        }
    }
}

fn run_to_end(arguments: &Arguments) -> Result<(), Error> {
    // Made outside of the runtime: what is compiled without one fetches nothing.
    let auth_configs = AuthConfigs::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(arguments, auth_configs));
    runtime.shutdown_background();
    ended
}

async fn serve(arguments: &Arguments, auth_configs: AuthConfigs) -> Result<(), Error> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), cmd = "webhooks", "build information");
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let running = listen(arguments, auth_configs).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    let drained = futures_util::future::join_all(running.into_iter().map(|server| server.shutdown(SHUTDOWN_GRACE)));
    tokio::select! {
        cut = drained => tracing::info!(cut = cut.into_iter().sum::<usize>(), "stopped"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Opens all ports before anything is answered. The webhook is the first of what runs.
async fn listen(arguments: &Arguments, auth_configs: AuthConfigs) -> Result<Vec<Running>, Error> {
    let (registry, server_registry) = (Registry::new(), Registry::new());
    for registry in [&registry, &server_registry] {
        registry.register(Box::new(ProcessCollector::for_self()))?;
    }
    let metrics = WebhookMetrics::register(&registry)?;
    // A variable that is set but empty means the default.
    let file = |path: &str, default: &str| PathBuf::from(if path.is_empty() { default } else { path });
    let tls = Tls::load(TlsSettings {
        certificate: file(&arguments.tls_cert, CERTIFICATE),
        key: file(&arguments.tls_cert_key, KEY),
        min_version: arguments.tls_min_version.clone(),
        ..TlsSettings::default()
    })?;
    let address = (arguments.bind_address, arguments.port).into();
    let webhook = Listener::bind(ListenerSettings::new(address).with_tls(Some(tls))).await?;
    let metrics_listener = ports::open("metrics", arguments.metrics_addr.0, None).await?;
    let health = ports::open("health", arguments.health_probe_addr.0, None).await?;

    tracing::info!(address = %webhook.address(), path = AUTH_CONFIGS.path(), "starting webhook service");
    let settings = admission::Settings::default();
    let webhook = admission::serve(webhook, AUTH_CONFIGS, Arc::new(auth_configs), &metrics, settings)?;
    let mut running = vec![webhook];
    running.extend(metrics_listener.map(|listener| admin::serve_metrics(listener, registry, server_registry)));
    running.extend(health.map(|listener| admin::serve_health(listener, Arc::new(Serving))));
    Ok(running)
}

/// The webhook answers from the moment on in which probes are answered: it has nothing to wait for.
#[derive(Debug)]
struct Serving;

impl Readiness for Serving {
    fn checks(&self) -> Vec<ReadinessCheck> {
        vec![ReadinessCheck { name: "webhook", by_default: true, result: Ok(()), note: None }]
    }
}

#[cfg(test)]
mod tests;
