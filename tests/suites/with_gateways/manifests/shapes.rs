//! Whether objects have only fields that their API knows, with values of the right type.
//!
//! Kinds of Kubernetes and of the Gateway API are read here. The kinds of the gateways are read by what makes a configuration of
//! them, field by field: here only their versions are looked at.

use k8s_openapi::{
    Resource,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::reading::{place, text};

/// All that is wrong.
pub(super) fn wrong(documents: &[Value]) -> Vec<String> {
    let fault = |document: &Value| shape(document).err().map(|why| format!("{}: {why}", place(document)));
    documents.iter().filter_map(fault).collect()
}

fn shape(document: &Value) -> Result<(), String> {
    let version = |expected: &str| match text(document, "apiVersion") {
        version if version == expected => Ok(()),
        version => Err(format!("`{version}` is not `{expected}`")),
    };
    match text(document, "kind") {
        "Service" => built_in::<Service>(document),
        "Namespace" => built_in::<Namespace>(document),
        "Deployment" => built_in::<Deployment>(document),
        "ConfigMap" => built_in::<ConfigMap>(document),
        "Secret" => built_in::<Secret>(document),
        "ServiceAccount" => built_in::<ServiceAccount>(document),
        "GatewayClass" => of_gateway_api::<GatewayClass>(document, "gateway.networking.k8s.io/v1"),
        "Gateway" => of_gateway_api::<Gateway>(document, "gateway.networking.k8s.io/v1"),
        "HTTPRoute" => of_gateway_api::<HttpRoute>(document, "gateway.networking.k8s.io/v1"),
        "ReferenceGrant" => of_gateway_api::<ReferenceGrant>(document, "gateway.networking.k8s.io/v1beta1"),
        "AgentgatewayPolicy" => version("agentgateway.dev/v1alpha1"),
        "GatewayExtension" | "TrafficPolicy" | "HTTPListenerPolicy" | "ListenerPolicy" => {
            version("gateway.kgateway.dev/v1alpha1")
        }
        "SecurityPolicy" | "ClientTrafficPolicy" => version("gateway.envoyproxy.io/v1alpha1"),
        "AuthorizationPolicy" => version("security.istio.io/v1"),
        "IstioOperator" => version("install.istio.io/v1alpha1"),
        // `usher validate` looks at them.
        "AuthConfig" => version("authorino.kuadrant.io/v1beta3"),
        "" if document.get("static_resources").is_some() || document.get("binds").is_some() => Ok(()),
        kind => Err(format!("the kind `{kind}` is not known here")),
    }
}

/// What is read and written again is what it was: no field was unknown.
fn built_in<T: Resource + DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(&read).map_err(|error| error.to_string())?;
    if written == *document { Ok(()) } else { Err(format!("unknown fields: read as {written}")) }
}

fn of_gateway_api<T: DeserializeOwned>(document: &Value, version: &str) -> Result<(), String> {
    let object: Object<T> = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    if object.api_version == version { Ok(()) } else { Err(format!("`{}` is not `{version}`", object.api_version)) }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "that they can be read is all that counts")]
struct Object<T> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: T,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they can be read is all that counts")]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// Of the Gateway API: what these manifests use.
macro_rules! shapes {
    ($($name:ident { $($field:ident $(as $wire:literal)?: $type:ty,)* })*) => {$(
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[expect(dead_code, reason = "that they can be read is all that counts")]
        struct $name { $($(#[serde(rename = $wire)])? $field: $type,)* }
    )*};
}

shapes! {
    GatewayClass { controller_name: String, }
    Gateway { gateway_class_name: String, listeners: Vec<Listener>, }
    Listener {
        name: String,
        port: u16,
        protocol: String,
        hostname: Option<String>,
        tls: Option<Value>,
        allowed_routes: Option<AllowedRoutes>,
    }
    AllowedRoutes { namespaces: Option<RouteNamespaces>, }
    RouteNamespaces { from: Option<String>, selector: Option<Value>, }
    HttpRoute { parent_refs: Vec<Parent>, hostnames: Option<Vec<String>>, rules: Vec<Rule>, }
    Parent {
        group: Option<String>,
        kind: Option<String>,
        namespace: Option<String>,
        name: String,
        section_name: Option<String>,
        port: Option<u16>,
    }
    Rule { name: Option<String>, matches: Option<Vec<Match>>, filters: Option<Vec<Value>>, backend_refs: Vec<Backend>, }
    Match { path: Option<PathMatch>, headers: Option<Vec<NameValue>>, method: Option<String>, }
    PathMatch { kind as "type": String, value: String, }
    NameValue { kind as "type": Option<String>, name: String, value: String, }
    Backend {
        group: Option<String>,
        kind: Option<String>,
        name: String,
        namespace: Option<String>,
        port: u16,
        weight: Option<u32>,
    }
    ReferenceGrant { from: Vec<GrantFrom>, to: Vec<GrantTo>, }
    GrantFrom { group: String, kind: String, namespace: String, }
    GrantTo { group: String, kind: String, name: Option<String>, }
}
