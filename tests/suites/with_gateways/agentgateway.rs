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
//! | `told` | what Usher is told, and what it can tell |
//! | `caching` | which answers are reused |
//! | `verdicts` | whatever passes here passes Envoy |

mod cache;
mod caching;
mod expression;
mod ext_authz;
mod guide;
mod kubernetes;
mod mutation;
mod protocol;
mod proxy;
mod request;
mod standalone;
mod told;
pub(super) mod units;
mod verdicts;

use serde_json::Value;

use cache::Clock;
use kubernetes::Cluster;
use proxy::{Configuration, Proxy};

use crate::support::{documents::Folder, upstream::Upstream, usher::Usher};

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
        let file = folder.documents.iter().find(|document| document.get("binds").is_some()).unwrap();
        Self::of(Usher::start(&folder.for_usher()), |ports| {
            let hosts =
                [("localhost:50051", ports.usher), ("localhost:8080", ports.models), ("localhost:8081", ports.tools)];
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
            ("ai/models:8080", self.models),
            ("ai/tools:8080", self.tools),
        ];
        Cluster { documents, services: &services, clock: self.clock.clone() }.configuration()
    }
}

/// The AgentgatewayPolicy of this name.
fn named<'v>(document: &'v Value, name: &str) -> Option<&'v Value> {
    (document["kind"] == "AgentgatewayPolicy" && document["metadata"]["name"] == name).then_some(document)
}
