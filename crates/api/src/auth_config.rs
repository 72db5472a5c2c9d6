//! The AuthConfig: which hosts, and what must hold for a request to them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AuthConfigStatus, AuthenticationSpec, AuthorizationSpec, CallbackSpec, Claimed, HostAliases, MetadataSpec,
    ObjectMeta, PatternExpression, PatternExpressionOrRef, ResponseSpec, RouteReference,
};

/// The `apiVersion` of an AuthConfig, the only one there is.
pub const API_VERSION: &str = "authorino.kuadrant.io/v1beta3";
/// The `kind` of an AuthConfig.
pub const KIND: &str = "AuthConfig";

/// An AuthConfig whose fields were all checked against the schema.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// Name, namespace, labels and the rest of the object's metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: AuthConfigSpec,
    /// What was last reported about it, if the source of the object keeps it.
    pub status: Option<AuthConfigStatus>,
}

/// What a user asks for: who may reach the hosts, under which conditions, and what is passed on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthConfigSpec {
    /// Hosts that this AuthConfig protects, such as `api.example.com`, `api.example.com:8443` or `*.example.com`.
    /// A host belongs to the AuthConfig that claimed it first. An empty list protects nothing.
    pub hosts: Vec<String>,
    /// Other names by which clients call the hosts, and which this AuthConfig then protects, too. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_aliases: Option<HostAliases>,
    /// Routes that this AuthConfig protects, whatever their hosts, where the gateway says which route a request takes.
    /// A route is looked up before the host. Needs a server that looks up routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteReference>,
    /// Named lists of patterns, to be referred to by `patternRef`. All patterns of a list must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, Vec<PatternExpression>>,
    /// Conditions for enforcing this AuthConfig at all. All must hold; otherwise the request is allowed as it is.
    /// Default: always enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<PatternExpressionOrRef>,
    /// Ways to authenticate, by name. One that succeeds is enough. Default: one named `anonymous` that lets anyone in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authentication: BTreeMap<String, Box<AuthenticationSpec>>,
    /// Sources of further data for the decision, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Box<MetadataSpec>>,
    /// Rules that must all grant access, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorization: BTreeMap<String, Box<AuthorizationSpec>>,
    /// What is answered, and what is added to requests that are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseSpec>,
    /// HTTP requests that are sent once the decision is made, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callbacks: BTreeMap<String, Box<CallbackSpec>>,
}

impl AuthConfigSpec {
    /// What leads requests to it.
    #[must_use]
    pub fn claimed(&self) -> Claimed {
        let Self { hosts, host_aliases, routes, .. } = self;
        Claimed { hosts: hosts.clone(), host_aliases: *host_aliases, routes: routes.clone() }
    }
}
