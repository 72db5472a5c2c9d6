//! What holds for routes and policies of every gateway of the Gateway API.

use serde_json::Value;

use super::reading::{Manifests, Reading, at, items, namespace, place, reference, text};
use crate::with_gateways::gateway_api::GROUP;

/// Kinds with `spec.targetRefs`, which name objects of their own namespace.
const POLICIES: [&str; 4] = ["AgentgatewayPolicy", "TrafficPolicy", "SecurityPolicy", "AuthorizationPolicy"];

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    for route in manifests.of_kind("HTTPRoute") {
        for parent in items(route, "spec/parentRefs") {
            if let Err(why) = is_attached(manifests, route, parent) {
                reading.wrong.push(format!("{}: {why}", place(route)));
            }
        }
        let rules = items(route, "spec/rules");
        let backends = rules.iter().flat_map(|rule| items(rule, "backendRefs"));
        reading.references.extend(backends.map(|backend| reference(route, backend)));
    }
    for policy in POLICIES.into_iter().flat_map(|kind| manifests.of_kind(kind)) {
        for target in items(policy, "spec/targetRefs") {
            if let Err(why) = is_there(manifests, policy, target) {
                reading.wrong.push(format!("{}: {why}", place(policy)));
            }
        }
    }
}

fn is_attached(manifests: &Manifests<'_>, route: &Value, parent: &Value) -> Result<(), String> {
    if text(parent, "kind") == "Service" {
        return Ok(());
    }
    let here = namespace(route);
    let there = parent.get("namespace").and_then(Value::as_str).unwrap_or(here);
    let name = text(parent, "name");
    let gateway =
        manifests.find("Gateway", there, name).ok_or_else(|| format!("there is no Gateway {there}/{name}"))?;
    let admits = |listener: &Value| match text(listener, "allowedRoutes/namespaces/from") {
        "All" | "Selector" => true,
        _ => here == there,
    };
    let is_admitted = items(gateway, "spec/listeners").iter().any(admits);
    is_admitted.then_some(()).ok_or_else(|| format!("no listener of {there}/{name} takes routes of `{here}`"))
}

/// Gateways and routes are in these files. Services are often those of the reader.
fn is_there(manifests: &Manifests<'_>, policy: &Value, target: &Value) -> Result<(), String> {
    let (kind, name) = (text(target, "kind"), text(target, "name"));
    let (group, sections) = match kind {
        "Gateway" => (GROUP, "spec/listeners"),
        "HTTPRoute" => (GROUP, "spec/rules"),
        "Service" if at(target, "group") == "" => return Ok(()),
        _ => return Err(format!("`{kind}` is no target")),
    };
    if text(target, "group") != group {
        return Err(format!("{kind} is not of the group `{}`", text(target, "group")));
    }
    let found = manifests.find(kind, namespace(policy), name);
    let found = found.ok_or_else(|| format!("there is no {kind} {}/{name}", namespace(policy)))?;
    match target.get("sectionName").and_then(Value::as_str) {
        Some(section) if !items(found, sections).iter().any(|it| it["name"] == section) => {
            Err(format!("{kind} {name} has no `{section}`"))
        }
        _ => Ok(()),
    }
}
