//! Rounds: every server is started, warmed up, asked and stopped, then the next; and so on again, so that what else happens on
//! the machine happens to all of them. Servers of the same scenario are asked right after one another, and in every second round
//! in the opposite order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::empty::Kind;
use crate::load::Pace;
use crate::material::Material;
use crate::options::{Executable, Loads, Peer, Rate};
use crate::scenario::{self, Name, Surroundings};
use crate::target::Target;
use crate::upstream::Upstream;
use crate::visit::{Sample, Visit};

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Plan {
    /// This executable; it holds the empty servers.
    pub(crate) own: PathBuf,
    /// At least one.
    pub(crate) ushers: Vec<Executable>,
    pub(crate) scenarios: Vec<Name>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) rounds: u32,
    /// Of each server in each round, under each load.
    pub(crate) time: Duration,
    pub(crate) loads: Loads,
    pub(crate) pace: Pace,
    pub(crate) rate: Rate,
}

impl Plan {
    /// Whether what is to be measured can be.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let of_closed_loop = matches!(self.rate, Rate::Share(_));
        ensure!(
            self.loads != Loads::Open || !of_closed_loop,
            "a share as `--rate` needs the closed loop, whose rate it is a share of"
        );
        for peer in &self.peers {
            let measured = peer.scenarios.iter().any(|name| self.scenarios.contains(name));
            ensure!(measured, "`{}` serves none of the scenarios that are measured", peer.name);
        }
        Ok(())
    }
}

/// What was measured of one server in one scenario.
#[derive(Debug)]
pub(crate) struct Row {
    /// What is asked.
    pub(crate) scenario: String,
    /// Who is asked.
    pub(crate) server: String,
    /// Position of the row of the empty stock server that is asked the like; that of the empty listener follows it.
    pub(crate) floor: usize,
    /// One for each round; none where the server did not answer as expected.
    pub(crate) samples: Vec<Option<Sample>>,
}

/// Measures. The rows of a scenario follow one another, the first executable first.
pub(crate) async fn run(plan: &Plan, material: Material) -> anyhow::Result<Vec<Row>> {
    let surroundings = Surroundings::start(material)?;
    let (groups, mut rows) = groups(plan, &surroundings)?;
    for round in 1..=plan.rounds {
        let mut rows = rows.iter_mut();
        for group in &groups {
            for (target, sample) in group.iter().zip(turn(plan, group, round, &surroundings.upstream).await) {
                let (scenario, server) = target.name();
                let sample = match sample {
                    Ok(sample) => {
                        eprintln!("round {round}, {scenario}, {server}: {}", told(&sample));
                        Some(sample)
                    }
                    // The others can be measured all the same.
                    Err(error) => {
                        eprintln!("round {round}, {scenario}, {server}: failed: {error:#}");
                        None
                    }
                };
                rows.next().context("there is a row for each target")?.samples.push(sample);
            }
        }
    }
    Ok(rows)
}

fn told(sample: &Sample) -> String {
    let ready = Some(format!("ready in {:.1} s", sample.ready.as_secs_f64()));
    let closed = sample.closed.map(|figures| format!("{:.0} checks/s", figures.checks_per_second));
    let p999 = |name: &str, latency: Duration| format!("p99.9{name} of {:.2} ms", latency.as_secs_f64() * 1e3);
    let open = sample.open.map(|figures| p999("", figures.latency.p999));
    let changing = sample.changing.map(|figures| p999(" with changes", figures.latency.p999));
    [ready, closed, open, changing].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Targets of one scenario each, and the rows of all of them in this order.
fn groups<'a>(plan: &'a Plan, surroundings: &Surroundings) -> anyhow::Result<(Vec<Vec<Target<'a>>>, Vec<Row>)> {
    let empty = |large| [Kind::Stock, Kind::Listener].map(|kind| Target::Empty { kind, large }).into();
    let mut groups: Vec<Vec<Target<'a>>> = vec![empty(false)];
    if plan.scenarios.iter().any(|name| name.is_large()) {
        groups.push(empty(true));
    }
    for name in &plan.scenarios {
        let scenario = Arc::new(scenario::scenario(*name, surroundings)?);
        let ushers = plan.ushers.iter().map(|usher| Target::Usher(usher, Arc::clone(&scenario)));
        let peers = plan.peers.iter().filter(|peer| peer.scenarios.contains(name));
        let peers = peers.map(|peer| Target::Peer(peer, Arc::clone(&scenario)));
        groups.push(ushers.chain(peers).collect());
    }
    let row = |target: &Target<'_>| {
        let (scenario, server) = target.name();
        let large = match target {
            Target::Empty { large, .. } => *large,
            Target::Usher(_, scenario) | Target::Peer(_, scenario) => scenario.name.is_large(),
        };
        Row { scenario, server, floor: if large { 2 } else { 0 }, samples: Vec::new() }
    };
    let rows = groups.iter().flatten().map(row).collect();
    Ok((groups, rows))
}

/// One round of the servers of a scenario: all in the closed loop, then all in the open loop.
async fn turn<'a>(
    plan: &'a Plan,
    targets: &'a [Target<'a>],
    round: u32,
    upstream: &'a Upstream,
) -> Vec<anyhow::Result<Sample>> {
    let backwards = round.is_multiple_of(2);
    let ordered: Vec<&Target<'_>> = if backwards { targets.iter().rev().collect() } else { targets.iter().collect() };
    let mut visits = Vec::new();
    for target in ordered {
        visits.push(closed(plan, target, upstream).await);
    }
    let reached = visits.iter().flatten().filter_map(|(_, sample)| Some(sample.closed?.checks_per_second));
    let slowest = reached.reduce(f64::min);
    let mut samples = Vec::new();
    for visit in visits {
        samples.push(match visit {
            Ok((visit, sample)) => open(plan, visit, sample, slowest).await,
            Err(error) => Err(error),
        });
    }
    if backwards {
        samples.reverse();
    }
    samples
}

async fn closed<'a>(
    plan: &'a Plan,
    target: &'a Target<'a>,
    upstream: &'a Upstream,
) -> anyhow::Result<(Visit<'a>, Sample)> {
    let mut visit = Visit::start(plan, target, upstream).await?;
    let mut sample = Sample { ready: visit.ready, ..Sample::default() };
    if plan.loads.closed() {
        sample.closed = Some(visit.closed().await?);
    }
    Ok((visit, sample))
}

async fn open(plan: &Plan, mut visit: Visit<'_>, mut sample: Sample, slowest: Option<f64>) -> anyhow::Result<Sample> {
    if plan.loads.open() {
        let rate = plan.rate.with(slowest).context("the closed loop was too slow to ask a share of it")?;
        let (calm, changing) = visit.open(rate).await?;
        sample = Sample { open: Some(calm), changing, ..sample };
    }
    Ok(Sample { memory: visit.memory()?, ..sample })
}
