//! That the stand-in makes of objects what Istio makes of them.

use serde_json::{Value, json};

use super::{
    FOLDER, Ports,
    authorization_policy::{AuthorizationPolicy, Mesh, filters},
    translate::{ingress, sidecar},
};
use crate::{
    support::{
        documents::Folder,
        envoy::{access_log, router},
    },
    with_gateways::workloads::Workloads,
};

const PORTS: Ports = Ports { usher: 1, upstream: 2 };
const SERVICE: &str = "usher-authorization.usher.svc.cluster.local";

/// What comes first of the two filters of a provider: it marks requests that fit.
pub(in crate::with_gateways) fn marks(policy: &str, permissions: Value) -> Value {
    rbac(json!({
        "shadow_rules": deny(&format!("istio-ext-authz-usher-{policy}"), permissions),
        "shadow_rules_stat_prefix": "istio_ext_authz_",
    }))
}

/// The other one: it asks about those that are marked.
pub(in crate::with_gateways) fn asks(more: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "failure_mode_allow": false,
        "filter_enabled_metadata": {
            "filter": "envoy.filters.http.rbac",
            "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
            "value": {"string_match": {"prefix": "istio-ext-authz-usher"}},
        },
        "grpc_service": {
            "envoy_grpc": {"authority": SERVICE, "cluster_name": format!("outbound|50051||{SERVICE}")},
            "timeout": "1s",
        },
        "status_on_error": {"code": 503},
        "transport_api_version": "V3",
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": config})
}

/// The filter of policies with the action `DENY`.
pub(in crate::with_gateways) fn denies(policy: &str, permissions: Value) -> Value {
    rbac(json!({"rules": deny(policy, permissions), "shadow_rules_stat_prefix": "istio_dry_run_allow_"}))
}

fn deny(policy: &str, permissions: Value) -> Value {
    let principals = json!([{"and_ids": {"ids": [{"any": true}]}}]);
    json!({"action": "DENY", "policies": {policy: {"permissions": permissions, "principals": principals}}})
}

fn rbac(mut config: Value) -> Value {
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC");
    json!({"name": "envoy.filters.http.rbac", "typed_config": config})
}

/// None of these holds.
pub(in crate::with_gateways) fn none_of(rules: Vec<Value>) -> Value {
    json!([{"and_rules": {"rules": [{"not_rule": {"or_rules": {"rules": rules}}}]}}])
}

/// The path is this one.
pub(in crate::with_gateways) fn path(path: &str) -> Value {
    json!({"url_path": {"path": {"exact": path}}})
}

/// The hosts of a Service, on port 8000 or without a port.
pub(in crate::with_gateways) fn names_of(service: &str, namespace: &str) -> Vec<Value> {
    let longer = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{service}.{namespace}{end}"));
    let names = [vec![service.to_owned()], longer.to_vec()].concat();
    let names = names.iter().flat_map(|name| [name.clone(), format!("{name}:8000")]);
    let host = |name: String| {
        let exactly = json!({"exact": name, "ignore_case": true});
        json!({"header": {"name": ":authority", "string_match": exactly}})
    };
    names.map(host).collect()
}

fn every_request() -> Value {
    json!([{"and_rules": {"rules": [{"any": true}]}}])
}

/// Settings of a connection manager, without those that each has.
pub(in crate::with_gateways) fn own_settings(manager: &Value) -> Value {
    let mut manager = manager.clone();
    let mut take = |name: &str| manager.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("no `{name}`"));
    assert_eq!(
        take("@type"),
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    );
    assert_eq!(
        (take("normalize_path"), take("path_with_escaped_slashes_action")),
        (json!(true), json!("KEEP_UNCHANGED"))
    );
    assert_eq!((take("stat_prefix"), take("access_log")), (json!("ingress"), json!([access_log()])));
    manager
}

/// Written by hand, in the form of the outputs of Istio's own tests of its translation: of
/// `pilot/pkg/security/authz/builder/testdata/http/custom-grpc-provider-out1.yaml` and `…-out2.yaml` at its commit 86c9f01fd735.
#[test]
fn the_manifests_become_the_filters_of_a_gateway() {
    let bootstrap = ingress(&Folder::read(FOLDER), "public", PORTS, None);
    let chains = bootstrap["static_resources"]["listeners"][0]["filter_chains"].as_array().unwrap();
    let [chain] = &chains[..] else { panic!("{chains:?}") };
    let body = json!({"max_request_bytes": 8192, "allow_partial_message": false, "pack_as_bytes": false});
    assert_eq!(
        own_settings(&chain["filters"][0]["typed_config"]),
        json!({
            "use_remote_address": true,
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"subject": true, "cert": true, "dns": true, "uri": true},
            "route_config": {
                "name": "http.80",
                "ignore_port_in_host_matching": true,
                "virtual_hosts": [{
                    "name": "orders.example.com:80",
                    "domains": ["orders.example.com"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }],
            },
            "http_filters": [
                marks("ns[istio-ingress]-policy[usher]-rule[0]", none_of(vec![path("/healthz")])),
                asks(json!({"with_request_body": body})),
                router(),
            ],
        })
    );
    assert_cluster_of_usher(&bootstrap);
}

/// The policy with the action `DENY` and the rule for every request are in the form of `deny-empty-rule-out.yaml`, the hosts in that
/// of `allow-full-rule-out.yaml`.
#[test]
fn the_manifests_become_the_filters_of_a_sidecar() {
    let workloads = Workloads::new();
    let inventory = workloads.identity("spiffe://cluster.local/ns/shop/sa/inventory");
    let bootstrap = sidecar(&Folder::read(FOLDER), ("app", "inventory"), "shop", PORTS, (&workloads, &inventory));
    let listener = &bootstrap["static_resources"]["listeners"][0];
    assert_eq!(listener["listener_filters"][0]["name"], "envoy.filters.listener.tls_inspector");
    let chains = listener["filter_chains"].as_array().unwrap();
    let body = json!({"max_request_bytes": 8192, "allow_partial_message": false, "pack_as_bytes": false});
    for (chain, protocol) in chains.iter().zip(["tls", "raw_buffer"]) {
        assert_eq!(chain["filter_chain_match"], json!({"transport_protocol": protocol}));
        let socket = &chain["transport_socket"]["typed_config"];
        assert_eq!(socket["require_client_certificate"].as_bool(), (protocol == "tls").then_some(true));
        assert_eq!(
            own_settings(&chain["filters"][0]["typed_config"]),
            json!({
                "use_remote_address": false,
                "forward_client_cert_details": "APPEND_FORWARD",
                "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
                "route_config": {
                    "name": "inbound|8000||",
                    "virtual_hosts": [{
                        "name": "inbound|http|8000",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                    }],
                },
                "http_filters": [
                    marks("ns[shop]-policy[usher-inventory]-rule[0]", every_request()),
                    asks(json!({"with_request_body": body})),
                    denies("ns[shop]-policy[own-names-of-inventory]-rule[0]", none_of(names_of("inventory", "shop"))),
                    router(),
                ],
            })
        );
    }
    assert_eq!(chains.len(), 2);
    assert_cluster_of_usher(&bootstrap);
}

fn assert_cluster_of_usher(bootstrap: &Value) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    let is_it = |cluster: &&Value| cluster["name"] == format!("outbound|50051||{SERVICE}");
    let cluster = clusters.iter().find(is_it).unwrap();
    assert!(cluster["typed_extension_protocol_options"].is_object(), "HTTP/2, by the name of the port: {cluster}");
    assert_eq!(clusters.len(), 2);
}

fn policy(rules: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"action": "CUSTOM", "provider": {"name": "usher"}, "rules": rules},
    })
}

/// In the form of `deny-empty-rule-out.yaml` and `allow-full-rule-out.yaml`.
#[test]
fn rules_become_permissions() {
    let mesh = Mesh::of(&Folder::read(FOLDER));
    let method = |name: &str| json!({"header": {"name": ":method", "string_match": {"exact": name}}});
    let any_of = |rules: Vec<Value>| json!({"or_rules": {"rules": rules}});
    let all = |rules: Vec<Value>| json!({"and_rules": {"rules": rules}});
    for (rule, permissions) in [
        (json!({}), every_request()),
        (
            json!({"to": [{"operation": {"methods": ["GET", "HEAD"], "notPaths": ["/healthz"]}}]}),
            json!([all(vec![
                any_of(vec![method("GET"), method("HEAD")]),
                json!({"not_rule": any_of(vec![path("/healthz")])}),
            ])]),
        ),
        (
            json!({"to": [{"operation": {"paths": ["/a*"]}}, {"operation": {"paths": ["*.html"]}}]}),
            json!([
                all(vec![any_of(vec![json!({"url_path": {"path": {"prefix": "/a"}}})])]),
                all(vec![any_of(vec![json!({"url_path": {"path": {"suffix": ".html"}}})])]),
            ]),
        ),
    ] {
        let policy = AuthorizationPolicy::parse(&policy(&json!([rule])), "security.istio.io/v1").unwrap();
        let found = filters([&policy].into_iter(), &mesh);
        assert_eq!(found[0], marks("ns[n]-policy[p]-rule[0]", permissions), "{rule}");
        assert_eq!(found.len(), 2);
    }
}

/// Istio asks before it knows who is calling.
#[test]
fn rules_of_custom_do_not_ask_who_is_calling() {
    for (rule, reason) in [
        (json!({"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"]}}]}), "unknown field `from`"),
        (json!({"from": [{"source": {"namespaces": ["shop"]}}], "to": []}), "unknown field `from`"),
        (json!({"from": [{"source": {"requestPrincipals": ["*"]}}]}), "unknown field `from`"),
        (json!({"when": [{"key": "request.auth.claims[sub]", "values": ["ann"]}]}), "unknown field `when`"),
        (json!({"to": [{"operation": {"principals": ["*"]}}]}), "unknown field `principals`"),
    ] {
        let found = AuthorizationPolicy::parse(&policy(&json!([rule])), "security.istio.io/v1").unwrap_err();
        assert!(found.contains(reason), "{rule}: {found}");
    }
    let mut without = policy(&json!([]));
    without["spec"].as_object_mut().unwrap().remove("rules");
    let found = AuthorizationPolicy::parse(&without, "security.istio.io/v1").unwrap_err();
    assert!(found.contains("missing field `rules`"), "{found}");
}

/// In the form of `custom-grpc-provider-out2.yaml`.
#[test]
fn settings_of_a_provider_become_those_of_its_filter() {
    for (settings, expected) in [
        // Without a timeout it waits for ten minutes, and without a status a request without an answer is a refused one.
        (
            json!({}),
            json!({
                "failure_mode_allow": false,
                "grpc_service": {
                    "envoy_grpc": {"authority": SERVICE, "cluster_name": format!("outbound|50051||{SERVICE}")},
                    "timeout": "600s",
                },
                "transport_api_version": "V3",
            }),
        ),
        (
            json!({
                "timeout": "0.002s",
                "failOpen": true,
                "statusOnError": "500",
                "includeRequestBodyInCheck": {"maxRequestBytes": 4096, "allowPartialMessage": true},
            }),
            json!({
                "failure_mode_allow": true,
                "grpc_service": {
                    "envoy_grpc": {"authority": SERVICE, "cluster_name": format!("outbound|50051||{SERVICE}")},
                    "timeout": "0.002s",
                },
                "status_on_error": {"code": 500},
                "transport_api_version": "V3",
                "with_request_body":
                    {"max_request_bytes": 4096, "allow_partial_message": true, "pack_as_bytes": false},
            }),
        ),
    ] {
        let mut folder = Folder::read(FOLDER);
        let provider = &mut folder.edit("IstioOperator", "usher")["spec"]["meshConfig"]["extensionProviders"][0];
        provider["envoyExtAuthzGrpc"] = json!({"service": SERVICE, "port": 50051});
        provider["envoyExtAuthzGrpc"].as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let policies = AuthorizationPolicy::all(&folder);
        let found = filters(policies.iter().filter(|it| it.selects(("app", "inventory"), "shop")), &Mesh::of(&folder));
        let mut config = found[1]["typed_config"].as_object().unwrap().clone();
        config.remove("@type");
        config.remove("filter_enabled_metadata");
        assert_eq!(Value::from(config), expected, "{settings}");
    }
}
