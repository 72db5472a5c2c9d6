//! The guide, step by step: `docs/gateways/agentgateway.md`.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{CLEANER, FOLDER, PLANNER, World, configuration_file, named, without_perimeter};
use crate::support::{
    documents::Folder,
    http::{Request, Response},
    usher::Usher,
};

const HOST: &str = "ai.example.com";
const ALLOW: (&str, &str) = ("x-ext-authz", "allow");
const DENIED: &str = "denied by ext_authz for not found header `x-ext-authz: allow` in the request";

/// How often Usher was asked before the route was known.
fn perimeter(world: &World) -> u64 {
    let (_, check) = &world.proxy.configuration().before_routing.0[0];
    check.calls.load(std::sync::atomic::Ordering::SeqCst)
}

fn chat(world: &World, headers: &[(&str, &str)]) -> Response {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    world.proxy.post(HOST, "/openai", &headers, r#"{"model": "gpt-4o-mini"}"#)
}

#[test]
fn without_a_policy_everything_passes() {
    let world = World::with(|document| document["kind"] != "AgentgatewayPolicy");
    let response = chat(&world, &[]);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!((world.models.requests(), world.calls("openai")), (1, 0));
}

#[test]
fn the_policy_of_the_gateway_asks_for_a_header() {
    let world = World::start();
    for headers in [&[][..], &[("x-ext-authz", "deny")], &[("x-ext-authz", "allow, allow")], &[ALLOW, ALLOW]] {
        let response = chat(&world, headers);
        assert_eq!((response.status, response.text().as_str()), (403, DENIED), "{headers:?}");
        assert_eq!(response.header("content-type"), Some("text/plain"));
        assert_eq!(response.header("x-ext-authz-check-result"), Some("denied"));
    }
    assert_eq!((world.models.requests(), world.calls("openai")), (0, 4));

    let response = chat(&world, &[ALLOW, ("x-ai-api-key", "key of the model"), ("x-ext-authz-check-result", "forged")]);
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.json();
    assert_eq!(seen["headers"]["x-ext-authz-check-result"], "allowed");
    assert_eq!(seen["headers"]["x-ai-api-key"], "key of the model");
    assert_eq!(seen["body"], r#"{"model": "gpt-4o-mini"}"#);
}

#[test]
fn an_exempt_route_is_not_asked_about() {
    for world in [World::start(), World::standalone()] {
        assert_eq!(world.proxy.get(HOST, "/healthz", &[]).status, 200);
        assert_eq!(world.calls("health"), 0);
        let below = world.proxy.get(HOST, "/healthz/more", &[]).status;
        assert_ne!(below, 200, "only this path");
    }
}

#[test]
fn both_phases_must_allow() {
    let world = World::with(|_| true);
    let perimeter = || perimeter(&world);
    let response = chat(&world, &[ALLOW]);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!((perimeter(), world.calls("openai")), (1, 1), "each is asked");

    assert_eq!(chat(&world, &[]).text(), DENIED);
    assert_eq!((perimeter(), world.calls("openai")), (2, 2));

    let two = [ALLOW, ("authorization", "Bearer a"), ("authorization", "Bearer b")];
    let response = chat(&world, &two);
    assert_eq!((response.status, response.header("x-ext-auth-reason")), (403, Some("refused at the perimeter")));
    assert_eq!((perimeter(), world.calls("openai")), (3, 2), "who is refused there is refused");
    assert_eq!(world.models.requests(), 1);

    assert_eq!(world.proxy.get(HOST, "/healthz", &[]).status, 200, "exempt otherwise, but not there");
    assert_eq!((perimeter(), world.calls("health")), (4, 0));
}

/// The same with routes that have policies of their own: each of the two can refuse alone, and who passes has passed both.
#[test]
fn the_perimeter_and_the_policy_of_a_route_must_both_allow() {
    let mut folder = Folder::read(FOLDER);
    folder.edit("AuthConfig", "perimeter")["spec"]["authorization"]["open"] =
        json!({"patternMatching": {"patterns": [{"predicate": r#"!("x-closed" in request.headers)"#}]}});
    let world = World::of(Usher::start(&folder.for_usher()), |ports| ports.cluster(&folder.documents));
    let list = message("tools/list", json!({}));
    for (route, request, scheme) in [
        ("models", Request { host: HOST, target: "/v1/models", ..Request::default() }, "APIKEY"),
        (
            "mcp",
            Request { method: "POST", host: HOST, target: "/mcp", body: list.as_bytes(), ..Request::default() },
            "Bearer",
        ),
    ] {
        let perimeter = || perimeter(&world);
        let before = (perimeter(), world.requests());
        // How often each was asked, and the API reached, since.
        let counts = || (perimeter() - before.0, world.calls(route), world.requests() - before.1);
        let [known, unknown] = [PLANNER, "of-nobody"].map(|key| format!("{scheme} {key}"));
        let send = |headers: &[(&str, &str)]| world.proxy.send(Request { headers, ..request });

        let response = send(&[("authorization", &known)]);
        assert_eq!(response.status, 200, "{route}: {}", response.text());
        assert_eq!(counts(), (1, 1, 1), "{route}: one check each");

        // An answer that is kept for the route is none of the perimeter.
        let response = send(&[("authorization", &known), ("x-closed", "yes")]);
        assert_eq!((response.status, response.header("x-ext-auth-reason")), (403, Some("refused at the perimeter")));
        assert_eq!(counts(), (2, 1, 1), "{route}: the perimeter refuses alone");

        for headers in [&[("authorization", &*unknown)][..], &[]] {
            assert_eq!(send(headers).status, 401, "{route}");
        }
        assert_eq!(counts(), (4, 3, 1), "{route}: the route refuses alone");
    }
}

/// In one phase a policy of a route takes the place of that of the Gateway, unless that one forbids it.
#[test]
fn policies_of_one_phase_do_not_add_up() {
    let without_perimeter = |document: &serde_json::Value| named(document, "perimeter").is_none();
    let get = |world: &World| world.proxy.get(HOST, "/v1/models", &[ALLOW]).status;
    assert_eq!(get(&World::start()), 401, "the header of the other policy is of no use");
    let world = World::changed(without_perimeter, |document| {
        if named(document, "authz").is_some() {
            document["spec"]["strategy"] = json!({"inheritance": "Override"});
        }
    });
    assert_eq!(get(&world), 200);
    assert_eq!(world.proxy.get(HOST, "/healthz", &[]).status, 403, "no route is exempt then");
}

fn message(method: &str, params: serde_json::Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn call(tool: &str) -> String {
    message("tools/call", json!({"name": tool, "arguments": {"query": "tools/list"}}))
}

#[test]
fn tools_are_for_those_whose_secret_names_them() {
    for world in [World::start(), World::standalone()] {
        let post = |key: &str, body: &str| {
            let headers = [("authorization", &*format!("Bearer {key}")), ("content-type", "application/json")];
            world.proxy.post(HOST, "/mcp", &headers, body)
        };
        let list = message("tools/list", json!({}));
        let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {}}).to_string();
        let before = world.requests();
        let allowed = [(PLANNER, "search"), (PLANNER, "fetch"), (CLEANER, "search"), (CLEANER, "delete")];
        for (key, body) in
            allowed.map(|(key, tool)| (key, call(tool))).iter().chain([(PLANNER, list), (CLEANER, answer)].iter())
        {
            let response = post(key, body);
            assert_eq!(response.status, 200, "{key} {body}: {}", response.text());
            let seen = response.json();
            assert_eq!(seen["body"], *body);
            assert_eq!(seen["headers"]["x-agent"], if *key == PLANNER { "planner" } else { "cleaner" });
            assert_eq!(seen["headers"].get("authorization"), None, "the key stays here");
        }
        assert_eq!(world.tools.requests(), before + 6);

        let refused = [
            (PLANNER, call("delete")),
            (CLEANER, call("fetch")),
            (PLANNER, call("search,fetch")),
            (PLANNER, format!("[{}]", call("search"))),
            (PLANNER, call("delete").replace("method", "Method")),
            (PLANNER, call("delete").replace("\"name\"", "\"Name\"")),
            (PLANNER, message("tools/call", json!({"name": ["search"]}))),
            (PLANNER, message("tools/call", json!({}))),
            // Of two members with one name the last one counts.
            (PLANNER, r#"{"method": "tools/call", "params": {"name": "search", "name": "delete"}}"#.to_owned()),
            (PLANNER, "tools/list".to_owned()),
            (PLANNER, String::new()),
        ];
        for (key, body) in refused {
            let response = post(key, &body);
            assert_eq!(response.status, 403, "{body}");
            assert_eq!(response.json(), json!({"error": "tool_not_granted"}), "{body}");
            assert_eq!(response.header("content-type"), Some("application/json"));
        }
        let response = post("nobody's", &call("search"));
        assert_eq!((response.status, response.json()), (401, json!({"error": "unauthenticated"})));
        let challenge = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource""#;
        assert_eq!(response.headers("www-authenticate").collect::<Vec<_>>(), [challenge]);
        assert_eq!(world.tools.requests(), before + 6);

        // A stream to listen to has no body.
        let bearer = format!("Bearer {PLANNER}");
        assert_eq!(world.proxy.get(HOST, "/mcp", &[("authorization", &bearer)]).status, 200);
    }
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let long = message("tools/call", json!({"name": "search", "arguments": {"text": "x".repeat(70_000)}}));
    for (world, status) in [(World::start(), 403), (World::standalone(), 413)] {
        let headers = [("authorization", &*format!("Bearer {PLANNER}"))];
        assert_eq!(world.proxy.post(HOST, "/mcp", &headers, &long).status, status);
        assert_eq!(world.tools.requests(), 0);
    }
}

/// A size may also be written as a quantity. One byte more is too much.
#[test]
fn a_limit_for_messages_is_kept_to_the_byte() {
    let mut folder = Folder::read(FOLDER);
    folder.edit("AgentgatewayPolicy", "mcp")["spec"]["traffic"]["extAuth"]["forwardBody"] = json!({"maxSize": "8Ki"});
    let documents = without_perimeter(&folder);
    let world = World::of(Usher::start(&folder.for_usher()), |ports| ports.cluster(&documents));
    let headers = [("authorization", &*format!("Bearer {PLANNER}"))];
    let call = call("search");
    for (size, status) in [(8192, 200), (8193, 403)] {
        let padded = format!("{}{call}", " ".repeat(size - call.len()));
        assert_eq!(world.proxy.post(HOST, "/mcp", &headers, &padded).status, status, "{size}");
    }
    assert_eq!((world.tools.requests(), world.calls("mcp")), (1, 2));
}

/// A file that says to pass bodies on and no size passes nothing on. So it has to say one.
#[test]
fn a_file_that_gives_no_size_passes_no_body_on() {
    let folder = Folder::read(FOLDER);
    for (options, status, calls) in [(json!({}), 413, 1), (json!({"allowPartialMessage": true}), 403, 2)] {
        let mut file = configuration_file(&folder).unwrap().clone();
        let routes = file["binds"][0]["listeners"][0]["routes"].as_array_mut().unwrap();
        let mcp = routes.iter_mut().find(|route| route["name"] == "mcp").unwrap();
        mcp["policies"]["extAuthz"]["includeRequestBody"] = options.clone();
        let world = World::of_file(Usher::start(&folder.for_usher()), &file);
        let headers = [("authorization", &*format!("Bearer {PLANNER}"))];
        assert_eq!(world.proxy.get(HOST, "/mcp", &headers).status, 200, "{options}: there is none");
        assert_eq!(world.proxy.post(HOST, "/mcp", &headers, &call("search")).status, status, "{options}");
        assert_eq!((world.tools.requests(), world.calls("mcp")), (1, calls), "{options}");
    }
}

#[test]
fn the_file_does_what_the_objects_do() {
    let world = World::standalone();
    assert_eq!(chat(&world, &[]).text(), DENIED);
    assert_eq!(chat(&world, &[ALLOW]).status, 200);
    let key = format!("APIKEY {PLANNER}");
    let response = world.proxy.get(HOST, "/v1/models", &[("authorization", &key)]);
    assert_eq!(response.json()["headers"]["x-agent"], "planner", "{}", response.text());
}

#[test]
fn without_an_answer_nobody_passes() {
    for (mut world, status, text) in [
        (World::start(), 403, "external authorization failed"),
        (World::standalone(), 503, "Authorization service unavailable"),
    ] {
        assert_eq!(chat(&world, &[ALLOW]).status, 200);
        world.usher.kill();
        let response = chat(&world, &[ALLOW]);
        assert_eq!((response.status, response.text().as_str()), (status, text));
        assert_eq!(world.models.requests(), 1);
        world.usher.restart();
        assert_eq!(chat(&world, &[ALLOW]).status, 200);
    }
}

/// Somebody takes the connection and says nothing: the policy on the Service says for how long that is borne.
#[test]
fn a_service_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let folder = Folder::read(FOLDER);
    let world = World::of(Usher::start(&folder.for_usher()), |ports| {
        super::Ports { usher: port, clock: ports.clock.clone(), ..*ports }.cluster(&folder.documents)
    });
    let began = Instant::now();
    let response = world.proxy.get(HOST, "/healthz", &[]);
    let took = began.elapsed();
    assert_eq!((response.status, response.text().as_str()), (403, "external authorization failed"));
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(world.requests(), 0);
}
