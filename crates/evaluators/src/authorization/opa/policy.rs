//! A policy that was compiled: immutable, shared, evaluated any number of times.
//!
//! ```text
//!  text ──► tokens are checked ──► module ──► parsed ──► tree is checked ──► prepared, run once on nothing ──► Policy
//! ```

use std::{
    fmt::{self, Display},
    num::NonZeroU32,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use regorus::{Engine, LimitError, Value, utils::limits::ExecutionTimerConfig};
use serde_json::{Value as Json, json};
pub(super) use usher_api::RegoVersion;
use usher_engine::{Failure, Outcome};

use super::{
    analysis::{self, Edit, Facts},
    budget::{self, Exhausted},
    builtins::{self, http::HttpSend},
    parts::Parts,
    source, values,
};

/// How long compiling may take; a text that passed the checks takes a few hundred milliseconds at the very most.
const COMPILE_TIME: Duration = Duration::from_secs(5);
/// How long the evaluation on nothing may take.
const TRIAL_TIME: Duration = Duration::from_secs(1);
/// Stack of the thread that compiles: the tree of a long sum is as deep as the sum is long. Pages that are not touched
/// cost nothing.
const COMPILE_STACK: usize = 256 << 20;
/// Steps of the engine between two looks at the clock.
const CLOCK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);

/// The reason of a denial by the policy.
const UNAUTHORIZED: &str = "Unauthorized";
/// The reason when a limit was hit.
pub(super) const LIMIT: &str = "policy evaluation hit a limit";
/// The reason when the time is over.
pub(super) const TIME_OVER: &str = "policy evaluation timed out";

/// A compiled policy.
pub(super) struct Policy {
    engine: Engine,
    /// Where the rules are found in the data that the engine answers with.
    package: Vec<String>,
    /// The rules whose values are wanted besides that of `allow`.
    names: Option<Vec<String>>,
    parts: Parts,
    uses_network: bool,
    growth: usize,
    allowed: Arc<Json>,
}

impl Policy {
    /// Compiles a policy. The second value are warnings: what works, but probably not as meant.
    pub(super) fn compile(
        rego: &str,
        version: RegoVersion,
        all_values: bool,
        http: Option<Arc<dyn HttpSend>>,
    ) -> Result<(Self, Vec<String>), PolicyError> {
        // The length is checked first: it bounds everything that follows.
        let module = source::module(rego, version)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let compile = move || {
            // Nobody listens any more when the time is over.
            let _ = sender.send(compile(module, version, all_values, http));
        };
        thread::Builder::new()
            .name("rego-compile".to_owned())
            .stack_size(COMPILE_STACK)
            .spawn(compile)
            .map_err(|error| PolicyError::new(format!("no thread to compile the policy: {error}")))?;
        match receiver.recv_timeout(COMPILE_TIME) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(PolicyError::new("the policy takes too long to compile")),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(PolicyError::new("the policy cannot be compiled")),
        }
    }

    /// The parts of the input that the policy can see.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether an evaluation may wait for the network.
    pub(super) fn uses_network(&self) -> bool {
        self.uses_network
    }

    /// How many of its constructs can make large values or take long.
    pub(super) fn growth(&self) -> usize {
        self.growth
    }

    /// Decides. Blocks the thread, for `limit` at most; some single steps of the engine can take longer.
    ///
    /// The value is an object with `allow` and, if so configured, the values of all other rules.
    pub(super) fn evaluate(&self, input: Value, limit: Duration) -> Outcome {
        let started = Instant::now();
        let mut engine = self.engine.clone();
        engine.set_input(input);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: CLOCK_INTERVAL });
        let (result, exhausted) = budget::run(limit, self.uses_network, || engine.eval_modules(false));
        if let Some(Exhausted(what)) = exhausted {
            return Err(Failure::undecidable(LIMIT, what));
        }
        // A function that fails for want of time can be covered up by its alternatives.
        if started.elapsed() >= limit {
            return Err(time_over(limit));
        }
        match result {
            Ok(data) => self.decide(&data),
            Err(error) if is_time_over(&error) => Err(time_over(limit)),
            Err(error) => {
                tracing::debug!(error = %error, "policy evaluation failed");
                Err(Failure::denied(stable(&error)))
            }
        }
    }

    fn decide(&self, data: &Value) -> Outcome {
        let rules = self.package.iter().try_fold(data, |value, name| member(value, name));
        let rule = |name: &str| rules.and_then(|rules| member(rules, name));
        if rule("allow") != Some(&Value::Bool(true)) {
            return Err(Failure::denied(UNAUTHORIZED));
        }
        let Some(names) = &self.names else { return Ok(Arc::clone(&self.allowed)) };
        let too_large = || Failure::undecidable(LIMIT, "the values of the rules are too large");
        // As one value, so that there is one limit.
        let values = names.iter().map(|name| (Value::from(name.as_str()), rule(name).cloned().unwrap_or(Value::Null)));
        let values = Value::from(values.collect::<std::collections::BTreeMap<_, _>>());
        values::to_json(&values).map(Arc::new).ok_or_else(too_large)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may contain secrets.
        formatter.debug_struct("Policy").field("uses_network", &self.uses_network).finish_non_exhaustive()
    }
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(&Value::from(name)),
        _ => None,
    }
}

fn compile(
    module: String,
    version: RegoVersion,
    all_values: bool,
    http: Option<Arc<dyn HttpSend>>,
) -> Result<(Policy, Vec<String>), PolicyError> {
    let (mut engine, mut facts) = parse(module.clone(), version)?;
    if !facts.edits.is_empty() {
        let edited = edit(&module, std::mem::take(&mut facts.edits))?;
        (engine, facts) = parse(edited, version)?;
    }

    for name in &facts.builtins {
        if name == "http.send" && http.is_none() {
            return Err(PolicyError::new("rego function `http.send` is not supported"));
        }
        if let Some((arity, extension)) = builtins::extension(name, http.as_ref()) {
            engine.add_extension(name.to_owned(), arity, extension).map_err(|error| PolicyError::compile(&error))?;
        }
    }
    let package = engine
        .get_policy_package_components()
        .ok()
        .and_then(|packages| packages.into_iter().next())
        .map(|package| package.components)
        .ok_or_else(|| PolicyError::new("the policy has no package"))?;
    prepare(&mut engine)?;
    let warnings = try_out(&mut engine)?;
    let policy = Policy {
        engine,
        package,
        names: all_values.then_some(facts.names),
        parts: facts.parts,
        uses_network: facts.builtins.contains("http.send"),
        growth: facts.growth,
        allowed: Arc::new(json!({"allow": true})),
    };
    Ok((policy, warnings))
}

fn parse(module: String, version: RegoVersion) -> Result<(Engine, Facts), PolicyError> {
    let mut engine = Engine::new();
    engine.set_rego_v0(version == RegoVersion::V0);
    engine.set_policy_length_config(source::length_limits());
    engine.set_strict_builtin_errors(false);
    // Otherwise `print` writes to standard error.
    engine.set_gather_prints(true);
    engine.add_policy(source::FILE.to_owned(), module).map_err(|error| PolicyError::parse(&error))?;
    if version == RegoVersion::V0 {
        // The tokens were looked at already; this is what the parser made of them.
        for keyword in ["if", "in", "every", "contains"] {
            if engine.has_declared_rule_rooted_at(source::FILE, keyword).unwrap_or(false) {
                return Err(PolicyError::new(format!("rego_parse_error: `{keyword}` cannot be the name of a rule")));
            }
        }
    }
    let facts = match engine.get_modules().first() {
        Some(module) => analysis::analyze(module)?,
        None => return Err(PolicyError::new("the policy has no module")),
    };
    Ok((engine, facts))
}

fn edit(module: &str, mut edits: Vec<Edit>) -> Result<String, PolicyError> {
    let broken = || PolicyError::new("rego_type_error: calls with an argument for the result are nested");
    edits.sort_by_key(|edit| edit.range.start);
    let mut text = String::with_capacity(module.len() + 16 * edits.len());
    let mut at = 0;
    for edit in edits {
        text.push_str(module.get(at..edit.range.start).ok_or_else(broken)?);
        text.push_str(&edit.text);
        at = edit.range.end;
    }
    text.push_str(module.get(at..).ok_or_else(broken)?);
    Ok(text)
}

/// Has the engine order the statements, which finds variables that are never given a value.
fn prepare(engine: &mut Engine) -> Result<(), PolicyError> {
    const NO_SUCH_RULE: &str = "not a valid rule path";
    match engine.eval_rule(String::new()) {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains(NO_SUCH_RULE) => Ok(()),
        Err(error) => Err(PolicyError::compile(&error)),
    }
}

/// Runs the policy on an empty input, without a network. What goes wrong here for want of an input is not an error.
fn try_out(engine: &mut Engine) -> Result<Vec<String>, PolicyError> {
    engine.set_input(Value::new_object());
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: TRIAL_TIME, check_interval: CLOCK_INTERVAL });
    let (result, exhausted) = budget::run(TRIAL_TIME, false, || engine.eval_modules(false).map(drop));
    // What was printed has no reader.
    let _ = engine.take_prints();
    if let Some(Exhausted(what)) = exhausted {
        return Err(PolicyError::new(format!("the policy cannot be evaluated: {what}")));
    }
    match result {
        Ok(()) => Ok(Vec::new()),
        Err(error) if is_time_over(&error) => {
            Err(PolicyError::new("the policy takes too long to evaluate, even on an empty input"))
        }
        Err(error) => {
            let error = PolicyError::compile(&error);
            if ["recursion", "could not find function", "unsafe", "cyclic"]
                .iter()
                .any(|part| error.message.contains(part))
            {
                return Err(error);
            }
            Ok(vec![format!("on an empty input the policy fails: {error}")])
        }
    }
}

fn is_time_over(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. }))
        || error.to_string().contains("execution exceeded time limit")
}

fn time_over(limit: Duration) -> Failure {
    Failure::undecidable(TIME_OVER, format!("the policy was not evaluated within {limit:?}"))
}

/// What callers may know about an error of the engine, whose own texts quote the policy.
fn stable(error: &anyhow::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("functions must not produce multiple outputs")
        || text.contains("function produced multiple outputs")
    {
        "eval_conflict_error: functions must not produce multiple outputs for same inputs"
    } else if text.contains("produce multiple outputs") || text.contains("conflicts with rule") {
        "eval_conflict_error: complete rules must not produce multiple outputs"
    } else {
        "policy evaluation failed"
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyError {
    message: String,
}

impl PolicyError {
    /// A policy is refused as a whole.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// A line of a policy cannot be read.
    pub(super) fn at(line: u32, message: impl Display) -> Self {
        Self::named("rego_parse_error", line, message)
    }

    /// A line of a policy is refused; errors are named as OPA names them.
    pub(super) fn named(name: &str, line: u32, message: impl Display) -> Self {
        Self::new(format!("{name}: {message} (line {line})"))
    }

    /// The parser refuses the policy.
    pub(super) fn parse(error: &anyhow::Error) -> Self {
        Self::from_engine("rego_parse_error", error)
    }

    /// The engine refuses the policy after it was parsed.
    pub(super) fn compile(error: &anyhow::Error) -> Self {
        Self::from_engine("rego_compile_error", error)
    }

    /// Errors of the engine show the place with a picture of the line: only what and where are kept.
    fn from_engine(name: &str, error: &anyhow::Error) -> Self {
        let text = error.to_string();
        let what = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).or(text.lines().last());
        let what = what.unwrap_or("unknown error").split(" (path ").next().unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("--> "))
            .and_then(|place| place.split(':').nth(1))
            .and_then(|line| line.parse().ok());
        match line {
            Some(line) => Self::named(name, line, what),
            None => Self::new(format!("{name}: {what}")),
        }
    }
}

impl Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "isolation_tests.rs"]
mod isolation_tests;
