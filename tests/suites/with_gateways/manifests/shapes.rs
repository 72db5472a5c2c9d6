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
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::reading::{place, text};
use crate::with_gateways::gateway_api::{
    GatewayClassSpec, GatewaySpec, HttpRouteSpec, Object, ReferenceGrantSpec, V1, V1BETA1,
};

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
        "GatewayClass" => Object::<GatewayClassSpec>::parse(document, V1).map(drop),
        "Gateway" => Object::<GatewaySpec>::parse(document, V1).map(drop),
        "HTTPRoute" => Object::<HttpRouteSpec>::parse(document, V1).map(drop),
        "ReferenceGrant" => Object::<ReferenceGrantSpec>::parse(document, V1BETA1).map(drop),
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
