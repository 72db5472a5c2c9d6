//! kgateway's own guide to external authorization, with its objects as they are: a Service `ext-authz` of another port than that
//! of its pods, which are Usher's, and a GatewayExtension that says nothing but where it is.

use serde_json::{Value, json};

use super::{ALLOW, FOLDER, H2C, Ports, checks, guide::BODY, start_usher, through_each_envoy, translate::bootstrap};
use crate::support::{documents::Folder, wait::until};

#[test]
fn its_objects_do_what_it_shows() {
    let usher = start_usher();
    through_each_envoy(&objects(), &usher, |gateway| {
        // The guide leaves the time that Envoy waits at 200 ms, which a busy machine may need. Then Envoy denies by itself.
        let get = |headers: &[(&str, &str)]| {
            until("an answer of Usher", || {
                let response = gateway.get("www.example.com", "/headers", headers);
                let is_of_envoy = response.status == 403 && response.text().is_empty();
                if is_of_envoy { Err("Envoy denied by itself".to_owned()) } else { Ok(response) }
            })
        };
        let before = checks(&usher, Some("sample"));
        let response = get(&[]);
        assert_eq!((response.status, response.text().as_str()), (403, BODY));
        assert_eq!(response.header("x-ext-authz-check-result"), Some("denied"));
        let response = get(&[ALLOW]);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["headers"]["x-ext-authz-check-result"], "allowed");
        assert!(checks(&usher, Some("sample")) >= before + 2.0);
    });
}

#[test]
fn its_objects_become_one_filter_that_speaks_http2() {
    let found = bootstrap(&objects().documents, PORTS).unwrap();
    let clusters = found["static_resources"]["clusters"].as_array().unwrap();
    let cluster = clusters.iter().find(|cluster| cluster["name"] == CLUSTER).unwrap();
    assert!(cluster["typed_extension_protocol_options"].is_object(), "{cluster}");
    let filters = manager(&found)["http_filters"].as_array().unwrap();
    let names: Vec<_> = filters.iter().map(|filter| filter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["global_disable/ext_auth", FILTER, "envoy.filters.http.router"]);
    let filter = &filters[1]["typed_config"];
    assert_eq!(filter["grpc_service"], json!({"envoy_grpc": {"cluster_name": CLUSTER}}), "no time of its own");
    assert_eq!(filter["status_on_error"], json!({"code": 403}));

    // What `type` says is said by `extAuth`, too.
    let mut objects = objects();
    let extension = &mut objects.edit("GatewayExtension", "basic-ext-auth")["spec"];
    assert_eq!(extension.as_object_mut().unwrap().remove("type"), Some(json!("ExtAuth")));
    assert_eq!(bootstrap(&objects.documents, PORTS).unwrap(), found);
}

/// How a route is exempt: since kgateway 2.1 with `disable`. The field of kgateway 2.0, which older copies of its guide show, is
/// refused.
#[test]
fn its_exemption_is_written_as_in_newer_versions() {
    let with = |ext_auth: Value| {
        let mut objects = objects();
        objects.documents.push(json!({
            "apiVersion": "gateway.kgateway.dev/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": {"name": "route-ext-auth-policy", "namespace": "httpbin"},
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "httpbin"}],
                "extAuth": ext_auth,
            },
        }));
        bootstrap(&objects.documents, PORTS)
    };
    let exempt = with(json!({"disable": {}})).unwrap();
    let route = &manager(&exempt)["route_config"]["virtual_hosts"][0]["routes"][0];
    let on = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
    assert_eq!(route["typed_per_filter_config"], json!({"global_disable/ext_auth": on}));
    assert_eq!(manager(&exempt)["route_config"]["typed_per_filter_config"], json!({FILTER: on}));

    let refusal = with(json!({"enablement": "DisableAll"})).unwrap_err();
    assert!(refusal.contains("unknown field `enablement`"), "{refusal}");
}

const CLUSTER: &str = "kube_kgateway-system_ext-authz_4444";
const FILTER: &str = "ext_auth/kgateway-system/basic-ext-auth";
const PORTS: Ports = Ports { usher: 1, upstream: 2 };

fn manager(bootstrap: &Value) -> &Value {
    bootstrap.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap()
}

/// The Gateway and the API of both guides, and what kgateway's adds to them.
fn objects() -> Folder {
    let mut folder = Folder::read(FOLDER);
    folder.documents.retain(|object| object["kind"] == "Gateway" || object["metadata"]["name"] == "httpbin");
    let metadata = |name: &str| json!({"name": name, "namespace": "kgateway-system", "labels": {"app": "ext-authz"}});
    folder.documents.extend([
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("ext-authz"),
            "spec": {
                "ports": [{"port": 4444, "targetPort": 9000, "protocol": "TCP", "appProtocol": H2C}],
                "selector": {"app": "ext-authz"},
            },
        }),
        json!({
            "apiVersion": "gateway.kgateway.dev/v1alpha1",
            "kind": "GatewayExtension",
            "metadata": metadata("basic-ext-auth"),
            "spec": {
                "type": "ExtAuth",
                "extAuth": {"grpcService": {"backendRef": {"name": "ext-authz", "port": 4444}}},
            },
        }),
        json!({
            "apiVersion": "gateway.kgateway.dev/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": metadata("gateway-ext-auth-policy"),
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "http"}],
                "extAuth": {"extensionRef": {"name": "basic-ext-auth"}},
            },
        }),
    ]);
    folder
}
