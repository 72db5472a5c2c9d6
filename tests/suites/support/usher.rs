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

/// A running `usher serve` with a folder of its own.
#[derive(Debug)]
pub(crate) struct Usher {
    /// None while it is down.
    process: Option<Process>,
    folder: TempDir,
    ports: Ports,
    flags: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    grpc: u16,
    http: u16,
    health: u16,
    discovery: u16,
}

impl Usher {
    /// Starts it with one file and waits until it is ready.
    pub(crate) fn start(documents: &str) -> Self {
        Self::start_with(documents, &[])
    }

    /// [`start`](Self::start) with more flags.
    pub(crate) fn start_with(documents: &str, flags: &[&str]) -> Self {
        let mut folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("config")).unwrap();
        for _ in 0..5 {
            let ports = Ports { grpc: free_port(), http: free_port(), health: free_port(), discovery: free_port() };
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let mut usher = Self { process: None, folder, ports, flags };
            usher.write("config.yaml", documents);
            match usher.launch() {
                Ok(()) => return usher,
                Err(PortTaken) => folder = usher.folder,
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
        assert!(self.process.is_none(), "it runs");
        self.launch().unwrap_or_else(|PortTaken| panic!("a port was taken in between"));
    }

    fn launch(&mut self) -> Result<(), PortTaken> {
        let Ports { grpc, http, health, discovery } = self.ports;
        let mut command = Command::new(workspace::usher());
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .args(["--bind-address", "127.0.0.1", "--metrics-addr", "0", "--oidc-http-port", &discovery.to_string()])
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
            let answer = Request { target: "/readyz", ..Request::default() }.send(health);
            match answer.map_err(|error| error.to_string())? {
                response if response.status == 200 => Ok(Ok(())),
                response => Err(format!("{} {}", response.status, response.text())),
            }
        });
        self.process = Some(process);
        ready
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

/// Somebody else took a port after it was found free.
struct PortTaken;

/// What `usher validate` says about a file or folder: whether all is well, and its output.
pub(crate) fn validate(path: &Path) -> (bool, String) {
    let output = Command::new(workspace::usher()).arg("validate").arg("--config").arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.code().is_some_and(|code| code != 101), "`validate` crashed: {}\n{text}", output.status);
    (output.status.success(), text)
}
