//! Everything that is configured, and what a change of it means for what is served.
//!
//! A workspace takes changes in, one batch at a time, and says which hosts and routes lead where afterwards. It keeps the last
//! good plan of every AuthConfig: a text that does not compile replaces nothing.
//!
//! ```text
//!   set_auth_config ──► take_in: compile ─┬─► accept ─► a plan of rules
//!        ▲                                ├─► refuse ─► the earlier plan, or a broken one
//!        │ compile again                  └─► wait ───► the earlier plan, or a pending one
//!   change_secrets (secrets.rs)                            │
//!                                                          ▼
//!                                    Update (update.rs): places, reports, Secrets to follow
//! ```

mod secrets;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use usher_api::{AuthConfig, AuthorizationPolicy, Claimed, ObjectMeta, SecretName};
use usher_engine::{Plan, host::HostPattern, index::Place};
use usher_evaluators::{Problem, Problems, SecretReader, SecretUse, Secrets};

pub use self::{secrets::SecretChange, update::Update};
use crate::{
    AuthConfigId, Places,
    compile::{Compiled, Compiler, Refused},
    hosts::{Age, Claims, Names},
    policies::PolicySet,
    references::References,
    report::{Contest, Given, MOST_CONTESTS, Report, State},
    routes::RouteClaims,
};

/// Everything that is configured.
#[derive(Debug)]
pub struct Workspace {
    compiler: Compiler,
    configs: BTreeMap<AuthConfigId, Config>,
    claims: Claims<AuthConfigId>,
    route_claims: RouteClaims<AuthConfigId>,
    secrets: Secrets,
    references: References,
    policies: PolicySet,
    /// The AuthConfigs that cannot be compiled before somebody says what a Secret is.
    waiting: BTreeSet<AuthConfigId>,
    seen: u64,
}

#[derive(Debug)]
struct Config {
    /// What was given last, if it names Secrets: compiled again when one of them changes.
    kept: Option<Arc<AuthConfig>>,
    /// `metadata.uid`
    uid: Option<String>,
    age: Age,
    places: Places,
    plan: Arc<Plan>,
    /// The Secrets that the plan was made with, if it is one that compiled.
    secrets: BTreeMap<String, SecretUse>,
    /// Whether the plan is one that compiled.
    good: bool,
    /// `metadata.generation` of the plan, if it is one that compiled.
    generation: Option<i64>,
    told: Told,
}

/// What is reported of an AuthConfig, short of what depends on others.
#[derive(Debug, Clone)]
struct Told {
    state: State,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    given: Given,
}

/// What was given last of an AuthConfig, short of what came of compiling it.
#[derive(Debug)]
struct Version<'a> {
    metadata: &'a ObjectMeta,
    /// All of it, if it may have to be compiled again.
    kept: Option<Arc<AuthConfig>>,
    given: Given,
}

impl Workspace {
    /// An empty workspace. `secrets` is empty, and says what it means that a Secret is not in it.
    #[must_use]
    pub fn new(compiler: Compiler, allow_superseding_host_subsets: bool, secrets: Secrets) -> Self {
        let claims = Claims::new(allow_superseding_host_subsets);
        Self {
            compiler,
            configs: BTreeMap::new(),
            claims,
            route_claims: RouteClaims::default(),
            secrets,
            references: References::default(),
            policies: PolicySet::default(),
            waiting: BTreeSet::new(),
            seen: 0,
        }
    }

    /// Whether there is no AuthConfig at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// Whether any AuthConfig cannot be compiled before somebody says what a Secret is.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether any AuthConfig names a Secret.
    #[must_use]
    pub fn is_named(&self, name: &SecretName) -> bool {
        self.references.is_named(name)
    }

    /// What was given last of an AuthConfig. Only those that name Secrets are kept.
    #[must_use]
    pub fn kept(&self, id: &AuthConfigId) -> Option<Arc<AuthConfig>> {
        self.configs.get(id)?.kept.clone()
    }

    /// Takes in an AuthConfig, new or changed. The Secrets that it names should be there already; if one comes later,
    /// the AuthConfig is compiled again then.
    pub fn set_auth_config(&mut self, auth_config: &AuthConfig, update: &mut Update) {
        self.forget_namesake(&auth_config.metadata, update);
        self.take_in(auth_config, || Arc::new(auth_config.clone()), update);
    }

    /// An AuthConfig with another uid is another one: it inherits neither age nor what was served before.
    fn forget_namesake(&mut self, metadata: &ObjectMeta, update: &mut Update) {
        let id = AuthConfigId::of(metadata);
        let (Some(known), Some(uid)) = (self.configs.get(&id), metadata.uid.as_ref()) else { return };
        let is_another = match &known.uid {
            Some(known) => known != uid,
            // Of a damaged snapshot: nothing is known of it, and nobody would be older.
            None => !known.good && known.age.created.is_none(),
        };
        if is_another {
            self.remove_auth_config(&id, update);
        }
    }

    /// Compiles an AuthConfig. What was given is kept only if it may have to be compiled again.
    fn take_in(&mut self, auth_config: &AuthConfig, keep: impl FnOnce() -> Arc<AuthConfig>, update: &mut Update) {
        let metadata = &auth_config.metadata;
        let id = AuthConfigId::of(metadata);
        let reader = SecretReader::new(&self.secrets, &metadata.namespace);
        let result = guarded(
            || self.compiler.compile(auth_config, &reader),
            || self.compiler.places(&auth_config.spec.claimed(), &metadata.namespace, &mut Problems::default()),
        );
        let is_waiting = reader.is_waiting();
        let secrets = reader.into_asked_for();
        let kept = (!secrets.is_empty()).then(keep);
        let version = Version { metadata, kept, given: Given::of(auth_config) };
        self.waiting.remove(&id);
        match result {
            Ok(compiled) => {
                let named = self.references.set(&id, secrets.clone());
                self.note_named(named, update);
                self.accept(version, secrets, compiled, update);
            }
            Err(refused) => {
                self.keep_references(&id, secrets, update);
                // What is wrong may be so only because of what is missing.
                if is_waiting {
                    self.wait(version, refused.places, update);
                } else {
                    self.refuse(version, refused, update);
                }
            }
        }
    }

    /// Takes in an AuthConfig that could not even be read: only its name is known and, as far as that is readable, what it
    /// claims.
    pub fn set_unreadable_auth_config(
        &mut self,
        metadata: &ObjectMeta,
        claimed: &Claimed,
        problems: Vec<Problem>,
        update: &mut Update,
    ) {
        self.forget_namesake(metadata, update);
        let given = Given { generation: metadata.generation, hosts: claimed.hosts.len(), ..Given::default() };
        let places = self.compiler.places(claimed, &metadata.namespace, &mut Problems::default());
        let id = AuthConfigId::of(metadata);
        self.waiting.remove(&id);
        self.keep_references(&id, BTreeMap::new(), update);
        self.refuse(Version { metadata, kept: None, given }, Refused { places, problems }, update);
    }

    /// Takes an AuthConfig out.
    pub fn remove_auth_config(&mut self, id: &AuthConfigId, update: &mut Update) {
        let Some(config) = self.configs.remove(id) else { return };
        self.waiting.remove(id);
        let named = self.references.remove(id);
        self.note_named(named, update);
        update.plans.push((id.clone(), None));
        let touched = self.claim(id, &config.age, &config.places, &Places::default());
        self.compiler.metrics.forget(&id.namespace, &id.name);
        let gone = Told { state: State::Gone, problems: Vec::new(), warnings: Vec::new(), given: Given::default() };
        self.report(id, gone, true, update);
        self.publish(id, touched, update);
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

    fn accept(
        &mut self,
        version: Version<'_>,
        secrets: BTreeMap<String, SecretUse>,
        compiled: Compiled,
        update: &mut Update,
    ) {
        let Version { metadata, kept, given } = version;
        let id = AuthConfigId::of(metadata);
        let config = Config {
            kept,
            uid: metadata.uid.clone(),
            age: self.age(&id, metadata),
            places: compiled.places,
            plan: Arc::new(compiled.plan),
            secrets,
            good: true,
            generation: metadata.generation,
            told: Told { state: State::Current, problems: Vec::new(), warnings: compiled.warnings, given },
        };
        self.replace(&id, config, update);
    }

    fn refuse(&mut self, version: Version<'_>, refused: Refused, update: &mut Update) {
        let Refused { places, problems } = refused;
        let id = AuthConfigId::of(version.metadata);
        if let Some(config) = self.configs.get_mut(&id).filter(|config| config.good) {
            config.kept = version.kept;
            config.told = Told { state: State::Earlier, problems, warnings: Vec::new(), given: version.given };
            let told = config.told.clone();
            self.report(&id, told, true, update);
            return;
        }
        let told = Told { state: State::Nothing, problems, warnings: Vec::new(), given: version.given };
        self.serve_nothing(version, places, told, update);
    }

    /// Puts an AuthConfig off until somebody says what a Secret is. Whatever was served serves on.
    fn wait(&mut self, version: Version<'_>, places: Places, update: &mut Update) {
        let id = AuthConfigId::of(version.metadata);
        self.waiting.insert(id.clone());
        if let Some(config) = self.configs.get_mut(&id).filter(|config| config.good) {
            config.kept = version.kept;
            return;
        }
        let told = Told { state: State::Waiting, problems: Vec::new(), warnings: Vec::new(), given: version.given };
        self.serve_nothing(version, places, told, update);
    }

    /// Claims hosts and routes, where the answer is that it cannot be decided.
    fn serve_nothing(&mut self, version: Version<'_>, mut places: Places, told: Told, update: &mut Update) {
        let Version { metadata, kept, .. } = version;
        let id = AuthConfigId::of(metadata);
        let meters = self.compiler.metrics.plan(&id.namespace, &id.name);
        let (namespace, name) = (Arc::clone(&id.namespace), Arc::clone(&id.name));
        let plan = match told.state {
            State::Waiting => {
                Plan::pending(namespace, name, meters, "a Secret that it names has not been read yet".to_owned())
            }
            _ => {
                let problem = told.problems.first().map(ToString::to_string).unwrap_or_default();
                Plan::broken(namespace, name, meters, problem)
            }
        };
        let age = self.age(&id, metadata);
        // Where a version served until now, that must not serve on, nobody else's configuration takes over.
        let served = self.configs.get(&id).filter(|config| !config.secrets.is_empty());
        if let Some(config) = served {
            places.add(&config.places);
        }
        let config = Config {
            kept,
            uid: metadata.uid.clone(),
            age,
            places,
            plan: Arc::new(plan),
            secrets: BTreeMap::new(),
            good: false,
            generation: None,
            told,
        };
        self.replace(&id, config, update);
    }

    /// An AuthConfig keeps its age when it changes, and with it its claims.
    fn age(&mut self, id: &AuthConfigId, metadata: &ObjectMeta) -> Age {
        if let Some(config) = self.configs.get(id) {
            return config.age.clone();
        }
        match metadata.creation_timestamp.clone() {
            Some(created) => Age { created: Some(created), id: Some(id.clone()), seen: 0 },
            None => {
                self.seen += 1;
                Age { created: None, id: None, seen: self.seen }
            }
        }
    }

    fn replace(&mut self, id: &AuthConfigId, config: Config, update: &mut Update) {
        let before = self.configs.get(id).map(|config| config.places.clone()).unwrap_or_default();
        // The usual change leaves hosts and routes alone: nobody else's claim is looked at.
        let touched = if before == config.places {
            Changed { places: before.into_places().collect(), configurations: BTreeSet::new() }
        } else {
            self.claim(id, &config.age, &before, &config.places)
        };
        update.plans.push((id.clone(), Some(Arc::clone(&config.plan))));
        let told = config.told.clone();
        self.configs.insert(id.clone(), config);
        self.report(id, told, true, update);
        self.publish(id, touched, update);
    }

    fn claim(&mut self, id: &AuthConfigId, age: &Age, before: &Places, after: &Places) -> Changed {
        let [old, new] = [before, after].map(|places| [&*places.hosts, &places.qualified_names].concat());
        let touched = self.claims.replace(
            id,
            age,
            Names { hosts: &old, short_names: &before.short_names },
            Names { hosts: &new, short_names: &after.short_names },
        );
        let mut configurations = touched.configurations;
        configurations.extend(self.route_claims.replace(id, age, &before.routes, &after.routes));
        let routes: BTreeSet<_> = before.routes.iter().chain(&after.routes).cloned().map(Place::Route).collect();
        Changed { places: touched.hosts.into_iter().map(Place::Host).chain(routes).collect(), configurations }
    }

    /// Publishes where hosts and routes lead now, and reports what that means for others than `id`.
    fn publish(&self, id: &AuthConfigId, touched: Changed, update: &mut Update) {
        for place in touched.places {
            let plan = self.plan_at(&place);
            update.places.push((place, plan));
        }
        for other in touched.configurations.iter().filter(|other| *other != id) {
            if let Some(config) = self.configs.get(other) {
                self.report(other, config.told.clone(), false, update);
            }
        }
    }

    fn plan_at(&self, place: &Place) -> Option<Arc<Plan>> {
        let plan_of = |id| self.configs.get(id).map(|config| Arc::clone(&config.plan));
        match place {
            Place::Route(route) => self.route_claims.owner(route).and_then(plan_of),
            Place::Host(host) => match self.claims.shared_by(host) {
                None => self.claims.owner(host).and_then(plan_of),
                Some(AuthConfigId { namespace, name }) => {
                    let meters = self.compiler.metrics.plan(namespace, name);
                    let problem = format!("`{host}` is a short name that several AuthConfigs claim");
                    Some(Arc::new(Plan::broken(Arc::clone(namespace), Arc::clone(name), meters, problem)))
                }
            },
        }
    }

    /// Says what became of an AuthConfig.
    fn report(&self, id: &AuthConfigId, told: Told, is_news: bool, update: &mut Update) {
        let config = self.configs.get(id);
        let none = Places::default();
        let Places { hosts, qualified_names, short_names, routes } = config.map_or(&none, |config| &config.places);
        let hosts: BTreeSet<_> = hosts.iter().collect();
        let is_linked = |host: &&HostPattern| self.claims.owner(host) == Some(id);
        let (linked, loose): (Vec<_>, Vec<_>) = hosts.into_iter().partition(is_linked);
        let (linked_routes, loose_routes): (Vec<_>, Vec<_>) =
            routes.iter().partition(|route| self.route_claims.owner(route) == Some(id));
        let contest = |place: Place, field: &'static str, other: Option<&AuthConfigId>| Contest {
            is_shared: matches!(&place, Place::Host(host) if self.claims.shared_by(host).is_some()),
            place,
            field,
            other: other.cloned(),
        };
        let lost_host = |host: &HostPattern, field| contest(host.clone().into(), field, self.claims.taken_by(host, id));
        let other_names = qualified_names.iter().chain(short_names).filter(|name| !is_linked(name));
        let lost = loose
            .into_iter()
            .map(|host| lost_host(host, "spec.hosts"))
            .chain(other_names.map(|name| lost_host(name, "spec.hostAliases")))
            .chain(
                loose_routes
                    .into_iter()
                    .map(|route| contest(Place::Route(route.clone()), "spec.routes", self.route_claims.owner(route))),
            )
            .collect();
        let report = Report {
            id: id.clone(),
            is_news,
            state: told.state,
            problems: told.problems,
            warnings: told.warnings,
            linked_hosts: linked.into_iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect(),
            linked_routes: linked_routes.into_iter().map(ToString::to_string).collect(),
            lost,
            wanted_hosts: self
                .claims
                .wanted_by_others(id)
                .take(MOST_CONTESTS)
                .map(|(host, other)| contest(host.into(), "spec.hosts", Some(other)))
                .collect(),
            given: told.given,
            served_generation: config.and_then(|config| config.generation),
        };
        update.report(report);
    }
}

/// Hosts and routes that may lead elsewhere now, and the configurations that have won or lost one or have another rival.
struct Changed {
    places: Vec<Place>,
    configurations: BTreeSet<AuthConfigId>,
}

/// Compiles. A panic refuses the one AuthConfig: it must not end the loop that takes in all of them.
fn guarded(
    compile: impl FnOnce() -> Result<Compiled, Refused>,
    places: impl FnOnce() -> Places,
) -> Result<Compiled, Refused> {
    catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| {
        tracing::error!("compiling an AuthConfig panicked");
        let problem = Problem { path: "spec".to_owned(), message: "it cannot be compiled: internal error".to_owned() };
        Err(Refused { places: places(), problems: vec![problem] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_refuses_one_config_which_claims_its_hosts() {
        let places = Places { hosts: vec![HostPattern::Exact("a.test".to_owned())], ..Places::default() };
        let refused = guarded(|| panic!("expected by the test"), || places.clone()).unwrap_err();
        assert_eq!(refused.places, places);
        assert_eq!(refused.problems.len(), 1);
    }
}
