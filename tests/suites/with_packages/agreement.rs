//! Whether the objects of an installation fit together, and the program that they start.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::{at, items, of_kind, text, texts};
use crate::support::workspace;

/// Ports of containers, and the arguments that say where the program listens.
const PORTS: [(&str, &str); 6] = [
    ("grpc", "--ext-auth-grpc-port"),
    ("http", "--ext-auth-http-port"),
    ("oidc", "--oidc-http-port"),
    ("metrics", "--metrics-addr"),
    ("health", "--health-probe-addr"),
    ("webhook", "--port"),
];

/// Everything that does not fit.
pub(super) fn disagreements(objects: &[Value]) -> Vec<String> {
    let mut wrong = Wrong { objects, found: Vec::new() };
    wrong.names();
    for deployment in of_kind(objects, "Deployment") {
        wrong.command_line(deployment);
        wrong.ports(deployment);
        wrong.probes(deployment);
        wrong.files(deployment);
        wrong.end(deployment);
        wrong.privileges(deployment);
        wrong.selector_of_pods(deployment, "spec/selector/matchLabels");
        wrong.account(deployment);
        for spread in items(deployment, "spec/template/spec/topologySpreadConstraints") {
            wrong.selector_of_pods(spread, "labelSelector/matchLabels");
        }
    }
    for service in of_kind(objects, "Service") {
        wrong.service(service);
    }
    for budget in of_kind(objects, "PodDisruptionBudget") {
        wrong.selector_of_pods(budget, "spec/selector/matchLabels");
    }
    for policy in of_kind(objects, "NetworkPolicy") {
        wrong.policy(policy);
    }
    for scaler in of_kind(objects, "HorizontalPodAutoscaler") {
        let target = text(scaler, "spec/scaleTargetRef/name");
        wrong.exists(scaler, "Deployment", target, text(scaler, "metadata/namespace"));
    }
    for monitor in of_kind(objects, "ServiceMonitor") {
        wrong.service_monitor(monitor);
    }
    for monitor in of_kind(objects, "PodMonitor") {
        for endpoint in items(monitor, "spec/podMetricsEndpoints") {
            wrong.ports_of_selected(monitor, "spec/selector/matchLabels", text(endpoint, "port"));
        }
    }
    for kind in ["RoleBinding", "ClusterRoleBinding"] {
        for binding in of_kind(objects, kind) {
            wrong.binding(binding);
        }
    }
    for configuration in of_kind(objects, "ValidatingWebhookConfiguration") {
        wrong.webhook(configuration);
    }
    wrong.found
}

struct Wrong<'v> {
    objects: &'v [Value],
    found: Vec<String>,
}

impl<'v> Wrong<'v> {
    fn say(&mut self, object: &Value, what: impl std::fmt::Display) {
        self.found.push(format!("{} {}: {what}", text(object, "kind"), text(object, "metadata/name")));
    }

    fn names(&mut self) {
        let mut known = BTreeSet::new();
        for object in self.objects {
            let name = ["kind", "metadata/namespace", "metadata/name"].map(|path| text(object, path));
            if !known.insert(name) {
                self.say(object, "is there twice");
            }
        }
    }

    /// The program takes the arguments, and knows the variables.
    fn command_line(&mut self, deployment: &Value) {
        let container = container(deployment);
        let mut line = texts(at(container, "command"));
        if line.is_empty() {
            // The entry point of the image; a test of the image says so too.
            line = vec!["/usher", "server"];
        }
        if line.first() != Some(&"/usher") {
            self.say(deployment, format!("the command is {line:?}"));
        }
        let command = line[1..].join(" ");
        line.extend(texts(at(container, "args")));
        if let Err(told) = taken(&line[1..]) {
            self.say(deployment, told);
        }
        let help = taken(&[&command]).unwrap_or_default();
        for variable in items(container, "env") {
            let name = text(variable, "name");
            if !help.contains(&format!("[env: {name}=")) {
                self.say(deployment, format!("`usher {command}` has no variable `{name}`"));
            }
        }
    }

    /// Each port is where the program listens, and no other.
    fn ports(&mut self, deployment: &Value) {
        let arguments = arguments(deployment);
        let mut ports: BTreeMap<_, _> = items(container(deployment), "ports")
            .iter()
            .map(|port| (text(port, "name"), at(port, "containerPort")))
            .collect();
        for (name, flag) in PORTS {
            let listens = arguments.get(flag).and_then(|value| value.rsplit(':').next()?.parse::<u16>().ok());
            let expected = listens.filter(|port| *port != 0).map(Value::from);
            let found = ports.remove(name).cloned();
            if found != expected {
                self.say(deployment, format!("port `{name}` is {found:?}, and `{flag}` says {expected:?}"));
            }
        }
        if !ports.is_empty() {
            self.say(deployment, format!("nobody listens at {ports:?}"));
        }
    }

    fn probes(&mut self, deployment: &Value) {
        for (probe, path, is_needed) in [
            ("startupProbe", "/healthz", false),
            ("livenessProbe", "/healthz", true),
            ("readinessProbe", "/readyz", true),
        ] {
            let asked = at(at(container(deployment), probe), "httpGet");
            if asked.is_null() && !is_needed {
                continue;
            }
            if *asked != json!({"path": path, "port": "health"}) {
                self.say(deployment, format!("{probe} asks {asked}"));
            }
        }
    }

    /// Files of arguments are in folders that are mounted, as folders.
    fn files(&mut self, deployment: &Value) {
        let mounts = items(container(deployment), "volumeMounts");
        let volumes: Vec<_> =
            items(deployment, "spec/template/spec/volumes").iter().map(|volume| text(volume, "name")).collect();
        for mount in mounts {
            if !volumes.contains(&text(mount, "name")) {
                self.say(deployment, format!("there is no volume `{}`", text(mount, "name")));
            }
            if !at(mount, "subPath").is_null() {
                self.say(deployment, format!("`{}` would never change: it is a subPath", text(mount, "mountPath")));
            }
        }
        for (flag, value) in arguments(deployment) {
            let is_mounted = |mount: &Value| {
                let folder = text(mount, "mountPath");
                value == folder || value.starts_with(&format!("{folder}/"))
            };
            if value.starts_with('/') && !mounts.iter().any(is_mounted) {
                self.say(deployment, format!("`{flag}={value}` is in no volume"));
            }
        }
    }

    /// The process has the time that it may take.
    fn end(&mut self, deployment: &Value) {
        let number = |value: &Value, default: u64| value.as_u64().unwrap_or(default);
        let allowed = number(at(deployment, "spec/template/spec/terminationGracePeriodSeconds"), 30);
        let sleep = number(at(container(deployment), "lifecycle/preStop/sleep/seconds"), 0);
        let grace = arguments(deployment).get("--shutdown-grace").map_or(20, |seconds| seconds.parse().unwrap());
        if allowed <= sleep + grace {
            self.say(deployment, format!("it is killed after {allowed} s, and may take {sleep} s and {grace} s"));
        }
    }

    fn privileges(&mut self, deployment: &Value) {
        let pod = at(deployment, "spec/template/spec/securityContext");
        let container = at(container(deployment), "securityContext");
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        let is_restricted = *container == expected
            && at(pod, "runAsNonRoot") == true
            && at(pod, "runAsUser").as_u64().is_some_and(|user| user != 0)
            && text(pod, "seccompProfile/type") == "RuntimeDefault";
        if !is_restricted {
            self.say(deployment, format!("it may too much: {pod} {container}"));
        }
    }

    /// Only pods that ask the API server for something get a token.
    fn account(&mut self, deployment: &Value) {
        let pod = at(deployment, "spec/template/spec");
        let name = text(pod, "serviceAccountName");
        let is_made_here = self.objects.iter().any(|object| text(object, "kind") == "ServiceAccount");
        if is_made_here {
            self.exists(deployment, "ServiceAccount", name, text(deployment, "metadata/namespace"));
        }
        let is_bound = self
            .objects
            .iter()
            .flat_map(|object| items(object, "subjects"))
            .any(|subject| text(subject, "name") == name);
        if at(pod, "automountServiceAccountToken") != is_bound {
            self.say(deployment, format!("roles for `{name}`: {is_bound}, and its token is mounted or not"));
        }
    }

    fn service(&mut self, service: &Value) {
        let ports = items(service, "spec/ports");
        if ports.is_empty() {
            self.say(service, "has no ports");
        }
        for port in ports {
            self.ports_of_selected(service, "spec/selector", text(port, "targetPort"));
        }
    }

    fn policy(&mut self, policy: &Value) {
        for port in items(policy, "spec/ingress").iter().flat_map(|rule| items(rule, "ports")) {
            self.ports_of_selected(policy, "spec/podSelector/matchLabels", text(port, "port"));
        }
    }

    fn service_monitor(&mut self, monitor: &Value) {
        let selector = at(monitor, "spec/selector/matchLabels");
        let services = of_kind(self.objects, "Service");
        let selected: Vec<_> =
            services.into_iter().filter(|service| fits(selector, at(service, "metadata/labels"))).collect();
        if selected.len() != 1 {
            return self.say(monitor, format!("finds {} Services", selected.len()));
        }
        for endpoint in items(monitor, "spec/endpoints") {
            let name = text(endpoint, "port");
            if !items(selected[0], "spec/ports").iter().any(|port| text(port, "name") == name) {
                self.say(monitor, format!("its Service has no port `{name}`"));
            }
        }
    }

    fn binding(&mut self, binding: &Value) {
        let (kind, name) = (text(binding, "roleRef/kind"), text(binding, "roleRef/name"));
        // The role of a RoleBinding is in its namespace.
        let namespace = if kind == "Role" { text(binding, "metadata/namespace") } else { "" };
        self.exists(binding, kind, name, namespace);
        for subject in items(binding, "subjects") {
            let is_used = of_kind(self.objects, "Deployment").iter().any(|deployment| {
                text(deployment, "spec/template/spec/serviceAccountName") == text(subject, "name")
                    && text(deployment, "metadata/namespace") == text(subject, "namespace")
            });
            if !is_used {
                self.say(binding, format!("no pod is {subject}"));
            }
        }
    }

    fn webhook(&mut self, configuration: &Value) {
        for webhook in items(configuration, "webhooks") {
            let service = at(webhook, "clientConfig/service");
            self.exists(configuration, "Service", text(service, "name"), text(service, "namespace"));
            if text(service, "path") != "/validate-authorino-kuadrant-io-v1beta3-authconfig" {
                self.say(configuration, format!("asks at {}", text(service, "path")));
            }
            let asked = of_kind(self.objects, "Service")
                .into_iter()
                .find(|found| text(found, "metadata/name") == text(service, "name"));
            let is_open = asked.is_some_and(|found| {
                items(found, "spec/ports").iter().any(|port| at(port, "port") == at(service, "port"))
            });
            if !is_open {
                self.say(configuration, format!("its Service has no port {}", at(service, "port")));
            }
        }
    }

    fn exists(&mut self, by: &Value, kind: &str, name: &str, namespace: &str) {
        let is_there = of_kind(self.objects, kind)
            .iter()
            .any(|object| text(object, "metadata/name") == name && text(object, "metadata/namespace") == namespace);
        if !is_there {
            self.say(by, format!("there is no {kind} `{name}` in namespace `{namespace}`"));
        }
    }

    fn selector_of_pods(&mut self, by: &Value, selector: &str) {
        self.selected(by, selector);
    }

    /// The only Deployment whose pods a selector finds.
    fn selected(&mut self, by: &Value, selector: &str) -> Option<&'v Value> {
        let deployments = of_kind(self.objects, "Deployment");
        let labels = at(by, selector);
        let mut found = deployments.into_iter().filter(|one| fits(labels, at(one, "spec/template/metadata/labels")));
        match (found.next(), found.next()) {
            (Some(deployment), None) => Some(deployment),
            (None, _) => {
                self.say(by, format!("{labels} finds no pods"));
                None
            }
            _ => {
                self.say(by, format!("{labels} finds pods of several Deployments"));
                None
            }
        }
    }

    fn ports_of_selected(&mut self, by: &Value, selector: &str, port: &str) {
        let Some(deployment) = self.selected(by, selector) else { return };
        if !items(container(deployment), "ports").iter().any(|found| text(found, "name") == port) {
            self.say(by, format!("its pods have no port `{port}`"));
        }
    }
}

fn fits(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    })
}

/// The only container.
pub(super) fn container(deployment: &Value) -> &Value {
    let containers = items(deployment, "spec/template/spec/containers");
    assert_eq!(containers.len(), 1, "{}", text(deployment, "metadata/name"));
    &containers[0]
}

/// The values of arguments by flag; of one that is repeated, the last.
pub(super) fn arguments(deployment: &Value) -> HashMap<&str, &str> {
    let arguments = texts(at(container(deployment), "args"));
    arguments.into_iter().map(|argument| argument.split_once('=').unwrap_or((argument, "true"))).collect()
}

/// The flags that a command has, by its help.
pub(super) fn flags(command: &str) -> BTreeSet<String> {
    let help = taken(&[command]).unwrap();
    let options = help.lines().filter_map(|line| line.trim_start().split("--").nth(1).filter(|_| is_option(line)));
    options.map(|rest| format!("--{}", rest.split([' ', '[', '=']).next().unwrap())).collect()
}

/// Options begin their lines: `  -h, --help`, `      --port <PORT>`.
fn is_option(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("--") || (line.starts_with('-') && line.contains(", --"))
}

/// The help of a command, if it takes these arguments: the command line is read up to `--help`.
fn taken(line: &[&str]) -> Result<String, String> {
    static ASKED: Mutex<BTreeMap<String, Result<String, String>>> = Mutex::new(BTreeMap::new());
    let ask = || {
        let output = Command::new(workspace::usher()).env_clear().args(line).arg("--help").output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(format!("{line:?}: {}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    asked.entry(line.join("\n")).or_insert_with(ask).clone()
}
