//! Envoy Gateway.

mod translate;

use serde_json::{Value, json};
use translate::translate;

use super::{
    Ports,
    guides::{Applied, Running},
};
use crate::support::{
    documents::Folder,
    envoy::Envoy,
    http::{Request, Response},
    parts::{EnvoyProgram, envoys},
    upstream::Upstream,
    usher::Usher,
};

const FOLDER: &str = "deploy/gateways/envoy-gateway";
const HOST: &str = "shop.example.com";
const ANN: (&str, &str) = ("x-api-key", "example-key-of-ann");
const SAM: (&str, &str) = ("x-api-key", "example-key-of-sam");
const ACME: (&str, &str) = ("x-api-key", "example-key-of-acme");

/// An Envoy of Envoy Gateway, Usher and an upstream.
struct Shop {
    envoy: Envoy,
    upstream: Upstream,
    usher: Usher,
}

impl Shop {
    fn start(program: &EnvoyProgram, folder: &Folder) -> Self {
        Self::start_with(program, folder, &folder.for_usher(), &["--allow-route-lookup"])
    }

    fn start_with(program: &EnvoyProgram, folder: &Folder, config: &str, flags: &[&str]) -> Self {
        let usher = Usher::start_with(config, flags);
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        let envoy = Envoy::launch(&program.path, &translate(folder, "public", ports));
        Self { envoy, upstream, usher }
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.envoy.get(HOST, target, headers)
    }

    /// How many checks the filters made.
    fn checks(&self) -> u64 {
        self.envoy.asked("ingress").iter().sum()
    }
}

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    applied.behind_envoys(|objects, ports| translate(objects, "public", ports))
}

#[test]
fn each_route_of_a_hostname_has_its_own_rules() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let shop = Shop::start(program, &folder);
        let (nobody, ann, sam) = (&[][..], &[ANN][..], &[SAM][..]);
        for (target, headers, status, reason) in [
            // The route, and of it the rule with a name of its own.
            ("/", nobody, 401, Some("credential not found")),
            ("/cart", ann, 200, None),
            ("/cart", sam, 401, Some("the API Key provided is invalid")),
            ("/checkout", ann, 403, Some("Unauthorized")),
            ("/checkouts", ann, 200, None),
            // Another route.
            ("/reports/today", nobody, 401, Some("credential not found")),
            ("/reports/today", ann, 401, Some("the API Key provided is invalid")),
            ("/reports/today", sam, 200, None),
            ("/help/me", nobody, 200, None),
            // A route that no AuthConfig names: the host.
            ("/drafts", ann, 401, Some("the API Key provided is invalid")),
            ("/drafts", sam, 200, None),
            // An exempted route.
            ("/healthz", nobody, 200, None),
        ] {
            let response = shop.get(target, headers);
            let found = (response.status, response.header("x-ext-auth-reason"));
            assert_eq!(found, (status, reason), "{}: {target} {headers:?}", program.version);
        }
        for (target, challenge) in
            [("/cart", r#"x-api-key realm="customers""#), ("/reports", r#"x-api-key realm="staff""#)]
        {
            let response = shop.get(target, nobody);
            assert_eq!(response.header("www-authenticate"), Some(challenge), "{}: {target}", program.version);
        }
        let seen = shop.get("/cart", &[ANN, ("x-customer", "bob")]).json();
        assert_eq!(seen["headers"]["x-customer"], "ann");

        // What a client sends does not choose the route's configuration.
        for (host, headers) in [
            ("shop.example.com:80", &[SAM][..]),
            ("SHOP.EXAMPLE.COM", &[SAM]),
            (HOST, &[SAM, ("x-envoy-original-path", "/reports"), ("route", "HTTPRoute/shop/reports")]),
        ] {
            assert_eq!(shop.envoy.get(host, "/cart", headers).status, 401, "{}: {host} {headers:?}", program.version);
        }

        let before = shop.checks();
        assert_eq!(shop.get("/healthz?deep=1", nobody).status, 200);
        assert_eq!(shop.checks(), before, "{}: nobody is asked about the exempted route", program.version);
        assert_eq!(shop.get("/healthz/more", nobody).status, 401, "{}: that is another route", program.version);
    }
}

#[test]
fn a_rule_reads_bodies_and_longer_ones_are_refused_unasked() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let version = program.version;
        let mut shop = Shop::start(program, &folder);
        let post = |shop: &Shop, target: &str, amount: Value, note: &str| {
            let body = json!({"amount": amount, "note": note}).to_string();
            let request = Request { method: "POST", host: HOST, target, headers: &[ANN], body: body.as_bytes() };
            shop.envoy.send(request).unwrap()
        };
        assert_eq!(post(&shop, "/checkout", json!(100), "").status, 200, "{version}");
        let refused = post(&shop, "/checkout", json!(101), "");
        let body = r#"{"error":"amount_too_high","limit":100}"#;
        assert_eq!((refused.status, refused.text().as_str()), (403, body), "{version}");
        assert_eq!(refused.header("content-type"), Some("application/json"));
        assert_eq!(refused.header("x-ext-auth-reason"), Some("Unauthorized"));
        assert_eq!(post(&shop, "/cart", json!(101), "").status, 200, "{version}: no other rule reads it");

        let (checks, requests) = (shop.checks(), shop.upstream.requests());
        let long = "x".repeat(9000);
        assert_eq!(post(&shop, "/checkout", json!(1), &long).status, 413, "{version}");
        assert_eq!((shop.checks(), shop.upstream.requests()), (checks, requests), "{version}");
        assert_eq!(post(&shop, "/cart", json!(1), &long).status, 200, "{version}: no limit elsewhere");

        shop.usher.kill();
        for target in ["/cart", "/checkout", "/reports", "/help"] {
            assert_eq!(shop.get(target, &[ANN]).status, 503, "{version}: {target}");
        }
        let partner = shop.envoy.get("acme.partners.example.com", "/", &[ACME]);
        assert_eq!(partner.status, 503, "{version}");
        assert_eq!(shop.upstream.requests(), requests + 1, "{version}: the long one to `/cart`, and none of these");
        assert_eq!(shop.get("/healthz", &[]).status, 200, "{version}: what is exempted needs no answer");
    }
}

#[test]
fn a_context_extension_stands_for_many_hostnames() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let shop = Shop::start(program, &folder);
        for (host, headers, status) in [
            ("acme.partners.example.com", &[ACME][..], 200),
            ("acme.partners.example.com", &[][..], 401),
            ("acme.partners.example.com", &[ANN][..], 401),
            ("other.partners.example.com", &[ACME][..], 403),
            // Not the name by which the AuthConfig is found: no route has it.
            ("partners.shop.internal", &[ACME][..], 404),
        ] {
            assert_eq!(shop.envoy.get(host, "/", headers).status, status, "{}: {host} {headers:?}", program.version);
        }
    }
}

/// Escaped slashes are not left to be understood by one side as this and by the other as that: the client is told to say
/// which path it means, and that one is decided about.
#[test]
fn paths_are_decided_about_as_the_upstream_gets_them() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let version = program.version;
        let shop = Shop::start(program, &folder);
        for (target, location, status) in [
            ("/reports%2ftoday", "/reports/today", 401),
            ("/reports%5Ctoday", "/reports/today", 401),
            ("/healthz%2f..%2freports", "/reports", 401),
            ("/help%2F..%2Freports%2Ftoday?a=%2f", "/reports/today?a=%2f", 401),
            ("/help%2fme", "/help/me", 200),
        ] {
            let before = (shop.checks(), shop.upstream.requests());
            let redirect = shop.get(target, &[]);
            assert_eq!((redirect.status, redirect.header("location")), (307, Some(location)), "{version}: {target}");
            assert_eq!((shop.checks(), shop.upstream.requests()), before, "{version}: {target}: nobody was asked");
            assert_eq!(shop.get(location, &[]).status, status, "{version}: {location}");
            assert_eq!(shop.checks(), before.0 + 1, "{version}: {location}");
        }
        for target in ["/help/../reports", "//reports", "/healthz/../reports", "/./reports"] {
            assert_eq!(shop.get(target, &[]).status, 401, "{version}: {target}");
        }
        for (target, status, seen) in
            [("//reports/./a/../today", 200, "/reports/today"), ("/reports//..//help", 200, "/reports/help")]
        {
            let response = shop.get(target, &[SAM]);
            assert_eq!((response.status, &response.json()["target"]), (status, &json!(seen)), "{version}: {target}");
        }

        let before = shop.checks();
        let response = shop.get("/cart", &[ANN, ("x_api_key", "b")]);
        assert_eq!((response.status, shop.checks()), (400, before), "{version}: headers with underscores are refused");
    }
}

/// What makes routes found, or not. The host is there for all that are not found, and is the strictest.
#[test]
fn routes_are_found_only_where_all_agree() {
    let folder = Folder::read(FOLDER);
    let config = folder.for_usher();
    let mut silent = Folder::read(FOLDER);
    for policy in silent.documents.iter_mut().filter(|it| it["kind"] == "SecurityPolicy") {
        if let Some(settings) = policy["spec"].get_mut("extAuth") {
            settings["includeRouteMetadata"] = false.into();
        }
    }
    // The AuthConfig of a route, in a namespace where it has no say about it.
    let mut elsewhere = folder.clone();
    elsewhere.edit("AuthConfig", "help")["metadata"]["namespace"] = "elsewhere".into();
    let elsewhere = elsewhere.for_usher();
    let lookup = &["--allow-route-lookup"][..];
    for program in envoys() {
        for (why, folder, config, flags, of_host) in [
            ("all is well", &folder, &config, lookup, &["/drafts"][..]),
            ("the gateway names no routes", &silent, &config, lookup, &["/cart", "/reports", "/help/me"]),
            ("Usher does not look them up", &folder, &config, &[], &["/cart", "/reports", "/help/me"]),
            ("another namespace", &folder, &elsewhere, lookup, &["/help/me"]),
        ] {
            let shop = Shop::start_with(program, folder, config, flags);
            for target in of_host {
                let statuses = [&[][..], &[ANN], &[SAM]].map(|headers| shop.get(target, headers).status);
                assert_eq!(statuses, [401, 401, 200], "{}: {why}: {target}", program.version);
            }
        }
    }
}

#[test]
fn without_a_reference_grant_routes_are_not_open() {
    let mut folder = Folder::read(FOLDER);
    folder.documents.retain(|it| it["kind"] != "ReferenceGrant");
    let Some(program) = envoys().first() else { return };
    let shop = Shop::start(program, &folder);
    for (target, status) in [("/cart", 500), ("/checkout", 500), ("/reports", 500), ("/healthz", 200)] {
        assert_eq!(shop.get(target, &[SAM]).status, status, "{target}");
    }
    assert_eq!(shop.checks(), 0);
}
