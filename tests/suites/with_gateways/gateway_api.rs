//! The objects of the Gateway API, with the fields that our manifests use, for every gateway. A field that is not here is
//! refused: either the API does not have it, or nothing is made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::documents::Folder;

/// Any object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object<S> {
    api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl<S: DeserializeOwned> Object<S> {
    /// Reads an object.
    ///
    /// # Errors
    /// What an API server refuses: another version of its API, or a field that it does not have.
    pub(super) fn parse(document: &Value, api_version: &str) -> Result<Self, String> {
        let name = format!("{} {}", document["kind"], document["metadata"]["name"]);
        let object: Self = serde_json::from_value(document.clone()).map_err(|error| format!("{name}: {error}"))?;
        if object.api_version == api_version {
            Ok(object)
        } else {
            Err(format!("{name}: `{}` is not `{api_version}`", object.api_version))
        }
    }

    /// The same, for an object that is known to be right.
    pub(super) fn read(document: &Value, api_version: &str) -> Self {
        Self::parse(document, api_version).unwrap_or_else(|error| panic!("{error} in {document:#}"))
    }

    /// Reads all objects of a kind.
    pub(super) fn read_all(folder: &Folder, kind: &str, api_version: &str) -> Vec<Self> {
        folder.of_kind(kind).map(|document| Self::read(document, api_version)).collect()
    }

    /// Reads all objects of a kind that is of a namespace.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and an object that does not say its namespace.
    pub(super) fn in_namespaces(documents: &[Value], kind: &str, api_version: &str) -> Result<Vec<Self>, String> {
        let read = |document: &Value| {
            let object = Self::parse(document, api_version)?;
            if object.metadata.namespace.is_empty() {
                return Err(format!("{kind} `{}`: no namespace", object.metadata.name));
            }
            Ok(object)
        };
        documents.iter().filter(|document| document["kind"] == kind).map(read).collect()
    }
}

/// The version of the API in which these objects are stable.
pub(super) const V1: &str = "gateway.networking.k8s.io/v1";

/// The version of `ReferenceGrant`, which is older.
pub(super) const V1BETA1: &str = "gateway.networking.k8s.io/v1beta1";

/// The group of the API.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayClassSpec {
    pub(super) controller_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewaySpec {
    pub(super) gateway_class_name: String,
    pub(super) listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: String,
    #[serde(default)]
    pub(super) allowed_routes: AllowedRoutes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AllowedRoutes {
    pub(super) namespaces: RouteNamespaces,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteNamespaces {
    pub(super) from: From,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum From {
    All,
    #[default]
    Same,
}

impl Listener {
    /// Whether routes of this namespace may be attached to it, at a Gateway of that namespace.
    pub(super) fn admits(&self, route: &str, gateway: &str) -> bool {
        self.allowed_routes.namespaces.from == From::All || route == gateway
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpRouteSpec {
    parent_refs: Vec<ParentRef>,
    #[serde(default)]
    hostnames: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ParentRef {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    /// What others call its section name.
    pub(super) name: Option<String>,
    #[serde(default)]
    matches: Vec<Match>,
    pub(super) backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    path: PathMatch,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PathMatch {
    pub(super) r#type: PathMatchType,
    pub(super) value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum PathMatchType {
    PathPrefix,
    Exact,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackendRef {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) port: u16,
}

impl Object<HttpRouteSpec> {
    /// Whether it names this Gateway as a parent.
    pub(super) fn has_parent(&self, gateway: &Metadata) -> bool {
        self.spec.parent_refs.iter().any(|parent| {
            let namespace = parent.namespace.as_deref().unwrap_or(&self.metadata.namespace);
            parent.name == gateway.name && namespace == gateway.namespace
        })
    }
}

impl HttpRouteSpec {
    /// Its host names.
    ///
    /// # Panics
    /// If there are none: then it is for any host of its listener.
    pub(super) fn hostnames(&self) -> &[String] {
        assert!(!self.is_for_any_host(), "a route without host names is not translated here");
        &self.hostnames
    }

    /// Whether it has no host names.
    pub(super) fn is_for_any_host(&self) -> bool {
        self.hostnames.is_empty()
    }
}

impl Rule {
    /// # Panics
    /// If it has no backend, or one of another namespace.
    pub(super) fn assert_backends_are_near(&self) {
        let is_near = self.backend_refs.iter().all(|backend| backend.namespace.is_none());
        assert!(is_near && !self.backend_refs.is_empty(), "backends elsewhere need a ReferenceGrant");
    }

    /// Its matches; without any, every path fits.
    pub(super) fn paths(&self) -> Vec<PathMatch> {
        let every = PathMatch { r#type: PathMatchType::PathPrefix, value: "/".to_owned() };
        if self.matches.is_empty() { vec![every] } else { self.matches.iter().map(|it| it.path.clone()).collect() }
    }
}

impl PathMatch {
    /// Which of two matches comes first, by the rules of the API: exact ones, then longer ones. To be sorted downwards.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        (self.r#type, self.value.len())
    }

    /// The `match` of a route of Envoy.
    pub(super) fn to_envoy(&self) -> Value {
        match self.r#type {
            PathMatchType::Exact => json!({"path": self.value}),
            PathMatchType::PathPrefix if self.value == "/" => json!({"prefix": "/"}),
            PathMatchType::PathPrefix => json!({"path_separated_prefix": self.value.trim_end_matches('/')}),
        }
    }
}

/// What a policy is for. The kinds of policy are those of the gateways; this part of them is of the Gateway API.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TargetRef {
    pub(super) group: String,
    pub(super) kind: String,
    name: String,
    section_name: Option<String>,
}

impl TargetRef {
    /// Whether it names this object, or this listener or rule of it.
    pub(super) fn names(&self, group: &str, kind: &str, name: &str, section_name: Option<&str>) -> bool {
        (&*self.group, &*self.kind, &*self.name, self.section_name.as_deref()) == (group, kind, name, section_name)
    }
}

/// `ReferenceGrant`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReferenceGrantSpec {
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
    pub(super) fn admits(
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
