//! `usher-benches` runs from the beginning to the end, with numbers that mean nothing.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Stops a server when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_executables_and_a_peer_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (config, kept) = (folder.path().join("config"), folder.path().join("kept"));
    std::fs::create_dir(&config).unwrap();
    let printed = benches().args(["configuration", "jwt-es256-seen", "--keep"]).arg(&kept).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    std::fs::write(config.join("printed.yaml"), &printed.stdout).unwrap();
    let (address, _running, process) = serve(&config);

    let mut command = benches();
    command.args(["--seconds", "1", "--rounds", "1", "--rate", "50", "--connections", "1", "--in-flight", "4"]);
    command.args(["--only", "jwt-es256-seen", "--only", "large-check", "--only", "churn", "--keep"]).arg(&kept);
    command.arg("--usher").arg(format!("before={}", usher().display()));
    command.arg("--usher").arg(format!("after={}", usher().display()));
    command.arg("--peer").arg(format!("peer={address}@{process}/jwt-es256-seen"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let said = String::from_utf8(output.stdout).unwrap();
    let rows = |scenario: &str, server: &str| {
        let start = format!("{scenario} ");
        let of_server = |line: &&str| line.starts_with(&start) && line.split_whitespace().any(|word| word == server);
        said.lines().filter(of_server).count()
    };
    // One row in each of the tables.
    for server in ["before", "after"] {
        assert_eq!((rows("jwt-es256-seen", server), rows("large-check", server)), (2, 2), "{said}");
        assert_eq!((rows("churn", server), rows("churn, changing", server)), (2, 1), "{said}");
        assert!(said.contains(&format!("churn, {server}: p99.9 with 10 changes a second is ")), "{said}");
    }
    assert_eq!((rows("jwt-es256-seen", "peer"), rows("churn", "peer")), (2, 0), "{said}");
    assert_eq!((rows("(empty)", "stock"), rows("(empty, large check)", "listener")), (2, 2), "{said}");
    // Memory and CPU time of the peer are known, too.
    assert!(said.lines().filter(|line| line.contains("jwt-es256-seen")).all(|line| !line.contains(" - ")), "{said}");
}

#[test]
fn every_configuration_is_one() {
    let help = benches().args(["configuration", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let names = help.lines().filter_map(|line| Some(line.trim().strip_prefix("- ")?.split_once(':')?.0));
    // Those that are like others, and take long.
    let long = ["api-key-1000000", "hosts-10000", "jwt-first", "jwt-es256-first"];
    let names: Vec<&str> = names.filter(|name| !long.contains(name)).collect();
    assert!(names.contains(&"anonymous") && names.contains(&"churn"), "{help}");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::create_dir(&config).unwrap();
    for name in names {
        let mut command = benches();
        let printed = command.args(["configuration", name, "--keep"]).arg(folder.path().join("kept")).output().unwrap();
        assert!(printed.status.success(), "{name}: {}", String::from_utf8_lossy(&printed.stderr));
        std::fs::write(config.join("printed.yaml"), &printed.stdout).unwrap();
        let validated = Command::new(usher()).args(["validate", "--config"]).arg(&config).output().unwrap();
        let said = [validated.stdout, validated.stderr].concat();
        assert!(validated.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let usher = format!("x={}", usher().display());
    for (arguments, expected) in [
        (&["--load", "open", "--rate", "50%"][..], "--rate"),
        (&["--peer", "other=127.0.0.1:1/opa", "--only", "cel-1"], "`other`"),
        (&["--usher", &usher, "--usher", &usher], "`x` is named twice"),
        (&["--only", "cel-1", "--all"], "--all"),
        (&["configuration", "cel-1"], "--keep"),
    ] {
        let mut command = benches();
        command.args(arguments);
        if !arguments.contains(&"--usher") && !arguments.contains(&"configuration") {
            command.args(["--usher", &usher]);
        }
        let refused = command.output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}

fn benches() -> Command {
    Command::new(env!("CARGO_BIN_EXE_usher-benches"))
}

fn usher() -> PathBuf {
    let usher = Path::new(env!("CARGO_BIN_EXE_usher-benches")).with_file_name("usher");
    assert!(usher.is_file(), "`{}` is missing: build it with `cargo build -p usher-cli`", usher.display());
    usher
}

/// A server that somebody else started, with the id of its process.
fn serve(config: &Path) -> (SocketAddr, Running, u32) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new(usher());
    command.arg("serve").arg("--config").arg(config).args(["--ext-auth-grpc-port", &free.port().to_string()]);
    command.args(["--bind-address", "127.0.0.1", "--ext-auth-http-port", "0", "--oidc-http-port", "0"]);
    command.args(["--metrics-addr", "0", "--health-probe-addr", "0", "--log-level", "error"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let process = child.id();
    (free, Running(child), process)
}
