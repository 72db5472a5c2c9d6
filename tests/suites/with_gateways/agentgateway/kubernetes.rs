//! What agentgateway's controller makes of the objects in a cluster.
//!
//! A field that it does not know fails the test, and so does one that this translation does not know: what is shipped is what
//! was run.

mod objects;

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use objects::{BackendHttp, CacheSpec};
use objects::{ConditionalExtAuth, ExtAuth, FailureModeName, Inheritance, Phase, PolicySpec};

use super::{
    cache::{Cache, Clock},
    expression::Expression,
    ext_authz::{BodyOptions, Checks, ExtAuthz, FailureMode},
    proxy::{Configuration, Path, Route},
};
use crate::with_gateways::gateway_api::{
    BackendRef, GROUP, GatewaySpec, HttpRouteSpec, Object, PathMatch, PathMatchType, TargetRef, V1,
};

/// A cluster with one gateway, and the loopback ports of what runs in it.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    pub(super) documents: &'a [Value],
    /// `NAMESPACE/NAME:PORT` of what is behind Services, with the number or name of the port where the pods listen, and where
    /// that is.
    pub(super) services: &'a [(&'a str, u16)],
    pub(super) clock: Clock,
}

impl Cluster<'_> {
    /// The configuration that the gateway is given.
    pub(super) fn configuration(&self) -> Configuration {
        let policies = self.policies();
        let gateways: Vec<Object<GatewaySpec>> = self.of_kind("Gateway", V1);
        let [gateway] = gateways.as_slice() else { panic!("there are {} gateways", gateways.len()) };
        assert_eq!(gateway.spec.gateway_class_name, "agentgateway");
        assert!(gateway.spec.listeners.iter().all(|listener| listener.protocol == "HTTP" && listener.port > 0));
        for policy in &policies {
            policy.spec.validate();
        }

        let on_gateway = |phase: Phase| -> Vec<_> {
            let here = policies.iter().filter(|policy| policy.metadata.namespace == gateway.metadata.namespace);
            let targets =
                |policy: &&Object<PolicySpec>| policy.spec.targets(GROUP, "Gateway", &gateway.metadata.name, None);
            here.filter(targets).filter(|policy| policy.spec.phase() == phase).collect()
        };
        let before_routing = on_gateway(Phase::PreRouting);
        assert!(before_routing.len() <= 1, "of several policies of one phase and place one wins: do not ship that");
        let shared = on_gateway(Phase::PostRouting);

        let routes: Vec<Object<HttpRouteSpec>> = self.of_kind("HTTPRoute", V1);
        let routes = routes.iter().flat_map(|route| {
            let namespace = &route.metadata.namespace;
            let mut listeners = gateway.spec.listeners.iter();
            let is_admitted = listeners.any(|listener| listener.admits(namespace, &gateway.metadata.namespace));
            let is_attached = route.has_parent(&gateway.metadata) && is_admitted;
            assert!(is_attached, "{} is attached to no gateway", route.metadata.name);
            assert!(route.spec.is_for_any_host(), "host names are not translated");
            let policies = &policies;
            let shared = &shared;
            route.spec.rules.iter().map(move |rule| {
                let own = |section: Option<&str>| {
                    let here = policies.iter().filter(|policy| policy.metadata.namespace == *namespace);
                    let targets = move |policy: &&Object<PolicySpec>| {
                        policy.spec.targets(GROUP, "HTTPRoute", &route.metadata.name, section)
                    };
                    here.filter(targets).collect::<Vec<_>>()
                };
                let mut applicable = shared.clone();
                applicable.extend(own(None));
                applicable.extend(rule.name.as_deref().map(|name| own(Some(name))).unwrap_or_default());
                let [backend] = rule.backend_refs.as_slice() else { panic!("{} has no backend", route.metadata.name) };
                let upstream = self.service(backend, namespace);
                Route {
                    name: route.metadata.name.clone(),
                    matches: rule.paths().iter().map(path).collect(),
                    checks: self.effective(&applicable),
                    upstream: upstream.unwrap_or_else(|| panic!("no Service {backend:?}")),
                }
            })
        });
        let routes = routes.collect();
        let before_routing = self.effective(&before_routing);
        Configuration { before_routing, routes, ..Configuration::default() }
    }

    /// A later policy takes the place of an earlier one, unless that one forbids it.
    fn effective(&self, policies: &[&Object<PolicySpec>]) -> Checks {
        let mut effective = Checks::default();
        for policy in policies {
            let Some(ext_auth) = policy.spec.traffic.as_ref().and_then(|traffic| traffic.ext_auth.as_ref()) else {
                continue;
            };
            effective = self.checks(ext_auth, &policy.metadata.namespace);
            if policy.spec.strategy.as_ref().is_some_and(|it| it.inheritance == Some(Inheritance::Override)) {
                break;
            }
        }
        effective
    }

    fn checks(&self, ext_auth: &ExtAuth, namespace: &str) -> Checks {
        if let Some(conditional) = &ext_auth.conditional {
            let entry = |entry: &ConditionalExtAuth| {
                let condition = entry.condition.as_deref().map(|source| Arc::new(Expression::new(source)));
                (condition, Arc::new(self.check(&entry.policy, namespace)))
            };
            return Checks(conditional.iter().map(entry).collect());
        }
        Checks(vec![(None, Arc::new(self.check(ext_auth, namespace)))])
    }

    fn check(&self, ext_auth: &ExtAuth, namespace: &str) -> ExtAuthz {
        let backend = ext_auth.backend_ref.as_ref().expect("a backend");
        let grpc = ext_auth.grpc.as_ref().expect("the gRPC protocol");
        let metadata = grpc
            .request_metadata
            .as_ref()
            .map(|metadata| metadata.iter().map(|(name, source)| (name.clone(), Expression::new(source))).collect());
        ExtAuthz {
            target: self.service(backend, namespace),
            timeout: self.deadline(backend, namespace),
            context: grpc.context_extensions.clone().unwrap_or_default(),
            metadata,
            failure_mode: match ext_auth.failure_mode {
                Some(FailureModeName::FailOpen) => FailureMode::Allow,
                Some(FailureModeName::FailClosed) | None => FailureMode::Deny,
            },
            // A longer body is cut: the controller says so, whatever the description of the field says.
            body: ext_auth.forward_body.as_ref().map(|body| BodyOptions {
                max_request_bytes: body.max_size,
                allow_partial_message: true,
                pack_as_bytes: false,
            }),
            cache: ext_auth.cache.as_ref().map(|cache| cache.build(&self.clock)),
            ..ExtAuthz::of(0)
        }
    }

    fn service(&self, reference: &BackendRef, namespace: &str) -> Option<u16> {
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let name = format!("{namespace}/{}:{}", reference.name, self.target_port(reference, namespace)?);
        self.services.iter().find(|(service, _)| *service == name).map(|(_, port)| *port)
    }

    /// Where pods listen behind this port of a Service. The pods of Services that are not among the objects, as that of Usher's
    /// chart, listen on the port of the Service. None if the Service has no such port.
    fn target_port(&self, reference: &BackendRef, namespace: &str) -> Option<String> {
        let is_it = |document: &&Value| {
            let metadata = &document["metadata"];
            document["kind"] == "Service" && metadata["namespace"] == namespace && metadata["name"] == *reference.name
        };
        let Some(service) = self.documents.iter().find(is_it) else { return Some(reference.port.to_string()) };
        let mut ports = service["spec"]["ports"].as_array()?.iter();
        Some(match &ports.find(|port| port["port"] == reference.port)?["targetPort"] {
            Value::Null => reference.port.to_string(),
            Value::String(name) => name.clone(),
            number => number.to_string(),
        })
    }

    /// Of a policy that is attached to the Service.
    fn deadline(&self, reference: &BackendRef, namespace: &str) -> Option<Duration> {
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let policies = self.policies().into_iter().filter(|policy| policy.metadata.namespace == namespace);
        let mut attached = policies.filter(|policy| policy.spec.targets("", "Service", &reference.name, None));
        attached.find_map(|policy| policy.spec.backend?.http?.request_timeout)
    }

    fn policies(&self) -> Vec<Object<PolicySpec>> {
        self.of_kind("AgentgatewayPolicy", "agentgateway.dev/v1alpha1")
    }

    fn of_kind<S: DeserializeOwned>(&self, kind: &str, version: &str) -> Vec<Object<S>> {
        Object::in_namespaces(self.documents, kind, version).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl CacheSpec {
    pub(super) fn build<T: Clone>(&self, clock: &Clock) -> Cache<T> {
        assert!((1..=16).contains(&self.key.len()), "a key has 1 to 16 expressions");
        let key = self.key.iter().map(|source| Expression::new(source)).collect();
        Cache::new(key, Expression::time(&self.ttl), self.max_entries, clock.clone())
    }
}

impl PolicySpec {
    fn targets(&self, group: &str, kind: &str, name: &str, section: Option<&str>) -> bool {
        self.target_refs.iter().any(|target| target.names(group, kind, name, section))
    }

    fn phase(&self) -> Phase {
        self.traffic.as_ref().and_then(|traffic| traffic.phase).unwrap_or(Phase::PostRouting)
    }

    /// What the API server checks with the rules of the definition.
    fn validate(&self) {
        let kinds: Vec<_> = self.target_refs.iter().map(|target| target.kind.as_str()).collect();
        assert!(!kinds.is_empty() && kinds.windows(2).all(|pair| pair[0] == pair[1]), "targets of one kind: {kinds:?}");
        let is_known = |target: &TargetRef| match target.kind.as_str() {
            "Service" => target.group.is_empty(),
            "Gateway" | "HTTPRoute" | "GRPCRoute" | "ListenerSet" => target.group == GROUP,
            _ => false,
        };
        assert!(self.target_refs.iter().all(is_known), "{:?}", self.target_refs);
        assert!(self.phase() == Phase::PostRouting || kinds[0] == "Gateway", "PreRouting is for a Gateway");
        let Some(traffic) = &self.traffic else { return };
        assert_ne!(kinds[0], "Service", "`traffic` is not for a Service");
        let Some(ext_auth) = &traffic.ext_auth else { return };
        match &ext_auth.conditional {
            None => ext_auth.validate(),
            Some(entries) => {
                assert!(ext_auth.backend_ref.is_none() && (1..=16).contains(&entries.len()));
                entries.iter().for_each(|entry| entry.policy.validate());
                let last = entries.iter().take(entries.len() - 1).all(|entry| entry.condition.is_some());
                assert!(last, "an entry without a condition comes last");
            }
        }
    }
}

impl ExtAuth {
    fn validate(&self) {
        assert!(self.backend_ref.is_some() && self.grpc.is_some() && self.conditional.is_none());
        assert!(self.forward_body.as_ref().is_none_or(|body| body.max_size >= 1));
    }
}

fn path(path: &PathMatch) -> Path {
    match path.r#type {
        PathMatchType::Exact => Path::Exact(path.value.clone()),
        PathMatchType::PathPrefix => Path::Prefix(path.value.clone()),
    }
}
