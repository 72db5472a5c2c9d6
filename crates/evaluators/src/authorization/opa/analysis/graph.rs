//! Which rule or function leads to which, and what piles up on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::{PolicyError, visit::Path};

/// The most stack that an evaluation may take, in units of about one kilobyte; a worker thread has two megabytes.
const MAX_STACK: usize = 700;
/// Stack units of entering a rule or a function, measured: 3 to 5 kB.
pub(super) const RULE_FRAMES: usize = 8;
/// The deepest nesting of values that the rules of a policy can build; the engine compares and frees values
/// recursively, and overflows a worker's stack at some 6,000.
const MAX_BUILT_DEPTH: usize = 1000;
/// The most multiplications on one way through the policy: each can double the digits of a number, and products of
/// millions of digits take seconds that nothing can interrupt.
const MAX_FACTORS: usize = 14;

/// `data.PACKAGE.x.y` as `x.y`.
pub(super) fn within_package<'a>(path: &'a [String], package: &[String]) -> Option<&'a [String]> {
    let (root, rest) = path.split_first()?;
    (root == "data").then(|| rest.strip_prefix(package)).flatten()
}

/// What adds up along the ways through a policy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) stack: usize,
    pub(super) depth: usize,
    pub(super) factors: usize,
}

/// Which rule or function leads to which.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    declared: Vec<Vec<String>>,
}

#[derive(Debug, Default)]
struct Node {
    weight: Weight,
    /// Rules that are read: computed once, so every one counts once.
    reads: BTreeSet<String>,
    /// Functions that are called: computed for every call.
    calls: Vec<String>,
    sum: Option<Weight>,
    is_open: bool,
}

impl Graph {
    pub(super) fn declare(&mut self, head: &[String]) {
        if !self.declared.iter().any(|known| known == head) {
            self.declared.push(head.to_vec());
        }
        self.nodes.entry(head.join(".")).or_default();
    }

    pub(super) fn is_declared(&self, root: &str) -> bool {
        self.declared.iter().any(|known| known.first().is_some_and(|first| first == root))
    }

    /// A rule reads everything whose name is a part of the reference or has the reference as a part.
    pub(super) fn read(&mut self, from: &[String], path: &Path, package: &[String]) {
        let target: &[String] = match within_package(&path.fixed, package) {
            Some(local) => local,
            None if path.root() == "data" && package.starts_with(path.fixed.get(1..).unwrap_or_default()) => &[],
            None => &path.fixed,
        };
        let read: Vec<String> = self
            .declared
            .iter()
            .filter(|known| known.starts_with(target) || target.starts_with(known))
            .map(|known| known.join("."))
            .collect();
        self.nodes.entry(from.join(".")).or_default().reads.extend(read);
    }

    pub(super) fn call(&mut self, from: &[String], function: &str) {
        self.call_from(&from.join("."), function);
    }

    pub(super) fn call_from(&mut self, from: &str, function: &str) {
        self.nodes.entry(from.to_owned()).or_default().calls.push(function.to_owned());
    }

    /// Rules of one name are alternatives or parts of one value: the deepest counts.
    pub(super) fn weigh(&mut self, head: &[String], weight: Weight) {
        let node = self.nodes.entry(head.join(".")).or_default();
        node.weight.stack = node.weight.stack.max(weight.stack);
        node.weight.depth = node.weight.depth.max(weight.depth);
        node.weight.factors = node.weight.factors.max(weight.factors);
    }

    pub(super) fn check(&mut self) -> Result<(), PolicyError> {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let sum = self.sum(&name, &mut Vec::new())?;
            if sum.stack > MAX_STACK {
                return Err(PolicyError::new(format!("rule `{name}` leads through too many rules and expressions")));
            }
            if sum.depth > MAX_BUILT_DEPTH {
                return Err(PolicyError::new(format!("rule `{name}` can build values that are nested too deeply")));
            }
            if sum.factors > MAX_FACTORS {
                return Err(PolicyError::new(format!(
                    "rule `{name}` leads through more than {MAX_FACTORS} multiplications"
                )));
            }
        }
        Ok(())
    }

    /// Adds up the weights below a rule; refuses recursion. The depth of this recursion is bounded, because what is
    /// too deep is refused on the way.
    fn sum(&mut self, name: &str, way: &mut Vec<String>) -> Result<Weight, PolicyError> {
        let Some(node) = self.nodes.get_mut(name) else { return Ok(Weight::default()) };
        if let Some(sum) = node.sum {
            return Ok(sum);
        }
        if node.is_open {
            let start = way.iter().position(|known| known == name).unwrap_or(0);
            let cycle = way.iter().skip(start).map(String::as_str).chain([name]).collect::<Vec<_>>().join(" -> ");
            return Err(PolicyError::new(format!("rego_recursion_error: rule `{name}` is recursive: {cycle}")));
        }
        if way.len() > MAX_STACK {
            return Err(PolicyError::new(format!("rule `{name}` is reached through too many rules")));
        }
        node.is_open = true;
        let (reads, calls, own) = (node.reads.clone(), node.calls.clone(), node.weight);
        way.push(name.to_owned());
        let mut below = Weight::default();
        for read in &reads {
            let weight = self.sum(read, way)?;
            below.stack = below.stack.max(weight.stack);
            below.depth = below.depth.max(weight.depth);
            below.factors = below.factors.max(weight.factors);
        }
        let mut called = Weight::default();
        for call in &calls {
            let weight = self.sum(call, way)?;
            below.stack = below.stack.max(weight.stack);
            called.depth = called.depth.saturating_add(weight.depth);
            called.factors = called.factors.saturating_add(weight.factors);
        }
        way.pop();
        let sum = Weight {
            stack: own.stack.saturating_add(below.stack),
            depth: own.depth.saturating_add(called.depth).saturating_add(below.depth),
            factors: own.factors.saturating_add(called.factors).saturating_add(below.factors),
        };
        if let Some(node) = self.nodes.get_mut(name) {
            node.is_open = false;
            node.sum = Some(sum);
        }
        Ok(sum)
    }
}
