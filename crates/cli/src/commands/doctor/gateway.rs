//! The gateways that are told apart.

use std::fmt;

/// A gateway, or the way in which it is configured.
#[expect(clippy::enum_variant_names, reason = "that is what they are called")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Gateway {
    /// kgateway with Envoy.
    Kgateway,
    /// Istio, in front of workloads: sidecars and ingress gateways.
    Istio,
    /// A waypoint of Istio's ambient mesh.
    #[value(alias = "waypoint")]
    IstioWaypoint,
    /// Envoy Gateway.
    EnvoyGateway,
    /// agentgateway.
    Agentgateway,
    /// Envoy, configured by hand.
    Envoy,
    /// Any gateway that implements the filter `ExternalAuth` of the Gateway API.
    GatewayApi,
}

impl Gateway {
    /// What its users call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kgateway => "kgateway",
            Self::Istio => "Istio",
            Self::IstioWaypoint => "Istio waypoint",
            Self::EnvoyGateway => "Envoy Gateway",
            Self::Agentgateway => "agentgateway",
            Self::Envoy => "Envoy",
            Self::GatewayApi => "Gateway API",
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
