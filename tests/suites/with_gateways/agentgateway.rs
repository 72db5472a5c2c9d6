//! agentgateway, which is no Envoy: a client that asks as it asks, and takes the answer as it takes it.
//!
//! ```text
//!  kubernetes.rs ◄── deploy/gateways/agentgateway/*.yaml
//!  standalone.rs ◄── deploy/gateways/agentgateway/standalone/agentgateway.yaml
//!      │
//!      ▼
//!  proxy.rs        a request comes; which route; what the upstream and the client get
//!  ext_authz.rs    what is asked, what the answer means
//!    protocol.rs   the messages, with fewer fields than Envoy's
//!    mutation.rs   what the answer changes
//!    cache.rs      answers that are reused
//!    expression.rs conditions, keys and times, in CEL
//! ```
//!
//! | tests | |
//! | --- | --- |
//! | `guide` | what `docs/gateways/agentgateway.md` shows |
//! | `lookup` | which AuthConfig decides: by the host of the request, by a name or a route that the policy gives |
//! | `told` | what Usher is told, and, in `answers`, what becomes of what it answers |
//! | `caching` | which answers are reused |
//! | `verdicts` | whatever passes here passes Envoy |
//! | here | what a client says does not take the place of what is missing |

mod cache;
mod caching;
mod expression;
mod ext_authz;
mod guide;
mod kubernetes;
mod lookup;
mod mutation;
mod needs;
mod protocol;
mod proxy;
mod request;
mod standalone;
mod told;
pub(super) mod units;
mod verdicts;

use serde_json::{Value, json};

use cache::Clock;
use kubernetes::Cluster;
use proxy::{Configuration, Proxy};

use super::guides::{Applied, Caller, Running, shown};
use crate::support::{
    documents::Folder,
    http::{Request, Response},
    upstream::Upstream,
    usher::Usher,
};

const FOLDER: &str = "deploy/gateways/agentgateway";

/// The keys of the example.
const PLANNER: &str = "example-key-of-planner";
const CLEANER: &str = "example-key-of-cleaner";

/// The gateway, the program under test, and the two APIs.
struct World {
    proxy: Proxy,
    usher: Usher,
    /// The Service `models`.
    models: Upstream,
    /// The Service `tools`.
    tools: Upstream,
    clock: Clock,
}

impl World {
    /// With the objects that the guide applies first: all but `both/perimeter.yaml`.
    fn start() -> Self {
        Self::with(|document| named(document, "perimeter").is_none())
    }

    /// With some of the objects.
    fn with(is_applied: impl Fn(&Value) -> bool) -> Self {
        Self::changed(is_applied, |_| {})
    }

    /// With some of the objects, which are changed before.
    fn changed(is_applied: impl Fn(&Value) -> bool, change: impl Fn(&mut Value)) -> Self {
        let folder = Folder::read(FOLDER);
        let usher = Usher::start(&folder.for_usher());
        let mut documents: Vec<_> = folder.documents.iter().filter(|document| is_applied(document)).cloned().collect();
        documents.iter_mut().for_each(change);
        Self::of(usher, |world| world.cluster(&documents))
    }

    /// With the configuration file instead of a cluster.
    fn standalone() -> Self {
        let folder = Folder::read(FOLDER);
        let file = configuration_file(&folder).unwrap();
        Self::of_file(Usher::start(&folder.for_usher()), file)
    }

    fn of_file(usher: Usher, file: &Value) -> Self {
        Self::of(usher, |ports| {
            let hosts =
                [("localhost:50051", ports.usher), ("localhost:9080", ports.models), ("localhost:9081", ports.tools)];
            standalone::configuration(file, &hosts, &ports.clock)
        })
    }

    fn of(usher: Usher, configuration: impl Fn(&Ports) -> Configuration) -> Self {
        let (models, tools, clock) = (Upstream::start(), Upstream::start(), Clock::default());
        let ports =
            Ports { usher: usher.grpc_port(), models: models.port(), tools: tools.port(), clock: clock.clone() };
        Self { proxy: Proxy::start(configuration(&ports)), usher, models, tools, clock }
    }

    /// How often Usher was asked because of a route.
    fn calls(&self, route: &str) -> u64 {
        let checks = &self.proxy.configuration().route(route).checks;
        checks.0.iter().map(|(_, check)| check.calls.load(std::sync::atomic::Ordering::SeqCst)).sum()
    }

    /// How many requests came to the APIs.
    fn requests(&self) -> usize {
        self.models.requests() + self.tools.requests()
    }
}

/// Where things are.
struct Ports {
    usher: u16,
    models: u16,
    tools: u16,
    clock: Clock,
}

impl Ports {
    fn cluster(&self, documents: &[Value]) -> Configuration {
        let services = [
            ("usher/usher-authorization:50051", self.usher),
            ("ai/models:http", self.models),
            ("ai/tools:http", self.tools),
        ];
        Cluster { documents, services: &services, clock: self.clock.clone() }.configuration()
    }
}

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    let usher = applied.usher();
    let world = match configuration_file(&applied.objects) {
        Some(file) => World::of_file(usher, file),
        None => World::of(usher, |ports| ports.cluster(&applied.objects.documents)),
    };
    vec![Box::new(world)]
}

impl Running for World {
    fn version(&self) -> &str {
        "agentgateway"
    }

    fn send(&self, request: Request<'_>, caller: Option<&Caller>) -> Response {
        assert!(caller.is_none(), "clients of this gateway are no workloads of a mesh");
        self.proxy.send(request)
    }

    fn passed(&self) -> usize {
        self.requests()
    }
}

fn configuration_file(folder: &Folder) -> Option<&Value> {
    folder.documents.iter().find(|document| document.get("binds").is_some())
}

/// The AuthConfig of the guide that takes claims from the gateway, for another host.
fn claims_of_the_gateway(host: &str) -> String {
    let mut config = shown("agentgateway", "AuthConfig", "claims");
    config["spec"]["hosts"] = json!([host]);
    config.to_string()
}

/// The objects that the guide applies first.
fn without_perimeter(folder: &Folder) -> Vec<Value> {
    folder.documents.iter().filter(|document| named(document, "perimeter").is_none()).cloned().collect()
}

/// The AgentgatewayPolicy of this name.
fn named<'v>(document: &'v Value, name: &str) -> Option<&'v Value> {
    (document["kind"] == "AgentgatewayPolicy" && document["metadata"]["name"] == name).then_some(document)
}

/// `{"exp": 4102444800, "name": "planner", "cacheTtl": "30s"}`, without `sub`. HS256, the key is [`SECRET`].
const NOBODYS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDAsIm5hbWUiOiJwbGFubmVyIiwiY2FjaGVUdGwiOiIzMHMifQ.wy4d9jzYSeHXXI7LboJx3etI9VfRKXMccC6CBMuDAvs";
/// `{"exp": 4102444800, "sub": "ann"}`, in the same way.
const ANNS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImFubiJ9.5aVwEd-_Rc-TjM3_QLSxn-8t3cyeeJN0pMWJmV_rwL8";
const SECRET: &str = "signs the tokens of only one test";

/// The gateway ignores a header without a value. So the client's own must be gone before: it would pass for that of the claim.
/// And a claim that is called like a member of `overrides` says nothing.
#[test]
fn a_token_without_the_claim_gets_no_name_and_no_time() {
    let folder = Folder::read(FOLDER);
    let mut config = folder.one("AuthConfig", "models").clone();
    config["spec"]["authentication"]["tokens"]["jwt"] = json!({"secretRef": {"name": "tokens", "key": "secret"}});
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tokens", "namespace": "ai"},
        "stringData": {"secret": SECRET},
    });
    let usher = Usher::start(&[config, secret].map(|document| document.to_string()).join("\n---\n"));
    let world = World::of(usher, |ports| ports.cluster(&without_perimeter(&folder)));
    for (asked, (token, agent)) in [(ANNS, Some("ann")), (NOBODYS, None), (NOBODYS, None)].into_iter().enumerate() {
        let headers = [("authorization", &*format!("Bearer {token}")), ("x-agent", "planner")];
        let response = world.proxy.get("ai.example.com", "/v1/models", &headers);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["headers"]["x-agent"].as_str(), agent);
        assert_eq!(world.calls("models"), asked as u64 + 1);
    }
}

/// The same, with claims of a token that the gateway verified: the AuthConfig of the guide.
#[test]
fn claims_of_the_gateway_without_the_claim_give_no_name() {
    let config = claims_of_the_gateway("sample.authconfig.internal");
    let folder = Folder::read(FOLDER);
    for (claims, user) in
        [(json!({"sub": "ann", "roles": ["admin"]}), Some("ann")), (json!({"roles": ["admin"]}), None)]
    {
        let world = World::of(Usher::start(&config), |ports| {
            let cluster = ports.cluster(&without_perimeter(&folder));
            Configuration { claims: Some(claims.clone()), ..cluster }
        });
        let response = world.proxy.get("ai.example.com", "/openai", &[("x-user", "root")]);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["headers"]["x-user"].as_str(), user);
    }
}

/// What Usher gets of it is a whole message that may pass. What the MCP server gets is more.
#[test]
fn a_message_that_is_whole_before_it_is_cut_is_refused() {
    let message =
        r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {}}}"#;
    let padded = format!("{message}{}", " ".repeat(65536 - message.len()));
    let more = message.replace("search", "delete");
    let bearer = format!("Bearer {PLANNER}");
    for (world, cut) in [(World::start(), 403), (World::standalone(), 413)] {
        let post = |body: &str| world.proxy.post("ai.example.com", "/mcp", &[("authorization", &bearer)], body).status;
        assert_eq!(post(&padded), 200, "it fits");
        assert_eq!(post(&format!("{padded}{more}")), cut);
        assert_eq!(world.tools.requests(), 1);
    }
}
