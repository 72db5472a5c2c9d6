//! Where requests are claimed: hosts, other names of hosts, routes.

use std::collections::BTreeSet;

use usher_api::{Claimed, HostAliases, RouteReference};
use usher_engine::{host::HostPattern, route::RouteName};
use usher_evaluators::{FieldPath, Problems};

/// What an AuthConfig claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Hosts, each once.
    pub hosts: Vec<HostPattern>,
    /// Other names of these hosts, each once and none of them a host.
    pub aliases: Vec<HostPattern>,
    /// Routes, each once.
    pub routes: Vec<RouteName>,
}

impl Places {
    /// What can be read of a claim; the rest are problems.
    pub(crate) fn build(claimed: &Claimed, namespace: &str, problems: &mut Problems) -> Self {
        let root = FieldPath::root("spec");
        let hosts = hosts(&claimed.hosts, &root.field("hosts"), problems);
        let aliases = match claimed.host_aliases {
            None => Vec::new(),
            Some(HostAliases::KubernetesService) => {
                let aliases = service_names(&hosts);
                if aliases.is_none() {
                    problems.add(
                        &root.field("hostAliases"),
                        "none of the hosts is the full name of a Kubernetes Service, such as `shop.web.svc.cluster.local`",
                    );
                }
                aliases.unwrap_or_default()
            }
        };
        let routes = routes(&claimed.routes, namespace, &root.field("routes"), problems);
        Self { hosts, aliases, routes }
    }

    /// Takes in what another one has besides.
    pub(crate) fn add(&mut self, other: &Self) {
        extend(&mut self.hosts, &other.hosts);
        extend(&mut self.aliases, &other.aliases);
        extend(&mut self.routes, &other.routes);
        self.aliases.retain(|alias| !self.hosts.contains(alias));
    }
}

fn extend<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn hosts(texts: &[String], at: &FieldPath<'_>, problems: &mut Problems) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        if let Some(host) = problems.take(&at.index(index), HostPattern::parse(text))
            && seen.insert(host.clone())
        {
            hosts.push(host);
        }
    }
    hosts
}

/// The shorter forms of those hosts that are full names of Kubernetes Services, `SERVICE.NAMESPACE.svc.DOMAIN`; `None`
/// if none of them is. A port stays: without one, a form is claimed with every port.
fn service_names(hosts: &[HostPattern]) -> Option<Vec<HostPattern>> {
    let explicit: BTreeSet<_> = hosts.iter().collect();
    let mut seen = BTreeSet::new();
    let mut aliases = Vec::new();
    let mut is_any = false;
    for host in hosts {
        let HostPattern::Exact(text) = host else { continue };
        let (name, port) = text.split_once(':').map_or((text.as_str(), ""), |(name, port)| (name, port));
        let mut labels = name.split('.');
        let (Some(service), Some(namespace), Some("svc"), Some(_)) =
            (labels.next(), labels.next(), labels.next(), labels.next())
        else {
            continue;
        };
        is_any = true;
        for form in [service.to_owned(), format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")] {
            let form = if port.is_empty() { form } else { format!("{form}:{port}") };
            let alias = HostPattern::Exact(form);
            if !explicit.contains(&alias) && seen.insert(alias.clone()) {
                aliases.push(alias);
            }
        }
    }
    is_any.then_some(aliases)
}

fn routes(
    references: &[RouteReference],
    namespace: &str,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Vec<RouteName> {
    let mut routes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, RouteReference { kind, name, section_name }) in references.iter().enumerate() {
        let route = RouteName::new(kind.name(), namespace, name, section_name.as_deref());
        if let Some(route) = problems.take(&at.index(index), route)
            && seen.insert(route.clone())
        {
            routes.push(route);
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use usher_api::RouteKind;

    use super::*;

    fn build(claimed: &Claimed) -> (Places, Vec<String>) {
        let mut problems = Problems::default();
        let places = Places::build(claimed, "web", &mut problems);
        let (problems, _) = problems.into_parts();
        (places, problems.iter().map(ToString::to_string).collect())
    }

    fn aliases(hosts: &[&str]) -> (Vec<String>, Vec<String>) {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let aliases = Some(HostAliases::KubernetesService);
        let (places, problems) = build(&Claimed { hosts, host_aliases: aliases, routes: Vec::new() });
        (places.aliases.iter().map(ToString::to_string).collect(), problems)
    }

    #[test]
    fn services_have_shorter_names() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["shop.web.svc.cluster.local"], &["shop", "shop.web", "shop.web.svc"]),
            (&["Shop.web.svc.cluster.local.:8000"], &["shop:8000", "shop.web:8000", "shop.web.svc:8000"]),
            (&["shop.web.svc.corp.example", "api.example.com"], &["shop", "shop.web", "shop.web.svc"]),
            // What is listed is a host, and no alias.
            (&["shop.web.svc.cluster.local", "shop", "shop.web"], &["shop.web.svc"]),
            (&["a.x.svc.cluster.local", "a.y.svc.cluster.local"], &["a", "a.x", "a.x.svc", "a.y", "a.y.svc"]),
            (&["a.x.svc.cluster.local", "a.x.svc.other.local"], &["a", "a.x", "a.x.svc"]),
        ];
        for (hosts, expected) in cases {
            assert_eq!(aliases(hosts), (expected.iter().map(|it| (*it).to_owned()).collect(), Vec::new()), "{hosts:?}");
        }
    }

    #[test]
    fn other_hosts_have_none() {
        for hosts in [
            &["api.example.com"][..],
            &["shop.web.svc"],
            &["*.web.svc.cluster.local"],
            &["pod.shop.web.svc.cluster.local"],
            &[],
        ] {
            let (aliases, problems) = aliases(hosts);
            assert_eq!(aliases, [""; 0], "{hosts:?}");
            assert!(
                problems.len() == 1 && problems[0].starts_with("spec.hostAliases: none of the hosts"),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn routes_are_of_the_namespace() {
        let route = |kind, name: &str, section: Option<&str>| RouteReference {
            kind,
            name: name.to_owned(),
            section_name: section.map(str::to_owned),
        };
        let routes = vec![
            route(RouteKind::Http, "shop", None),
            route(RouteKind::Grpc, "api", Some("orders")),
            route(RouteKind::Http, "shop", None),
            route(RouteKind::Http, "other/shop", None),
        ];
        let (places, problems) = build(&Claimed { routes, ..Claimed::default() });
        let routes: Vec<_> = places.routes.iter().map(RouteName::as_str).collect();
        assert_eq!(routes, ["HTTPRoute/web/shop", "GRPCRoute/web/api/orders"]);
        assert_eq!(problems, ["spec.routes[3]: `other/shop` is not a name"]);
    }
}
