//! Usher was asked, and said no.

use super::{
    super::gateway::Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway},
    ANY, Cause,
    Checks::{One, Several},
    Observed, Signs,
    Status::Is,
    Text, always, on,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        title: "No AuthConfig has the host",
        signs: Signs {
            status: &[Is(404)],
            checks: &[One, Several],
            details: &["ext_authz_denied"],
            body: Text::Absent,
            reason: Text::Contains(&["Service not found"]),
            log: &["Service not found", "NOT_FOUND", "host already taken", "route already taken"],
            ..ANY
        },
        why: "The AuthConfig is found by the host of the request, unless the gateway says otherwise. A port counts \
              only if the AuthConfig names one. A context extension `host` of the route takes the place of the host, \
              even if it is empty. `routes` of an AuthConfig are found only if the gateway names the route, the server \
              has `--allow-route-lookup`, and the route is in the namespace of the AuthConfig.",
        proof: &[
            "Usher's log has `outgoing authorization response` with `NOT_FOUND` and the `host` as it came in; and \
             `lookup_host` or `route`, if the gateway names one: then these count.",
            "`usher doctor symptoms --config PATH --host HOST` says where a host leads, and which hosts are near.",
            "`auth_server_response_status{status=\"NOT_FOUND\"}` counts these.",
        ],
        changes: &[
            always("write the host of the log into `hosts` of the AuthConfig, as it is or with a wildcard."),
            always(
                "if the log has `host already taken`, `route already taken` or `host is nobody's` for the AuthConfig, \
                 see [Status](status.md).",
            ),
            on(
                &[EnvoyGateway],
                "for `routes`: `includeRouteMetadata: true` in `extAuth` of the SecurityPolicy, and the server flag \
                 `--allow-route-lookup`.",
            ),
            on(
                &[Kgateway, Agentgateway, Envoy],
                "for `routes`: a context extension `route: HTTPRoute/NAMESPACE/NAME` for the route, and the server \
                 flag `--allow-route-lookup`.",
            ),
            on(
                &[Istio, IstioWaypoint],
                "`hostAliases: kubernetesService` in the AuthConfig: clients in a mesh write `shop`, `shop.web` or \
                 `shop.web.svc`, often with a port.",
            ),
            on(
                &[Kgateway, EnvoyGateway, Agentgateway, Envoy],
                "where the host is not known before, write a context extension `host` for the route, and the same \
                 name into `hosts`.",
            ),
            on(
                &[GatewayApi],
                "the filter has no context extensions, and names no route: the AuthConfig must have the host of the \
                 request.",
            ),
        ],
    },
    Cause {
        title: "There is no credential where the rule looks for it",
        signs: Signs {
            status: &[Is(401)],
            status_field: Some("response.unauthenticated.code"),
            checks: &[One, Several],
            details: &["ext_authz_denied"],
            reason: Text::Contains(&["credential not found"]),
            log: &["credential not found"],
            ..ANY
        },
        why: "A rule takes the credential from one place: a header with its scheme, another header, a parameter of \
              the query, or a cookie. It is missing, stands elsewhere, stands there twice, or the gateway does not \
              send the header along.",
        proof: &[
            "The header `www-authenticate` of the answer names the scheme, and the rule as `realm`.",
            "With `--log-level=debug`, `incoming authorization request` shows the headers that arrived; credentials \
             as `***REDACTED***`.",
            "`usher doctor needs` lists the headers that must arrive.",
        ],
        changes: &[
            always("send the credential where `credentials` of the rule says, once."),
            on(
                &[Kgateway, EnvoyGateway, Envoy, GatewayApi],
                "if the gateway has a list of headers, add this one: see [a list of headers is too \
                 short](#a-list-of-headers-is-too-short).",
            ),
            on(
                &[Istio, IstioWaypoint, Agentgateway],
                "all headers are sent: the client, or a proxy before, leaves it out.",
            ),
        ],
    },
    Cause {
        title: "The credential is not accepted",
        signs: Signs {
            status: &[Is(401)],
            status_field: Some("response.unauthenticated.code"),
            checks: &[One, Several],
            details: &["ext_authz_denied"],
            reason: Text::Present,
            log: &["UNAUTHENTICATED"],
            ..ANY
        },
        why: "Every rule of `authentication` found a credential and refused it, or found none. The reason says why; \
              with several rules it is an object with the reason of each.",
        proof: &[
            "`x-ext-auth-reason` of the answer, and `reason` in the log. \
             [Authentication](reference/authentication.md) explains each.",
            "`usher check --config PATH --host HOST -H 'Authorization: …' --explain` with the same credential shows \
             each rule.",
        ],
        changes: &[always(
            "what the reason says: a token that has expired, an issuer that is another one, an API key whose Secret \
             lacks the labels of `--secret-label-selector`.",
        )],
    },
    Cause {
        title: "A rule denies the request",
        signs: Signs {
            status: &[Is(403)],
            status_field: Some("response.unauthorized.code"),
            checks: &[One, Several],
            details: &["ext_authz_denied"],
            reason: Text::Present,
            log: &["PERMISSION_DENIED"],
            ..ANY
        },
        why: "A rule of `authorization` says no. That is what it is for, unless it reads something that the gateway \
              does not send.",
        proof: &[
            "Usher's log has `outgoing authorization response` with `PERMISSION_DENIED` and the `reason`.",
            "`usher check --config PATH --host HOST … --explain` with the same request shows which rule it is.",
            "`usher doctor needs` lists what rules read; `incoming authorization request` in the log (level debug) \
             what arrived.",
        ],
        changes: &[always("the rule, or what the gateway sends along.")],
    },
    Cause {
        title: "It cannot be decided",
        signs: Signs {
            status: &[Is(503), Is(403)],
            checks: &[One, Several],
            details: &["ext_authz_denied", "ext_authz_error"],
            body: super::reaching::NO_BODY,
            log: &["UNAVAILABLE"],
            ..ANY
        },
        why: "Usher was asked and does not know, so that requests do not pass: 503, with a reason and the id of the \
              decision. The reason is empty if the time of the check was over (`--timeout`, or what the gateway \
              waits). With Envoy before 1.37 and with agentgateway, `--error-response` makes it a 403 without a \
              reason.",
        proof: &[
            "Usher's log has a line of level `warn`, `outgoing authorization response`, with the same id, `reason` \
             and `detail`. Where it has none for the request, [the upstream](#the-upstream-answers) has answered.",
            "`auth_server_response_status{status=\"UNAVAILABLE\"}` counts these. They are never the client's fault.",
        ],
        changes: &[always(
            "what `detail` says: somebody who was asked did not answer in time or not as expected. Tell rules a \
             `timeout` and a `cache`; metadata may be left out with `onError: skip`.",
        )],
    },
    Cause {
        title: "The AuthConfig does not compile",
        signs: Signs {
            status: &[Is(503)],
            checks: &[One, Several],
            reason: Text::Contains(&["configuration is invalid"]),
            log: &[
                "invalid AuthConfig",
                "configuration is invalid",
                "no version is in force",
                "an earlier version stays in force",
            ],
            ..ANY
        },
        why: "What was written does not compile, and this replica has no earlier version. Its hosts answer 503, so \
              that nobody passes unprotected. Replicas that were there before may still serve the earlier version: \
              then only some requests fail.",
        proof: &[
            "`kubectl get authconfigs --all-namespaces` shows `READY` `false`; the condition `Ready` says what is \
             wrong, and where.",
            "`usher validate --config PATH` says the same of files.",
        ],
        changes: &[
            always("repair the AuthConfig."),
            always("let the [webhook](webhook.md) refuse such AuthConfigs before they are stored."),
        ],
    },
    Cause {
        title: "The configuration is still being loaded",
        signs: Signs {
            status: &[Is(503)],
            checks: &[One, Several],
            reason: Text::Contains(&["configuration is being loaded"]),
            log: &[
                "configuration is being loaded",
                "waiting for a Secret",
                "a Secret that an AuthConfig names cannot be read",
            ],
            observed: &[Observed::OnlyFirst],
            ..ANY
        },
        why: "The process has just begun, or the AuthConfig waits for a Secret that was not read yet.",
        proof: &[
            "`/readyz?verbose` says whether the first load has ended. The log has `waiting for a Secret` with the \
             AuthConfig.",
        ],
        changes: &[
            always("a readiness probe at `/readyz`, so that no request comes too early (the chart has one)."),
            always(
                "let Usher read the Secret: the log has `a Secret that an AuthConfig names cannot be read` if it may \
                 not.",
            ),
        ],
    },
    Cause {
        title: "A short name belongs to several Services",
        signs: Signs {
            status: &[Is(503)],
            checks: &[One, Several],
            reason: Text::Contains(&["configuration is invalid"]),
            log: &["is a short name that several AuthConfigs claim", "host is nobody's"],
            ..ANY
        },
        why: "Two AuthConfigs with `hostAliases: kubernetesService` protect Services of the same name in different \
              namespaces, or a younger AuthConfig of another namespace lists that name. The short name may mean both, so \
              nobody decides about it.",
        proof: &[
            "`detail` in the log says which name. `usher doctor symptoms --config PATH --host NAME` says it, too.",
        ],
        changes: &[
            always("let clients write the namespace: `shop.web` instead of `shop`."),
            always(
                "or list the short name in `hosts` of the oldest of them: a younger one of another namespace does not \
                 get it.",
            ),
        ],
    },
    Cause {
        title: "Requests of rules lead back to rules",
        signs: Signs {
            status: &[Is(503)],
            checks: &[One, Several],
            reason: Text::Contains(&["requests nested too deep"]),
            log: &["requests nested too deep"],
            ..ANY
        },
        why: "A rule asks a service behind the same gateway, whose check asks it again. After three times Usher stops \
              it.",
        proof: &["`detail` in the log says how deep. The header `x-usher-nesting` of the requests counts."],
        changes: &[always("ask the service by its own address, not through the gateway, or exempt its route.")],
    },
    Cause {
        title: "The check cannot be read",
        signs: Signs {
            status: &[Is(400)],
            checks: &[One, Several],
            details: &["ext_authz_denied"],
            reason: Text::Contains(&["Invalid request"]),
            log: &["INVALID_ARGUMENT", "a check cannot be read"],
            ..ANY
        },
        why: "The check has more than 65,536 headers or 16 MiB, a text that is not UTF-8, or nothing about HTTP: the \
              filter for TCP asks in this way.",
        proof: &["Usher's log has `outgoing authorization response` with `INVALID_ARGUMENT`, or nothing about a host."],
        changes: &[
            always("use the filter for HTTP, not the one for TCP."),
            on(
                &[Istio, IstioWaypoint],
                "CUSTOM policies for ports that are not HTTP cannot be decided: name the port `http`.",
            ),
            always("send a shorter beginning of bodies along: `usher doctor needs` has the settings."),
        ],
    },
    Cause {
        title: "A client of gRPC sees status 200",
        signs: Signs {
            status: &[Is(200)],
            details: &["ext_authz_denied", "ext_authz_error"],
            observed: &[Observed::GrpcClient],
            ..ANY
        },
        why: "Envoy tells clients of gRPC about a denial in their own way: HTTP 200 with `grpc-status`, 16 for 401, 7 \
              for 403, 12 for 404, 14 for 503, and the body as `grpc-message`. agentgateway sends the HTTP answer as \
              it is.",
        proof: &["The header `x-ext-auth-reason` is there all the same; so is the line in Usher's log."],
        changes: &[always("nothing: the request was denied. What to look for is the cause of that status.")],
    },
    Cause {
        title: "Two policies ask about the same request",
        signs: Signs { checks: &[Several], ..ANY },
        why: "A policy of the Gateway and one of the route, or two gateways one behind the other, each ask. All must \
              allow the request.",
        proof: &["Usher's log, at level debug, has two `incoming authorization request` with the same `request id`."],
        changes: &[
            on(
                &[Kgateway],
                "`disable: {}` in the TrafficPolicy of the route switches all checks off; policies with different \
                 providers add up.",
            ),
            on(
                &[Istio, IstioWaypoint],
                "an AuthorizationPolicy for the gateway and one for the workload are two checks: keep one.",
            ),
            on(
                &[EnvoyGateway],
                "of several SecurityPolicies the most specific one is in force: look for a second gateway on the way.",
            ),
            on(&[Agentgateway], "a policy in `phase: PreRouting` and one of the route are two checks."),
            on(&[Envoy, GatewayApi], "look for a second filter, or for a second gateway on the way."),
        ],
    },
    Cause {
        title: "Requests of browsers ask first, without a credential",
        signs: Signs { status: &[Is(401), Is(403)], checks: &[One], observed: &[Observed::Preflight], ..ANY },
        why: "Before some requests a browser asks with `OPTIONS` whether it may (CORS), and never with a credential.",
        proof: &["Usher's log has `outgoing authorization response` with the `method` `OPTIONS`."],
        changes: &[
            on(
                &[Kgateway, EnvoyGateway],
                "let the gateway answer these requests: with CORS configured on the route it does so before it asks \
                 Usher.",
            ),
            on(
                &[Agentgateway],
                "let the gateway answer these requests: with CORS configured in the same place and phase as `extAuth` \
                 it does so before it asks Usher.",
            ),
            on(
                &[Envoy],
                "let the gateway answer these requests: CORS configured on the route, and the filter \
                 `envoy.filters.http.cors` before `envoy.filters.http.ext_authz`.",
            ),
            on(
                &[Istio, IstioWaypoint],
                "`notMethods: [OPTIONS]` in the rule of the AuthorizationPolicy with `action: CUSTOM`, and CORS \
                 configured on the route: Istio asks Usher before it answers by itself. Other requests with `OPTIONS` \
                 then pass to the upstream.",
            ),
            always(
                "or do not enforce the AuthConfig for them: `when: [{selector: request.method, operator: neq, value: \
                 OPTIONS}]`. Such requests then pass to the upstream.",
            ),
        ],
    },
    Cause {
        title: "What Usher adds does not arrive",
        signs: Signs { checks: &[One, Several], observed: &[Observed::ChangesLost], ..ANY },
        why: "The request passed, but the gateway left out a header, a query parameter or metadata, or had chosen the \
              route before the header was there.",
        proof: &[
            "`usher check --config PATH --host HOST …` prints what Usher adds to the same request.",
            "An item of `response.success` whose `when` does not hold adds nothing, and one without a value empties the \
             header.",
        ],
        changes: &[
            on(&[Kgateway], "`clearRouteCache: true`, if the header is to choose the route."),
            on(
                &[Istio, IstioWaypoint],
                "do not let the header choose the route: the provider has `clearRouteCache`, but Istio ignores it.",
            ),
            on(&[EnvoyGateway], "`recomputeRoute: true`, if the header is to choose the route."),
            on(
                &[Envoy],
                "`clear_route_cache: true`, if the header is to choose the route; no `decoder_header_mutation_rules` \
                 that forbid it; `enable_dynamic_metadata_ingestion` as it is without being set.",
            ),
            on(
                &[Agentgateway],
                "empty values are left out by this gateway, and of several `www-authenticate` the last is left: \
                 `--join-challenges` makes one of them.",
            ),
            always(
                "metadata stands under `envoy.filters.http.ext_authz`, whatever the filter is called (agentgateway: \
                 `extauthz`). See [Gateways](reference/response.md#gateways) for what each takes.",
            ),
        ],
    },
    Cause {
        title: "One replica gets all checks",
        signs: Signs { observed: &[Observed::Uneven], ..ANY },
        why: "A gateway asks over one connection for a long time. Through a Service with one address all of its checks \
              go to one replica.",
        proof: &["`auth_server_response_status` of one pod grows, that of the others does not."],
        changes: &[
            always(
                "`authorization.service.headless=true` of the chart, for gateways that resolve all addresses of a name.",
            ),
            on(&[Envoy], "a cluster of type `STRICT_DNS` with the name of the headless Service."),
        ],
    },
];
