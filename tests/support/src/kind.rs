//! The kinds of objects that the server knows.

use std::sync::Arc;

use serde_json::Value;

/// One kind of objects.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Whether there is a `/status` beside each object, which alone changes the status.
    pub(crate) status: bool,
    /// Whether a CustomResourceDefinition defined it. Such objects count generations and name their kind in lists.
    pub(crate) custom: bool,
    /// `openAPIV3Schema`.
    pub(crate) schema: Option<Value>,
}

/// Group, version, and plural.
pub(crate) type KindKey = (String, String, String);

impl Kind {
    pub(crate) fn key(&self) -> KindKey {
        (self.group.clone(), self.version.clone(), self.plural.clone())
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Such as `authconfigs.authorino.kuadrant.io`.
    pub(crate) fn qualified_plural(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// Such as `AuthConfig.authorino.kuadrant.io`.
    pub(crate) fn qualified_kind(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// The kinds that a CustomResourceDefinition defines: one for each version that is served.
    pub(crate) fn from_definition(definition: &Value) -> Vec<Self> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().cloned().unwrap_or_default();
        versions
            .iter()
            .filter(|version| version["served"] == true)
            .map(|version| Self {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                plural: text(&spec["names"]["plural"]),
                kind: text(&spec["names"]["kind"]),
                namespaced: spec["scope"] != "Cluster",
                status: version["subresources"]["status"].is_object(),
                custom: true,
                schema: version["schema"].get("openAPIV3Schema").cloned(),
            })
            .collect()
    }

    /// The kinds that are there from the beginning. AuthConfigs are among them, without a schema.
    pub(crate) fn built_in() -> Vec<Arc<Self>> {
        let namespaced = [
            ("", "v1", "secrets", "Secret"),
            ("", "v1", "configmaps", "ConfigMap"),
            ("", "v1", "serviceaccounts", "ServiceAccount"),
            ("", "v1", "services", "Service"),
            ("", "v1", "pods", "Pod"),
            ("", "v1", "events", "Event"),
            ("apps", "v1", "deployments", "Deployment"),
            ("coordination.k8s.io", "v1", "leases", "Lease"),
            ("rbac.authorization.k8s.io", "v1", "roles", "Role"),
            ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
        ];
        let cluster = [
            ("", "v1", "namespaces", "Namespace"),
            ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
            ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
            ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
            ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
        ];
        let make = |(group, version, plural, kind): (&str, &str, &str, &str), namespaced, custom| {
            Arc::new(Self {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                kind: kind.to_owned(),
                namespaced,
                status: custom || matches!(plural, "pods" | "deployments" | "services" | "customresourcedefinitions"),
                custom,
                schema: None,
            })
        };
        namespaced
            .into_iter()
            .map(|names| make(names, true, false))
            .chain(cluster.into_iter().map(|names| make(names, false, false)))
            .chain([make(("authorino.kuadrant.io", "v1beta3", "authconfigs", "AuthConfig"), true, true)])
            .collect()
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
