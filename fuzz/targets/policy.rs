//! AuthorizationPolicies: read, compiled, and asked about a request.
//!
//! Input: documents in YAML, or lines of which one policy is made:
//!
//! ```text
//! ignore                                           an error leaves the policy out
//! condition object.attributes.request.http.method == "GET"
//! variable role object.attributes.request.http.headers[?"x-role"].orValue("")
//! deny variables.role == "" => envoy.Denied(401).Response()
//! allow => envoy.Allowed().WithHeader("x-a", variables.role).Response()
//! ```

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use usher_api::{
    AuthorizationPolicy, AuthorizationPolicySpec, Document, FailurePolicy, NamedExpression, ObjectMeta, PolicyRule,
    Problem, read_documents,
};
use usher_compile::Compiler;
use usher_engine::{Plan, Verdict, plan::PlanKind};
use usher_policy::{CompiledPolicy, Policies};

fuzz_target!(|text: &str| {
    if text.contains("kind") {
        for document in read_documents(text) {
            if let Document::AuthorizationPolicy(document) = document {
                match &document.result {
                    Ok(policy) => run(policy),
                    Err(problems) => are_told(problems),
                }
            }
        }
    } else {
        run(&from_lines(text));
    }
});

fn run(policy: &AuthorizationPolicy) {
    let compiled = match usher_policy::compile(policy) {
        Ok(compiled) => Arc::new(compiled),
        Err(problems) => return are_told(&problems),
    };
    WORLD.with(|world| {
        let verdict = world.decide(vec![Arc::clone(&compiled)]);
        // Nobody is let in but by a rule that allows, nor past one that denies.
        assert!(!verdict.is_allowed() || !policy.spec.allow.is_empty());
        assert!(!world.decide(vec![Arc::clone(&compiled), Arc::clone(&DENY)]).is_allowed());
        // Another policy that allows takes nothing away from one that denies or fails.
        if let (Verdict::Undecidable(_), [], []) =
            (&verdict, policy.spec.allow.as_slice(), policy.spec.match_conditions.as_slice())
        {
            assert!(!world.decide(vec![compiled, Arc::clone(&ALLOW)]).is_allowed());
        }
    });
}

static DENY: LazyLock<Arc<CompiledPolicy>> = LazyLock::new(|| good("deny => envoy.Denied(403).Response()"));
static ALLOW: LazyLock<Arc<CompiledPolicy>> = LazyLock::new(|| good("allow => envoy.Allowed().Response()"));

fn good(text: &str) -> Arc<CompiledPolicy> {
    Arc::new(usher_policy::compile(&from_lines(text)).expect("a good policy"))
}

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    compiler: Compiler,
}

impl World {
    fn new() -> Self {
        let world = Self { runtime: usher_fuzz::runtime(), compiler: usher_fuzz::compiler(false) };
        assert!(world.decide(vec![Arc::clone(&ALLOW)]).is_allowed());
        world
    }

    fn decide(&self, policies: Vec<Arc<CompiledPolicy>>) -> Verdict {
        let name = Arc::from("policies");
        let meters = self.compiler.metrics.plan(&name, &name);
        let kind = PlanKind::Policy(Box::new(Policies::new(policies)));
        let plan = Plan { namespace: Arc::clone(&name), name, kind, meters };
        usher_fuzz::decide(&self.runtime, &plan, &usher_fuzz::REQUEST)
    }
}

fn from_lines(text: &str) -> AuthorizationPolicy {
    let mut spec = AuthorizationPolicySpec::default();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ignore" => spec.failure_policy = Some(FailurePolicy::Ignore),
            "condition" => {
                let name = format!("c{}", spec.match_conditions.len());
                spec.match_conditions.push(NamedExpression { name, expression: rest.to_owned() });
            }
            "variable" => {
                let (name, expression) = rest.split_once(' ').unwrap_or((rest, ""));
                spec.variables.push(NamedExpression { name: name.to_owned(), expression: expression.to_owned() });
            }
            "deny" | "allow" => {
                let (matches, response) = rest.rsplit_once("=> ").unwrap_or(("", rest));
                let matches = (!matches.is_empty()).then(|| matches.to_owned());
                let rules = if word == "deny" { &mut spec.deny } else { &mut spec.allow };
                rules.push(PolicyRule { matches, response: response.to_owned() });
            }
            _ => {}
        }
    }
    let metadata = ObjectMeta { name: "p".to_owned(), ..ObjectMeta::default() };
    AuthorizationPolicy { metadata, spec }
}

/// What is refused is refused with reasons.
fn are_told(problems: &[Problem]) {
    assert!(!problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
}
