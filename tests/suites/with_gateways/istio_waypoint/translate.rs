//! What Istio makes of our manifests: the Envoy of a waypoint.
//!
//! ```text
//!  a node ──mTLS, CONNECT──► connect_terminate ──► main_internal ──► one chain of filters for each Service ──► upstream
//!                            knows the caller      a listener without a network: no certificate, no caller;
//!                                                  with the annotation, a filter writes the caller into a header
//! ```

use serde_json::{Value, json};

use crate::{
    support::{
        documents::Folder,
        envoy::{cluster, loopback, router},
    },
    with_gateways::{
        Ports,
        gateway_api::{GROUP, GatewaySpec, Metadata, Object, V1},
        istio::{
            authorization_policy::{AuthorizationPolicy, Mesh, filters},
            translate::{connection_manager, service_routes},
        },
        workloads::{Identity, Workloads},
    },
};

/// A Service that is reached through the waypoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    /// Its address in the cluster.
    pub(super) address: &'static str,
    pub(super) port: u16,
}

/// What the outer listener tells the inner one of the address of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// The address itself.
    OfCaller,
    /// Nothing, as in older versions: the inner listener knows its own only.
    Internal,
}

/// The waypoint of a folder, with an identity, in front of Services.
pub(super) fn waypoint(
    folder: &Folder,
    services: &[Service],
    address: Address,
    ports: Ports,
    (workloads, identity): (&Workloads, &Identity),
) -> Value {
    let mesh = Mesh::of(folder);
    let mut gateways = Object::<GatewaySpec>::read_all(folder, "Gateway", V1);
    let (Some(gateway), true) = (gateways.pop(), gateways.is_empty()) else { panic!("one Gateway is enough") };
    assert_eq!(gateway.spec.gateway_class_name, "istio-waypoint");
    assert_eq!(gateway.metadata.labels["istio.io/waypoint-for"], "service");
    let [listener] = gateway.spec.listeners.as_slice() else { panic!("one listener is enough") };
    assert_eq!((listener.protocol.as_str(), listener.port), ("HBONE", 15008));
    assert_is_used(folder, &gateway.metadata);

    let annotation = gateway.metadata.annotations.get("ambient.istio.io/xfcc-include-client-identity");
    let tells_caller = annotation.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let policies = AuthorizationPolicy::all(folder);
    let chains = services.iter().map(|service| {
        let policies = policies.iter().filter(|it| {
            let is_of_waypoint = it.targets(GROUP, "Gateway", &gateway.metadata.name, &gateway.metadata.namespace);
            is_of_waypoint || it.targets("", "Service", service.name, service.namespace)
        });
        let mut http_filters: Vec<_> = tells_caller.then(caller_header).into_iter().collect();
        http_filters.extend(filters(policies, &mesh));
        http_filters.push(router());
        let mut chain = connection_manager(json!({
            "stat_prefix": "ingress",
            "use_remote_address": false,
            "forward_client_cert_details": if tells_caller { "ALWAYS_FORWARD_ONLY" } else { "SANITIZE" },
            "route_config": service_routes(service.port),
            "http_filters": http_filters,
        }));
        let host = format!("{}.{}.svc.cluster.local", service.name, service.namespace);
        chain["name"] = format!("inbound-vip|{}|http|{host}", service.port).into();
        chain["filter_chain_match"] = json!({
            "prefix_ranges": [{"address_prefix": service.address, "prefix_len": 32}],
            "destination_port": service.port,
        });
        chain
    });
    let main_internal = json!({
        "name": "main_internal",
        "internal_listener": {},
        "listener_filters": [{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"},
        }],
        "filter_chains": chains.collect::<Vec<_>>(),
    });

    let mut clusters = mesh.clusters(ports.usher);
    clusters.extend([cluster("upstream", ports.upstream), to_main_internal()]);
    json!({
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"},
        }],
        "static_resources": {
            "listeners": [connect_terminate(workloads.server_socket(identity, true), address), main_internal],
            "clusters": clusters,
        },
    })
}

/// The namespace says that its services are reached through the waypoint.
fn assert_is_used(folder: &Folder, gateway: &Metadata) {
    let labels = &folder.one("Namespace", &gateway.namespace)["metadata"]["labels"];
    assert_eq!(
        (&labels["istio.io/dataplane-mode"], &labels["istio.io/use-waypoint"]),
        (&json!("ambient"), &json!(gateway.name))
    );
}

/// The listener to which nodes open tunnels. What it learns of the connection it hands on beside the bytes.
fn connect_terminate(socket: Value, address: Address) -> Value {
    let state = |key: &str, factory: Option<&str>, format: &str| {
        let mut entry = json!({
            "object_key": key,
            "format_string": {"text_format_source": {"inline_string": format}},
            "shared_with_upstream": "ONCE",
        });
        if let Some(factory) = factory {
            entry["factory_key"] = factory.into();
        }
        entry
    };
    let mut states = vec![
        state("envoy.filters.listener.original_dst.local_ip", None, "%REQ(:AUTHORITY)%"),
        state("io.istio.peer_principal", Some("envoy.string"), "%DOWNSTREAM_PEER_URI_SAN%"),
        state("io.istio.local_principal", Some("envoy.string"), "%DOWNSTREAM_LOCAL_URI_SAN%"),
    ];
    if address == Address::OfCaller {
        states.push(state("envoy.filters.listener.original_dst.remote_ip", None, "%DOWNSTREAM_REMOTE_ADDRESS%"));
    }
    let mut chain = connection_manager(json!({
        "stat_prefix": "connect_terminate",
        "use_remote_address": false,
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"name": "default", "virtual_hosts": [{
            "name": "default",
            "domains": ["*"],
            "routes": [{
                "match": {"connect_matcher": {}},
                "route": {"cluster": "main_internal", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
            }],
        }]},
        "http_filters": [
            {
                "name": "connect_authority",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                    "on_request_headers": states,
                },
            },
            router(),
        ],
    }));
    chain["transport_socket"] = socket;
    json!({"name": "connect_terminate", "address": loopback(0), "filter_chains": [chain]})
}

/// The filter that the annotation asks for.
fn caller_header() -> Value {
    let value = "By=%FILTER_STATE(io.istio.local_principal:PLAIN)%;URI=%FILTER_STATE(io.istio.peer_principal:PLAIN)%";
    json!({
        "name": "istio.waypoint.xfcc_client_identity",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [{"append": {
                "header": {"key": "x-forwarded-client-cert", "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }}]},
        },
    })
}

fn to_main_internal() -> Value {
    let endpoint = json!({"address": {"envoy_internal_address": {"server_listener_name": "main_internal"}}});
    json!({
        "name": "main_internal",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "main_internal", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "transport_socket": {
            "name": "internal_upstream",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"},
                },
            },
        },
    })
}
