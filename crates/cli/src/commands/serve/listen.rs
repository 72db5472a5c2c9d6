//! What listens: ports, TLS, and limits of what is asked.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use prometheus::Registry;
use usher_server::{ClientCertificates, Metrics, Running, Tls, TlsSettings, Tracing, admin, ext_authz, oidc, raw_http};

use crate::{
    Error,
    adapters::{Decider, Ready, TokenIssuers},
    ports,
    settings::{ListenAddress, Number, boolean, listen_address},
};

/// What listens, and how.
#[derive(Debug, Args)]
pub(super) struct ListenOptions {
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

    /// Put several `www-authenticate` challenges of a denial into one header, for gateways that keep only one of them.
    #[arg(long, env = "JOIN_CHALLENGES", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    join_challenges: bool,

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

    /// Certificate of the discovery port, a PEM file; read again when it changes.
    #[arg(long, env = "OIDC_TLS_CERT", default_value = "", value_name = "FILE", hide_default_value = true)]
    oidc_tls_cert: String,

    /// Private key of the discovery port, a PEM file.
    #[arg(long, env = "OIDC_TLS_CERT_KEY", default_value = "", value_name = "FILE", hide_default_value = true)]
    oidc_tls_cert_key: String,

    /// Lowest TLS version of the discovery port: 1.2 or 1.3. Empty: 1.2.
    #[arg(long, env = "OIDC_TLS_MIN_VERSION", default_value = "", value_name = "VERSION", hide_default_value = true)]
    oidc_tls_min_version: String,

    /// Highest TLS version of the discovery port: 1.2 or 1.3. Empty: 1.3.
    #[arg(long, env = "OIDC_TLS_MAX_VERSION", default_value = "", value_name = "VERSION", hide_default_value = true)]
    oidc_tls_max_version: String,

    /// Cipher suites of the discovery port for TLS 1.2, by IANA name, separated by commas. Empty: all that are safe.
    #[arg(long, env = "OIDC_TLS_CIPHER_SUITES", value_delimiter = ',', value_name = "NAMES")]
    oidc_tls_cipher_suites: Vec<String>,
}

/// What the ports lead to.
pub(super) struct Served {
    /// Who decides.
    pub(super) decider: Arc<Decider>,
    /// Whose tokens are vouched for.
    pub(super) issuers: Arc<TokenIssuers>,
    /// What probes are told.
    pub(super) ready: Arc<Ready>,
    /// The metrics of the process and of where configuration comes from.
    pub(super) registry: Registry,
    /// The metrics of decisions and servers.
    pub(super) server_registry: Registry,
    /// Where calls are recorded.
    pub(super) tracing: Tracing,
}

/// Opens all ports before anything is answered, so that a port that is taken is known at once.
pub(super) async fn listen(options: &ListenOptions, served: Served) -> Result<Vec<Running>, Error> {
    let Served { decider, issuers, ready, registry, server_registry, tracing } = served;
    let metrics = Metrics::register(&server_registry)?;
    let timeout = match options.timeout.or_default("timeout", 0) {
        0 => None,
        milliseconds => Some(Duration::from_millis(milliseconds)),
    };
    let (grpc_tls, http_tls) = authorization_tls(options)?;
    let at = |port: u16| (port != 0).then(|| SocketAddr::new(options.bind_address, port));

    let grpc_port = options.ext_auth_grpc_port.or_default("ext-auth-grpc-port", 50051);
    let http_port = options.ext_auth_http_port.or_default("ext-auth-http-port", 5001);
    let discovery_port = options.oidc_http_port.or_default("oidc-http-port", 8083);
    let grpc = ports::open("grpc auth", at(grpc_port), grpc_tls).await?;
    let http = ports::open("http auth", at(http_port), http_tls).await?;
    let discovery = ports::open("http oidc", at(discovery_port), discovery_tls(options)?).await?;
    let metrics_listener = ports::open("metrics", options.metrics_addr.0, None).await?;
    let health = ports::open("health", options.health_probe_addr.0, None).await?;

    let mut running = Vec::new();
    running.extend(grpc.map(|listener| {
        let settings = ext_authz::Settings {
            timeout,
            error_response: options.error_response,
            join_challenges: options.join_challenges,
            tracing: tracing.clone(),
        };
        ext_authz::serve(listener, Arc::clone(&decider), ready.clone(), Arc::clone(&metrics), settings)
    }));
    running.extend(http.map(|listener| {
        let max_body_bytes = options.max_http_request_body_size.or_default("max-http-request-body-size", 8192);
        let settings = raw_http::Settings { timeout, max_body_bytes, tracing: tracing.clone() };
        raw_http::serve(listener, decider, Arc::clone(&metrics), settings)
    }));
    running.extend(discovery.map(|listener| oidc::serve(listener, issuers, metrics, tracing)));
    running.extend(metrics_listener.map(|listener| admin::serve_metrics(listener, registry, server_registry)));
    running.extend(health.map(|listener| admin::serve_health(listener, ready)));
    Ok(running)
}

/// TLS for gRPC, where gateways may have to show a certificate, and for plain HTTP, where a certificate is passed on
/// to the rules.
fn authorization_tls(options: &ListenOptions) -> Result<(Option<Tls>, Option<Tls>), Error> {
    let Some(mut settings) = settings(
        (&options.tls_cert, &options.tls_cert_key),
        (&options.tls_min_version, &options.tls_max_version),
        &options.tls_cipher_suites,
    )?
    else {
        if !options.tls_client_ca.is_empty() {
            return Err("`--tls-client-ca` needs `--tls-cert` and `--tls-cert-key`".into());
        }
        return Ok((None, None));
    };
    let mut http_settings = settings.clone();
    http_settings.client_certificates = ClientCertificates::AskedNotVerified;
    if !options.tls_client_ca.is_empty() {
        settings.client_certificates =
            ClientCertificates::Required { authorities: PathBuf::from(&options.tls_client_ca) };
    }
    Ok((Some(Tls::load(settings)?), Some(Tls::load(http_settings)?)))
}

fn discovery_tls(options: &ListenOptions) -> Result<Option<Tls>, Error> {
    let settings = settings(
        (&options.oidc_tls_cert, &options.oidc_tls_cert_key),
        (&options.oidc_tls_min_version, &options.oidc_tls_max_version),
        &options.oidc_tls_cipher_suites,
    )?;
    Ok(settings.map(Tls::load).transpose()?)
}

/// Certificate and key, lowest and highest version, cipher suites.
fn settings(files: (&str, &str), versions: (&str, &str), suites: &[String]) -> Result<Option<TlsSettings>, Error> {
    let Some(mut settings) = Tls::settings(PathBuf::from(files.0), PathBuf::from(files.1))? else { return Ok(None) };
    versions.0.clone_into(&mut settings.min_version);
    versions.1.clone_into(&mut settings.max_version);
    settings.cipher_suites = suites.iter().filter(|name| !name.is_empty()).cloned().collect();
    Ok(Some(settings))
}
