use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{prelude::*, strategy::ValueTree as _};
use serde_json::{Value, json};
use usher_api::{Document as Yaml, read_documents};
use usher_engine::{
    Context, Plan, Request, RequestParts, Verdict,
    observe::Metrics,
    plan::OnConditionError,
    request::{Address, Metadata, Peer, Port, Time},
};
use usher_evaluators::{Resources, Secrets, build_context::Options, resources::http};
use usher_expr::Document as _;

use super::*;
use crate::Compiler;

fn auth_config(spec: &str) -> AuthConfig {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: a, namespace: team}}\nspec:\n  \
         hosts: [a.test]\n{indented}"
    );
    match read_documents(&text).pop() {
        Some(Yaml::AuthConfig(document)) => document.result.unwrap_or_else(|problems| panic!("{problems:?}\n{text}")),
        other => panic!("{other:?}\n{text}"),
    }
}

/// What is read besides what always is.
fn read(spec: &str) -> Vec<String> {
    let needs = Needs::of(&auth_config(spec));
    let is_own = |readings: &[Reading]| readings.iter().any(|reading| !reading.field.is_empty());
    needs.iter().filter(|(_, readings)| is_own(readings)).map(|(attribute, _)| shown(attribute)).collect()
}

fn shown(attribute: &Attribute) -> String {
    let which = |what: &str, which: &Which| match which {
        Which::All => format!("{what} *"),
        Which::Named(name) => format!("{what} {name}"),
    };
    match attribute {
        Attribute::Header(name) => which("header", name),
        Attribute::Cookie(name) => format!("cookie {name}"),
        Attribute::ContextExtension(name) => which("extension", name),
        Attribute::FilterMetadata(name) => which("metadata", name),
        Attribute::TypedFilterMetadata(name) => which("typed metadata", name),
        Attribute::RouteMetadata(name) => which("route metadata", name),
        Attribute::TypedRouteMetadata(name) => which("typed route metadata", name),
        Attribute::Route(name) => format!("route {name}"),
        other => format!("{other:?}"),
    }
}

const EVERYTHING: [&str; 17] = [
    "header *",
    "header x-request-id",
    "RawHeaders",
    "Body(Text)",
    "Body(Bytes)",
    "Body(Size)",
    "extension *",
    "SourcePrincipal",
    "SourceCertificate",
    "SourceDetails",
    "DestinationPrincipal",
    "DestinationDetails",
    "metadata *",
    "typed metadata *",
    "route metadata *",
    "typed route metadata *",
    "TlsSession",
];

#[test]
fn what_each_kind_of_rule_reads() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("authentication: {a: {anonymous: {}}}", &[]),
        ("authentication: {a: {apiKey: {selector: {}}}}", &["header authorization"]),
        (
            "authentication: {a: {apiKey: {selector: {}}, credentials: {customHeader: {name: X-API-Key}}}}",
            &["header x-api-key"],
        ),
        ("authentication: {a: {jwt: {jwksUrl: 'https://a'}, credentials: {queryString: {name: t}}}}", &[]),
        (
            "authentication: {a: {oauth2Introspection: {endpoint: 'https://a', credentialsRef: {name: s}}, credentials: {cookie: {name: SID}}}}",
            &["header cookie", "cookie SID"],
        ),
        (
            "authentication: {a: {kubernetesTokenReview: {}, when: [{predicate: \"request.referer != ''\"}]}}",
            &["header authorization", "header referer"],
        ),
        ("authentication: {a: {x509: {selector: {}}}}", &["SourceCertificate"]),
        (
            "authentication: {a: {x509: {selector: {}, source: {xfccHeader: X-Forwarded-Client-Cert}}}}",
            &["header x-forwarded-client-cert"],
        ),
        (
            "authentication: {a: {x509: {selector: {}, source: {clientCertHeader: Client-Cert}}}}",
            &["header client-cert"],
        ),
        (
            "authentication: {a: {x509: {selector: {}, source: {expression: 'request.headers[\"x-cert\"]'}}}}",
            &["header x-cert"],
        ),
        ("authentication: {a: {spiffe: {trust: connection}}}", &["SourcePrincipal"]),
        ("authentication: {a: {spiffe: {trust: xfcc, xfccElement: last}}}", &["header x-forwarded-client-cert"]),
        (
            "authentication: {a: {plain: {selector: context.metadata_context.filter_metadata.envoy\\.filters\\.http\\.jwt_authn.payload}}}",
            &["metadata envoy.filters.http.jwt_authn"],
        ),
        (
            "authentication: {a: {anonymous: {}, defaults: {x: {selector: request.headers.x-a}}, overrides: {y: {jsonPath: \"$.request.headers['x-b']\"}}}}",
            &["header x-a", "header x-b"],
        ),
        (
            "authentication: {a: {anonymous: {}, cache: {key: {expression: 'request.user_agent'}}}}",
            &["header user-agent"],
        ),
        (
            "routes: [{name: web, sectionName: pay}, {kind: GRPCRoute, name: api}]",
            &["route GRPCRoute/team/api", "route HTTPRoute/team/web/pay"],
        ),
        (
            "patterns: {p: [{selector: request.headers.x-p, operator: eq, value: a}]}\nwhen: [{any: [{patternRef: p}, {all: [{jsonPath: $.request.body, operator: matches, value: a}]}]}]",
            &["header x-p", "Body(Text)"],
        ),
        (
            "when: [{selector: '[request.method,{\"b\":request.headers.x-b}]|1.b', operator: eq, value: '1'}, {selector: 'request.{\"a\":headers.x-c}.a', operator: eq, value: '1'}]\npatterns: {p: [{selector: '{\"a\":request.headers.x-d}.a', operator: eq, value: a}]}",
            &["header x-b", "header x-c", "header x-d"],
        ),
        (
            "metadata: {m: {http: {url: 'http://a/{request.headers.x-u}', headers: {h: {selector: request.headers.x-h}}, bodyParameters: {b: {expression: request.raw_body}}}}}",
            &["header x-h", "header x-u", "Body(Bytes)"],
        ),
        (
            "metadata: {m: {http: {urlExpression: \"'http://a/' + request.headers['x-u']\", body: {jsonPath: $.request.body}}}}",
            &["header x-u", "Body(Text)"],
        ),
        (
            "metadata: {m: {userInfo: {userInfoUrl: 'https://a'}}}\nauthentication: {a: {plain: {selector: source.principal}, credentials: {cookie: {name: c}}}}",
            &["header cookie", "cookie c", "SourcePrincipal"],
        ),
        ("metadata: {m: {userInfo: {userInfoUrl: 'https://a'}}}", &["header authorization"]),
        ("metadata: {m: {uma: {endpoint: 'https://a', credentialsRef: {name: s}}}}", &[]),
        (
            "authorization: {a: {patternMatching: {patterns: [{predicate: 'request.grpc.method == \"Get\"'}]}}}",
            &["header content-type"],
        ),
        (
            "authorization: {a: {opa: {rego: 'allow { input.context.request.http.headers[\"x-a\"] == input.auth.identity.x }'}}}",
            &["header x-a"],
        ),
        ("authorization: {a: {opa: {rego: 'allow { input.request.headers[_] == \"x\" }'}}}", &["header *"]),
        ("authorization: {a: {opa: {externalPolicy: {url: 'https://a'}}}}", &EVERYTHING),
        (
            "authorization: {a: {opa: {rego: 'allow { http.send({\"url\": input.request.headers.x, \"method\": \"GET\"}).status_code == 200 }'}}}",
            &["header x"],
        ),
        (
            "authorization: {a: {kubernetesSubjectAccessReview: {user: {selector: auth.identity.sub}, resourceAttributes: {namespace: {expression: 'request.context_extensions.ns'}, verb: {selector: request.headers.x-v}}}}}",
            &["header x-v", "extension ns"],
        ),
        (
            "authorization: {a: {spicedb: {endpoint: 'a:1', subject: {kind: {value: u}, name: {selector: request.headers.x-s}}, resource: {kind: {value: d}, name: {selector: context.tls_session.sni}}, permission: {expression: request.size}}}}",
            &["header x-s", "Body(Size)", "TlsSession"],
        ),
        (
            "response: {unauthorized: {message: {selector: request.headers.x-m}, headers: {h: {selector: 'why: {request.headers.x-h}'}}, body: {expression: 'request.headers[\"x-b\"]'}, dynamicMetadata: {d: {selector: request.headers.x-d}}}}",
            &["header x-b", "header x-d", "header x-h", "header x-m"],
        ),
        (
            "response: {success: {headers: {X-User: {plain: {value: a}}, other: {key: X-Key, plain: {selector: source.certificate}}}, removeHeaders: [x-gone], dynamicMetadata: {d: {json: {properties: {p: {selector: destination.labels.app}}}}}, responseHeaders: {x-up: {plain: {selector: destination.principal}}}, queryParameters: {set: {q: {plain: {selector: request.headers.x-q}}}, remove: [r]}}}",
            &[
                "header x-key",
                "header x-q",
                "header x-user",
                "SourceCertificate",
                "DestinationPrincipal",
                "DestinationDetails",
            ],
        ),
        (
            "response: {success: {headers: {x-w: {wristband: {issuer: 'https://a/team/a/x-w', customClaims: {c: {selector: request.headers.x-c}}, signingKeyRefs: [{name: k, algorithm: ES256}]}}}}}",
            &["header x-c", "header x-w"],
        ),
        (
            "callbacks: {c: {http: {url: 'http://a', body: {selector: context.route_metadata_context.filter_metadata.r.x}}, when: [{selector: request.headers.x-c, operator: eq}]}}",
            &["header x-c", "route metadata r"],
        ),
        ("when: [{predicate: 'size(request.headers) > 1'}]", &["header *"]),
        ("when: [{selector: 'request.headers.:path', operator: eq, value: /}]", &["header :path"]),
        ("when: [{selector: 'request.headers.x (y)', operator: eq, value: /}]", &[]),
        ("when: [{selector: context.request.http.header_map, operator: eq, value: a}]", &["header *", "RawHeaders"]),
        ("when: [{selector: 'auth.@this', operator: eq, value: a}]", &[]),
        ("when: [{predicate: 'metadata.filter_metadata.exists(m, m == \"x\")'}]", &["metadata *"]),
        ("when: [{selector: source.address, operator: eq, value: a}, {predicate: request.host == ''}]", &[]),
    ];
    for (spec, expected) in cases {
        assert_eq!(read(spec), *expected, "{spec}");
    }
}

#[test]
fn what_cannot_be_understood_reads_everything() {
    let mut config = auth_config("when: [{predicate: 'true'}]");
    config.spec.when[0].predicate = Some("request.".to_owned());
    let needs = Needs::of(&config);
    let Headers::All(readings) = needs.headers() else { panic!("all are needed") };
    assert_eq!(
        (readings[0].field.as_str(), readings[0].how.as_str()),
        ("spec.when[0].predicate", "cannot be understood")
    );
    for attribute in EVERYTHING {
        assert!(needs.iter().any(|(known, _)| shown(known) == attribute), "{attribute}");
    }
}

/// The server refuses such an AuthConfig, and it is not known what it would read once it is mended.
#[test]
fn a_route_that_is_no_name_reads_everything() {
    for wrong in ["{name: other/web}", "{name: web, sectionName: check_out}", "{name: ''}"] {
        let found = read(&format!("routes: [{{name: web}}, {wrong}]"));
        for attribute in EVERYTHING.iter().filter(|attribute| **attribute != "header x-request-id") {
            assert!(found.iter().any(|known| known == attribute), "{wrong}: {attribute}");
        }
        let routes: Vec<_> = found.iter().filter(|known| known.starts_with("route HTTP")).collect();
        assert_eq!(routes, ["route HTTPRoute/team/web"], "{wrong}");
    }
}

#[test]
fn what_is_put_together_is_there_once() {
    let web = Needs::of(&auth_config("when: [{predicate: 'request.headers[\"x-a\"] == \"\"'}]"));
    let shop = Needs::of(&auth_config("authorization: {a: {opa: {rego: 'allow { input.request.headers[\"x-a\"] }'}}}"));
    let mut all = web.clone();
    all.add_all(&shop);
    all.add_all(&web);
    let fields: Vec<_> = all.0[&Attribute::header("x-a")].iter().map(|reading| reading.field.as_str()).collect();
    assert_eq!(fields, ["spec.when[0].predicate", "spec.authorization.a.opa.rego"]);
    assert_eq!(all.0[&Attribute::header("x-request-id")].len(), 1);
}

#[test]
fn each_reading_names_its_field() {
    let needs = Needs::of(&auth_config(
        "authentication: {keys: {apiKey: {selector: {}}, when: [{selector: request.headers.x-a, operator: eq}]}}\n\
         authorization: {a.b: {opa: {rego: 'allow { input.request.headers[\"x-a\"] }'}}}",
    ));
    let readings: Vec<_> = needs
        .iter()
        .flat_map(|(attribute, readings)| readings.iter().map(move |reading| (attribute, reading)))
        .map(|(attribute, reading)| format!("{}: {} {}", shown(attribute), reading.field, reading.how))
        .collect();
    assert_eq!(
        readings,
        [
            "header authorization: spec.authentication.keys takes the credential from it",
            "header x-a: spec.authentication.keys.when[0].selector reads `request.headers[\"x-a\"]`",
            "header x-a: spec.authorization[\"a.b\"].opa.rego reads `request.headers[\"x-a\"]`",
            "header x-request-id:  names the decision in the log and in answers",
            "header x-usher-nesting:  counts requests of rules that lead back to rules, so that they come to an end",
        ]
    );
    let expected = ["authorization", "x-a", "x-request-id", "x-usher-nesting"];
    assert_eq!(needs.headers(), Headers::Named(expected.to_vec()));
}

const POLICY: &str = r#"apiVersion: envoy.kyverno.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: demo}
spec:
  matchConditions:
  - {name: c, expression: object.attributes.request.http.host == "a.test"}
  variables:
  - {name: role, expression: 'object.attributes.request.http.headers[?"x-role"].orValue("")'}
  - {name: unused, expression: object.attributes.source.principal}
  deny:
  - match: variables.role == object.attributes.context_extensions.role
    response: envoy.Denied(401).WithBody(object.attributes.request.http.body).Response()
  allow:
  - response: envoy.Allowed().WithHeader("x-by", object.attributes.metadata_context.filter_metadata["a.b"].c).Response()
"#;

fn policy(text: &str) -> AuthorizationPolicy {
    match read_documents(text).pop() {
        Some(Yaml::AuthorizationPolicy(document)) => document.result.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_policies_read() {
    let needs = Needs::of_policy(&policy(POLICY));
    let readings: Vec<_> = needs
        .iter()
        .flat_map(|(attribute, readings)| readings.iter().map(move |reading| (attribute, reading)))
        .filter(|(_, reading)| !reading.field.is_empty())
        .map(|(attribute, reading)| format!("{}: {}", shown(attribute), reading.field))
        .collect();
    assert_eq!(
        readings,
        [
            "header x-role: spec.variables[0].expression",
            "Body(Text): spec.deny[0].response",
            "extension role: spec.deny[0].match",
            "SourcePrincipal: spec.variables[1].expression",
            "metadata a.b: spec.allow[0].response",
        ]
    );
    for (from, to) in [("object.attributes.source.principal", "object"), ("envoy.Denied(401)", "envoy.Nothing()")] {
        let needs = Needs::of_policy(&policy(&POLICY.replace(from, to)));
        for attribute in EVERYTHING {
            assert!(needs.iter().any(|(known, _)| shown(known) == attribute), "{to}: {attribute}");
        }
    }
}

// --- The document of a request ---------------------------------------------------------------------------------------

fn peer(name: &str) -> Peer {
    Peer {
        address: Some(Address::Socket { protocol: 1, address: "10.0.0.1".to_owned(), port: Port::Number(5000) }),
        service: format!("service of {name}"),
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        principal: format!("spiffe://test/{name}"),
        certificate: format!("certificate of {name}"),
    }
}

fn metadata(value: &str) -> Metadata {
    let values = BTreeMap::from([("ns".to_owned(), json!({"k": value}))]);
    Metadata { filter_metadata: values.clone(), typed_filter_metadata: values }
}

/// Everything that a gateway can say, once.
fn full() -> RequestParts {
    let headers = [
        ("authorization", "Bearer t"),
        ("content-type", "application/grpc"),
        ("referer", "r"),
        ("user-agent", "u"),
        ("x-request-id", "1"),
    ];
    RequestParts {
        id: "1".to_owned(),
        time: Some(Time { seconds: 1_700_000_000, nanos: 5_000 }),
        protocol: "HTTP/1.1".to_owned(),
        scheme: "http".to_owned(),
        host: "a.test".to_owned(),
        method: "POST".to_owned(),
        path: "/S/M?x=1".to_owned(),
        query: "q".to_owned(),
        fragment: "f".to_owned(),
        headers: headers.into_iter().collect(),
        header_map: Some(json!({"headers": []})),
        size: 4,
        body: "body".to_owned(),
        raw_body: b"body".to_vec(),
        source: peer("client"),
        destination: peer("gateway"),
        context_extensions: BTreeMap::from([("route".to_owned(), "HTTPRoute/a/b".to_owned())]),
        metadata: Some(metadata("m")),
        route_metadata: Some(metadata("r")),
        tls_session: Some("sni".to_owned()),
    }
}

/// What is always sent, or made of it. A member that the document gets has to be thought of here or in `attributes`.
const ALWAYS: &[&str] = &[
    "request/time",
    "request/protocol",
    "request/scheme",
    "request/host",
    "request/method",
    "request/path",
    "request/url_path",
    "request/query",
    "source/address",
    "source/port",
    "destination/address",
    "destination/port",
    "context/source/address",
    "context/destination/address",
    "context/request/time",
    "context/request/http/method",
    "context/request/http/path",
    "context/request/http/host",
    "context/request/http/scheme",
    "context/request/http/query",
    "context/request/http/fragment",
    "context/request/http/protocol",
];

#[test]
fn every_member_of_the_document_is_known() {
    fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    path.push(name.clone());
                    leaves(member, path, found);
                    path.pop();
                }
            }
            _ => found.push(path.clone()),
        }
    }
    let request = Request::new(full());
    let context = Context::new(&request, None, None);
    let mut found = Vec::new();
    leaves(&context.json(), &mut Vec::new(), &mut found);
    assert!(found.len() > 60, "{found:?}");
    for path in found.iter().filter(|path| path[0] != "auth") {
        let is_sent_always = ALWAYS.iter().any(|name| {
            let spelled = path.join("/");
            spelled == *name || spelled.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        });
        assert_ne!(attributes::of(path).is_empty(), !is_sent_always, "{path:?}");
        // Whatever reads more reads at least that.
        for length in 0..path.len() {
            let outer = attributes::of(&path[..length]);
            for inner in attributes::of(path) {
                assert!(outer.iter().any(|outer| covers(outer, &inner)), "{path:?}: {inner:?} of {outer:?}");
            }
        }
    }
}

fn covers(outer: &Attribute, inner: &Attribute) -> bool {
    use Attribute::{ContextExtension, FilterMetadata, Header, RouteMetadata, TypedFilterMetadata, TypedRouteMetadata};
    outer == inner
        || matches!(
            (outer, inner),
            (Header(Which::All), Header(_))
                | (ContextExtension(Which::All), ContextExtension(_))
                | (FilterMetadata(Which::All), FilterMetadata(_))
                | (TypedFilterMetadata(Which::All), TypedFilterMetadata(_))
                | (RouteMetadata(Which::All), RouteMetadata(_))
                | (TypedRouteMetadata(Which::All), TypedRouteMetadata(_))
        )
}

// --- Nothing else is read --------------------------------------------------------------------------------------------

/// The request as a gateway sends it that sends only what is needed.
fn restricted(full: &RequestParts, needs: &Needs) -> RequestParts {
    let has = |attribute: Attribute| needs.iter().any(|(known, _)| covers(known, &attribute));
    let named = |name: &str| Which::Named(name.to_owned());
    let mut parts = full.clone();
    parts.headers = full.headers.iter().filter(|(name, _)| has(Attribute::Header(named(name)))).collect();
    if !has(Attribute::RawHeaders) {
        parts.header_map = None;
    }
    if !has(Attribute::Body(Body::Text)) {
        parts.body = String::new();
    }
    if !has(Attribute::Body(Body::Bytes)) {
        parts.raw_body = Vec::new();
    }
    if ![Body::Text, Body::Bytes, Body::Size].into_iter().any(|body| has(Attribute::Body(body))) {
        parts.size = 0;
    }
    let is_looked_up = needs.iter().any(|(known, _)| matches!(known, Attribute::Route(_)));
    parts.context_extensions.retain(|name, _| is_looked_up || has(Attribute::ContextExtension(named(name))));
    if !has(Attribute::SourcePrincipal) {
        parts.source.principal = String::new();
    }
    if !has(Attribute::SourceCertificate) {
        parts.source.certificate = String::new();
    }
    if !has(Attribute::SourceDetails) {
        parts.source.service = String::new();
        parts.source.labels = BTreeMap::new();
    }
    if !has(Attribute::DestinationPrincipal) {
        parts.destination.principal = String::new();
    }
    if !has(Attribute::DestinationDetails) {
        parts.destination.certificate = String::new();
        parts.destination.service = String::new();
        parts.destination.labels = BTreeMap::new();
    }
    // Gateways send the lists of metadata even when they are empty.
    if let Some(metadata) = &mut parts.metadata {
        metadata.filter_metadata.retain(|name, _| has(Attribute::FilterMetadata(named(name))));
        metadata.typed_filter_metadata.retain(|name, _| has(Attribute::TypedFilterMetadata(named(name))));
    }
    if let Some(metadata) = &mut parts.route_metadata {
        metadata.filter_metadata.retain(|name, _| has(Attribute::RouteMetadata(named(name))));
        metadata.typed_filter_metadata.retain(|name, _| has(Attribute::TypedRouteMetadata(named(name))));
    }
    if !has(Attribute::TlsSession) {
        parts.tls_session = parts.tls_session.map(|_| String::new());
    }
    parts
}

/// AuthConfigs whose verdict depends on the request and on nothing else.
const SPECS: &[&str] = &[
    "authentication: {a: {apiKey: {selector: {}}, credentials: {customHeader: {name: X-A}}}}",
    "authentication: {a: {jwt: {secretRef: {name: s}}, credentials: {authorizationHeader: {prefix: Bearer}}}}",
    "authentication: {a: {plain: {selector: request.headers.x-a}, when: [{predicate: 'has(request.headers.cookie)'}]}, b: {x509: {selector: {}, source: {xfccHeader: X-Forwarded-Client-Cert}}}}",
    "authentication: {a: {spiffe: {trust: connection, trustDomains: [test]}}, b: {spiffe: {trust: xfcc}}}\nresponse: {success: {headers: {x-id: {json: {properties: {i: {selector: auth.identity}}}}}}}",
    "authentication: {a: {x509: {selector: {}}}}",
    "authentication: {a: {plain: {expression: 'request.headers'}}}\nresponse: {success: {headers: {x-id: {plain: {selector: auth.identity.x-b}}}}}",
    "authentication: {a: {anonymous: {}, defaults: {t: {selector: request.headers.x-tenant}}}}\nauthorization: {a: {patternMatching: {patterns: [{selector: auth.identity.t, operator: neq, value: b}]}}}",
    "when: [{any: [{predicate: 'request.headers[\"x-a\"] == \"a\"'}, {selector: request.body, operator: matches, value: b}]}]\nauthorization: {a: {patternMatching: {patterns: [{jsonPath: \"$.request.headers['x-b']\", operator: eq, value: a}]}}}",
    "authorization: {a: {opa: {rego: 'allow { input.request.headers[\"x-a\"] == input.context.request.http.headers[\"x-b\"] }', allValues: true}}}",
    "authorization: {a: {opa: {version: v1, rego: 'allow if { some name, value in input.request.headers; value == \"a\" }'}}}",
    "authorization: {a: {opa: {version: v1, rego: \"import input.request as r\\nallow if not r.headers[\\\"x-a\\\"]\"}}}",
    "authorization: {a: {patternMatching: {patterns: [{predicate: 'request.size > 1 && request.raw_body == request.body'}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{predicate: 'request.?grpc.hasValue()'}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{predicate: 'request.context_extensions.?tier.orValue(\"\") == \"a\" || source.?labels.app.orValue(\"\") == \"b\"'}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{selector: context.tls_session.sni, operator: neq, value: a}, {selector: metadata.filter_metadata.ns.k, operator: neq, value: b}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{selector: 'request.headers.x-a|@values', operator: incl, value: a}, {selector: 'request.headers.x-*', operator: neq, value: b}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{selector: context.route_metadata_context.@this.filter_metadata, operator: matches, value: a}]}}}",
    "authorization: {a: {patternMatching: {patterns: [{predicate: 'auth.identity.anonymous && request.referer + request.user_agent != \"ab\"'}]}}}",
    "response: {success: {headers: {x-a: {plain: {value: v}, action: append}, X-B: {plain: {value: v}, action: addIfAbsent}, x-c: {plain: {selector: nothing}}, cookie: {plain: {value: c=1}, action: append}}, removeHeaders: [x-tenant]}}",
    "response: {success: {headers: {h: {key: x-a, when: [{selector: request.headers.x-b, operator: eq, value: a}], plain: {selector: '{request.headers.x-c}-{request.headers.x-tenant.@case:upper}'}}}, queryParameters: {set: {q: {plain: {selector: request.headers.referer}}}}}}",
    "authentication: {a: {plain: {selector: request.headers.x-a}}}\nresponse: {unauthenticated: {code: 302, headers: {location: {selector: 'https://login/{request.headers.x-b}'}}, body: {expression: '{\"id\": request.id}'}}}",
    "authentication: {a: {apiKey: {selector: {}}, credentials: {cookie: {name: SID}}, removeCredential: true}, b: {anonymous: {}, priority: 1}}",
];

fn plans() -> Vec<(Needs, Plan)> {
    let client = http::Client::new(http::Options::default()).unwrap();
    let compiler = Compiler {
        resources: Arc::new(Resources::new(client, usher_api::Selector::default()).unwrap()),
        metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
        options: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
        on_condition_error: OnConditionError::Undecidable,
        allow_route_lookup: true,
    };
    let mut secrets = Secrets::complete();
    let data = BTreeMap::from([("key".to_owned(), b"0123456789abcdef0123456789abcdef".to_vec())]);
    let named = usher_api::ObjectMeta {
        namespace: "team".to_owned(),
        name: "s".to_owned(),
        ..usher_api::ObjectMeta::default()
    };
    secrets.insert(Arc::new(usher_api::Secret { metadata: named, data, ..usher_api::Secret::default() }));
    let mut plans = Vec::new();
    for spec in SPECS {
        let config = auth_config(spec);
        let reader = usher_evaluators::SecretReader::new(&secrets, "team");
        let compiled = compiler.compile(&config, &reader).unwrap_or_else(|refused| panic!("{spec}: {refused:?}"));
        plans.push((Needs::of(&config), compiled.plan));
    }
    plans
}

const NAMES: &[&str] = &[
    "authorization",
    "content-type",
    "cookie",
    "referer",
    "user-agent",
    "x-a",
    "x-b",
    "x-c",
    "x-forwarded-client-cert",
    "x-id",
    "x-tenant",
    "x-usher-nesting",
];

const VALUES: &[&str] = &[
    "a",
    "b",
    "",
    "3",
    "application/grpc",
    "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
    "SID=a; x=b",
    "By=spiffe://test/g;URI=spiffe://test/ns/n/sa/a",
    "URI=spiffe://other/ns/n/sa/a",
];

fn requests() -> impl Strategy<Value = RequestParts> {
    let value = || prop::sample::select(VALUES).prop_map(str::to_owned);
    let some = || prop::option::of(value()).prop_map(Option::unwrap_or_default);
    let headers = prop::collection::vec((prop::sample::select(NAMES), prop::sample::select(VALUES)), 0..8);
    (headers, [some(), some(), some(), some(), some()], any::<bool>()).prop_map(
        |(headers, [body, principal, label, extension, metadata_value], is_full)| {
            let mut parts = RequestParts {
                id: "1".to_owned(),
                host: "a.test".to_owned(),
                method: "GET".to_owned(),
                path: "/S/M?x=1".to_owned(),
                ..RequestParts::default()
            };
            if is_full {
                parts = full();
                parts.raw_body = body.clone().into_bytes();
                parts.metadata = Some(metadata(&metadata_value));
                parts.route_metadata = Some(metadata(&extension));
                parts.tls_session = Some(label.clone());
                parts.source.labels = BTreeMap::from([("app".to_owned(), label)]);
                parts.context_extensions = BTreeMap::from([("tier".to_owned(), extension)]);
                parts.source.principal = principal;
            }
            parts.size = i64::try_from(body.len()).unwrap();
            parts.body = body;
            // Gateways make up the one that is always there.
            let always = [("x-request-id", "1")];
            parts.headers = headers.into_iter().chain(always).collect();
            parts
        },
    )
}

fn decide(plan: &Plan, parts: RequestParts) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let decide = || {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        runtime.block_on(usher_engine::check(plan, &Request::new(parts.clone()), Some(deadline), None))
    };
    // The time of a policy goes on while the machine does something else, and what ran out of it says nothing.
    let is_decided = |verdict: &Verdict| match verdict {
        Verdict::Undecidable(undecided) => undecided.reason != "policy evaluation timed out",
        _ => true,
    };
    match std::iter::repeat_with(decide).take(20).find(is_decided).expect("a verdict") {
        Verdict::Allow(allow) => format!("{:?}", allow.additions()),
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A gateway that sends only what is needed gets the same verdicts as one that sends everything.
    #[test]
    fn verdicts_depend_on_nothing_else(requests in prop::collection::vec(requests(), 4)) {
        static PLANS: std::sync::LazyLock<Vec<(Needs, Plan)>> = std::sync::LazyLock::new(plans);
        for (index, (needs, plan)) in PLANS.iter().enumerate() {
            for parts in &requests {
                let less = restricted(parts, needs);
                prop_assert_eq!(
                    decide(plan, parts.clone()),
                    decide(plan, less.clone()),
                    "{}\n{:?}\n{:?}",
                    SPECS[index],
                    parts,
                    less
                );
            }
        }
    }
}

/// The property would hold for verdicts that are always the same, too.
#[test]
fn the_verdicts_that_are_compared_differ() {
    for (index, (_, plan)) in plans().iter().enumerate() {
        let mut seen = std::collections::BTreeSet::new();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..200 {
            let parts = requests().new_tree(&mut runner).unwrap().current();
            seen.insert(decide(plan, parts));
        }
        assert!(seen.len() > 1, "{}: {seen:?}", SPECS[index]);
    }
}
