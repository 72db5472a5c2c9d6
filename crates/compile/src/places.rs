//! Where requests are claimed: hosts, other names of hosts, routes.

use std::collections::BTreeSet;

use usher_api::{Claimed, HostAliases, RouteReference};
use usher_engine::{host::HostPattern, index::Place, route::RouteName};
use usher_evaluators::{FieldPath, Problems};

/// What an AuthConfig claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Hosts that are listed, each once.
    pub hosts: Vec<HostPattern>,
    /// Shorter names of these hosts that still say whose they are, `SERVICE.NAMESPACE`: claimed like hosts. Each once, and none
    /// of them listed.
    pub qualified_names: Vec<HostPattern>,
    /// Names of one label, `SERVICE`, that hosts of others may have as well. Each once, and none of them above.
    pub short_names: Vec<HostPattern>,
    /// Routes, each once.
    pub routes: Vec<RouteName>,
}

impl Places {
    /// What can be read of a claim; the rest are problems.
    pub(crate) fn build(claimed: &Claimed, namespace: &str, problems: &mut Problems) -> Self {
        let root = FieldPath::root("spec");
        let hosts = hosts(&claimed.hosts, &root.field("hosts"), problems);
        let mut places = Self { hosts, ..Self::default() };
        if claimed.host_aliases == Some(HostAliases::KubernetesService) && !places.add_names_of_services() {
            problems.add(
                &root.field("hostAliases"),
                "none of the hosts is the full name of a Kubernetes Service, such as `shop.web.svc.cluster.local`, without \
                 a port",
            );
        }
        let routes = routes(&claimed.routes, namespace, &root.field("routes"), problems);
        Self { routes, ..places }
    }

    /// All of them.
    pub(crate) fn into_places(self) -> impl Iterator<Item = Place> {
        let Self { hosts, qualified_names, short_names, routes } = self;
        let names = hosts.into_iter().chain(qualified_names).chain(short_names).map(Place::Host);
        names.chain(routes.into_iter().map(Place::Route))
    }

    /// Takes in what another one has besides.
    pub(crate) fn add(&mut self, other: &Self) {
        extend(&mut self.hosts, &other.hosts);
        extend(&mut self.qualified_names, &other.qualified_names);
        extend(&mut self.short_names, &other.short_names);
        extend(&mut self.routes, &other.routes);
        self.keep_apart();
    }

    /// Adds the shorter forms of those hosts that are full names of Kubernetes Services, `SERVICE.NAMESPACE.svc.DOMAIN`, and
    /// says whether there are any. Without a port: `SERVICE:8000` would take requests from whoever has `SERVICE`.
    fn add_names_of_services(&mut self) -> bool {
        let mut names = Self::default();
        for host in &self.hosts {
            let HostPattern::Exact(name) = host else { continue };
            let mut labels = name.split('.');
            let (Some(service), Some(namespace), Some("svc"), Some(_), false) =
                (labels.next(), labels.next(), labels.next(), labels.next(), name.contains(':'))
            else {
                continue;
            };
            let qualified = [format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")];
            names.qualified_names.extend(qualified.map(HostPattern::Exact));
            names.short_names.push(HostPattern::Exact(service.to_owned()));
        }
        self.add(&names);
        !names.short_names.is_empty()
    }

    fn keep_apart(&mut self) {
        let hosts: BTreeSet<_> = self.hosts.iter().collect();
        self.qualified_names.retain(|name| !hosts.contains(name));
        let qualified: BTreeSet<_> = self.qualified_names.iter().collect();
        self.short_names.retain(|name| !hosts.contains(name) && !qualified.contains(name));
    }
}

/// Adds what is not in the list. A tenant may claim tens of thousands.
fn extend<T: Clone + Ord>(list: &mut Vec<T>, more: &[T]) {
    let mut seen: BTreeSet<T> = list.iter().cloned().collect();
    list.extend(more.iter().filter(|item| seen.insert((*item).clone())).cloned());
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

fn routes(
    references: &[RouteReference],
    namespace: &str,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Vec<RouteName> {
    let mut routes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, RouteReference { kind, name, section_name }) in references.iter().enumerate() {
        let route = |section| RouteName::new(kind.name(), namespace, name, section);
        let named = problems.take(&at.index(index), route(section_name.as_deref()));
        // A section that cannot be named must not be left to others.
        if let Some(route) = named.or_else(|| route(None).ok())
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

    type Names = Vec<String>;

    /// Qualified names, short names, and problems.
    fn names(hosts: &[&str]) -> (Names, Names, Names) {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let host_aliases = Some(HostAliases::KubernetesService);
        let (places, problems) = build(&Claimed { hosts, host_aliases, routes: Vec::new() });
        let shown = |names: &[HostPattern]| names.iter().map(ToString::to_string).collect();
        (shown(&places.qualified_names), shown(&places.short_names), problems)
    }

    #[test]
    fn services_have_shorter_names() {
        type List = &'static [&'static str];
        let cases: [(List, List, List); 6] = [
            (&["shop.web.svc.cluster.local"], &["shop.web", "shop.web.svc"], &["shop"]),
            (&["Shop.web.svc.cluster.local."], &["shop.web", "shop.web.svc"], &["shop"]),
            (&["shop.web.svc.corp.example", "api.example.com"], &["shop.web", "shop.web.svc"], &["shop"]),
            // What is listed is a host, and nothing else.
            (&["shop.web.svc.cluster.local", "shop", "shop.web"], &["shop.web.svc"], &[]),
            (
                &["a.x.svc.cluster.local", "a.y.svc.cluster.local", "b.x.svc.cluster.local:80"],
                &["a.x", "a.x.svc", "a.y", "a.y.svc"],
                &["a"],
            ),
            (&["a.x.svc.cluster.local", "a.x.svc.other.local"], &["a.x", "a.x.svc"], &["a"]),
        ];
        let owned = |names: List| names.iter().map(|name| (*name).to_owned()).collect();
        for (hosts, qualified, short) in cases {
            assert_eq!(names(hosts), (owned(qualified), owned(short), Vec::new()), "{hosts:?}");
        }
    }

    #[test]
    fn other_hosts_have_none() {
        for hosts in [
            &["api.example.com"][..],
            &["shop.web.svc"],
            &["shop.web.svc.cluster.local:8000"],
            &["*.web.svc.cluster.local"],
            &["pod.shop.web.svc.cluster.local"],
            &[],
        ] {
            let (qualified, short, problems) = names(hosts);
            assert_eq!((qualified, short), (Vec::new(), Vec::new()), "{hosts:?}");
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
            route(RouteKind::Http, "cart", Some("check_out")),
        ];
        let (places, problems) = build(&Claimed { routes, ..Claimed::default() });
        let routes: Vec<_> = places.routes.iter().map(RouteName::as_str).collect();
        assert_eq!(routes, ["HTTPRoute/web/shop", "GRPCRoute/web/api/orders", "HTTPRoute/web/cart"]);
        assert_eq!(
            problems,
            ["spec.routes[3]: `other/shop` is not a name", "spec.routes[4]: `check_out` is not a name"]
        );
    }
}
