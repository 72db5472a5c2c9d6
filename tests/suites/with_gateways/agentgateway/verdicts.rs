//! Whatever passes this gateway passes Envoy: both are asked the same, with the same AuthConfigs, over many kinds of verdict.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    CLEANER, FOLDER, PLANNER,
    ext_authz::{BodyOptions, Checks, ExtAuthz},
    proxy::{Configuration, Path, Proxy, Route},
};
use crate::support::{
    documents::{Folder, for_usher},
    envoy::{Envoy, access_log, cluster, h2_cluster, loopback, router},
    http::{Request, Response},
    parts,
    upstream::Upstream,
    usher::Usher,
};

/// Both gateways in front of one program under test, each with an upstream of its own.
struct Pair {
    /// Such as `1.40.0`.
    version: &'static str,
    envoy: (Envoy, Upstream),
    proxy: (Proxy, Upstream),
}

/// What a client got, and whether the upstream was reached.
#[derive(Debug, PartialEq)]
struct Fate {
    status: u16,
    passed: bool,
}

const BODY_LIMIT: usize = 65_536;

impl Pair {
    /// One for each version of Envoy. `hosts`: which paths are looked up by which name; all others by the host.
    fn all(usher: &Usher, hosts: &[(&str, &str)]) -> Vec<Self> {
        let pair = |program: &'static parts::EnvoyProgram| {
            let (behind_envoy, behind_proxy) = (Upstream::start(), Upstream::start());
            let bootstrap = bootstrap(usher.grpc_port(), behind_envoy.port(), hosts);
            let routes = hosts.iter().map(|(path, host)| route(path, Some(host), usher, &behind_proxy));
            let routes = routes.chain([route("/", None, usher, &behind_proxy)]).collect();
            let configuration = Configuration { routes, ..Configuration::default() };
            Self {
                version: program.version,
                envoy: (Envoy::launch(&program.path, &bootstrap), behind_envoy),
                proxy: (Proxy::start(configuration), behind_proxy),
            }
        };
        parts::envoys().iter().map(pair).collect()
    }

    /// What becomes of a request: with Envoy, and with this gateway.
    fn compare(&self, request: Request<'_>) -> [Fate; 2] {
        let fate = |response: Response, before: usize, upstream: &Upstream| Fate {
            status: response.status,
            passed: upstream.requests() > before,
        };
        let before = [self.envoy.1.requests(), self.proxy.1.requests()];
        let envoy = fate(self.envoy.0.send(request).unwrap(), before[0], &self.envoy.1);
        let proxy = fate(self.proxy.0.send(request), before[1], &self.proxy.1);
        assert!(!proxy.passed || envoy.passed, "{}: {proxy:?} here, {envoy:?} with Envoy: {request:?}", self.version);
        [envoy, proxy]
    }
}

fn route(path: &str, host: Option<&str>, usher: &Usher, upstream: &Upstream) -> Route {
    let mut check = ExtAuthz::of(usher.grpc_port());
    check.context = host.map(|host| ("host".to_owned(), host.to_owned())).into_iter().collect();
    check.body = Some(BodyOptions { max_request_bytes: BODY_LIMIT, allow_partial_message: true, pack_as_bytes: false });
    Route {
        name: path.to_owned(),
        matches: vec![Path::Prefix(path.to_owned())],
        checks: Checks(vec![(None, Arc::new(check))]),
        upstream: upstream.port(),
    }
}

fn bootstrap(usher: u16, upstream: u16, hosts: &[(&str, &str)]) -> Value {
    let named = hosts.iter().map(|(path, host)| {
        json!({
            "match": {"path_separated_prefix": path},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"context_extensions": {"host": host}},
            }},
        })
    });
    let others = json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}});
    let routes: Vec<_> = named.chain([others]).collect();
    let filters = json!([
        {
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "failure_mode_allow": false,
                "grpc_service": {"envoy_grpc": {"cluster_name": "usher"}, "timeout": "10s"},
                "with_request_body": {"max_request_bytes": BODY_LIMIT, "allow_partial_message": true},
            },
        },
        router(),
    ]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "access_log": [access_log()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": filters,
    });
    let chain =
        json!({"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]});
    json!({"static_resources": {
        "listeners": [{"name": "ingress", "address": loopback(0), "filter_chains": [chain]}],
        "clusters": [cluster("upstream", upstream), h2_cluster("usher", usher)],
    }})
}

/// An AuthConfig for a host of its own.
fn config(name: &str, rest: Value) -> Value {
    let mut spec = json!({"hosts": [format!("{name}.test")]});
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Name, expected status, AuthConfig.
fn verdicts() -> Vec<(String, u16, Value)> {
    let never = json!({"nobody": {"patternMatching": {"patterns": [{"predicate": "false"}]}}});
    let keys = json!({"keys": {"apiKey": {"selector": {"matchLabels": {"group": "nobody"}}}}});
    let mut verdicts = vec![
        ("allow".to_owned(), 200, json!({})),
        (
            "allow-changed".to_owned(),
            200,
            json!({"response": {"success": {
                "headers": {"x-user": {"plain": {"value": "ann"}}, "x-empty": {"plain": {"value": ""}}},
                "removeHeaders": ["x-internal"],
                "responseHeaders": {"x-class": {"plain": {"value": "gold"}}},
                "queryParameters": {"set": {"a": {"plain": {"value": "b c"}}}, "remove": ["d"]},
                "dynamicMetadata": {"who": {"json": {"properties": {"name": {"value": "ann"}}}}},
            }}}),
        ),
        (
            "undecidable".to_owned(),
            503,
            json!({"authorization": {"broken": {
                "when": [{"predicate": "request.headers[\"x-missing\"] == \"a\""}],
                "patternMatching": {"patterns": []},
            }}}),
        ),
        (
            "two-challenges".to_owned(),
            401,
            json!({"authentication": {
                "first": {"apiKey": {"selector": {"matchLabels": {"group": "a"}}}, "credentials": {"authorizationHeader": {"prefix": "A"}}},
                "second": {"apiKey": {"selector": {"matchLabels": {"group": "b"}}}, "credentials": {"authorizationHeader": {"prefix": "B"}}},
            }}),
        ),
        (
            "odd-headers".to_owned(),
            403,
            json!({"authorization": never, "response": {"unauthorized": {
                "headers": {"x-empty": {"value": ""}, "x-lines": {"value": "a\r\nx-injected: b"}, "set-cookie": {"value": "a=1"}},
                "body": {"value": {"error": "refused"}},
                "dynamicMetadata": {"why": {"value": [1, null, {"a": true}]}},
            }}}),
        ),
    ];
    for code in
        [300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 409, 418, 422, 429, 451, 500, 502, 503, 504, 511, 599]
    {
        let answer = json!({"code": code, "headers": {"location": {"value": "https://login.example.com/"}}});
        let unauthorized = json!({"authorization": never, "response": {"unauthorized": answer}});
        verdicts.push((format!("unauthorized-{code}"), code, unauthorized));
        let unauthenticated = json!({"authentication": keys, "response": {"unauthenticated": answer}});
        verdicts.push((format!("unauthenticated-{code}"), code, unauthenticated));
    }
    verdicts
}

#[test]
fn no_kind_of_verdict_passes_here_and_not_there() {
    let verdicts = verdicts();
    let configs = verdicts.iter().map(|(name, _, spec)| config(name, spec.clone()));
    let configs = for_usher(&configs.collect::<Vec<_>>());
    for flags in [&[][..], &["--error-response"]] {
        let usher = Usher::start_with(&configs, flags);
        for pair in Pair::all(&usher, &[]) {
            let mut verdicts: Vec<_> = verdicts.iter().map(|(name, status, _)| (name.as_str(), *status)).collect();
            verdicts.push(("of-nobody", 404));
            for (name, status) in verdicts {
                let headers = [("x-user", "forged"), ("x-internal", "secret")];
                let host = format!("{name}.test");
                let request = Request { host: &host, target: "/?d=e", headers: &headers, ..Request::default() };
                let [envoy, here] = pair.compare(request);
                let place = format!("{name} {flags:?} with Envoy {}", pair.version);
                assert_eq!(here.passed, status == 200, "{place}: {here:?}");
                assert_eq!(envoy.passed, here.passed, "{place}: {envoy:?}");
                if name == "undecidable" && !flags.is_empty() {
                    // Known to Envoy 1.37 and later, and to nobody else here.
                    assert_eq!(here.status, 403, "{place}");
                } else {
                    assert_eq!((envoy.status, here.status), (status, status), "{place}");
                }
            }
        }
    }
}

/// The AuthConfigs that are shipped, with every combination of what they read.
#[test]
fn no_request_of_the_examples_passes_here_and_not_there() {
    let usher = Usher::start(&Folder::read(FOLDER).for_usher());
    let hosts = [
        ("/openai", "sample.authconfig.internal"),
        ("/v1/models", "models.authconfig.internal"),
        ("/mcp", "mcp.authconfig.internal"),
        ("/perimeter", "perimeter.authconfig.internal"),
        ("/nobody", "nobody.authconfig.internal"),
    ];
    let [planner, cleaner] = [PLANNER, CLEANER].map(|key| [format!("APIKEY {key}"), format!("Bearer {key}")]);
    let credentials = [&planner[0], &planner[1], &cleaner[0], &cleaner[1], "Bearer nobody's", "APIKEY", "Bearer a.b.c"];
    let credentials: Vec<Vec<&str>> = std::iter::once(vec![])
        .chain(credentials.into_iter().map(|one| vec![one]))
        .chain([vec![&*planner[0], "Bearer nobody's"], vec!["Bearer nobody's", &planner[1]]])
        .collect();
    let call = |tool: &str| json!({"method": "tools/call", "params": {"name": tool}}).to_string();
    let bodies = [String::new(), call("search"), call("delete"), format!("[{}]", call("search")), "x".repeat(70_000)];
    for pair in Pair::all(&usher, &hosts) {
        let (mut passed, mut stopped) = (0, 0);
        for (target, _) in hosts {
            for method in ["GET", "POST", "PURGE"] {
                for credentials in &credentials {
                    for (body, allow) in bodies.iter().zip(["", "allow", "", "allow", "deny"]) {
                        let mut headers: Vec<_> = credentials.iter().map(|value| ("authorization", *value)).collect();
                        headers.extend((!allow.is_empty()).then_some(("x-ext-authz", allow)));
                        let body = if method == "GET" { &[] } else { body.as_bytes() };
                        let request = Request { method, host: "ai.example.com", target, headers: &headers, body };
                        let [envoy, here] = pair.compare(request);
                        assert_eq!(envoy, here, "{method} {target} {headers:?} with Envoy {}", pair.version);
                        *if here.passed { &mut passed } else { &mut stopped } += 1;
                    }
                }
            }
        }
        assert!(passed > 50 && stopped > 50, "{passed} passed, {stopped} did not: that tells nothing");
    }
}
