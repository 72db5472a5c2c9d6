//! The objects of the Gateway API, with the fields that our manifests use. A field that is not here is refused: either the
//! API does not have it, or nothing is made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::documents::Folder;

/// Any object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct Object<S> {
    api_version: String,
    kind: String,
    pub(in crate::with_gateways) metadata: Metadata,
    pub(in crate::with_gateways) spec: S,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct Metadata {
    pub(in crate::with_gateways) name: String,
    #[serde(default)]
    pub(in crate::with_gateways) namespace: String,
    #[serde(default)]
    pub(in crate::with_gateways) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::with_gateways) annotations: BTreeMap<String, String>,
}

impl<S: DeserializeOwned> Object<S> {
    /// Reads an object, which must be of this version of its API.
    pub(in crate::with_gateways) fn read(document: &Value, api_version: &str) -> Self {
        let object: Self =
            serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{error} in {document:#}"));
        assert_eq!(object.api_version, api_version, "{} {}", object.kind, object.metadata.name);
        object
    }

    /// Reads all objects of a kind.
    pub(in crate::with_gateways) fn read_all(folder: &Folder, kind: &str, api_version: &str) -> Vec<Self> {
        folder.of_kind(kind).map(|document| Self::read(document, api_version)).collect()
    }
}

/// The version of the API in which these objects are stable.
pub(in crate::with_gateways) const V1: &str = "gateway.networking.k8s.io/v1";

/// The group of the API.
pub(in crate::with_gateways) const GROUP: &str = "gateway.networking.k8s.io";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct GatewaySpec {
    pub(in crate::with_gateways) gateway_class_name: String,
    pub(in crate::with_gateways) listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct Listener {
    pub(in crate::with_gateways) name: String,
    pub(in crate::with_gateways) port: u16,
    pub(in crate::with_gateways) protocol: String,
    #[serde(default)]
    pub(in crate::with_gateways) allowed_routes: AllowedRoutes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct AllowedRoutes {
    pub(in crate::with_gateways) namespaces: RouteNamespaces,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct RouteNamespaces {
    pub(in crate::with_gateways) from: From,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(in crate::with_gateways) enum From {
    All,
    #[default]
    Same,
}

impl Listener {
    /// Whether routes of this namespace may be attached to it, at a Gateway of that namespace.
    pub(in crate::with_gateways) fn admits(&self, route: &str, gateway: &str) -> bool {
        self.allowed_routes.namespaces.from == From::All || route == gateway
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct HttpRouteSpec {
    parent_refs: Vec<ParentRef>,
    pub(in crate::with_gateways) hostnames: Vec<String>,
    pub(in crate::with_gateways) rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ParentRef {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct Rule {
    /// What others call its section name.
    pub(in crate::with_gateways) name: Option<String>,
    #[serde(default)]
    matches: Vec<Match>,
    backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    path: PathMatch,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct PathMatch {
    r#type: PathMatchType,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum PathMatchType {
    PathPrefix,
    Exact,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct BackendRef {
    pub(in crate::with_gateways) name: String,
    pub(in crate::with_gateways) namespace: Option<String>,
    pub(in crate::with_gateways) port: u16,
}

impl Object<HttpRouteSpec> {
    /// Whether it names this Gateway as a parent.
    pub(in crate::with_gateways) fn has_parent(&self, gateway: &Metadata) -> bool {
        self.spec.parent_refs.iter().any(|parent| {
            let namespace = parent.namespace.as_deref().unwrap_or(&self.metadata.namespace);
            parent.name == gateway.name && namespace == gateway.namespace
        })
    }
}

impl Rule {
    /// Its matches; without any, every path fits.
    pub(in crate::with_gateways) fn paths(&self) -> Vec<PathMatch> {
        let is_near = self.backend_refs.iter().all(|backend| backend.namespace.is_none());
        assert!(is_near && !self.backend_refs.is_empty(), "backends elsewhere need a ReferenceGrant");
        let every = PathMatch { r#type: PathMatchType::PathPrefix, value: "/".to_owned() };
        if self.matches.is_empty() { vec![every] } else { self.matches.iter().map(|it| it.path.clone()).collect() }
    }
}

impl PathMatch {
    /// Which of two matches comes first, by the rules of the API: exact ones, then longer ones. To be sorted downwards.
    pub(in crate::with_gateways) fn precedence(&self) -> impl Ord + use<> {
        (self.r#type, self.value.len())
    }

    /// The `match` of a route of Envoy.
    pub(in crate::with_gateways) fn to_envoy(&self) -> Value {
        match self.r#type {
            PathMatchType::Exact => json!({"path": self.value}),
            PathMatchType::PathPrefix if self.value == "/" => json!({"prefix": "/"}),
            PathMatchType::PathPrefix => json!({"path_separated_prefix": self.value.trim_end_matches('/')}),
        }
    }
}

/// `ReferenceGrant`, which is older than `v1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct ReferenceGrantSpec {
    from: Vec<GrantFrom>,
    to: Vec<GrantTo>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantFrom {
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantTo {
    group: String,
    kind: String,
    name: Option<String>,
}

impl Object<ReferenceGrantSpec> {
    /// Whether objects of this group, kind and namespace may name the Service.
    pub(in crate::with_gateways) fn admits(
        &self,
        (group, kind, namespace): (&str, &str, &str),
        service: &str,
        service_namespace: &str,
    ) -> bool {
        let from = GrantFrom { group: group.into(), kind: kind.into(), namespace: namespace.into() };
        let fits = |to: &GrantTo| {
            to.group.is_empty() && to.kind == "Service" && to.name.as_deref().is_none_or(|name| name == service)
        };
        self.metadata.namespace == service_namespace && self.spec.from.contains(&from) && self.spec.to.iter().any(fits)
    }
}
