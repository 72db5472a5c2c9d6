//! What an Envoy is configured with: no more than it takes to check a request and to answer it.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Requests whose path begins with this are not checked.
pub(super) const EXEMPT: &str = "/exempt";

/// What counters of its listener are named by.
pub(super) const PREFIX: &str = "ingress";

/// For an Envoy that asks the server at this address, on free ports of the loopback address.
pub(super) fn bootstrap(server: SocketAddr) -> Value {
    let free = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let connection_manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": PREFIX,
        // As behind another proxy, whose headers about the client and its scheme stay: scenarios have rules about them.
        "use_remote_address": false,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes()}]},
        "http_filters": [
            {"name": FILTER, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "failure_mode_allow": false,
                "status_on_error": {"code": "ServiceUnavailable"},
                // Long, so that what is slow counts as slow, and does not end the measurement.
                "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "10s"},
            }},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }},
        ],
    });
    json!({
        "admin": {"address": free},
        "static_resources": {
            "listeners": [{
                "name": "ingress",
                "address": free,
                // That proxy says on each connection for whom it is: scenarios have a rule about that, too.
                "listener_filters": [{"name": "envoy.filters.listener.proxy_protocol", "typed_config": {
                    "@type":
                        "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
                }}],
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager,
                }]}],
            }],
            "clusters": [cluster(server)],
        },
    })
}

const FILTER: &str = "envoy.filters.http.ext_authz";
const CLUSTER: &str = "authorization";

/// Both answer alike.
fn routes() -> Value {
    let answer = json!({"status": 200, "body": {"inline_string": "fine"}});
    json!([
        {
            "match": {"path_separated_prefix": EXEMPT},
            "direct_response": answer,
            "typed_per_filter_config": {FILTER: {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "disabled": true,
            }},
        },
        {"match": {"prefix": "/"}, "direct_response": answer},
    ])
}

fn cluster(server: SocketAddr) -> Value {
    let address = json!({"socket_address": {"address": server.ip().to_string(), "port_value": server.port()}});
    json!({
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exempt_route_is_not_checked_and_the_server_is_asked() {
        let bootstrap = bootstrap(([127, 0, 0, 1], 4711).into());
        let found = |path: &str| bootstrap.pointer(path).unwrap_or_else(|| panic!("{path} is missing"));
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let routes = found(&format!("{manager}/route_config/virtual_hosts/0/routes")).as_array().unwrap();
        assert_eq!(routes[0]["match"]["path_separated_prefix"], EXEMPT);
        assert_eq!(routes[0]["typed_per_filter_config"][FILTER]["disabled"], true);
        assert_eq!((routes.len(), routes[1].get("typed_per_filter_config")), (2, None));
        assert_eq!(routes[0]["direct_response"], routes[1]["direct_response"]);
        let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        assert_eq!(found(&format!("{endpoint}/socket_address/port_value")), 4711);
    }
}
