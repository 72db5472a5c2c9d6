//! Envoy without a control plane: one file.

use serde_json::Value;

use super::reading::{Ask, Manifests, Protocol, Reading, StatusOnError, at, items, text};
use crate::with_gateways::units;

pub(super) fn read(manifests: &Manifests<'_>, reading: &mut Reading) {
    for file in manifests.documents.iter().filter(|document| document.get("static_resources").is_some()) {
        let clusters = items(file, "static_resources/clusters");
        visit(file, &mut |value| {
            let kind = text(value, "@type");
            if kind.ends_with("ext_authz.v3.ExtAuthz") {
                ask(reading, value, clusters);
            }
        });
        let mut routes = Vec::new();
        visit(file, &mut |value| routes.extend(items(value, "routes")));
        for route in routes {
            let settings = at(route, "typed_per_filter_config").as_object();
            for settings in settings.into_iter().flat_map(|settings| settings.values()) {
                if settings["disabled"] == true {
                    reading.exempt.push(route["match"].to_string());
                }
                let host = at(settings, "check_settings/context_extensions/host").as_str();
                reading.names.extend(host.map(str::to_owned));
            }
        }
    }
}

fn ask(reading: &mut Reading, filter: &Value, clusters: &[Value]) {
    let name = text(filter, "grpc_service/envoy_grpc/cluster_name");
    let cluster = clusters.iter().find(|cluster| cluster["name"] == name);
    let options = cluster.map(|cluster| at(cluster, "typed_extension_protocol_options"));
    let options = options.and_then(|options| options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"));
    if !options.is_some_and(|options| at(options, "explicit_http_config/http2_protocol_options").is_object()) {
        reading.wrong.push(format!("HTTP/1.1 would be spoken to the cluster `{name}`"));
    }
    if text(filter, "transport_api_version") != "V3" {
        reading.wrong.push("the version of the protocol is not said".to_owned());
    }
    reading.asks.push(Ask {
        place: "the filter".to_owned(),
        timeout: units::of_envoy(text(filter, "grpc_service/timeout")),
        fails_closed: at(filter, "failure_mode_allow").as_bool().map(|allows| !allows),
        status_on_error: StatusOnError::Said(at(filter, "status_on_error/code").as_u64()),
        service: None,
        protocol: Protocol::Implied,
    });
}

fn visit<'v>(value: &'v Value, look: &mut impl FnMut(&'v Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        Value::Object(members) => members.values().for_each(|member| visit(member, look)),
        _ => {}
    }
}
