//! `usher check`: one decision, without a gateway.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Deserialize;
use usher_engine::{
    Journal, PlanIndex, Request, RequestParts, Verdict, host,
    request::{Address, Metadata, Peer, Port, Time},
    route,
};

use super::{
    compiled::Compiled,
    options::{ConfigOptions, FileOptions},
    output,
};
use crate::exit::Exit;

mod told;

/// Decide about one request, without a gateway.
///
/// Prints the verdict and what comes with it. The exit status is 0 when the request is allowed, 3 when it is denied, 4
/// when it cannot be decided, 1 when there is nothing to decide: no AuthConfig was found, or the options make no request.
/// What is wrong with the configuration is told on standard error.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileOptions,

    #[command(flatten)]
    config: ConfigOptions,

    /// Host of the request.
    #[arg(long)]
    host: Option<String>,

    /// Path of the request, with its query.
    #[arg(long)]
    path: Option<String>,

    /// Method of the request. Default: GET.
    #[arg(long)]
    method: Option<String>,

    /// A header of the request, `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Body of the request.
    #[arg(long)]
    body: Option<String>,

    /// A YAML or JSON file with the attributes of the request: `request`, `source`, `destination`, `metadata`, as rules
    /// see them, and `route_metadata`, in which a gateway may name the route. The other options are laid over it.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,

    /// Print what each rule did, and how long it took.
    #[arg(long)]
    explain: bool,

    /// The most milliseconds that the decision may take.
    #[arg(long, default_value_t = 10_000, value_name = "MILLISECONDS")]
    timeout: u64,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Exit {
    let invalid = |message: String| {
        eprintln!("{message}");
        Exit::Invalid
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return invalid(crate::chain(&error)),
    };
    let request = match request(&arguments) {
        Ok(request) => request,
        Err(message) => return invalid(message),
    };
    let (text, exit) = match runtime.block_on(decide(&arguments, &request)) {
        Ok(told) => told,
        Err(message) => return invalid(message),
    };
    runtime.shutdown_background();
    output::print(&text, exit)
}

/// Decides, and tells what came of it.
async fn decide(arguments: &Arguments, request: &Request) -> Result<(String, Exit), String> {
    let index = load(&arguments.files, &arguments.config).await?;
    let journal = Journal::default();
    let deadline = Instant::now() + Duration::from_millis(arguments.timeout);
    let mut text = String::new();
    let verdict = match index.find(request) {
        None => Verdict::not_found(),
        Some(plan) => {
            text += &told::who_decides(&plan);
            usher_engine::check(&plan, request, Some(deadline), arguments.explain.then_some(&journal)).await
        }
    };
    if arguments.explain {
        text += &told::steps(&journal);
    }
    let (verdict, exit) = told::verdict(&verdict);
    Ok((text + &verdict, exit))
}

/// Compiles the configuration and makes the first attempts at what it needs from the network.
async fn load(files: &FileOptions, config: &ConfigOptions) -> Result<PlanIndex, String> {
    let compiled = Compiled::load(files, config)?;
    for problem in &compiled.loaded.problems {
        eprintln!("{problem}");
    }
    for report in &compiled.update.reports {
        for problem in &report.problems {
            eprintln!("AuthConfig {}: {problem}", report.id);
        }
    }
    for report in &compiled.update.policies {
        for problem in &report.problems {
            eprintln!("AuthorizationPolicy {}: {problem}", report.name);
        }
    }
    compiled.require_any()?;
    let index = PlanIndex::default();
    index.publish_default(compiled.workspace.default_plan());
    index.publish(compiled.update.places);
    compiled.resources.wait_first_attempts(Duration::from_secs(5)).await;
    Ok(index)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("`{text}` is not a header such as `name: value`"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn request(arguments: &Arguments) -> Result<Request, String> {
    let mut parts = match &arguments.request {
        Some(file) => read(file)?.into_parts()?,
        None => RequestParts::default(),
    };
    let set = |field: &mut String, option: &Option<String>| {
        if let Some(value) = option {
            field.clone_from(value);
        }
    };
    set(&mut parts.host, &arguments.host);
    set(&mut parts.path, &arguments.path);
    set(&mut parts.method, &arguments.method);
    set(&mut parts.body, &arguments.body);
    for (field, default) in
        [(&mut parts.method, "GET"), (&mut parts.path, "/"), (&mut parts.scheme, "http"), (&mut parts.id, "check")]
    {
        if field.is_empty() {
            default.clone_into(field);
        }
    }
    for (name, value) in &arguments.headers {
        let value = match parts.headers.get(name) {
            Some(present) => [present, ",", value].concat(),
            None => value.clone(),
        };
        parts.headers.insert(name.clone(), value);
    }
    let request = Request::new(parts);
    let is_named = request.parts().context_extensions.contains_key(host::CONTEXT_EXTENSION)
        || arguments.config.allow_route_lookup && route::named(&request).is_some();
    if request.parts().host.is_empty() && !is_named {
        return Err("give the host of the request with `--host`".to_owned());
    }
    Ok(request)
}

/// The attributes of a request as rules see them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequestFile {
    request: HttpFile,
    source: PeerFile,
    destination: PeerFile,
    metadata: MetadataFile,
    route_metadata: MetadataFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpFile {
    id: String,
    time: Option<TimeFile>,
    protocol: String,
    scheme: String,
    host: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    size: i64,
    body: String,
    context_extensions: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimeFile {
    seconds: i64,
    nanos: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PeerFile {
    address: String,
    port: u32,
    service: String,
    labels: BTreeMap<String, String>,
    principal: String,
    certificate: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MetadataFile {
    filter_metadata: BTreeMap<String, serde_json::Value>,
}

fn read(file: &Path) -> Result<RequestFile, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

impl RequestFile {
    fn into_parts(self) -> Result<RequestParts, String> {
        let http = self.request;
        Ok(RequestParts {
            id: http.id,
            time: http.time.map(|time| Time { seconds: time.seconds, nanos: time.nanos }),
            protocol: http.protocol,
            scheme: http.scheme,
            host: http.host,
            method: http.method,
            path: http.path,
            headers: http.headers.into_iter().collect(),
            size: http.size,
            body: http.body,
            context_extensions: http.context_extensions,
            source: self.source.into_peer(),
            destination: self.destination.into_peer(),
            metadata: self.metadata.into_metadata(),
            route_metadata: self.route_metadata.into_metadata(),
            ..RequestParts::default()
        })
    }
}

impl MetadataFile {
    fn into_metadata(self) -> Option<Metadata> {
        let Self { filter_metadata } = self;
        (!filter_metadata.is_empty()).then(|| Metadata { filter_metadata, ..Metadata::default() })
    }
}

impl PeerFile {
    fn into_peer(self) -> Peer {
        let socket = Address::Socket { protocol: 0, address: self.address.clone(), port: Port::Number(self.port) };
        Peer {
            address: (!self.address.is_empty()).then_some(socket),
            service: self.service,
            labels: self.labels,
            principal: self.principal,
            certificate: self.certificate,
        }
    }
}
