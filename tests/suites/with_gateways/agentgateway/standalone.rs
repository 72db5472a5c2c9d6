//! What agentgateway makes of a configuration file.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    cache::Clock,
    expression::Expression,
    ext_authz::{BodyOptions, Checks, ExtAuthz, FailureMode},
    kubernetes::{BackendHttp, CacheSpec},
    proxy::{Configuration, Path, Route},
};

/// The configuration of the only listener of a file. `hosts` says where `HOST:PORT` of the file are on this machine.
pub(super) fn configuration(document: &Value, hosts: &[(&str, u16)], clock: &Clock) -> Configuration {
    let file: File = serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{error} in {document}"));
    let [bind] = file.binds.as_slice() else { panic!("one port") };
    let [listener] = bind.listeners.as_slice() else { panic!("one listener") };
    assert!(listener.protocol == "HTTP" && bind.port > 0);
    let port = |host: &str| hosts.iter().find(|(name, _)| *name == host).map(|(_, port)| *port);
    let route = |route: &LocalRoute| {
        let check = route.policies.as_ref().and_then(|policies| policies.ext_authz.as_ref());
        let checks = check.map(|check| (None, Arc::new(check.build(port(&check.host), clock))));
        let [backend] = route.backends.as_slice() else { panic!("{} has no backend", route.name) };
        let upstream = port(&backend.host).unwrap_or_else(|| panic!("no backend `{}`", backend.host));
        let matches = match &route.matches {
            Some(matches) => matches.iter().map(|it| it.path.path()).collect(),
            None => vec![Path::Prefix("/".to_owned())],
        };
        Route { name: route.name.clone(), matches, checks: Checks(checks.into_iter().collect()), upstream }
    };
    Configuration { routes: listener.routes.iter().map(route).collect(), ..Configuration::default() }
}

impl LocalExtAuthz {
    fn build(&self, target: Option<u16>, clock: &Clock) -> ExtAuthz {
        let LocalProtocol::Grpc(grpc) = &self.protocol;
        let metadata = grpc
            .metadata
            .as_ref()
            .map(|metadata| metadata.iter().map(|(name, source)| (name.clone(), Expression::new(source))).collect());
        ExtAuthz {
            target,
            timeout: self.policies.as_ref().and_then(|policies| policies.http.as_ref()?.request_timeout),
            context: grpc.context.clone().unwrap_or_default(),
            metadata,
            failure_mode: match self.failure_mode {
                None | Some(LocalFailureMode::Deny) => FailureMode::Deny,
                Some(LocalFailureMode::Allow) => FailureMode::Allow,
                Some(LocalFailureMode::DenyWithStatus(status)) => FailureMode::DenyWithStatus(status),
            },
            include_request_headers: self.include_request_headers.clone(),
            body: self.include_request_body.as_ref().map(|body| BodyOptions {
                max_request_bytes: body.max_request_bytes,
                allow_partial_message: body.allow_partial_message,
                pack_as_bytes: body.pack_as_bytes,
            }),
            cache: self.cache.as_ref().map(|cache| cache.build(clock)),
            ..ExtAuthz::of(0)
        }
    }
}

impl LocalPath {
    fn path(&self) -> Path {
        match self {
            Self::Exact(path) => Path::Exact(path.clone()),
            Self::PathPrefix(path) => Path::Prefix(path.clone()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    binds: Vec<Bind>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bind {
    port: u16,
    listeners: Vec<LocalListener>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalListener {
    #[expect(dead_code, reason = "there is one")]
    name: Option<String>,
    protocol: String,
    routes: Vec<LocalRoute>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalRoute {
    name: String,
    matches: Option<Vec<LocalMatch>>,
    policies: Option<LocalPolicies>,
    backends: Vec<LocalBackend>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalMatch {
    path: LocalPath,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LocalPath {
    Exact(String),
    PathPrefix(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalPolicies {
    ext_authz: Option<LocalExtAuthz>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalBackend {
    host: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalExtAuthz {
    host: String,
    policies: Option<LocalBackendPolicies>,
    protocol: LocalProtocol,
    failure_mode: Option<LocalFailureMode>,
    #[serde(default)]
    include_request_headers: Vec<String>,
    include_request_body: Option<LocalBody>,
    cache: Option<CacheSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalBackendPolicies {
    http: Option<BackendHttp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LocalProtocol {
    Grpc(LocalGrpc),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalGrpc {
    context: Option<HashMap<String, String>>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LocalFailureMode {
    Allow,
    Deny,
    DenyWithStatus(u16),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalBody {
    /// Without it nothing is passed on.
    #[serde(default)]
    max_request_bytes: usize,
    #[serde(default)]
    allow_partial_message: bool,
    #[serde(default)]
    pack_as_bytes: bool,
}
