//! `status`: what is reported about an AuthConfig.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is reported about an AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfigStatus {
    /// The conditions `Available` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<AuthConfigCondition>,
    /// Numbers at a glance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<AuthConfigSummary>,
    /// `metadata.generation` of the version that all this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `metadata.generation` of the version that is served. Lower than `observedGeneration` where the newer version cannot
    /// be served; missing where no version is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_generation: Option<i64>,
}

/// One condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfigCondition {
    /// `Available`: at least one host is served. `Ready`: all hosts are served, as the AuthConfig says. `HostConflict`:
    /// other AuthConfigs want the same hosts. `Warnings`: something works, but probably not as meant. The last two are there
    /// only as long as that is so.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: Option<String>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When anything of the condition last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_updated_time: Option<String>,
}

/// Numbers at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfigSummary {
    /// Whether the condition `Ready` is true.
    pub ready: bool,
    /// The hosts that are served, in alphabetical order.
    pub hosts_ready: Vec<String>,
    /// How many of the hosts are served, such as `1/2`.
    pub num_hosts_ready: String,
    /// Number of authentication rules.
    pub num_identity_sources: i64,
    /// Number of metadata sources.
    pub num_metadata_sources: i64,
    /// Number of authorization rules.
    pub num_authorization_policies: i64,
    /// Number of headers and members of the dynamic metadata that are added to allowed requests.
    pub num_response_items: i64,
    /// Whether one of these is a wristband.
    pub festival_wristband_enabled: bool,
}
