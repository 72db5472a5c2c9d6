//! One AuthorizationPolicy to what runs, collecting everything that is wrong.

use std::collections::BTreeSet;

use usher_api::{AuthorizationPolicy, FailurePolicy, NamedExpression, PolicyRule, Problem};
use usher_expr::{
    ParseError, References,
    cel::{Environment, Output, Program},
};

use crate::{envoy, jwt};

/// Libraries of the plugin that are not built, by what their functions or variables begin with.
const NOT_BUILT: [&str; 17] = [
    "base64", "cel", "cidr", "google", "http", "image", "ip", "json", "jwk", "jwks", "lists", "math", "mcp", "proto",
    "resource", "sets", "url",
];

/// A policy, ready to run.
#[derive(Debug)]
pub struct CompiledPolicy {
    pub(crate) name: String,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) environment: Environment,
    /// All must hold. By name.
    pub(crate) conditions: Vec<(String, Program)>,
    pub(crate) deny: Vec<Rule>,
    pub(crate) allow: Vec<Rule>,
}

/// A rule, ready to run.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Where it stands, such as `spec.deny[0]`.
    pub(crate) at: String,
    /// Matches every request without it.
    pub(crate) matches: Option<Program>,
    pub(crate) response: Program,
}

impl CompiledPolicy {
    /// The parts of the check request that it reads, below `object`, with the fields that read them. What an answer
    /// sets or removes is not read.
    pub fn references(&self) -> impl Iterator<Item = (String, References)> {
        let conditions =
            self.conditions.iter().enumerate().map(|(index, (_, program))| {
                (format!("spec.matchConditions[{index}].expression"), program.references())
            });
        let variables = self.environment.references().enumerate();
        let variables = variables.map(|(index, read)| (format!("spec.variables[{index}].expression"), read));
        let rules = self.deny.iter().chain(&self.allow).flat_map(|Rule { at, matches, response }| {
            let matches = matches.as_ref().map(|program| (format!("{at}.match"), program.references()));
            matches.into_iter().chain([(format!("{at}.response"), response.references())])
        });
        conditions.chain(variables).chain(rules)
    }
}

/// Compiles a policy.
///
/// # Errors
/// All problems of the policy, each with the path of its field.
pub fn compile(policy: &AuthorizationPolicy) -> Result<CompiledPolicy, Vec<Problem>> {
    let spec = &policy.spec;
    let mut problems = Problems::default();
    let mut environment = Environment::new(&["object"], "variables", &[&envoy::LIBRARY, &jwt::LIBRARY]);
    // Before the variables: conditions cannot use them.
    let conditions = conditions(&spec.match_conditions, &environment, &mut problems);
    for (index, NamedExpression { name, expression }) in spec.variables.iter().enumerate() {
        let defined = environment.define(name, expression);
        problems.take(format!("spec.variables[{index}].expression"), defined);
    }
    let deny = rules(&spec.deny, "spec.deny", &environment, &mut problems);
    let allow = rules(&spec.allow, "spec.allow", &environment, &mut problems);
    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    let failure_policy = spec.failure_policy.unwrap_or_default();
    Ok(CompiledPolicy { name: policy.metadata.name.clone(), failure_policy, environment, conditions, deny, allow })
}

fn conditions(list: &[NamedExpression], environment: &Environment, problems: &mut Problems) -> Vec<(String, Program)> {
    let mut names = BTreeSet::new();
    let mut compiled = Vec::new();
    for (index, NamedExpression { name, expression }) in list.iter().enumerate() {
        if !names.insert(name) {
            problems.add(format!("spec.matchConditions[{index}].name"), format!("`{name}` is the name of another one"));
        }
        let program = environment.program(expression, Output::Boolean);
        if let Some(program) = problems.take(format!("spec.matchConditions[{index}].expression"), program) {
            compiled.push((name.clone(), program));
        }
    }
    compiled
}

fn rules(list: &[PolicyRule], at: &str, environment: &Environment, problems: &mut Problems) -> Vec<Rule> {
    let mut compiled = Vec::new();
    for (index, PolicyRule { matches, response }) in list.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let matches = matches.as_ref().filter(|source| !source.is_empty()).map(|source| {
            let program = environment.program(source, Output::Boolean);
            problems.take(format!("{at}.match"), program)
        });
        let response = environment.program(response, Output::Object(envoy::CHECK_RESPONSE));
        let response = problems.take(format!("{at}.response"), response);
        // A rule without its condition would match everything; the policy is refused anyway.
        if let (None | Some(Some(_)), Some(response)) = (&matches, response) {
            compiled.push(Rule { at, matches: matches.flatten(), response });
        }
    }
    compiled
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: String, message: String) {
        self.0.push(Problem { path, line: None, message });
    }

    fn take<T>(&mut self, path: String, result: Result<T, ParseError>) -> Option<T> {
        result.map_err(|error| self.add(path, with_library(error.message))).ok()
    }
}

/// Says which library is missing, where that is what is wrong.
fn with_library(message: String) -> String {
    let is_missing = |name: &&str| {
        [format!("undeclared reference to '{name}'"), format!("undeclared reference to '{name}.")]
            .iter()
            .any(|text| message.contains(text.as_str()))
    };
    match NOT_BUILT.iter().find(|name| is_missing(name)) {
        Some(name) => format!("{message}\nthe library `{name}` is not supported"),
        None => message,
    }
}
