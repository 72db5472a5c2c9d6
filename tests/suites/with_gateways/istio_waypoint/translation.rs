//! That the stand-in makes of objects what Istio makes of them for a waypoint.

use serde_json::{Value, json};

use super::{
    ECHO, FOLDER, HTTPBIN, Ports, WAYPOINT,
    translate::{Address, waypoint},
};
use crate::{
    support::{documents::Folder, envoy::router},
    with_gateways::{
        istio::translation::{asks, denies, marks, names_of, none_of, own_settings, path},
        workloads::Workloads,
    },
};

fn bootstrap(folder: &Folder) -> Value {
    let workloads = Workloads::new();
    let identity = workloads.identity(WAYPOINT);
    let ports = Ports { usher: 1, upstream: 2 };
    waypoint(folder, &[HTTPBIN, ECHO], Address::OfCaller, ports, (&workloads, &identity))
}

/// Written by hand, after what Istio builds at its commit 86c9f01fd735: `pilot/pkg/networking/core/listener_waypoint.go` says which
/// listeners and filters there are and in which order, `pilot/pkg/xds/filters/filters.go` what is in those that are the same for
/// all, and `pilot/pkg/security/authz/builder/testdata/http` what becomes of policies.
#[test]
fn the_manifests_become_a_chain_of_filters_for_each_service() {
    let bootstrap = bootstrap(&Folder::read(FOLDER));
    let [outer, inner] = &bootstrap["static_resources"]["listeners"].as_array().unwrap()[..] else { panic!() };
    assert_eq!((&inner["name"], &inner["internal_listener"]), (&json!("main_internal"), &json!({})));
    assert_eq!(inner["listener_filters"][0]["name"], "envoy.filters.listener.original_dst");

    // What comes in has a certificate, and asks to be passed on to the inner listener.
    assert_eq!(outer["name"], "connect_terminate");
    let chain = &outer["filter_chains"][0];
    assert_eq!(chain["transport_socket"]["typed_config"]["require_client_certificate"], true);
    let mut terminate = chain["filters"][0]["typed_config"].clone();
    assert_eq!(
        (&terminate["stat_prefix"], &terminate["use_remote_address"]),
        (&json!("connect_terminate"), &json!(false))
    );
    assert_eq!(terminate["http2_protocol_options"], json!({"allow_connect": true}));
    assert_eq!(terminate["upgrade_configs"], json!([{"upgrade_type": "CONNECT"}]));
    let route = &terminate["route_config"]["virtual_hosts"][0]["routes"][0];
    assert_eq!(
        (&route["match"], &route["route"]["cluster"]),
        (&json!({"connect_matcher": {}}), &json!("main_internal"))
    );
    // What is known of the connection is kept for the inner one, under these names.
    let filter = &mut terminate["http_filters"][0];
    assert_eq!(filter["name"], "connect_authority");
    let states = filter["typed_config"]["on_request_headers"].as_array().unwrap().iter().map(|state| {
        assert_eq!(state["shared_with_upstream"], "ONCE");
        let format = &state["format_string"]["text_format_source"]["inline_string"];
        (state["object_key"].as_str().unwrap(), format.as_str().unwrap())
    });
    assert_eq!(
        states.collect::<Vec<_>>(),
        [
            ("envoy.filters.listener.original_dst.local_ip", "%REQ(:AUTHORITY)%"),
            ("io.istio.peer_principal", "%DOWNSTREAM_PEER_URI_SAN%"),
            ("io.istio.local_principal", "%DOWNSTREAM_LOCAL_URI_SAN%"),
            ("envoy.filters.listener.original_dst.remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%"),
        ]
    );

    let says_who_calls = json!({
        "name": "istio.waypoint.xfcc_client_identity",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [{"append": {
                "header": {
                    "key": "x-forwarded-client-cert",
                    "value": "By=%FILTER_STATE(io.istio.local_principal:PLAIN)%;URI=%FILTER_STATE(io.istio.peer_principal:PLAIN)%",
                },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }}]},
        },
    });
    let of_httpbin = [
        says_who_calls.clone(),
        marks("ns[httpbin]-policy[usher]-rule[0]", none_of(vec![path("/status/200")])),
        asks(json!({})),
        denies("ns[httpbin]-policy[own-names-of-httpbin]-rule[0]", none_of(names_of("httpbin", "httpbin"))),
        router(),
    ];
    let chains = inner["filter_chains"].as_array().unwrap();
    for (chain, (host, address, filters)) in chains.iter().zip([
        ("httpbin.httpbin.svc.cluster.local", "10.96.0.10", &of_httpbin[..]),
        ("echo.httpbin.svc.cluster.local", "10.96.0.11", &[says_who_calls, router()]),
    ]) {
        assert_eq!(chain["name"], format!("inbound-vip|8000|http|{host}"));
        let addresses = json!([{"address_prefix": address, "prefix_len": 32}]);
        assert_eq!(chain["filter_chain_match"], json!({"prefix_ranges": addresses, "destination_port": 8000}));
        assert_eq!(chain.get("transport_socket"), None, "no certificate is seen here");
        let mut settings = own_settings(&chain["filters"][0]["typed_config"]);
        assert!(settings.as_object_mut().unwrap().remove("route_config").is_some());
        assert_eq!(
            settings,
            json!({
                "use_remote_address": false,
                "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
                "http_filters": filters,
            })
        );
    }
    assert_eq!(chains.len(), 2);
}

#[test]
fn without_the_annotation_the_header_is_taken_away() {
    let mut folder = Folder::read(FOLDER);
    for (value, is_on) in [("true", true), ("TRUE", true), ("1", false), ("false", false)] {
        folder.edit("Gateway", "httpbin-waypoint")["metadata"]["annotations"] =
            json!({"ambient.istio.io/xfcc-include-client-identity": value});
        let bootstrap = bootstrap(&folder);
        let chain = &bootstrap["static_resources"]["listeners"][1]["filter_chains"][0];
        let manager = &chain["filters"][0]["typed_config"];
        let expected = if is_on { "ALWAYS_FORWARD_ONLY" } else { "SANITIZE" };
        assert_eq!(manager["forward_client_cert_details"], expected, "{value}");
        let first = &manager["http_filters"][0]["name"];
        assert_eq!(first == "istio.waypoint.xfcc_client_identity", is_on, "{value}");
    }
}
