//! A real Envoy in front of the program under test.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    http::{Request, Response},
    parts,
    process::Process,
    upstream::Upstream,
    usher::Usher,
    wait::until,
};

/// Stands in a bootstrap for the path of the access log.
pub(crate) const ACCESS_LOG: &str = "{ACCESS_LOG}";

/// How an Envoy is set up, apart from the usual.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// `with_request_body` of the filter: whether and how bodies are passed on to the check.
    pub(crate) with_request_body: Option<Value>,
    /// PEM file: speak TLS to the program under test, whose certificate must come from this authority.
    pub(crate) certificate_authority: Option<PathBuf>,
    /// `validate_mutations` of the filter: whether answers with odd headers or query parameters are refused.
    pub(crate) validate_mutations: bool,
    /// Speak TLS to clients, and pass their certificates on to the check.
    pub(crate) client_tls: Option<ClientTls>,
    /// The port of a collector: record all requests, as the service `envoy`.
    pub(crate) collector: Option<u16>,
}

/// How TLS is spoken to clients. All are PEM files.
#[derive(Debug)]
pub(crate) struct ClientTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients need no certificate; one that they show must come from these.
    pub(crate) client_authorities: PathBuf,
}

/// A running Envoy.
///
/// | path | what its route does |
/// | --- | --- |
/// | `/open…` | no check |
/// | `/renamed…` | the context extension `host` is `talker.test` |
/// | all others | check; the member `subject.name` of the dynamic metadata goes to the header `x-subject` |
#[derive(Debug)]
pub(crate) struct Envoy {
    process: Process,
    folder: TempDir,
    port: u16,
    admin: u16,
}

impl Envoy {
    /// Starts it with the usual set-up and waits until it serves. None if there is no Envoy on this machine, and it may be
    /// left out.
    pub(crate) fn start(usher: &Usher, upstream: &Upstream, setup: &Setup) -> Option<Self> {
        let program = parts::envoy()?;
        Some(Self::launch(&program, &bootstrap(usher.grpc_port(), upstream.port(), setup)))
    }

    /// Starts it with any bootstrap and waits until it serves. Clients come to the first listener. Where the bootstrap says
    /// [`ACCESS_LOG`], it gets the path of the file that [`access_log`](Self::access_log) reads. The address of the
    /// administration is set here.
    pub(crate) fn launch(program: &Path, bootstrap: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let mut bootstrap = bootstrap.clone();
        bootstrap["admin"] = json!({"address": loopback(0)});
        let access_log = file("access.log");
        let bootstrap = bootstrap.to_string().replace(ACCESS_LOG, access_log.to_str().unwrap());
        fs::write(file("envoy.json"), bootstrap).unwrap();
        let mut command = Command::new(program);
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"])
            .args(["--file-flush-interval-msec", "50"])
            .arg("-c")
            .arg(file("envoy.json"))
            .arg("--admin-address-path")
            .arg(file("admin.addr"));
        let mut process = Process::start("Envoy", &mut command, &file("envoy.log"));
        let (admin, port) = until("readiness of Envoy", || {
            if let Some(status) = process.exit_status() {
                panic!("Envoy ended with {status}:\n{}", process.output());
            }
            let address = fs::read_to_string(file("admin.addr")).unwrap_or_default();
            let admin = port_of(&address).ok_or("no admin address yet")?;
            let ready = Request { target: "/ready", ..Request::default() }.send(admin);
            let ready = ready.map_err(|error| error.to_string())?;
            if ready.status != 200 {
                return Err(ready.text());
            }
            let listeners = Request { target: "/listeners?format=json", ..Request::default() }.send(admin).unwrap();
            let port =
                listeners.json()["listener_statuses"][0]["local_address"]["socket_address"]["port_value"].as_u64();
            Ok((admin, u16::try_from(port.ok_or("no listener yet")?).unwrap()))
        });
        Self { process, folder, port, admin }
    }

    /// The port for clients.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a request through it.
    pub(crate) fn send(&self, request: Request<'_>) -> io::Result<Response> {
        request.send(self.port)
    }

    /// A GET with these headers; there must be an answer.
    pub(crate) fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Request { host, target, headers, ..Request::default() }).unwrap()
    }

    /// The lines of the access log about this path, at least one.
    pub(crate) fn access_log(&self, path: &str) -> Vec<Value> {
        until("a line in the access log", || {
            let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<_> = lines.filter(|line| line["path"] == path).collect();
            if lines.is_empty() { Err(format!("none about `{path}` in:\n{text}")) } else { Ok(lines) }
        })
    }

    /// A counter of the filter with the usual set-up: `ok`, `denied`, `error` …
    pub(crate) fn filter_counter(&self, name: &str) -> u64 {
        self.counter(&format!("http.ingress.ext_authz.{name}"))
    }

    /// How often the filters asked about requests whose counters begin with `http.PREFIX`: allowed, denied, without an answer.
    pub(crate) fn asked(&self, prefix: &str) -> [u64; 3] {
        ["ok", "denied", "error"].map(|name| self.counter(&format!("http.{prefix}.ext_authz.{name}")))
    }

    /// A counter by its full name; 0 if there is none.
    pub(crate) fn counter(&self, full_name: &str) -> u64 {
        let stats = Request { target: "/stats?format=json", ..Request::default() }.send(self.admin).unwrap().json();
        let stats = stats["stats"].as_array().unwrap().clone();
        stats.iter().find(|stat| stat["name"] == *full_name).and_then(|stat| stat["value"].as_u64()).unwrap_or_default()
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.trim().rsplit_once(':')?.1.parse().ok()
}

fn bootstrap(usher: u16, upstream: u16, setup: &Setup) -> Value {
    let mut ext_authz = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": false,
        "grpc_service": {"envoy_grpc": {"cluster_name": "usher"}, "timeout": "5s"},
        "validate_mutations": setup.validate_mutations,
        "include_peer_certificate": setup.client_tls.is_some(),
    });
    if let Some(settings) = &setup.with_request_body {
        ext_authz["with_request_body"] = settings.clone();
    }
    let mut connection_manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "access_log": [access_log()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes()}]},
        "http_filters": [
            {"name": "envoy.filters.http.ext_authz", "typed_config": ext_authz},
            router(),
        ],
    });
    let mut clusters = vec![cluster("upstream", upstream)];
    if let Some(port) = setup.collector {
        clusters.push(cluster("collector", port));
        let uri = format!("http://127.0.0.1:{port}/v1/traces");
        connection_manager["tracing"] = json!({
            "random_sampling": {"value": 100},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                    "service_name": "envoy",
                    "http_service": {"http_uri": {"uri": uri, "cluster": "collector", "timeout": "2s"}},
                },
            },
        });
    }
    let mut to_usher = h2_cluster("usher", usher);
    if let Some(authority) = &setup.certificate_authority {
        to_usher["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "validation_context": {
                        "trusted_ca": {"filename": authority},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
                    },
                },
            },
        });
    }
    clusters.push(to_usher);
    let mut filter_chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager,
    }]});
    if let Some(ClientTls { certificate, key, client_authorities }) = &setup.client_tls {
        filter_chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": false,
                "common_tls_context": {
                    "tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}],
                    "validation_context": {"trusted_ca": {"filename": client_authorities}},
                },
            },
        });
    }
    json!({
        "static_resources": {
            "listeners": [{"name": "ingress", "address": loopback(0), "filter_chains": [filter_chain]}],
            "clusters": clusters,
        },
    })
}

fn routes() -> Value {
    let per_route = |settings: Value| {
        let mut settings = settings;
        settings["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute".into();
        json!({"envoy.filters.http.ext_authz": settings})
    };
    json!([
        {
            "match": {"prefix": "/open"},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": per_route(json!({"disabled": true})),
        },
        {
            "match": {"prefix": "/renamed"},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config":
                per_route(json!({"check_settings": {"context_extensions": {"host": "talker.test"}}})),
        },
        {
            "match": {"prefix": "/"},
            "route": {"cluster": "upstream"},
            "request_headers_to_add": [{"header": {
                "key": "x-subject",
                "value": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:subject:name)%",
            }}],
        },
    ])
}

/// The last filter of a chain.
pub(crate) fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    })
}

/// An access log in the file that [`Envoy::access_log`] reads.
pub(crate) fn access_log() -> Value {
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": ACCESS_LOG,
            "log_format": {"json_format": {
                "path": "%REQ(:PATH)%",
                "code": "%RESPONSE_CODE%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "flags": "%RESPONSE_FLAGS%",
                "ext_authz": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
            }},
        },
    })
}

/// A cluster of one loopback port that is spoken to in HTTP/2.
pub(crate) fn h2_cluster(name: &str, port: u16) -> Value {
    let mut cluster = cluster(name, port);
    cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }});
    cluster
}

/// A cluster of one loopback port that is spoken to in HTTP/1.1.
pub(crate) fn cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": loopback(port)}}]}],
        },
    })
}

/// The address of a loopback port; 0: any that is free.
pub(crate) fn loopback(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}
