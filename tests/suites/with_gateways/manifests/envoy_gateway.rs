//! Envoy Gateway: SecurityPolicies, of which the most specific one is in force.

use serde_json::Value;

use super::reading::{
    Ask, Manifests, Protocol, Reading, StatusOnError, at, duration, items, place, reference, service, text,
};

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    for policy in manifests.of_kind("SecurityPolicy") {
        let ext_auth = at(policy, "spec/extAuth");
        if ext_auth.is_null() {
            let routes = items(policy, "spec/targetRefs").iter().filter(|target| target["kind"] == "HTTPRoute");
            reading.exempt.extend(routes.map(|route| text(route, "name").to_owned()));
            continue;
        }
        let extensions = items(ext_auth, "contextExtensions").iter();
        let hosts = extensions.filter(|it| it["name"] == "host" && it["type"] == "Value");
        reading.names.extend(hosts.map(|host| text(host, "value").to_owned()));
        let backends = items(ext_auth, "grpc/backendRefs");
        if backends.is_empty() {
            reading.wrong.push(format!("{}: nobody is asked", place(policy)));
        }
        for backend in backends {
            reading.references.push(reference(policy, backend));
            reading.asks.push(Ask {
                place: place(policy),
                timeout: duration(ext_auth, "timeout"),
                fails_closed: at(ext_auth, "failOpen").as_bool().map(|opens| !opens),
                status_on_error: StatusOnError::Said(at(ext_auth, "statusOnError").as_u64()),
                service: Some(service(policy, backend)),
                protocol: Protocol::Implied,
            });
        }
    }
    let is_told_routes = |config: &Value| config["spec"].get("routes").is_some();
    let tells_routes = |policy: &Value| at(policy, "spec/extAuth/includeRouteMetadata") == true;
    if manifests.of_kind("AuthConfig").any(is_told_routes) && !manifests.of_kind("SecurityPolicy").any(tells_routes) {
        reading.wrong.push("AuthConfigs are for routes, and nobody tells which route it is".to_owned());
    }
}
