//! kgateway: a GatewayExtension says how Usher is asked, TrafficPolicies say when.

use serde_json::Value;

use super::reading::{
    Ask, Manifests, Protocol, Reading, StatusOnError, at, duration, items, namespace, place, reference, service, text,
};
use crate::with_gateways::kgateway;

/// Our rule: of what kgateway takes for HTTP/2 ([`kgateway::HTTP2`]), our Services say what Kubernetes itself has defined.
const OURS: Protocol = Protocol::Field(&[kgateway::H2C]);

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    for extension in manifests.of_kind("GatewayExtension") {
        let ext_auth = at(extension, "spec/extAuth");
        let backend = at(ext_auth, "grpcService/backendRef");
        reading.references.push(reference(extension, backend));
        reading.asks.push(Ask {
            place: place(extension),
            timeout: duration(ext_auth, "grpcService/requestTimeout"),
            fails_closed: at(ext_auth, "failOpen").as_bool().map(|opens| !opens),
            status_on_error: StatusOnError::Said(at(ext_auth, "statusOnError").as_u64()),
            service: Some(service(extension, backend)),
            protocol: OURS,
        });
    }
    for policy in manifests.of_kind("TrafficPolicy") {
        let ext_auth = at(policy, "spec/extAuth");
        reading.names.extend(at(ext_auth, "contextExtensions/host").as_str().map(str::to_owned));
        if at(ext_auth, "disable").is_object() {
            let routes = items(policy, "spec/targetRefs").iter().filter(|target| target["kind"] == "HTTPRoute");
            reading.exempt.extend(routes.map(|route| text(route, "name").to_owned()));
            continue;
        }
        let extension = at(ext_auth, "extensionRef");
        let there = extension.get("namespace").and_then(Value::as_str).unwrap_or(namespace(policy));
        if manifests.find("GatewayExtension", there, text(extension, "name")).is_none() {
            reading.wrong.push(format!(
                "{}: there is no GatewayExtension {there}/{}",
                place(policy),
                text(extension, "name")
            ));
        }
    }
}
