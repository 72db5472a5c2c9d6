//! What Istio makes of our manifests: the Envoy of an ingress gateway, and the Envoy beside a workload.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::authorization_policy::{AuthorizationPolicy, Mesh, filters};
use crate::{
    support::{
        documents::Folder,
        envoy::{access_log, cluster, loopback, router},
    },
    with_gateways::{
        Ports,
        gateway_api::{GROUP, GatewaySpec, HttpRouteSpec, Object, PathMatch, Rule, V1},
        workloads::{Identity, Workloads},
    },
};

/// The ingress gateway that this Gateway of a folder asks for. With TLS, where it has a certificate and asks clients for theirs.
pub(super) fn ingress(folder: &Folder, gateway: &str, ports: Ports, tls: Option<(&Workloads, &Identity)>) -> Value {
    let mesh = Mesh::of(folder);
    let gateway = Object::<GatewaySpec>::read(folder.one("Gateway", gateway), V1);
    assert_eq!(gateway.spec.gateway_class_name, "istio");
    let [listener] = gateway.spec.listeners.as_slice() else { panic!("one listener is enough") };
    assert_eq!(listener.protocol, "HTTP");

    let routes = Object::<HttpRouteSpec>::read_all(folder, "HTTPRoute", V1);
    let routes = routes.iter().filter(|route| {
        route.has_parent(&gateway.metadata) && listener.admits(&route.metadata.namespace, &gateway.metadata.namespace)
    });
    let hosts: Vec<_> = routes
        .flat_map(|route| route.spec.hostnames().iter().map(move |host| (host, route)))
        .map(|(host, route)| {
            route.spec.rules.iter().for_each(Rule::assert_backends_are_near);
            let mut paths: Vec<_> = route.spec.rules.iter().flat_map(|rule| rule.paths()).collect();
            paths.sort_by_key(|path| Reverse(path.precedence()));
            let to_upstream = |path: &PathMatch| json!({"match": path.to_envoy(), "route": {"cluster": "upstream"}});
            json!({
                "name": format!("{host}:{}", listener.port),
                "domains": [host],
                "routes": paths.iter().map(to_upstream).collect::<Vec<_>>(),
            })
        })
        .collect();
    assert!(!hosts.is_empty(), "no route is attached");

    let policies = AuthorizationPolicy::all(folder);
    let policies =
        policies.iter().filter(|it| it.targets(GROUP, "Gateway", &gateway.metadata.name, &gateway.metadata.namespace));
    let mut http_filters = filters(policies, &mesh);
    http_filters.push(router());
    let mut chain = connection_manager(json!({
        "stat_prefix": "ingress",
        "use_remote_address": true,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": true, "cert": true, "dns": true, "uri": true},
        "route_config": {
            "name": format!("http.{}", listener.port),
            "ignore_port_in_host_matching": true,
            "virtual_hosts": hosts,
        },
        "http_filters": http_filters,
    }));
    if let Some((workloads, identity)) = tls {
        // A listener of the mode MUTUAL, but one that lets those in who have no certificate.
        chain["transport_socket"] = workloads.server_socket(identity, false);
    }
    bootstrap(&mesh, chain, ports)
}

/// The Envoy beside the workloads of a namespace that have this label, with their identity.
pub(super) fn sidecar(
    folder: &Folder,
    label: (&str, &str),
    namespace: &str,
    ports: Ports,
    (workloads, identity): (&Workloads, &Identity),
) -> Value {
    let mesh = Mesh::of(folder);
    let policies = AuthorizationPolicy::all(folder);
    let policies = policies.iter().filter(|it| it.selects(label, namespace));
    let mut http_filters = filters(policies, &mesh);
    http_filters.push(router());
    let mut chain = connection_manager(json!({
        "stat_prefix": "ingress",
        "use_remote_address": false,
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
        "route_config": service_routes(8000),
        "http_filters": http_filters,
    }));
    // By default (PERMISSIVE) a sidecar takes connections without TLS, too.
    let mut plain = chain.clone();
    plain["filter_chain_match"] = json!({"transport_protocol": "raw_buffer"});
    chain["filter_chain_match"] = json!({"transport_protocol": "tls"});
    chain["transport_socket"] = workloads.server_socket(identity, true);
    let mut bootstrap = bootstrap(&mesh, chain, ports);
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    listener["filter_chains"].as_array_mut().unwrap().push(plain);
    listener["listener_filters"] = json!([{
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
    }]);
    bootstrap
}

/// The one route of a service inside the mesh: whatever the host.
pub(in crate::with_gateways) fn service_routes(port: u16) -> Value {
    json!({
        "name": format!("inbound|{port}||"),
        "virtual_hosts": [{
            "name": format!("inbound|http|{port}"),
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
        }],
    })
}

/// A filter chain whose last filter has these settings, and those that Istio gives to each.
pub(in crate::with_gateways) fn connection_manager(mut settings: Value) -> Value {
    settings["@type"] =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager".into();
    // What `meshConfig.pathNormalization` is by default.
    settings["normalize_path"] = true.into();
    settings["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
    settings["access_log"] = json!([access_log()]);
    json!({"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": settings}]})
}

fn bootstrap(mesh: &Mesh, chain: Value, ports: Ports) -> Value {
    let mut clusters = mesh.clusters(ports.usher);
    clusters.push(cluster("upstream", ports.upstream));
    json!({
        "static_resources": {
            "listeners": [{"name": "ingress", "address": loopback(0), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    })
}
