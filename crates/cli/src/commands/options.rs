//! Options that several commands share.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use usher_api::Selector;
use usher_engine::plan::OnConditionError;
use usher_evaluators::{
    build_context::Options,
    resources::{
        http,
        kubernetes::{Kubernetes, Reviews},
    },
};
use usher_kubernetes::Cluster;
use usher_source::directory;

use crate::{
    runtime::CompilerOptions,
    settings::{Number, boolean},
};

/// Which configuration, for commands that read files.
#[derive(Debug, Args)]
pub(crate) struct FileOptions {
    /// A file or folder with AuthConfigs and Secrets; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) config: Vec<PathBuf>,
}

/// Which part of the configuration counts, and how it is understood.
#[derive(Debug, Args)]
pub(crate) struct ConfigOptions {
    /// Take only objects of this namespace. Empty: all.
    #[arg(long, env = "WATCH_NAMESPACE", default_value = "", value_name = "NAMESPACE")]
    pub(crate) watch_namespace: String,

    /// Take only AuthConfigs with these labels. Empty: all.
    #[arg(long, env = "AUTH_CONFIG_LABEL_SELECTOR", default_value = "", value_name = "SELECTOR")]
    pub(crate) auth_config_label_selector: Selector,

    /// Take API keys only from Secrets with these labels.
    #[arg(
        long,
        env = "SECRET_LABEL_SELECTOR",
        default_value = "authorino.kuadrant.io/managed-by=authorino",
        value_name = "SELECTOR"
    )]
    pub(crate) secret_label_selector: Selector,

    /// Let an AuthConfig claim a host that an older one only covers with a wildcard, or has without the port.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    pub(crate) allow_superseding_host_subsets: bool,

    /// Look up routes before hosts, where the gateway says which route a request takes: AuthConfigs may claim routes of
    /// their namespace, whoever has claimed the hosts.
    #[arg(long, env = "ALLOW_ROUTE_LOOKUP", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    pub(crate) allow_route_lookup: bool,

    /// Size of the cache of each rule, in MiB. Default: 1.
    #[arg(long, env = "EVALUATOR_CACHE_SIZE", default_value = "1", value_name = "MIB")]
    pub(crate) evaluator_cache_size: Number<u64>,

    /// Count and time every rule, not only those with `metrics: true`.
    #[arg(long, env = "DEEP_METRICS_ENABLED", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    pub(crate) deep_metrics_enabled: bool,

    /// What follows when a condition on an AuthConfig or on an authorization rule cannot be evaluated: `undecidable`
    /// answers 503, `skip` skips what the condition is on.
    #[arg(long, env = "ON_CONDITION_ERROR", default_value = "undecidable")]
    pub(crate) on_condition_error: ConditionError,

    /// Addresses that may be called although they are link-local or for cloud metadata, or, with configuration from a
    /// cluster, loopback; may be repeated.
    #[arg(long, env = "ALLOW_UPSTREAM", value_delimiter = ',', value_name = "CIDR")]
    pub(crate) allow_upstream: Vec<http::Cidr>,

    /// The longest answer that is read from whatever is called, in bytes. Default: 1048576.
    #[arg(long, env = "MAX_UPSTREAM_BODY", default_value = "1048576", value_name = "BYTES")]
    pub(crate) max_upstream_body: Number<usize>,
}

/// What follows when a condition cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConditionError {
    /// It cannot be decided.
    Undecidable,
    /// What the condition is on is skipped.
    Skip,
}

impl ConfigOptions {
    /// The namespace whose objects count alone, if there is one.
    pub(crate) fn namespace(&self) -> Option<String> {
        Some(self.watch_namespace.clone()).filter(|namespace| !namespace.is_empty())
    }

    /// Files as the source of configuration.
    pub(crate) fn directory(&self, paths: &[PathBuf]) -> directory::Source {
        let options = directory::Options {
            watch_namespace: self.namespace(),
            auth_config_label_selector: self.auth_config_label_selector.clone(),
            ..directory::Options::default()
        };
        directory::Source::new(paths.to_vec(), options)
    }

    /// How configuration from files is compiled.
    pub(crate) fn for_files(&self) -> CompilerOptions {
        // Configuration from files is written by whoever runs the process.
        self.compiler_options(Kubernetes { reviews: self.reviews(), rate: None }, true)
    }

    /// The cluster that the environment names, for reviews.
    pub(crate) fn reviews(&self) -> Option<Arc<dyn Reviews>> {
        Cluster::from_environment().map(|cluster| Arc::new(cluster) as Arc<dyn Reviews>)
    }

    /// How configuration is compiled.
    pub(crate) fn compiler_options(&self, kubernetes: Kubernetes, allow_loopback: bool) -> CompilerOptions {
        let on_condition_error = match self.on_condition_error {
            ConditionError::Undecidable => OnConditionError::Undecidable,
            ConditionError::Skip => {
                tracing::warn!(
                    "conditions that cannot be evaluated skip authorization rules: requests may pass that should not"
                );
                OnConditionError::Skip
            }
        };
        let mebibytes = self.evaluator_cache_size.or_default("evaluator-cache-size", 1);
        CompilerOptions {
            evaluators: Options {
                evaluator_cache_bytes: mebibytes.saturating_mul(1 << 20),
                deep_metrics: self.deep_metrics_enabled,
                all_namespaces: self.watch_namespace.is_empty(),
            },
            on_condition_error,
            allow_route_lookup: self.allow_route_lookup,
            secret_label_selector: self.secret_label_selector.clone(),
            http: http::Options {
                max_body: self.max_upstream_body.or_default("max-upstream-body", 1 << 20),
                allow_upstream: self.allow_upstream.clone(),
                allow_loopback,
            },
            kubernetes,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        files: FileOptions,
        #[command(flatten)]
        config: ConfigOptions,
    }

    /// What commands get that are told nothing but `--config`.
    pub(crate) fn of_files(path: &Path) -> (FileOptions, ConfigOptions) {
        let Options { files, config } = Options::parse_from([Path::new("test"), Path::new("--config"), path]);
        (files, config)
    }
}
