//! The objects that kgateway reads, as far as they concern external authorization. A field that is not here is refused: it
//! does not exist in that API, or nobody has thought yet about what kgateway makes of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::with_gateways::gateway_api::{
    BackendRef, GatewaySpec, HttpRouteSpec, Object, ReferenceGrantSpec, TargetRef, V1, V1BETA1,
};

const KGATEWAY: &str = "gateway.kgateway.dev/v1alpha1";

/// All objects of a cluster that matter.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) gateways: Vec<Object<GatewaySpec>>,
    pub(super) routes: Vec<Object<HttpRouteSpec>>,
    pub(super) extensions: Vec<Object<GatewayExtensionSpec>>,
    pub(super) policies: Vec<Object<TrafficPolicySpec>>,
    pub(super) grants: Vec<Object<ReferenceGrantSpec>>,
    pub(super) services: Vec<Object<ServiceSpec>>,
}

impl Cluster {
    /// # Errors
    /// The first thing that an API server would refuse.
    pub(super) fn read(objects: &[Value]) -> Result<Self, String> {
        Ok(Self {
            gateways: Object::in_namespaces(objects, "Gateway", V1)?,
            routes: Object::in_namespaces(objects, "HTTPRoute", V1)?,
            extensions: Object::in_namespaces(objects, "GatewayExtension", KGATEWAY)?,
            policies: Object::in_namespaces(objects, "TrafficPolicy", KGATEWAY)?,
            grants: Object::in_namespaces(objects, "ReferenceGrant", V1BETA1)?,
            services: Object::in_namespaces(objects, "Service", "v1")?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayExtensionSpec {
    /// Once said which of the members there is.
    #[serde(rename = "type")]
    _type: Option<String>,
    pub(super) ext_auth: ExtAuthProvider,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtAuthProvider {
    pub(super) grpc_service: GrpcService,
    #[serde(default)]
    pub(super) fail_open: bool,
    #[serde(default)]
    pub(super) clear_route_cache: bool,
    #[serde(default = "forbidden")]
    pub(super) status_on_error: u16,
    pub(super) with_request_body: Option<RequestBody>,
    #[serde(default)]
    pub(super) headers_to_forward: Vec<String>,
    pub(super) stat_prefix: Option<String>,
}

fn forbidden() -> u16 {
    403
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrpcService {
    pub(super) backend_ref: BackendRef,
    pub(super) authority: Option<String>,
    pub(super) request_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestBody {
    pub(super) max_request_bytes: u32,
    #[serde(default)]
    pub(super) allow_partial_message: bool,
    #[serde(default)]
    pub(super) pack_as_bytes: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TrafficPolicySpec {
    pub(super) target_refs: Vec<TargetRef>,
    pub(super) ext_auth: ExtAuthPolicy,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtAuthPolicy {
    pub(super) extension_ref: Option<ExtensionRef>,
    pub(super) with_request_body: Option<RequestBody>,
    #[serde(default)]
    pub(super) context_extensions: BTreeMap<String, String>,
    pub(super) disable: Option<Disable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtensionRef {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disable {}

/// Kubernetes knows more of it than kgateway looks at.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceSpec {
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) port: u16,
    pub(super) app_protocol: Option<String>,
}
