//! The road through each gateway of the field, with the manifests of `deploy/gateways`.
//!
//! ```text
//!  deploy/gateways/GATEWAY ──► what the gateway makes of it (translate.rs) ──► a real Envoy ──┐
//!                     └──────► AuthConfigs ──► the program under test ◄───────────────────────┘
//! ```
//!
//! What users are told to apply is what is run: each test reads the files of its gateway, and makes of them the
//! configuration that the gateway gives to its Envoys. agentgateway is no Envoy: a client in its place does what it does.
//! `guides` follows the guides `docs/gateways/*.md` in the same way, command by command.

mod agentgateway;
mod elision;
mod envoy;
mod envoy_gateway;
mod gateway_api;
mod guides;
mod istio;
mod istio_waypoint;
mod kgateway;
mod manifests;
mod needs;
mod units;
mod workloads;

/// The ports of the processes behind an Envoy.
#[derive(Debug, Clone, Copy)]
struct Ports {
    /// What policies, providers and extensions refer to.
    usher: u16,
    /// What routes lead to.
    upstream: u16,
}
