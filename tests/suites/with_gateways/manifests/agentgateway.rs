//! agentgateway: AgentgatewayPolicies, and the file for an agentgateway without Kubernetes.

use std::time::Duration;

use serde_json::Value;

use super::reading::{
    Ask, Manifests, Protocol, Reading, StatusOnError, at, duration, items, namespace, place, reference, service, text,
};

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    for policy in manifests.of_kind("AgentgatewayPolicy") {
        for path in ["spec/traffic/extAuth", "spec/backend/extAuth"] {
            let ext_auth = at(policy, path);
            let conditional = items(ext_auth, "conditional");
            let never = |entry: &Value| text(entry, "condition") == "false";
            if !conditional.is_empty() && conditional.iter().all(never) {
                let targets = items(policy, "spec/targetRefs");
                let routes = targets.iter().filter(|target| target["kind"] == "HTTPRoute");
                reading.exempt.extend(routes.map(|route| text(route, "name").to_owned()));
            }
            if ext_auth.get("backendRef").is_some() {
                ask(manifests, reading, policy, ext_auth);
            } else if !ext_auth.is_null() && conditional.is_empty() {
                reading.wrong.push(format!("{}: nobody is asked", place(policy)));
            }
            for entry in conditional {
                ask(manifests, reading, policy, at(entry, "policy"));
            }
        }
    }
    for file in manifests.documents.iter().filter(|document| document.get("binds").is_some()) {
        let listeners = items(file, "binds").iter().flat_map(|bind| items(bind, "listeners"));
        let routes = listeners.flat_map(|listener| items(listener, "routes"));
        let mut exempt = Vec::new();
        for route in routes {
            let ext_authz = at(route, "policies/extAuthz");
            if ext_authz.is_null() {
                exempt.push(text(route, "name").to_owned());
            } else {
                ask_of_file(reading, route, ext_authz);
            }
        }
        if exempt.is_empty() {
            reading.wrong.push("no route of the file is exempt".to_owned());
        }
    }
}

fn ask(manifests: &Manifests<'_>, reading: &mut Reading, policy: &Value, ext_auth: &Value) {
    let backend = at(ext_auth, "backendRef");
    let service = service(policy, backend);
    reading.references.push(reference(policy, backend));
    reading.names.extend(at(ext_auth, "grpc/contextExtensions/host").as_str().map(str::to_owned));
    if backend.is_null() {
        reading.wrong.push(format!("{}: nobody is asked", place(policy)));
    }
    if ext_auth.get("grpc").is_none() {
        reading.wrong.push(format!("{}: the protocol is not gRPC", place(policy)));
    }
    reading.asks.push(Ask {
        place: place(policy),
        timeout: deadline(manifests, &service.namespace, &service.name),
        fails_closed: match text(ext_auth, "failureMode") {
            "FailClosed" => Some(true),
            "FailOpen" => Some(false),
            _ => None,
        },
        status_on_error: StatusOnError::None,
        service: Some(service),
        protocol: Protocol::Implied,
    });
}

/// Of the policy that is attached to the Service.
fn deadline(manifests: &Manifests<'_>, of_namespace: &str, name: &str) -> Option<Duration> {
    let is_service = |target: &Value| target["kind"] == "Service" && target["group"] == "" && target["name"] == name;
    let policies = manifests.of_kind("AgentgatewayPolicy").filter(|policy| namespace(policy) == of_namespace);
    let mut attached = policies.filter(|policy| items(policy, "spec/targetRefs").iter().any(is_service));
    attached.find_map(|policy| duration(policy, "spec/backend/http/requestTimeout"))
}

fn ask_of_file(reading: &mut Reading, route: &Value, ext_authz: &Value) {
    reading.names.extend(at(ext_authz, "protocol/grpc/context/host").as_str().map(str::to_owned));
    let mode = at(ext_authz, "failureMode");
    reading.asks.push(Ask {
        place: format!("route {}", text(route, "name")),
        timeout: duration(ext_authz, "policies/http/requestTimeout"),
        fails_closed: match mode {
            Value::Null => None,
            mode => Some(mode == "deny" || mode.get("denyWithStatus").is_some()),
        },
        status_on_error: StatusOnError::Said(at(mode, "denyWithStatus").as_u64()),
        service: None,
        protocol: Protocol::Implied,
    });
}
