//! The objects that kgateway reads, as far as they concern external authorization. A field that is not here is refused: it
//! does not exist in that API, or nobody has thought yet about what kgateway makes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The versions of the API of TrafficPolicy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// 2.0.
    Old,
    /// Since 2.1.
    Current,
}

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
    pub(super) fn read(objects: &[Value], release: Release) -> Result<Self, String> {
        let policies = match release {
            Release::Current => of_kind(objects, "gateway.kgateway.dev/v1alpha1", "TrafficPolicy")?,
            Release::Old => of_kind::<OldTrafficPolicySpec>(objects, "gateway.kgateway.dev/v1alpha1", "TrafficPolicy")?
                .into_iter()
                .map(|Object { _api_version, _kind, metadata, spec }| {
                    let spec = TrafficPolicySpec { target_refs: spec.target_refs, ext_auth: spec.ext_auth.into() };
                    Object { _api_version, _kind, metadata, spec }
                })
                .collect(),
        };
        Ok(Self {
            gateways: of_kind(objects, "gateway.networking.k8s.io/v1", "Gateway")?,
            routes: of_kind(objects, "gateway.networking.k8s.io/v1", "HTTPRoute")?,
            extensions: of_kind(objects, "gateway.kgateway.dev/v1alpha1", "GatewayExtension")?,
            policies,
            grants: of_kind(objects, "gateway.networking.k8s.io/v1beta1", "ReferenceGrant")?,
            services: of_kind(objects, "v1", "Service")?,
        })
    }
}

fn of_kind<Spec: DeserializeOwned>(
    objects: &[Value],
    api_version: &str,
    kind: &str,
) -> Result<Vec<Object<Spec>>, String> {
    let objects = objects.iter().filter(|object| object["kind"] == kind);
    let read = |object: &Value| {
        let name = &object["metadata"]["name"];
        if object["apiVersion"] != api_version {
            return Err(format!("{kind} {name}: no matches for {} in {}", kind, object["apiVersion"]));
        }
        serde_json::from_value(object.clone()).map_err(|error| format!("{kind} {name}: {error}"))
    };
    objects.map(read).collect()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object<Spec> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
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
    #[serde(rename = "allowedRoutes")]
    _allowed_routes: AllowedRoutes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AllowedRoutes {
    #[serde(rename = "namespaces")]
    _namespaces: RouteNamespaces,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RouteNamespaces {
    #[serde(rename = "from")]
    _from: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpRouteSpec {
    pub(super) parent_refs: Vec<ParentRef>,
    pub(super) hostnames: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ParentRef {
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: Option<String>,
    pub(super) matches: Vec<RouteMatch>,
    pub(super) backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteMatch {
    pub(super) path: PathMatch,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "value", deny_unknown_fields)]
pub(super) enum PathMatch {
    Exact(String),
    PathPrefix(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackendRef {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) port: u16,
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
pub(super) struct TargetRef {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) section_name: Option<String>,
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldTrafficPolicySpec {
    target_refs: Vec<TargetRef>,
    ext_auth: OldExtAuthPolicy,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldExtAuthPolicy {
    extension_ref: Option<ExtensionRef>,
    with_request_body: Option<RequestBody>,
    #[serde(default)]
    context_extensions: BTreeMap<String, String>,
    enablement: Option<Enablement>,
}

#[derive(Debug, Deserialize)]
enum Enablement {
    DisableAll,
}

impl From<OldExtAuthPolicy> for ExtAuthPolicy {
    fn from(old: OldExtAuthPolicy) -> Self {
        Self {
            extension_ref: old.extension_ref,
            with_request_body: old.with_request_body,
            context_extensions: old.context_extensions,
            disable: old.enablement.map(|Enablement::DisableAll| Disable {}),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReferenceGrantSpec {
    pub(super) from: Vec<GrantFrom>,
    pub(super) to: Vec<GrantTo>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrantFrom {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrantTo {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

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
