//! What leads requests to an AuthConfig: hosts, other names of hosts, routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an AuthConfig claims: the part of its specification that leads requests to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claimed {
    /// `spec.hosts`
    pub hosts: Vec<String>,
    /// `spec.hostAliases`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_aliases: Option<HostAliases>,
    /// `spec.routes`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteReference>,
}

impl Claimed {
    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.routes.is_empty()
    }

    /// What can be read of it in a specification that may be wrong.
    pub(crate) fn read(spec: &Value) -> Self {
        let items = |name| spec.get(name).and_then(Value::as_array).into_iter().flatten();
        Self {
            hosts: items("hosts").filter_map(|host| host.as_str().map(str::to_owned)).collect(),
            // There is only one kind of them that anybody can have meant.
            host_aliases: spec.get("hostAliases").filter(|it| !it.is_null()).map(|_| HostAliases::KubernetesService),
            routes: items("routes").flat_map(RouteReference::read).collect(),
        }
    }
}

/// Other names of the hosts of an AuthConfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HostAliases {
    /// Each host that is the full name of a Kubernetes Service, such as `shop.web.svc.cluster.local`, stands for its
    /// shorter forms, too: `shop`, `shop.web` and `shop.web.svc`. The shortest one is nobody's if others stand for it in
    /// this way as well, or if a younger AuthConfig of another namespace lists it: requests for it are not decided. The
    /// longer ones are claimed as if they were listed.
    KubernetesService,
}

/// A route of a gateway, in the namespace of the AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteReference {
    /// Kind of the route. Default: `HTTPRoute`.
    #[serde(default)]
    pub kind: RouteKind,
    /// Name of the route.
    pub name: String,
    /// Name of one of its rules. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl RouteReference {
    /// The routes that can be meant by a reference that may be wrong: too many rather than too few.
    fn read(reference: &Value) -> Vec<Self> {
        let Some(name) = reference.get("name").and_then(Value::as_str) else { return Vec::new() };
        let kinds = match reference.get("kind").map(RouteKind::deserialize) {
            None => vec![RouteKind::default()],
            Some(Ok(kind)) => vec![kind],
            Some(Err(_)) => vec![RouteKind::Http, RouteKind::Grpc],
        };
        let section_name = reference.get("sectionName").and_then(Value::as_str).map(str::to_owned);
        let of_kind = |kind| Self { kind, name: name.to_owned(), section_name: section_name.clone() };
        kinds.into_iter().map(of_kind).collect()
    }
}

/// The kind of a route of the Gateway API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// `HTTPRoute`
    #[default]
    #[serde(rename = "HTTPRoute")]
    Http,
    /// `GRPCRoute`
    #[serde(rename = "GRPCRoute")]
    Grpc,
}

impl RouteKind {
    /// The kind as the Gateway API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }
}
