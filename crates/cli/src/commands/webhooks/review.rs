//! Whether an AuthConfig would compile: reading and compiling it, short of everything that it names.

use std::{sync::Arc, time::Duration};

use prometheus::Registry;
use serde_json::Value;
use usher_api::{API_VERSION, AuthConfig, AuthConfigDocument, KIND, Selector};
use usher_compile::Compiler;
use usher_engine::plan::OnConditionError;
use usher_evaluators::{
    SecretReader, Secrets,
    build_context::Options,
    resources::{
        http,
        kubernetes::{
            Kubernetes, Review, ReviewError, Reviews, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
            TokenReviewSpec, TokenReviewStatus,
        },
    },
};
use usher_server::admission::{Finding, Findings, Reviewer, Subject};

use crate::runtime::{self, CompilerOptions, SetUpError};

/// What is reviewed.
pub(super) const AUTH_CONFIGS: Subject = Subject { group: "authorino.kuadrant.io", version: "v1beta3", kind: KIND };

const _: () = assert!(API_VERSION.len() == AUTH_CONFIGS.group.len() + 1 + AUTH_CONFIGS.version.len());

/// Reviews AuthConfigs. Nothing of those that were reviewed is kept.
#[derive(Debug)]
pub(super) struct AuthConfigs {
    compiler: Compiler,
    /// Knows of no Secret whether it exists: one that is named may be brought later.
    secrets: Secrets,
}

impl AuthConfigs {
    /// To be called outside of a runtime, as the reviews are: within one, what is compiled would fetch.
    ///
    /// # Errors
    /// When there are no random numbers, or no authorities to trust.
    pub(super) fn new() -> Result<Self, SetUpError> {
        let options = CompilerOptions {
            // What the servers in the cluster are told is not known here. Only without route look-up may an AuthConfig be
            // invalid there that is let pass here; its status tells.
            evaluators: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
            on_condition_error: OnConditionError::Undecidable,
            allow_route_lookup: true,
            secret_label_selector: Selector::default(),
            http: http::Options::default(),
            kubernetes: Kubernetes { reviews: Some(Arc::new(Elsewhere)), rate: None },
        };
        // Nothing runs, so nothing is counted: the metrics of what is compiled are shown nowhere.
        let compiler = runtime::compiler(options, &Registry::new())?;
        Ok(Self { compiler, secrets: Secrets::on_demand() })
    }

    fn compile(&self, auth_config: &AuthConfig) -> Findings {
        let _forgotten = Forgotten { compiler: &self.compiler, auth_config };
        let reader = SecretReader::new(&self.secrets, &auth_config.metadata.namespace);
        match self.compiler.compile(auth_config, &reader) {
            Ok(compiled) => Findings { problems: Vec::new(), warnings: findings(compiled.warnings) },
            Err(refused) => {
                let mut problems = refused.problems;
                if reader.is_waiting() {
                    problems.retain(|problem| !names_a_rule_that_waits(&problem.message, auth_config));
                }
                Findings { problems: findings(problems), warnings: Vec::new() }
            }
        }
    }
}

impl Reviewer for AuthConfigs {
    fn review(&self, object: Value) -> Findings {
        match AuthConfigDocument::from_kubernetes(object).result {
            Ok(auth_config) => self.compile(&auth_config),
            Err(problems) => {
                let problems = problems.into_iter();
                let problems = problems.map(|problem| Finding { path: problem.path, message: problem.message });
                Findings { problems: problems.collect(), warnings: Vec::new() }
            }
        }
    }
}

fn findings(problems: Vec<usher_evaluators::Problem>) -> Vec<Finding> {
    problems.into_iter().map(|problem| Finding { path: problem.path, message: problem.message }).collect()
}

/// A rule that needs a Secret is not built here, and who refers to it does not find it. That is no problem of theirs; if
/// the rule is not built for another reason, there is another problem.
fn names_a_rule_that_waits(message: &str, auth_config: &AuthConfig) -> bool {
    let rule = message.strip_prefix("missing identity config ");
    rule.is_some_and(|rule| auth_config.spec.authentication.contains_key(rule))
}

/// Makes the compiler forget an AuthConfig in the end, even after a panic.
struct Forgotten<'a> {
    compiler: &'a Compiler,
    auth_config: &'a AuthConfig,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        let metadata = &self.auth_config.metadata;
        self.compiler.metrics.forget(&metadata.namespace.as_str().into(), &metadata.name.as_str().into());
    }
}

/// The Kubernetes API as rules know it while they are compiled: the servers in the cluster have one.
#[derive(Debug)]
struct Elsewhere;

impl Reviews for Elsewhere {
    fn token_review(&self, _: TokenReviewSpec, _: Option<Duration>) -> Review<'_, TokenReviewStatus> {
        Box::pin(std::future::ready(Err(nothing_is_asked())))
    }

    fn subject_access_review(
        &self,
        _: SubjectAccessReviewSpec,
        _: Option<Duration>,
    ) -> Review<'_, SubjectAccessReviewStatus> {
        Box::pin(std::future::ready(Err(nothing_is_asked())))
    }
}

fn nothing_is_asked() -> ReviewError {
    ReviewError { reason: "kubernetes API is not asked", detail: "AuthConfigs are only reviewed here".to_owned() }
}

#[cfg(test)]
mod tests;
