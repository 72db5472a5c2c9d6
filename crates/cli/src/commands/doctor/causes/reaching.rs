//! The gateway asks, and gets no answer; or it does not get as far as asking.

use super::{
    super::gateway::Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway},
    ANY, Cause,
    Checks::None as NoCheck,
    Observed, Signs,
    Status::{self, Is},
    Text, always, on,
};

/// What a gateway answers by itself: agentgateway has words for it, others have none.
pub(super) const NO_BODY: Text =
    Text::AbsentOr(&["external authorization failed", "Authorization service unavailable"]);

/// What Usher says when the time of a check is over.
const DEADLINE: &[&str] =
    &["the deadline has passed", "the deadline of a check had passed", "the deadline of the check passed"];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        title: "The gateway speaks HTTP/1.1 to Usher",
        signs: Signs {
            gateways: &[Kgateway, Istio, IstioWaypoint, Envoy, GatewayApi],
            status: &[Is(403), Is(503)],
            after: Some((0, 100)),
            checks: &[NoCheck],
            details: &["ext_authz_error"],
            body: Text::Absent,
            reason: Text::Absent,
            log: &["a client does not speak HTTP/2"],
            ..ANY
        },
        why: "Checks are gRPC, and gRPC needs HTTP/2. A gateway that is not told so speaks HTTP/1.1, every check \
              fails, and it answers by itself: 403, or what its status on errors says.",
        proof: &[
            "Usher's log has `a client does not speak HTTP/2`, once for each address since its start, with the `peer`: the gateway.",
            "Envoy counts `ext_authz.error`, and no `ext_authz.denied`.",
        ],
        changes: &[
            on(
                &[Kgateway, GatewayApi],
                "`appProtocol: kubernetes.io/h2c` at the port of the Service. A port that is only named `grpc` is not \
                 enough. The chart sets it; the Service that the Authorino Operator makes does not have it, so make a \
                 second Service for the same pods.",
            ),
            on(&[Istio, IstioWaypoint], "name the port of the Service `grpc` or `grpc-…`, or set `appProtocol: grpc`."),
            on(&[Envoy], "`http2_protocol_options` in the cluster's `typed_extension_protocol_options`."),
        ],
    },
    Cause {
        title: "The gateway does not reach Usher",
        signs: Signs {
            status: &[Is(403), Is(503)],
            checks: &[NoCheck],
            details: &["ext_authz_error"],
            body: NO_BODY,
            reason: Text::Absent,
            ..ANY
        },
        why: "A wrong name or port, a Service without endpoints, pods that are not ready, or a NetworkPolicy in \
              between.",
        proof: &[
            "`kubectl --namespace usher get endpointslices` shows no address, or pods that are not ready.",
            "From a pod in the namespace of the gateway, `curl -i http://usher-authorization.usher.svc:50051/` is \
             answered with 505 and `this port speaks gRPC over HTTP/2` if the way is free. That also shows that name \
             and port are right.",
            "Envoy counts `upstream_cx_connect_fail` of the cluster, or has no host in it (`membership_total` is 0).",
        ],
        changes: &[
            always("the name, the namespace and the port 50051 of the Service in the gateway's configuration."),
            always("let the NetworkPolicy of Usher's namespace accept the gateway's pods at port 50051."),
            on(
                &[Istio, IstioWaypoint],
                "`service` of the provider is the full name: `usher-authorization.usher.svc.cluster.local`.",
            ),
        ],
    },
    Cause {
        title: "What a policy refers to is missing or not permitted",
        signs: Signs {
            gateways: &[Kgateway, EnvoyGateway, GatewayApi],
            status: &[Is(500)],
            checks: &[NoCheck],
            body: Text::AbsentOr(&["invalid route configuration"]),
            reason: Text::Absent,
            ..ANY
        },
        why: "The GatewayExtension, the Service or its port does not exist, or a reference into another namespace has \
              no ReferenceGrant there. The gateway then answers 500 to every request of the route. With `failOpen: \
              true` Envoy Gateway lets them pass instead.",
        proof: &["The status of the route, the GatewayExtension or the SecurityPolicy says what is missing: `missing \
             reference grant`, `not permitted by any ReferenceGrant`, `RefNotPermitted`, or that something was not found."],
        changes: &[
            always(
                "the name, the namespace and the port of what is referred to. `deploy/gateways` has all objects for \
                 each gateway.",
            ),
            always(
                "make a ReferenceGrant in the namespace of Usher: `from` the kind and namespace of the object that \
                 refers, `to` the Service.",
            ),
        ],
    },
    Cause {
        title: "Usher does not answer in time",
        signs: Signs {
            status: &[Is(403), Is(503)],
            after: Some((320, 20_000)),
            details: &["ext_authz_error"],
            body: NO_BODY,
            reason: Text::Absent,
            log: DEADLINE,
            ..ANY
        },
        why: "The gateway waits as long as it was told, 1 second in `deploy/gateways`, and then answers by itself. A \
              rule that asks somebody, an issuer or a service, takes longer; or packets are dropped on the way, and no \
              check arrives.",
        proof: &[
            "The time in the gateway's access log is always just above what the gateway was told.",
            "Usher's log has `outgoing authorization response` with `UNAVAILABLE` and the `detail` `the deadline has \
             passed`, or `the deadline of a check had passed before it could be decided`. If it has nothing, no check \
             arrives.",
        ],
        changes: &[
            always(
                "let slow rules answer faster: a [`cache`](reference/README.md) for what they ask, and a `timeout` \
                 below the gateway's.",
            ),
            always("if no check arrives: a NetworkPolicy, or a Service that leads elsewhere."),
            on(&[Kgateway], "or a longer `requestTimeout` in `grpcService` of the GatewayExtension."),
            on(&[Istio, IstioWaypoint, EnvoyGateway], "or a longer `timeout` in the provider, or in `extAuth`."),
            on(&[Envoy], "or a longer `timeout` in `grpc_service` of the filter."),
            on(
                &[Agentgateway],
                "or a longer `backend.http.requestTimeout` in the AgentgatewayPolicy of Usher's Service.",
            ),
        ],
    },
    Cause {
        title: "The gateway waits for 200 ms only",
        signs: Signs {
            gateways: &[Kgateway, Envoy],
            status: &[Is(403), Is(503)],
            after: Some((190, 320)),
            details: &["ext_authz_error"],
            body: Text::Absent,
            reason: Text::Absent,
            log: DEADLINE,
            ..ANY
        },
        why: "200 ms is what Envoy takes where nobody says otherwise. A rule that asks somebody, an issuer or a \
              service, may need longer.",
        proof: &[
            "The time in the gateway's access log is always just above 200 ms.",
            "Usher's log has `outgoing authorization response` with `UNAVAILABLE` and the `detail` `the deadline has \
             passed`, or nothing, if the call was cancelled.",
        ],
        changes: &[
            on(&[Kgateway], "`requestTimeout: 1s` in `grpcService` of the GatewayExtension."),
            on(&[Envoy], "`timeout: 1s` in `grpc_service` of the filter."),
            always(
                "let slow rules answer faster: a [`cache`](reference/README.md) for what they ask, and a `timeout` \
                 below the gateway's.",
            ),
        ],
    },
    Cause {
        title: "No connection to Usher within 10 seconds",
        signs: Signs {
            gateways: &[Istio, IstioWaypoint, Agentgateway],
            status: &[Is(403), Is(503)],
            after: Some((9_000, 11_500)),
            checks: &[NoCheck],
            details: &["ext_authz_error"],
            body: NO_BODY,
            reason: Text::Absent,
            ..ANY
        },
        why: "Where nobody says otherwise, Istio waits for a connection for 10 seconds, agentgateway for 10 or 11. Packets \
              are dropped on the way, by a NetworkPolicy most of the time.",
        proof: &[
            "From a pod in the namespace of the gateway, `curl --connect-timeout 3 \
             http://usher-authorization.usher.svc:50051/` gets no connection either.",
            "`auth_server_response_status` does not grow: no check arrives.",
        ],
        changes: &[
            always("let the NetworkPolicy of Usher's namespace accept the gateway's pods at port 50051."),
            on(
                &[Istio, IstioWaypoint],
                "`timeout: 1s` in `envoyExtAuthzGrpc` of the provider, so that clients need not wait.",
            ),
            on(
                &[Agentgateway],
                "`backend.http.requestTimeout: 1s` in the AgentgatewayPolicy of Usher's Service, so that clients need \
                 not wait.",
            ),
        ],
    },
    Cause {
        title: "Usher does not answer within 10 seconds",
        signs: Signs {
            gateways: &[EnvoyGateway],
            status: &[Is(403), Is(503)],
            after: Some((9_000, 11_500)),
            details: &["ext_authz_error"],
            body: NO_BODY,
            reason: Text::Absent,
            ..ANY
        },
        why: "Where nobody says otherwise, Envoy Gateway waits for an answer for 10 seconds. If every request takes that \
              long, packets are dropped on the way (NetworkPolicy), or a rule waits for somebody who does not answer.",
        proof: &[
            "Usher's log has `outgoing authorization response` with `UNAVAILABLE` if the check arrived; else it does \
             not arrive.",
        ],
        changes: &[
            always(
                "if no check arrives: let the NetworkPolicy of Usher's namespace accept the gateway's pods at port \
                 50051.",
            ),
            always("`timeout: 1s` in `extAuth` of the SecurityPolicy, so that clients need not wait."),
            always("a `timeout` for the rule that waits, or `--timeout` for all checks."),
        ],
    },
    Cause {
        title: "The gateway waits for ten minutes, or without end",
        signs: Signs {
            gateways: &[Istio, IstioWaypoint, Agentgateway],
            status: &[Is(403), Is(503), Status::None],
            after: Some((20_000, 630_000)),
            body: NO_BODY,
            reason: Text::Absent,
            observed: &[Observed::Hangs],
            ..ANY
        },
        why: "Where nobody says otherwise, Istio waits for 600 seconds and agentgateway without end, so that it looks \
              as if nobody answers. There is a connection then: a rule waits for somebody, or the other end is \
              gone without a word. Where no connection can be made, it takes [about 10 \
              seconds](#no-connection-to-usher-within-10-seconds).",
        proof: &[
            "With a time of 1 second in the gateway the client gets an answer after a second, and the cause behind it \
             can be looked for.",
        ],
        changes: &[
            on(
                &[Istio, IstioWaypoint],
                "`timeout: 1s` and `statusOnError: \"503\"` in `envoyExtAuthzGrpc` of the provider in the mesh config.",
            ),
            on(
                &[Agentgateway],
                "`backend.http.requestTimeout: 1s` in an AgentgatewayPolicy whose target is Usher's Service, in the \
                 namespace of that Service: `extAuth` has no field for it.",
            ),
            always("a `timeout` for the rule that waits, or `--timeout` for all checks."),
        ],
    },
    Cause {
        title: "One side speaks TLS and the other does not",
        signs: Signs {
            status: &[Is(403), Is(503)],
            checks: &[NoCheck],
            details: &["ext_authz_error"],
            body: NO_BODY,
            reason: Text::Absent,
            log: &["a client speaks TLS to a port without it", "TLS handshake failed"],
            ..ANY
        },
        why: "With `--tls-cert` Usher speaks TLS and nothing else, without it plain HTTP/2 and nothing else. In a \
              mesh, mTLS that the gateway adds by itself is such a case, too.",
        proof: &[
            "Usher's log has `a client speaks TLS to a port without it`; or, with `--log-level=debug`, `TLS handshake \
             failed`.",
            "Envoy counts `ssl.connection_error` or `ssl.fail_verify_error` of the cluster.",
        ],
        changes: &[
            on(
                &[Kgateway, EnvoyGateway, GatewayApi],
                "a BackendTLSPolicy for the Service of Usher, or none if Usher has no certificate.",
            ),
            on(
                &[Istio, IstioWaypoint],
                "a DestinationRule for the host of Usher: `tls.mode` `SIMPLE` with `--tls-cert`, `DISABLE` without, \
                 `ISTIO_MUTUAL` if Usher's pods are in the mesh.",
            ),
            on(&[Agentgateway], "`backend.tls` in the policy of the Service, or none if Usher has no certificate."),
            on(
                &[Envoy],
                "a `transport_socket` in the cluster, with `alpn_protocols: [h2]`, or none if Usher has no \
                 certificate.",
            ),
        ],
    },
    Cause {
        title: "Only the first requests are late",
        signs: Signs {
            status: &[Is(403), Is(503)],
            log: &["cannot be fetched", "missing json web key set", "missing openid connect configuration"],
            observed: &[Observed::OnlyFirst],
            ..ANY
        },
        why: "Keys and policies are fetched in the background, when an AuthConfig is loaded: before that, requests \
              that need them are answered with 503. The first request to a service that a rule asks also has to set \
              up a connection, with TLS, which may take longer than the 200 ms that some gateways wait.",
        proof: &[
            "Usher's log has `cannot be fetched`, with `what` and `error`, or a check with the `reason` `missing json \
             web key set` or `missing openid connect configuration`.",
            "`/readyz` of the new pod was not 200 yet when the requests came.",
        ],
        changes: &[
            always("a readiness probe at `/readyz` (the chart has one), so that no request comes too early."),
            on(&[Kgateway], "`requestTimeout: 1s` in `grpcService` of the GatewayExtension."),
            on(&[Istio, IstioWaypoint, EnvoyGateway], "an explicit `timeout` that is longer than what rules need."),
            on(&[Envoy], "`timeout: 1s` in `grpc_service` of the filter."),
        ],
    },
    Cause {
        title: "Some requests fail while pods are replaced",
        signs: Signs {
            status: &[Is(403), Is(503)],
            details: &["ext_authz_error"],
            reason: Text::Absent,
            log: &["draining"],
            observed: &[Observed::Sometimes],
            ..ANY
        },
        why: "A check that is under way when its pod goes fails, if the pod does not finish it. Gateways do not \
              repeat checks by themselves; the `retry` of kgateway says nothing about when, and so has no effect.",
        proof: &[
            "The failures come in bursts, when pods of Usher end. Its log has `draining` and `stopped` with `cut` \
             greater than 0.",
        ],
        changes: &[
            always(
                "at least two replicas, a PodDisruptionBudget, and a `terminationGracePeriodSeconds` longer than \
                 `--shutdown-grace` (the chart has all three).",
            ),
            on(
                &[Envoy],
                "`retry_policy` of `grpc_service` with `retry_on: unavailable,connect-failure`: without `retry_on` \
                 nothing is repeated.",
            ),
        ],
    },
    Cause {
        title: "The gateway waits for the end of a body",
        signs: Signs {
            status: &[Status::None, Is(408), Is(504)],
            checks: &[NoCheck],
            observed: &[Observed::Hangs],
            ..ANY
        },
        why: "If the gateway sends bodies along, it collects a body before it asks. A stream that the client does not \
              end, such as a call of gRPC in both directions, is never collected.",
        proof: &["The same request without a body is answered at once. Usher's log has nothing."],
        changes: &[
            on(
                &[Kgateway],
                "no `withRequestBody` in the GatewayExtension; write it into the TrafficPolicies of routes whose \
                 rules read bodies.",
            ),
            on(
                &[EnvoyGateway],
                "no `bodyToExtAuth` in the SecurityPolicy of the Gateway; write it into those of routes whose rules \
                 read bodies.",
            ),
            on(&[Envoy], "`disable_request_body_buffering: true` in `check_settings` of the route."),
            on(
                &[Istio, IstioWaypoint],
                "take `includeRequestBodyInCheck` out of the provider. A second provider without it, for these paths, \
                 needs `PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS=true` at istiod (Istio 1.30 or newer): else \
                 Istio denies what they match.",
            ),
            on(&[Agentgateway, GatewayApi], "no `forwardBody` on these routes."),
        ],
    },
    Cause {
        title: "The gateway may not ask so often at a time",
        signs: Signs {
            gateways: &[Kgateway, Istio, IstioWaypoint, EnvoyGateway, Envoy, GatewayApi],
            status: &[Is(403), Is(503)],
            after: Some((0, 100)),
            details: &["ext_authz_error"],
            reason: Text::Absent,
            observed: &[Observed::Sometimes],
            ..ANY
        },
        why: "kgateway, Envoy Gateway and Envoy let 1024 requests to a cluster be under way, unless somebody says \
              otherwise. Istio has no such bound, unless a DestinationRule sets one. Slow rules and many requests \
              reach it; what is beyond fails at once.",
        proof: &["Envoy counts `upstream_rq_active_overflow` of the cluster (before Envoy 1.38 \
             `upstream_rq_pending_overflow`), or `circuit_breakers.default.rq_open` is 1."],
        changes: &[
            on(&[Envoy], "`circuit_breakers` of the cluster: a larger `max_requests`."),
            on(&[EnvoyGateway], "`circuitBreaker.maxParallelRequests` in `backendSettings` of `extAuth.grpc`."),
            on(
                &[Istio, IstioWaypoint],
                "a larger `connectionPool.http.http2MaxRequests` in the DestinationRule for the host of Usher.",
            ),
            on(
                &[Kgateway],
                "a larger `circuitBreakers.maxRequests` in a BackendConfigPolicy for the Service of Usher (kgateway 2.2 \
                 or newer).",
            ),
            always("let slow rules answer faster, with a `cache` and a `timeout`."),
        ],
    },
];
