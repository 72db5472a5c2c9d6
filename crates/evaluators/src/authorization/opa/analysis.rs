//! What the syntax tree of a policy tells before the policy is run for the first time.
//!
//! The engine finds unknown functions only when it comes to them, and neither recursion of functions nor values that
//! nest without end at all: both end in an overflow of the stack, which no guard at run time can catch. So the rules
//! and functions are taken as a graph, and everything that can pile up along its paths is bounded here:
//!
//! ```text
//!   rule a ──reads──► rule b ──calls──► function f ──calls──► function g
//!        frames of the stack, brackets around values, factors of products
//! ```

mod graph;
mod visit;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use regorus::unstable::{Module, Rule, RuleHead};

use super::{builtins, parts::Parts, policy::PolicyError};
use graph::{Graph, RULE_FRAMES, Weight, within_package};
use visit::{Call, Visit, path};

/// The most rules, alternatives counted: the graph is looked at rule by rule.
const MAX_RULES: usize = 2000;

/// What is known about a policy without running it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The built-in functions that it calls.
    pub(super) builtins: BTreeSet<String>,
    /// The parts of the input that it can see.
    pub(super) parts: Parts,
    /// The first components of the names of its rules and functions, in the order of the text.
    pub(super) names: Vec<String>,
    /// How many constructs can make large values: comprehensions, loops, lists, products, growing functions.
    pub(super) growth: usize,
    /// What is to be written differently, because the engine understands it differently.
    pub(super) edits: Vec<Edit>,
}

/// A change of the text, in bytes of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// What is replaced; empty for an insertion.
    pub(super) range: Range<usize>,
    /// By what.
    pub(super) text: String,
}

/// Looks at a module.
pub(super) fn analyze(module: &Module) -> Result<Facts, PolicyError> {
    let package = path(&module.package.refr).map(|path| path.fixed).unwrap_or_default();
    let aliases = aliases(module);
    let mut facts = Facts::default();
    let mut graph = Graph::default();
    let mut functions: BTreeMap<String, usize> = BTreeMap::new();
    let mut visits = Vec::new();
    let mut defaults = BTreeSet::new();

    if module.policy.len() > MAX_RULES {
        return Err(PolicyError::new(format!("the policy has {} rules, more than {MAX_RULES}", module.policy.len())));
    }
    for rule in &module.policy {
        let (head, arity) = head(rule, module.rego_v1)?;
        if matches!(rule.as_ref(), Rule::Default { .. }) && !defaults.insert(head.clone()) {
            return Err(PolicyError::named(
                "rego_type_error",
                rule.span().line,
                format_args!("multiple default rules `{}`", head.join(".")),
            ));
        }
        if let Some(root) = head.first()
            && !facts.names.contains(root)
        {
            facts.names.push(root.clone());
        }
        if let Some(arity) = arity {
            functions.insert(head.join("."), arity);
        }
        graph.declare(&head);
        let mut visit = Visit::default();
        let stack = visit.rule(rule);
        visits.push((head, stack, visit));
    }
    for (head, stack, visit) in visits {
        facts.growth += visit.growth;
        // Also where the name seems to be a local one: it may be that only in a part of the rule.
        for read in visit.reads.iter().chain(&visit.replaced) {
            note_input(&read.fixed, &aliases, &mut facts.parts);
        }
        for read in visit.reads.iter().filter(|read| !visit.locals.contains(read.root())) {
            // What an import brings in is only ever input: there is no other data.
            if !aliases.contains_key(read.root()) || graph.is_declared(read.root()) {
                graph.read(&head, read, &package);
            }
        }
        for call in &visit.calls {
            let name = resolve(call, &aliases, &package);
            if let Some(arity) = functions.get(&name) {
                check_arity(call, &name, *arity)?;
                graph.call(&head, &name);
            } else if let Some(arity) = builtins::arity(&name) {
                check_builtin_arity(call, &name, arity, &mut facts)?;
                if builtins::grows(&name) {
                    facts.growth += 1;
                }
                graph.call(&head, &name);
                facts.builtins.insert(name);
            } else {
                return Err(unknown_function(call, &name));
            }
        }
        for (target, replacement) in &visit.replacements {
            let replacement = resolve_path(replacement, &aliases, &package);
            if functions.contains_key(&replacement) || builtins::arity(&replacement).is_some() {
                // The replacement is called wherever the target would have been.
                graph.call(&head, &replacement);
                graph.call_from(&resolve_path(target, &aliases, &package), &replacement);
                if !functions.contains_key(&replacement) {
                    facts.builtins.insert(replacement);
                }
            }
        }
        graph.weigh(&head, Weight { stack: stack + RULE_FRAMES, depth: visit.built, factors: visit.factors });
    }
    graph.check()?;
    facts.edits.extend(heads_with_loops(module));
    Ok(facts)
}

fn unknown_function(call: &Call, name: &str) -> PolicyError {
    if builtins::is_missing(name) {
        PolicyError::at(call.line, format_args!("rego function `{name}` is not supported"))
    } else {
        PolicyError::named("rego_type_error", call.line, format_args!("undefined function `{name}`"))
    }
}

fn check_arity(call: &Call, name: &str, arity: usize) -> Result<(), PolicyError> {
    if call.arguments == arity || call.arguments == arity + 1 {
        return Ok(());
    }
    Err(PolicyError::named(
        "rego_type_error",
        call.line,
        format_args!("`{name}` takes {arity} arguments, not {}", call.arguments),
    ))
}

fn check_builtin_arity(call: &Call, name: &str, arity: usize, facts: &mut Facts) -> Result<(), PolicyError> {
    if name == "print" {
        return Ok(());
    }
    check_arity(call, name, arity)?;
    if call.arguments == arity + 1 && builtins::is_ours(name) {
        match &call.result_in_front {
            Some(edits) => facts.edits.extend_from_slice(edits),
            None => {
                return Err(PolicyError::named(
                    "rego_type_error",
                    call.line,
                    format_args!("`{name}` takes {arity} arguments, not {}", call.arguments),
                ));
            }
        }
    }
    Ok(())
}

/// The fixed path of a rule's head, and the number of arguments if it is a function.
///
/// A rule without a body and without a value is refused: it says "true, always", and nobody who means that writes it
/// so. Together with the check of the keywords it keeps misread heads from allowing everything.
fn head(rule: &Rule, rego_v1: bool) -> Result<(Vec<String>, Option<usize>), PolicyError> {
    let unconditional = |line: u32, name: &str| {
        PolicyError::named("rego_parse_error", line, format_args!("rule `{name}` must have a body or a value"))
    };
    let (refr, arity, is_empty) = match rule {
        Rule::Default { refr, args, .. } => (refr, (!args.is_empty()).then_some(args.len()), false),
        Rule::Spec { head, bodies, .. } => match head {
            RuleHead::Compr { refr, assign, .. } => (refr, None, assign.is_none() && bodies.is_empty()),
            RuleHead::Func { refr, args, assign, .. } => {
                (refr, Some(args.len()), assign.is_none() && bodies.is_empty())
            }
            RuleHead::Set { refr, key, .. } => (refr, None, key.is_none() && bodies.is_empty()),
        },
    };
    let fixed = path(refr).map(|path| path.fixed).unwrap_or_default();
    if is_empty {
        return Err(unconditional(rule.span().line, &fixed.join(".")));
    }
    // Several bodies are alternatives. After `if` there is one, and what looks like a second is a mistake.
    if let Rule::Spec { bodies, .. } = rule
        && let Some((first, rest)) = bodies.split_first()
        && (rego_v1 || first.span.text().starts_with("if"))
        && rest.iter().any(|body| !body.is_else)
    {
        return Err(PolicyError::at(
            rule.span().line,
            format_args!("rule `{}` has several bodies after `if`", fixed.join(".")),
        ));
    }
    Ok((fixed, arity))
}

/// The names that imports bring in, with what they stand for.
fn aliases(module: &Module) -> BTreeMap<String, Vec<String>> {
    let mut aliases = BTreeMap::new();
    for import in &module.imports {
        let Some(path) = path(&import.refr) else { continue };
        let name = match &import.r#as {
            Some(alias) => Some(alias.text().to_owned()),
            None => path.fixed.last().cloned(),
        };
        if let Some(name) = name.filter(|_| matches!(path.root(), "input" | "data")) {
            aliases.insert(name, path.fixed);
        }
    }
    aliases
}

/// The name of the function that a call means: without the package of this module, with imports spelled out.
fn resolve(call: &Call, aliases: &BTreeMap<String, Vec<String>>, package: &[String]) -> String {
    resolve_path(&call.path, aliases, package)
}

fn resolve_path(path: &[String], aliases: &BTreeMap<String, Vec<String>>, package: &[String]) -> String {
    let spelled_out: Vec<String> = match path.split_first() {
        Some((root, rest)) => match aliases.get(root) {
            Some(import) => import.iter().chain(rest).cloned().collect(),
            None => path.to_vec(),
        },
        None => Vec::new(),
    };
    match within_package(&spelled_out, package) {
        Some(local) => local.join("."),
        None => spelled_out.join("."),
    }
}

/// Notes the part of the input that a reference sees, by its own name or by that of an import.
fn note_input(path: &[String], aliases: &BTreeMap<String, Vec<String>>, parts: &mut Parts) {
    let Some((root, rest)) = path.split_first() else { return };
    if root == "input" {
        parts.add(rest);
    }
    if let Some([document, import @ ..]) = aliases.get(root).map(Vec::as_slice)
        && document == "input"
    {
        parts.add(&[import, rest].concat());
    }
}

/// `x := a[_].b` as `x := value { value := a[_].b }`: the engine takes a loop over what does not exist for an error in
/// a head, and for nothing in a body.
fn heads_with_loops(module: &Module) -> Vec<Edit> {
    let contents = module.package.span.source.get_contents();
    let mut name = String::from("head_value");
    while contents.contains(&name) {
        name.push('_');
    }
    let keyword = if module.rego_v1 { "if " } else { "" };
    let mut edits = Vec::new();
    for (index, rule) in module.policy.iter().enumerate() {
        let Rule::Spec { head, bodies, .. } = rule.as_ref() else { continue };
        let (RuleHead::Compr { assign: Some(assign), .. } | RuleHead::Func { assign: Some(assign), .. }) = head else {
            continue;
        };
        let mut visit = Visit::default();
        visit.expression(&assign.value);
        if !bodies.is_empty() || visit.bare_loops == 0 {
            continue;
        }
        let next = module.policy.get(index + 1).map(|next| next.span().start);
        let end = next.map_or(Some(contents.len()), position);
        let (Some(operator), Some(end)) = (position(assign.span.start), end) else { continue };
        let length = if contents.get(operator..).is_some_and(|text| text.starts_with(":=")) { 2 } else { 1 };
        let start = operator + length;
        edits.push(Edit { range: start..start, text: format!(" {name} {keyword}{{ {name} := ") });
        // A comment in between ends with its line; so lines keep their numbers.
        edits.push(Edit { range: end..end, text: "} ".to_owned() });
    }
    edits
}

fn position(at: u32) -> Option<usize> {
    usize::try_from(at).ok()
}
