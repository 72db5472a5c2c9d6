//! Rounds: every server is started, warmed up, asked and stopped, then the next; and so on again, so that what else happens on
//! the machine happens to all of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cpu;
use crate::empty::Kind;
use crate::expected::Expected;
use crate::load::{Client, Extent, Pace};
use crate::scenario::{self, Name, Questions, Scenario, Surroundings};
use crate::server::{Peer, Server};
use crate::upstream::Upstream;

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Plan {
    /// This executable; it holds the empty servers.
    pub(crate) own: PathBuf,
    pub(crate) usher: PathBuf,
    pub(crate) scenarios: Vec<Name>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) rounds: u32,
    /// Of each server in each round.
    pub(crate) time: Duration,
    pub(crate) pace: Pace,
}

/// What was measured of one server.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// One for each round; none where the server did not answer as expected.
    pub(crate) samples: Vec<Option<Sample>>,
}

/// What was measured in one round. Times of the CPU are for each check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// None if the process is not known.
    pub(crate) server: Option<Duration>,
    /// Of the load generator.
    pub(crate) client: Duration,
    /// Of everything else on the machine: the share of all cores that it used meanwhile, from 0 to 1.
    pub(crate) others: f64,
    pub(crate) checks_per_second: f64,
    pub(crate) median_latency: Duration,
    /// Of 99 of 100 checks.
    pub(crate) high_latency: Duration,
}

/// Measures. The first two rows are the empty servers, [`Kind::Stock`] and [`Kind::Listener`].
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let surroundings = Surroundings::start()?;
    let mut targets = vec![Target::Empty(Kind::Stock), Target::Empty(Kind::Listener)];
    for name in &plan.scenarios {
        targets.push(Target::Usher(scenario::scenario(*name, &surroundings)?));
    }
    targets.extend(plan.peers.iter().map(Target::Peer));

    let mut rows: Vec<Row> = targets.iter().map(|target| Row { name: target.name(), samples: Vec::new() }).collect();
    for round in 1..=plan.rounds {
        for (target, row) in targets.iter().zip(&mut rows) {
            let sample = match measure(plan, target, &surroundings.upstream).await {
                Ok(sample) => {
                    eprintln!("round {round}, {}: {:.0} checks/s", row.name, sample.checks_per_second);
                    Some(sample)
                }
                // The others can be measured all the same.
                Err(error) => {
                    eprintln!("round {round}, {}: failed: {error:#}", row.name);
                    None
                }
            };
            row.samples.push(sample);
        }
    }
    Ok(rows)
}

/// A server to measure.
enum Target<'a> {
    Empty(Kind),
    Usher(Scenario),
    Peer(&'a Peer),
}

impl Target<'_> {
    fn name(&self) -> String {
        match self {
            Self::Empty(kind) => format!("(empty, {})", kind.word()),
            Self::Usher(scenario) => scenario.name.word(),
            Self::Peer(peer) => peer.name.clone(),
        }
    }

    fn questions(&self) -> Questions {
        match self {
            Self::Usher(scenario) => scenario.questions.clone(),
            Self::Empty(_) | Self::Peer(_) => Questions::anonymous(),
        }
    }

    /// Asks something twice, and looks at all of the answers.
    async fn verify(&self, client: &Client) -> anyhow::Result<()> {
        let Self::Usher(Scenario { expected, questions, .. }) = self else { return Ok(()) };
        if matches!(expected, Expected::Code) {
            return Ok(());
        }
        let frame = questions.frames.first().context("there are no questions")?;
        expected.verify([client.answer(frame).await?, client.answer(frame).await?])
    }

    fn start(&self, plan: &Plan) -> anyhow::Result<Server> {
        match self {
            Self::Empty(kind) => Server::start_empty(&plan.own, *kind),
            Self::Usher(scenario) => Server::start_usher(&plan.usher, &scenario.configuration),
            Self::Peer(peer) => Ok(Server::peer(peer)),
        }
    }
}

/// How long a server may take until it answers as expected.
const START: Duration = Duration::from_secs(60);

/// How long a server is asked before it is measured, and how many questions that are asked once may be used up for it.
const WARM_UP: Duration = Duration::from_secs(1);
const WARM_UP_ONCE: u16 = 1000;

async fn measure(plan: &Plan, target: &Target<'_>, upstream: &Upstream) -> anyhow::Result<Sample> {
    let questions = target.questions();
    let mut server = target.start(plan)?;
    let client = answering(&mut server, plan.pace, &questions).await?;

    target.verify(&client).await?;

    // A question that is asked once is for the warm-up or for the measurement; the first was used to see whether it answers.
    let (warm_up, measured) = if questions.once {
        let all = u64::try_from(questions.frames.len())?;
        let warm_up = u64::from(WARM_UP_ONCE).min(all / 4);
        (warm_up, all - warm_up - 1)
    } else {
        (u64::MAX, u64::MAX)
    };
    client.ask(&questions, Extent { first: 1, time: WARM_UP, checks: warm_up }).await?;
    let first = if questions.once { 1 + usize::try_from(warm_up)? } else { 0 };

    let accounts_asked = upstream.accounts_asked();
    let before = Times::now(&server)?;
    let outcome = client.ask(&questions, Extent { first, time: plan.time, checks: measured }).await;
    let after = Times::now(&server)?;
    server.ended()?;
    let mut outcome = outcome?;
    target.verify(&client).await?;
    // All of them were fetched during the warm-up, and are to be kept.
    match upstream.accounts_asked().saturating_sub(accounts_asked) {
        0 => {}
        fetched => anyhow::bail!("metadata was fetched {fetched} times while measured"),
    }

    let checks = u32::try_from(outcome.latencies.len())?;
    let each = |used: Duration| used.checked_div(checks).context("nothing was answered");
    let server_time = after.server.zip(before.server).map(|(after, before)| after.saturating_sub(before));
    let client_time = after.client.saturating_sub(before.client);
    let machine = after.machine.saturating_sub(before.machine);
    let others = machine.saturating_sub(client_time).saturating_sub(server_time.unwrap_or_default());
    let seconds = outcome.elapsed.as_secs_f64();
    Ok(Sample {
        server: server_time.map(each).transpose()?,
        client: each(client_time)?,
        others: others.as_secs_f64() / (seconds * f64::from(u32::try_from(cpu::cores())?)),
        checks_per_second: f64::from(checks) / seconds,
        median_latency: outcome.latencies.percentile(50).context("nothing was answered")?,
        high_latency: outcome.latencies.percentile(99).context("nothing was answered")?,
    })
}

/// Connects as soon as the server answers the first question as expected.
async fn answering(server: &mut Server, pace: Pace, questions: &Questions) -> anyhow::Result<Client> {
    let start = Instant::now();
    loop {
        let attempt = async {
            let client = Client::connect(server.address, pace).await?;
            client.ask(questions, Extent { first: 0, time: START, checks: 1 }).await?;
            anyhow::Ok(client)
        };
        let error = match attempt.await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        server.ended()?;
        if start.elapsed() > START {
            return Err(error.context(format!("the server does not answer as expected; it said: `{}`", server.said())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// CPU times, so far.
struct Times {
    server: Option<Duration>,
    client: Duration,
    machine: Duration,
}

impl Times {
    fn now(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            server: server.process.map(cpu::of_process).transpose()?,
            client: cpu::of_process(std::process::id())?,
            machine: cpu::of_machine()?,
        })
    }
}
