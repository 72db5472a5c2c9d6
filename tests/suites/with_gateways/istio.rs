//! An ingress gateway of Istio, and the Envoy beside a workload of the mesh.

pub(super) mod authorization_policy;
mod providers;
pub(super) mod translate;
pub(super) mod translation;

use serde_json::{Value, json};
use translate::{ingress, sidecar};

use super::{
    Ports,
    guides::{Applied, Running},
    workloads::{Identity, Workloads, open_service},
};
use crate::support::{
    documents::{Folder, for_usher},
    envoy::Envoy,
    http::Request,
    parts::envoys,
    upstream::Upstream,
    usher::Usher,
    wait::until,
};

const FOLDER: &str = "deploy/gateways/istio";
const HOST: &str = "orders.example.com";
const KEY: (&str, &str) = ("x-api-key", "example-key-of-acme");

/// The beginning of the names of counters.
pub(super) const PREFIX: &str = "ingress";

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    applied.behind_envoys(|objects, ports| ingress(objects, "public", ports, None))
}

#[test]
fn the_gateway_asks_about_every_request_except_for_the_exempted_path() {
    let mut folder = Folder::read(FOLDER);
    let route = folder.documents.iter_mut().find(|it| it["kind"] == "HTTPRoute").unwrap();
    route["spec"]["hostnames"].as_array_mut().unwrap().push("new.example.com".into());
    for program in envoys() {
        let mut usher = Usher::start(&folder.for_usher());
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        let envoy = Envoy::launch(&program.path, &ingress(&folder, "public", ports, None));
        let version = program.version;

        let response = envoy.get(HOST, "/orders", &[]);
        assert_eq!(response.status, 401, "{version}: {}", response.text());
        assert_eq!(response.header("www-authenticate"), Some(r#"x-api-key realm="partners""#));
        assert_eq!(response.header("x-ext-auth-reason"), Some("credential not found"));
        assert_eq!((envoy.asked(PREFIX), upstream.requests()), ([0, 1, 0], 0), "{version}");

        // A client cannot say who it is in a header that only the gateway may set.
        let forged = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/orders");
        let response = envoy.get(HOST, "/orders", &[KEY, forged, ("x-partner", "somebody-else")]);
        assert_eq!(response.status, 200, "{version}: {}", response.text());
        let seen = response.json();
        assert_eq!((&seen["target"], &seen["headers"]["x-partner"]), (&json!("/orders"), &json!("acme")));
        assert_eq!(
            (&seen["headers"]["x-api-key"], &seen["headers"]["x-forwarded-client-cert"]),
            (&Value::Null, &Value::Null)
        );

        let post = |amount: Value, note: &str| {
            let body = json!({"amount": amount, "note": note}).to_string();
            let headers = [KEY, ("content-type", "application/json")];
            let request =
                Request { method: "POST", host: HOST, target: "/orders", headers: &headers, body: body.as_bytes() };
            envoy.send(request).unwrap()
        };
        assert_eq!(post(json!(100), "").status, 200, "{version}");
        for amount in [json!(101), json!("1")] {
            let response = post(amount.clone(), "");
            assert_eq!(
                (response.status, response.text().as_str()),
                (403, r#"{"error":"order_refused"}"#),
                "{version}: {amount}"
            );
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert_eq!(response.header("x-ext-auth-reason"), Some("Unauthorized"));
        }
        let before = (envoy.asked(PREFIX), upstream.requests());
        assert_eq!(post(json!(1), &"x".repeat(9000)).status, 413, "{version}: too long, also with a small amount");
        assert_eq!((envoy.asked(PREFIX), upstream.requests()), before, "{version}: nobody was asked");

        for (host, status, reason) in [
            ("orders.example.com:80", 200, None),
            ("orders.example.com:8080", 200, None),
            ("ORDERS.example.com", 200, None),
            // A route for which there is no AuthConfig, and a host for which there is no route.
            ("new.example.com", 404, Some("Service not found")),
            ("unknown.example.com", 404, None),
        ] {
            let response = envoy.get(host, "/orders", &[KEY]);
            assert_eq!((response.status, response.header("x-ext-auth-reason")), (status, reason), "{version}: {host}");
        }

        let before = envoy.asked(PREFIX);
        for (target, seen) in
            [("/healthz", "/healthz"), ("/healthz?deep=1", "/healthz?deep=1"), ("/a/../healthz", "/healthz")]
        {
            let response = envoy.get(HOST, target, &[]);
            assert_eq!((response.status, response.json()["target"].as_str()), (200, Some(seen)), "{version}: {target}");
        }
        assert_eq!(envoy.asked(PREFIX), before, "{version}: nobody was asked");
        for target in
            ["/healthz/", "//healthz", "/healthz/../orders", "/healthz%2f..%2forders", "/HEALTHZ", "/orders?/healthz"]
        {
            assert_eq!(envoy.get(HOST, target, &[]).status, 401, "{version}: {target}");
        }

        usher.kill();
        let before = upstream.requests();
        assert_eq!(envoy.get(HOST, "/orders", &[KEY]).status, 503, "{version}");
        assert_eq!((envoy.asked(PREFIX)[2], upstream.requests()), (1, before), "{version}");
        assert_eq!(envoy.get(HOST, "/healthz", &[]).status, 200, "{version}: what is exempted needs no answer");
    }
}

/// Where the gateway verifies certificates of clients, it says in a header whose they are, in place of what clients say there.
#[test]
fn the_gateway_says_in_a_header_whose_certificate_it_verified() {
    let mut folder = Folder::read(FOLDER);
    let route = folder.documents.iter_mut().find(|it| it["kind"] == "HTTPRoute").unwrap();
    route["spec"]["hostnames"].as_array_mut().unwrap().push("x509.example.com".into());
    let workloads = Workloads::new();
    let spec = &mut folder.edit("AuthConfig", "orders")["spec"];
    let who = json!({"x-partner": {"plain": {"selector": "auth.identity.id"}}});
    spec["authentication"] = json!({"partner": {"spiffe": {"trust": "xfcc", "trustDomains": ["partners.example"]}}});
    spec["authorization"] = json!({});
    spec["response"] = json!({"success": {"headers": who}});
    let labels = json!({"authorities": "partners", "authorino.kuadrant.io/managed-by": "authorino"});
    let by_certificate = json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": "x509", "namespace": "shop"},
        "spec": {"hosts": ["x509.example.com"], "authentication": {"partner": {"x509": {
            "selector": {"matchLabels": {"authorities": "partners"}},
            "source": {"xfccHeader": "x-forwarded-client-cert"},
        }}}},
    });
    let authority = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "partners", "namespace": "shop", "labels": labels},
        "stringData": {"tls.crt": workloads.root(), "tls.key": ""},
    });
    folder.documents.extend([by_certificate, authority]);
    let config = folder.for_usher();

    let server = workloads.identity("spiffe://cluster.local/ns/istio-ingress/sa/public-istio");
    let acme = workloads.identity("spiffe://partners.example/acme");
    let stranger = workloads.identity("spiffe://elsewhere.example/acme");
    let unverified = Workloads::new().identity("spiffe://partners.example/acme");
    let forged = ("x-forwarded-client-cert", "URI=spiffe://partners.example/forged");
    for program in envoys() {
        let usher = Usher::start(&config);
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        let bootstrap = ingress(&folder, "public", ports, Some((&workloads, &server)));
        let envoy = Envoy::launch(&program.path, &bootstrap);
        let send = |host: &str, caller: Option<&Identity>, headers: &[(&str, &str)]| {
            let request = Request { host, target: "/orders", headers, ..Request::default() };
            request.exchange(workloads.connect(envoy.port(), caller))
        };
        for (who, caller, by_identity, by_certificate) in
            [("acme", Some(&acme), 200, 200), ("nobody", None, 401, 401), ("a stranger", Some(&stranger), 401, 200)]
        {
            for headers in [&[][..], &[forged]] {
                let response = send(HOST, caller, headers).unwrap();
                assert_eq!(response.status, by_identity, "{}: {who} {headers:?}", program.version);
                if by_identity == 200 {
                    assert_eq!(response.json()["headers"]["x-partner"], "spiffe://partners.example/acme");
                }
                let response = send("x509.example.com", caller, headers).unwrap();
                let reason = response.header("x-ext-auth-reason");
                assert_eq!(response.status, by_certificate, "{}: {who} {headers:?}: {reason:?}", program.version);
            }
        }
        let before = envoy.asked(PREFIX);
        assert!(send(HOST, Some(&unverified), &[]).is_err(), "{}: by another authority", program.version);
        assert_eq!(envoy.asked(PREFIX), before);
    }
}

#[test]
fn a_workload_of_the_mesh_is_called_by_many_names_and_knows_who_calls() {
    let folder = Folder::read(FOLDER);
    let workloads = Workloads::new();
    let inventory = workloads.identity("spiffe://cluster.local/ns/shop/sa/inventory");
    let orders = workloads.identity("spiffe://cluster.local/ns/shop/sa/orders");
    let others = [
        ("spiffe://cluster.local/ns/shop/sa/web", 403),
        ("spiffe://cluster.local/ns/elsewhere/sa/orders", 403),
        ("spiffe://cluster.local/orders", 403),
        ("spiffe://elsewhere.local/ns/shop/sa/orders", 401),
    ];
    let forged = [("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/orders")];
    for program in envoys() {
        let mut usher = Usher::start(&folder.for_usher());
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        let bootstrap = sidecar(&folder, ("app", "inventory"), "shop", ports, (&workloads, &inventory));
        let envoy = Envoy::launch(&program.path, &bootstrap);
        let version = program.version;
        let call = |host: &str, caller: Option<&Identity>, headers: &[(&str, &str)]| {
            let request = Request { host, target: "/items", headers, ..Request::default() };
            request.exchange(workloads.connect(envoy.port(), caller)).unwrap()
        };

        for host in [
            "inventory",
            "inventory:8000",
            "inventory.shop",
            "inventory.shop:8000",
            "inventory.shop.svc",
            "inventory.shop.svc:8000",
            "inventory.shop.svc.cluster.local",
            "inventory.shop.svc.cluster.local:8000",
        ] {
            let response = call(host, Some(&orders), &[]);
            assert_eq!(response.status, 200, "{version}: {host}: {}", response.text());
            assert_eq!(response.json()["headers"]["x-caller"], "orders");
        }
        for (caller, status) in others {
            let caller = workloads.identity(caller);
            for headers in [&[][..], &forged] {
                assert_eq!(call("inventory", Some(&caller), headers).status, status, "{version}: {headers:?}");
            }
        }
        let request = Request { host: "inventory", target: "/items", headers: &forged, ..Request::default() };
        let response = envoy.send(request).unwrap();
        let found = (response.status, response.header("x-ext-auth-reason"));
        let expected = (401, Some("the connection has no SPIFFE identity"));
        assert_eq!(found, expected, "{version}: without TLS, and a header");
        for host in ["inventory.elsewhere", "inventory.shop.svc.elsewhere", "orders"] {
            assert_eq!(call(host, Some(&orders), &[]).status, 404, "{version}: {host}");
        }

        usher.kill();
        let before = upstream.requests();
        assert_eq!(call("inventory", Some(&orders), &[]).status, 503, "{version}");
        assert_eq!(upstream.requests(), before);
    }
}

/// By the host Usher finds the AuthConfig, and inside the mesh the host does not choose where a request goes: without the policy
/// that refuses other names, a caller could have itself decided about by the rules of another service.
#[test]
fn a_workload_is_not_called_by_the_name_of_another() {
    let folder = Folder::read(FOLDER);
    let unguarded = Folder::read(FOLDER).without("AuthorizationPolicy", "own-names-of-inventory");
    let config = for_usher(&[&folder.documents[..], &[open_service("catalog", "shop")]].concat());
    let workloads = Workloads::new();
    let inventory = workloads.identity("spiffe://cluster.local/ns/shop/sa/inventory");
    let web = workloads.identity("spiffe://cluster.local/ns/shop/sa/web");
    for program in envoys() {
        let usher = Usher::start(&config);
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        for (folder, expected) in [(&folder, 403), (&unguarded, 200)] {
            let bootstrap = sidecar(folder, ("app", "inventory"), "shop", ports, (&workloads, &inventory));
            let envoy = Envoy::launch(&program.path, &bootstrap);
            for host in ["catalog", "catalog:8000", "catalog.shop.svc.cluster.local"] {
                let request = Request { host, ..Request::default() };
                let response = request.exchange(workloads.connect(envoy.port(), Some(&web))).unwrap();
                assert_eq!(response.status, expected, "{}: {host}: {}", program.version, response.text());
                assert_eq!(expected == 403, response.text() == "RBAC: access denied", "{}: {host}", program.version);
            }
        }
    }
}

/// Two mistakes that are easy to make, and how they show.
#[test]
fn a_provider_that_is_missing_or_not_spoken_to_rightly_lets_nobody_pass() {
    let mut misspelled = Folder::read(FOLDER);
    let operator = misspelled.documents.iter_mut().find(|it| it["kind"] == "IstioOperator").unwrap();
    operator["spec"]["meshConfig"]["extensionProviders"][0]["name"] = "usherr".into();
    let mut unmarked = Folder::read(FOLDER);
    unmarked.documents.push(json!({
        "kind": "Service",
        "metadata": {"name": "usher-authorization", "namespace": "usher"},
        "spec": {"ports": [{"name": "authorization", "port": 50051}]},
    }));
    let Some(program) = envoys().first() else { return };
    let usher = Usher::start(&misspelled.for_usher());
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };

    let envoy = Envoy::launch(&program.path, &ingress(&misspelled, "public", ports, None));
    let response = envoy.get(HOST, "/orders", &[KEY]);
    assert_eq!((response.status, response.text().as_str()), (403, "RBAC: access denied"));
    assert_eq!(envoy.get(HOST, "/healthz", &[]).status, 200);
    assert!(!usher.output().contains("outgoing authorization response"), "it was asked");

    let envoy = Envoy::launch(&program.path, &ingress(&unmarked, "public", ports, None));
    assert_eq!(envoy.get(HOST, "/orders", &[KEY]).status, 503);
    assert_eq!(envoy.asked(PREFIX), [0, 0, 1]);
    until("a word about it in the log", || {
        let output = usher.output();
        if output.contains("a client does not speak HTTP/2") { Ok(()) } else { Err(output) }
    });
    assert_eq!(upstream.requests(), 1, "the one without a check");
}
