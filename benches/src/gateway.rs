//! What a check costs in a gateway: how much longer requests take through Envoy with a check than without one.
//!
//! ```text
//!   load ──── HTTP/1.1 ────▶ Envoy ───────────▶ answers by itself: nothing behind it adds noise
//!     request, connection      │ but first, on all routes but `/exempt/…`
//!                              └── gRPC ──▶ a server that does nothing, or Usher
//!
//!   envoy     finds the executables, starts one       bootstrap: its configuration
//!   visit     one server behind every Envoy, asked in turns
//!   report    tables, or JSON
//! ```
//!
//! All requests are the same on both routes, so that what differs is the check.

mod bootstrap;
mod connection;
mod envoy;
mod load;
mod report;
mod request;
mod visit;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use self::envoy::{Given, Program};
use self::report::{Conditions, Row};
use crate::cpu;
use crate::empty::Kind;
use crate::material::Material;
use crate::options::{Executable, Loads};
use crate::scenario::{self, Name, Surroundings};
use crate::target::Target;

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An Envoy executable; its name is the version that it tells, unless one is given. May be repeated. Default: those that
    /// `tests/run` installed in `.parts`.
    #[arg(long, value_name = "[NAME=]FILE")]
    envoy: Vec<Given>,

    /// An `usher` executable. May be repeated, with a name for each. Default: the one next to this executable.
    #[arg(long, value_name = "[NAME=]FILE")]
    usher: Vec<Executable>,

    /// Only this scenario; may be repeated. Default: `anonymous`, `api-key-10`, `jwt-seen`, `cel-1` and `cel-10`.
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<Name>,

    /// How many seconds each route is asked in each round, under each load.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often every server is started and measured.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// How requests are sent.
    #[arg(long, default_value = "both")]
    load: Loads,

    /// Requests each second in the open loop.
    #[arg(long, default_value = "1000")]
    rate: NonZeroU32,

    /// Connections to each Envoy in the open loop; the closed loop has one.
    #[arg(long, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Print JSON, in seconds, instead of tables.
    #[arg(long)]
    json: bool,
}

/// The same, found and ready to be measured.
#[derive(Debug)]
struct Plan {
    /// This executable; it holds the empty servers.
    own: PathBuf,
    /// At least one.
    envoys: Vec<Program>,
    /// At least one.
    ushers: Vec<Executable>,
    scenarios: Vec<Name>,
    rounds: u32,
    /// Of each route in each round, under each load.
    time: Duration,
    loads: Loads,
    rate: NonZeroU32,
    /// At least one.
    connections: usize,
}

/// Scenarios that are measured if nobody says which.
const USUAL: [Name; 5] = [Name::Anonymous, Name::ApiKey10, Name::JwtSeen, Name::Cel1, Name::Cel10];

/// Measures, and prints.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("where is this executable?")?;
    let scenarios = if arguments.only.is_empty() { USUAL.to_vec() } else { arguments.only };
    for name in &scenarios {
        if let Some(obstacle) = obstacle(*name) {
            bail!("`{}` is not measured through a gateway: {obstacle}", name.word());
        }
    }
    let plan = Plan {
        envoys: envoy::programs(arguments.envoy, &own)?,
        ushers: crate::ushers(&own, arguments.usher)?,
        own,
        scenarios,
        rounds: arguments.rounds,
        time: Duration::from_secs(arguments.seconds),
        loads: arguments.load,
        rate: arguments.rate,
        connections: arguments.connections.into(),
    };
    // One thread: the load generator leaves the other cores to the gateway and the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (before, start) = (cpu::load_average(), Instant::now());
    let rows = runtime.block_on(measure(&plan))?;
    let conditions = Conditions { before, after: cpu::load_average(), cores: cpu::cores(), elapsed: start.elapsed() };
    if arguments.json {
        println!("{:#}", report::json(&plan, &rows, &conditions));
    } else {
        print!("{}", report::text(&plan, &rows, &conditions));
    }
    match rows.iter().flat_map(|row| &row.samples).filter(|sample| sample.is_none()).count() {
        0 => Ok(()),
        failed => bail!("{failed} measurements failed"),
    }
}

/// Why a scenario cannot be measured here; none if it can.
fn obstacle(name: Name) -> Option<&'static str> {
    match name {
        Name::JwtFirst | Name::JwtEs256First => Some("each of its tokens may be sent only once"),
        Name::UnknownKey => Some("its requests are denied"),
        Name::X509 => Some("requests come without certificates of clients"),
        Name::MetadataCached | Name::Callbacks => Some("nobody looks at what it calls"),
        Name::Churn => Some("no configuration changes"),
        _ => None,
    }
}

/// One row for each server and Envoy.
async fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let surroundings = Surroundings::start(Material::default())?;
    let targets = targets(plan, &surroundings)?;
    let row = |target: &Target<'_>, envoy: &Program| {
        let (scenario, server) = target.name();
        Row { scenario, server, envoy: envoy.name.clone(), samples: Vec::new() }
    };
    let mut rows: Vec<Row> =
        targets.iter().flat_map(|target| plan.envoys.iter().map(move |envoy| row(target, envoy))).collect();
    for round in 1..=plan.rounds {
        let mut turns: Vec<_> = targets.iter().zip(rows.chunks_mut(plan.envoys.len())).collect();
        if round.is_multiple_of(2) {
            turns.reverse();
        }
        for (target, rows) in turns {
            let (scenario, server) = target.name();
            match visit::visit(plan, target).await {
                Ok(samples) => {
                    for (row, sample) in rows.iter_mut().zip(samples) {
                        eprintln!("round {round}, {scenario}, {server}, {}: {}", row.envoy, report::told(&sample));
                        row.samples.push(Some(sample));
                    }
                }
                // The others can be measured all the same.
                Err(error) => {
                    eprintln!("round {round}, {scenario}, {server}: failed: {error:#}");
                    rows.iter_mut().for_each(|row| row.samples.push(None));
                }
            }
        }
    }
    Ok(rows)
}

/// The empty servers, and each executable in each scenario.
fn targets<'a>(plan: &'a Plan, surroundings: &Surroundings) -> anyhow::Result<Vec<Target<'a>>> {
    let empty = [Kind::Stock, Kind::Listener].map(|kind| Target::Empty { kind, large: false });
    let mut targets: Vec<Target<'a>> = empty.into();
    for name in &plan.scenarios {
        let scenario = Arc::new(scenario::scenario(*name, surroundings)?);
        targets.extend(plan.ushers.iter().map(|usher| Target::Usher(usher, Arc::clone(&scenario))));
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_can_be_measured_and_what_cannot_says_why() {
        assert!(USUAL.into_iter().all(|name| obstacle(name).is_none()));
        let surroundings = Surroundings::start(Material::default()).unwrap();
        // Whose preparation is quick.
        let quick = |name: &Name| {
            !matches!(name, Name::ApiKey1000000 | Name::Hosts10000 | Name::JwtFirst | Name::JwtEs256First)
        };
        for name in Name::all().into_iter().filter(quick).filter(|name| obstacle(*name).is_none()) {
            let questions = scenario::scenario(name, &surroundings).unwrap().questions;
            let plain = !questions.once && questions.expected == 0 && questions.decisions.is_none();
            assert!(plain, "{name:?}");
        }
    }
}
