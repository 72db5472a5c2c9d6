//! Requests pass that should not.

use super::{
    super::gateway::Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway},
    ANY, Cause,
    Checks::{None as NoCheck, One, Several},
    Observed, Signs, Text, always, on,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        title: "The route is not protected",
        signs: Signs { checks: &[NoCheck], reason: Text::Absent, observed: &[Observed::Passes], ..ANY },
        why: "The policy is not attached to this route, or another one exempts it. The gateway does not ask.",
        proof: &[
            "No check arrives: `auth_server_response_status` does not grow with the request, and the log has nothing \
             at level debug.",
            "The status of the policy says whether it was accepted, and for what.",
        ],
        changes: &[
            on(
                &[Kgateway],
                "`targetRefs` of the TrafficPolicy: kind, name and namespace of the Gateway or HTTPRoute, \
                 `sectionName`; and look for `disable: {}` in another one.",
            ),
            on(
                &[Istio],
                "`selector` or `targetRefs` of the AuthorizationPolicy, its namespace, `action: CUSTOM`, and its \
                 `rules`: what they leave out (`notPaths`) passes.",
            ),
            on(
                &[IstioWaypoint],
                "`targetRefs` must name the waypoint's Gateway or a Service behind it, and the namespace or Service \
                 must use the waypoint (`istio.io/use-waypoint`): ztunnel does not ask, and ignores CUSTOM without a \
                 waypoint.",
            ),
            on(
                &[EnvoyGateway],
                "a SecurityPolicy of the route replaces that of the Gateway as a whole: one without `extAuth` exempts \
                 the route.",
            ),
            on(
                &[Agentgateway],
                "`targetRefs` of the AgentgatewayPolicy; a policy of the route replaces that of the Gateway.",
            ),
            on(&[Envoy], "`disabled: true` of `ExtAuthzPerRoute`, `filter_enabled`, or a listener without the filter."),
            on(&[GatewayApi], "the filter stands in some rules of the HTTPRoute, and not in this one."),
        ],
    },
    Cause {
        title: "The gateway lets requests pass when a check fails",
        signs: Signs { observed: &[Observed::Passes], details: &["ext_authz_error", "via_upstream"], ..ANY },
        why: "The gateway was told to fail open. Then nothing is protected while Usher is not reached, and neither is \
              what cannot be decided with `--error-response`.",
        proof: &[
            "Envoy counts `ext_authz.failure_mode_allowed`, and requests may have `x-envoy-auth-failure-mode-allowed: \
             true`.",
            "With Envoy Gateway, requests also pass if a reference leads nowhere or is not permitted: the status of \
             the SecurityPolicy says so.",
        ],
        changes: &[
            on(&[Kgateway, Istio, IstioWaypoint, EnvoyGateway], "`failOpen: false`."),
            on(&[Agentgateway], "`failureMode: FailClosed`."),
            on(&[Envoy], "`failure_mode_allow: false`, and no `shadow_mode`."),
            on(&[GatewayApi], "the filter has no such setting; see the gateway's own."),
            always("then find out why checks fail: [the gateway gets no answer](#the-gateway-gets-no-answer)."),
        ],
    },
    Cause {
        title: "The gateway answers from its cache",
        signs: Signs {
            gateways: &[Agentgateway],
            checks: &[NoCheck],
            observed: &[Observed::Passes, Observed::Sometimes],
            ..ANY
        },
        why: "`cache` of agentgateway uses an answer again for requests with the same key. A key that lacks something \
              that rules read gives one caller the answer of another.",
        proof: &[
            "The first request after the `ttl` is decided as it should be. Usher's log has a check for that one only.",
        ],
        changes: &[on(
            &[Agentgateway],
            "take `cache` out, or put into `key` host, method, path with query, everything that `usher doctor needs` \
             lists, and addresses and times that rules read.",
        )],
    },
    Cause {
        title: "Another AuthConfig decides",
        signs: Signs {
            checks: &[One, Several],
            observed: &[Observed::Passes],
            log: &["host already taken", "route already taken"],
            ..ANY
        },
        why: "A host belongs to the AuthConfig that claimed it first, a wildcard catches what nobody claims, and a \
              context extension `host` or the route takes the place of the host. If the gateway does not name the \
              route, or the server lacks `--allow-route-lookup`, the AuthConfig with `routes` does not decide, and the \
              one with the host does.",
        proof: &[
            "`usher doctor symptoms --config PATH --host HOST` says which one it is, and who claims the host in vain.",
            "`auth_server_authconfig_total` counts by AuthConfig. `HostConflict` in the [status](status.md) names the \
             other one.",
        ],
        changes: &[
            always(
                "take the host out of the other one, or delete it; `--allow-superseding-host-subsets` lets exact \
                 hosts win over older wildcards.",
            ),
            always(
                "for `routes`: the server flag `--allow-route-lookup`, and a route in the namespace of the AuthConfig.",
            ),
            on(&[EnvoyGateway], "for `routes`: `includeRouteMetadata: true` in `extAuth` of the SecurityPolicy."),
            on(
                &[Kgateway, Agentgateway, Envoy],
                "for `routes`: a context extension `route: HTTPRoute/NAMESPACE/NAME` for the route.",
            ),
        ],
    },
    Cause {
        title: "The AuthConfig lets the request pass",
        signs: Signs { checks: &[One, Several], reason: Text::Absent, observed: &[Observed::Passes], ..ANY },
        why: "No `authentication` means anyone, `when` of the AuthConfig that does not hold means that it is not \
              enforced, and `--on-condition-error=skip` skips rules whose conditions cannot be evaluated.",
        proof: &[
            "`usher check --config PATH --host HOST … --explain` with the same request shows which rules ran, and \
             which were skipped.",
            "Usher's log has a warning about `skip` at its start, if it was told so.",
        ],
        changes: &[
            always("the conditions, or a rule in `authentication`."),
            always("leave `--on-condition-error` at `undecidable`."),
        ],
    },
    Cause {
        title: "The path is written in another way",
        signs: Signs {
            checks: &[One, Several],
            reason: Text::Absent,
            observed: &[Observed::Passes, Observed::OtherPath],
            ..ANY
        },
        why: "Rules see the path as the gateway sends it. If that is not the form in which the upstream understands it, \
              `/healthz/../orders` or `//orders` may escape a rule about `/orders`, or a route that is exempt.",
        proof: &[
            "`path` in Usher's log, and the path that the upstream logs.",
            "`usher check --config PATH --host HOST --path PATH --explain` with the path in question.",
        ],
        changes: &[
            on(&[Envoy], "`normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action` of the listener."),
            on(
                &[Istio, IstioWaypoint],
                "`pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}` in the mesh config.",
            ),
            on(
                &[Kgateway],
                "the listener does that already, but leaves escaped slashes (`%2F`) as they are: compare the paths.",
            ),
            on(&[EnvoyGateway], "the listener does that already: compare the paths."),
            on(&[Agentgateway, GatewayApi], "do not count on it: let rules name what may pass, not what may not."),
        ],
    },
];
