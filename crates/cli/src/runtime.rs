//! The road of a change: source → workspace → index → log.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::Registry;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use usher_api::{Lines, Selector};
use usher_compile::{AuthConfigId, Compiler, PolicyReport, Report, SecretChange, State, Update, Workspace};
use usher_engine::{index::Place, observe::Metrics, plan::OnConditionError};
use usher_evaluators::{
    Problem, Resources,
    build_context::Options,
    resources::{http, kubernetes::Kubernetes},
};
use usher_source::{AuthConfigObject, AuthorizationPolicyObject, Change};

use crate::{
    adapters::{Decider, Ready, TokenIssuers},
    cluster::ClusterSide,
};

/// What the operator chose about compiling.
#[derive(Debug)]
pub(crate) struct CompilerOptions {
    /// What evaluators are told.
    pub(crate) evaluators: Options,
    /// What follows when a condition cannot be evaluated.
    pub(crate) on_condition_error: OnConditionError,
    pub(crate) allow_route_lookup: bool,
    /// Which Secrets may hold API keys or authorities.
    pub(crate) secret_label_selector: Selector,
    /// What may be called, and how much may come back.
    pub(crate) http: http::Options,
    /// Who reviews tokens and access.
    pub(crate) kubernetes: Kubernetes,
}

/// Why a compiler cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    /// No random numbers.
    #[error("cannot set up the indexes of keys and certificates")]
    Resources(#[source] io::Error),
    /// No client for what is outbound.
    #[error("cannot set up the http client")]
    Http(#[source] http::ClientError),
    /// A family of metrics exists twice.
    #[error("cannot set up metrics")]
    Metrics(#[source] prometheus::Error),
}

/// Makes a compiler with resources of its own. Within a runtime, its resources fetch what they need in the background;
/// without one they fetch nothing.
pub(crate) fn compiler(options: CompilerOptions, registry: &Registry) -> Result<Compiler, SetUpError> {
    let client = http::Client::new(options.http).map_err(SetUpError::Http)?;
    let mut resources = Resources::new(client, options.secret_label_selector).map_err(SetUpError::Resources)?;
    resources.kubernetes = options.kubernetes;
    Ok(Compiler {
        resources: Arc::new(resources),
        metrics: Metrics::register(registry).map_err(SetUpError::Metrics)?,
        options: options.evaluators,
        on_condition_error: options.on_condition_error,
        allow_route_lookup: options.allow_route_lookup,
    })
}

/// How long readiness waits for Secrets that AuthConfigs name, and then for the first attempts at what is fetched in the
/// background.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(5);

/// Where changes are taken in.
pub(crate) struct Intake {
    /// Everything that is configured.
    pub(crate) workspace: Workspace,
    /// What is fetched in the background.
    pub(crate) resources: Arc<Resources>,
    /// Who decides with the plans.
    pub(crate) decider: Arc<Decider>,
    /// Whose tokens are vouched for.
    pub(crate) issuers: Arc<TokenIssuers>,
    /// Whether this process can do its work.
    pub(crate) ready: Arc<Ready>,
    /// Who else is told, where configuration comes from a cluster.
    pub(crate) cluster: Option<ClusterSide>,
    /// Whether AuthConfigs wait for Secrets.
    pub(crate) waiting: watch::Sender<bool>,
    /// Where what takes time is done.
    pub(crate) runtime: Handle,
}

impl Intake {
    /// Takes in changes until there are no more. Runs on a thread of its own: compiling is computation, and must not
    /// keep checks waiting.
    pub(crate) fn run(mut self, mut changes: mpsc::Receiver<Vec<Change>>) {
        let runtime = self.runtime.clone();
        // There may be thousands of expressions to parse.
        let taken_in = usher_expr::cel::with_large_stack(|| {
            // What is compiled fetches in the background what it needs.
            let _runtime = runtime.enter();
            self.take_in_all(&mut changes);
        });
        if let Err(error) = taken_in {
            tracing::warn!(
                error = crate::chain(&error),
                "no thread to compile on; configuration is taken in more slowly"
            );
            self.take_in_all(&mut changes);
        }
    }

    fn take_in_all(&mut self, changes: &mut mpsc::Receiver<Vec<Change>>) {
        while let Some(batch) = changes.blocking_recv() {
            self.take_in(batch);
        }
    }

    fn take_in(&mut self, batch: Vec<Change>) {
        let started = Instant::now();
        let mut update = Update::default();
        let was_empty = self.workspace.is_empty();
        apply(&mut self.workspace, &batch, &mut update);
        if self.workspace.is_empty() && !was_empty {
            // A source that is not the right one, or was emptied by mistake, looks like this.
            tracing::warn!("the last AuthConfig is gone: no host is known any more");
        }

        if !update.policies.is_empty() {
            self.decider.index.publish_default(self.workspace.default_plan());
        }
        // Most changes of Secrets lead nobody elsewhere.
        if !update.places.is_empty() {
            self.decider.index.publish(std::mem::take(&mut update.places));
        }
        self.issuers.publish(std::mem::take(&mut update.plans));
        self.tell(&batch, &update);
        if let Some(cluster) = &mut self.cluster {
            cluster.tell(&batch, &update, &self.workspace, started.elapsed());
        }

        let is_waiting = self.workspace.is_waiting();
        self.waiting.send_if_modified(|known| std::mem::replace(known, is_waiting) != is_waiting);
        if batch.iter().any(|change| matches!(change, Change::InitialLoadDone)) {
            self.decider.set_loaded();
            self.get_ready();
        }
    }

    /// Logs what became of everything, and remembers what is not as it should be.
    fn tell(&self, batch: &[Change], update: &Update) {
        let mut objects = HashMap::new();
        let mut policies = HashMap::new();
        for change in batch {
            match change {
                Change::AuthConfig(object) => {
                    objects.insert(AuthConfigId::of(&object.document.metadata), object);
                }
                Change::AuthorizationPolicy(object) => {
                    policies.insert(object.document.metadata.name.clone(), object);
                }
                _ => {}
            }
        }
        for report in &update.reports {
            log(report, objects.get(&report.id).copied());
            self.ready.note(report);
        }
        for report in &update.policies {
            log_policy(report, policies.get(&report.name).copied());
            self.ready.note_policy(report);
        }
    }

    /// Says that this process is ready, after what is still on its way has had some time to come.
    fn get_ready(&self) {
        let (resources, ready) = (Arc::clone(&self.resources), Arc::clone(&self.ready));
        let mut waiting = self.waiting.subscribe();
        self.runtime.spawn(async move {
            // Either way the process is ready: what is missing answers that it cannot be decided.
            let _ = tokio::time::timeout(FIRST_ATTEMPTS, waiting.wait_for(|is_waiting| !is_waiting)).await;
            resources.wait_first_attempts(FIRST_ATTEMPTS).await;
            ready.set_ready();
            tracing::info!("ready");
        });
    }
}

/// Applies changes to a workspace: AuthConfigs find the Secrets that come with them. The problems of files were told by
/// the source.
pub(crate) fn apply(workspace: &mut Workspace, changes: &[Change], update: &mut Update) {
    workspace.change_secrets(changes.iter().filter_map(secret), update);
    for change in changes {
        match change {
            Change::AuthConfig(object) => set_auth_config(workspace, object, update),
            Change::AuthConfigGone { namespace, name } => {
                let id = AuthConfigId { namespace: namespace.as_str().into(), name: name.as_str().into() };
                workspace.remove_auth_config(&id, update);
            }
            Change::AuthorizationPolicy(object) => set_authorization_policy(workspace, object, update),
            Change::AuthorizationPolicyGone { name } => workspace.remove_authorization_policy(name, update),
            _ => {}
        }
    }
    // What Secrets are is of interest only after somebody has named them.
    workspace.change_secrets(changes.iter().filter_map(named_secret), update);
}

fn secret(change: &Change) -> Option<SecretChange<'_>> {
    match change {
        Change::Secret(secret) => Some(SecretChange::Set(secret)),
        Change::SecretGone { namespace, name } => Some(SecretChange::Gone { namespace, name }),
        Change::LabelledSecret(secret) => Some(SecretChange::Labelled(secret)),
        Change::LabelledSecretGone { namespace, name } => Some(SecretChange::LabelledGone { namespace, name }),
        _ => None,
    }
}

fn named_secret(change: &Change) -> Option<SecretChange<'_>> {
    match change {
        Change::NamedSecret { name, secret } => Some(SecretChange::Named(name, secret.as_ref())),
        _ => None,
    }
}

fn set_auth_config(workspace: &mut Workspace, object: &AuthConfigObject, update: &mut Update) {
    let document = &object.document;
    match &document.result {
        Ok(auth_config) => workspace.set_auth_config(auth_config, update),
        Err(problems) => {
            let problems = problems_as_compiled(problems);
            workspace.set_unreadable_auth_config(&document.metadata, &document.claimed, problems, update);
        }
    }
}

fn set_authorization_policy(workspace: &mut Workspace, object: &AuthorizationPolicyObject, update: &mut Update) {
    let document = &object.document;
    match &document.result {
        Ok(policy) => workspace.set_authorization_policy(policy, update),
        Err(problems) => {
            let problems = problems_as_compiled(problems);
            workspace.set_unreadable_authorization_policy(&document.metadata.name, problems, update);
        }
    }
}

fn problems_as_compiled(problems: &[usher_api::Problem]) -> Vec<Problem> {
    let problems = problems.iter();
    problems.map(|problem| Problem { path: problem.path.clone(), message: problem.message.clone() }).collect()
}

/// `file:line` of a problem, as far as it is known.
fn place(file: Option<&PathBuf>, lines: Option<&Lines>, problem: &Problem) -> String {
    let file = file.map(|file| file.display().to_string());
    match (file, lines.and_then(|lines| lines.find(&problem.path))) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file,
        _ => String::new(),
    }
}

fn log_policy(report: &PolicyReport, object: Option<&Arc<AuthorizationPolicyObject>>) {
    let policy = report.name.as_str();
    // The problems of documents that could not be read were told by the source.
    let readable = object.is_none_or(|object| object.document.result.is_ok());
    for problem in report.problems.iter().filter(|_| readable) {
        let object = object.map(Arc::as_ref);
        let (file, lines) = (object.and_then(|it| it.file.as_ref()), object.map(|it| &it.document.lines));
        let at = place(file, lines, problem);
        tracing::error!(policy, at, path = problem.path, problem = problem.message, "invalid AuthorizationPolicy");
    }
    match report.state {
        State::Current => tracing::info!(policy, "resource reconciled"),
        State::Earlier => tracing::warn!(policy, "an earlier version stays in force"),
        State::Nothing | State::Waiting => {
            tracing::warn!(policy, "no version is in force: hosts without an AuthConfig answer 503");
        }
        State::Gone => tracing::info!(policy, "resource de-indexed"),
    }
}

/// Of how many lost hosts of an AuthConfig the log tells one by one: a tenant may claim tens of thousands.
const MOST_LOGGED: usize = 20;

fn log(report: &Report, object: Option<&Arc<AuthConfigObject>>) {
    let authconfig = report.id.to_string();
    let place = |problem: &Problem| {
        let object = object.map(Arc::as_ref);
        place(object.and_then(|it| it.file.as_ref()), object.map(|it| &it.document.lines), problem)
    };
    for warning in report.warnings.iter().filter(|_| report.is_news) {
        tracing::warn!(
            authconfig,
            at = place(warning),
            path = warning.path,
            problem = warning.message,
            "doubtful AuthConfig"
        );
    }
    // The problems of files that could not be read were told by the source.
    let readable =
        report.is_news && object.is_none_or(|object| object.document.result.is_ok() || object.file.is_none());
    for problem in report.problems.iter().filter(|_| readable) {
        tracing::error!(
            authconfig,
            at = place(problem),
            path = problem.path,
            problem = problem.message,
            "invalid AuthConfig"
        );
    }
    for contest in report.lost.iter().take(MOST_LOGGED) {
        let (claimed, owner) = (contest.place.to_string(), contest.other.as_ref().map(ToString::to_string));
        match &contest.place {
            _ if contest.is_shared => tracing::warn!(authconfig, host = claimed, other = owner, "host is nobody's"),
            Place::Host(_) => tracing::warn!(authconfig, host = claimed, owner, "host already taken"),
            Place::Route(_) => tracing::warn!(authconfig, route = claimed, owner, "route already taken"),
        }
    }
    if let Some(more @ 1..) = report.lost.len().checked_sub(MOST_LOGGED) {
        tracing::warn!(authconfig, more, "more that it claims is not its own");
    }
    match report.state {
        _ if !report.is_news => {}
        State::Current => tracing::info!(authconfig, "resource reconciled"),
        State::Earlier => tracing::warn!(authconfig, "an earlier version stays in force"),
        State::Nothing => tracing::warn!(authconfig, "no version is in force: its hosts answer 503"),
        State::Waiting => tracing::info!(authconfig, "waiting for a Secret: its hosts answer 503"),
        State::Gone => tracing::info!(authconfig, "resource de-indexed"),
    }
}
