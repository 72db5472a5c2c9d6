//! One server in one round: it is started, warmed up, asked in one way and in another, and stopped.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::churn;
use crate::cpu;
use crate::load::{Client, Extent, Outcome, Pace};
use crate::memory::Memory;
use crate::run::Plan;
use crate::scenario::{Name, Questions};
use crate::server::Server;
use crate::statistics::Distribution;
use crate::target::Target;
use crate::upstream::Upstream;

/// What was measured of a server in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// From its start until it answered as expected; nothing much if it ran already.
    pub(crate) ready: Duration,
    /// In the closed loop.
    pub(crate) closed: Option<Figures>,
    /// In the open loop.
    pub(crate) open: Option<Figures>,
    /// In the open loop, while its configuration changed.
    pub(crate) changing: Option<Figures>,
    /// At the end; none if the process is not known.
    pub(crate) memory: Option<Memory>,
}

/// What was measured under one load. Times of the CPU are for each check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// None if the process is not known.
    pub(crate) server: Option<Duration>,
    /// Of the load generator.
    pub(crate) client: Duration,
    /// Of everything else on the machine: the share of all cores that it used meanwhile, from 0 to 1.
    pub(crate) others: f64,
    pub(crate) checks_per_second: f64,
    pub(crate) latency: Percentiles,
    /// How late the load generator was in 99 of 100 checks; none in the closed loop.
    pub(crate) late: Option<Duration>,
}

/// Distribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percentiles {
    pub(crate) median: Duration,
    /// Of 99 of 100 checks.
    pub(crate) p99: Duration,
    /// Of 999 of 1000 checks.
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
}

impl Percentiles {
    fn of(latencies: &Distribution) -> anyhow::Result<Self> {
        let quantile = |share| latencies.quantile(share).context("nothing was answered");
        Ok(Self { median: quantile(0.5)?, p99: quantile(0.99)?, p999: quantile(0.999)?, max: quantile(1.0)? })
    }
}

/// How a server is asked.
#[derive(Debug, Clone, Copy)]
enum Load {
    Closed,
    Open(NonZeroU32),
    /// In the open loop, while its configuration changes.
    Changing(NonZeroU32),
}

/// A server that runs and is asked.
pub(crate) struct Visit<'a> {
    plan: &'a Plan,
    target: &'a Target<'a>,
    upstream: &'a Upstream,
    server: Server,
    client: Client,
    questions: Questions,
    /// From its start until it answered as expected.
    pub(crate) ready: Duration,
    /// The next question.
    next: usize,
    /// Loads that are still to come, which share what may be asked once.
    loads: u64,
}

/// How long a server is asked before it is measured, and how many questions that are asked once may be used up for it.
const WARM_UP: Duration = Duration::from_secs(1);
const WARM_UP_ONCE: u64 = 1000;

impl<'a> Visit<'a> {
    /// Starts a server and warms it up.
    pub(crate) async fn start(plan: &'a Plan, target: &'a Target<'a>, upstream: &'a Upstream) -> anyhow::Result<Self> {
        let questions = target.questions();
        let start = Instant::now();
        let mut server = target.start(plan)?;
        let patience = target.scenario().unwrap_or(Name::Anonymous).patience();
        let client = answering(&mut server, plan.pace, &questions, patience).await?;
        let ready = start.elapsed();
        target.verify(&client).await?;
        let loads = u64::from(plan.loads.closed()) + u64::from(plan.loads.open());
        // The first question was used to see whether the server answers.
        let mut visit = Self { plan, target, upstream, server, client, questions, ready, next: 1, loads };
        let checks = WARM_UP_ONCE.min(visit.unasked() / 4);
        let extent = visit.extent(WARM_UP, checks)?;
        visit.client.ask(&visit.questions, extent).await?;
        Ok(visit)
    }

    /// As many checks as it answers.
    pub(crate) async fn closed(&mut self) -> anyhow::Result<Figures> {
        self.load(Load::Closed).await
    }

    /// So many checks each second; for the scenario about changes, without them and then with them.
    pub(crate) async fn open(&mut self, rate: NonZeroU32) -> anyhow::Result<(Figures, Option<Figures>)> {
        let calm = self.load(Load::Open(rate)).await?;
        let changing = match self.target.scenario() {
            Some(Name::Churn) => Some(self.load(Load::Changing(rate)).await?),
            _ => None,
        };
        Ok((calm, changing))
    }

    /// The memory of the server; none if the process is not known.
    pub(crate) fn memory(&self) -> anyhow::Result<Option<Memory>> {
        self.server.process.map(Memory::of).transpose()
    }

    /// Questions that were not asked yet and may be asked once.
    fn unasked(&self) -> u64 {
        u64::try_from(self.questions.frames.len().saturating_sub(self.next)).unwrap_or(u64::MAX)
    }

    /// The next questions: no more than so many if each is asked once.
    fn extent(&mut self, time: Duration, checks: u64) -> anyhow::Result<Extent> {
        if !self.questions.once {
            return Ok(Extent { first: self.next, time, checks: u64::MAX });
        }
        let first = self.next;
        self.next += usize::try_from(checks)?;
        Ok(Extent { first, time, checks })
    }

    async fn load(&mut self, load: Load) -> anyhow::Result<Figures> {
        let checks = self.unasked() / self.loads.max(1);
        let extent = self.extent(self.plan.time, checks)?;
        self.loads = self.loads.saturating_sub(1);

        let accounts_asked = self.upstream.accounts_asked();
        let before = Times::now(&self.server)?;
        let outcome = self.ask(load, extent).await;
        let after = Times::now(&self.server)?;
        self.server.ended()?;
        let outcome = outcome?;
        self.target.verify(&self.client).await?;
        // All of them were fetched during the warm-up, and are to be kept.
        match self.upstream.accounts_asked().saturating_sub(accounts_asked) {
            0 => figures(&outcome, &before, &after),
            fetched => bail!("metadata was fetched {fetched} times while measured"),
        }
    }

    async fn ask(&self, load: Load, extent: Extent) -> anyhow::Result<Outcome> {
        match load {
            Load::Closed => self.client.ask(&self.questions, extent).await,
            Load::Open(rate) => self.client.ask_on_schedule(&self.questions, extent, rate).await,
            Load::Changing(rate) => {
                let folder = self.server.configuration().context("there are no files to change")?;
                let looking = Client::connect(self.server.address, Pace { connections: 1, in_flight: 1 }).await?;
                let question = self.questions.frames.first().context("there are no questions")?;
                let asking = self.client.ask_on_schedule(&self.questions, extent, rate);
                churn::meanwhile(&folder, &looking, question, asking).await
            }
        }
    }
}

fn figures(outcome: &Outcome, before: &Times, after: &Times) -> anyhow::Result<Figures> {
    let checks = u32::try_from(outcome.latencies.len())?;
    let each = |used: Duration| used.checked_div(checks).context("nothing was answered");
    let server_time = after.server.zip(before.server).map(|(after, before)| after.saturating_sub(before));
    let client_time = after.client.saturating_sub(before.client);
    let machine = after.machine.saturating_sub(before.machine);
    let others = machine.saturating_sub(client_time).saturating_sub(server_time.unwrap_or_default());
    let seconds = outcome.elapsed.as_secs_f64();
    Ok(Figures {
        server: server_time.map(each).transpose()?,
        client: each(client_time)?,
        others: others.as_secs_f64() / (seconds * f64::from(u32::try_from(cpu::cores())?)),
        checks_per_second: f64::from(checks) / seconds,
        latency: Percentiles::of(&outcome.latencies)?,
        late: outcome.late.quantile(0.99),
    })
}

/// Connects as soon as the server answers the first question as expected.
pub(crate) async fn answering(
    server: &mut Server,
    pace: Pace,
    questions: &Questions,
    patience: Duration,
) -> anyhow::Result<Client> {
    let start = Instant::now();
    loop {
        let attempt = async {
            let client = Client::connect(server.address, pace).await?;
            client.ask(questions, Extent { first: 0, time: patience, checks: 1 }).await?;
            anyhow::Ok(client)
        };
        let error = match attempt.await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        server.ended()?;
        if start.elapsed() > patience {
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
