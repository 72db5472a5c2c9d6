//! One server in one round: it is started, with every Envoy before it; they are asked in turns, with checks and without; then
//! all of them are stopped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Plan;
use super::bootstrap::EXEMPT;
use super::connection::Connection;
use super::envoy::{Envoy, Program};
use super::load::{Answers, Asking, Load};
use super::report::{Figures, Latency, Sample};
use super::request::Requests;
use crate::cpu;
use crate::load::Pace;
use crate::scenario::{Name, Questions};
use crate::server::Server;
use crate::target::Target;
use crate::visit::answering;

/// How long each route of an Envoy is asked before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// About how long one route is asked before it is another one's turn: what else happens on the machine happens to all of them.
const TURN: Duration = Duration::from_millis(500);

/// Measures a server, once. A sample for each Envoy, in their order.
pub(super) async fn visit(plan: &Plan, target: &Target<'_>) -> anyhow::Result<Vec<Sample>> {
    let questions = target.questions();
    let mut server = match target {
        Target::Empty { kind, .. } => Server::start_empty(&plan.own, *kind)?,
        Target::Usher(usher, scenario) => Server::start_usher(&usher.file, &scenario.configuration)?,
        Target::Peer(peer, _) => Server::peer(peer),
    };
    let patience = target.scenario().unwrap_or(Name::Anonymous).patience();
    // Whether it is ready, and whether its answers have in them what a gateway does not tell.
    let client = answering(&mut server, Pace { connections: 1, in_flight: 1 }, &questions, patience).await?;
    target.verify(&client).await?;
    drop(client);

    let mut stations = Vec::new();
    for program in &plan.envoys {
        let station = Station::start(program, &server, &questions, plan.connections).await;
        stations.push(station.with_context(|| format!("Envoy {}", program.name))?);
    }
    let mut samples = vec![Sample::default(); stations.len()];
    if plan.loads.closed() {
        for (sample, figures) in samples.iter_mut().zip(ask(plan, &server, &mut stations, Load::Closed).await?) {
            sample.closed = Some(figures);
        }
    }
    if plan.loads.open() {
        let load = Load::Open(plan.rate);
        for (sample, figures) in samples.iter_mut().zip(ask(plan, &server, &mut stations, load).await?) {
            sample.open = Some(figures);
        }
    }
    server.ended()?;
    Ok(samples)
}

/// Asks every Envoy, in turns.
async fn ask(plan: &Plan, server: &Server, stations: &mut [Station], load: Load) -> anyhow::Result<Vec<Figures>> {
    let mut noted = Vec::new();
    for station in &*stations {
        noted.push((Noted::default(), station.envoy.checks().await?));
    }
    let before = Times::now(server, stations)?;
    let turns = turns(plan.time);
    for turn in 0..turns {
        let mut order: Vec<_> = stations.iter_mut().zip(&mut noted).collect();
        let mut routes = [Route::Exempt, Route::Checked];
        if turn % 2 == 1 {
            order.reverse();
            routes.reverse();
        }
        for (station, (noted, _)) in order {
            for route in routes {
                let asked = station.ask(route, load, plan.time / turns, noted).await;
                asked.with_context(|| format!("Envoy {}", station.name))?;
            }
        }
    }
    let others = Times::now(server, stations)?.others_since(&before)?;
    let mut figures = Vec::new();
    for (station, (noted, checks_before)) in stations.iter_mut().zip(noted) {
        station.envoy.ended()?;
        let checks = station.envoy.checks().await?.saturating_sub(checks_before);
        let requests = noted.checked.latencies.len();
        ensure!(checks == requests, "Envoy {} made {checks} checks for {requests} requests", station.name);
        figures.push(Figures {
            without: Latency::of(&noted.exempt.latencies)?,
            with: Latency::of(&noted.checked.latencies)?,
            // Empty in the closed loop.
            late: noted.exempt.late.quantile(0.99).max(noted.checked.late.quantile(0.99)),
            others,
        });
    }
    Ok(figures)
}

/// In how many turns so much time is spent: an even number, so that each route is as often before the other as behind it.
fn turns(time: Duration) -> u32 {
    let whole = u32::try_from(time.as_millis() / TURN.as_millis()).unwrap_or(u32::MAX - 1);
    (whole & !1).max(2)
}

/// Which requests are sent.
#[derive(Debug, Clone, Copy)]
enum Route {
    /// Those that are not checked.
    Exempt,
    /// Those that are.
    Checked,
}

/// What came of both, under one load.
#[derive(Default)]
struct Noted {
    exempt: Answers,
    checked: Answers,
}

/// An Envoy before the server.
struct Station {
    name: String,
    envoy: Envoy,
    /// All of them are idle.
    connections: VecDeque<Connection>,
    exempt: Requests,
    checked: Requests,
}

impl Station {
    /// Starts it, connects, and warms it up.
    async fn start(
        program: &Program,
        server: &Server,
        questions: &Questions,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let mut station = Self {
            name: program.name.clone(),
            envoy: Envoy::start(program, server.address).await?,
            connections: VecDeque::new(),
            exempt: Requests::of(&*questions.frames, EXEMPT)?,
            checked: Requests::of(&*questions.frames, "")?,
        };
        for _ in 0..connections.max(1) {
            let mut connection = Connection::open(station.envoy.address).await?;
            connection.ask(&station.exempt.in_turn()).await?;
            connection.ask(&station.checked.in_turn()).await?;
            station.connections.push_back(connection);
        }
        for route in [Route::Exempt, Route::Checked] {
            station.ask(route, Load::Closed, WARM_UP, &mut Noted::default()).await?;
        }
        Ok(station)
    }

    async fn ask(&mut self, route: Route, load: Load, time: Duration, noted: &mut Noted) -> anyhow::Result<()> {
        let (requests, answers) = match route {
            Route::Exempt => (&mut self.exempt, &mut noted.exempt),
            Route::Checked => (&mut self.checked, &mut noted.checked),
        };
        Asking { connections: &mut self.connections, requests, time }.ask(load, answers).await
    }
}

/// CPU times, so far.
struct Times {
    at: Instant,
    /// Of this process, the server and all gateways.
    own: Duration,
    machine: Duration,
}

impl Times {
    fn now(server: &Server, stations: &[Station]) -> anyhow::Result<Self> {
        let envoys = stations.iter().map(|station| station.envoy.process());
        let processes = [Some(std::process::id()), server.process].into_iter().chain(envoys).flatten();
        let own = processes.map(cpu::of_process).sum::<anyhow::Result<Duration>>()?;
        Ok(Self { at: Instant::now(), own, machine: cpu::of_machine()? })
    }

    /// The share of all cores that everything else on the machine used since, from 0 to 1.
    fn others_since(&self, before: &Self) -> anyhow::Result<f64> {
        let own = self.own.saturating_sub(before.own);
        let others = self.machine.saturating_sub(before.machine).saturating_sub(own);
        let all = self.at.duration_since(before.at).as_secs_f64() * f64::from(u32::try_from(cpu::cores())?);
        Ok(others.as_secs_f64() / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_even_and_of_about_the_same_length() {
        for (seconds, expected) in [(1, 2), (2, 4), (3, 6), (3600, 7200), (u64::MAX, u32::MAX - 1)] {
            assert_eq!(turns(Duration::from_secs(seconds)), expected, "{seconds} s");
        }
        assert_eq!(turns(Duration::from_millis(100)), 2);
        assert_eq!(turns(Duration::from_millis(1500)), 2);
    }
}
