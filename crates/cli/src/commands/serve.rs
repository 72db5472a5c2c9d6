//! `usher serve`: everything that listens, and the loop that keeps it up to date.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use prometheus::{Registry, process_collector::ProcessCollector};
use tokio::{runtime::Handle, signal::unix::SignalKind, sync::mpsc};
use usher_compile::Workspace;
use usher_server::{
    ClientCertificates, Listener, ListenerSettings, Metrics, Running, Tls, admin, ext_authz, oidc, raw_http,
};

use super::options::ConfigOptions;
use crate::{
    adapters::{Decider, Ready, TokenIssuers},
    exit::Exit,
    redact::{RedactOptions, Redaction},
    runtime,
    settings::{ListenAddress, Number, boolean, listen_address},
    telemetry::{self, LogMode},
};

/// Serve authorization decisions.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigOptions,

    /// Address that the authorization ports listen at.
    #[arg(long, env = "BIND_ADDRESS", default_value = "::", value_name = "ADDRESS")]
    bind_address: IpAddr,

    /// Port of Envoy's external authorization over gRPC; 0: off. Default: 50051.
    #[arg(long, env = "EXT_AUTH_GRPC_PORT", default_value = "50051", value_name = "PORT")]
    ext_auth_grpc_port: Number<u16>,

    /// Port of the plain HTTP check; 0: off. Default: 5001.
    #[arg(long, env = "EXT_AUTH_HTTP_PORT", default_value = "5001", value_name = "PORT")]
    ext_auth_http_port: Number<u16>,

    /// Port of the discovery documents of tokens that rules issue; 0: off. Default: 8083.
    #[arg(long, env = "OIDC_HTTP_PORT", default_value = "8083", value_name = "PORT")]
    oidc_http_port: Number<u16>,

    /// Where metrics are served; 0: nowhere.
    #[arg(long, default_value = ":8080", value_parser = listen_address, value_name = "ADDRESS")]
    metrics_addr: ListenAddress,

    /// Where probes are answered; 0: nowhere.
    #[arg(long, default_value = ":8081", value_parser = listen_address, value_name = "ADDRESS")]
    health_probe_addr: ListenAddress,

    /// The most milliseconds that a check may take; 0: only the caller's own limit counts. Default: 0.
    #[arg(long, env = "TIMEOUT", default_value = "0", value_name = "MILLISECONDS")]
    timeout: Number<u64>,

    /// Longest body of a plain HTTP check, in bytes. Default: 8192.
    #[arg(long, env = "MAX_HTTP_REQUEST_BODY_SIZE", default_value = "8192", value_name = "BYTES")]
    max_http_request_body_size: Number<usize>,

    /// Tell the gateway *could not decide* apart from *denied* (`error_response`; Envoy 1.37 or later).
    #[arg(long, env = "ERROR_RESPONSE", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    error_response: bool,

    /// Certificate of the authorization ports, a PEM file; read again when it changes.
    #[arg(long, env = "TLS_CERT", default_value = "", value_name = "FILE", hide_default_value = true)]
    tls_cert: String,

    /// Private key of the authorization ports, a PEM file.
    #[arg(long, env = "TLS_CERT_KEY", default_value = "", value_name = "FILE", hide_default_value = true)]
    tls_cert_key: String,

    /// Lowest TLS version of the authorization ports: 1.2 or 1.3. Empty: 1.2.
    #[arg(long, env = "TLS_MIN_VERSION", default_value = "", value_name = "VERSION", hide_default_value = true)]
    tls_min_version: String,

    /// Highest TLS version of the authorization ports: 1.2 or 1.3. Empty: 1.3.
    #[arg(long, env = "TLS_MAX_VERSION", default_value = "", value_name = "VERSION", hide_default_value = true)]
    tls_max_version: String,

    /// Cipher suites for TLS 1.2, by IANA name, separated by commas. Empty: all that are safe.
    #[arg(long, env = "TLS_CIPHER_SUITES", value_delimiter = ',', value_name = "NAMES")]
    tls_cipher_suites: Vec<String>,

    /// Authorities, a PEM file: gateways must show a certificate of one of them on the gRPC port.
    #[arg(long, env = "TLS_CLIENT_CA", default_value = "", value_name = "FILE", hide_default_value = true)]
    tls_client_ca: String,

    /// The most seconds to wait for running checks and callbacks when the process is asked to end. Default: 20.
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "20", value_name = "SECONDS")]
    shutdown_grace: Number<u64>,

    /// What is logged: debug, info, warn or error.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,

    /// How log lines look: production (JSON) or development.
    #[arg(long, env = "LOG_MODE", default_value = "production", ignore_case = true)]
    log_mode: LogMode,

    #[command(flatten)]
    redact: RedactOptions,
}

/// Runs the command until the process is asked to end.
pub(crate) fn run(arguments: Arguments) -> Exit {
    telemetry::start(&arguments.log_level, arguments.log_mode);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = crate::chain(&error), "cannot start");
            return Exit::Invalid;
        }
    };
    let ended = runtime.block_on(serve(arguments));
    // What still runs in the background has nothing to finish.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(error = crate::chain(&*error), "cannot start");
            Exit::Invalid
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn serve(arguments: Arguments) -> Result<(), Error> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "build information");
    let (registry, server_registry) = (Registry::new(), Registry::new());
    for registry in [&registry, &server_registry] {
        registry.register(Box::new(ProcessCollector::for_self()))?;
    }
    let compiler = runtime::compiler(arguments.config.compiler_options(), &server_registry)?;
    let resources = Arc::clone(&compiler.resources);
    let workspace = Workspace::new(compiler, arguments.config.allow_superseding_host_subsets);
    let (decider, ready) = (Arc::new(Decider::new(Redaction::new(&arguments.redact))), Arc::new(Ready::default()));

    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let issuers = Arc::new(TokenIssuers::default());
    let running = listen(&arguments, &decider, &issuers, &ready, &registry, &server_registry).await?;

    let (sender, receiver) = mpsc::channel(16);
    let source = arguments.config.source();
    let mut watch = tokio::spawn(source.watch(sender));
    let handle = Handle::current();
    let (decider_of_changes, ready_of_changes) = (Arc::clone(&decider), Arc::clone(&ready));
    let mut take_in = tokio::task::spawn_blocking(move || {
        runtime::take_in(receiver, workspace, &resources, &decider_of_changes, &issuers, &ready_of_changes, &handle);
    });

    // Without its configuration loop the process would serve old rules for ever and look healthy: it ends instead.
    let ended: Result<(), Error> = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        watched = &mut watch => Err(match watched {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => "the source of configuration ended".into(),
            Err(error) => error.into(),
        }),
        taken_in = &mut take_in => Err(match taken_in {
            Ok(()) => "taking in configuration ended".into(),
            Err(error) => error.into(),
        }),
    };
    tracing::info!("draining");
    watch.abort();
    let grace = Duration::from_secs(arguments.shutdown_grace.or_default("shutdown-grace", 20));
    let drained = running.into_iter().map(|server| server.shutdown(grace));
    let started = Instant::now();
    let drain_all = async {
        let cut: usize = futures_util::future::join_all(drained).await.into_iter().sum();
        (cut, decider.callbacks.flush(grace.saturating_sub(started.elapsed())).await)
    };
    let (cut, callbacks_dropped) = tokio::select! {
        stopped = drain_all => stopped,
        _ = terminate.recv() => return ended,
        _ = interrupt.recv() => return ended,
    };
    tracing::info!(cut, callbacks_dropped, "stopped");
    ended
}

/// Opens all ports before anything is answered, so that a port that is taken is known at once.
async fn listen(
    arguments: &Arguments,
    decider: &Arc<Decider>,
    issuers: &Arc<TokenIssuers>,
    ready: &Arc<Ready>,
    registry: &Registry,
    server_registry: &Registry,
) -> Result<Vec<Running>, Error> {
    let metrics = Metrics::register(server_registry)?;
    let timeout = match arguments.timeout.or_default("timeout", 0) {
        0 => None,
        milliseconds => Some(Duration::from_millis(milliseconds)),
    };
    let (grpc_tls, http_tls) = tls(arguments)?;
    let at = |port: u16| SocketAddr::new(arguments.bind_address, port);

    let grpc =
        bind("grpc auth", arguments.ext_auth_grpc_port.or_default("ext-auth-grpc-port", 50051), at, grpc_tls).await?;
    let http =
        bind("http auth", arguments.ext_auth_http_port.or_default("ext-auth-http-port", 5001), at, http_tls).await?;
    let discovery = bind("http oidc", arguments.oidc_http_port.or_default("oidc-http-port", 8083), at, None).await?;
    let metrics_listener = bind_address("metrics", arguments.metrics_addr).await?;
    let health = bind_address("health", arguments.health_probe_addr).await?;

    let readiness: Arc<dyn usher_server::Readiness> = ready.clone();
    let mut running = Vec::new();
    running.extend(grpc.map(|listener| {
        let settings = ext_authz::Settings { timeout, error_response: arguments.error_response };
        ext_authz::serve(listener, Arc::clone(decider), Arc::clone(&readiness), Arc::clone(&metrics), settings)
    }));
    running.extend(http.map(|listener| {
        let max_body_bytes = arguments.max_http_request_body_size.or_default("max-http-request-body-size", 8192);
        let settings = raw_http::Settings { timeout, max_body_bytes };
        raw_http::serve(listener, Arc::clone(decider), Arc::clone(&metrics), settings)
    }));
    let issuers: Arc<dyn oidc::Issuers> = issuers.clone();
    running.extend(discovery.map(|listener| oidc::serve(listener, issuers, Arc::clone(&metrics))));
    running.extend(
        metrics_listener.map(|listener| admin::serve_metrics(listener, registry.clone(), server_registry.clone())),
    );
    running.extend(health.map(|listener| admin::serve_health(listener, readiness)));
    Ok(running)
}

/// TLS for gRPC, where gateways may have to show a certificate, and for plain HTTP, where a certificate is passed on
/// to the rules.
fn tls(arguments: &Arguments) -> Result<(Option<Tls>, Option<Tls>), Error> {
    let Some(mut settings) = Tls::settings(PathBuf::from(&arguments.tls_cert), PathBuf::from(&arguments.tls_cert_key))?
    else {
        if !arguments.tls_client_ca.is_empty() {
            return Err("`--tls-client-ca` needs `--tls-cert` and `--tls-cert-key`".into());
        }
        return Ok((None, None));
    };
    settings.min_version.clone_from(&arguments.tls_min_version);
    settings.max_version.clone_from(&arguments.tls_max_version);
    settings.cipher_suites = arguments.tls_cipher_suites.iter().filter(|name| !name.is_empty()).cloned().collect();
    let mut http_settings = settings.clone();
    http_settings.client_certificates = ClientCertificates::AskedNotVerified;
    if !arguments.tls_client_ca.is_empty() {
        settings.client_certificates =
            ClientCertificates::Required { authorities: PathBuf::from(&arguments.tls_client_ca) };
    }
    Ok((Some(Tls::load(settings)?), Some(Tls::load(http_settings)?)))
}

async fn bind(
    service: &str,
    port: u16,
    at: impl Fn(u16) -> SocketAddr,
    tls: Option<Tls>,
) -> Result<Option<Listener>, Error> {
    if port == 0 {
        tracing::info!("disabling {service} service");
        return Ok(None);
    }
    let with_tls = tls.is_some();
    let listener = Listener::bind(ListenerSettings::new(at(port)).with_tls(tls)).await?;
    tracing::info!(address = %listener.address(), tls = with_tls, "starting {service} service");
    Ok(Some(listener))
}

async fn bind_address(service: &str, address: ListenAddress) -> Result<Option<Listener>, Error> {
    let Some(address) = address.0 else {
        tracing::info!("disabling {service} service");
        return Ok(None);
    };
    let listener = Listener::bind(ListenerSettings::new(address)).await?;
    tracing::info!(address = %listener.address(), "starting {service} service");
    Ok(Some(listener))
}
