//! `opa`: a policy in Rego, the language of Open Policy Agent, decides.
//!
//! ```yaml
//! authorization:
//!   office-only:
//!     opa:
//!       version: v1
//!       rego: |
//!         allow if net.cidr_contains("192.168.1.0/24", input.source.address)
//! ```
//!
//! The policy sees the authorization document as `input`. Access is granted when its rule `allow` is the boolean
//! `true`, nothing else. `allow` is `false` by default. A policy may have a package of its own. With `allValues`, the
//! values of all rules are kept for later rules and for the answer; rules without a value are `null`.
//!
//! A policy is compiled, checked and tried out when it is loaded: unknown functions, recursion, variables without a
//! value and texts that no parser should read are refused then. An evaluation has the time of the request, but no more
//! than [`EVALUATION_TIME`] ([`NETWORK_TIME`] if it calls `http.send`); with more, or with values that grow too large,
//! nothing is decided, and the request is not allowed.
//!
//! Of the document, only the parts are made for the engine that the policy can see (`parts`).
//!
//! With `externalPolicy` instead of `rego`, the text is downloaded; the module `external` tells how.

mod analysis;
mod budget;
mod builtins;
pub(crate) mod external;
mod parts;
mod policy;
mod source;
mod values;

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::{Duration, Instant},
};

use regorus::Value;
use tokio::{runtime::Handle, sync::Semaphore};
use usher_api::{OpaPolicy, OpaSpec, RegoVersion};
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};
use usher_expr::References;

use crate::{
    BuildContext, FieldPath, Problems,
    resources::http::{Client, Request, Response},
};
use builtins::http::HttpSend;
use policy::{LIMIT, Policy, TIME_OVER};

/// The longest evaluation of a policy that does not use the network.
pub const EVALUATION_TIME: Duration = Duration::from_millis(100);
/// The longest evaluation of a policy that calls `http.send`.
pub const NETWORK_TIME: Duration = Duration::from_secs(10);

/// Evaluations that take longer on average leave the thread of the request.
const LONG: Duration = Duration::from_micros(100);
/// Policies with more constructs that can make large values are never evaluated on the thread of the request.
const MAX_GROWTH_IN_PLACE: usize = 16;
/// How much longer than it may an evaluation is waited for.
const GRACE: Duration = Duration::from_millis(250);
/// The longest that an evaluation waits for a thread. The deadline of the request may end the wait sooner.
const QUEUE_TIME: Duration = Duration::from_secs(1);
/// From here on an evaluation was not only interrupted by other threads, but was long itself.
const INTERRUPTED: Duration = Duration::from_millis(20);
/// How many evaluations of one policy may run on after they were given up.
const MAX_RUNAWAYS: usize = 1;
/// How many of one rule, whose policy may have been replaced meanwhile.
const MAX_RUNAWAYS_OF_RULE: usize = 4;
/// How many evaluations may wait for the network at a time.
const NETWORK_SLOTS: usize = 128;

/// Builds the evaluator of the rule `name`. What is wrong with the specification is noted at its fields.
pub fn build(
    name: &str,
    spec: &OpaSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Box<dyn Evaluator>> {
    match problems.take(at, spec.policy())? {
        OpaPolicy::Rego(rego) => {
            let opa = inline(rego, spec, &at.field("rego"), context.resources.http.clone(), problems)?;
            Some(Box::new(opa))
        }
        OpaPolicy::ExternalPolicy(policy) => {
            let opa = external::build(name, spec, policy, &at.field("externalPolicy"), context, problems)?;
            Some(Box::new(opa))
        }
    }
}

/// The parts of the authorization document that a policy can see; `None` for a text that is no policy.
#[must_use]
pub fn references(rego: &str, version: RegoVersion) -> Option<References> {
    let (policy, _) = Policy::compile(rego, version, true, Some(Arc::new(Nowhere))).ok()?;
    Some(policy.parts().references())
}

/// For policies that are only looked at: they may call `http.send`, but nobody is there to answer.
#[derive(Debug)]
struct Nowhere;

impl HttpSend for Nowhere {
    fn send(&self, _: Request) -> Result<Response, &'static str> {
        Err("no network")
    }
}

fn inline(rego: &str, spec: &OpaSpec, at: &FieldPath<'_>, client: Client, problems: &mut Problems) -> Option<Opa> {
    let http: Arc<dyn HttpSend> = Arc::new(Outbound(client));
    let (policy, warnings) = problems.take(at, Policy::compile(rego, spec.version, spec.all_values, Some(http)))?;
    for warning in warnings {
        problems.warn(at, warning);
    }
    Some(Opa::new(policy))
}

/// A policy, and what was learnt about it.
#[derive(Debug)]
pub(crate) struct Opa {
    policy: Arc<Policy>,
    /// Nanoseconds of an evaluation, a moving average. Starts high: a policy is quick only when it was seen to be.
    usual: AtomicU64,
    /// Whether an evaluation had to be given up.
    is_suspect: AtomicBool,
    /// Evaluations that were given up and still run.
    runaways: Arc<AtomicUsize>,
    /// These, and those of earlier policies of the rule.
    runaways_of_rule: Arc<AtomicUsize>,
}

/// How far an evaluation came on the thread of the request.
enum Begun {
    /// To its end.
    Done(Outcome),
    /// There is an input; [`Opa::elsewhere`] is the place for the rest.
    Long(Value),
}

impl Evaluator for Opa {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.begin(context) {
            Begun::Done(outcome) => outcome.into(),
            Begun::Long(input) => Evaluation::pending(self.elsewhere(input, context.deadline())),
        }
    }
}

impl Opa {
    fn begin(&self, context: &Context<'_>) -> Begun {
        let Some(limit) = self.limit(context.deadline()) else {
            return Begun::Done(Err(no_time_left()));
        };
        let Some(input) = values::input(context, self.policy.parts()) else {
            return Begun::Done(Err(Failure::undecidable(LIMIT, "the input is nested too deeply")));
        };
        if self.is_quick() {
            let (outcome, took) = timed(&self.policy, input, limit);
            self.note(took);
            return Begun::Done(outcome);
        }
        Begun::Long(input)
    }

    fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            usual: AtomicU64::new(nanoseconds(2 * LONG)),
            is_suspect: AtomicBool::new(false),
            runaways: Arc::default(),
            runaways_of_rule: Arc::default(),
        }
    }

    /// Counts with the earlier policies of the rule.
    fn of_rule(self, runaways_of_rule: Arc<AtomicUsize>) -> Self {
        Self { runaways_of_rule, ..self }
    }

    /// The time that an evaluation may take from now on.
    fn limit(&self, deadline: Option<Instant>) -> Option<Duration> {
        let longest = if self.policy.uses_network() { NETWORK_TIME } else { EVALUATION_TIME };
        match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(longest))
            }
            None => Some(longest),
        }
    }

    /// Whether the policy can be evaluated on the thread of the request, which serves many others.
    fn is_quick(&self) -> bool {
        !self.policy.uses_network()
            && !self.is_suspect.load(Ordering::Relaxed)
            && self.policy.growth() <= MAX_GROWTH_IN_PLACE
            && Duration::from_nanos(self.usual.load(Ordering::Relaxed)) <= LONG
    }

    /// The clock also counts the time that the thread did not run. On a busy machine that is a few milliseconds now and
    /// then, which say nothing about the policy: one such evaluation counts as long, but not as that long.
    fn note(&self, took: Duration) {
        let took = nanoseconds(if took < INTERRUPTED { took.min(2 * LONG) } else { took });
        let usual = self.usual.load(Ordering::Relaxed);
        // Some loss between threads does not matter.
        self.usual.store(usual - usual / 8 + took / 8, Ordering::Relaxed);
    }

    /// Evaluates on a thread that may be blocked.
    ///
    /// The engine looks at the clock between its steps, but a single step can take long: comparing two huge values,
    /// multiplying two huge numbers. Such an evaluation is given up, not stopped; while it runs on, the policy is not
    /// evaluated again. That is so also if the caller has gone: whoever asks and goes away at once must not get more
    /// threads than others.
    /// Waiting for a thread is not the policy's doing: its own time begins when there is one.
    async fn elsewhere(&self, input: Value, deadline: Option<Instant>) -> Outcome {
        let given_up = || Failure::undecidable(TIME_OVER, "the policy was given up");
        if self.runaways.load(Ordering::Relaxed) >= MAX_RUNAWAYS
            || self.runaways_of_rule.load(Ordering::Relaxed) >= MAX_RUNAWAYS_OF_RULE
        {
            return Err(Failure::undecidable(LIMIT, "an earlier evaluation of the policy does not come to an end"));
        }
        let slots = if self.policy.uses_network() { &WAITING } else { &COMPUTING };
        let Ok(Ok(slot)) = tokio::time::timeout(QUEUE_TIME, slots.acquire()).await else {
            return Err(Failure::undecidable(TIME_OVER, "no thread was free for the policy"));
        };
        let Some(left) = self.limit(deadline) else {
            return Err(no_time_left());
        };
        let policy = Arc::clone(&self.policy);
        let runaways = [&self.runaways, &self.runaways_of_rule].map(Arc::clone);
        let watched = tokio::spawn(async move {
            let _slot = slot;
            let mut task = tokio::task::spawn_blocking(move || timed(&policy, input, left));
            match tokio::time::timeout(left + GRACE, &mut task).await {
                Ok(ended) => Some(ended),
                Err(_) => {
                    run_on(task, runaways);
                    None
                }
            }
        });
        match watched.await {
            Ok(Some(Ok((outcome, took)))) => {
                self.note(took);
                outcome
            }
            Ok(Some(Err(error))) | Err(error) => {
                Err(Failure::undecidable("policy evaluation broke", error.to_string()))
            }
            Ok(None) => {
                self.is_suspect.store(true, Ordering::Relaxed);
                Err(given_up())
            }
        }
    }
}

/// Counts an evaluation that was given up until it ends.
fn run_on<T: Send + 'static>(task: tokio::task::JoinHandle<T>, runaways: [Arc<AtomicUsize>; 2]) {
    tracing::warn!("a policy does not come to an end and is not evaluated until it does");
    for runaways in &runaways {
        runaways.fetch_add(1, Ordering::Relaxed);
    }
    tokio::spawn(async move {
        let _ = task.await;
        for runaways in &runaways {
            runaways.fetch_sub(1, Ordering::Relaxed);
        }
    });
}

/// As many evaluations compute at a time as there are processors, and a few for those that were given up.
static COMPUTING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(4, |processors| processors.get() + 2)));
static WAITING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(NETWORK_SLOTS));

fn no_time_left() -> Failure {
    Failure::undecidable(TIME_OVER, "no time is left for the policy")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn timed(policy: &Policy, input: Value, limit: Duration) -> (Outcome, Duration) {
    let started = Instant::now();
    let outcome = policy.evaluate(input, limit);
    (outcome, started.elapsed())
}

/// `http.send` with the client for everything outbound.
struct Outbound(Client);

impl std::fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Outbound")
    }
}

impl HttpSend for Outbound {
    fn send(&self, request: Request) -> Result<Response, &'static str> {
        // Policies with `http.send` are evaluated on threads of the runtime that may be blocked.
        let runtime = Handle::try_current().map_err(|_| "no network")?;
        runtime.block_on(self.0.fetch(request)).map_err(|error| {
            tracing::debug!(error = %error, "http.send failed");
            error.reason()
        })
    }
}

#[cfg(test)]
#[path = "opa/evaluator_tests.rs"]
mod tests;
