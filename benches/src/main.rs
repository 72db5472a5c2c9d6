//! What a check costs: the server's CPU time per check, next to servers that do nothing.
//!
//! ```text
//!   options    what is to be measured
//!      ▼
//!   scenario   configurations, and the checks that are asked with them
//!      │         check: the message   expected: what the answers say
//!      │         token: signed tokens and their key set   certificate: of clients
//!      │         upstream: a service that rules call      material: keys and ports that are kept
//!      ▼
//!   run        rounds of all servers (target)
//!      ▼
//!   visit      start a server, warm it up, ask it, stop it
//!      │         server: child processes   empty: servers that only say OK
//!      │         load: who asks            churn: what changes meanwhile
//!      │         cpu, memory: what it cost
//!      ▼
//!   report     tables
//! ```
//!
//! And in [`scale`] what it costs to have much: the start of a server in a cluster, and one change there; in [`gateway`], how
//! much longer requests take through Envoy because of a check.

mod certificate;
mod check;
mod churn;
mod cpu;
mod empty;
mod expected;
mod gateway;
mod load;
mod material;
mod memory;
mod options;
mod report;
mod run;
mod scale;
mod scenario;
mod server;
mod statistics;
mod target;
mod token;
mod upstream;
mod visit;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::empty::Kind;
use crate::load::Pace;
use crate::material::Material;
use crate::options::{Executable, Loads, Peer, Rate};
use crate::run::Plan;
use crate::scenario::{Name, Surroundings};

// The same as in the server that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a check costs the server, and prints tables.
#[derive(Debug, Parser)]
#[command(name = "usher-benches", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// How many seconds each server is asked in each round, under each load.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often every server is started and measured.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Only this scenario; may be repeated.
    #[arg(long, value_name = "SCENARIO", conflicts_with = "all")]
    only: Vec<Name>,

    /// All scenarios, also the one that takes minutes to prepare: `api-key-1000000`.
    #[arg(long)]
    all: bool,

    /// An `usher` executable. May be repeated, with a name for each: all are measured in turn, and compared with the first.
    /// Default: the one next to this executable.
    #[arg(long, value_name = "[NAME=]FILE")]
    usher: Vec<Executable>,

    /// Another server, which runs already and is configured for these scenarios (default: `anonymous`); with its process, its
    /// CPU time and memory are measured too. May be repeated.
    #[arg(long, value_name = "NAME=ADDRESS[@PROCESS][/SCENARIO,...]")]
    peer: Vec<Peer>,

    /// Keep private keys and ports of this process in this folder, and use those that are there: for servers that were
    /// configured with what `configuration` printed.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// How checks are asked.
    #[arg(long, default_value = "both")]
    load: Loads,

    /// Checks each second in the open loop: `N`, or `N%` of what the slowest server of the scenario reached in the closed
    /// loop of the same round.
    #[arg(long, default_value = "5000", value_name = "N|N%")]
    rate: Rate,

    /// Connections to the server.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Checks that wait for their answer at any time in the closed loop, on all connections together.
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the AuthConfig and the Secrets of a scenario as YAML, to configure another server with them.
    Configuration {
        /// What is to be configured.
        scenario: Name,
        /// Where the keys and ports are kept that the configuration needs; the measurement needs the same folder.
        #[arg(long, value_name = "FOLDER")]
        keep: PathBuf,
    },

    /// Serve as a server that allows every check, on a port of its own that it prints.
    Empty {
        /// How it serves.
        kind: Kind,
    },

    /// Measure a server in a cluster with many AuthConfigs and API keys, next to one with few: its start, its memory, and
    /// the time from a change to the first check that shows it.
    Scale(scale::Arguments),

    /// Measure how much longer requests take through Envoy with a check than without one.
    Gateway(gateway::Arguments),

    /// Serve as a cluster with so many AuthConfigs and Secrets, on a port of its own that it prints.
    Cluster(scale::cluster::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Configuration { scenario, keep }) => configuration(scenario, keep),
        Some(Command::Empty { kind }) => empty::serve(kind),
        Some(Command::Scale(arguments)) => scale::run(&arguments),
        Some(Command::Gateway(arguments)) => gateway::run(arguments),
        Some(Command::Cluster(arguments)) => scale::cluster::serve(&arguments),
        None => measure(arguments),
    }
}

fn configuration(name: Name, keep: PathBuf) -> anyhow::Result<()> {
    let surroundings = Surroundings::start(Material::kept(Some(keep))?)?;
    scenario::scenario(name, &surroundings)?.configuration.print(std::io::stdout().lock())?;
    Ok(())
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

/// The executables that are measured, each with a name of its own; at least one.
fn ushers(own: &Path, given: Vec<Executable>) -> anyhow::Result<Vec<Executable>> {
    if given.is_empty() {
        return Ok(vec![Executable { name: "usher".to_owned(), file: usher(own, None)? }]);
    }
    let mut ushers: Vec<Executable> = Vec::new();
    for Executable { name, file } in given {
        if ushers.iter().any(|usher| usher.name == name) {
            anyhow::bail!("`{name}` is named twice; several executables need a name each: `--usher NAME=FILE`");
        }
        ushers.push(Executable { name, file: usher(own, Some(file))? });
    }
    Ok(ushers)
}

fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("where is this executable?")?;
    let scenarios = match (arguments.only, arguments.all) {
        (only, _) if !only.is_empty() => only,
        (_, true) => Name::all(),
        (_, false) => Name::usual(),
    };
    let plan = Plan {
        ushers: ushers(&own, arguments.usher)?,
        own,
        scenarios,
        peers: arguments.peer,
        rounds: arguments.rounds,
        time: Duration::from_secs(arguments.seconds),
        loads: arguments.load,
        pace: Pace { connections: arguments.connections.into(), in_flight: arguments.in_flight.into() },
        rate: arguments.rate,
    };
    plan.check()?;
    // One thread: the load generator leaves the other cores to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = cpu::load_average();
    let start = Instant::now();
    let rows = runtime.block_on(run::run(&plan, Material::kept(arguments.keep)?))?;
    print!("{}", report::tables(&rows));
    println!(
        "\n{} rounds of {} s, {} in flight on {} connections; {} cores; load average {} before, {} after; {} minutes in all",
        plan.rounds,
        plan.time.as_secs(),
        plan.pace.in_flight,
        plan.pace.connections,
        cpu::cores(),
        before,
        cpu::load_average(),
        start.elapsed().as_secs().div_ceil(60),
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
