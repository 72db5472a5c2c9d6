//! Envoy Gateway.

mod translate;
mod translation;

use serde_json::{Value, json};
use translate::translate;

use super::{
    Ports,
    gateway_api::GROUP,
    guides::{Applied, Running},
    needs::{merge, needs, only, take},
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

/// With the settings that `usher doctor needs` prints, in place of those of the manifests. Each policy has those of the
/// AuthConfigs that its routes lead to.
fn with_needs() -> Folder {
    let shipped = Folder::read(FOLDER);
    let mut folder = shipped.clone();
    for (policy, told, auth_configs) in [
        (
            "usher",
            &["includeRouteMetadata"][..],
            &["shop/shop", "shop/reports", "shop/help", "shop/everything-else"][..],
        ),
        ("usher-checkout", &["includeRouteMetadata", "bodyToExtAuth"], &["shop/checkout", "shop/everything-else"]),
        ("usher-partners", &[], &["shop/partners"]),
    ] {
        let policy = folder.edit("SecurityPolicy", policy);
        take(&mut policy["spec"]["extAuth"], told);
        merge(policy, &only(needs("envoy-gateway", &shipped, auth_configs)));
        assert!(policy["spec"]["extAuth"]["headersToExtAuth"].is_array(), "{policy:#}");
    }
    folder
}

/// The gateway does not say which route it is. Each route has a policy that does.
fn with_context_extensions() -> Folder {
    let mut folder = Folder::read(FOLDER);
    let of_gateway = folder.one("SecurityPolicy", "usher").clone();
    for route in ["shop", "reports", "help"] {
        let mut policy = of_gateway.clone();
        policy["metadata"]["name"] = format!("usher-{route}").into();
        policy["spec"]["targetRefs"] = json!([{"group": GROUP, "kind": "HTTPRoute", "name": route}]);
        policy["spec"]["extAuth"]["contextExtensions"] = says_route(&format!("HTTPRoute/shop/{route}"));
        folder.documents.push(policy);
    }
    folder.edit("SecurityPolicy", "usher-checkout")["spec"]["extAuth"]["contextExtensions"] =
        says_route("HTTPRoute/shop/shop/checkout");
    silence(&mut folder);
    folder
}

fn says_route(route: &str) -> Value {
    json!([{"name": "route", "type": "Value", "value": route}])
}

/// No policy says in metadata which route it is.
fn silence(folder: &mut Folder) {
    let policies = folder.documents.iter_mut().filter(|it| it["kind"] == "SecurityPolicy");
    for settings in policies.filter_map(|policy| policy["spec"].get_mut("extAuth")) {
        settings["includeRouteMetadata"] = false.into();
    }
}

#[test]
fn each_route_of_a_hostname_has_its_own_rules() {
    for folder in [Folder::read(FOLDER), with_needs(), with_context_extensions()] {
        routes_have_their_own_rules(&folder);
    }
}

fn routes_have_their_own_rules(folder: &Folder) {
    for program in envoys() {
        let shop = Shop::start(program, folder);
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
    for folder in [Folder::read(FOLDER), with_needs()] {
        a_rule_reads_bodies(&folder);
    }
}

fn a_rule_reads_bodies(folder: &Folder) {
    for program in envoys() {
        let version = program.version;
        let mut shop = Shop::start(program, folder);
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
    for (program, folder) in envoys().iter().flat_map(|it| [(it, Folder::read(FOLDER)), (it, with_needs())]) {
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
    let mut silent = folder.clone();
    silence(&mut silent);
    let by_extension = with_context_extensions();
    // Both say something: the context extension counts, and it alone.
    let mut misled = folder.clone();
    misled.edit("SecurityPolicy", "usher")["spec"]["extAuth"]["contextExtensions"] =
        says_route("HTTPRoute/shop/nobodys");
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
            ("nor those of extensions", &by_extension, &config, &[], &["/cart", "/reports", "/help/me"]),
            ("a policy names another one", &misled, &config, lookup, &["/cart", "/reports", "/help/me"]),
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

/// What a list of headers does that `usher doctor needs` prints, and what one does that lacks a header of it.
#[test]
fn usher_is_told_the_headers_of_the_list() {
    let Some(program) = envoys().first() else { return };
    let printed = with_needs();
    let mut objects = Folder::read(FOLDER);
    // What is told is shown to the upstream. Of ann it is not known which customer she is.
    let told = json!({"json": {"properties": {"headers": {"selector": "context.request.http.headers"}}}});
    objects.edit("AuthConfig", "shop")["spec"]["response"]["success"]["headers"]["x-told"] = told;
    take(&mut objects.edit("Secret", "ann")["metadata"], &["annotations"]);
    let config = objects.for_usher();
    let send = |without: Option<&str>| {
        let mut folder = printed.clone();
        let policy = &mut folder.edit("SecurityPolicy", "usher")["spec"]["extAuth"];
        let list = policy["headersToExtAuth"].as_array_mut().unwrap();
        list.retain(|name| without.is_none_or(|without| name != without));
        let shop = Shop::start_with(program, &folder, &config, &["--allow-route-lookup"]);
        shop.get("/cart", &[ANN, ("X-Customer", "bob"), ("x-other", "1"), ("cookie", "a=b")])
    };

    let response = send(None);
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.json()["headers"].clone();
    assert_eq!((&seen["x-customer"], &seen["x-other"]), (&json!(""), &json!("1")), "the client's own is emptied");
    let told: Value = serde_json::from_str(seen["x-told"].as_str().unwrap()).unwrap();
    let told: Vec<_> = told["headers"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(told, ["x-api-key", "x-customer", "x-request-id"], "and none that begins with a colon");

    let seen = send(Some("x-customer")).json()["headers"].clone();
    assert_eq!(seen["x-customer"], "bob", "Usher does not know that there is one to empty");
    let response = send(Some("x-api-key"));
    assert_eq!((response.status, response.header("x-ext-auth-reason")), (401, Some("credential not found")));
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
