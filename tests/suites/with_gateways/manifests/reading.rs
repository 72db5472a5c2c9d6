//! What manifests say, whatever the gateway, and what is wrong with it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::with_gateways::units;

/// Objects that are looked at together.
#[derive(Debug)]
pub(super) struct Manifests<'v> {
    pub(super) documents: &'v [Value],
    /// Services of Usher itself.
    pub(super) installed: &'v [Value],
}

/// What a gateway is told.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) asks: Vec<Ask>,
    /// References to objects of other namespaces.
    pub(super) references: Vec<Reference>,
    /// What is not checked.
    pub(super) exempt: Vec<String>,
    /// Names by which AuthConfigs are looked up.
    pub(super) names: Vec<String>,
    /// What is wrong already.
    pub(super) wrong: Vec<String>,
}

/// That somebody asks Usher.
#[derive(Debug)]
pub(super) struct Ask {
    /// For messages.
    pub(super) place: String,
    /// How long the gateway waits, if it says so.
    pub(super) timeout: Option<Duration>,
    /// Whether the request is stopped without an answer, if that is said.
    pub(super) fails_closed: Option<bool>,
    pub(super) status_on_error: StatusOnError,
    /// None: no Kubernetes, no Service.
    pub(super) service: Option<ServicePort>,
    /// By what the gateway knows that it has to speak HTTP/2.
    pub(super) protocol: Protocol,
}

/// What the client gets without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusOnError {
    /// The gateway has no such field.
    None,
    Said(Option<u64>),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServicePort {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: u64,
}

/// By what a gateway knows that it has to speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC is always HTTP/2 there.
    Implied,
    /// `appProtocol` has to be one of these.
    Field(&'static [&'static str]),
    /// The same, or else the name of the port has to begin with one of these.
    FieldOrName(&'static [&'static str], &'static [&'static str]),
}

/// That an object refers to one of another namespace, or of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Group, kind, namespace.
    pub(super) from: (String, String, String),
    /// Group, kind, namespace, name.
    pub(super) to: (String, String, String, String),
}

/// Longer than Usher needs, shorter than a client waits.
const LONGEST: Duration = Duration::from_secs(2);

impl Reading {
    pub(super) fn wrong(self, manifests: &Manifests<'_>, names_hosts: bool, needs_grants: bool) -> Vec<String> {
        let mut wrong = self.wrong;
        if self.asks.is_empty() {
            wrong.push("nobody asks Usher".to_owned());
        }
        for ask in &self.asks {
            wrong.extend(ask.wrong(manifests).into_iter().map(|what| format!("{}: {what}", ask.place)));
        }
        if self.exempt.is_empty() {
            wrong.push("no route is exempt".to_owned());
        }
        if names_hosts && self.names.is_empty() {
            wrong.push("no route says by which name its AuthConfig is looked up".to_owned());
        }
        let hosts = manifests.hosts();
        let unknown = self.names.iter().filter(|name| !hosts.contains(*name));
        wrong.extend(unknown.map(|name| format!("no AuthConfig has the host `{name}`")));
        if needs_grants {
            let across = self.references.iter().filter(|reference| reference.from.2 != reference.to.2);
            let refused =
                across.filter(|reference| !manifests.of_kind("ReferenceGrant").any(|it| reference.is_granted(it)));
            wrong.extend(
                refused.map(|reference| format!("no ReferenceGrant covers {:?} → {:?}", reference.from, reference.to)),
            );
        }
        wrong
    }
}

impl Ask {
    fn wrong(&self, manifests: &Manifests<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.timeout {
            None => wrong.push("no timeout".to_owned()),
            Some(timeout) if timeout.is_zero() || timeout > LONGEST => wrong.push(format!("it waits for {timeout:?}")),
            Some(_) => {}
        }
        if self.fails_closed != Some(true) {
            wrong.push(format!("what happens without an answer: {:?}", self.fails_closed));
        }
        if !matches!(self.status_on_error, StatusOnError::None | StatusOnError::Said(Some(503))) {
            wrong.push(format!("status without an answer: {:?}", self.status_on_error));
        }
        if let Some(service) = &self.service {
            match manifests.port(service) {
                None => wrong.push(format!("there is no {service:?}")),
                Some(port) if !self.protocol.is_http2(port) => {
                    wrong.push(format!("HTTP/1.1 would be spoken to {port}"))
                }
                Some(_) => {}
            }
        }
        wrong
    }
}

impl Protocol {
    fn is_http2(self, port: &Value) -> bool {
        let app_protocol = port.get("appProtocol").and_then(Value::as_str);
        match self {
            Self::Implied => true,
            Self::Field(protocols) => app_protocol.is_some_and(|it| protocols.contains(&it)),
            Self::FieldOrName(protocols, names) => match app_protocol {
                Some(protocol) => protocols.contains(&protocol),
                None => {
                    let name = text(port, "name");
                    names
                        .iter()
                        .any(|it| name == *it || name.strip_prefix(it).is_some_and(|rest| rest.starts_with('-')))
                }
            },
        }
    }
}

impl Reference {
    fn is_granted(&self, grant: &Value) -> bool {
        let (from, to) = (&self.from, &self.to);
        let is_from = |entry: &Value| {
            (text(entry, "group"), text(entry, "kind"), text(entry, "namespace")) == (&from.0, &from.1, &from.2)
        };
        let is_to = |entry: &Value| {
            let name = entry.get("name").and_then(Value::as_str);
            (text(entry, "group"), text(entry, "kind")) == (&to.0, &to.1) && name.is_none_or(|name| name == to.3)
        };
        namespace(grant) == to.2
            && items(grant, "spec/from").iter().any(is_from)
            && items(grant, "spec/to").iter().any(is_to)
    }
}

impl<'v> Manifests<'v> {
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &'v Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The object of this kind, namespace and name.
    pub(super) fn find(&self, kind: &str, in_namespace: &str, name: &str) -> Option<&'v Value> {
        let fits = |object: &&Value| namespace(object) == in_namespace && text(object, "metadata/name") == name;
        self.of_kind(kind).find(fits)
    }

    fn port(&self, service: &ServicePort) -> Option<&'v Value> {
        let fits = |object: &&Value| {
            object["kind"] == "Service"
                && namespace(object) == service.namespace
                && object["metadata"]["name"] == service.name
        };
        let found = self.documents.iter().find(fits).or_else(|| self.installed.iter().find(fits))?;
        items(found, "spec/ports").iter().find(|port| port["port"] == service.port)
    }

    fn hosts(&self) -> BTreeSet<String> {
        let hosts = self.of_kind("AuthConfig").flat_map(|config| items(config, "spec/hosts"));
        hosts.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// `a/b` of an object; null where there is none.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(&format!("/{path}")).unwrap_or(&Value::Null)
}

/// The text of `a/b`; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items of `a/b`.
pub(super) fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The duration at `a/b`, if there is one.
pub(super) fn duration(value: &Value, path: &str) -> Option<Duration> {
    units::duration(text(value, path))
}

/// The namespace of an object.
pub(super) fn namespace(object: &Value) -> &str {
    text(object, "metadata/namespace")
}

/// Kind and name of an object, for messages.
pub(super) fn place(object: &Value) -> String {
    format!("{} {}/{}", text(object, "kind"), namespace(object), text(object, "metadata/name"))
}

/// The group of an object, without the version.
pub(super) fn group(object: &Value) -> &str {
    text(object, "apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
}

/// From an object to what its field of the kind `BackendObjectReference` names.
pub(super) fn reference(object: &Value, to: &Value) -> Reference {
    let or = |path: &str, default: &str| to.get(path).and_then(Value::as_str).unwrap_or(default).to_owned();
    let from = [group(object), text(object, "kind"), namespace(object)].map(str::to_owned);
    Reference {
        from: from.into(),
        to: (or("group", ""), or("kind", "Service"), or("namespace", namespace(object)), or("name", "")),
    }
}

/// The port of the Service that a reference names.
pub(super) fn service(object: &Value, to: &Value) -> ServicePort {
    let (_, _, namespace, name) = reference(object, to).to;
    ServicePort { namespace, name, port: at(to, "port").as_u64().unwrap_or_default() }
}
