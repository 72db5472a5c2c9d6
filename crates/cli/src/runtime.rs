//! The road of a change: source → workspace → index → log.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use prometheus::Registry;
use tokio::sync::mpsc;
use usher_api::{Lines, Selector};
use usher_compile::{AuthConfigId, Compiler, PolicyReport, Report, State, Update, Workspace};
use usher_engine::{observe::Metrics, plan::OnConditionError};
use usher_evaluators::{
    Problem, Resources,
    build_context::Options,
    resources::{http, kubernetes::Reviews},
};
use usher_kubernetes::Cluster;
use usher_source::{AuthConfigObject, AuthorizationPolicyObject, Change};

use crate::adapters::{Decider, Ready, TokenIssuers};

/// What the operator chose about compiling.
#[derive(Debug)]
pub(crate) struct CompilerOptions {
    /// What evaluators are told.
    pub(crate) evaluators: Options,
    /// What follows when a condition cannot be evaluated.
    pub(crate) on_condition_error: OnConditionError,
    /// Which Secrets may hold API keys or authorities.
    pub(crate) secret_label_selector: Selector,
    /// What may be called, and how much may come back.
    pub(crate) http: http::Options,
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
    resources.kubernetes = Cluster::from_environment().map(|cluster| Arc::new(cluster) as Arc<dyn Reviews>);
    Ok(Compiler {
        resources: Arc::new(resources),
        metrics: Metrics::register(registry).map_err(SetUpError::Metrics)?,
        options: options.evaluators,
        on_condition_error: options.on_condition_error,
    })
}

/// How long readiness waits for the first attempts at what is fetched in the background.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(5);

/// Takes in changes until there are no more. Runs on a thread of its own: compiling is computation, and must not keep
/// checks waiting.
pub(crate) fn take_in(
    mut changes: mpsc::Receiver<Vec<Change>>,
    mut workspace: Workspace,
    resources: &Arc<Resources>,
    decider: &Decider,
    issuers: &TokenIssuers,
    ready: &Arc<Ready>,
    runtime: &tokio::runtime::Handle,
) {
    while let Some(batch) = changes.blocking_recv() {
        let mut update = Update::default();
        let mut objects = HashMap::new();
        let mut policies = HashMap::new();
        let mut loaded = false;
        apply(&mut workspace, &batch, &mut update);
        for change in batch {
            match change {
                Change::InitialLoadDone => loaded = true,
                Change::AuthConfig(object) => {
                    objects.insert(AuthConfigId::of(&object.document.metadata), object);
                }
                Change::AuthorizationPolicy(object) => {
                    policies.insert(object.document.metadata.name.clone(), object);
                }
                _ => {}
            }
        }
        if !update.policies.is_empty() {
            decider.index.publish_default(workspace.default_plan());
        }
        decider.index.publish(update.hosts);
        issuers.publish(update.plans);
        for report in &update.reports {
            log(report, objects.get(&report.id));
            ready.note(report);
        }
        for report in &update.policies {
            log_policy(report, policies.get(&report.name));
            ready.note_policy(report);
        }
        if loaded {
            decider.set_loaded();
            let (resources, ready) = (Arc::clone(resources), Arc::clone(ready));
            runtime.spawn(async move {
                resources.wait_first_attempts(FIRST_ATTEMPTS).await;
                ready.set_ready();
                tracing::info!("ready");
            });
        }
    }
}

/// Applies changes to a workspace: Secrets first, so that AuthConfigs find those that they name. The problems of files
/// were told by the source.
pub(crate) fn apply(workspace: &mut Workspace, changes: &[Change], update: &mut Update) {
    for change in changes {
        match change {
            Change::Secret(secret) => workspace.set_secret(secret, update),
            Change::SecretGone { namespace, name } => workspace.remove_secret(namespace, name, update),
            _ => {}
        }
    }
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
}

fn set_auth_config(workspace: &mut Workspace, object: &AuthConfigObject, update: &mut Update) {
    let document = &object.document;
    match &document.result {
        Ok(auth_config) => workspace.set_auth_config(auth_config, update),
        Err(problems) => {
            let problems = problems_as_compiled(problems);
            workspace.set_unreadable_auth_config(&document.metadata, &document.hosts, problems, update);
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
        State::Nothing => tracing::warn!(policy, "no version is in force: hosts without an AuthConfig answer 503"),
        State::Gone => tracing::info!(policy, "resource de-indexed"),
    }
}

fn log(report: &Report, object: Option<&Arc<AuthConfigObject>>) {
    let authconfig = report.id.to_string();
    let place = |problem: &Problem| {
        let object = object.map(Arc::as_ref);
        place(object.and_then(|it| it.file.as_ref()), object.map(|it| &it.document.lines), problem)
    };
    for warning in &report.warnings {
        tracing::warn!(
            authconfig,
            at = place(warning),
            path = warning.path,
            problem = warning.message,
            "doubtful AuthConfig"
        );
    }
    // The problems of documents that could not be read were told by the source.
    let readable = object.is_none_or(|object| object.document.result.is_ok());
    for problem in report.problems.iter().filter(|_| readable) {
        tracing::error!(
            authconfig,
            at = place(problem),
            path = problem.path,
            problem = problem.message,
            "invalid AuthConfig"
        );
    }
    for host in &report.loose_hosts {
        tracing::warn!(authconfig, host, "host already taken");
    }
    match report.state {
        State::Current => tracing::info!(authconfig, "resource reconciled"),
        State::Earlier => tracing::warn!(authconfig, "an earlier version stays in force"),
        State::Nothing => tracing::warn!(authconfig, "no version is in force: its hosts answer 503"),
        State::Gone => tracing::info!(authconfig, "resource de-indexed"),
    }
}
