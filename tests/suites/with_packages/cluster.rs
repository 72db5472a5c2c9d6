//! The program in a cluster of which there is only the API server, a double.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::items;
use crate::support::{
    http::{Request, Response},
    ports::free_port,
    process::Process,
    wait::until,
    workspace::{root, usher},
};

const OBJECTS: &str = "
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: open, namespace: shop}
spec: {hosts: [open.test]}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: closed, namespace: shop}
spec:
  hosts: [closed.test]
  authentication: {keys: {apiKey: {selector: {matchLabels: {group: friends}}}}}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: reviewed, namespace: shop}
spec:
  hosts: [reviewed.test]
  authentication: {token: {kubernetesTokenReview: {audiences: [shop]}}}
  authorization: {rights: {kubernetesSubjectAccessReview: {user: {expression: auth.identity.user.username}}}}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: named, namespace: shop}
spec:
  hosts: [named.test]
  authentication: {shared: {jwt: {secretRef: {name: signing}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: signing, namespace: shop}
data: {key: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}
---
apiVersion: v1
kind: Secret
metadata: {name: ann, namespace: shop, labels: {authorino.kuadrant.io/managed-by: authorino, group: friends}}
data: {api_key: c2VjcmV0}
";

const REVIEWS: &str = r#"{
    "tokenReviews": [{"match": {}, "status": {"authenticated": true, "user": {"username": "ann"}}}],
    "subjectAccessReviews": [{"match": {}, "status": {"allowed": true}}]
}"#;

/// Usher, serving what is in the double.
#[derive(Debug)]
pub(super) struct Cluster {
    // They end with this, in this order.
    _usher: Process,
    _double: Process,
    _folder: TempDir,
    ports: Ports,
}

#[derive(Debug)]
struct Ports {
    double: u16,
    http: u16,
    metrics: u16,
}

impl Cluster {
    /// Starts both, and waits until Usher is ready and leads. `arguments` are those of a container; ports become others.
    pub(super) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("objects.yaml"), OBJECTS).unwrap();
        let program = usher().with_file_name("kubernetes-api-double");
        assert!(program.is_file(), "{} is missing: `cargo build -p usher-test-support` makes it", program.display());
        let mut command = Command::new(program);
        command.arg("--crd").arg(root().join("deploy/crds/authconfigs.yaml"));
        command.arg("--objects").arg(file("objects.yaml")).arg("--kubeconfig").arg(file("kubeconfig"));
        let double = Process::start("double", &mut command, &file("double.log"));
        let double_port = until("readiness of the double", || {
            let output = double.output();
            let address = output.lines().find_map(|line| line.strip_prefix("ready ")).ok_or("not yet")?;
            address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).ok_or(output)
        });
        let scripted =
            Request { method: "PUT", target: "/double/reviews", body: REVIEWS.as_bytes(), ..Request::default() };
        let scripted = scripted.send(double_port).unwrap();
        assert!(scripted.status < 300, "{}", scripted.text());

        for _ in 0..5 {
            let [grpc, http, metrics, health] = [(); 4].map(|()| free_port());
            let listens = [
                ("--ext-auth-grpc-port", grpc.to_string()),
                ("--ext-auth-http-port", http.to_string()),
                ("--oidc-http-port", "0".to_owned()),
                ("--metrics-addr", format!("127.0.0.1:{metrics}")),
                ("--health-probe-addr", format!("127.0.0.1:{health}")),
            ];
            // Programs of tests get no environment but what is given by name.
            let mut command = Command::new("env");
            command.arg(format!("KUBECONFIG={}", file("kubeconfig").display())).arg(usher());
            command.args(["server", "--bind-address=127.0.0.1"]);
            command.args(listens.iter().map(|(flag, value)| format!("{flag}={value}")));
            let is_kept = |argument: &&&str| !listens.iter().any(|(flag, _)| argument.starts_with(flag));
            command.args(arguments.iter().filter(is_kept));
            let mut usher = Process::start("usher", &mut command, &file("usher.log"));
            let is_up = until("readiness of usher", || {
                if let Some(status) = usher.exit_status() {
                    let output = usher.output();
                    assert!(output.to_lowercase().contains("in use"), "usher ended with {status}:\n{output}");
                    return Ok(false);
                }
                let answer = Request { target: "/readyz", ..Request::default() }.send(health);
                match answer.map_err(|error| error.to_string())?.status {
                    200 => Ok(true),
                    status => Err(status.to_string()),
                }
            });
            if is_up {
                return Self {
                    _usher: usher,
                    _double: double,
                    _folder: folder,
                    ports: Ports { double: double_port, http, metrics },
                };
            }
        }
        panic!("no free ports");
    }

    /// Asks for a decision.
    pub(super) fn check(&self, host: &str, headers: &[(&str, &str)]) -> Response {
        Request { host, target: "/check", headers, ..Request::default() }.send(self.ports.http).unwrap()
    }

    /// A page of metrics.
    pub(super) fn metrics(&self, page: &str) -> String {
        Request { target: page, ..Request::default() }.send(self.ports.metrics).unwrap().text()
    }

    /// What the API server was asked.
    pub(super) fn calls(&self) -> Vec<Value> {
        let told = Request { target: "/double/calls", ..Request::default() }.send(self.ports.double).unwrap().json();
        items(&told, "calls").to_vec()
    }
}
