//! What Envoy Gateway makes of our manifests: its Envoy.
//!
//! Each SecurityPolicy with `extAuth` is a filter that is there for all routes and off for all; routes switch theirs on.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    support::{
        documents::Folder,
        envoy::{access_log, cluster, h2_cluster, loopback, router},
    },
    with_gateways::{
        Ports,
        gateway_api::{
            BackendRef, GROUP, GatewayClassSpec, GatewaySpec, HttpRouteSpec, Object, PathMatch, ReferenceGrantSpec,
            Rule, TargetRef, V1, V1BETA1,
        },
    },
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecurityPolicySpec {
    target_refs: Vec<TargetRef>,
    ext_auth: Option<ExtAuth>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtAuth {
    grpc: Grpc,
    timeout: Option<String>,
    #[serde(default)]
    fail_open: bool,
    status_on_error: Option<u16>,
    #[serde(default)]
    headers_to_ext_auth: Vec<String>,
    body_to_ext_auth: Option<BodyToExtAuth>,
    #[serde(default)]
    include_route_metadata: bool,
    #[serde(default)]
    context_extensions: Vec<ContextExtension>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Grpc {
    backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BodyToExtAuth {
    max_request_bytes: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ContextExtension {
    name: String,
    r#type: ContextExtensionType,
    value: String,
}

#[derive(Debug, Deserialize)]
enum ContextExtensionType {
    Value,
}

type SecurityPolicy = Object<SecurityPolicySpec>;
type HttpRoute = Object<HttpRouteSpec>;

/// The Envoy of this Gateway of a folder.
pub(super) fn translate(folder: &Folder, gateway: &str, ports: Ports) -> Value {
    let objects = Objects::read(folder, gateway);
    let [listener] = objects.gateway.spec.listeners.as_slice() else { panic!("one listener is enough") };
    assert_eq!(listener.protocol, "HTTP");
    let metadata = &objects.gateway.metadata;
    let name = format!("{}/{}/{}", metadata.namespace, metadata.name, listener.name);

    let mut hosts = BTreeMap::<&str, Vec<(PathMatch, Value)>>::new();
    for route in objects.attached() {
        for host in route.spec.hostnames() {
            let routes = hosts.entry(host).or_default();
            for (number, rule) in route.spec.rules.iter().enumerate() {
                for (match_number, path) in rule.paths().into_iter().enumerate() {
                    let name = format!("rule/{number}/match/{match_number}/{}", host.replace(['.', '*'], "_"));
                    routes.push((path.clone(), objects.route(route, rule, &path, &name)));
                }
            }
        }
    }
    let virtual_hosts: Vec<_> = hosts
        .into_iter()
        .map(|(host, mut routes)| {
            routes.sort_by_key(|(path, _)| Reverse(path.precedence()));
            json!({
                "name": format!("{name}/{}", host.replace(['.', '*'], "_")),
                "domains": [host],
                "metadata": resource_metadata("Gateway", &metadata.namespace, &metadata.name, Some(&listener.name), &[]),
                "routes": routes.into_iter().map(|(_, route)| route).collect::<Vec<_>>(),
            })
        })
        .collect();

    let asking: Vec<_> = objects.policies.iter().filter_map(|it| Some((it, it.spec.ext_auth.as_ref()?))).collect();
    let mut http_filters: Vec<_> = asking.iter().map(|(policy, settings)| policy.filter(settings)).collect();
    let mut router = router();
    router["typed_config"]["suppress_envoy_headers"] = true.into();
    http_filters.push(router);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        // In place of `http-10080`, where counters are looked for.
        "stat_prefix": "ingress",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "server_header_transformation": "PASS_THROUGH",
        "access_log": [access_log()],
        "route_config": {"name": name, "ignore_port_in_host_matching": true, "virtual_hosts": virtual_hosts},
        "http_filters": http_filters,
    });
    let mut clusters: Vec<_> = asking.iter().map(|(policy, _)| h2_cluster(&policy.cluster(), ports.usher)).collect();
    clusters.push(cluster("upstream", ports.upstream));
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
    json!({
        "static_resources": {
            "listeners": [{
                "name": name,
                "address": loopback(0),
                "per_connection_buffer_limit_bytes": 32768,
                "default_filter_chain": {"name": name, "filters": [filter]},
            }],
            "clusters": clusters,
        },
    })
}

/// A Gateway and all that is about it.
struct Objects {
    gateway: Object<GatewaySpec>,
    routes: Vec<HttpRoute>,
    policies: Vec<SecurityPolicy>,
    grants: Vec<Object<ReferenceGrantSpec>>,
}

impl Objects {
    fn read(folder: &Folder, gateway: &str) -> Self {
        let gateway = Object::<GatewaySpec>::read(folder.one("Gateway", gateway), V1);
        let class = folder.one("GatewayClass", &gateway.spec.gateway_class_name);
        let class = Object::<GatewayClassSpec>::read(class, V1);
        assert_eq!(class.spec.controller_name, "gateway.envoyproxy.io/gatewayclass-controller");
        Self {
            gateway,
            routes: Object::read_all(folder, "HTTPRoute", V1),
            policies: Object::read_all(folder, "SecurityPolicy", "gateway.envoyproxy.io/v1alpha1"),
            grants: Object::read_all(folder, "ReferenceGrant", V1BETA1),
        }
    }

    fn attached(&self) -> impl Iterator<Item = &HttpRoute> {
        let gateway = &self.gateway.metadata;
        self.routes.iter().filter(|route| {
            let admits =
                self.gateway.spec.listeners.iter().any(|it| it.admits(&route.metadata.namespace, &gateway.namespace));
            route.has_parent(gateway) && admits
        })
    }

    /// The policy that is in force for a rule: the most specific one, and no other.
    fn policy(&self, route: &HttpRoute, rule: &Rule) -> Option<&SecurityPolicy> {
        let gateway = &self.gateway.metadata;
        let of = |kind: &str, name: &str, namespace: &str, section: Option<&str>| {
            let here = self.policies.iter().filter(|it| it.metadata.namespace == namespace);
            let is_target = |target: &TargetRef| target.names(GROUP, kind, name, section);
            here.into_iter().find(|it| it.spec.target_refs.iter().any(is_target))
        };
        let (name, namespace) = (&route.metadata.name, &route.metadata.namespace);
        let of_rule = rule.name.as_deref().and_then(|rule| of("HTTPRoute", name, namespace, Some(rule)));
        of_rule
            .or_else(|| of("HTTPRoute", name, namespace, None))
            .or_else(|| of("Gateway", &gateway.name, &gateway.namespace, None))
    }

    fn route(&self, route: &HttpRoute, rule: &Rule, path: &PathMatch, name: &str) -> Value {
        let (namespace, own_name) = (&route.metadata.namespace, &route.metadata.name);
        let annotations: Vec<_> = route.metadata.annotations.iter().collect();
        rule.assert_backends_are_near();
        let mut envoy_route = json!({
            "name": format!("httproute/{namespace}/{own_name}/{name}"),
            "match": path.to_envoy(),
            "metadata": resource_metadata("HTTPRoute", namespace, own_name, rule.name.as_deref(), &annotations),
            "route": {"cluster": "upstream", "upgrade_configs": [{"upgrade_type": "websocket"}]},
        });
        let Some(policy) = self.policy(route, rule) else { return envoy_route };
        let Some(settings) = &policy.spec.ext_auth else { return envoy_route };
        if !self.is_granted(policy, settings) {
            // A policy that cannot be carried out does not leave its routes open.
            envoy_route.as_object_mut().unwrap().remove("route");
            envoy_route["direct_response"] = json!({"status": 500});
            return envoy_route;
        }
        let mut check_settings = Map::new();
        if !settings.context_extensions.is_empty() {
            let extensions = settings.context_extensions.iter();
            let extensions: BTreeMap<_, _> = extensions
                .map(|it| match it.r#type {
                    ContextExtensionType::Value => (&it.name, &it.value),
                })
                .collect();
            check_settings.insert("context_extensions".to_owned(), json!(extensions));
        }
        envoy_route["typed_per_filter_config"] = json!({policy.filter_name(): {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": check_settings,
        }});
        envoy_route
    }

    fn is_granted(&self, policy: &SecurityPolicy, settings: &ExtAuth) -> bool {
        let own = policy.metadata.namespace.as_str();
        settings.grpc.backend_refs.iter().all(|backend| {
            let namespace = backend.namespace.as_deref().unwrap_or(own);
            let from = ("gateway.envoyproxy.io", "SecurityPolicy", own);
            namespace == own || self.grants.iter().any(|grant| grant.admits(from, &backend.name, namespace))
        })
    }
}

impl SecurityPolicy {
    fn filter_name(&self) -> String {
        format!("envoy.filters.http.ext_authz/securitypolicy/{}/{}", self.metadata.namespace, self.metadata.name)
    }

    fn cluster(&self) -> String {
        format!("securitypolicy/{}/{}/extauth/0", self.metadata.namespace, self.metadata.name)
    }

    fn filter(&self, settings: &ExtAuth) -> Value {
        let backend = settings.grpc.backend_refs.first().expect("a backend");
        let namespace = backend.namespace.as_deref().unwrap_or(&self.metadata.namespace);
        let mut config = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "failure_mode_allow": settings.fail_open,
            "grpc_service": {
                "envoy_grpc": {
                    "authority": format!("{}.{namespace}:{}", backend.name, backend.port),
                    "cluster_name": self.cluster(),
                },
                "timeout": settings.timeout.as_deref().unwrap_or("10s"),
            },
            "transport_api_version": "V3",
        });
        if settings.include_route_metadata {
            config["route_metadata_context_namespaces"] = json!(["envoy-gateway"]);
        }
        if let Some(status) = settings.status_on_error {
            config["status_on_error"] = json!({"code": status});
        }
        if let Some(body) = &settings.body_to_ext_auth {
            config["with_request_body"] = json!({"max_request_bytes": body.max_request_bytes});
        }
        if !settings.headers_to_ext_auth.is_empty() {
            let headers = settings.headers_to_ext_auth.iter();
            let patterns: Vec<_> = headers.map(|name| json!({"exact": name, "ignore_case": true})).collect();
            config["allowed_headers"] = json!({"patterns": patterns});
        }
        json!({"name": self.filter_name(), "disabled": true, "typed_config": config})
    }
}

/// The metadata by which Envoy Gateway says what a part of its configuration comes from.
fn resource_metadata(
    kind: &str,
    namespace: &str,
    name: &str,
    section_name: Option<&str>,
    annotations: &[(&String, &String)],
) -> Value {
    let mut resource = json!({"kind": kind, "namespace": namespace, "name": name});
    if let Some(section_name) = section_name {
        resource["sectionName"] = section_name.into();
    }
    let own = annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix("gateway.envoyproxy.io/")?, value)));
    let own: BTreeMap<_, _> = own.collect();
    if !own.is_empty() {
        resource["annotations"] = json!(own);
    }
    json!({"filter_metadata": {"envoy-gateway": {"resources": [resource]}}})
}
