//! What kgateway makes of its objects: the configuration of an Envoy.
//!
//! ```text
//!  GatewayExtension          a filter `ext_auth/NAMESPACE/NAME`, which is there and off
//!  TrafficPolicy on
//!    a Gateway               switches it on for everything that comes in
//!    a listener              … for the virtual hosts of the listener
//!    an HTTPRoute, a rule    … for these routes, with their own context extensions and body settings
//!  `disable`                 switches on the filter `global_disable/ext_auth`, whose metadata switches all of those off
//! ```
//!
//! Differences from what kgateway does that do not matter here: clusters and routes are sent with the rest, not fetched, and
//! clusters have a loopback address in place of those of pods.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

use super::{
    HTTP2, Ports,
    objects::{Cluster, ExtAuthPolicy, ExtAuthProvider, GatewayExtensionSpec, RequestBody},
};
use crate::{
    support::envoy::{access_log, cluster, h2_cluster, loopback, router},
    with_gateways::{
        gateway_api::{BackendRef, GROUP, GatewaySpec, HttpRouteSpec, Listener, Object, PathMatch, Rule},
        units,
    },
};

/// The bootstrap of the Envoy behind the only Gateway.
///
/// # Errors
/// What the API server refuses, or what cannot be resolved at the level of the Gateway.
pub(super) fn bootstrap(objects: &[Value], ports: Ports) -> Result<Value, String> {
    let cluster = Cluster::read(objects)?;
    let [gateway] = &cluster.gateways[..] else { return Err("there must be one Gateway".to_owned()) };
    if gateway.spec.gateway_class_name != "kgateway" {
        return Err(format!("the class `{}` is that of another controller", gateway.spec.gateway_class_name));
    }
    let [listener] = &gateway.spec.listeners[..] else { return Err("there must be one listener".to_owned()) };
    if listener.protocol != "HTTP" {
        return Err(format!("the protocol of the listener is `{}`", listener.protocol));
    }
    let mut translation = Translation { cluster: &cluster, ports, used: BTreeSet::new(), clusters: BTreeMap::new() };
    let mut route_configuration = json!({
        "name": format!("listener~{}", listener.port),
        "ignore_port_in_host_matching": true,
        "virtual_hosts": translation.virtual_hosts(gateway, listener)?,
    });
    translation.attach(&mut route_configuration, gateway, None)?;
    let connection_manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "normalize_path": true,
        "merge_slashes": true,
        "use_remote_address": true,
        "http_filters": translation.http_filters()?,
        "route_config": route_configuration,
        "access_log": [access_log()],
    });
    Ok(json!({"static_resources": {
        "listeners": [{
            "name": format!("listener~{}", listener.port),
            "address": loopback(0),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager,
            }]}],
        }],
        "clusters": translation.clusters.into_values().collect::<Vec<_>>(),
    }}))
}

struct Translation<'a> {
    cluster: &'a Cluster,
    ports: Ports,
    /// Namespaces and names of the GatewayExtensions that policies refer to.
    used: BTreeSet<(&'a str, &'a str)>,
    /// By name.
    clusters: BTreeMap<String, Value>,
}

impl<'a> Translation<'a> {
    /// One for each host name, with the routes of all HTTPRoutes of that name, the longest paths first.
    fn virtual_hosts(
        &mut self,
        gateway: &'a Object<GatewaySpec>,
        listener: &'a Listener,
    ) -> Result<Vec<Value>, String> {
        let metadata = &gateway.metadata;
        let is_attached = |route: &&Object<HttpRouteSpec>| {
            route.has_parent(metadata) && listener.admits(&route.metadata.namespace, &metadata.namespace)
        };
        let cluster = self.cluster;
        let mut routes = BTreeMap::<&str, Vec<(PathMatch, Value)>>::new();
        for route in cluster.routes.iter().filter(is_attached) {
            for rule in &route.spec.rules {
                for path in rule.paths() {
                    let translated = self.route(route, rule, &path.to_envoy());
                    for hostname in route.spec.hostnames() {
                        routes.entry(hostname).or_default().push((path.clone(), translated.clone()));
                    }
                }
            }
        }
        let mut hosts = Vec::new();
        for (hostname, mut routes) in routes {
            routes.sort_by_key(|(path, _)| Reverse(path.precedence()));
            let routes: Vec<_> = routes.into_iter().map(|(_, route)| route).collect();
            let name = hostname.replace(['.', '*'], "_");
            let mut host = json!({"name": name, "domains": [hostname], "routes": routes});
            self.attach(&mut host, gateway, Some(&listener.name))?;
            hosts.push(host);
        }
        Ok(hosts)
    }

    /// A route that cannot be translated answers 500: it must not be open for want of its policy.
    fn route(&mut self, route: &'a Object<HttpRouteSpec>, rule: &Rule, path: &Value) -> Value {
        self.forwarding(route, rule, path).unwrap_or_else(|_| {
            let body = "invalid route configuration detected and replaced with a direct response.";
            json!({"match": path, "direct_response": {"status": 500, "body": {"inline_string": body}}})
        })
    }

    fn forwarding(&mut self, route: &'a Object<HttpRouteSpec>, rule: &Rule, path: &Value) -> Result<Value, String> {
        let [backend] = &rule.backend_refs[..] else { return Err("there must be one backend".to_owned()) };
        let from = (GROUP, "HTTPRoute", route.metadata.namespace.as_str());
        let cluster = self.backend(from, backend, self.ports.upstream)?;
        let mut forwarding = json!({
            "match": path,
            "route": {"cluster": cluster, "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"},
        });
        let of_rule = match rule.name.as_deref() {
            Some(name) => self.policy(("HTTPRoute", &route.metadata.name), &route.metadata.namespace, Some(name))?,
            None => None,
        };
        let of_route = self.policy(("HTTPRoute", &route.metadata.name), &route.metadata.namespace, None)?;
        // One that is closer takes the place of one that is not.
        if let Some(policy) = of_rule.or(of_route) {
            forwarding["typed_per_filter_config"] = self.switches(policy, &route.metadata.namespace)?;
        }
        Ok(forwarding)
    }

    /// What a policy for a Gateway or its listener adds to that level.
    fn attach(
        &mut self,
        level: &mut Value,
        gateway: &'a Object<GatewaySpec>,
        listener: Option<&str>,
    ) -> Result<(), String> {
        let namespace = &gateway.metadata.namespace;
        if let Some(policy) = self.policy(("Gateway", &gateway.metadata.name), namespace, listener)? {
            level["typed_per_filter_config"] = self.switches(policy, namespace)?;
        }
        Ok(())
    }

    /// The policy for something, which is of the same namespace.
    fn policy(
        &self,
        (kind, name): (&str, &str),
        namespace: &str,
        section: Option<&str>,
    ) -> Result<Option<&'a ExtAuthPolicy>, String> {
        let fits = self.cluster.policies.iter().filter(|policy| {
            let mut targets = policy.spec.target_refs.iter();
            policy.metadata.namespace == namespace && targets.any(|target| target.names(GROUP, kind, name, section))
        });
        match fits.collect::<Vec<_>>()[..] {
            [] => Ok(None),
            [policy] => Ok(Some(&policy.spec.ext_auth)),
            _ => Err(format!("there are several TrafficPolicies for {kind} `{name}`: only the oldest would count")),
        }
    }

    /// What a policy sets for the filters.
    fn switches(&mut self, policy: &'a ExtAuthPolicy, namespace: &'a str) -> Result<Value, String> {
        let on = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
        let extension = match (&policy.disable, &policy.extension_ref) {
            (Some(_), None) => return Ok(json!({"global_disable/ext_auth": on})),
            (None, Some(extension)) => extension,
            _ => return Err("exactly one of `extensionRef` and `disable` must be there".to_owned()),
        };
        let namespace = extension.namespace.as_deref().unwrap_or(namespace);
        self.extension(namespace, &extension.name)?;
        self.used.insert((namespace, &extension.name));
        let mut settings = Map::new();
        if !policy.context_extensions.is_empty() {
            settings.insert("context_extensions".to_owned(), json!(policy.context_extensions));
        }
        if let Some(body) = &policy.with_request_body {
            settings.insert("with_request_body".to_owned(), buffer(body));
        }
        let switch = if settings.is_empty() {
            on
        } else {
            json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": settings,
            })
        };
        Ok(json!({format!("ext_auth/{namespace}/{}", extension.name): switch}))
    }

    /// Finds a GatewayExtension, and the cluster that it refers to.
    fn extension(&mut self, namespace: &str, name: &str) -> Result<(&'a ExtAuthProvider, String), String> {
        let is_it = |extension: &&Object<GatewayExtensionSpec>| {
            (&*extension.metadata.namespace, &*extension.metadata.name) == (namespace, name)
        };
        let extension = self.cluster.extensions.iter().find(is_it);
        let provider = &extension.ok_or_else(|| format!("no GatewayExtension `{namespace}/{name}`"))?.spec.ext_auth;
        let from = ("gateway.kgateway.dev", "GatewayExtension", namespace);
        Ok((provider, self.backend(from, &provider.grpc_service.backend_ref, self.ports.usher)?))
    }

    /// The filter of the greatest weight comes first.
    fn weight(&self, namespace: &str, name: &str) -> i32 {
        let all = self.cluster.extensions.iter().map(|extension| &extension.metadata);
        let mut annotations =
            all.filter(|it| (&*it.namespace, &*it.name) == (namespace, name)).map(|it| &it.annotations);
        let weight = annotations.find_map(|annotations| annotations.get("kgateway.dev/policy-weight"));
        weight.map_or(0, |weight| weight.parse().unwrap())
    }

    /// The name of the cluster for a port of a Service.
    fn backend(&mut self, from: (&str, &str, &str), backend: &BackendRef, loopback: u16) -> Result<String, String> {
        let (_, _, namespace) = from;
        let to = backend.namespace.as_deref().unwrap_or(namespace);
        let is_granted = || self.cluster.grants.iter().any(|grant| grant.admits(from, &backend.name, to));
        if to != namespace && !is_granted() {
            return Err("missing reference grant".to_owned());
        }
        let services = self.cluster.services.iter();
        let mut services = services
            .filter(|service| (&*service.metadata.namespace, &service.metadata.name) == (to, &backend.name))
            .flat_map(|service| &service.spec.ports);
        let port = services.find(|port| port.port == backend.port);
        let port = port.ok_or_else(|| format!("no Service `{to}/{}` with port {}", backend.name, backend.port))?;
        let name = format!("kube_{to}_{}_{}", backend.name, backend.port);
        let speaks_http2 = port.app_protocol.as_deref().is_some_and(|protocol| HTTP2.contains(&protocol));
        let made = if speaks_http2 { h2_cluster(&name, loopback) } else { cluster(&name, loopback) };
        self.clusters.insert(name.clone(), made);
        Ok(name)
    }

    /// The chain of filters. kgateway promises no order of GatewayExtensions of the same weight.
    fn http_filters(&mut self) -> Result<Vec<Value>, String> {
        const NAMESPACE: &str = "dev.kgateway.disable_ext_auth";
        let mut filters = Vec::new();
        if !self.used.is_empty() {
            filters.push(json!({
                "name": "global_disable/ext_auth",
                "disabled": true,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                    "metadata": [{"metadata_namespace": NAMESPACE, "value": {"disable": true}}],
                },
            }));
        }
        let mut used: Vec<_> = self.used.iter().copied().collect();
        used.sort_by_key(|(namespace, name)| Reverse(self.weight(namespace, name)));
        for (namespace, name) in used {
            let (provider, cluster) = self.extension(namespace, name)?;
            let mut filter = ext_authz(provider, &cluster)?;
            filter["filter_enabled_metadata"] = json!({
                "filter": NAMESPACE,
                "path": [{"key": "disable"}],
                "value": {"bool_match": true},
                "invert": true,
            });
            filters.push(json!({
                "name": format!("ext_auth/{namespace}/{name}"),
                "disabled": true,
                "typed_config": filter,
            }));
        }
        filters.push(router());
        Ok(filters)
    }
}

/// The filter of a GatewayExtension: what is not set stays as Envoy has it.
fn ext_authz(provider: &ExtAuthProvider, cluster: &str) -> Result<Value, String> {
    let mut grpc_service = json!({"envoy_grpc": {"cluster_name": cluster}});
    if let Some(authority) = &provider.grpc_service.authority {
        grpc_service["envoy_grpc"]["authority"] = json!(authority);
    }
    if let Some(timeout) = &provider.grpc_service.request_timeout {
        let duration = units::duration(timeout).ok_or_else(|| format!("`{timeout}` is no duration"))?;
        grpc_service["timeout"] = json!(units::to_envoy(duration));
    }
    let mut filter = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "grpc_service": grpc_service,
        "status_on_error": {"code": provider.status_on_error},
    });
    if provider.fail_open {
        filter["failure_mode_allow"] = json!(true);
    }
    if provider.clear_route_cache {
        filter["clear_route_cache"] = json!(true);
    }
    if let Some(body) = &provider.with_request_body {
        filter["with_request_body"] = buffer(body);
    }
    if let Some(prefix) = &provider.stat_prefix {
        filter["stat_prefix"] = json!(prefix);
    }
    if !provider.headers_to_forward.is_empty() {
        let patterns: Vec<_> = provider.headers_to_forward.iter().map(|name| json!({"exact": name})).collect();
        filter["allowed_headers"] = json!({"patterns": patterns});
    }
    Ok(filter)
}

fn buffer(body: &RequestBody) -> Value {
    json!({
        "max_request_bytes": body.max_request_bytes,
        "allow_partial_message": body.allow_partial_message,
        "pack_as_bytes": body.pack_as_bytes,
    })
}
