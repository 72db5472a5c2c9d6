//! Follows a guide, as a reader would: applies what it says, sends what it says, and compares what comes with what it shows.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
};

use serde_json::Value;

use super::{
    curl::{Curl, Shown},
    kubectl::Object,
    script::{ADDRESS, Action, Step},
};
use crate::{
    support::{
        documents::Folder,
        envoy::Envoy,
        http::{Request, Response},
        parts::{EnvoyProgram, envoys},
        upstream::Upstream,
        usher::Usher,
        workspace::{root, usher},
    },
    with_gateways::{Ports, elision::fits},
};

/// The classes of Gateways for which there is a Deployment of the same name.
const CLASSES: [&str; 3] = ["agentgateway", "istio-waypoint", "kgateway"];

/// Which gateway is set up for a guide.
#[derive(Clone, Copy)]
pub(super) struct Guide {
    /// The page of `docs/gateways`, and the folder of `deploy/gateways`.
    pub(super) name: &'static str,
    /// All versions of it.
    pub(super) start: fn(&Applied) -> Vec<Box<dyn Running>>,
}

/// What the guide has set up so far.
pub(in crate::with_gateways) struct Applied {
    pub(in crate::with_gateways) objects: Folder,
    /// Those of Usher.
    flags: Vec<&'static str>,
    /// Where the gateway is reached.
    addresses: Vec<String>,
    /// Who sends requests, if it is a workload of the mesh.
    caller: Option<Caller>,
}

/// A workload.
pub(in crate::with_gateways) struct Caller {
    pub(in crate::with_gateways) namespace: String,
    pub(in crate::with_gateways) service_account: String,
}

/// A gateway that is set up so, with the program under test.
pub(in crate::with_gateways) trait Running {
    /// For messages.
    fn version(&self) -> &str;

    /// Sends a request through it.
    fn send(&self, request: Request<'_>, caller: Option<&Caller>) -> Response;

    /// How many requests came to the APIs so far.
    fn passed(&self) -> usize;
}

impl Applied {
    fn new() -> Self {
        let objects = Folder { path: PathBuf::from("the guide"), documents: Vec::new() };
        Self { objects, flags: Vec::new(), addresses: Vec::new(), caller: None }
    }

    /// The program under test, with the AuthConfigs and Secrets.
    pub(in crate::with_gateways) fn usher(&self) -> Usher {
        Usher::start_with(&self.objects.for_usher(), &self.flags)
    }

    /// Each version of Envoy, with the configuration that the gateway gives it.
    pub(in crate::with_gateways) fn behind_envoys(
        &self,
        bootstrap: impl Fn(&Folder, Ports) -> Value,
    ) -> Vec<Box<dyn Running>> {
        let usher = Rc::new(self.usher());
        let start = |program: &'static EnvoyProgram| {
            let upstream = Upstream::start();
            let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
            let envoy = Envoy::launch(&program.path, &bootstrap(&self.objects, ports));
            Box::new(BehindEnvoy { version: program.version, envoy, upstream, _usher: Rc::clone(&usher) })
        };
        envoys().iter().map(|program| -> Box<dyn Running> { start(program) }).collect()
    }

    /// Whether the reader gets an answer there: of the gateway, or, inside the cluster, of a Service.
    fn is_reached(&self, address: &str) -> bool {
        let mut services = self.objects.of_kind("Service").flat_map(|service| {
            let part = |name: &str| service["metadata"][name].as_str().unwrap_or_default();
            let host = format!("{}.{}", part("name"), part("namespace"));
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            ports.map(move |port| format!("{host}:{}", port["port"]))
        });
        match &self.caller {
            Some(_) => services.any(|service| service == address),
            None => self.addresses.iter().any(|known| known == address),
        }
    }

    fn enter(&mut self, deployment: &Object) -> Result<(), String> {
        let found = self.object(deployment).ok_or("nothing has made this Deployment")?;
        let account = found["spec"]["template"]["spec"]["serviceAccountName"].as_str();
        let service_account = account.unwrap_or("default").to_owned();
        self.caller = Some(Caller { namespace: deployment.namespace.clone(), service_account });
        Ok(())
    }

    fn find(&self, object: &Object) -> Result<(), String> {
        let is_made_for_gateway = || {
            let Object { namespace, name, .. } = object;
            let gateway = Object { kind: "Gateway", namespace: namespace.clone(), name: name.clone() };
            let class = self.object(&gateway).and_then(|gateway| gateway["spec"]["gatewayClassName"].as_str());
            object.kind == "Deployment" && class.is_some_and(|class| CLASSES.contains(&class))
        };
        let is_there = self.object(object).is_some() || is_made_for_gateway();
        is_there.then_some(()).ok_or_else(|| format!("nothing has made this {}", object.kind))
    }

    fn object(&self, Object { kind, namespace, name }: &Object) -> Option<&Value> {
        let is_it = |it: &&Value| {
            it["metadata"]["namespace"] == *namespace
                && name.as_ref().is_none_or(|name| it["metadata"]["name"] == *name)
        };
        self.objects.of_kind(kind).find(is_it)
    }

    fn apply(&mut self, paths: &[PathBuf]) {
        for path in paths {
            let more = Folder::read_flat(&root().join(path)).documents;
            for document in &more {
                // What is applied again is replaced. A file of settings has no name: there is one of each.
                let id =
                    |it: &Value| [&it["kind"], &it["metadata"]["namespace"], &it["metadata"]["name"]].map(Value::clone);
                self.objects.documents.retain(|it| id(it) != id(document));
            }
            for file in &more {
                let listener = "/static_resources/listeners/0/address/socket_address/port_value";
                for port in [listener, "/binds/0/port"].into_iter().filter_map(|place| file.pointer(place)) {
                    self.addresses.push(format!("localhost:{port}"));
                }
            }
            self.objects.documents.extend(more);
        }
    }
}

struct BehindEnvoy {
    version: &'static str,
    envoy: Envoy,
    upstream: Upstream,
    _usher: Rc<Usher>,
}

impl Running for BehindEnvoy {
    fn version(&self) -> &str {
        self.version
    }

    fn send(&self, request: Request<'_>, caller: Option<&Caller>) -> Response {
        assert!(caller.is_none(), "clients of this gateway are no workloads of a mesh");
        self.envoy.send(request).unwrap()
    }

    fn passed(&self) -> usize {
        self.upstream.requests()
    }
}

/// What is not as the guide shows it. What comes is compared with each version of a gateway.
pub(super) fn follow(steps: &[Step], guide: Option<Guide>) -> Vec<String> {
    let mut reader = Reader { applied: Applied::new(), guide, running: None };
    let mut wrong = Vec::new();
    for Step { place, action } in steps {
        wrong.extend(reader.act(action).iter().map(|why| format!("{place}\n{why}")));
    }
    // What the last commands set up can be set up, even if nothing is asked of it.
    reader.start();
    wrong
}

/// Who follows a guide.
struct Reader {
    applied: Applied,
    guide: Option<Guide>,
    /// None: something was applied since.
    running: Option<Vec<Box<dyn Running>>>,
}

impl Reader {
    /// What is wrong with it.
    fn act(&mut self, action: &Action) -> Vec<String> {
        match action {
            Action::Curl(curl, shown) => return self.send(curl, shown),
            Action::Usher { folder, arguments, shown } => {
                let (is_done, printed) = run(folder, arguments);
                if !is_done || shown.as_ref().is_some_and(|shown| !fits(printed.trim_end(), shown)) {
                    return vec![format!("fails, or prints something else than what is shown:\n{printed}")];
                }
            }
            Action::Find(object) => return self.applied.find(object).err().into_iter().collect(),
            Action::Forward { to, port } => {
                self.applied.addresses.push(format!("localhost:{port}"));
                return self.applied.find(to).err().into_iter().collect();
            }
            Action::Address(gateway) => {
                self.applied.addresses.push(ADDRESS.to_owned());
                return self.applied.find(gateway).err().into_iter().collect();
            }
            Action::Enter(deployment) => return self.applied.enter(deployment).err().into_iter().collect(),
            Action::Leave => self.applied.caller = None,
            Action::Apply(paths) => self.change(|applied| applied.apply(paths)),
            Action::Serve(paths) => self.change(|applied| {
                *applied = Applied::new();
                applied.apply(paths);
            }),
            Action::Flag(flag) => self.change(|applied| applied.flags.push(flag)),
            Action::Nothing => {}
        }
        Vec::new()
    }

    fn send(&mut self, curl: &Curl, shown: &Shown) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.applied.is_reached(&curl.address) {
            wrong.push("nothing before says that the gateway is reached there".to_owned());
        }
        self.start();
        for gateway in self.running.iter().flatten() {
            let before = gateway.passed();
            let answer = curl.request(|request| gateway.send(request, self.applied.caller.as_ref()));
            let differences = shown.differences(&answer, gateway.passed() > before);
            wrong.extend(differences.iter().map(|it| format!("{}: {it}", gateway.version())));
        }
        wrong
    }

    /// Starts the gateway, if it does not run as it is set up.
    fn start(&mut self) {
        if let (None, Some(guide)) = (&self.running, self.guide) {
            self.running = Some((guide.start)(&self.applied));
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Applied)) {
        self.running = None;
        change(&mut self.applied);
    }
}

/// Whether `usher` ends well, and what it prints on both streams, in the order in which it does.
fn run(folder: &Path, arguments: &[String]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("output");
    let output = File::create(&path).unwrap();
    let mut command = Command::new(usher());
    command.args(arguments).current_dir(root().join(folder)).stdout(output.try_clone().unwrap()).stderr(output);
    let status = command.status().unwrap();
    (status.success(), fs::read_to_string(&path).unwrap())
}
