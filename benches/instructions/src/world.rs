//! Plans by host, made from the text of a configuration as the product makes them.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use prometheus::Registry;
use serde_json::Value;
use usher_api::{AuthConfig, Document, Secret, SecretDocument, Selector, read_documents};
use usher_compile::{Compiler, SecretChange, Update, Workspace};
use usher_engine::{Plan, PlanIndex, Request, observe::Metrics, plan::OnConditionError};
use usher_evaluators::{Resources, Secrets, build_context::Options, resources::http};

/// A process that has taken its configuration in.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) index: PlanIndex,
    /// What plans are made from, which lives as long as they do.
    _workspace: Workspace,
    _registry: Registry,
}

impl World {
    /// Takes in the AuthConfigs of a text, and Secrets as the Kubernetes API has them.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub(crate) fn new(configuration: &str, secrets: Vec<Value>) -> anyhow::Result<Self> {
        let auth_configs =
            read_documents(configuration).into_iter().map(auth_config).collect::<anyhow::Result<Vec<_>>>()?;
        let secrets = secrets.into_iter().map(secret).collect::<anyhow::Result<Vec<_>>>()?;
        let registry = Registry::new();
        let mut workspace = Workspace::new(compiler(&registry)?, false, Secrets::complete());
        let mut update = Update::default();
        workspace.change_secrets(secrets.iter().map(SecretChange::Set), &mut update);
        for auth_config in &auth_configs {
            workspace.set_auth_config(auth_config, &mut update);
        }
        for report in &update.reports {
            if let Some(problem) = report.problems.first() {
                bail!("AuthConfig {}: {problem}", report.id);
            }
        }
        let index = PlanIndex::default();
        index.publish(update.places);
        Ok(Self { index, _workspace: workspace, _registry: registry })
    }

    /// The plan for a request.
    ///
    /// # Errors
    /// When nobody configured its host.
    pub(crate) fn plan(&self, request: &Request) -> anyhow::Result<Arc<Plan>> {
        self.index.find(request).with_context(|| format!("nobody configured `{}`", request.lookup_host()))
    }
}

/// With the defaults of `usher serve`.
fn compiler(registry: &Registry) -> anyhow::Result<Compiler> {
    let client = http::Client::new(http::Options::default()).context("no client for what is outbound")?;
    let watched = "authorino.kuadrant.io/managed-by=authorino";
    let watched: Selector = watched.parse().ok().with_context(|| format!("`{watched}` is no selector"))?;
    Ok(Compiler {
        resources: Arc::new(Resources::new(client, watched)?),
        metrics: Metrics::register(registry)?,
        options: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
        on_condition_error: OnConditionError::default(),
        allow_route_lookup: false,
    })
}

fn auth_config(document: Document) -> anyhow::Result<AuthConfig> {
    match document {
        Document::AuthConfig(document) => match document.result {
            Ok(auth_config) => Ok(auth_config),
            Err(problems) => bail!("an AuthConfig cannot be read: {problems:?}"),
        },
        other => bail!("no AuthConfig: {other:?}"),
    }
}

fn secret(object: Value) -> anyhow::Result<Arc<Secret>> {
    match SecretDocument::from_kubernetes(object).result {
        Ok(secret) => Ok(Arc::new(secret)),
        Err(problems) => bail!("a Secret cannot be read: {problems:?}"),
    }
}
