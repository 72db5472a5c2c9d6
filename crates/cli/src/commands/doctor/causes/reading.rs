//! Rules run, but do not see what the client sent.

use super::{
    super::gateway::Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway},
    ANY, Cause,
    Checks::{None as NoCheck, One, Several},
    Observed, Signs,
    Status::Is,
    Text, always, on,
};

/// What Usher says where it does not learn who calls.
const NO_IDENTITY: &[&str] = &[
    "the connection has no SPIFFE identity",
    "header x-forwarded-client-cert not found in request",
    "no SPIFFE identity found in XFCC header",
    "the trust domain is not accepted",
];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        title: "A list of headers is too short",
        signs: Signs {
            gateways: &[Kgateway, EnvoyGateway, Envoy, GatewayApi],
            status: &[Is(401), Is(403), Is(503)],
            checks: &[One, Several],
            observed: &[Observed::HeaderMissing],
            ..ANY
        },
        why: "With a list, the gateway sends these headers and no others, not even `:path` and `:method` as headers. \
              What is missing looks absent to rules: credentials are not found, conditions are false, and a header \
              that an AuthConfig empties or adds to is taken for one that the client did not send. If none of the \
              listed headers is there, `request.headers` does not exist at all, and expressions that read one cannot \
              be evaluated: list `x-request-id`, which the gateway always writes.",
        proof: &[
            "`incoming authorization request` in the log (level debug) shows which headers arrived.",
            "`usher doctor needs --config PATH --gateway …` prints the list that is complete.",
        ],
        changes: &[
            on(&[Kgateway], "`headersToForward` of the GatewayExtension: leave it out, or use the list."),
            on(&[EnvoyGateway], "`headersToExtAuth` of the SecurityPolicy: leave it out, or use the list."),
            on(
                &[Envoy],
                "`allowed_headers` of the filter: leave it out, or use the list; and look at `disallowed_headers`.",
            ),
            on(&[GatewayApi], "`grpc.allowedHeaders` of the filter: leave it empty, or use the list."),
        ],
    },
    Cause {
        title: "The body is longer than the gateway collects",
        signs: Signs {
            status: &[Is(413)],
            checks: &[NoCheck],
            details: &["request_payload_too_large"],
            reason: Text::Absent,
            ..ANY
        },
        why: "If bodies are sent along and partial ones are not allowed, a longer body is refused before Usher is \
              asked, even where failures may pass. The port for plain HTTP checks has a limit of its own, \
              `--max-http-request-body-size`.",
        proof: &["A shorter body passes. Usher's log has nothing."],
        changes: &[
            on(
                &[Kgateway],
                "a larger `maxRequestBytes` of `withRequestBody`, in the TrafficPolicy of the route or in the \
                 GatewayExtension.",
            ),
            on(&[Istio, IstioWaypoint], "a larger `maxRequestBytes` of `includeRequestBodyInCheck`."),
            on(&[EnvoyGateway], "a larger `maxRequestBytes` of `bodyToExtAuth`."),
            on(&[Envoy], "a larger `max_request_bytes` of `with_request_body`."),
            on(
                &[Agentgateway],
                "a larger `maxRequestBytes` of `includeRequestBody` in its standalone file. An AgentgatewayPolicy \
                 never answers 413: `forwardBody` cuts what is longer.",
            ),
            on(&[GatewayApi], "a larger `maxSize` of `forwardBody`."),
            always("or leave the body out on routes whose rules read none (`usher doctor needs` tells)."),
            always(
                "no partial messages instead (`allowPartialMessage: true`, `allow_partial_message`): rules would see \
                 the beginning only, and a body that was padded may look complete to them, while the upstream gets \
                 all of it.",
            ),
        ],
    },
    Cause {
        title: "The body does not arrive, or not all of it",
        signs: Signs { checks: &[One, Several], observed: &[Observed::BodyMissing], ..ANY },
        why: "Without a setting no body is sent, and `request.body` is empty. Partial bodies end at the limit: \
              `request.size` tells (with agentgateway it is -1), and with Envoy the header \
              `x-envoy-auth-partial-body: true`. Sent as text, bytes that are no text become `!` (with agentgateway \
              `U+FFFD`), so that signatures do not fit; sent as bytes, `request.body` is empty and `request.raw_body` \
              has them.",
        proof: &["`usher doctor needs --config PATH` says whether rules read the body, and as what."],
        changes: &[
            on(
                &[Kgateway],
                "`withRequestBody` of the GatewayExtension or the TrafficPolicy, `packAsBytes` as it is read.",
            ),
            on(&[Istio, IstioWaypoint], "`includeRequestBodyInCheck` of the provider, `packAsBytes` as it is read."),
            on(&[EnvoyGateway], "`bodyToExtAuth` of the SecurityPolicy; it sends text only."),
            on(&[Agentgateway], "`forwardBody` of the policy; it sends text only, and of a longer body the beginning."),
            on(&[Envoy], "`with_request_body` of the filter, `pack_as_bytes` as it is read."),
            on(&[GatewayApi], "`forwardBody` of the filter."),
        ],
    },
    Cause {
        title: "A waypoint does not say who calls",
        signs: Signs {
            gateways: &[IstioWaypoint],
            status: &[Is(401), Is(403)],
            checks: &[One, Several],
            reason: Text::Contains(NO_IDENTITY),
            log: NO_IDENTITY,
            observed: &[Observed::IdentityMissing],
            ..ANY
        },
        why: "On a waypoint mTLS ends one listener before the one that asks, so that `source.principal` is empty, \
              always.",
        proof: &[
            "`incoming authorization request` in the log (level debug) has no `principal` in `source`, and shows what \
             is in `x-forwarded-client-cert`.",
        ],
        changes: &[
            on(
                &[IstioWaypoint],
                "annotate the Gateway of the waypoint with `ambient.istio.io/xfcc-include-client-identity: \"true\"` \
                 (Istio 1.30 or newer), and use `spiffe` with `trust: xfcc`. There is no certificate in that header: \
                 `x509` cannot use it.",
            ),
            on(
                &[IstioWaypoint],
                "if the reason is `the trust domain is not accepted`: write the trust domain of the mesh into \
                 `trustDomains`.",
            ),
        ],
    },
    Cause {
        title: "The gateway does not pass the client's certificate on",
        signs: Signs {
            status: &[Is(401)],
            checks: &[One, Several],
            reason: Text::Contains(&[
                "client certificate is missing",
                "failed to extract XFCC header",
                "not found in request",
                "client certificate not found in XFCC header",
                "the connection has no SPIFFE identity",
            ]),
            log: &["client certificate is missing", "failed to extract XFCC header"],
            observed: &[Observed::IdentityMissing],
            ..ANY
        },
        why: "Only Envoy that is configured by hand sends the certificate itself. Most others can write it into the \
              header `x-forwarded-client-cert`, which `x509` reads with `source.xfccHeader`. A header that clients \
              can write proves nothing: the gateway must replace it.",
        proof: &[
            "`usher doctor needs --config PATH` says from where the rule takes the certificate.",
            "The client was asked for a certificate at all: the listener must demand it.",
        ],
        changes: &[
            on(
                &[Kgateway],
                "ListenerPolicy (kgateway 2.4 or newer): `spec.default.httpSettings.forwardClientCertDetails: {mode: \
                 SanitizeSet, details: {uri: true, cert: true}}`. `x509` reads `cert`, `spiffe` reads `uri`.",
            ),
            on(
                &[Istio],
                "an ingress gateway writes it for clients whose certificate it verified: `gateway.istio.io/\
                 tls-terminate-mode: MUTUAL` in `tls.options` of a listener of the Gateway API, `tls.mode: MUTUAL` of \
                 Istio's own Gateway. A sidecar adds to what the caller sent, without the certificate: not for `x509`.",
            ),
            on(&[IstioWaypoint], "a waypoint writes `URI=` only: `x509` cannot use it."),
            on(
                &[EnvoyGateway],
                "ClientTrafficPolicy: `tls.clientValidation`, and `headers.xForwardedClientCert: {mode: SanitizeSet, \
                 certDetailsToAdd: [Cert, URI]}`. `x509` reads `Cert`, `spiffe` reads `URI`.",
            ),
            on(
                &[Envoy],
                "`include_peer_certificate: true` in the filter; or, in the listener, `forward_client_cert_details: \
                 SANITIZE_SET` with `set_current_client_cert_details: {uri: true, cert: true}`.",
            ),
            on(
                &[Agentgateway],
                "it sends no certificate, and passes on the client's own `x-forwarded-client-cert`: use `spiffe` with \
                 `trust: connection`.",
            ),
            on(&[GatewayApi], "see how the gateway writes `x-forwarded-client-cert`."),
        ],
    },
    Cause {
        title: "A header names several callers",
        signs: Signs {
            status: &[Is(401)],
            checks: &[One, Several],
            reason: Text::Contains(&["several XFCC elements found", "several URIs found in XFCC header"]),
            log: &["several XFCC elements found", "several URIs found in XFCC header"],
            ..ANY
        },
        why: "Each proxy that appends to `x-forwarded-client-cert` adds an element. The first one is the farthest, \
              and a client may have written it, if the first proxy does not replace the header.",
        proof: &["`incoming authorization request` in the log (level debug) shows the header."],
        changes: &[
            always("let the first proxy replace the header (`SANITIZE_SET`)."),
            always("`xfccElement: last` in the rule, if the nearest proxy is the one to believe."),
        ],
    },
    Cause {
        title: "Metadata of the gateway does not arrive",
        signs: Signs { checks: &[One, Several], observed: &[Observed::MetadataMissing], ..ANY },
        why: "`metadata.filter_metadata` is what filters before this one have written, if the gateway sends it. Most \
              gateways send none, and their own checks of tokens run at the same place or later.",
        proof: &[
            "`usher doctor needs --config PATH` says which namespaces are read.",
            "`incoming authorization request` in the log (level debug) shows `metadata_context`.",
        ],
        changes: &[
            on(
                &[Kgateway, Istio, IstioWaypoint, EnvoyGateway, GatewayApi],
                "this gateway sends none: let an AuthConfig verify the token itself, with `jwt`.",
            ),
            on(
                &[Envoy],
                "`metadata_context_namespaces` of the filter, which must stand behind the one that writes them.",
            ),
            on(
                &[Agentgateway],
                "`requestMetadata` of `grpc`. Without it, claims that its own policy for tokens has verified arrive as \
                 `envoy.filters.http.jwt_authn`.",
            ),
        ],
    },
];
