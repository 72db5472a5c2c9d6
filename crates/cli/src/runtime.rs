//! The road of a change: source → workspace → index → log.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use prometheus::Registry;
use tokio::sync::mpsc;
use usher_api::Selector;
use usher_compile::{AuthConfigId, Compiler, Report, State, Update, Workspace};
use usher_engine::{observe::Metrics, plan::OnConditionError};
use usher_evaluators::{
    Problem, Resources,
    build_context::Options,
    resources::{api_keys::ApiKeys, http, oidc::Issuers},
};
use usher_source::{AuthConfigObject, Change};

use crate::adapters::{Decider, Ready};

/// What the operator chose about compiling.
#[derive(Debug)]
pub(crate) struct CompilerOptions {
    /// What evaluators are told.
    pub(crate) evaluators: Options,
    /// What follows when a condition cannot be evaluated.
    pub(crate) on_condition_error: OnConditionError,
    /// Which Secrets may hold API keys.
    pub(crate) secret_label_selector: Selector,
    /// What may be called, and how much may come back.
    pub(crate) http: http::Options,
}

/// Why a compiler cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    /// No random numbers.
    #[error("cannot set up the index of API keys")]
    ApiKeys(#[source] io::Error),
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
    let resources = Resources {
        api_keys: Arc::new(ApiKeys::new(options.secret_label_selector).map_err(SetUpError::ApiKeys)?),
        issuers: Arc::new(Issuers::new(client.clone())),
        http: client,
    };
    Ok(Compiler {
        resources: Arc::new(resources),
        metrics: Metrics::register(registry).map_err(SetUpError::Metrics)?,
        options: options.evaluators,
        on_condition_error: options.on_condition_error,
    })
}

/// How long readiness waits for the first attempts at discovery documents and key sets.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(5);

/// Takes in changes until there are no more. Runs on a thread of its own: compiling is computation, and must not keep
/// checks waiting.
pub(crate) fn take_in(
    mut changes: mpsc::Receiver<Vec<Change>>,
    mut workspace: Workspace,
    resources: &Arc<Resources>,
    decider: &Decider,
    ready: &Arc<Ready>,
    runtime: &tokio::runtime::Handle,
) {
    while let Some(batch) = changes.blocking_recv() {
        let mut update = Update::default();
        let mut objects = HashMap::new();
        let mut loaded = false;
        for change in batch {
            match change {
                Change::InitialLoadDone => loaded = true,
                // The source has logged them.
                Change::Problems(_) => {}
                Change::AuthConfig(object) => {
                    set_auth_config(&mut workspace, &object, &mut update);
                    objects.insert(AuthConfigId::of(&object.document.metadata), object);
                }
                other => apply(&mut workspace, &other, &mut update),
            }
        }
        decider.index.publish(update.hosts);
        for report in &update.reports {
            log(report, objects.get(&report.id));
            ready.note(report);
        }
        if loaded {
            decider.set_loaded();
            let (issuers, ready) = (Arc::clone(&resources.issuers), Arc::clone(ready));
            runtime.spawn(async move {
                issuers.wait_first_attempts(FIRST_ATTEMPTS).await;
                ready.set_ready();
                tracing::info!("ready");
            });
        }
    }
}

/// Applies one change to a workspace.
pub(crate) fn apply(workspace: &mut Workspace, change: &Change, update: &mut Update) {
    match change {
        Change::AuthConfig(object) => set_auth_config(workspace, object, update),
        Change::AuthConfigGone { namespace, name } => {
            let id = AuthConfigId { namespace: namespace.as_str().into(), name: name.as_str().into() };
            workspace.remove_auth_config(&id, update);
        }
        Change::Secret(secret) => workspace.set_secret(secret),
        Change::SecretGone { namespace, name } => workspace.remove_secret(namespace, name),
        Change::Problems(_) | Change::InitialLoadDone => {}
    }
}

fn set_auth_config(workspace: &mut Workspace, object: &AuthConfigObject, update: &mut Update) {
    let document = &object.document;
    match &document.result {
        Ok(auth_config) => workspace.set_auth_config(auth_config, update),
        Err(problems) => {
            let problems = problems
                .iter()
                .map(|problem| Problem { path: problem.path.clone(), message: problem.message.clone() })
                .collect();
            workspace.set_unreadable_auth_config(&document.metadata, &document.hosts, problems, update);
        }
    }
}

fn log(report: &Report, object: Option<&Arc<AuthConfigObject>>) {
    let authconfig = report.id.to_string();
    let place = |problem: &Problem| {
        let file = object.and_then(|object| object.file.as_ref()).map(|file| file.display().to_string());
        let line = object.and_then(|object| object.document.lines.find(&problem.path));
        match (file, line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file,
            _ => String::new(),
        }
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
    let readable = object.is_some_and(|object| object.document.result.is_ok());
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
