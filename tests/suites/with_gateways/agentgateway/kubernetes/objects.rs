//! The AgentgatewayPolicy, with the fields that are translated.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::Deserialize;

use crate::with_gateways::{
    agentgateway::units,
    gateway_api::{BackendRef, TargetRef},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PolicySpec {
    pub(super) target_refs: Vec<TargetRef>,
    pub(super) strategy: Option<Strategy>,
    pub(super) traffic: Option<Traffic>,
    pub(super) backend: Option<Backend>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Strategy {
    pub(super) inheritance: Option<Inheritance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Inheritance {
    Default,
    Override,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Traffic {
    pub(super) phase: Option<Phase>,
    pub(super) ext_auth: Option<ExtAuth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Phase {
    PreRouting,
    PostRouting,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtAuth {
    pub(super) backend_ref: Option<BackendRef>,
    pub(super) grpc: Option<GrpcProtocol>,
    pub(super) failure_mode: Option<FailureModeName>,
    pub(super) forward_body: Option<ForwardBody>,
    pub(super) cache: Option<CacheSpec>,
    pub(super) conditional: Option<Vec<ConditionalExtAuth>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionalExtAuth {
    pub(super) condition: Option<String>,
    pub(super) policy: ExtAuth,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum FailureModeName {
    FailOpen,
    FailClosed,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrpcProtocol {
    pub(super) context_extensions: Option<HashMap<String, String>>,
    pub(super) request_metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ForwardBody {
    #[serde(deserialize_with = "units::bytes")]
    pub(super) max_size: usize,
}

/// The same in both kinds of configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways::agentgateway) struct CacheSpec {
    pub(super) key: Vec<String>,
    pub(super) ttl: String,
    pub(super) max_entries: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    pub(super) http: Option<BackendHttp>,
    #[expect(dead_code, reason = "connections on the loopback need no time")]
    pub(super) tcp: Option<BackendTcp>,
}

/// The same in both kinds of configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways::agentgateway) struct BackendHttp {
    #[serde(default, deserialize_with = "units::optional")]
    pub(in crate::with_gateways::agentgateway) request_timeout: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackendTcp {
    #[expect(dead_code, reason = "only read")]
    #[serde(default, deserialize_with = "units::optional")]
    pub(super) connect_timeout: Option<Duration>,
}
