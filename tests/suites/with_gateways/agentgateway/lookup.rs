//! Which AuthConfig decides: the one for the host of the request, or for the name or the route that the policy gives.

use serde_json::{Value, json};

use super::{FOLDER, PLANNER, Ports, World, configuration_file};
use crate::support::{
    documents::{Folder, for_usher},
    usher::Usher,
};

const HOST: &str = "ai.example.com";
const ALLOW: (&str, &str) = ("x-ext-authz", "allow");
const DENIED: &str = "denied by ext_authz for not found header `x-ext-authz: allow` in the request";

/// The Service and the policy of agentgateway's own guide to external authorization: another name, another namespace, a port that
/// is not that of the pods, and nothing to choose an AuthConfig by.
fn as_in_the_guide_of_agentgateway(port: u16) -> [Value; 2] {
    let metadata = |name: &str| json!({"name": name, "namespace": "agentgateway-system"});
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("ext-authz"),
            "spec": {
                "selector": {"app": "ext-authz"},
                "ports": [{"port": 4444, "targetPort": 9000, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}],
            },
        }),
        json!({
            "apiVersion": "agentgateway.dev/v1alpha1",
            "kind": "AgentgatewayPolicy",
            "metadata": metadata("basic-ext-auth"),
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "agentgateway-proxy"}],
                "traffic": {"extAuth": {
                    "backendRef": {"name": "ext-authz", "namespace": "agentgateway-system", "port": port},
                    "grpc": {},
                }},
            },
        }),
    ]
}

/// The gateway and the routes that are shipped, with no policies but these.
fn with(usher: Usher, policies: &[Value]) -> World {
    let shipped = Folder::read(FOLDER).documents.into_iter();
    let documents: Vec<_> =
        shipped.filter(|it| it["kind"] != "AgentgatewayPolicy").chain(policies.iter().cloned()).collect();
    World::of(usher, |ports: &Ports| {
        let services = [
            ("agentgateway-system/ext-authz:9000", ports.usher),
            ("ai/models:http", ports.models),
            ("ai/tools:http", ports.tools),
        ];
        super::Cluster { documents: &documents, services: &services, clock: ports.clock.clone() }.configuration()
    })
}

fn sample_for(host: &str) -> String {
    let mut folder = Folder::read(FOLDER);
    let config = folder.edit("AuthConfig", "sample");
    config["spec"]["hosts"] = json!([host]);
    for_usher(std::slice::from_ref(config))
}

#[test]
fn without_a_context_the_host_of_the_request_decides() {
    let world = with(Usher::start(&sample_for(HOST)), &as_in_the_guide_of_agentgateway(4444));
    let send = |host: &str, headers: &[(&str, &str)]| world.proxy.post(host, "/openai", headers, "{}");
    for host in [HOST, "AI.example.com", "ai.example.com:8080"] {
        let before = world.requests();
        let response = send(host, &[]);
        assert_eq!((response.status, response.text().as_str()), (403, DENIED), "{host}");
        assert_eq!(response.header("content-type"), Some("text/plain"));
        let response = send(host, &[ALLOW, ("x-ai-api-key", "key of the model")]);
        assert_eq!(response.status, 200, "{host}: {}", response.text());
        assert_eq!(response.json()["headers"]["x-ext-authz-check-result"], "allowed");
        assert_eq!(response.json()["headers"]["x-ai-api-key"], "key of the model");
        assert_eq!(world.requests(), before + 1);
    }
    let before = world.requests();
    for (host, headers) in [
        ("sample.authconfig.internal", &[ALLOW][..]),
        ("example.com", &[ALLOW]),
        ("more.ai.example.com", &[ALLOW]),
        // Nothing but the host itself says which host it is.
        ("other.example.com", &[ALLOW, ("x-forwarded-host", HOST)]),
    ] {
        assert_eq!(send(host, headers).status, 404, "{host}");
    }
    assert_eq!((world.requests(), world.calls("openai")), (before, 10));
}

/// The port of the pods is none of the Service: nobody answers there, and nobody passes.
#[test]
fn a_port_that_the_service_does_not_have_lets_nobody_pass() {
    let world = with(Usher::start(&sample_for(HOST)), &as_in_the_guide_of_agentgateway(9000));
    let response = world.proxy.get(HOST, "/openai", &[ALLOW]);
    assert_eq!((response.status, response.text().as_str()), (403, "external authorization failed"));
    assert_eq!(world.requests(), 0);
}

/// In place of a name for the AuthConfig the policy, or the file, can tell the name of the route.
#[test]
fn the_policy_can_name_the_route() {
    let route = json!({"route": "HTTPRoute/ai/mcp"});
    let mut folder = Folder::read(FOLDER).without("AgentgatewayPolicy", "perimeter");
    let config = &mut folder.edit("AuthConfig", "mcp")["spec"];
    config["hosts"] = json!([]);
    config["routes"] = json!([{"name": "mcp"}]);
    let policy = folder.edit("AgentgatewayPolicy", "mcp");
    policy["spec"]["traffic"]["extAuth"]["grpc"]["contextExtensions"] = route.clone();
    let mut file = configuration_file(&folder).unwrap().clone();
    let of_route = file["binds"][0]["listeners"][0]["routes"].as_array_mut().unwrap();
    let of_route = of_route.iter_mut().find(|it| it["name"] == "mcp").unwrap();
    of_route["policies"]["extAuthz"]["protocol"]["grpc"]["context"] = route;

    let usher = || Usher::start_with(&folder.for_usher(), &["--allow-route-lookup"]);
    for world in [World::of(usher(), |ports| ports.cluster(&folder.documents)), World::of_file(usher(), &file)] {
        let call = |key: &str, tool: &str| {
            let authorization = format!("Bearer {key}");
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
            world.proxy.post(HOST, "/mcp", &[("authorization", &authorization)], &message.to_string())
        };
        let response = call(PLANNER, "search");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["headers"]["x-agent"], "planner");
        assert_eq!((call(PLANNER, "delete").status, call("of-nobody", "search").status), (403, 401));
        assert_eq!((world.tools.requests(), world.calls("mcp")), (1, 3));
        // Routes for which the policy gives a name are found by it, as before.
        assert_eq!(world.proxy.get(HOST, "/openai", &[]).text(), DENIED);
        assert_eq!(world.proxy.get(HOST, "/openai", &[ALLOW]).status, 200);
    }
}
