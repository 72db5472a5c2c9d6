//! What is accepted as an AuthConfig, and how refusals are worded.

#![allow(clippy::panic)]

use usher_api::{AuthConfigDocument, Document, read_documents};

/// An AuthConfig with this `spec`, in flow style.
fn read_spec(spec: &str) -> AuthConfigDocument {
    let text =
        format!("apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: a}}\nspec: {spec}\n");
    match read_documents(&text).as_slice() {
        [Document::AuthConfig(document)] => (**document).clone(),
        other => panic!("{spec}: {other:?}"),
    }
}

/// The problems of an AuthConfig with this `spec`.
fn problems(spec: &str) -> Vec<String> {
    match read_spec(spec).result {
        Ok(_) => Vec::new(),
        Err(problems) => {
            assert!(problems.iter().all(|problem| problem.line == Some(4)), "{problems:?}");
            problems.iter().map(ToString::to_string).collect()
        }
    }
}

fn accepted(specs: &[&str]) {
    for spec in specs {
        assert_eq!(problems(spec), Vec::<String>::new(), "{spec}");
    }
}

/// Each of these has exactly one problem, at this path, whose message begins like this.
fn refused(table: &[(&str, &str)]) {
    for (spec, expected) in table {
        let problems = problems(spec);
        assert!(
            matches!(problems.as_slice(), [problem] if problem.starts_with(expected)),
            "{spec}\n{expected}\n{problems:#?}"
        );
    }
}

/// Specs with the element in each place where conditions stand.
fn conditions(element: &str) -> [(&'static str, String); 9] {
    [
        ("spec.when[0]", format!("{{hosts: [h], when: [{element}]}}")),
        (
            "spec.authentication.x.when[0]",
            format!("{{hosts: [h], authentication: {{x: {{anonymous: {{}}, when: [{element}]}}}}}}"),
        ),
        (
            "spec.metadata.x.when[0]",
            format!("{{hosts: [h], metadata: {{x: {{http: {{url: u}}, when: [{element}]}}}}}}"),
        ),
        (
            "spec.authorization.x.when[0]",
            format!("{{hosts: [h], authorization: {{x: {{opa: {{rego: r}}, when: [{element}]}}}}}}"),
        ),
        (
            "spec.authorization.x.patternMatching.patterns[0]",
            format!("{{hosts: [h], authorization: {{x: {{patternMatching: {{patterns: [{element}]}}}}}}}}"),
        ),
        (
            "spec.response.success.headers.x.when[0]",
            format!("{{hosts: [h], response: {{success: {{headers: {{x: {{plain: {{}}, when: [{element}]}}}}}}}}}}"),
        ),
        (
            "spec.response.success.dynamicMetadata.x.when[0]",
            format!(
                "{{hosts: [h], response: {{success: {{dynamicMetadata: {{x: {{plain: {{}}, when: [{element}]}}}}}}}}}}"
            ),
        ),
        (
            "spec.callbacks.x.when[0]",
            format!("{{hosts: [h], callbacks: {{x: {{http: {{url: u}}, when: [{element}]}}}}}}"),
        ),
        ("spec.when[0].all[0].any[0]", format!("{{hosts: [h], when: [{{all: [{{any: [{element}]}}]}}]}}")),
    ]
}

#[test]
fn conditions_are_of_exactly_one_kind_everywhere() {
    for element in [
        "{selector: request.method, operator: eq, value: GET}",
        "{selector: request.method, operator: eq}",
        "{jsonPath: $.request.method, operator: matches, value: G.*}",
        "{any: []}",
        "{all: [{predicate: 'true'}, {patternRef: p}]}",
        "{predicate: 'true'}",
        "{patternRef: p}",
    ] {
        for (_, spec) in conditions(element) {
            accepted(&[&spec]);
        }
    }
    let one_of = "must validate one and only one schema (oneOf): exactly one of `patternRef`, `operator and selector`, \
                  `operator and jsonPath`, `all`, `any`, `predicate` is needed, found ";
    for (element, below, message) in [
        ("{operator: eq, value: GET}", "", &format!("{one_of}none") as &str),
        ("{selector: request.method, value: GET}", "", &format!("{one_of}none")),
        ("{}", "", &format!("{one_of}none")),
        ("{predicate: 'true', patternRef: p}", "", &format!("{one_of}`patternRef`, `predicate`")),
        ("{all: [], any: []}", "", &format!("{one_of}`all`, `any`")),
        (
            "{selector: s, jsonPath: $.s, operator: eq}",
            "",
            &format!("{one_of}`operator and selector`, `operator and jsonPath`"),
        ),
        (
            "{predicate: 'true', selector: s, operator: eq}",
            "",
            &format!("{one_of}`operator and selector`, `predicate`"),
        ),
        (
            "{selector: s, operator: like, value: x}",
            ".operator",
            "Unsupported value: \"like\": supported values: \"eq\", \"neq\", \"incl\", \"excl\", \"matches\"",
        ),
        ("{selector: s, operator: eq, value: 5}", ".value", "must be of type string, found integer"),
        ("{predicate: true}", ".predicate", "must be of type string, found boolean"),
        ("{any: {}}", ".any", "must be of type array, found object"),
        ("{predicate: 'true', vlaue: x}", ".vlaue", "unknown field `vlaue`, did you mean `value`?"),
        ("{any: [{selector: s, operator: like}]}", ".any[0].operator", "Unsupported value: \"like\""),
        ("{all: [{predicate: 'true', selector: s, operator: eq}]}", ".all[0]", one_of),
        ("{all: ['true']}", ".all[0]", "must be of type object, found string"),
        ("[]", "", "must be of type object, found array"),
    ] {
        for (path, spec) in conditions(element) {
            refused(&[(&spec, &format!("{path}{below}: {message}"))]);
        }
    }
}

#[test]
fn named_patterns_take_comparisons_only() {
    accepted(&[
        "{hosts: [h], patterns: {p: [{selector: s, operator: eq, value: v}, {operator: eq}, {}], q: []}}",
        "{hosts: [h], patterns: {p: [{jsonPath: $.s, operator: eq, value: v}]}}",
    ]);
    refused(&[
        (
            "{hosts: [h], patterns: {p: [{predicate: 'true'}]}}",
            "spec.patterns.p[0].predicate: unknown field `predicate`",
        ),
        (
            "{hosts: [h], patterns: {p: [{selector: s, operator: is}]}}",
            "spec.patterns.p[0].operator: Unsupported value: \"is\"",
        ),
        ("{hosts: [h], patterns: {p: {}}}", "spec.patterns.p: must be of type array, found object"),
    ]);
}

#[test]
fn exactly_one_method_is_given() {
    let authentication = [
        "apiKey: {selector: {}}",
        "jwt: {issuerUrl: u}",
        "oauth2Introspection: {endpoint: e, credentialsRef: {name: n}}",
        "kubernetesTokenReview: {}",
        "x509: {selector: {}}",
        "plain: {selector: s}",
        "anonymous: {}",
    ];
    let metadata = ["http: {url: u}", "userInfo: {userInfoUrl: u}", "uma: {endpoint: e, credentialsRef: {}}"];
    let authorization = [
        "patternMatching: {patterns: []}",
        "opa: {rego: r}",
        "kubernetesSubjectAccessReview: {user: {value: u}}",
        "spicedb: {endpoint: e}",
    ];
    let response = ["plain: {}", "json: {properties: {}}", "wristband: {issuer: i, signingKeyRefs: []}"];
    let one_of = "must validate one and only one schema (oneOf): exactly one of ";
    let metadata_message = "Use exactly one of: http, userInfo, uma; found ";
    let authorization_message =
        "Use exactly one of: patternMatching, opa, kubernetesSubjectAccessReview, spicedb; found ";
    for (open, close, path, methods, message) in [
        ("authentication: {x: {", "}}", "spec.authentication.x", authentication.as_slice(), one_of),
        ("metadata: {x: {", "}}", "spec.metadata.x", metadata.as_slice(), metadata_message),
        ("authorization: {x: {", "}}", "spec.authorization.x", authorization.as_slice(), authorization_message),
        ("response: {success: {headers: {x: {", "}}}}", "spec.response.success.headers.x", response.as_slice(), one_of),
        (
            "response: {success: {dynamicMetadata: {x: {",
            "}}}}",
            "spec.response.success.dynamicMetadata.x",
            response.as_slice(),
            one_of,
        ),
    ] {
        let expected = format!("{path}: {message}");
        let spec = |methods: &[&str]| format!("{{hosts: [h], {open}{}{close}}}", methods.join(", "));
        for (index, method) in methods.iter().enumerate() {
            accepted(&[&spec(&[method])]);
            let other = methods[(index + 1) % methods.len()];
            refused(&[(&spec(&[method, other]), &expected)]);
        }
        refused(&[(&spec(&[]), &expected), (&spec(&["priority: 1"]), &expected), (&spec(methods), &expected)]);
    }
    let found = problems("{hosts: [h], authentication: {x: {jwt: {issuerUrl: u}, anonymous: {}}}}");
    assert!(found[0].ends_with("is needed, found `jwt`, `anonymous`"), "{found:?}");
}

#[test]
fn http_requests_have_one_url_and_one_body() {
    for (open, close, path) in [
        ("metadata: {x: {http: ", "}}", "spec.metadata.x.http"),
        ("callbacks: {x: {http: ", "}}", "spec.callbacks.x.http"),
        ("authorization: {x: {opa: {externalPolicy: ", "}}}", "spec.authorization.x.opa.externalPolicy"),
    ] {
        let spec = |http: &str| format!("{{hosts: [h], {open}{http}{close}}}");
        for http in [
            "{url: u}",
            "{urlExpression: \"'http://x'\"}",
            "{url: '', method: DELETE, timeout: 0}",
            "{url: u, body: {value: b}, contentType: application/json}",
            "{url: u, bodyParameters: {a: {selector: s}}, headers: {h: {expression: e}}}",
            "{url: u, sharedSecretRef: {name: n, key: k}, credentials: {cookie: {name: c}}}",
            "{url: u, oauth2: {tokenUrl: t, clientId: c, clientSecretRef: {name: n, key: k}, scopes: [s], extraParams: {a: b}, cache: false, timeout: 1}}",
        ] {
            accepted(&[&spec(http)]);
        }
        for (http, below, message) in [
            ("{url: u, urlExpression: e}", "", "Use exactly one of: url, urlExpression; found `url`, `urlExpression`"),
            ("{url: '', urlExpression: e}", "", "Use exactly one of: url, urlExpression; found"),
            ("{}", "", "Use exactly one of: url, urlExpression; found none"),
            (
                "{url: u, body: {}, bodyParameters: {}}",
                "",
                "Use one of: body, bodyParameters; found `body`, `bodyParameters`",
            ),
            ("{url: u, method: FETCH}", ".method", "Unsupported value: \"FETCH\": supported values: \"GET\", \"POST\""),
            ("{url: u, method: get}", ".method", "Unsupported value: \"get\""),
            ("{url: u, contentType: text/plain}", ".contentType", "Unsupported value: \"text/plain\""),
            ("{url: u, timeout: -1}", ".timeout", "Invalid value: -1: should be greater than or equal to 0"),
            ("{url: u, timeout: 1.5}", ".timeout", "must be of type integer, found number"),
            ("{url: u, timeout: '1'}", ".timeout", "must be of type integer, found string"),
            (
                "{url: u, timeout: 18446744073709551615}",
                ".timeout",
                "Invalid value: 18446744073709551615: is too large",
            ),
            ("{url: 5}", ".url", "must be of type string, found integer"),
            ("{url: u, sharedSecretRef: {name: n}}", ".sharedSecretRef.key", "Required value"),
            (
                "{url: u, oauth2: {clientId: c, clientSecretRef: {name: n, key: k}}}",
                ".oauth2.tokenUrl",
                "Required value",
            ),
            (
                "{url: u, oauth2: {tokenUrl: t, clientId: c, clientSecretRef: {name: n, key: k}, timeout: -1}}",
                ".oauth2.timeout",
                "Invalid value: -1: should be greater than or equal to 0",
            ),
            ("{url: u, headers: {h: text}}", ".headers.h", "must be of type object, found string"),
        ] {
            refused(&[(&spec(http), &format!("{path}{below}: {message}"))]);
        }
    }
}

#[test]
fn fields_that_exclude_each_other() {
    accepted(&[
        "{hosts: [h], authentication: {x: {jwt: {jwksUrl: u, ttl: -1}}}}",
        "{hosts: [h], authentication: {x: {plain: {expression: e}}}}",
        "{hosts: [h], authentication: {x: {plain: {jsonPath: $.request}}}}",
        "{hosts: [h], authentication: {x: {x509: {selector: {}, source: {}}}}}",
        "{hosts: [h], authentication: {x: {x509: {selector: {}, source: {clientCertHeader: c}}}}}",
        "{hosts: [h], authentication: {x: {anonymous: {}, credentials: {}}}}",
        "{hosts: [h], metadata: {x: {userInfo: {identitySource: i}}}}",
        "{hosts: [h], authorization: {x: {opa: {externalPolicy: {url: u, ttl: 5}, allValues: true, version: v1}}}}",
    ]);
    refused(&[
        ("{hosts: [h], authentication: {x: {jwt: {}}}}", "spec.authentication.x.jwt: Use one of: jwksUrl, issuerUrl"),
        (
            "{hosts: [h], authentication: {x: {jwt: {issuerUrl: '', jwksUrl: u}}}}",
            "spec.authentication.x.jwt: Use one of: jwksUrl, issuerUrl",
        ),
        (
            "{hosts: [h], authentication: {x: {plain: {}}}}",
            "spec.authentication.x.plain: Use exactly one of: selector, expression",
        ),
        (
            "{hosts: [h], authentication: {x: {plain: {selector: s, expression: e}}}}",
            "spec.authentication.x.plain: Use exactly one of: selector, expression",
        ),
        (
            "{hosts: [h], authentication: {x: {x509: {selector: {}, source: {xfccHeader: a, expression: b}}}}}",
            "spec.authentication.x.x509.source: Use one of: xfccHeader, clientCertHeader, expression",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {}, credentials: {authorizationHeader: {}, customHeader: {name: x}}}}}",
            "spec.authentication.x.credentials: Too many: 2: must have at most 1 items",
        ),
        (
            "{hosts: [h], metadata: {x: {userInfo: {}}}}",
            "spec.metadata.x.userInfo: Use one of: identitySource, userInfoUrl",
        ),
        (
            "{hosts: [h], metadata: {x: {userInfo: {identitySource: i, userInfoUrl: u}}}}",
            "spec.metadata.x.userInfo: Use one of: identitySource, userInfoUrl",
        ),
        (
            "{hosts: [h], authorization: {x: {opa: {}}}}",
            "spec.authorization.x.opa: Use exactly one of: rego, externalPolicy; found none",
        ),
        (
            "{hosts: [h], authorization: {x: {opa: {rego: r, externalPolicy: {url: u}}}}}",
            "spec.authorization.x.opa: Use exactly one of: rego, externalPolicy",
        ),
        (
            "{hosts: [h], response: {unauthorized: {message: {jsonPath: $.a, selector: s, value: v}}}}",
            "spec.response.unauthorized.message.jsonPath: cannot be combined with `value`, `selector`",
        ),
    ]);
}

#[test]
fn access_reviews_are_about_somebody() {
    accepted(&[
        "{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {user: {selector: s}}}}}",
        "{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {groups: [g], resourceAttributes: {}}}}}",
        "{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {authorizationGroups: {}, \
         resourceAttributes: {namespace: {value: n}, group: {}, resource: {}, name: {}, subresource: {}, verb: {}}}}}}",
    ]);
    let path = "spec.authorization.x.kubernetesSubjectAccessReview";
    let nobody = format!("{path}: At least one of user, groups, or authorizationGroups must be specified");
    let empty = format!("{path}.groups: 'groups' must not be empty");
    refused(&[
        ("{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {}}}}", &nobody),
        ("{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {resourceAttributes: {}}}}}", &nobody),
        ("{hosts: [h], authorization: {x: {kubernetesSubjectAccessReview: {groups: [], user: {}}}}}", &empty),
    ]);
}

#[test]
fn required_fields_types_and_bounds() {
    accepted(&[
        "{hosts: []}",
        "{hosts: [h], when: null, authentication: {}, response: {}, callbacks: }",
        "{hosts: [h], authentication: {x: {anonymous: {}, priority: -5, metrics: true, cache: {key: {}, ttl: 0}}}}",
        "{hosts: [h], authentication: {x: {apiKey: {selector: {matchLabels: {a: b}, matchExpressions: \
         [{key: a, operator: In, values: [b]}, {key: c, operator: Exists}]}, allNamespaces: true}}}}",
        "{hosts: [h], authentication: {x: {kubernetesTokenReview: {audiences: [a], timeout: 0}, defaults: {a: {}}, overrides: {b: {value: [1]}}}}}",
        "{hosts: [h], response: {unauthenticated: {code: 300, headers: {}, body: {}}, unauthorized: {code: 599}}}",
        "{hosts: [h], response: {success: {headers: {x: {wristband: {issuer: i, customClaims: {}, tokenDuration: 5, \
         signingKeyRefs: [{name: k, algorithm: RS512}]}, key: x-y}}}}}",
        "{hosts: [h], authorization: {x: {spicedb: {endpoint: e, insecure: true, sharedSecretRef: {name: n, key: k}, \
         subject: {name: {}, kind: {}}, resource: {}, permission: {value: read}}}}}",
        "{hosts: [h], metadata: {x: {http: {url: u}, cache: {key: {value: 1}}}}}",
    ]);
    refused(&[
        ("", "spec: Required value"),
        ("[]", "spec: must be of type object, found array"),
        ("{}", "spec.hosts: Required value"),
        ("{hosts: null}", "spec.hosts: Required value"),
        ("{hosts: h}", "spec.hosts: must be of type array, found string"),
        ("{hosts: [5]}", "spec.hosts[0]: must be of type string, found integer"),
        ("{hosts: [null]}", "spec.hosts[0]: must be of type string, found null"),
        ("{hosts: [h], authentication: [x]}", "spec.authentication: must be of type object, found array"),
        ("{hosts: [h], authentication: {x: }}", "spec.authentication.x: must be of type object, found null"),
        ("{hosts: [h], authentication: {x: {apiKey: {}}}}", "spec.authentication.x.apiKey.selector: Required value"),
        ("{hosts: [h], authentication: {x: {x509: {}}}}", "spec.authentication.x.x509.selector: Required value"),
        (
            "{hosts: [h], authentication: {x: {oauth2Introspection: {endpoint: e}}}}",
            "spec.authentication.x.oauth2Introspection.credentialsRef: Required value",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {}, credentials: {cookie: {}}}}}",
            "spec.authentication.x.credentials.cookie.name: Required value",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {}, metrics: 'on'}}}",
            "spec.authentication.x.metrics: must be of type boolean, found string",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {}, metrics: on}}}",
            "spec.authentication.x.metrics: must be of type boolean, found string",
        ),
        (
            "{hosts: [h], authentication: {x: {jwt: {issuerUrl: u, timeout: -1}}}}",
            "spec.authentication.x.jwt.timeout: Invalid value: -1: should be greater than or equal to 0",
        ),
        (
            "{hosts: [h], authentication: {x: {kubernetesTokenReview: {timeout: -1}}}}",
            "spec.authentication.x.kubernetesTokenReview.timeout: Invalid value: -1: should be greater than or equal to 0",
        ),
        (
            "{hosts: [h], authentication: {x: {apiKey: {selector: {matchExpressions: [{key: a, operator: Like}]}}}}}",
            "spec.authentication.x.apiKey.selector.matchExpressions[0].operator: \
             \"Like\" is not a valid label selector operator",
        ),
        ("{hosts: [h], callbacks: {x: {priority: 1}}}", "spec.callbacks.x.http: Required value"),
        ("{hosts: [h], metadata: {x: {http: {url: u}, cache: {ttl: 5}}}}", "spec.metadata.x.cache.key: Required value"),
        ("{hosts: [h], metadata: {x: {uma: {endpoint: e}}}}", "spec.metadata.x.uma.credentialsRef: Required value"),
        (
            "{hosts: [h], metadata: {x: {userInfo: {userInfoUrl: u, timeout: -1}}}}",
            "spec.metadata.x.userInfo.timeout: Invalid value: -1",
        ),
        (
            "{hosts: [h], authorization: {x: {patternMatching: {}}}}",
            "spec.authorization.x.patternMatching.patterns: Required value",
        ),
        ("{hosts: [h], authorization: {x: {spicedb: {}}}}", "spec.authorization.x.spicedb.endpoint: Required value"),
        (
            "{hosts: [h], authorization: {x: {opa: {rego: r, version: v2}}}}",
            "spec.authorization.x.opa.version: Unsupported value: \"v2\": supported values: \"v0\", \"v1\"",
        ),
        (
            "{hosts: [h], response: {unauthorized: {code: 200}}}",
            "spec.response.unauthorized.code: Invalid value: 200: should be greater than or equal to 300",
        ),
        (
            "{hosts: [h], response: {unauthenticated: {code: 600}}}",
            "spec.response.unauthenticated.code: Invalid value: 600: should be less than or equal to 599",
        ),
        (
            "{hosts: [h], response: {success: {headers: {x: {json: {}}}}}}",
            "spec.response.success.headers.x.json.properties: Required value",
        ),
        (
            "{hosts: [h], response: {success: {headers: {x: {wristband: {issuer: i, signingKeyRefs: [{name: k, algorithm: HS256}]}}}}}}",
            "spec.response.success.headers.x.wristband.signingKeyRefs[0].algorithm: Unsupported value: \"HS256\"",
        ),
    ]);
}

#[test]
fn unknown_fields_are_refused_with_the_nearest_name() {
    refused(&[
        ("{hosts: [h], surprise: {a: 1}}", "spec.surprise: unknown field `surprise`"),
        (
            "{hosts: [h], authorisation: {}}",
            "spec.authorisation: unknown field `authorisation`, did you mean `authorization`?",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {unheard: of}}}}",
            "spec.authentication.x.anonymous.unheard: unknown field `unheard`",
        ),
        (
            "{hosts: [h], authentication: {x: {anonymous: {}, prioritty: 1}}}",
            "spec.authentication.x.prioritty: unknown field `prioritty`, did you mean `priority`?",
        ),
        (
            "{hosts: [h], metadata: {a.b: {http: {url: u, bodyParams: {}}}}}",
            "spec.metadata.a.b.http.bodyParams: unknown field `bodyParams`",
        ),
    ]);
    assert_eq!(
        problems("{hosts: [h], authentication: {x: {apikey: {selector: {}}}}}").len(),
        2,
        "a misspelt method is missing as well"
    );
}

#[test]
fn defaults_are_filled_in() {
    let spec = "{hosts: [h], authentication: {x: {anonymous: {}, cache: {key: {value: k}}}}, \
                metadata: {x: {http: {url: u, oauth2: {tokenUrl: t, clientId: c, clientSecretRef: {name: n, key: k}}}}}, \
                authorization: {x: {opa: {rego: r}}}}";
    let config = read_spec(spec).result.unwrap();
    let who = &config.spec.authentication["x"];
    assert_eq!((who.common.priority, who.common.metrics), (0, false));
    assert_eq!(who.common.cache.as_ref().unwrap().ttl, 60);
    let http = config.spec.metadata["x"].http.as_ref().unwrap();
    assert_eq!((http.method.as_str(), http.content_type.as_str()), ("GET", "application/x-www-form-urlencoded"));
    assert!(http.oauth2.as_ref().unwrap().cache);
    let opa = config.spec.authorization["x"].opa.as_ref().unwrap();
    assert_eq!((opa.version, opa.all_values), (usher_api::RegoVersion::V0, false));
}

#[test]
fn fixed_values_keep_the_order_of_their_members() {
    let config = read_spec("{hosts: [h], response: {unauthorized: {body: {value: {z: 1, a: [true, null], m: 1.5}}}}}");
    let body = config.result.unwrap().spec.response.unwrap().unauthorized.unwrap().body.unwrap();
    assert_eq!(body.value.unwrap().to_string(), r#"{"z":1,"a":[true,null],"m":1.5}"#);
}

#[test]
fn methods_can_be_asked_for() {
    use usher_api::{AuthenticationMethod, AuthorizationMethod, JwtKeySource, MetadataMethod, SuccessResponseMethod};
    let config = read_spec(
        "{hosts: [h], authentication: {x: {jwt: {issuerUrl: u}}}, metadata: {x: {userInfo: {identitySource: x}}}, \
         authorization: {x: {opa: {rego: r}}}, response: {success: {headers: {x: {plain: {value: 1}}}}}}",
    );
    let spec = config.result.unwrap().spec;
    let Ok(AuthenticationMethod::Jwt(jwt)) = spec.authentication["x"].method() else { panic!() };
    assert_eq!(jwt.key_source(), Ok(JwtKeySource::IssuerUrl("u")));
    assert!(matches!(spec.metadata["x"].method(), Ok(MetadataMethod::UserInfo(_))));
    assert!(matches!(spec.authorization["x"].method(), Ok(AuthorizationMethod::Opa(_))));
    let headers = spec.response.unwrap().success.unwrap().headers;
    assert!(matches!(headers["x"].method(), Ok(SuccessResponseMethod::Plain(_))));
}

#[test]
fn conditions_may_be_nested_as_deep_as_documents() {
    let nested = |depth: usize| {
        let (open, close) = ("{all: [".repeat(depth), "]}".repeat(depth));
        problems(&format!("{{hosts: [h], when: [{open}{{predicate: 'true'}}{close}]}}"))
    };
    assert_eq!(nested(48), Vec::<String>::new());
    let problem = nested(49).join("; ");
    assert!(problem.ends_with(": nested more than 100 deep"), "{problem}");
}
