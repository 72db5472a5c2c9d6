//! That the stand-in makes of objects what kgateway makes of them.

use serde_json::{Value, json};

use super::{Ports, shipped, translate::bootstrap};
use crate::support::envoy::router;

/// Written by hand, in the form of the outputs of kgateway's own tests of its translation: of
/// `testutils/outputs/traffic-policy/extauth-full-config.yaml` at its commit 16e8d977f4da.
#[test]
fn the_manifests_become_filters_that_routes_switch_on() {
    let bootstrap = bootstrap(&shipped().documents, Ports { usher: 1, upstream: 2 }).unwrap();
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = bootstrap.pointer(manager).unwrap();
    let ext_authz = |name: &str| {
        json!({
            "name": name,
            "disabled": true,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "grpc_service": {
                    "envoy_grpc": {"cluster_name": "kube_usher_usher-authorization_50051"},
                    "timeout": "1s",
                },
                "status_on_error": {"code": 503},
                "filter_enabled_metadata": {
                    "filter": "dev.kgateway.disable_ext_auth",
                    "path": [{"key": "disable"}],
                    "value": {"bool_match": true},
                    "invert": true,
                },
            },
        })
    };
    assert_eq!(
        manager["http_filters"],
        json!([
            {
                "name": "global_disable/ext_auth",
                "disabled": true,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                    "metadata": [{"metadata_namespace": "dev.kgateway.disable_ext_auth", "value": {"disable": true}}],
                },
            },
            ext_authz("ext_auth/kgateway-system/usher"),
            ext_authz("ext_auth/httpbin/usher-of-httpbin"),
            router(),
        ])
    );
    let on = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
    let named = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": {"context_extensions": {"host": "tokens.authconfig.internal"}},
    });
    let routes = &manager["route_config"];
    assert_eq!(routes["typed_per_filter_config"], json!({"ext_auth/kgateway-system/usher": on}));
    let hosts = routes["virtual_hosts"].as_array().unwrap().iter().map(|host| {
        let routes = host["routes"].as_array().unwrap().iter();
        let routes = routes.map(|route| (route["match"].clone(), route["typed_per_filter_config"].clone()));
        (host["domains"][0].as_str().unwrap(), routes.collect::<Vec<_>>())
    });
    let all = json!({"prefix": "/"});
    let exempt = (json!({"path": "/status/200"}), json!({"global_disable/ext_auth": on}));
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [
            ("*.tokens.example.com", vec![(all.clone(), json!({"ext_auth/kgateway-system/usher": named}))]),
            ("both.example.com", vec![(all.clone(), json!({"ext_auth/httpbin/usher-of-httpbin": named}))]),
            ("shop.example.com", vec![(all.clone(), Value::Null)]),
            ("tokens.example.com", vec![(all.clone(), json!({"ext_auth/kgateway-system/usher": named}))]),
            ("www.example.com", vec![exempt, (all, Value::Null)]),
        ]
    );
}

#[test]
fn settings_of_an_extension_become_those_of_its_filter() {
    let filter = |provider: Value| {
        let mut objects = shipped();
        objects.edit("GatewayExtension", "usher")["spec"]["extAuth"] = provider;
        let bootstrap = bootstrap(&objects.documents, Ports { usher: 1, upstream: 2 })?;
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let filters = bootstrap.pointer(manager).unwrap()["http_filters"].as_array().unwrap().clone();
        let is_it = |filter: &&Value| filter["name"] == "ext_auth/kgateway-system/usher";
        let mut config = filters.iter().find(is_it).unwrap()["typed_config"].as_object().unwrap().clone();
        config.remove("@type");
        config.remove("filter_enabled_metadata");
        Ok::<_, String>(Value::from(config))
    };
    let backend = json!({"name": "usher-authorization", "namespace": "usher", "port": 50051});
    let cluster = "kube_usher_usher-authorization_50051";
    for (provider, expected) in [
        // Without a timeout there is none, and Envoy waits for 200 ms.
        (
            json!({"grpcService": {"backendRef": backend}}),
            json!({"grpc_service": {"envoy_grpc": {"cluster_name": cluster}}, "status_on_error": {"code": 403}}),
        ),
        (
            json!({
                "grpcService": {"backendRef": backend, "authority": "usher", "requestTimeout": "250ms"},
                "failOpen": true,
                "clearRouteCache": true,
                "statusOnError": 500,
                "statPrefix": "usher",
                "headersToForward": ["authorization"],
                "withRequestBody": {"maxRequestBytes": 8192, "allowPartialMessage": true, "packAsBytes": true},
            }),
            json!({
                "grpc_service": {
                    "envoy_grpc": {"cluster_name": cluster, "authority": "usher"},
                    "timeout": "0.25s",
                },
                "failure_mode_allow": true,
                "clear_route_cache": true,
                "status_on_error": {"code": 500},
                "stat_prefix": "usher",
                "allowed_headers": {"patterns": [{"exact": "authorization"}]},
                "with_request_body":
                    {"max_request_bytes": 8192, "allow_partial_message": true, "pack_as_bytes": true},
            }),
        ),
    ] {
        assert_eq!(filter(provider.clone()).unwrap(), expected, "{provider}");
    }
    for (provider, reason) in [
        (json!({"grpcService": {"backendRef": backend}, "timeout": "1s"}), "unknown field `timeout`"),
        (json!({"grpcService": {"backendRef": backend, "timeout": "1s"}}), "unknown field `timeout`"),
        (json!({"grpcService": {"backendRef": {"name": "nobody", "port": 1}}}), "no Service `kgateway-system/nobody`"),
    ] {
        let found = filter(provider.clone()).unwrap_err();
        assert!(found.contains(reason), "{provider}: {found}");
    }
}

/// The list is that of kgateway. The name of the port is `grpc`, and means nothing to it.
#[test]
fn the_protocol_of_a_port_says_whether_it_speaks_http2() {
    for (protocol, expected) in [
        (json!("kubernetes.io/h2c"), true),
        (json!("http2"), true),
        (json!("grpc"), true),
        (json!("grpc-web"), true),
        (Value::Null, false),
        (json!("http"), false),
        (json!("h2c"), false),
        (json!("GRPC"), false),
        (json!("kubernetes.io/ws"), false),
    ] {
        let mut objects = shipped();
        let port = &mut objects.edit("Service", "usher-authorization")["spec"]["ports"][0];
        assert_eq!(port["name"], "grpc");
        port["appProtocol"] = protocol.clone();
        let bootstrap = bootstrap(&objects.documents, Ports { usher: 1, upstream: 2 }).unwrap();
        let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
        let cluster = clusters.iter().find(|it| it["name"] == "kube_usher_usher-authorization_50051").unwrap();
        assert_eq!(cluster.get("typed_extension_protocol_options").is_some(), expected, "{protocol}");
    }
}
