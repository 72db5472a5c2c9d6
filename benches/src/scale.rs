//! What it costs to have much: the start of a server with many AuthConfigs and API keys, and one change among them.
//!
//! ```text
//!   objects    AuthConfigs and Secrets, and checks that are let in by them
//!      ▼
//!   cluster    a process: an API server that holds them
//!      │         api: a plain client of it
//!      ▼
//!   site       a cluster and a server in it: how long its start takes, what memory it needs
//!      ▼
//!   change     one change in the cluster: how long until a check shows it
//!      ▼
//!   report     tables, or JSON
//! ```
//!
//! There are two sites at once, a small one and a large one. Each change is made in both, one after the other, so that
//! what else happens on the machine happens to both. Before them there is one with as many API keys as the large one and
//! as few AuthConfigs as the small one: it tells what of the memory is the keys'.

mod api;
mod change;
pub(crate) mod cluster;
mod objects;
mod report;
mod site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use self::change::{Changes, Kind, Times};
use self::objects::{NAMED_EVERY, Size};
use self::site::{Site, Start};
use crate::load::{Extent, Pace};
use crate::memory::Memory;

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// AuthConfigs of the large cluster.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    auth_configs: u32,

    /// Secrets with API keys in the large cluster; at least as many as AuthConfigs.
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u32).range(10..=9_999_999))]
    secrets: u32,

    /// Secrets of 4 kB in the large cluster that have nothing to do with the server.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(0..=999_999))]
    other_secrets: u32,

    /// How many changes of each kind are timed. Ten times as many are made to see what CPU time they take.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    changes: u32,

    /// How many seconds checks are asked without changes, and then with changes.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// The `usher` executable. Default: the one next to this executable.
    #[arg(long, value_name = "FILE")]
    usher: Option<PathBuf>,

    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// What the large cluster is compared with.
const SMALL: Size = Size { auth_configs: 10, secrets: 100, other_secrets: 10 };

/// What was measured.
#[derive(Debug)]
struct Outcomes {
    small: Outcome,
    large: Outcome,
    /// With the AuthConfigs of the small one and the Secrets of the large one, when ready.
    keys: Memory,
}

/// What was measured of one site.
#[derive(Debug)]
struct Outcome {
    size: Size,
    start: Start,
    changes: Vec<Changed>,
    quiet: Latency,
    /// While AuthConfigs change.
    disturbed: Latency,
    /// After everything.
    memory: Memory,
}

/// What was measured of one kind of change.
#[derive(Debug)]
struct Changed {
    kind: Kind,
    times: Vec<Times>,
    /// CPU time of the server for each, one for each round.
    cpu: Vec<Duration>,
}

/// How long checks took.
#[derive(Debug, Clone, Copy)]
struct Latency {
    median: Duration,
    /// Of 99 of 100 checks.
    high: Duration,
}

/// Measures, and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("where is this executable?")?;
    let usher = crate::usher(&own, arguments.usher.clone())?;
    let size = Size {
        auth_configs: usize::try_from(arguments.auth_configs)?,
        secrets: usize::try_from(arguments.secrets)?,
        other_secrets: usize::try_from(arguments.other_secrets)?,
    };
    if size.secrets < size.auth_configs {
        bail!("`--secrets` must not be less than `--auth-configs`: each AuthConfig has an API key");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = runtime.block_on(measure(&own, &usher, size, arguments))?;
    if arguments.json {
        println!("{:#}", report::json(&outcomes));
    } else {
        print!("{}", report::tables(&outcomes));
    }
    Ok(())
}

/// Checks that wait for their answer at any time: few, so that what they wait for is not each other.
const PACE: Pace = Pace { connections: 2, in_flight: 4 };

/// How often the CPU time of changes is measured.
const ROUNDS: usize = 3;

/// How many changes are made for each that is timed, to measure their CPU time.
const FOR_CPU: u32 = 10;

/// Measures the small and the large.
async fn measure(own: &Path, usher: &Path, size: Size, arguments: &Arguments) -> anyhow::Result<Outcomes> {
    let keys = start(own, usher, Size { auth_configs: SMALL.auth_configs, ..size }).await?.start.memory;
    let mut sites = Vec::new();
    for size in [SMALL, size] {
        let site = start(own, usher, size).await?;
        sites.push((site, Changes::default(), Vec::<Changed>::new()));
    }
    for kind in Kind::ALL {
        for (_, _, changed) in &mut sites {
            changed.push(Changed { kind, times: Vec::new(), cpu: Vec::new() });
        }
    }

    let mut latencies = Vec::new();
    for (site, changes, _) in &mut sites {
        eprintln!("{} AuthConfigs: checks", site.size.auth_configs);
        latencies.push(checks(site, changes, Duration::from_secs(arguments.seconds)).await?);
    }
    for turn in 0..arguments.changes {
        if turn == 0 {
            eprintln!("changes, one by one");
        }
        // The first of its kind may find caches cold, and is made in both.
        for (site, changes, changed) in &mut sites {
            if turn == 0 {
                for kind in Kind::ALL {
                    changes.measure(site, kind).await?;
                }
            }
            for changed in changed {
                changed.times.push(changes.measure(site, changed.kind).await?);
            }
        }
    }
    eprintln!("changes, one after the other");
    let number = usize::try_from(arguments.changes.saturating_mul(FOR_CPU))?;
    for _ in 0..ROUNDS {
        for (site, changes, changed) in &mut sites {
            for changed in changed {
                // What is deleted is created again, and the other way round: each is half of it.
                let kinds: &[Kind] = match changed.kind {
                    Kind::Deleted | Kind::Created => &[Kind::Deleted, Kind::Created],
                    _ => &[changed.kind],
                };
                changed.cpu.push(changes.cost(site, kinds, number.next_multiple_of(2)).await?);
            }
        }
    }

    let mut outcomes = Vec::new();
    for ((site, _, changes), (quiet, disturbed)) in sites.into_iter().zip(latencies) {
        let (size, start, memory) = (site.size, site.start, site.memory()?);
        outcomes.push(Outcome { size, start, changes, quiet, disturbed, memory });
    }
    let [small, large] = outcomes.try_into().ok().context("there are not two sites")?;
    Ok(Outcomes { small, large, keys })
}

async fn start(own: &Path, usher: &Path, size: Size) -> anyhow::Result<Site> {
    eprintln!("{} AuthConfigs, {} API keys: starting", size.auth_configs, size.secrets);
    let site = Site::start(own, usher, size, PACE).await?;
    eprintln!("ready after {:.2} s", site.start.ready.as_secs_f64());
    Ok(site)
}

/// How many AuthConfigs are asked for in turn.
const ASKED: usize = 1000;

/// Between changes while checks are asked.
const BETWEEN: Duration = Duration::from_millis(20);

/// Asks for some time without changes, and for as long while AuthConfigs change.
async fn checks(site: &mut Site, changes: &mut Changes, time: Duration) -> anyhow::Result<(Latency, Latency)> {
    let questions = site.questions(ASKED);
    let extent = Extent { first: 0, time, checks: u64::MAX };
    // To warm up.
    site.client.ask(&questions, Extent { time: Duration::from_secs(1).min(time), ..extent }).await?;
    let quiet = Latency::of(site.client.ask(&questions, extent).await?)?;

    let client = crate::load::Client::connect(site.server_address(), PACE).await?;
    let asking = client.ask(&questions, extent);
    let changing = async {
        loop {
            changes.measure(site, Kind::AuthConfig).await?;
            tokio::time::sleep(BETWEEN).await;
        }
    };
    let asked = tokio::select! {
        asked = asking => asked?,
        error = changing => return error,
    };
    Ok((quiet, Latency::of(asked)?))
}

impl Latency {
    fn of(mut outcome: crate::load::Outcome) -> anyhow::Result<Self> {
        let mut percentile = |percent| outcome.latencies.percentile(percent).context("nothing was answered");
        Ok(Self { median: percentile(50)?, high: percentile(99)? })
    }
}

/// So that one of each kind of AuthConfig is there.
const _: () = assert!(SMALL.auth_configs >= NAMED_EVERY);
