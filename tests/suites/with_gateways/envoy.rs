//! Envoy, set up by hand.

use serde_json::{Value, json};

use super::{
    Ports,
    guides::{Applied, Running},
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

/// The file as it is, but for the addresses and the place of the log.
fn bootstrap(folder: &Folder, ports: Ports) -> Value {
    let is_it = |document: &&Value| document.get("static_resources").is_some();
    let mut bootstrap = folder.documents.iter().find(is_it).expect("a file for Envoy").clone();
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

fn through_each_envoy(usher: &Usher, test: impl Fn(&Gateway<'_>)) {
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let bootstrap = bootstrap(&Folder::read(FOLDER), ports);
    for program in parts::envoys() {
        eprintln!("Envoy {}", program.version);
        test(&Gateway { envoy: Envoy::launch(&program.path, &bootstrap), upstream: &upstream });
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
