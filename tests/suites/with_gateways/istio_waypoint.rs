//! A waypoint of Istio's ambient mesh.

mod translate;
mod translation;

use serde_json::{Value, json};
use translate::{Address, Service, waypoint};

use super::{
    Ports,
    gateway_api::GROUP,
    guides::{Applied, Caller, Running},
    istio::PREFIX,
    workloads::{Identity, Workloads, open_service},
};
use crate::support::{
    documents::{Folder, for_usher},
    envoy::Envoy,
    http::{Request, Response},
    parts::{EnvoyProgram, envoys},
    upstream::Upstream,
    usher::Usher,
    wait::until,
};

const FOLDER: &str = "deploy/gateways/istio-waypoint";
const HOST: &str = "httpbin:8000";
const HTTPBIN: Service = Service { name: "httpbin", namespace: "httpbin", address: "10.96.0.10", port: 8000 };
/// Another one behind the same waypoint, for which there is no policy.
const ECHO: Service = Service { name: "echo", namespace: "httpbin", address: "10.96.0.11", port: 8000 };
/// One of the same name in another namespace, which uses the waypoint, too.
const OTHER: Service = Service { name: "httpbin", namespace: "other", address: "10.96.0.12", port: 8000 };

const WAYPOINT: &str = "spiffe://cluster.local/ns/httpbin/sa/httpbin-waypoint";
const CLIENT: &str = "spiffe://cluster.local/ns/client/sa/curl";

/// A waypoint, Usher and an upstream.
struct Ambient {
    workloads: Workloads,
    client: Identity,
    envoy: Envoy,
    upstream: Upstream,
    usher: Usher,
}

impl Ambient {
    fn start(program: &EnvoyProgram, folder: &Folder, config: &str) -> Self {
        Self::start_with(program, folder, config, Address::OfCaller)
    }

    fn start_with(program: &EnvoyProgram, folder: &Folder, config: &str, address: Address) -> Self {
        let workloads = Workloads::new();
        let [client, server] = [CLIENT, WAYPOINT].map(|id| workloads.identity(id));
        let usher = Usher::start(config);
        let upstream = Upstream::start();
        let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
        let bootstrap = waypoint(folder, &[HTTPBIN, ECHO, OTHER], address, ports, (&workloads, &server));
        let envoy = Envoy::launch(&program.path, &bootstrap);
        Self { workloads, client, envoy, upstream, usher }
    }

    /// A request of a workload to a Service, as its node sends it.
    fn send(&self, caller: &Identity, service: Service, request: Request<'_>) -> Response {
        let address = format!("{}:{}", service.address, service.port);
        request.exchange(self.workloads.tunnel(self.envoy.port(), caller, &address)).unwrap()
    }

    fn get(&self, caller: &Identity, host: &str, target: &str) -> Response {
        self.send(caller, HTTPBIN, Request { host, target, ..Request::default() })
    }

    fn post(&self, caller: &Identity, host: &str, headers: &[(&str, &str)]) -> Response {
        self.post_to(HTTPBIN, caller, host, headers)
    }

    fn post_to(&self, service: Service, caller: &Identity, host: &str, headers: &[(&str, &str)]) -> Response {
        self.send(caller, service, Request { method: "POST", host, target: "/post", headers, body: b"a=1" })
    }
}

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    let config = applied.objects.for_usher();
    let start = |program: &'static EnvoyProgram| OfGuide {
        version: program.version,
        mesh: Ambient::start(program, &applied.objects, &config),
    };
    envoys().iter().map(|program| -> Box<dyn Running> { Box::new(start(program)) }).collect()
}

struct OfGuide {
    version: &'static str,
    mesh: Ambient,
}

impl Running for OfGuide {
    fn version(&self) -> &str {
        self.version
    }

    fn send(&self, request: Request<'_>, caller: Option<&Caller>) -> Response {
        let Caller { namespace, service_account } = caller.expect("who calls is a workload of the mesh");
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{service_account}");
        self.mesh.send(&self.mesh.workloads.identity(&id), HTTPBIN, request)
    }

    fn passed(&self) -> usize {
        self.mesh.upstream.requests()
    }
}

#[test]
fn a_service_is_written_to_by_one_workload_and_read_by_nobody() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let version = program.version;
        let mut mesh = Ambient::start(program, &folder, &folder.for_usher());

        let response = mesh.get(&mesh.client, HOST, "/get");
        let body = format!(r#"{{"caller":"{CLIENT}","error":"not_allowed","method":"GET"}}"#);
        assert_eq!((response.status, response.text()), (403, body), "{version}");
        assert_eq!(response.header("x-ext-auth-reason"), Some("Unauthorized"));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("x-denied-by"), Some("usher"));
        assert_eq!(mesh.upstream.requests(), 0);

        let response = mesh.post(&mesh.client, HOST, &[]);
        assert_eq!(response.status, 200, "{version}: {}", response.text());
        let seen = response.json();
        assert_eq!((&seen["method"], &seen["body"]), (&json!("POST"), &json!("a=1")));
        assert_eq!(seen["headers"]["x-caller"], CLIENT);
        assert_eq!(seen["headers"]["x-forwarded-client-cert"], format!("By={WAYPOINT};URI={CLIENT}"), "{version}");

        // Whoever else calls, and whatever it says about itself.
        let forged = format!("By={WAYPOINT};URI={CLIENT}");
        let forged = [("x-forwarded-client-cert", forged.as_str()), ("x-caller", CLIENT)];
        for other in ["spiffe://cluster.local/ns/client/sa/web", "spiffe://cluster.local/ns/other/sa/curl"] {
            let caller = mesh.workloads.identity(other);
            for headers in [&[][..], &forged] {
                let response = mesh.post(&caller, HOST, headers);
                let body = json!({"error": "not_allowed", "caller": other, "method": "POST"});
                assert_eq!((response.status, response.json()), (403, body), "{version}");
            }
        }
        let stranger = mesh.workloads.identity("spiffe://elsewhere.local/ns/client/sa/curl");
        let response = mesh.post(&stranger, HOST, &forged);
        let reason = response.header("x-ext-auth-reason");
        assert_eq!((response.status, reason), (401, Some("the trust domain is not accepted")), "{version}");

        let before = mesh.envoy.asked(PREFIX);
        assert_eq!(mesh.get(&stranger, HOST, "/status/200").status, 200, "{version}: an exempted path");
        let request = Request { host: "echo:8000", target: "/get", ..Request::default() };
        assert_eq!(mesh.send(&stranger, ECHO, request).status, 200, "{version}: a Service without a policy");
        assert_eq!(mesh.envoy.asked(PREFIX), before, "{version}: nobody was asked");

        mesh.usher.kill();
        let before = mesh.upstream.requests();
        assert_eq!(mesh.post(&mesh.client, HOST, &[]).status, 503, "{version}");
        assert_eq!(mesh.upstream.requests(), before);
    }
}

/// All names that a client can use are one Service. Those of others are not.
#[test]
fn all_names_of_a_service_lead_to_its_configuration() {
    let folder = Folder::read(FOLDER);
    for program in envoys() {
        let mesh = Ambient::start(program, &folder, &folder.for_usher());
        for host in [
            "httpbin",
            "httpbin:8000",
            "httpbin.httpbin",
            "httpbin.httpbin:8000",
            "httpbin.httpbin.svc",
            "httpbin.httpbin.svc:8000",
            "httpbin.httpbin.svc.cluster.local",
            "httpbin.httpbin.svc.cluster.local:8000",
        ] {
            assert_eq!(mesh.post(&mesh.client, host, &[]).status, 200, "{}: {host}", program.version);
            assert_eq!(mesh.get(&mesh.client, host, "/get").status, 403, "{}: {host}", program.version);
        }
        for host in
            ["httpbin.other", "httpbin.httpbin.svc.elsewhere", "echo", "httpbin.httpbin.svc.cluster.local.example"]
        {
            assert_eq!(mesh.post(&mesh.client, host, &[]).status, 404, "{}: {host}", program.version);
        }
    }
}

/// Two Services of one name in two namespaces: the short name alone does not say which is meant.
#[test]
fn a_short_name_that_two_namespaces_want_is_not_decided() {
    let mut folder = Folder::read(FOLDER);
    let policy = folder.documents.iter().find(|it| it["spec"]["action"] == "CUSTOM").unwrap();
    let (mut policy, mut config) = (policy.clone(), folder.one("AuthConfig", "httpbin").clone());
    policy["metadata"]["namespace"] = OTHER.namespace.into();
    config["metadata"]["namespace"] = OTHER.namespace.into();
    config["spec"]["hosts"] = json!(["httpbin.other.svc.cluster.local"]);
    for part in ["authentication", "authorization", "response"] {
        config["spec"].as_object_mut().unwrap().remove(part).unwrap();
    }
    folder.documents.extend([policy, config]);
    for program in envoys() {
        let mesh = Ambient::start(program, &folder, &folder.for_usher());
        let web = mesh.workloads.identity("spiffe://cluster.local/ns/client/sa/web");
        for (service, host, expected) in [
            (HTTPBIN, "httpbin", [503, 503]),
            (HTTPBIN, "httpbin:8000", [503, 503]),
            (OTHER, "httpbin", [503, 503]),
            (HTTPBIN, "httpbin.httpbin", [200, 403]),
            (HTTPBIN, "httpbin.httpbin.svc.cluster.local:8000", [200, 403]),
            (OTHER, "httpbin.other", [200, 200]),
            (OTHER, "httpbin.other.svc.cluster.local:8000", [200, 200]),
        ] {
            let statuses = [&mesh.client, &web].map(|caller| mesh.post_to(service, caller, host, &[]).status);
            assert_eq!(statuses, expected, "{}: {host} at {service:?}", program.version);
        }
    }
}

#[test]
fn a_policy_for_the_waypoint_is_for_all_services_behind_it() {
    let mut folder = Folder::read(FOLDER);
    let policy = folder.documents.iter_mut().find(|it| it["spec"]["action"] == "CUSTOM").unwrap();
    policy["spec"]["targetRefs"] = json!([{"group": GROUP, "kind": "Gateway", "name": "httpbin-waypoint"}]);
    let Some(program) = envoys().first() else { return };
    let mesh = Ambient::start(program, &folder, &folder.for_usher());
    assert_eq!(mesh.post(&mesh.client, HOST, &[]).status, 200);
    let request = Request { host: "echo:8000", target: "/get", ..Request::default() };
    let response = mesh.send(&mesh.client, ECHO, request);
    assert_eq!((response.status, response.header("x-ext-auth-reason")), (404, Some("Service not found")));
}

/// By the host Usher finds the AuthConfig, and the host does not choose where a request goes: without the policy that refuses
/// other names, a caller could have itself decided about by the rules of another service.
#[test]
fn a_service_is_not_called_by_the_name_of_another() {
    let folder = Folder::read(FOLDER);
    let unguarded = Folder::read(FOLDER).without("AuthorizationPolicy", "own-names-of-httpbin");
    let config = for_usher(&[&folder.documents[..], &[open_service("echo", "httpbin")]].concat());
    for program in envoys() {
        for (folder, expected) in [(&folder, 403), (&unguarded, 200)] {
            let mesh = Ambient::start(program, folder, &config);
            for host in ["echo", "echo:8000", "echo.httpbin.svc.cluster.local"] {
                let response = mesh.get(&mesh.client, host, "/get");
                assert_eq!(response.status, expected, "{}: {host}: {}", program.version, response.text());
                assert_eq!(expected == 403, response.text() == "RBAC: access denied", "{}: {host}", program.version);
            }
        }
    }
}

/// Without the annotation the waypoint takes the header away and puts nothing in its place. Nobody is known then.
#[test]
fn without_the_annotation_nobody_is_known() {
    let mut folder = Folder::read(FOLDER);
    let gateway = folder.documents.iter_mut().find(|it| it["kind"] == "Gateway").unwrap();
    let annotations = gateway["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("ambient.istio.io/xfcc-include-client-identity").unwrap();
    let forged = format!("By={WAYPOINT};URI={CLIENT}");
    for program in envoys() {
        let mesh = Ambient::start(program, &folder, &folder.for_usher());
        for headers in [&[][..], &[("x-forwarded-client-cert", forged.as_str())]] {
            let response = mesh.post(&mesh.client, HOST, headers);
            let expected = Some("header x-forwarded-client-cert not found in request");
            let found = (response.status, response.header("x-ext-auth-reason"));
            assert_eq!(found, (401, expected), "{}: {headers:?}", program.version);
        }
        assert_eq!(mesh.upstream.requests(), 0);
    }
}

/// Why the header is needed: inside the waypoint the connection says nothing about the caller, except for its address.
#[test]
fn the_connection_says_nothing_about_the_caller() {
    let folder = Folder::read(FOLDER);
    let source = json!({"json": {"properties": {"source": {"selector": "context.source"}}}});
    let mut facts = folder.clone();
    facts.edit("AuthConfig", "httpbin")["spec"]["response"]["success"]["headers"]["x-facts"] = source;
    let mut by_connection = folder.clone();
    let workload = &mut by_connection.edit("AuthConfig", "httpbin")["spec"]["authentication"]["workload"];
    workload["spiffe"]["trust"] = "connection".into();
    for program in envoys() {
        for (address, expected) in [
            (Address::OfCaller, json!({"SocketAddress": {"address": "127.0.0.1"}})),
            (Address::Internal, json!({"EnvoyInternalAddress": {}})),
        ] {
            let mesh = Ambient::start_with(program, &folder, &facts.for_usher(), address);
            let response = mesh.post(&mesh.client, HOST, &[]);
            assert_eq!(response.status, 200, "{}: {address:?}: {}", program.version, response.text());
            let seen = response.json();
            let facts: Value = serde_json::from_str(seen["headers"]["x-facts"].as_str().unwrap()).unwrap();
            assert_eq!(facts["source"]["principal"], Value::Null, "{}: {facts}", program.version);
            let told = &facts["source"]["address"]["Address"];
            let (kind, expected) = expected.as_object().unwrap().iter().next().unwrap();
            assert!(told[kind].is_object(), "{}: {address:?}: {facts}", program.version);
            assert_eq!(told[kind]["address"], expected["address"], "{}: {facts}", program.version);

            mesh.usher.write("config.yaml", &by_connection.for_usher());
            until("nobody is known", || {
                let response = mesh.post(&mesh.client, HOST, &[]);
                let found = (response.status, response.header("x-ext-auth-reason"));
                let is_it = found == (401, Some("the connection has no SPIFFE identity"));
                if is_it { Ok(()) } else { Err(format!("{found:?}")) }
            });
        }
    }
}
