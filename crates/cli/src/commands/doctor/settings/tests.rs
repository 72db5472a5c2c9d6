use clap::ValueEnum;
use usher_api::{Document, read_documents};

use super::*;

fn needs(spec: &str) -> Needs {
    let text = format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: a, namespace: team}}\nspec: {spec}\n"
    );
    match read_documents(&text).pop() {
        Some(Document::AuthConfig(document)) => Needs::of(&document.result.unwrap()),
        other => panic!("{other:?}"),
    }
}

/// What a gateway is told, as YAML reads it, and the notes.
fn settings(gateway: Gateway, spec: &str) -> (Vec<Value>, Vec<String>) {
    let settings = Settings::of(gateway, &needs(spec));
    let text = settings.text();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let values: Vec<_> = settings.objects.iter().map(|(_, value)| value.clone()).collect();
    assert!(documents.is_empty() && values.is_empty() || documents == values, "{text}");
    (values, settings.notes)
}

const ALWAYS: [&str; 2] = ["x-request-id", "x-usher-nesting"];

#[test]
fn headers_are_listed_where_a_gateway_has_a_list() {
    let spec =
        "{hosts: [a], authentication: {a: {apiKey: {selector: {}}, credentials: {customHeader: {name: X-Api-Key}}}}}";
    let list = json!(["x-api-key", "x-request-id", "x-usher-nesting"]);
    for (gateway, pointer) in [
        (Gateway::Kgateway, "/spec/extAuth/headersToForward"),
        (Gateway::EnvoyGateway, "/spec/extAuth/headersToExtAuth"),
        (Gateway::GatewayApi, "/externalAuth/grpc/allowedHeaders"),
    ] {
        let (values, notes) = settings(gateway, spec);
        assert_eq!((values[0].pointer(pointer), notes), (Some(&list), Vec::new()), "{gateway}");
    }
    let (values, _) = settings(Gateway::Envoy, spec);
    assert_eq!(values[0]["allowed_headers"]["patterns"][0], json!({"exact": "x-api-key"}));
    for gateway in [Gateway::Istio, Gateway::IstioWaypoint, Gateway::Agentgateway] {
        let (values, notes) = settings(gateway, spec);
        assert_eq!((values, notes), (Vec::new(), vec![format!("headers: {gateway} sends all of them")]));
    }
}

#[test]
fn a_list_is_left_out_where_any_header_may_be_read() {
    let spec = "{hosts: [a], when: [{predicate: 'request.headers.exists(h, h == auth.x)'}]}";
    for gateway in [Gateway::Kgateway, Gateway::EnvoyGateway, Gateway::Envoy, Gateway::GatewayApi] {
        let (values, notes) = settings(gateway, spec);
        assert_eq!(values, Vec::<Value>::new(), "{gateway}");
        let field = header_field(gateway).unwrap();
        let expected = format!(
            "{field}: leave it out, so that all headers are sent: spec.when[0].predicate reads `request.headers`"
        );
        assert_eq!(notes, [expected]);
    }
}

/// A longer list would be refused with the whole HTTPRoute.
#[test]
fn a_list_is_left_out_where_it_would_be_too_long() {
    // `ALWAYS` is in every list.
    for (number, is_too_long) in [(62, false), (63, true)] {
        let read: Vec<_> = (0..number).map(|header| format!("request.headers[\"x-{header:02}\"] == \"\"")).collect();
        let spec = format!("{{hosts: [a], when: [{{predicate: '{}'}}]}}", read.join(" && "));
        let (values, notes) = settings(Gateway::GatewayApi, &spec);
        if is_too_long {
            let expected =
                "allowedHeaders: leave it out, so that all headers are sent: 65 are read, and the list may have 64";
            assert_eq!((values, notes), (Vec::new(), vec![expected.to_owned()]));
        } else {
            let list = values[0].pointer("/externalAuth/grpc/allowedHeaders").and_then(Value::as_array);
            assert_eq!((list.map(Vec::len), notes), (Some(64), Vec::new()));
        }
        for (gateway, pointer) in [
            (Gateway::Kgateway, "/spec/extAuth/headersToForward"),
            (Gateway::EnvoyGateway, "/spec/extAuth/headersToExtAuth"),
            (Gateway::Envoy, "/allowed_headers/patterns"),
        ] {
            let (values, notes) = settings(gateway, &spec);
            let list = values[0].pointer(pointer).and_then(Value::as_array);
            assert_eq!((list.map(Vec::len), notes), (Some(number + 2), Vec::new()), "{gateway}");
        }
    }
}

#[test]
fn bodies_are_sent_as_they_are_read() {
    for (read, is_bytes) in [("request.body", false), ("request.raw_body", true), ("string(request.size)", false)] {
        let spec = format!("{{hosts: [a], when: [{{predicate: '{read} != \"\"'}}]}}");
        let body = json!({"maxRequestBytes": 8192, "allowPartialMessage": false, "packAsBytes": is_bytes});
        let (values, _) = settings(Gateway::Kgateway, &spec);
        assert_eq!(values[0]["spec"]["extAuth"]["withRequestBody"], body, "{read}");
        let (values, _) = settings(Gateway::Istio, &spec);
        let provider = &values[0]["extensionProviders"][0]["envoyExtAuthzGrpc"];
        assert_eq!(provider["includeRequestBodyInCheck"], body, "{read}");
        let (values, _) = settings(Gateway::Envoy, &spec);
        assert_eq!(values[0]["with_request_body"]["pack_as_bytes"], is_bytes, "{read}");
        for (gateway, pointer) in [
            (Gateway::EnvoyGateway, "/spec/extAuth/bodyToExtAuth/maxRequestBytes"),
            (Gateway::Agentgateway, "/spec/traffic/extAuth/forwardBody/maxSize"),
            (Gateway::GatewayApi, "/externalAuth/forwardBody/maxSize"),
        ] {
            let (values, notes) = settings(gateway, &spec);
            assert_eq!(values[0].pointer(pointer), Some(&json!(8192)), "{gateway}");
            let says_so = notes.iter().any(|note| note.contains("sends it as text only"));
            assert_eq!(says_so, is_bytes, "{gateway} {read}: {notes:?}");
        }
    }
    let (_, notes) =
        settings(Gateway::Envoy, "{hosts: [a], when: [{predicate: 'request.body == string(request.raw_body)'}]}");
    assert!(notes[0].contains("sends only one of them"), "{notes:?}");
    let (values, notes) = settings(Gateway::Kgateway, "{hosts: [a]}");
    assert_eq!(values, [json!({"spec": {"extAuth": {"headersToForward": ALWAYS}}})]);
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn what_else_a_gateway_sends_or_does_not() {
    let spec = "{hosts: [a], authentication: {a: {x509: {selector: {}}}, b: {spiffe: {trust: xfcc}}, c: {spiffe: {trust: connection}}}, \
                when: [{selector: context.tls_session.sni, operator: neq}, {selector: 'metadata.filter_metadata.my\\.ns.x', operator: neq}, \
                {selector: context.route_metadata_context.filter_metadata.envoy-gateway.resources, operator: neq}]}";
    let (values, notes) = settings(Gateway::Envoy, spec);
    assert_eq!(values[0]["include_peer_certificate"], true);
    assert_eq!(values[0]["include_tls_session"], true);
    assert_eq!(values[0]["metadata_context_namespaces"], json!(["my.ns"]));
    assert_eq!(values[0]["route_metadata_context_namespaces"], json!(["envoy-gateway"]));
    assert!(
        notes.iter().any(|note| note.starts_with(
            "header x-forwarded-client-cert (spec.authentication.b.spiffe): in the listener forward_client"
        )),
        "{notes:?}"
    );
    let (values, notes) = settings(Gateway::EnvoyGateway, spec);
    assert_eq!(values[0]["spec"]["extAuth"]["includeRouteMetadata"], true);
    assert!(
        notes.contains(&"filter metadata my.ns (spec.when[1].selector): this gateway does not send it".to_owned()),
        "{notes:?}"
    );
    let (values, _) = settings(Gateway::Agentgateway, spec);
    assert_eq!(values[0]["spec"]["traffic"]["extAuth"]["grpc"]["requestMetadata"], json!({"my.ns": "EXPRESSION"}));
    let (_, notes) = settings(Gateway::IstioWaypoint, spec);
    for expected in [
        "client certificate (source.certificate) (spec.authentication.a.x509.source): this gateway does not send it",
        "name of the client's certificate (source.principal) (spec.authentication.c.spiffe): empty on a waypoint",
        "header x-forwarded-client-cert (spec.authentication.b.spiffe): for `spiffe`, annotate the waypoint",
    ] {
        assert!(notes.iter().any(|note| note.starts_with(expected)), "{expected}: {notes:?}");
    }
}

#[test]
fn claims_of_a_gateway_are_sent_even_beside_other_metadata() {
    const CLAIMS: &str =
        "{predicate: 'metadata.filter_metadata[\"envoy.filters.http.jwt_authn\"].jwt_payload.sub != \"\"'}";
    const OTHER: &str = "{predicate: 'metadata.filter_metadata.mine.x != \"\"'}";
    let of = |when: &str| settings(Gateway::Agentgateway, &format!("{{hosts: [a], when: [{when}]}}")).0;
    assert_eq!(of(CLAIMS), Vec::<Value>::new());
    let values = of(&format!("{CLAIMS}, {OTHER}"));
    let expected = json!({"envoy.filters.http.jwt_authn": "{\"jwt_payload\": jwt}", "mine": "EXPRESSION"});
    assert_eq!(values[0]["spec"]["traffic"]["extAuth"]["grpc"]["requestMetadata"], expected);
}

/// `trust: xfcc` would believe the client.
#[test]
fn nobody_is_told_to_read_a_header_that_the_gateway_does_not_write() {
    let xfcc = "{hosts: [a], authentication: {a: {spiffe: {trust: xfcc}}}}";
    let x509 = "{hosts: [a], authentication: {a: {x509: {selector: {}}}}}";
    let (_, notes) = settings(Gateway::Agentgateway, xfcc);
    let expected = "header x-forwarded-client-cert (spec.authentication.a.spiffe): this gateway does not write it and \
                    passes on the client's own: use `spiffe` with `trust: connection`";
    assert!(notes.contains(&expected.to_owned()), "{notes:?}");
    for gateway in [Gateway::Agentgateway, Gateway::IstioWaypoint] {
        let (_, notes) = settings(gateway, x509);
        assert!(notes.iter().all(|note| !note.contains("let it write")), "{gateway}: {notes:?}");
    }
    let in_header =
        "{hosts: [a], authentication: {a: {x509: {selector: {}, source: {xfccHeader: x-forwarded-client-cert}}}}}";
    let (_, notes) = settings(Gateway::IstioWaypoint, in_header);
    assert!(notes.iter().any(|note| note.ends_with("; `x509` cannot use it, it has no Cert=")), "{notes:?}");
    let (_, notes) = settings(Gateway::Kgateway, x509);
    assert!(
        notes.iter().any(|note| note.ends_with("let it write x-forwarded-client-cert, and read that")),
        "{notes:?}"
    );
}

#[test]
fn routes_need_a_flag_of_the_server() {
    let expected = "routes: a server without `--allow-route-lookup` refuses AuthConfigs that have them".to_owned();
    for gateway in Gateway::value_variants() {
        let (_, notes) = settings(*gateway, "{hosts: [], routes: [{name: web}]}");
        assert!(notes.contains(&expected), "{gateway}: {notes:?}");
        let (_, notes) = settings(*gateway, "{hosts: [a]}");
        assert!(!notes.contains(&expected), "{gateway}: {notes:?}");
    }
}

#[test]
fn routes_are_named() {
    let spec = "{hosts: [], routes: [{name: web}, {name: web, sectionName: pay}], when: [{predicate: request.context_extensions.tier != ''}]}";
    let (values, _) = settings(Gateway::Kgateway, spec);
    let extensions: Vec<_> =
        values[1..].iter().map(|value| value["spec"]["extAuth"]["contextExtensions"].clone()).collect();
    assert_eq!(
        extensions,
        [
            json!({"route": "HTTPRoute/team/web", "tier": "VALUE"}),
            json!({"route": "HTTPRoute/team/web/pay", "tier": "VALUE"}),
        ]
    );
    let (values, _) = settings(Gateway::EnvoyGateway, spec);
    assert_eq!(values[0]["spec"]["extAuth"]["includeRouteMetadata"], true);
    assert_eq!(
        values[0]["spec"]["extAuth"]["contextExtensions"],
        json!([{"name": "tier", "type": "Value", "value": "VALUE"}])
    );
    let (values, _) = settings(Gateway::Envoy, spec);
    let settings_of_route = &values[1]["envoy.filters.http.ext_authz"]["check_settings"]["context_extensions"];
    assert_eq!(settings_of_route["route"], "HTTPRoute/team/web");
    let (_, notes) = settings(Gateway::Istio, spec);
    assert!(
        notes.contains(
            &"route HTTPRoute/team/web (spec.routes[0]): this gateway does not name the route: use hosts".to_owned()
        ),
        "{notes:?}"
    );
}

/// `extAuth` of a route takes the place of that of the Gateway.
#[test]
fn agentgateway_is_told_everything_in_each_object() {
    const WHEN: &str = "when: [{predicate: request.context_extensions.tier != ''}, {predicate: request.body != ''}, \
                        {predicate: metadata.filter_metadata.mine.x != ''}]";
    let told = |spec: &str| {
        let (values, _) = settings(Gateway::Agentgateway, spec);
        values.into_iter().map(|value| value["spec"]["traffic"]["extAuth"].clone()).collect::<Vec<_>>()
    };
    let with = |extensions: Value| json!({"forwardBody": {"maxSize": 8192}, "grpc": {"requestMetadata": {"mine": "EXPRESSION"}, "contextExtensions": extensions}});
    assert_eq!(told(&format!("{{hosts: [a], {WHEN}}}")), [with(json!({"tier": "VALUE"}))]);
    assert_eq!(
        told(&format!("{{hosts: [], routes: [{{name: web}}], {WHEN}}}")),
        [with(json!({"tier": "VALUE"})), with(json!({"tier": "VALUE", "route": "HTTPRoute/team/web"}))]
    );
}
