//! What gateways send without being told, and what they never send.

use usher_compile::needs::{Attribute, Body, Which};

use crate::commands::doctor::gateway::Gateway;

/// The setting that restricts headers; `None`: all are sent, always.
pub(super) fn header_field(gateway: Gateway) -> Option<&'static str> {
    match gateway {
        Gateway::Kgateway => Some("headersToForward"),
        Gateway::EnvoyGateway => Some("headersToExtAuth"),
        Gateway::Envoy => Some("allowed_headers"),
        Gateway::GatewayApi => Some("allowedHeaders"),
        Gateway::Istio | Gateway::IstioWaypoint | Gateway::Agentgateway => None,
    }
}

/// What is read, in words.
pub(in crate::commands::doctor) fn title(attribute: &Attribute) -> String {
    let which = |what: &str, which: &Which| match which {
        Which::All => format!("{what}: any"),
        Which::Named(name) => format!("{what} {name}"),
    };
    match attribute {
        Attribute::Header(Which::All) => "all headers".to_owned(),
        Attribute::Header(Which::Named(name)) => format!("header {name}"),
        Attribute::Cookie(name) => format!("cookie {name}"),
        Attribute::RawHeaders => "list of raw headers".to_owned(),
        Attribute::Body(Body::Text) => "body, as text".to_owned(),
        Attribute::Body(Body::Bytes) => "body, as bytes".to_owned(),
        Attribute::Body(Body::Size) => "size of the body".to_owned(),
        Attribute::ContextExtension(name) => which("context extension", name),
        Attribute::Route(name) => format!("route {name}"),
        Attribute::SourcePrincipal => "name of the client's certificate (source.principal)".to_owned(),
        Attribute::SourceCertificate => "client certificate (source.certificate)".to_owned(),
        Attribute::SourceLabels => "service name and labels of the client (source)".to_owned(),
        Attribute::DestinationPrincipal => "name of the gateway's certificate (destination.principal)".to_owned(),
        Attribute::DestinationLabels => "labels of the gateway (destination)".to_owned(),
        Attribute::FilterMetadata(name) => which("filter metadata", name),
        Attribute::TypedFilterMetadata(name) => which("typed filter metadata", name),
        Attribute::RouteMetadata(name) => which("route metadata", name),
        Attribute::TypedRouteMetadata(name) => which("typed route metadata", name),
        Attribute::TlsSession => "server name of the TLS connection".to_owned(),
    }
}

const XFCC: &str = "x-forwarded-client-cert";

/// What no setting for checks brings about.
pub(super) fn remark(gateway: Gateway, attribute: &Attribute) -> Option<&'static str> {
    use Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway};
    const NEVER: &str = "this gateway does not send it";
    let never = Some(NEVER);
    let only_envoy = (gateway != Envoy).then_some(NEVER);
    match attribute {
        Attribute::Header(Which::Named(name)) if name == XFCC => match gateway {
            Kgateway => Some("let the listener's policy write it: forward mode SanitizeSet"),
            Istio => Some("ingress gateways write it for verified clients (SANITIZE_SET), sidecars append to it"),
            IstioWaypoint => Some(
                "annotate the waypoint with ambient.istio.io/xfcc-include-client-identity: \"true\"; it has no Cert=",
            ),
            EnvoyGateway => Some("ClientTrafficPolicy, headers.xForwardedClientCert.mode: SanitizeSet"),
            Envoy => {
                Some("forward_client_cert_details: SANITIZE_SET and set_current_client_cert_details of the listener")
            }
            Agentgateway | GatewayApi => Some("see that the gateway writes it, and that clients cannot"),
        },
        Attribute::Header(_) | Attribute::Cookie(_) | Attribute::Body(_) => None,
        Attribute::RawHeaders
        | Attribute::TypedFilterMetadata(Which::Named(_))
        | Attribute::TypedRouteMetadata(Which::Named(_)) => only_envoy,
        Attribute::FilterMetadata(Which::Named(name)) => match gateway {
            Envoy => None,
            Agentgateway if name == super::JWT_AUTHN => Some("sent if a policy of this gateway verifies tokens"),
            Agentgateway => Some("write the expression that gives it"),
            _ => never,
        },
        Attribute::RouteMetadata(Which::Named(name)) => match gateway {
            Envoy => None,
            EnvoyGateway if name == "envoy-gateway" => None,
            _ => never,
        },
        Attribute::FilterMetadata(Which::All)
        | Attribute::TypedFilterMetadata(Which::All)
        | Attribute::RouteMetadata(Which::All)
        | Attribute::TypedRouteMetadata(Which::All) => match gateway {
            Envoy => Some("name the namespaces that you mean to send"),
            _ => Some("see what this gateway sends"),
        },
        Attribute::ContextExtension(which) => match (gateway, which) {
            (Istio | IstioWaypoint | GatewayApi, _) => never,
            (_, Which::All) => Some("write those that you mean"),
            (_, Which::Named(_)) => Some("write the value that you mean"),
        },
        Attribute::Route(_) => match gateway {
            Istio | IstioWaypoint | GatewayApi => Some("this gateway does not name the route: use hosts"),
            EnvoyGateway | Kgateway | Agentgateway | Envoy => None,
        },
        Attribute::SourcePrincipal => match gateway {
            IstioWaypoint => {
                Some("empty on a waypoint: use x-forwarded-client-cert, as `spiffe` with `trust: xfcc` does")
            }
            Istio | Agentgateway => None,
            Kgateway | EnvoyGateway | Envoy | GatewayApi => {
                Some("there only if the listener asks clients for certificates and verifies them")
            }
        },
        Attribute::SourceCertificate => (gateway != Envoy)
            .then_some("this gateway does not send it: let it write x-forwarded-client-cert, and read that"),
        Attribute::DestinationPrincipal => Some("there only if the listener has TLS"),
        Attribute::SourceLabels | Attribute::DestinationLabels => Some("hardly any gateway sends them"),
        Attribute::TlsSession => match gateway {
            Envoy | Agentgateway => None,
            _ => never,
        },
    }
}
