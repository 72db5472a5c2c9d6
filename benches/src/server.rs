//! Servers that are measured: child processes, stopped when they are dropped, and others that run already.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::empty::Kind;
use crate::options::Peer;
use crate::scenario::Configuration;

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// None if nobody said which it is.
    pub(crate) process: Option<u32>,
    /// Set if it was started here.
    started: Option<Started>,
}

impl Server {
    /// Starts an empty server; `own` is this executable.
    pub(crate) fn start_empty(own: &Path, kind: Kind) -> anyhow::Result<Self> {
        Self::start_own(own, ["empty", kind.word()])
    }

    /// Starts this executable as a server that prints its address when it can be called, and ends with its input.
    pub(crate) fn start_own<S: AsRef<OsStr>>(
        own: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Self> {
        let mut command = clean(own);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut started = Started::new(command, None)?;
        let out = started.child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let mut server = Self { address: UNKNOWN, process: Some(started.child.id()), started: Some(started) };
        match line.trim().parse() {
            Ok(address) => server.address = address,
            Err(_) => {
                server.ended()?;
                anyhow::bail!("the server printed no address; it said: `{}`", server.said());
            }
        }
        Ok(server)
    }

    /// Starts `usher serve` with a configuration.
    pub(crate) fn start_usher(usher: &Path, configuration: &Configuration) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = config_of(&folder);
        fs::create_dir(&config)?;
        configuration.write(&config)?;
        let port = free_port()?;
        let mut command = clean(usher);
        command.arg("serve").arg("--config").arg(&config).args(ports(port, "0"));
        let started = Started::new(command, Some(folder))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { address, process: Some(started.child.id()), started: Some(started) })
    }

    /// Starts `usher server` with what a cluster configures, as a replica that does not lead as long as another one
    /// holds the Lease. Gives also where it says whether it is ready.
    pub(crate) fn start_usher_in_cluster(usher: &Path, kubeconfig: &Path) -> anyhow::Result<(Self, SocketAddr)> {
        let port = free_port()?;
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = clean(usher);
        command.arg("server").arg("--enable-leader-election").args(ports(port, &health.to_string()));
        command.env("KUBECONFIG", kubeconfig);
        let started = Started::new(command, None)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok((Self { address, process: Some(started.child.id()), started: Some(started) }, health))
    }

    /// Starts another program, whose files are in a folder that is gone when it is. Where it can be called is still unknown.
    pub(crate) fn start_other(command: Command, folder: TempDir) -> anyhow::Result<Self> {
        let started = Started::new(command, Some(folder))?;
        Ok(Self { address: UNKNOWN, process: Some(started.child.id()), started: Some(started) })
    }

    /// A server that was started by somebody else.
    pub(crate) fn peer(peer: &Peer) -> Self {
        Self { address: peer.address, process: peer.process, started: None }
    }

    /// The folder that it reads its configuration from; none if it does not, or was not started here.
    pub(crate) fn configuration(&self) -> Option<PathBuf> {
        self.started.as_ref()?.folder.as_ref().map(config_of)
    }

    /// Whether it ended, with what it said last.
    pub(crate) fn ended(&mut self) -> anyhow::Result<()> {
        let Some(started) = &mut self.started else { return Ok(()) };
        match started.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(started.errors.path()).unwrap_or_default();
                anyhow::bail!("the server ended with {status}: {}", said.trim())
            }
        }
    }

    /// What it said about errors so far.
    pub(crate) fn said(&self) -> String {
        let said = self.started.as_ref().map(|started| fs::read_to_string(started.errors.path()).unwrap_or_default());
        said.unwrap_or_default().trim().to_owned()
    }
}

/// Where the configuration is in the folder of a server; beside it is room for files that are not yet part of it.
fn config_of(folder: &TempDir) -> PathBuf {
    folder.path().join("config")
}

/// A child process with its files; both are gone when it is dropped.
struct Started {
    child: Child,
    errors: tempfile::NamedTempFile,
    folder: Option<TempDir>,
}

impl Started {
    fn new(mut command: Command, folder: Option<TempDir>) -> anyhow::Result<Self> {
        let errors = tempfile::NamedTempFile::new()?;
        let child = command
            .stderr(errors.reopen()?)
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        Ok(Self { child, errors, folder })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command without the environment of this process, which could mean something to one server and not to the other. Only the
/// number of worker threads is passed on, to all of them.
pub(crate) fn clean(program: &Path) -> Command {
    const WORKERS: &str = "TOKIO_WORKER_THREADS";
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(workers) = std::env::var_os(WORKERS) {
        command.env(WORKERS, workers);
    }
    command
}

/// The flags of a server that listens for checks over gRPC, and for probes at `health`, and nowhere else.
fn ports(grpc: u16, health: &str) -> [String; 14] {
    let grpc = grpc.to_string();
    [
        "--bind-address",
        "127.0.0.1",
        "--ext-auth-grpc-port",
        &grpc,
        "--ext-auth-http-port",
        "0",
        "--oidc-http-port",
        "0",
        "--metrics-addr",
        "0",
        "--health-probe-addr",
        health,
        "--log-level",
        "error",
    ]
    .map(str::to_owned)
}

/// Before a server has said where it is.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_says_why_and_a_running_one_is_stopped() {
        let mut ended = Server {
            address: ([127, 0, 0, 1], 1).into(),
            process: None,
            started: Some(started("echo broken >&2; exit 3")),
        };
        ended.started.as_mut().unwrap().child.wait().unwrap();
        let error = ended.ended().unwrap_err().to_string();
        assert!(error.contains('3') && error.contains("broken"), "{error}");

        let running = started("exec sleep 1000");
        let process = running.child.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{process}")).exists());
    }

    fn started(script: &str) -> Started {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Started::new(command, None).unwrap()
    }
}
