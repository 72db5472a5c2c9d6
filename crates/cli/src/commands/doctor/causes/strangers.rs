//! Answers that look like those of Usher, and are not.

use super::{
    super::gateway::Gateway::{Agentgateway, Envoy, EnvoyGateway, GatewayApi, Istio, IstioWaypoint, Kgateway},
    ANY, Cause,
    Checks::{None as NoCheck, One},
    Observed, Signs,
    Status::{self, Is},
    Text, always, on,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        title: "Another policy of the mesh denies",
        signs: Signs {
            gateways: &[Istio, IstioWaypoint, Kgateway, EnvoyGateway, Envoy],
            status: &[Is(403)],
            body: Text::Contains(&["RBAC: access denied"]),
            details: &["rbac_access_denied"],
            reason: Text::Absent,
            ..ANY
        },
        why: "`RBAC: access denied` is the answer of Envoy's own rules. Usher never says that. It may have been asked \
              all the same: Istio asks it before it looks at policies with `DENY` and `ALLOW`.",
        proof: &["`rbac_access_denied_matched_policy[…]` in the access log names the policy."],
        changes: &[
            on(
                &[Istio, IstioWaypoint],
                "AuthorizationPolicies with `action: DENY` or `ALLOW`: as soon as there is one `ALLOW`, everything \
                 else is denied.",
            ),
            on(
                &[Istio, IstioWaypoint],
                "`own-names-of-*` of `deploy/gateways` denies hosts that are not those of the service, so that nobody \
                 chooses another AuthConfig by them: add the name and the port that clients write.",
            ),
            on(&[Kgateway, EnvoyGateway, Envoy], "the rules (`rbac`, `authorization`) of the route or the listener."),
        ],
    },
    Cause {
        title: "The provider is not known to the mesh",
        signs: Signs {
            gateways: &[Istio, IstioWaypoint],
            status: &[Is(403)],
            checks: &[NoCheck],
            details: &["deny-due-to-bad-CUSTOM-action"],
            body: Text::Contains(&["RBAC: access denied"]),
            reason: Text::Absent,
            ..ANY
        },
        why: "An AuthorizationPolicy with `action: CUSTOM` names a provider that the mesh config does not have, or \
              whose Service does not exist. Istio then denies what the policy matches.",
        proof: &[
            "The details in the access log contain `deny-due-to-bad-CUSTOM-action`; istiod's log names the provider.",
        ],
        changes: &[on(
            &[Istio, IstioWaypoint],
            "the same name in `provider.name` and in `extensionProviders` of the mesh config, and a Service that \
             exists. A workload can have one provider only, unless istiod has \
             `PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS=true` (Istio 1.30 or newer).",
        )],
    },
    Cause {
        title: "The gateway has no route",
        signs: Signs {
            status: &[Is(404)],
            checks: &[NoCheck],
            details: &["route_not_found"],
            reason: Text::Absent,
            ..ANY
        },
        why: "No route fits host and path, so that nobody is asked. A 404 of Usher has the header `x-ext-auth-reason`.",
        proof: &["`route_not_found` in the access log. Usher's log has nothing."],
        changes: &[always(
            "`hostnames` and `matches` of the route, and whether the Gateway accepts it (`status.parents`).",
        )],
    },
    Cause {
        title: "The gateway refuses the request before it asks",
        signs: Signs {
            status: &[Is(400), Is(307), Is(431)],
            checks: &[NoCheck],
            details: &[
                "path_normalization_failed",
                "unexpected_underscore",
                "headers_too_large",
                "too_many_headers",
                "codec_error",
                "missing_host_header",
            ],
            reason: Text::Absent,
            ..ANY
        },
        why: "The listener takes the request for wrong: a path that it will not put into its normal form, such as one \
              with an escaped slash, a header with an underscore, too many headers. Filters, and so Usher, are not \
              asked. A 400 of Usher has the header `x-ext-auth-reason`.",
        proof: &["The details in the access log say what it is. Usher's log has nothing."],
        changes: &[
            always("the client: most of these requests are not meant well."),
            on(
                &[Kgateway],
                "or, for 431, a larger `maxRequestHeadersKb` in `spec.default.httpSettings` of a ListenerPolicy. There \
                 is no field for underscores and escaped slashes.",
            ),
            on(
                &[Istio, IstioWaypoint, EnvoyGateway, Envoy],
                "or the settings of the listener: `path_with_escaped_slashes_action`, \
                 `headers_with_underscores_action`, `max_request_headers_kb`, under the names that the gateway has \
                 for them.",
            ),
        ],
    },
    Cause {
        title: "The gateway has kept a denial",
        signs: Signs { gateways: &[Agentgateway], checks: &[NoCheck], reason: Text::Present, ..ANY },
        why: "`cache` of agentgateway keeps denials as well as permissions. Whoever was denied stays denied until the \
              `ttl` is over, although Usher would now say something else.",
        proof: &["The answer has `x-ext-auth-reason`, and Usher's log has no check for it. It ends with the `ttl`."],
        changes: &[on(
            &[Agentgateway],
            "a `ttl` of `0s` for denials: let it read dynamic metadata that the AuthConfig sets, as in [Answers that \
             are reused](gateways/agentgateway.md#5-answers-that-are-reused).",
        )],
    },
    Cause {
        title: "The upstream answers",
        signs: Signs {
            status: &[Is(401), Is(403), Is(404), Is(500), Is(502), Is(503), Is(504)],
            checks: &[One],
            details: &["via_upstream", "upstream_", "no_healthy_upstream", "cluster_not_found"],
            reason: Text::Absent,
            ..ANY
        },
        why: "Usher allowed the request, and the upstream, or the way to it, answers with an error.",
        proof: &[
            "There is no header `x-ext-auth-reason`. Usher's log, at level debug, has `authorized` `true`.",
            "The details in the access log do not begin with `ext_authz`.",
        ],
        changes: &[always(
            "the upstream. What it gets from Usher are the headers of `response.success` and, perhaps, no credential \
             (`removeCredential`).",
        )],
    },
    Cause {
        title: "A header breaks the request on its way",
        signs: Signs {
            status: &[Is(503)],
            details: &["filter_removed_required_request_headers"],
            body: Text::Contains(&["invalid header value"]),
            reason: Text::Absent,
            ..ANY
        },
        why: "A filter has set a header with a control character, or has taken out `:path`, `:method` or `host`. \
              Usher refuses such names when an AuthConfig is loaded and removes control characters from values, so \
              look at the other filters.",
        proof: &["The body names the header, `invalid header value for: …`. See who sets it: another authorization \
                  service, a transformation, a Lua filter."],
        changes: &[always(
            "the filter that sets it. If it is a header of an AuthConfig after all, report it: that is a defect.",
        )],
    },
    Cause {
        title: "A header breaks the answer",
        signs: Signs { status: &[Status::None], checks: &[One], observed: &[Observed::Hangs], ..ANY },
        why: "Envoy sends nothing at all when the answer of an authorization service has a header with a line break, \
              or status 100. Usher sends neither: statuses below 300 are refused when an AuthConfig is loaded, and \
              values are cleaned.",
        proof: &[
            "Usher's log has the denial, and the client gets nothing. Ask the same at the port for plain HTTP: `curl \
             -i -H 'Host: HOST' http://USHER:5001/check`.",
        ],
        changes: &[
            always("look for another filter that changes answers. If there is none, report it: that is a defect."),
            on(&[Envoy], "`validate_mutations: true` in the filter makes it a 500 with `ext_authz_invalid`."),
        ],
    },
    Cause {
        title: "The gateway refuses what Usher changes",
        signs: Signs { status: &[Is(500)], details: &["ext_authz_invalid"], reason: Text::Absent, ..ANY },
        why: "With `validate_mutations`, Envoy refuses answers with names or values that it takes for invalid. Values \
              of query parameters may then have letters, digits, `-`, `_` and `.` only, not even `%`; and \
              `disallow_is_error` forbids some headers.",
        proof: &["`ext_authz_invalid` in the access log, and `ext_authz.invalid` in the counters."],
        changes: &[
            on(&[Envoy], "take `validate_mutations` out, or `response.success.queryParameters` of the AuthConfig."),
            on(
                &[Kgateway, Istio, IstioWaypoint, EnvoyGateway, Agentgateway, GatewayApi],
                "this gateway does not set it by itself: look for patches of its configuration.",
            ),
        ],
    },
];
