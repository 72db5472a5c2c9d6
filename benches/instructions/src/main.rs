//! Runs checks without a server, for a program that counts instructions.
//!
//! ```text
//!   usher-instructions                             the names of all scenarios
//!   usher-instructions SCENARIO NUMBER...          for each number, one counted part with so many checks
//!
//!   scenario ──► world: plans by host ─┐
//!      └───────► requests ─────────────┴──► warm-up ──► counted() ──► counted() ──► …
//! ```
//!
//! All that is to be counted happens in [`counted`]; `benches/instructions/README.md` says how that is used.

mod request;
mod scenario;
mod token;
mod world;

use std::{
    pin::{Pin, pin},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;
use usher_engine::{Plan, PlanIndex, Request, Verdict};

use crate::{
    scenario::{Material, Road, SCENARIOS, Scenario},
    world::World,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for scenario in &SCENARIOS {
            println!("{}", scenario.name);
        }
        return Ok(());
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.with_context(|| format!("there is no scenario `{name}`"))?;
    let numbers: Vec<usize> = arguments
        .map(|number| number.parse().with_context(|| format!("`{number}` is not a number of checks")))
        .collect::<anyhow::Result<_>>()?;
    ensure!(!numbers.is_empty(), "how many checks?");
    measure(scenario, &numbers)
}

fn measure(scenario: &Scenario, numbers: &[usize]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // What is compiled may fetch in the background.
    let _runtime = runtime.enter();
    let Material { configuration, secrets, questions } = (scenario.material)();
    let world = World::new(&configuration, secrets)?;
    // Later than any count ends.
    let deadline = Instant::now() + Duration::from_secs(24 * 3600);
    let requests =
        |number: usize| -> Vec<Request> { questions.iter().cycle().take(number).map(request::canonical).collect() };

    // Whatever is remembered of a request is remembered after some repetitions, and series exist.
    let warm_up = requests(questions.len().saturating_mul(3).max(1000));
    for request in &warm_up {
        let plan = world.plan(request)?;
        let verdict = || runtime.block_on(usher_engine::check(&plan, request, Some(deadline), None));
        // Where instructions are counted, what runs for the first time is so slow that it may run into limits of time.
        let mut verdicts = std::iter::repeat_with(verdict).take(10);
        let is_expected = verdicts.any(|verdict| (scenario.is_expected)(&verdict));
        ensure!(is_expected, "the verdict is unexpected: {:?}", verdict());
    }
    let plan = world.plan(warm_up.first().context("there is nothing to ask")?)?;
    for number in numbers {
        let requests = requests(*number);
        let allowed = match scenario.road {
            Road::Check => counted(&runtime, pin!(checks(&plan, &requests, deadline))),
            Road::LookupAndCheck => counted(&runtime, pin!(lookups_and_checks(&world.index, &requests, deadline))),
        };
        let expected = if scenario.allows { requests.len() } else { 0 };
        ensure!(allowed == expected, "{allowed} of {} requests were allowed, and not {expected}", requests.len());
    }
    Ok(())
}

/// What is counted. Nothing in here may have a name like the function itself, because it is found by its name: not even a
/// closure.
#[inline(never)]
fn counted(runtime: &Runtime, work: Pin<&mut dyn Future<Output = usize>>) -> usize {
    runtime.block_on(work)
}

/// Decides about all requests by one plan. How many are allowed.
async fn checks(plan: &Plan, requests: &[Request], deadline: Instant) -> usize {
    let mut allowed = 0;
    for request in requests {
        let verdict = usher_engine::check(plan, request, Some(deadline), None).await;
        allowed += usize::from(matches!(verdict, Verdict::Allow(_)));
    }
    allowed
}

/// The same with the plan of each request.
async fn lookups_and_checks(index: &PlanIndex, requests: &[Request], deadline: Instant) -> usize {
    let mut allowed = 0;
    for request in requests {
        if let Some(plan) = index.find(request) {
            let verdict = usher_engine::check(&plan, request, Some(deadline), None).await;
            allowed += usize::from(matches!(verdict, Verdict::Allow(_)));
        }
    }
    allowed
}
