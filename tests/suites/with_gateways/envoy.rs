//! Envoy, set up by hand.

use serde_json::{Value, json};

use super::{
    Ports,
    guides::{Applied, Running},
    needs::{Settings, merge, needs, only, take},
};
use crate::support::{
    documents::Folder,
    envoy::{ACCESS_LOG, Envoy},
    http::{Request, Response},
    parts,
    upstream::Upstream,
    usher::Usher,
};

const FOLDER: &str = "deploy/gateways/envoy";
const HOST: &str = "orders.example.com";
const ANN: (&str, &str) = ("authorization", "APIKEY example-key-of-ann");
const ROOT: (&str, &str) = ("authorization", "APIKEY example-key-of-root");
const TESTER: (&str, &str) = ("authorization", "APIKEY example-key-of-tester");

struct Gateway<'a> {
    envoy: Envoy,
    upstream: &'a Upstream,
}

impl Gateway<'_> {
    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.envoy.get(HOST, target, headers)
    }

    fn post(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.envoy.send(Request { method: "POST", host: HOST, target, headers, body }).unwrap()
    }
}

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    applied.behind_envoys(bootstrap)
}

/// The file for Envoy.
fn file(folder: &mut Folder) -> &mut Value {
    let mut documents = folder.documents.iter_mut();
    documents.find(|document| document.get("static_resources").is_some()).expect("a file for Envoy")
}

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// The settings of the filter.
fn ext_authz(folder: &mut Folder) -> &mut Value {
    let filters = file(folder).pointer_mut(MANAGER).unwrap()["http_filters"].as_array_mut().unwrap();
    let filter = filters.iter_mut().find(|filter| filter["name"] == "envoy.filters.http.ext_authz").unwrap();
    &mut filter["typed_config"]
}

/// Without the settings that say what is sent along.
fn bare() -> Folder {
    let mut folder = Folder::read(FOLDER);
    take(ext_authz(&mut folder), &["with_request_body", "metadata_context_namespaces"]);
    folder
}

/// With those that `usher doctor needs` prints, in place of those of the file.
fn with_needs() -> Folder {
    let mut folder = bare();
    let printed = only(needs("envoy", &folder, &[]));
    let filter = ext_authz(&mut folder);
    merge(filter, &printed);
    assert!(filter["allowed_headers"].is_object(), "{filter:#}");
    folder
}

/// The file as it is, but for the addresses and the place of the log.
fn bootstrap(folder: &Folder, ports: Ports) -> Value {
    let mut bootstrap = file(&mut folder.clone()).clone();
    let replace = |bootstrap: &mut Value, pointer: &str, from: Value, to: Value| {
        let place = bootstrap.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
        assert_eq!(*place, from, "{pointer}");
        *place = to;
    };
    let listener = "/static_resources/listeners/0";
    let address = format!("{listener}/address/socket_address");
    replace(&mut bootstrap, &format!("{address}/address"), json!("0.0.0.0"), json!("127.0.0.1"));
    replace(&mut bootstrap, &format!("{address}/port_value"), json!(8000), json!(0));
    let log = format!("{listener}/filter_chains/0/filters/0/typed_config/access_log/0/typed_config/path");
    replace(&mut bootstrap, &log, json!("/dev/stdout"), json!(ACCESS_LOG));
    for (cluster, from, to) in [(0, 50051, ports.usher), (1, 9080, ports.upstream)] {
        let endpoint = format!(
            "/static_resources/clusters/{cluster}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address"
        );
        assert_eq!(bootstrap.pointer(&endpoint).unwrap()["address"], "127.0.0.1");
        replace(&mut bootstrap, &format!("{endpoint}/port_value"), json!(from), json!(to));
    }
    bootstrap
}

fn start_usher() -> Usher {
    Usher::start(&Folder::read(FOLDER).for_usher())
}

/// With the file as it is, and with the settings that are printed for these AuthConfigs.
fn through_each_envoy(usher: &Usher, test: impl Fn(&Gateway<'_>)) {
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    for (which, folder) in [("as shipped", Folder::read(FOLDER)), ("as `usher doctor needs` says", with_needs())] {
        let bootstrap = bootstrap(&folder, ports);
        for program in parts::envoys() {
            eprintln!("Envoy {}, {which}", program.version);
            test(&Gateway { envoy: Envoy::launch(&program.path, &bootstrap), upstream: &upstream });
        }
    }
}

#[test]
fn callers_show_keys_and_the_api_learns_whose() {
    let usher = start_usher();
    through_each_envoy(&usher, |gateway| {
        let response = gateway.get("/orders?page=1", &[ANN, ("x-user", "root")]);
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = response.json();
        assert_eq!(seen["target"], "/orders?page=1");
        assert_eq!(seen["headers"]["x-user"], "ann", "a forged one is replaced");
        assert_eq!(seen["headers"].get("authorization"), None, "the key is removed");

        let passed = gateway.upstream.requests();
        for headers in [&[][..], &[("authorization", "APIKEY nobodys")]] {
            let response = gateway.get("/orders", headers);
            assert_eq!(response.status, 401, "{headers:?}");
            assert_eq!(response.header("www-authenticate"), Some(r#"APIKEY realm="keys""#));
        }
        let response = gateway.get("/orders?of=staging", &[TESTER]);
        assert_eq!((response.status, response.text().as_str()), (403, r#"{"error":"not_allowed"}"#));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(gateway.envoy.get("others.example.com", "/others", &[ANN]).status, 404, "no route");
        assert_eq!(gateway.upstream.requests(), passed);

        for (path, user, code, details) in
            [("/orders?page=1", "ann", 200, "via_upstream"), ("/orders?of=staging", "tester", 403, "ext_authz_denied")]
        {
            let logged = &gateway.envoy.access_log(path)[0];
            let found = (&logged["user"], &logged["code"], &logged["details"]);
            assert_eq!(found, (&json!(user), &json!(code), &json!(details)), "{path}");
        }
    });
}

#[test]
fn rules_see_bodies_up_to_a_length() {
    let usher = start_usher();
    through_each_envoy(&usher, |gateway| {
        let long = vec![b'a'; 100_000];
        for (target, key, body, status) in [
            ("/orders", ANN, &br#"{"amount": 100}"#[..], 200),
            ("/orders", ANN, br#"{"amount": 101}"#, 403),
            ("/orders", ROOT, br#"{"amount": 101}"#, 200),
            ("/orders", ANN, br#"{"amount": "1"}"#, 403),
            ("/orders", ANN, b"no JSON", 403),
            ("/orders", ANN, b"", 403),
            ("/orders/", ANN, br#"{"amount": 101}"#, 403),
            ("/orders", ANN, &long, 413),
            ("/uploads/1", ANN, &long, 200),
        ] {
            let response = gateway.post(target, &[key], body);
            assert_eq!(response.status, status, "{target} {} bytes: {}", body.len(), response.text());
            if status == 200 {
                assert_eq!(response.json()["body"].as_str().unwrap().len(), body.len());
            }
        }
        assert_eq!(gateway.post("/uploads/1", &[], &long).status, 401);
    });
}

#[test]
fn routes_are_exempt_or_have_an_auth_config_of_their_own() {
    let usher = start_usher();
    through_each_envoy(&usher, |gateway| {
        let checked = || gateway.envoy.asked("http");
        let response = gateway.get("/healthz", &[("x-user", "root")]);
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["headers"].get("x-user"), None, "one that nobody has checked");
        assert_eq!(gateway.get("/healthz?a=1", &[]).status, 200);
        assert_eq!(checked(), [0, 0, 0]);
        for (target, headers, status) in [
            ("/healthz/", &[][..], 401),
            ("/healthz/orders", &[], 401),
            ("/admin", &[], 401),
            ("/admin", &[ANN], 401),
            ("/admin/users", &[TESTER], 401),
            ("/admin/users", &[ROOT], 200),
            ("/administrators", &[ANN], 200),
        ] {
            let response = gateway.get(target, headers);
            assert_eq!(response.status, status, "{target} {headers:?}: {}", response.text());
        }
        assert_eq!(checked(), [2, 5, 0]);
    });
}

/// What the settings do that `usher doctor needs` prints, and what happens where one is missing.
#[test]
fn usher_is_told_what_the_settings_say() {
    let mut config = Folder::read(FOLDER);
    let told = json!({"json": {"properties": {"headers": {"selector": "context.request.http.headers"}}}});
    config.edit("AuthConfig", "orders")["spec"]["response"]["success"]["headers"]["x-told"] = told;
    let usher = Usher::start(&config.for_usher());
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let Some(program) = parts::envoys().first() else { return };
    let post = |folder: &Folder| {
        let gateway = Gateway { envoy: Envoy::launch(&program.path, &bootstrap(folder, ports)), upstream: &upstream };
        gateway.post("/orders", &[ANN, ("x-user", "root"), ("x-other", "1")], br#"{"amount": 100}"#)
    };
    let response = post(&with_needs());
    assert_eq!(response.status, 200, "{}", response.text());
    let told: Value = serde_json::from_str(response.json()["headers"]["x-told"].as_str().unwrap()).unwrap();
    let told: Vec<_> = told["headers"].as_object().unwrap().keys().map(String::as_str).collect();
    // Envoy itself says in one more whether it is the whole body.
    assert_eq!(told, ["authorization", "x-envoy-auth-partial-body", "x-request-id", "x-user"]);

    assert_eq!(post(&bare()).status, 403, "no body, and nothing of what the gateway knows");
    for setting in ["with_request_body", "metadata_context_namespaces"] {
        let mut folder = with_needs();
        take(ext_authz(&mut folder), &[setting]);
        assert_eq!(post(&folder).status, 403, "without `{setting}`");
    }
    let mut folder = with_needs();
    let patterns = ext_authz(&mut folder)["allowed_headers"]["patterns"].as_array_mut().unwrap();
    patterns.retain(|pattern| pattern["exact"] != "authorization");
    assert_eq!(post(&folder).status, 401, "without the key");
}

/// In place of a name for the AuthConfig, a route can tell its own name. What to write is printed.
#[test]
fn an_auth_config_can_be_for_a_route() {
    let mut folder = Folder::read(FOLDER);
    let admin = &mut folder.edit("AuthConfig", "orders-admin")["spec"];
    admin["hosts"] = json!([]);
    admin["routes"] = json!([{"name": "admin"}]);
    let config = folder.for_usher();
    let printed = needs("envoy", &folder, &["default/orders-admin"]);
    let [_, Settings { title, fields }] = &printed[..] else { panic!("{printed:?}") };
    assert_eq!(title, "route, typed_per_filter_config, for HTTPRoute/default/admin");
    let routes = format!("{MANAGER}/route_config/virtual_hosts/0/routes");
    let routes = file(&mut folder).pointer_mut(&routes).unwrap().as_array_mut().unwrap();
    let route = routes.iter_mut().find(|route| route["match"]["path_separated_prefix"] == "/admin").unwrap();
    route["typed_per_filter_config"] = fields.clone();

    let usher = Usher::start_with(&config, &["--allow-route-lookup"]);
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let bootstrap = bootstrap(&folder, ports);
    for program in parts::envoys() {
        let envoy = Envoy::launch(&program.path, &bootstrap);
        for (target, headers, status) in [
            ("/admin", &[][..], 401),
            ("/admin", &[ANN], 401),
            ("/admin/users", &[TESTER], 401),
            ("/admin/users", &[ROOT], 200),
            // The others are found by their host, whatever the client says.
            ("/administrators", &[ANN], 200),
            ("/orders", &[ANN, ("route", "HTTPRoute/default/admin")], 200),
        ] {
            let response = envoy.get(HOST, target, headers);
            assert_eq!(response.status, status, "{}: {target} {headers:?}: {}", program.version, response.text());
        }
        let response = envoy.get(HOST, "/admin", &[]);
        assert_eq!(response.header("www-authenticate"), Some(r#"APIKEY realm="admin-keys""#));
    }
}

/// There is no way to write a path that routes or rules take for another one than the API does.
#[test]
fn paths_and_headers_have_one_spelling() {
    let usher = start_usher();
    through_each_envoy(&usher, |gateway| {
        for (target, status) in [
            ("/healthz/../orders", 401),
            ("/orders/../healthz", 200),
            ("//healthz", 200),
            ("//admin", 401),
            ("/orders/../admin", 401),
            ("/orders/..//admin/./", 401),
            ("/%61dmin", 401),
            ("/healthz%2f..%2forders", 400),
            ("/admin%5c", 400),
        ] {
            let response = gateway.get(target, &[]);
            assert_eq!(response.status, status, "{target}: {}", response.text());
            if status == 401 && target.contains("dmin") {
                let challenge = response.header("www-authenticate");
                assert_eq!(challenge, Some(r#"APIKEY realm="admin-keys""#), "{target}");
            }
        }
        let response = gateway.get("/a//b/../orders", &[ANN]);
        assert_eq!(response.json()["target"], "/a/orders");
        assert_eq!(gateway.get("/orders", &[ANN, ("x_user", "root")]).status, 400);
    });
}

#[test]
fn while_usher_is_down_only_exempt_routes_answer() {
    let mut usher = start_usher();
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let bootstrap = bootstrap(&Folder::read(FOLDER), ports);
    let launch = |program: &parts::EnvoyProgram| Envoy::launch(&program.path, &bootstrap);
    let envoys: Vec<_> = parts::envoys().iter().map(launch).collect();
    for envoy in &envoys {
        assert_eq!(envoy.get(HOST, "/orders", &[ANN]).status, 200);
    }
    usher.kill();
    for envoy in &envoys {
        for (target, status, details) in [
            ("/orders?down", 503, "ext_authz_error"),
            ("/admin?down", 503, "ext_authz_error"),
            ("/healthz?down", 200, "via_upstream"),
        ] {
            assert_eq!(envoy.get(HOST, target, &[ANN]).status, status, "{target}");
            assert_eq!(envoy.access_log(target)[0]["details"], details, "{target}");
        }
    }
}
