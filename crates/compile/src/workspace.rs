//! Everything that is configured, and what a change of it means for what is served.
//!
//! A workspace takes changes in, one batch at a time, and says which hosts lead where afterwards. It keeps the last
//! good plan of every AuthConfig: a text that does not compile replaces nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use usher_api::{AuthConfig, AuthorizationPolicy, ObjectMeta, Secret};
use usher_engine::{Plan, host::HostPattern};
use usher_evaluators::{Problem, Problems, SecretReader, SecretUse, Secrets};

use crate::{
    compile::{self, Compiled, Compiler, Refused},
    hosts::{Age, Claims},
    policies::{PolicyReport, PolicySet},
    references::References,
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
    secrets: Secrets,
    references: References,
    policies: PolicySet,
    seen: u64,
}

#[derive(Debug)]
struct Config {
    /// What was given last, if it names Secrets: compiled again when one of them changes.
    given: Option<Arc<AuthConfig>>,
    age: Age,
    hosts: Vec<HostPattern>,
    plan: Arc<Plan>,
    /// The Secrets that the plan was made with, if it is one that compiled.
    secrets: BTreeMap<String, SecretUse>,
    /// Whether the plan is one that compiled.
    good: bool,
}

/// What a batch of changes means.
#[derive(Debug, Default)]
pub struct Update {
    /// Where hosts lead now; `None`: nowhere. To be published at once.
    pub hosts: Vec<(HostPattern, Option<Arc<Plan>>)>,
    /// What is in force now of AuthConfigs, whatever hosts they have; `None`: nothing any more. Of several entries of one
    /// AuthConfig the last one counts.
    pub plans: Vec<(AuthConfigId, Option<Arc<Plan>>)>,
    /// What became of each AuthorizationPolicy that changed. If there is any, [`Workspace::default_plan`] is another one.
    pub policies: Vec<PolicyReport>,
    /// What became of each AuthConfig that changed.
    pub reports: Vec<Report>,
    /// Where the report of an AuthConfig stands.
    reported: HashMap<AuthConfigId, usize>,
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
        Self {
            compiler,
            configs: BTreeMap::new(),
            claims,
            secrets: Secrets::default(),
            references: References::default(),
            policies: PolicySet::default(),
            seen: 0,
        }
    }

    /// Takes in an AuthConfig, new or changed. The Secrets that it names should be there already; if one comes later,
    /// the AuthConfig is compiled again then.
    pub fn set_auth_config(&mut self, auth_config: &AuthConfig, update: &mut Update) {
        self.take_in(auth_config, || Arc::new(auth_config.clone()), update);
    }

    /// Compiles an AuthConfig. What was given is kept only if it may have to be compiled again.
    fn take_in(&mut self, auth_config: &AuthConfig, keep: impl FnOnce() -> Arc<AuthConfig>, update: &mut Update) {
        let metadata = &auth_config.metadata;
        let reader = SecretReader::new(&self.secrets, &metadata.namespace);
        let result = guarded(&auth_config.spec.hosts, || self.compiler.compile(auth_config, &reader));
        let secrets = reader.into_asked_for();
        let given = (!secrets.is_empty()).then(keep);
        match result {
            Ok(compiled) => {
                self.references.set(AuthConfigId::of(metadata), secrets.clone());
                self.accept(metadata, given, secrets, compiled, update);
            }
            Err(refused) => {
                self.keep_references(AuthConfigId::of(metadata), secrets);
                self.refuse(metadata, given, refused, update);
            }
        }
    }

    /// Notes the Secrets of a version that is refused, with those of the version that serves on instead.
    fn keep_references(&mut self, id: AuthConfigId, mut secrets: BTreeMap<String, SecretUse>) {
        let serving = self.configs.get(&id).filter(|config| config.good).map(|config| &config.secrets);
        for (name, used_for) in serving.into_iter().flatten() {
            let known = secrets.entry(name.clone()).or_insert(*used_for);
            *known = (*known).max(*used_for);
        }
        self.references.set(id, secrets);
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
        self.keep_references(AuthConfigId::of(metadata), BTreeMap::new());
        self.refuse(metadata, None, Refused { hosts, problems }, update);
    }

    /// Takes an AuthConfig out.
    pub fn remove_auth_config(&mut self, id: &AuthConfigId, update: &mut Update) {
        let Some(config) = self.configs.remove(id) else { return };
        self.references.remove(id);
        update.plans.push((id.clone(), None));
        let touched = self.claims.replace(id, &config.age, &config.hosts, &[]);
        self.publish(touched, update);
        self.compiler.metrics.forget(&id.namespace, &id.name);
        self.report(id.clone(), State::Gone, Vec::new(), Vec::new(), update);
    }

    /// Takes in a Secret, new or changed. Its API key or authorities count from now on, and earlier ones no longer;
    /// AuthConfigs that name the Secret are compiled again. One that does not compile, and was told by the Secret whom to
    /// believe, does not serve on with what the Secret said before.
    pub fn set_secret(&mut self, secret: &Arc<Secret>, update: &mut Update) {
        let metadata = &secret.metadata;
        let known = self.secrets.get(&metadata.namespace, &metadata.name);
        if known.is_some_and(|known| known == secret) {
            return;
        }
        let says_something_else = known.is_some_and(|known| known.data != secret.data);
        self.compiler.resources.api_keys.apply(secret);
        self.compiler.resources.authorities.apply(secret);
        self.secrets.insert(Arc::clone(secret));
        for (id, used_for) in self.references.to(&metadata.namespace, &metadata.name) {
            self.compile_again(&id, says_something_else && used_for == SecretUse::Trust, update);
        }
    }

    /// Takes a Secret out. An AuthConfig that names it does not compile any more: its last good version serves on, unless
    /// the Secret told it whom to believe. Then nobody is believed.
    pub fn remove_secret(&mut self, namespace: &str, name: &str, update: &mut Update) {
        self.compiler.resources.api_keys.remove(namespace, name);
        self.compiler.resources.authorities.remove(namespace, name);
        self.secrets.remove(namespace, name);
        for (id, used_for) in self.references.to(namespace, name) {
            self.compile_again(&id, used_for == SecretUse::Trust, update);
        }
    }

    /// Takes in an AuthorizationPolicy, new or changed.
    pub fn set_authorization_policy(&mut self, policy: &AuthorizationPolicy, update: &mut Update) {
        update.policies.push(self.policies.set(policy));
    }

    /// Takes in an AuthorizationPolicy of which only the name can be read.
    pub fn set_unreadable_authorization_policy(&mut self, name: &str, problems: Vec<Problem>, update: &mut Update) {
        update.policies.push(self.policies.refuse(name.to_owned(), problems));
    }

    /// Takes an AuthorizationPolicy out.
    pub fn remove_authorization_policy(&mut self, name: &str, update: &mut Update) {
        update.policies.extend(self.policies.remove(name));
    }

    /// The plan for hosts of no AuthConfig: what all AuthorizationPolicies say. `None` without any.
    #[must_use]
    pub fn default_plan(&self) -> Option<Arc<Plan>> {
        let kind = self.policies.plan()?;
        let (namespace, name): (Arc<str>, Arc<str>) = ("".into(), "AuthorizationPolicies".into());
        let meters = self.compiler.metrics.plan(&namespace, &name);
        Some(Arc::new(Plan { namespace, name, kind, meters }))
    }

    /// Compiles again what was given last. `distrusted`: the version that serves now must not serve on if that fails.
    fn compile_again(&mut self, id: &AuthConfigId, distrusted: bool, update: &mut Update) {
        let Some(config) = self.configs.get_mut(id) else { return };
        config.good &= !distrusted;
        if let Some(given) = config.given.clone() {
            self.take_in(&given, || Arc::clone(&given), update);
        } else if distrusted {
            // Only its name could be read of what was given last.
            let (namespace, name) = (id.namespace.to_string(), id.name.to_string());
            let problem = "a Secret that an earlier version trusted has changed, and this one cannot be read";
            let problems = vec![Problem { path: "spec".to_owned(), message: problem.to_owned() }];
            let refused = Refused { hosts: config.hosts.clone(), problems };
            self.references.remove(id);
            self.refuse(&ObjectMeta { namespace, name, ..ObjectMeta::default() }, None, refused, update);
        }
    }

    fn accept(
        &mut self,
        metadata: &ObjectMeta,
        given: Option<Arc<AuthConfig>>,
        secrets: BTreeMap<String, SecretUse>,
        compiled: Compiled,
        update: &mut Update,
    ) {
        let id = AuthConfigId::of(metadata);
        let config = Config {
            given,
            age: self.age(&id, metadata),
            hosts: compiled.hosts,
            plan: Arc::new(compiled.plan),
            secrets,
            good: true,
        };
        self.replace(&id, config, update);
        self.report(id, State::Current, Vec::new(), compiled.warnings, update);
    }

    fn refuse(&mut self, metadata: &ObjectMeta, given: Option<Arc<AuthConfig>>, refused: Refused, update: &mut Update) {
        let id = AuthConfigId::of(metadata);
        let state = match self.configs.get_mut(&id) {
            Some(config) if config.good => {
                config.given = given;
                State::Earlier
            }
            _ => {
                let problem = refused.problems.first().map(ToString::to_string).unwrap_or_default();
                let meters = self.compiler.metrics.plan(&id.namespace, &id.name);
                let plan = Plan::broken(id.namespace.clone(), id.name.clone(), meters, problem);
                let age = self.age(&id, metadata);
                let mut hosts = refused.hosts;
                // Where a version served until now, that must not serve on, nobody else's configuration takes over.
                let served = self.configs.get(&id).filter(|config| !config.secrets.is_empty());
                for host in served.into_iter().flat_map(|config| &config.hosts) {
                    if !hosts.contains(host) {
                        hosts.push(host.clone());
                    }
                }
                let (plan, secrets) = (Arc::new(plan), BTreeMap::new());
                let config = Config { given, age, hosts, plan, secrets, good: false };
                self.replace(&id, config, update);
                State::Nothing
            }
        };
        self.report(id, state, refused.problems, Vec::new(), update);
    }

    /// Says what became of an AuthConfig; what was said earlier in the same batch is out of date.
    fn report(
        &self,
        id: AuthConfigId,
        state: State,
        problems: Vec<Problem>,
        warnings: Vec<Problem>,
        update: &mut Update,
    ) {
        let loose_hosts = self.loose_hosts(&id);
        let report = Report { id: id.clone(), state, problems, warnings, loose_hosts };
        match update.reported.get(&id).and_then(|index| update.reports.get_mut(*index)) {
            Some(earlier) => *earlier = report,
            None => {
                update.reported.insert(id, update.reports.len());
                update.reports.push(report);
            }
        }
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
        update.plans.push((id.clone(), Some(Arc::clone(&config.plan))));
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
