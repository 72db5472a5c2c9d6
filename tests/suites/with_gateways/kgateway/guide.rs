//! kgateway's guide to external authorization, with Usher in the place of its sample server.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Instant,
};

use serde_json::{Value, json};

use super::{
    ALLOW, FOLDER, Gateway, H2C, Ports, RECEIVED, bearer, checks, shipped, start_usher, through_each_envoy,
    through_each_envoy_with, tokens, translate::bootstrap,
};
use crate::{
    support::{documents::Folder, envoy::Envoy, http::Request, parts, upstream::Upstream, usher::Usher},
    with_gateways::elision::fits,
};

pub(super) const BODY: &str = "denied by ext_authz for not found header `x-ext-authz: allow` in the request";

#[test]
fn without_policies_nothing_is_checked() {
    let mut objects = shipped();
    objects.documents.retain(|object| object["kind"] != "TrafficPolicy");
    let usher = start_usher();
    through_each_envoy(&objects, &usher, |gateway| {
        assert_eq!(gateway.get("www.example.com", "/headers", &[]).status, 200);
    });
    assert_eq!(checks(&usher, None), 0.0);
}

#[test]
fn the_policy_of_the_gateway_demands_a_header() {
    const OVERRIDE: &str = "x-ext-authz-additional-header-override";
    let usher = start_usher();
    let forged = [("x-ext-authz-check-result", "forged"), (OVERRIDE, "forged"), (RECEIVED, "forged")];
    through_each_envoy(&shipped(), &usher, |gateway| {
        let passed = gateway.upstream.requests();
        let response = gateway.get("www.example.com", "/headers", &forged);
        assert_eq!((response.status, response.text().as_str()), (403, BODY));
        for (name, value) in [
            ("content-length", "76"),
            ("content-type", "text/plain"),
            ("server", "envoy"),
            ("x-ext-authz-check-result", "denied"),
            (OVERRIDE, "grpc-additional-header-override-value"),
        ] {
            assert_eq!(response.headers(name).collect::<Vec<_>>(), [value], "{name}");
        }
        let address = r#"address:{socket_address:{address:"127.0.0.1" port_value:…}}"#;
        let received = format!(
            r#"source:{{{address}}} destination:{{{address}}} request:{{time:{{seconds:… nanos:…}} http:{{id:"…" method:"GET" headers:{{key:":authority" value:"www.example.com"}} …headers:{{key:"x-forwarded-for" value:"…"}} …path:"/headers" host:"www.example.com" scheme:"http" protocol:"HTTP/1.1"}}}} metadata_context:{{}} route_metadata_context:{{}}"#
        );
        let found: Vec<_> = response.headers(RECEIVED).collect();
        assert!(matches!(found[..], [found] if fits(found, &received)), "{found:?}");
        assert_eq!(gateway.upstream.requests(), passed);

        let headers = [&[ALLOW][..], &forged, &forged].concat();
        let response = gateway.get("www.example.com", "/headers", &headers);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header(RECEIVED), None, "the client gets none of this");
        let seen = response.json()["headers"].clone();
        assert_eq!(seen["x-ext-authz"], "allow");
        assert_eq!(seen["x-ext-authz-check-result"], "allowed");
        assert_eq!(seen[OVERRIDE], "grpc-additional-header-override-value");
        let received = received.replace(" path:", r#" headers:{key:"x-ext-authz" value:"allow"} …path:"#);
        let found = seen[RECEIVED].as_str().unwrap();
        assert!(fits(found, &received), "{found}");

        // The value exactly, once.
        for headers in [&[("x-ext-authz", "Allow")][..], &[("x-ext-authz", "")], &[ALLOW, ALLOW]] {
            assert_eq!(gateway.get("www.example.com", "/headers", headers).status, 403, "{headers:?}");
        }
        let long = "a".repeat(5000);
        let response = gateway.get("www.example.com", "/headers", &[ALLOW, ("x-long", &long)]);
        assert_eq!(response.json()["headers"][RECEIVED], "<too-long>");
        let response = gateway.get("www.example.com", "/headers", &[("x-long", &long)]);
        assert_eq!((response.status, response.header(RECEIVED)), (403, Some("<too-long>")));

        // Texts come as they are, between quotation marks that no client can end.
        let name = r#"Grüße, "} route_metadata_context:{\"#;
        for headers in [&[("x-name", name)][..], &[ALLOW, ("x-name", name)]] {
            let response = gateway.get("www.example.com", "/headers", headers);
            let found = match response.status {
                403 => response.header(RECEIVED).unwrap().to_owned(),
                _ => response.json()["headers"][RECEIVED].as_str().unwrap().to_owned(),
            };
            let quoted = r#"headers:{key:"x-name" value:"Grüße, \"} route_metadata_context:{\\"} "#;
            assert!(found.contains(quoted), "{found}");
        }

        // Envoy tells the path that the upstream gets.
        let response = gateway.get("www.example.com", "/a/..//headers", &[]);
        assert!(response.header(RECEIVED).unwrap().contains(r#" path:"/headers" "#));
    });
}

/// Neither by what the Gateway demands, nor by what its listener demands.
#[test]
fn a_route_that_is_exempt_is_not_checked() {
    let mut objects = shipped();
    objects.documents.push(json!({
        "apiVersion": "gateway.kgateway.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "listener", "namespace": "kgateway-system"},
        "spec": {
            "targetRefs":
                [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "http", "sectionName": "http"}],
            "extAuth": {
                "extensionRef": {"name": "usher-of-httpbin", "namespace": "httpbin"},
                "contextExtensions": {"host": "tokens.authconfig.internal"},
            },
        },
    }));
    let usher = start_usher();
    let test = |gateway: &Gateway<'_>| {
        let before = checks(gateway.usher, None);
        for target in ["/status/200", "/status/200?a=1"] {
            assert_eq!(gateway.get("www.example.com", target, &[]).status, 200, "{target}");
        }
        assert_eq!(checks(gateway.usher, None), before, "no check reached Usher");
        for target in ["/status", "/status/200/", "/status/200/..%2f..%2fheaders"] {
            assert_eq!(gateway.get("www.example.com", target, &[]).status, 403, "{target}");
        }
        assert_eq!(checks(gateway.usher, None), before + 3.0);
        assert_eq!(
            gateway.get("www.example.com", "/status", &[ALLOW]).status,
            401,
            "who passes one must pass the other"
        );
        assert_eq!(checks(gateway.usher, None), before + 5.0);
    };
    through_each_envoy(&objects, &usher, test);
}

#[test]
fn without_the_mark_of_http2_all_are_refused_and_usher_says_why() {
    let mut objects = shipped();
    let port = &mut objects.edit("Service", "usher-authorization")["spec"]["ports"][0];
    assert_eq!(port.as_object_mut().unwrap().remove("appProtocol"), Some(json!(H2C)));
    // An extension that says nothing about errors, and is asked first.
    let silent = objects.edit("GatewayExtension", "usher-of-httpbin");
    silent["metadata"]["annotations"] = json!({"kgateway.dev/policy-weight": "2"});
    assert_eq!(silent["spec"]["extAuth"].as_object_mut().unwrap().remove("statusOnError"), Some(json!(503)));
    let usher = start_usher();
    through_each_envoy(&objects, &usher, |gateway| {
        let passed = gateway.upstream.requests();
        for headers in [&[][..], &[ALLOW]] {
            assert_eq!(gateway.get("www.example.com", "/headers", headers).status, 503, "{headers:?}");
        }
        assert_eq!(gateway.get("www.example.com", "/status/200", &[]).status, 200, "which is exempt");
        assert_eq!(gateway.upstream.requests(), passed + 1);
        assert_eq!(gateway.envoy.counter("http.http.ext_authz.error"), 2);
        // It looks like a denial, but for the headers and the body of one.
        let response = gateway.get("both.example.com", "/headers", &[ALLOW]);
        assert_eq!((response.status, response.text().as_str()), (403, ""));
        let ours = ["x-ext-auth-reason", "x-ext-authz-check-result", "www-authenticate"];
        assert_eq!(ours.map(|name| response.header(name)), [None; 3]);
        assert_eq!(gateway.envoy.counter("http.http.ext_authz.error"), 3);
        assert_eq!(gateway.upstream.requests(), passed + 1);
    });
    if !parts::envoys().is_empty() {
        let output = usher.output();
        let lines: Vec<_> = output.lines().filter(|line| line.contains("does not speak HTTP/2")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

/// What the guide puts into a GatewayExtension for the second Service.
pub(in crate::with_gateways) fn through_second_service() -> Value {
    json!({"backendRef": {"name": "authorino-h2c", "namespace": "authorino", "port": 50051}})
}

/// The Service that is made beside the one of the Authorino Operator, which lacks the mark.
#[test]
fn a_second_service_has_the_mark() {
    let mut objects = shipped();
    let extension = &mut objects.edit("GatewayExtension", "usher")["spec"]["extAuth"]["grpcService"];
    extension["backendRef"] = through_second_service()["backendRef"].take();
    let usher = start_usher();
    through_each_envoy(&objects, &usher, |gateway| {
        assert_eq!(gateway.get("www.example.com", "/headers", &[ALLOW]).status, 200);
        assert_eq!(gateway.get("www.example.com", "/headers", &[]).status, 403);
    });
}

/// The check of the Gateway and that of the route: both must allow, whichever comes first.
#[test]
fn a_route_with_another_extension_must_pass_both() {
    let (alice, bob) = (bearer(tokens::ALICE), bearer(tokens::BOB));
    let (alice, bob) = (("authorization", alice.as_str()), ("authorization", bob.as_str()));
    let usher = start_usher();
    for gateway_first in [false, true] {
        let order = |mut bootstrap: Value| {
            let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
            let filters = bootstrap.pointer_mut(manager).unwrap()["http_filters"].as_array_mut().unwrap();
            let at = |wanted: &str| filters.iter().position(|filter| filter["name"] == wanted).unwrap();
            let (gateway, route) = (at("ext_auth/kgateway-system/usher"), at("ext_auth/httpbin/usher-of-httpbin"));
            if (gateway < route) != gateway_first {
                filters.swap(gateway, route);
            }
            bootstrap
        };
        through_each_envoy_with(&shipped(), &usher, order, |gateway| {
            let passed = gateway.upstream.requests();
            for (headers, status, asked) in [
                (&[][..], if gateway_first { 403 } else { 401 }, 1.0),
                (&[ALLOW], 401, if gateway_first { 2.0 } else { 1.0 }),
                (&[bob], 403, if gateway_first { 1.0 } else { 2.0 }),
                (&[ALLOW, alice], 403, if gateway_first { 2.0 } else { 1.0 }),
            ] {
                let before = checks(&usher, None);
                let response = gateway.get("both.example.com", "/get", headers);
                assert_eq!(response.status, status, "{headers:?}: {}", response.text());
                assert_eq!(checks(&usher, None), before + asked, "{headers:?}: one that denies is the last");
                // What the tokens have for the client stays, even if the sample denies afterwards.
                let has_passed_tokens = headers == [bob] && !gateway_first;
                let added = response.header("x-add-custom-response-header");
                assert_eq!(added, has_passed_tokens.then_some("added"), "{headers:?}");
            }
            assert_eq!(gateway.upstream.requests(), passed);

            let before = [checks(&usher, Some("sample")), checks(&usher, Some("tokens"))];
            let headers = [ALLOW, bob, ("x-force-authorized", "true")];
            let response = gateway.get("both.example.com", "/get", &headers);
            assert_eq!(response.status, 200, "{}", response.text());
            let after = [checks(&usher, Some("sample")), checks(&usher, Some("tokens"))];
            assert_eq!(after, before.map(|count| count + 1.0), "one check each");
            assert_eq!(response.header("x-add-custom-response-header"), Some("added"));
            let seen = response.json()["headers"].clone();
            assert_eq!(seen["x-ext-authz-check-result"], "allowed");
            assert_eq!(seen["x-validated-by"], "my-security-checkpoint");
            assert_eq!(seen.get("x-force-authorized"), None);
            // The later one is told of the request as the earlier one left it, and of nothing else.
            let received = seen[RECEIVED].as_str().unwrap();
            assert_eq!(received.contains("x-validated-by"), !gateway_first, "{received}");
            assert_eq!(received.contains("x-force-authorized"), gateway_first, "{received}");
            assert!(received.ends_with("}} metadata_context:{} route_metadata_context:{}"), "{received}");
        });
    }
}

/// The one to begin with for an API of your own. Its key is found by two labels.
#[test]
fn an_api_of_your_own_is_for_those_who_show_a_key() {
    let key = [("x-api-key", "example-key-of-acme"), ("x-partner", "somebody-else")];
    let usher = start_usher();
    through_each_envoy(&shipped(), &usher, |gateway| {
        let response = gateway.get("shop.example.com", "/get", &key);
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = response.json()["headers"].clone();
        assert_eq!((&seen["x-partner"], seen.get("x-api-key")), (&json!("acme"), None));
        assert_eq!(gateway.get("shop.example.com", "/get", &key[1..]).status, 401);
        assert_eq!(gateway.get("www.example.com", "/get", &key).status, 403, "the key is for this API only");
    });
    for label in ["authorino.kuadrant.io/managed-by", "app"] {
        let mut objects = shipped();
        let labels = &mut objects.edit("Secret", "acme")["metadata"]["labels"];
        labels.as_object_mut().unwrap().remove(label).unwrap();
        let answer = Usher::start(&objects.for_usher()).check("shop.example.com", &key).unwrap();
        let found = (answer.status, answer.header("x-ext-auth-reason"));
        assert_eq!(found, (401, Some("the API Key provided is invalid")), "{label}");
    }
}

#[test]
fn while_usher_is_down_only_exempt_routes_answer() {
    let mut usher = start_usher();
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let bootstrap = bootstrap(&shipped().documents, ports).unwrap();
    let launch = |program: &parts::EnvoyProgram| Envoy::launch(&program.path, &bootstrap);
    let envoys: Vec<_> = parts::envoys().iter().map(launch).collect();
    for envoy in &envoys {
        assert_eq!(envoy.get("www.example.com", "/headers", &[ALLOW]).status, 200);
    }
    usher.kill();
    for envoy in &envoys {
        for (target, status) in [("/headers", 503), ("/status/200", 200)] {
            assert_eq!(envoy.get("www.example.com", target, &[ALLOW]).status, status, "{target}");
        }
    }
}

/// Somebody takes the connection and never answers.
#[test]
fn without_a_timeout_of_its_own_an_extension_waits_for_200_milliseconds() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ports = Ports { usher: silent.local_addr().unwrap().port(), upstream: 1 };
    let mut defaults = shipped();
    let provider = &mut defaults.edit("GatewayExtension", "usher")["spec"]["extAuth"];
    *provider = json!({"grpcService": {"backendRef": provider["grpcService"]["backendRef"]}});
    for (objects, status, expected) in [(shipped(), 503, 900..5000), (defaults, 403, 150..900)] {
        let bootstrap = bootstrap(&objects.documents, ports).unwrap();
        for program in parts::envoys() {
            let envoy = Envoy::launch(&program.path, &bootstrap);
            let started = Instant::now();
            assert_eq!(envoy.get("www.example.com", "/headers", &[ALLOW]).status, status);
            let took = started.elapsed().as_millis();
            assert!(expected.contains(&took), "{took} ms: {expected:?}");
        }
    }
}

/// Body settings and context extensions of a policy reach the check.
#[test]
fn bodies_and_context_extensions_are_told() {
    let mut objects = shipped();
    let policy = objects.edit("TrafficPolicy", "usher");
    policy["spec"]["extAuth"]["withRequestBody"] = json!({"maxRequestBytes": 16});
    policy["spec"]["extAuth"]["contextExtensions"] = json!({"team": "blue"});
    let policy = objects.edit("TrafficPolicy", "tokens");
    policy["spec"]["extAuth"]["contextExtensions"] = json!({"host": "nobodys.authconfig.internal"});
    let usher = start_usher();
    through_each_envoy(&objects, &usher, |gateway| {
        let post = |body: &[u8]| {
            let request =
                Request { method: "POST", host: "www.example.com", headers: &[ALLOW], body, ..Request::default() };
            gateway.envoy.send(request).unwrap()
        };
        let response = post(b"say \"hello\"");
        assert_eq!(response.json()["body"], "say \"hello\"", "the upstream gets it too");
        let received = response.json()["headers"][RECEIVED].as_str().unwrap().to_owned();
        let expected = r#"… size:11 protocol:"HTTP/1.1" body:"say \"hello\""}} context_extensions:{key:"team" value:"blue"} metadata_context:{} …"#;
        assert!(fits(&received, expected), "{received}");
        assert_eq!(post(&[b'a'; 17]).status, 413);

        let bob = bearer(tokens::BOB);
        let response = gateway.get("tokens.example.com", "/get", &[("authorization", &bob)]);
        let reason = response.header("x-ext-auth-reason");
        assert_eq!((response.status, reason), (404, Some("Service not found")));
    });
}

#[test]
fn a_route_whose_service_may_not_be_referred_to_is_closed() {
    let usher = start_usher();
    let objects = shipped().without("ReferenceGrant", "httpbin-asks-usher");
    through_each_envoy(&objects, &usher, |gateway| {
        let bob = bearer(tokens::BOB);
        let response = gateway.get("both.example.com", "/get", &[ALLOW, ("authorization", &bob)]);
        assert_eq!(response.status, 500, "{}", response.text());
        assert!(response.text().starts_with("invalid route configuration"), "{}", response.text());
        assert_eq!(gateway.get("www.example.com", "/get", &[ALLOW]).status, 200);
    });
    let objects = shipped().without("ReferenceGrant", "kgateway-asks-usher");
    let refusal = bootstrap(&objects.documents, Ports { usher: 1, upstream: 2 }).unwrap_err();
    assert_eq!(refusal, "missing reference grant");
}

/// As a kgateway that is strict about references asks for it.
#[test]
fn policies_may_refer_to_extensions_of_other_namespaces() {
    let folder = Folder::read(FOLDER);
    let mut references = 0;
    for policy in folder.of_kind("TrafficPolicy") {
        let extension = &policy["spec"]["extAuth"]["extensionRef"];
        let (from, to) = (&policy["metadata"]["namespace"], &extension["namespace"]);
        if to.is_null() || to == from {
            continue;
        }
        references += 1;
        let from = json!([{"group": "gateway.kgateway.dev", "kind": "TrafficPolicy", "namespace": from}]);
        let extensions =
            json!([{"group": "gateway.kgateway.dev", "kind": "GatewayExtension", "name": extension["name"]}]);
        let is_granted = |grant: &Value| {
            grant["metadata"]["namespace"] == *to && grant["spec"]["from"] == from && grant["spec"]["to"] == extensions
        };
        assert!(folder.of_kind("ReferenceGrant").any(is_granted), "{policy}");
    }
    assert_eq!(references, 1);
}
