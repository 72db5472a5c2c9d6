//! What an evaluator may ask for while it is built.

use std::sync::Arc;

use usher_engine::observe::Metrics;

use crate::{
    FieldPath, Problems, conditions::NamedSets, identity::Identities, resources::Resources, secrets::SecretReader,
};

/// What an evaluator may ask for while it is built from its specification. Building is synchronous and without I/O:
/// what needs the network is a handle of [`Resources`].
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// The namespace of the AuthConfig.
    pub namespace: &'a Arc<str>,
    /// The name of the AuthConfig.
    pub name: &'a Arc<str>,
    /// The named pattern sets of the AuthConfig.
    pub patterns: &'a NamedSets,
    /// The authentication rules of the AuthConfig, once they are built.
    pub identities: &'a Identities,
    /// The Secrets that the AuthConfig may name.
    pub secrets: &'a SecretReader<'a>,
    /// What is shared by all plans and outlives them.
    pub resources: &'a Arc<Resources>,
    /// Where counters come from.
    pub metrics: &'a Arc<Metrics>,
    /// What the operator of the process chose.
    pub options: &'a Options,
}

impl BuildContext<'_> {
    /// Where Secrets count that a rule finds by their labels: in the AuthConfig's own namespace, or, if it wants that and
    /// the process can, everywhere (nothing).
    pub(crate) fn namespace_of_secrets(
        &self,
        all_namespaces: bool,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<Arc<str>> {
        if all_namespaces && !self.options.all_namespaces {
            problems.warn(
                &at.field("allNamespaces"),
                "only Secrets of the AuthConfig's own namespace count: the server does not watch all namespaces",
            );
        }
        let everywhere = all_namespaces && self.options.all_namespaces;
        (!everywhere).then(|| Arc::clone(self.namespace))
    }
}

/// Choices of the operator of the process that concern evaluators.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that the cache of one rule may hold.
    pub evaluator_cache_bytes: u64,
    /// Whether every rule has counters of its own, not only those with `metrics: true`.
    pub deep_metrics: bool,
    /// Whether `allNamespaces` reaches beyond the namespace of the AuthConfig: only a process that watches all
    /// namespaces may.
    pub all_namespaces: bool,
}
