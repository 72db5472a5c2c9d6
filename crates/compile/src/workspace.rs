//! Everything that is configured, and what a change of it means for what is served.
//!
//! A workspace takes changes in, one batch at a time, and says which hosts lead where afterwards. It keeps the last
//! good plan of every AuthConfig: a text that does not compile replaces nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use usher_api::{AuthConfig, ObjectMeta, Secret};
use usher_engine::{Plan, host::HostPattern};
use usher_evaluators::{Problem, Problems};

use crate::{
    compile::{self, Compiled, Compiler, Refused},
    hosts::{Age, Claims},
};

/// Names an AuthConfig: namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthConfigId {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl AuthConfigId {
    /// The id of an object with this metadata.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self { namespace: metadata.namespace.as_str().into(), name: metadata.name.as_str().into() }
    }
}

impl std::fmt::Display for AuthConfigId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that is configured.
#[derive(Debug)]
pub struct Workspace {
    compiler: Compiler,
    configs: BTreeMap<AuthConfigId, Config>,
    claims: Claims<AuthConfigId>,
    seen: u64,
}

#[derive(Debug)]
struct Config {
    age: Age,
    hosts: Vec<HostPattern>,
    plan: Arc<Plan>,
    /// Whether the plan is one that compiled.
    good: bool,
}

/// What a batch of changes means.
#[derive(Debug, Default)]
pub struct Update {
    /// Where hosts lead now; `None`: nowhere. To be published at once.
    pub hosts: Vec<(HostPattern, Option<Arc<Plan>>)>,
    /// What became of each AuthConfig that changed.
    pub reports: Vec<Report>,
}

/// What became of an AuthConfig.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Which one.
    pub id: AuthConfigId,
    /// What is served.
    pub state: State,
    /// What is wrong with what was given last.
    pub problems: Vec<Problem>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Problem>,
    /// Hosts that belong to an older AuthConfig.
    pub loose_hosts: Vec<String>,
}

/// What is served of an AuthConfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What was given last.
    Current,
    /// An earlier version; what was given last does not compile.
    Earlier,
    /// Nothing: no version compiled yet, and its hosts answer *undecidable*.
    Nothing,
    /// It is gone.
    Gone,
}

/// Compiles. A panic refuses the one AuthConfig: it must not end the loop that takes in all of them.
fn guarded(hosts: &[String], compile: impl FnOnce() -> Result<Compiled, Refused>) -> Result<Compiled, Refused> {
    catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| {
        tracing::error!("compiling an AuthConfig panicked");
        let problem = Problem { path: "spec".to_owned(), message: "it cannot be compiled: internal error".to_owned() };
        Err(Refused { hosts: compile::hosts(hosts, &mut Problems::default()), problems: vec![problem] })
    })
}

impl Workspace {
    /// An empty workspace.
    #[must_use]
    pub fn new(compiler: Compiler, allow_superseding_host_subsets: bool) -> Self {
        let claims = Claims::new(allow_superseding_host_subsets);
        Self { compiler, configs: BTreeMap::new(), claims, seen: 0 }
    }

    /// Takes in an AuthConfig, new or changed.
    pub fn set_auth_config(&mut self, auth_config: &AuthConfig, update: &mut Update) {
        match guarded(&auth_config.spec.hosts, || self.compiler.compile(auth_config)) {
            Ok(compiled) => self.accept(&auth_config.metadata, compiled, update),
            Err(refused) => self.refuse(&auth_config.metadata, refused, update),
        }
    }

    /// Takes in an AuthConfig that could not even be read: only its name and, as far as they are readable, its hosts
    /// are known.
    pub fn set_unreadable_auth_config(
        &mut self,
        metadata: &ObjectMeta,
        hosts: &[String],
        problems: Vec<Problem>,
        update: &mut Update,
    ) {
        let hosts = compile::hosts(hosts, &mut Problems::default());
        self.refuse(metadata, Refused { hosts, problems }, update);
    }

    /// Takes an AuthConfig out.
    pub fn remove_auth_config(&mut self, id: &AuthConfigId, update: &mut Update) {
        let Some(config) = self.configs.remove(id) else { return };
        let touched = self.claims.replace(id, &config.age, &config.hosts, &[]);
        self.publish(touched, update);
        self.compiler.metrics.forget(&id.namespace, &id.name);
        update.reports.push(Report {
            id: id.clone(),
            state: State::Gone,
            problems: Vec::new(),
            warnings: Vec::new(),
            loose_hosts: Vec::new(),
        });
    }

    /// Takes in a Secret, new or changed. Its API key works from now on, and an earlier one no longer.
    pub fn set_secret(&mut self, secret: &Arc<Secret>) {
        self.compiler.resources.api_keys.apply(secret);
    }

    /// Takes a Secret out.
    pub fn remove_secret(&mut self, namespace: &str, name: &str) {
        self.compiler.resources.api_keys.remove(namespace, name);
    }

    fn accept(&mut self, metadata: &ObjectMeta, compiled: Compiled, update: &mut Update) {
        let id = AuthConfigId::of(metadata);
        let config =
            Config { age: self.age(&id, metadata), hosts: compiled.hosts, plan: Arc::new(compiled.plan), good: true };
        self.replace(&id, config, update);
        let loose_hosts = self.loose_hosts(&id);
        update.reports.push(Report {
            id,
            state: State::Current,
            problems: Vec::new(),
            warnings: compiled.warnings,
            loose_hosts,
        });
    }

    fn refuse(&mut self, metadata: &ObjectMeta, refused: Refused, update: &mut Update) {
        let id = AuthConfigId::of(metadata);
        let state = if self.configs.get(&id).is_some_and(|config| config.good) {
            State::Earlier
        } else {
            let problem = refused.problems.first().map(ToString::to_string).unwrap_or_default();
            let meters = self.compiler.metrics.plan(&id.namespace, &id.name);
            let plan = Plan::broken(id.namespace.clone(), id.name.clone(), meters, problem);
            let config =
                Config { age: self.age(&id, metadata), hosts: refused.hosts, plan: Arc::new(plan), good: false };
            self.replace(&id, config, update);
            State::Nothing
        };
        let loose_hosts = self.loose_hosts(&id);
        update.reports.push(Report { id, state, problems: refused.problems, warnings: Vec::new(), loose_hosts });
    }

    /// An AuthConfig keeps its age when it changes, and with it its claims.
    fn age(&mut self, id: &AuthConfigId, metadata: &ObjectMeta) -> Age {
        if let Some(config) = self.configs.get(id) {
            return config.age.clone();
        }
        self.seen += 1;
        Age { created: metadata.creation_timestamp.clone(), seen: self.seen }
    }

    fn replace(&mut self, id: &AuthConfigId, config: Config, update: &mut Update) {
        let before = self.configs.get(id).map(|config| config.hosts.clone()).unwrap_or_default();
        // The usual change leaves the hosts alone: nobody else's claim is looked at.
        let touched =
            if before == config.hosts { before } else { self.claims.replace(id, &config.age, &before, &config.hosts) };
        self.configs.insert(id.clone(), config);
        self.publish(touched, update);
    }

    fn publish(&self, touched: Vec<HostPattern>, update: &mut Update) {
        for pattern in touched {
            let plan =
                self.claims.owner(&pattern).and_then(|id| self.configs.get(id)).map(|config| Arc::clone(&config.plan));
            update.hosts.push((pattern, plan));
        }
    }

    fn loose_hosts(&self, id: &AuthConfigId) -> Vec<String> {
        let hosts: BTreeSet<_> = self.configs.get(id).into_iter().flat_map(|config| &config.hosts).collect();
        hosts.into_iter().filter(|host| self.claims.owner(host) != Some(id)).map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_refuses_one_config_which_claims_its_hosts() {
        let refused = guarded(&["a.test".to_owned()], || panic!("expected by the test")).unwrap_err();
        assert_eq!(refused.hosts, [HostPattern::Exact("a.test".to_owned())]);
        assert_eq!(refused.problems.len(), 1);
    }
}
