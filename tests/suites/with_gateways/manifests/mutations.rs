//! The check finds what is wrong: of each folder, fields are taken out and changed, and each time something has to be found.

use serde_json::{Value, json};

use super::{GATEWAYS, Gateway, installed};

/// What is done to a folder. A field is a name, or one below another: `parent/name`.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Each occurrence of a field in objects of a kind is taken out, one at a time.
    Without(&'static str, &'static str),
    /// All of them at once, where one of several is enough.
    WithoutAny(&'static str, &'static str),
    /// Each is given another value, in JSON.
    With(&'static str, &'static str, &'static str),
    /// Each object of a kind is left out.
    WithoutObject(&'static str),
}

use Change::{With, Without, WithoutAny, WithoutObject};

/// Each with words of what has to be found. A file is of the kind `""`.
fn changes(gateway: &Gateway) -> &'static [(Change, &'static str)] {
    match gateway.folder {
        "agentgateway" => &[
            (Without("AgentgatewayPolicy", "requestTimeout"), "no timeout"),
            (With("AgentgatewayPolicy", "requestTimeout", "\"0s\""), "it waits for 0"),
            (With("AgentgatewayPolicy", "requestTimeout", "\"3s\""), "it waits for 3s"),
            (Without("AgentgatewayPolicy", "failureMode"), "what happens without an answer: None"),
            (With("AgentgatewayPolicy", "failureMode", "\"FailOpen\""), "what happens without an answer: Some(false)"),
            (Without("AgentgatewayPolicy", "grpc"), "not gRPC"),
            (Without("AgentgatewayPolicy", "backendRef"), "nobody is asked"),
            (With("AgentgatewayPolicy", "port", "50052"), "there is no ServicePort"),
            (WithoutAny("AgentgatewayPolicy", "condition"), "no route is exempt"),
            (With("AgentgatewayPolicy", "condition", "\"true\""), "no route is exempt"),
            (
                With("AgentgatewayPolicy", "host", "\"nobody.authconfig.internal\""),
                "has the host `nobody.authconfig.internal`",
            ),
            (
                With(
                    "AgentgatewayPolicy",
                    "targetRefs",
                    r#"[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other"}]"#,
                ),
                "there is no Gateway",
            ),
            (Without("", "requestTimeout"), "no timeout"),
            (Without("", "failureMode"), "what happens without an answer: None"),
            (With("", "failureMode", "\"allow\""), "what happens without an answer: Some(false)"),
            (With("", "denyWithStatus", "403"), "status without an answer: Said(Some(403))"),
            (
                With("", "context", r#"{"host": "nobody.authconfig.internal"}"#),
                "has the host `nobody.authconfig.internal`",
            ),
            (WithoutObject("ReferenceGrant"), "no ReferenceGrant covers"),
            (WithoutObject("AuthConfig"), "no AuthConfig has the host"),
        ],
        "envoy" => &[
            (Without("", "grpc_service/timeout"), "no timeout"),
            (With("", "grpc_service/timeout", "\"0s\""), "it waits for 0"),
            (Without("", "failure_mode_allow"), "what happens without an answer: None"),
            (With("", "failure_mode_allow", "true"), "what happens without an answer: Some(false)"),
            (Without("", "status_on_error"), "status without an answer: Said(None)"),
            (With("", "status_on_error", r#"{"code": 403}"#), "status without an answer: Said(Some(403))"),
            (Without("", "http2_protocol_options"), "HTTP/1.1 would be spoken to the cluster `usher`"),
            (Without("", "envoy_grpc/cluster_name"), "HTTP/1.1 would be spoken to the cluster ``"),
            (WithoutAny("", "disabled"), "no route is exempt"),
            (WithoutAny("", "context_extensions"), "by which name"),
            (With("", "context_extensions", r#"{"host": "nobody.internal"}"#), "has the host `nobody.internal`"),
        ],
        "envoy-gateway" => &[
            (Without("SecurityPolicy", "timeout"), "no timeout"),
            (With("SecurityPolicy", "timeout", "\"10s\""), "it waits for 10s"),
            (Without("SecurityPolicy", "failOpen"), "what happens without an answer: None"),
            (With("SecurityPolicy", "failOpen", "true"), "what happens without an answer: Some(false)"),
            (Without("SecurityPolicy", "statusOnError"), "status without an answer: Said(None)"),
            (Without("SecurityPolicy", "backendRefs"), "nobody is asked"),
            (WithoutAny("SecurityPolicy", "includeRouteMetadata"), "nobody tells which route"),
            (WithoutAny("SecurityPolicy", "contextExtensions"), "by which name"),
            (WithoutObject("ReferenceGrant"), "no ReferenceGrant covers"),
            (WithoutObject("Gateway"), "there is no Gateway"),
        ],
        "istio" | "istio-waypoint" => &[
            (Without("IstioOperator", "timeout"), "no timeout"),
            (With("IstioOperator", "timeout", "\"600s\""), "it waits for 600s"),
            (Without("IstioOperator", "failOpen"), "what happens without an answer: None"),
            (With("IstioOperator", "failOpen", "true"), "what happens without an answer: Some(false)"),
            (Without("IstioOperator", "statusOnError"), "status without an answer: Said(None)"),
            (With("IstioOperator", "statusOnError", "503"), "status without an answer: Said(None)"),
            (Without("IstioOperator", "service"), "there is no ServicePort"),
            (With("IstioOperator", "port", "9000"), "port: 9000"),
            (Without("AuthorizationPolicy", "rules"), "without rules"),
            (Without("AuthorizationPolicy", "provider"), "there is no provider ``"),
            (WithoutAny("AuthorizationPolicy", "notPaths"), "no route is exempt"),
            (WithoutObject("IstioOperator"), "nobody asks Usher"),
        ],
        "kgateway" => &[
            (Without("GatewayExtension", "requestTimeout"), "no timeout"),
            (With("GatewayExtension", "requestTimeout", "\"0s\""), "it waits for 0"),
            (Without("GatewayExtension", "failOpen"), "what happens without an answer: None"),
            (With("GatewayExtension", "failOpen", "true"), "what happens without an answer: Some(false)"),
            (Without("GatewayExtension", "statusOnError"), "status without an answer: Said(None)"),
            (With("GatewayExtension", "statusOnError", "403"), "status without an answer: Said(Some(403))"),
            (Without("GatewayExtension", "backendRef"), "there is no ServicePort"),
            (
                With("GatewayExtension", "namespace", "\"elsewhere\""),
                "there is no ServicePort { namespace: \"elsewhere\"",
            ),
            (WithoutAny("TrafficPolicy", "disable"), "no route is exempt"),
            (WithoutAny("TrafficPolicy", "contextExtensions"), "by which name"),
            (Without("TrafficPolicy", "extensionRef"), "there is no GatewayExtension"),
            (WithoutObject("GatewayExtension"), "nobody asks Usher"),
            (WithoutObject("Gateway"), "there is no Gateway "),
        ],
        other => panic!("nothing is done to `{other}`"),
    }
}

#[test]
fn whatever_is_taken_out_is_missed() {
    let installed = installed();
    let mut unnoticed = Vec::new();
    for gateway in GATEWAYS {
        let documents = gateway.documents();
        for (change, words) in changes(&gateway) {
            let changed = change.apply(&documents);
            assert!(!changed.is_empty(), "{}: {change:?} changes nothing", gateway.folder);
            for documents in changed {
                let wrong = gateway.wrong(&documents, &installed);
                if !wrong.iter().any(|found| found.contains(words)) {
                    unnoticed.push(format!("{}: {change:?}: not `{words}` in {wrong:#?}", gateway.folder));
                }
            }
        }
    }
    assert!(unnoticed.is_empty(), "not noticed:\n{}", unnoticed.join("\n"));
}

/// Each grant that a gateway needs in these folders: not one of them is superfluous.
#[test]
fn every_part_of_a_grant_counts() {
    let gateway = GATEWAYS.into_iter().find(|gateway| gateway.folder == "agentgateway").unwrap();
    let documents = gateway.documents();
    let grant = documents.iter().position(|document| document["kind"] == "ReferenceGrant").unwrap();
    let entries = documents[grant]["spec"]["from"].as_array().unwrap().len();
    assert!(entries > 0);
    for (pointer, value) in (0..entries)
        .flat_map(|entry| ["group", "kind", "namespace"].map(|field| format!("/spec/from/{entry}/{field}")))
        .chain(["/spec/to/0/group", "/spec/to/0/kind", "/spec/to/0/name", "/metadata/namespace"].map(str::to_owned))
        .map(|pointer| (pointer, json!("other")))
    {
        let mut changed = documents.clone();
        *changed[grant].pointer_mut(&pointer).unwrap() = value;
        let wrong = gateway.wrong(&changed, &installed());
        assert!(wrong.iter().any(|found| found.starts_with("no ReferenceGrant covers")), "{pointer}: {wrong:?}");
    }
    // Without a name, all Services of the namespace are granted.
    let mut changed = documents;
    changed[grant].pointer_mut("/spec/to/0").unwrap().as_object_mut().unwrap().remove("name");
    assert_eq!(gateway.wrong(&changed, &installed()), Vec::<String>::new());
}

/// The Service of Usher says that HTTP/2 is spoken, in the words of each gateway.
#[test]
fn gateways_that_go_by_the_service_need_its_marks() {
    let of = |folder: &str| GATEWAYS.into_iter().find(|gateway| gateway.folder == folder).unwrap();
    let with = |protocol: Option<&str>, name: &str| {
        let mut services = installed();
        for service in &mut services {
            for port in service["spec"]["ports"].as_array_mut().unwrap() {
                if port["port"] == 50051 {
                    port["name"] = json!(name);
                    port.as_object_mut().unwrap().remove("appProtocol");
                    if let Some(protocol) = protocol {
                        port["appProtocol"] = json!(protocol);
                    }
                }
            }
        }
        services
    };
    for (folder, protocol, name, is_fine) in [
        ("kgateway", Some("kubernetes.io/h2c"), "any", true),
        ("kgateway", Some("http"), "grpc", false),
        // kgateway would take it. Our rule is stricter.
        ("kgateway", Some("grpc"), "any", false),
        ("kgateway", None, "grpc", false),
        ("istio", Some("kubernetes.io/h2c"), "any", true),
        ("istio", Some("grpc"), "any", true),
        ("istio", Some("http"), "grpc", false),
        ("istio", None, "grpc", true),
        ("istio", None, "grpc-check", true),
        ("istio", None, "grpcs", false),
        ("istio", None, "any", false),
        ("istio-waypoint", None, "any", false),
        ("envoy-gateway", None, "any", true),
        ("agentgateway", None, "any", true),
    ] {
        let gateway = of(folder);
        let wrong = gateway.wrong(&gateway.documents(), &with(protocol, name));
        assert_eq!(wrong.is_empty(), is_fine, "{folder} {protocol:?} {name}: {wrong:?}");
        let is_cause = |found: &String| found.contains("HTTP/1.1 would be spoken");
        assert!(wrong.iter().all(is_cause), "{folder} {protocol:?} {name}: {wrong:?}");
    }
}

#[test]
fn unknown_fields_and_kinds_are_noticed() {
    let shapes = |object: Value| super::shapes::wrong(&[object]).len();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"ports": [{"port": 80, "appProtocol": "http"}]},
    });
    let changed = |pointer: &str, name: &str, value: Value| {
        let mut object = service.clone();
        object.pointer_mut(pointer).unwrap()[name] = value;
        object
    };
    assert_eq!(shapes(service.clone()), 0);
    assert_eq!(shapes(changed("/spec/ports/0", "applicationProtocol", json!("grpc"))), 1);
    assert_eq!(shapes(changed("/spec/ports/0", "port", json!("80"))), 1);
    assert_eq!(shapes(changed("", "apiVersion", json!("v2"))), 1);
    assert_eq!(shapes(changed("", "kind", json!("Servise"))), 1);
    let route = |field: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "a"},
            "spec": {"parentRefs": [{"name": "b"}], "rules": [{field: [{"name": "c", "port": 80}]}]},
        })
    };
    assert_eq!((shapes(route("backendRefs")), shapes(route("backends"))), (0, 1));
}

impl Change {
    /// The folder, changed in one way after the other.
    fn apply(self, documents: &[Value]) -> Vec<Vec<Value>> {
        let (kind, field, new): (_, _, Option<Value>) = match self {
            WithoutObject(kind) => {
                let left: Vec<_> = documents.iter().filter(|document| document["kind"] != kind).cloned().collect();
                return if left.len() == documents.len() { Vec::new() } else { vec![left] };
            }
            WithoutAny(kind, field) => {
                let mut changed = documents.to_vec();
                let places = places(documents, kind, field);
                places.iter().for_each(|place| replace(&mut changed, place, field, None));
                return if places.is_empty() { Vec::new() } else { vec![changed] };
            }
            Without(kind, field) => (kind, field, None),
            With(kind, field, new) => (kind, field, Some(serde_json::from_str(new).unwrap())),
        };
        let places = places(documents, kind, field);
        let change = |place: &(usize, String)| {
            let mut changed = documents.to_vec();
            replace(&mut changed, place, field, new.clone());
            changed
        };
        places.iter().map(change).collect()
    }
}

/// Where objects of a kind have a member of this name in their `spec`: the document, and the pointer to the object around it.
fn places(documents: &[Value], kind: &str, field: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        let is_kind = match document["kind"].as_str() {
            Some(its) => its == kind,
            None => kind.is_empty(),
        };
        if is_kind {
            let (from, base) = if kind.is_empty() { (document, "") } else { (&document["spec"], "/spec") };
            collect(from, base, field, &mut |pointer| found.push((number, pointer)));
        }
    }
    found
}

fn collect(value: &Value, pointer: &str, field: &str, found: &mut impl FnMut(String)) {
    let (parent, name) = field.rsplit_once('/').unwrap_or(("", field));
    match value {
        Value::Object(members) => {
            if members.contains_key(name) && (parent.is_empty() || pointer.ends_with(&format!("/{parent}"))) {
                found(pointer.to_owned());
            }
            for (name, member) in members {
                collect(member, &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), field, found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| collect(item, &format!("{pointer}/{at}"), field, found));
        }
        _ => {}
    }
}

fn replace(documents: &mut [Value], (number, pointer): &(usize, String), field: &str, new: Option<Value>) {
    let members = documents[*number].pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    let name = field.rsplit('/').next().unwrap();
    match new {
        Some(new) => members.insert(name.to_owned(), new),
        None => members.remove(name),
    };
}
