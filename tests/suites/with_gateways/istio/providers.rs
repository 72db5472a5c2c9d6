//! Two providers for one workload.

use serde_json::{Value, json};

use super::{FOLDER, HOST, KEY, PREFIX, Ports, translate::ingress};
use crate::{
    support::{documents::Folder, envoy::Envoy, http::Request, parts::envoys, upstream::Upstream, usher::Usher},
    with_gateways::needs::take,
};

/// The gateway asks two providers about some requests, both of which are Usher: the name of one is the beginning of the other's.
/// With or without that istiod is told to allow it.
fn folder(is_allowed: bool) -> Folder {
    let mut folder = Folder::read(FOLDER);
    let spec = &mut folder.edit("IstioOperator", "usher")["spec"];
    let providers = spec["meshConfig"]["extensionProviders"].as_array_mut().unwrap();
    let mut second = providers[0].clone();
    second["name"] = "usher-again".into();
    // Bodies are not told, so it refuses every order.
    take(&mut second["envoyExtAuthzGrpc"], &["includeRequestBodyInCheck"]);
    providers.push(second);
    if is_allowed {
        spec["values"] = json!({"pilot": {"env": {"PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS": "true"}}});
    }
    let of_ingress =
        |it: &&Value| it["kind"] == "AuthorizationPolicy" && it["metadata"]["namespace"] == "istio-ingress";
    let mut policy = folder.documents.iter().find(of_ingress).unwrap().clone();
    policy["metadata"]["name"] = "usher-again".into();
    policy["spec"]["provider"]["name"] = "usher-again".into();
    policy["spec"]["rules"] = json!([{"to": [{"operation": {"paths": ["/both*", "/healthz"]}}]}]);
    folder.documents.push(policy);
    // The second one is told of the request as the first one left it, so that one must not take the key away.
    take(&mut folder.edit("AuthConfig", "orders")["spec"]["response"]["success"], &["removeHeaders"]);
    folder
}

fn filters(is_allowed: bool) -> Vec<Value> {
    let bootstrap = ingress(&folder(is_allowed), "public", Ports { usher: 1, upstream: 2 }, None);
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    bootstrap.pointer(manager).unwrap()["http_filters"].as_array().unwrap().clone()
}

/// In the form of Istio's own `custom-bad-multiple-providers-out1.yaml` and `…-out2.yaml`.
#[test]
fn by_default_two_providers_are_refused() {
    let found = filters(false);
    let rules: Vec<_> =
        found.iter().filter_map(|filter| filter["typed_config"]["rules"]["policies"].as_object()).collect();
    let names: Vec<_> = rules.iter().flat_map(|rules| rules.keys().map(String::as_str)).collect();
    assert_eq!(
        names,
        [
            "istio-ext-authz-usher-ns[istio-ingress]-policy[usher]-rule[0]-deny-due-to-bad-CUSTOM-action",
            "istio-ext-authz-usher-again-ns[istio-ingress]-policy[usher-again]-rule[0]-deny-due-to-bad-CUSTOM-action",
        ]
    );
    assert_eq!(found.len(), 3, "and the router: {found:?}");
}

#[test]
fn each_provider_is_asked_about_what_it_marked() {
    let found = filters(true);
    let marks =
        found.iter().map(|filter| filter["typed_config"]["filter_enabled_metadata"]["value"]["string_match"].clone());
    let marks: Vec<_> = marks.filter(|mark| !mark.is_null()).collect();
    assert_eq!(marks, [json!({"prefix": "istio-ext-authz-usher"}), json!({"prefix": "istio-ext-authz-usher-again"})]);
    let names: Vec<_> = found.iter().map(|filter| filter["name"].as_str().unwrap()).collect();
    let [rbac, ext_authz] = ["envoy.filters.http.rbac", "envoy.filters.http.ext_authz"];
    assert_eq!(names, [rbac, ext_authz, rbac, ext_authz, "envoy.filters.http.router"]);

    let objects = folder(true);
    let usher = Usher::start(&objects.for_usher());
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    for program in envoys() {
        let envoy = Envoy::launch(&program.path, &ingress(&objects, "public", ports, None));
        // How many of the two allowed and refused it.
        for (target, headers, status, asked) in [
            ("/orders", &[KEY][..], 200, [1, 0, 0]),
            ("/orders", &[], 401, [0, 1, 0]),
            ("/both/orders", &[KEY], 200, [2, 0, 0]),
            ("/both/orders", &[], 401, [0, 1, 0]),
            // Exempt for one of them.
            ("/healthz", &[KEY], 200, [1, 0, 0]),
            ("/healthz", &[], 401, [0, 1, 0]),
        ] {
            let before = envoy.asked(PREFIX);
            assert_eq!(envoy.get(HOST, target, headers).status, status, "{}: {target} {headers:?}", program.version);
            let after = envoy.asked(PREFIX);
            let difference: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            assert_eq!(difference, asked, "{}: {target} {headers:?}", program.version);
        }
        let post = |target: &str| {
            let body = &br#"{"amount": 1}"#[..];
            let request = Request { method: "POST", host: HOST, target, headers: &[KEY], body };
            envoy.send(request).unwrap().status
        };
        assert_eq!((post("/orders"), post("/both/orders")), (200, 403), "{}: both must allow", program.version);
    }

    // As in Istio before 1.30: what fits is denied, unasked.
    let refused = folder(false);
    let Some(program) = envoys().first() else { return };
    let envoy = Envoy::launch(&program.path, &ingress(&refused, "public", ports, None));
    for target in ["/orders", "/both", "/healthz"] {
        let response = envoy.get(HOST, target, &[KEY]);
        assert_eq!((response.status, response.text().as_str()), (403, "RBAC: access denied"), "{target}");
    }
    assert_eq!(envoy.asked(PREFIX), [0, 0, 0]);
}
