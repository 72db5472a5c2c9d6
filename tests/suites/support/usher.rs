//! The program under test.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use tempfile::TempDir;

use super::{
    http::{Request, Response},
    ports::free_port,
    process::Process,
    wait::until,
    workspace,
};

/// A running `usher serve` with a folder of its own, or `usher server` in a cluster.
#[derive(Debug)]
pub(crate) struct Usher {
    /// None while it is down.
    process: Option<Process>,
    folder: TempDir,
    /// None: its configuration is in its folder.
    kubeconfig: Option<PathBuf>,
    ports: Ports,
    flags: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    grpc: u16,
    http: u16,
    health: u16,
    discovery: u16,
    metrics: u16,
}

impl Usher {
    /// Starts it with one file and waits until it is ready.
    pub(crate) fn start(documents: &str) -> Self {
        Self::start_with(documents, &[])
    }

    /// [`start`](Self::start) with more flags.
    pub(crate) fn start_with(documents: &str, flags: &[&str]) -> Self {
        let usher = Self::new(None, flags.iter().map(|flag| (*flag).to_owned()).collect());
        fs::create_dir(usher.config()).unwrap();
        usher.write("config.yaml", documents);
        usher.first_launch("/readyz")
    }

    /// Starts it with the configuration that is in a cluster, and waits until it is ready.
    pub(crate) fn start_in_cluster(kubeconfig: PathBuf, flags: Vec<String>) -> Self {
        Self::new(Some(kubeconfig), flags).first_launch("/readyz")
    }

    /// [`start_in_cluster`](Self::start_in_cluster), but waits only until it answers.
    pub(crate) fn begin_in_cluster(kubeconfig: PathBuf, flags: Vec<String>) -> Self {
        Self::new(Some(kubeconfig), flags).first_launch("/healthz")
    }

    fn new(kubeconfig: Option<PathBuf>, flags: Vec<String>) -> Self {
        Self { process: None, folder: tempfile::tempdir().unwrap(), kubeconfig, ports: Ports::free(), flags }
    }

    fn first_launch(mut self, probe: &str) -> Self {
        for _ in 0..5 {
            match self.launch(probe) {
                Ok(()) => return self,
                Err(PortTaken) => self.ports = Ports::free(),
            }
        }
        panic!("no free ports");
    }

    /// Replaces a file of its configuration, at once.
    pub(crate) fn write(&self, file: &str, documents: &str) {
        let config = self.config();
        let draft = config.join(format!(".{file}"));
        fs::write(&draft, documents).unwrap();
        fs::rename(draft, config.join(file)).unwrap();
    }

    /// The port of the gRPC interface.
    pub(crate) fn grpc_port(&self) -> u16 {
        self.ports.grpc
    }

    /// The port where the keys of its own tokens are found.
    pub(crate) fn discovery_port(&self) -> u16 {
        self.ports.discovery
    }

    /// Asks the plain HTTP interface.
    pub(crate) fn check(&self, host: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        Request { host, target: "/check", headers, ..Request::default() }.send(self.ports.http)
    }

    /// What it answers to probes: `/readyz`, `/healthz`, with a query or without.
    pub(crate) fn probe(&self, target: &str) -> io::Result<Response> {
        Request { target, ..Request::default() }.send(self.ports.health)
    }

    /// Waits until it is ready.
    pub(crate) fn until_ready(&self) {
        until("readiness of usher", || match self.probe("/readyz").map_err(|error| error.to_string())? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(format!("{} {}", answer.status, answer.text())),
        });
    }

    /// The sum of the samples on `/metrics` with this name and these labels, each written `label="value"`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.sample("/metrics", name, labels)
    }

    /// The same on `/server-metrics`.
    pub(crate) fn server_metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.sample("/server-metrics", name, labels)
    }

    fn sample(&self, target: &str, name: &str, labels: &[&str]) -> f64 {
        let page = Request { target, ..Request::default() }.send(self.ports.metrics).unwrap().text();
        let samples = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, given) = series.split_once('{').unwrap_or((series, ""));
            let fits = found == name && labels.iter().all(|label| given.contains(label));
            fits.then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// What it printed since it was started.
    pub(crate) fn output(&self) -> String {
        self.process.as_ref().unwrap().output()
    }

    /// Ends it without a chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Asks it to end, and waits until it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.process.take().unwrap().terminate()
    }

    /// Starts it again at the same ports.
    pub(crate) fn restart(&mut self) {
        self.launch("/readyz").unwrap_or_else(|PortTaken| panic!("a port was taken in between"));
    }

    /// [`restart`](Self::restart), but waits only until it answers.
    pub(crate) fn begin_again(&mut self) {
        self.launch("/healthz").unwrap_or_else(|PortTaken| panic!("a port was taken in between"));
    }

    fn launch(&mut self, probe: &str) -> Result<(), PortTaken> {
        assert!(self.process.is_none(), "it runs");
        let Ports { grpc, http, health, discovery, metrics } = self.ports;
        let mut command = Command::new(workspace::usher());
        match &self.kubeconfig {
            None => command.arg("serve").arg("--config").arg(self.config()),
            Some(kubeconfig) => command.arg("server").env("KUBECONFIG", kubeconfig),
        };
        command
            .args(["--bind-address", "127.0.0.1", "--oidc-http-port", &discovery.to_string()])
            .args(["--metrics-addr", &format!("127.0.0.1:{metrics}")])
            .args(["--ext-auth-grpc-port", &grpc.to_string(), "--ext-auth-http-port", &http.to_string()])
            .args(["--health-probe-addr", &format!("127.0.0.1:{health}")])
            .args(&self.flags);
        let mut process = Process::start("usher", &mut command, &self.folder.path().join("usher.log"));
        let ready = until("readiness of usher", || {
            if let Some(status) = process.exit_status() {
                let output = process.output();
                assert!(output.to_lowercase().contains("in use"), "usher ended with {status}:\n{output}");
                return Ok(Err(PortTaken));
            }
            let answer = Request { target: probe, ..Request::default() }.send(health);
            match answer.map_err(|error| error.to_string())? {
                response if response.status == 200 => Ok(Ok(())),
                response => Err(format!("{} {}", response.status, response.text())),
            }
        });
        if ready.is_ok() {
            self.process = Some(process);
        }
        ready
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

impl Ports {
    fn free() -> Self {
        let [grpc, http, health, discovery, metrics] = std::array::from_fn(|_| free_port());
        Self { grpc, http, health, discovery, metrics }
    }
}

/// Somebody else took a port after it was found free.
struct PortTaken;

/// What `usher validate` says about a file or folder: whether all is well, and its output.
pub(crate) fn validate(path: &Path) -> (bool, String) {
    let output = Command::new(workspace::usher())
        .args(["validate", "--allow-route-lookup", "--config"])
        .arg(path)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.code().is_some_and(|code| code != 101), "`validate` crashed: {}\n{text}", output.status);
    (output.status.success(), text)
}
