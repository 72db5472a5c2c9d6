//! That the stand-in makes of objects what Envoy Gateway makes of them.

use serde_json::{Value, json};

use super::{FOLDER, Ports, translate::translate};
use crate::support::{documents::Folder, envoy::access_log};

/// Written by hand, in the form of the outputs of Envoy Gateway's own tests of its translation: of
/// `internal/xds/translator/testdata/out/xds-ir/ext-auth.listeners.yaml`, `ext-auth.routes.yaml` and
/// `ext-auth-body.listeners.yaml` at its commit d32f28294245. The names of clusters are those of
/// `internal/gatewayapi/testdata/securitypolicy-with-extauth.out.yaml`.
#[test]
fn the_manifests_become_filters_that_routes_switch_on() {
    let bootstrap = translate(&Folder::read(FOLDER), "public", Ports { usher: 1, upstream: 2 });
    let listener = &bootstrap["static_resources"]["listeners"][0];
    let chain = &listener["default_filter_chain"];
    assert_eq!((&listener["name"], &chain["name"]), (&json!("shop/public/http"), &json!("shop/public/http")));
    assert_eq!(listener["per_connection_buffer_limit_bytes"], 32768);

    let mut manager = chain["filters"][0]["typed_config"].as_object().unwrap().clone();
    let filters = manager.remove("http_filters").unwrap();
    let routes = manager.remove("route_config").unwrap();
    assert_eq!(
        Value::from(manager),
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress",
            "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "server_header_transformation": "PASS_THROUGH",
            "access_log": [access_log()],
        })
    );

    let ext_authz = |name: &str, more: Value| {
        let mut config = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "failure_mode_allow": false,
            "grpc_service": {
                "envoy_grpc": {
                    "authority": "usher-authorization.usher:50051",
                    "cluster_name": format!("securitypolicy/shop/{name}/extauth/0"),
                },
                "timeout": "1s",
            },
            "status_on_error": {"code": 503},
            "transport_api_version": "V3",
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let name = format!("envoy.filters.http.ext_authz/securitypolicy/shop/{name}");
        json!({"name": name, "disabled": true, "typed_config": config})
    };
    assert_eq!(
        filters,
        json!([
            ext_authz("usher", json!({"route_metadata_context_namespaces": ["envoy-gateway"]})),
            ext_authz(
                "usher-checkout",
                json!({
                    "route_metadata_context_namespaces": ["envoy-gateway"],
                    "with_request_body": {"max_request_bytes": 8192},
                })
            ),
            ext_authz("usher-partners", json!({})),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": true,
                },
            },
        ])
    );
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    let http2 = |cluster: &&Value| cluster.get("typed_extension_protocol_options").is_some();
    let names: Vec<_> = clusters.iter().filter(http2).map(|cluster| cluster["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["usher", "usher-checkout", "usher-partners"].map(|it| format!("securitypolicy/shop/{it}/extauth/0"))
    );

    assert_eq!((&routes["name"], &routes["ignore_port_in_host_matching"]), (&json!("shop/public/http"), &json!(true)));
    let hosts = routes["virtual_hosts"].as_array().unwrap();
    let names = hosts.iter().map(|host| (host["name"].as_str().unwrap(), host["domains"][0].as_str().unwrap()));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            ("shop/public/http/__partners_example_com", "*.partners.example.com"),
            ("shop/public/http/shop_example_com", "shop.example.com"),
        ]
    );
    // The name of the route, what it is for, and which filter it switches on with what.
    let found = hosts.iter().flat_map(|host| host["routes"].as_array().unwrap()).map(|route| {
        let switches = route.get("typed_per_filter_config").map(|it| {
            let [(filter, settings)] = &it.as_object().unwrap().iter().collect::<Vec<_>>()[..] else { panic!("{it}") };
            let mut settings = (*settings).clone();
            let kind = settings.as_object_mut().unwrap().remove("@type").unwrap();
            assert_eq!(kind, "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute");
            (filter.rsplit('/').next().unwrap(), settings)
        });
        (route["name"].as_str().unwrap(), &route["match"], switches)
    });
    let on = |policy: &'static str| Some((policy, json!({"check_settings": {}})));
    let named = json!({"check_settings": {"context_extensions": {"host": "partners.shop.internal"}}});
    for (found, (name, path, switches)) in found.zip([
        ("partners/rule/0/match/0/__partners_example_com", json!({"prefix": "/"}), Some(("usher-partners", named))),
        ("health/rule/0/match/0/shop_example_com", json!({"path": "/healthz"}), None),
        ("shop/rule/1/match/0/shop_example_com", json!({"path_separated_prefix": "/checkout"}), on("usher-checkout")),
        ("reports/rule/0/match/0/shop_example_com", json!({"path_separated_prefix": "/reports"}), on("usher")),
        ("drafts/rule/0/match/0/shop_example_com", json!({"path_separated_prefix": "/drafts"}), on("usher")),
        ("help/rule/0/match/0/shop_example_com", json!({"path_separated_prefix": "/help"}), on("usher")),
        ("shop/rule/0/match/0/shop_example_com", json!({"prefix": "/"}), on("usher")),
    ]) {
        assert_eq!(found, (&*format!("httproute/shop/{name}"), &path, switches));
    }
    assert_eq!(hosts.iter().map(|host| host["routes"].as_array().unwrap().len()).collect::<Vec<_>>(), [1, 6]);

    // By this Usher finds AuthConfigs.
    let checkout = &hosts[1]["routes"][1]["metadata"];
    let resource = json!({"kind": "HTTPRoute", "namespace": "shop", "name": "shop", "sectionName": "checkout"});
    assert_eq!(*checkout, json!({"filter_metadata": {"envoy-gateway": {"resources": [resource]}}}));
}

#[test]
fn settings_of_a_policy_become_those_of_its_filter() {
    let filter = |ext_auth: Value| {
        let mut folder = Folder::read(FOLDER);
        folder.edit("SecurityPolicy", "usher")["spec"]["extAuth"] = ext_auth;
        let bootstrap = translate(&folder, "public", Ports { usher: 1, upstream: 2 });
        let manager = "/static_resources/listeners/0/default_filter_chain/filters/0/typed_config";
        let mut config = bootstrap.pointer(manager).unwrap()["http_filters"][0]["typed_config"].clone();
        config.as_object_mut().unwrap().remove("@type");
        config
    };
    let grpc = json!({"backendRefs": [{"name": "usher-authorization", "namespace": "usher", "port": 50051}]});
    let to = json!({
        "authority": "usher-authorization.usher:50051",
        "cluster_name": "securitypolicy/shop/usher/extauth/0",
    });
    for (ext_auth, expected) in [
        // Without a timeout it waits for ten seconds.
        (
            json!({"grpc": grpc}),
            json!({
                "failure_mode_allow": false,
                "grpc_service": {"envoy_grpc": to, "timeout": "10s"},
                "transport_api_version": "V3",
            }),
        ),
        (
            json!({
                "grpc": grpc,
                "timeout": "2s",
                "failOpen": true,
                "statusOnError": 500,
                "headersToExtAuth": ["header1", "header2"],
                "bodyToExtAuth": {"maxRequestBytes": 32768},
                "includeRouteMetadata": true,
            }),
            json!({
                "failure_mode_allow": true,
                "grpc_service": {"envoy_grpc": to, "timeout": "2s"},
                "status_on_error": {"code": 500},
                "allowed_headers": {"patterns": [
                    {"exact": "header1", "ignore_case": true},
                    {"exact": "header2", "ignore_case": true},
                ]},
                "with_request_body": {"max_request_bytes": 32768},
                "route_metadata_context_namespaces": ["envoy-gateway"],
                "transport_api_version": "V3",
            }),
        ),
    ] {
        assert_eq!(filter(ext_auth.clone()), expected, "{ext_auth}");
    }
}
