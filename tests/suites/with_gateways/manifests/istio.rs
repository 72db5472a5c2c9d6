//! Istio: a provider of the mesh says how Usher is asked, AuthorizationPolicies say when. Gateways, sidecars and waypoints alike.

use serde_json::Value;

use super::reading::{Ask, Manifests, Protocol, Reading, ServicePort, StatusOnError, at, duration, items, place, text};

/// What Istio takes for HTTP/2: the field, and only without it the name of the port.
const HTTP2: Protocol = Protocol::FieldOrName(&["grpc", "kubernetes.io/h2c", "http2"], &["grpc", "http2"]);

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    let mut known = Vec::new();
    for mesh in manifests.of_kind("IstioOperator") {
        for provider in items(mesh, "spec/meshConfig/extensionProviders") {
            known.push(text(provider, "name"));
            ask(reading, provider);
        }
    }
    for policy in manifests.of_kind("AuthorizationPolicy") {
        let rules = items(policy, "spec/rules");
        if rules.is_empty() {
            reading.wrong.push(format!("{}: without rules it concerns no request", place(policy)));
        }
        if policy["spec"]["action"] != "CUSTOM" {
            continue;
        }
        let provider = text(policy, "spec/provider/name");
        if !known.contains(&provider) {
            reading.wrong.push(format!("{}: there is no provider `{provider}`", place(policy)));
        }
        let operations = rules.iter().flat_map(|rule| items(rule, "to")).map(|to| at(to, "operation"));
        let paths = operations.flat_map(|operation| items(operation, "notPaths"));
        reading.exempt.extend(paths.filter_map(Value::as_str).map(str::to_owned));
    }
}

fn ask(reading: &mut Reading, provider: &Value) {
    let grpc = at(provider, "envoyExtAuthzGrpc");
    // A name of a Service: NAME.NAMESPACE.svc.cluster.local
    let mut parts = text(grpc, "service").split('.');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (name, namespace) = (part(), part());
    reading.asks.push(Ask {
        place: format!("provider {}", text(provider, "name")),
        timeout: duration(grpc, "timeout"),
        fails_closed: at(grpc, "failOpen").as_bool().map(|opens| !opens),
        // A text, not a number.
        status_on_error: StatusOnError::Said(at(grpc, "statusOnError").as_str().and_then(|text| text.parse().ok())),
        service: Some(ServicePort { namespace, name, port: at(grpc, "port").as_u64().unwrap_or_default() }),
        protocol: HTTP2,
    });
}
