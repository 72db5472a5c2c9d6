//! What a check costs: the server's CPU time per check, next to servers that do nothing.
//!
//! ```text
//!   scenario   configurations, and the checks that are asked with them
//!      │         check: the message   expected: what the answers say
//!      │         token: signed tokens and their key set   certificate: of clients
//!      │         upstream: a service that rules call
//!      ▼
//!   run        rounds of: start a server, warm it up, ask, stop it
//!      │         server: child processes   empty: servers that only say OK
//!      │         load: who asks            cpu: what it cost
//!      ▼
//!   report     a table
//! ```
//!
//! And in [`scale`] what it costs to have much: the start of a server in a cluster, and one change there.

mod certificate;
mod check;
mod cpu;
mod empty;
mod expected;
mod load;
mod report;
mod run;
mod scale;
mod scenario;
mod server;
mod statistics;
mod token;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::empty::Kind;
use crate::load::Pace;
use crate::run::Plan;
use crate::scenario::Name;
use crate::server::Peer;

// The same as in the server that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a check costs the server, and prints a table.
#[derive(Debug, Parser)]
#[command(name = "usher-benches", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// How many seconds each server is asked in each round.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often every server is started and measured.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Only this scenario; may be repeated.
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<Name>,

    /// The `usher` executable. Default: the one next to this executable.
    #[arg(long, value_name = "FILE")]
    usher: Option<PathBuf>,

    /// Another server that serves the scenario `anonymous`; with its process, its CPU time is measured too. May be
    /// repeated.
    #[arg(long, value_name = "NAME=ADDRESS[@PROCESS]")]
    peer: Vec<Peer>,

    /// Connections to the server.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Checks that wait for their answer at any time, on all connections together.
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as a server that allows every check, on a port of its own that it prints.
    Empty {
        /// How it serves.
        kind: Kind,
    },

    /// Measure a server in a cluster with many AuthConfigs and API keys, next to one with few: its start, its memory, and
    /// the time from a change to the first check that shows it.
    Scale(scale::Arguments),

    /// Serve as a cluster with so many AuthConfigs and Secrets, on a port of its own that it prints.
    Cluster(scale::cluster::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Empty { kind }) => empty::serve(kind),
        Some(Command::Scale(arguments)) => scale::run(&arguments),
        Some(Command::Cluster(arguments)) => scale::cluster::serve(&arguments),
        None => measure(arguments),
    }
}

/// The executable that is measured.
fn usher(own: &Path, given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let usher = given.unwrap_or_else(|| own.with_file_name("usher"));
    if !usher.is_file() {
        anyhow::bail!("`{}` does not exist; build it with `cargo build --release -p usher-cli`", usher.display());
    }
    if cfg!(debug_assertions) {
        eprintln!("warning: this is not a release build; its numbers mean nothing");
    }
    Ok(usher)
}

fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("where is this executable?")?;
    let usher = usher(&own, arguments.usher)?;
    let plan = Plan {
        own,
        usher,
        scenarios: if arguments.only.is_empty() { Name::all() } else { arguments.only },
        peers: arguments.peer,
        rounds: arguments.rounds,
        time: Duration::from_secs(arguments.seconds),
        pace: Pace { connections: arguments.connections.into(), in_flight: arguments.in_flight.into() },
    };
    // One thread: the load generator leaves the other cores to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = cpu::load_average();
    let rows = runtime.block_on(run::run(&plan))?;
    print!("{}", report::table(&rows));
    println!(
        "\n{} rounds of {} s, {} in flight on {} connections; {} cores; load average {} before, {} after",
        plan.rounds,
        plan.time.as_secs(),
        plan.pace.in_flight,
        plan.pace.connections,
        cpu::cores(),
        before,
        cpu::load_average(),
    );
    match rows.iter().flat_map(|row| &row.samples).filter(|sample| sample.is_none()).count() {
        0 => Ok(()),
        failed => anyhow::bail!("{failed} measurements failed"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
