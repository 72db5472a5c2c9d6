//! How AuthConfigs are named.

use std::sync::Arc;

use usher_api::ObjectMeta;

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
