//! What gateways send without being told, and what they never send.

use usher_api::XFCC_HEADER;
use usher_compile::needs::{Attribute, Body, Which};
use usher_engine::route;

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

/// So many headers a list of the gateway may have; `None`: as many as there are.
pub(super) fn most_headers(gateway: Gateway) -> Option<usize> {
    // The schema of the HTTPRoute refuses a longer one.
    (gateway == Gateway::GatewayApi).then_some(64)
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
        Attribute::SourceDetails => "service name and labels of the client (source)".to_owned(),
        Attribute::DestinationPrincipal => "name of the gateway's certificate (destination.principal)".to_owned(),
        Attribute::DestinationDetails => "certificate, service name and labels of the gateway (destination)".to_owned(),
        Attribute::FilterMetadata(name) => which("filter metadata", name),
        Attribute::TypedFilterMetadata(name) => which("typed filter metadata", name),
        Attribute::RouteMetadata(name) => which("route metadata", name),
        Attribute::TypedRouteMetadata(name) => which("typed route metadata", name),
        Attribute::TlsSession => "server name of the TLS connection".to_owned(),
    }
}

/// What no setting for checks brings about.
pub(super) fn remark(gateway: Gateway, attribute: &Attribute) -> Option<&'static str> {
    use Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway};
    const NEVER: &str = "this gateway does not send it";
    let never = Some(NEVER);
    let only_envoy = (gateway != Envoy).then_some(NEVER);
    match attribute {
        Attribute::Header(Which::Named(name)) if name == XFCC_HEADER => match gateway {
            Kgateway => Some(
                "ListenerPolicy (kgateway 2.4 or newer), spec.default.httpSettings.forwardClientCertDetails: \
                 {mode: SanitizeSet, details: {uri: true, cert: true}}",
            ),
            Istio => Some(
                "ingress gateways write it for verified clients; sidecars add to what the caller sent, without Cert=",
            ),
            IstioWaypoint => Some(
                "for `spiffe`, annotate the waypoint with ambient.istio.io/xfcc-include-client-identity: \"true\"; `x509` \
                 cannot use it, it has no Cert=",
            ),
            EnvoyGateway => Some(
                "ClientTrafficPolicy, headers.xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [Cert, URI]}",
            ),
            Envoy => Some(
                "in the listener forward_client_cert_details: SANITIZE_SET and set_current_client_cert_details: \
                 {uri: true, cert: true}",
            ),
            // Whoever reads it there believes the client.
            Agentgateway => Some(
                "this gateway does not write it and passes on the client's own: use `spiffe` with `trust: connection`",
            ),
            GatewayApi => Some("see that the gateway writes it, and that clients cannot"),
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
            EnvoyGateway if name == route::ENVOY_GATEWAY => None,
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
        Attribute::SourceCertificate => match gateway {
            Envoy => None,
            IstioWaypoint => Some("this gateway does not send it, and x-forwarded-client-cert has only the identity"),
            Agentgateway => Some("this gateway does not send it: use `spiffe` with `trust: connection`"),
            Kgateway | Istio | EnvoyGateway | GatewayApi => {
                Some("this gateway does not send it: let it write x-forwarded-client-cert, and read that")
            }
        },
        Attribute::DestinationPrincipal => Some("there only if the listener has TLS"),
        Attribute::SourceDetails | Attribute::DestinationDetails => Some("hardly any gateway sends them"),
        Attribute::TlsSession => match gateway {
            Envoy | Agentgateway => None,
            _ => never,
        },
    }
}
