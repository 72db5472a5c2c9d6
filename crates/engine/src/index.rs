//! From a request to the plan that decides about it: by its route, or by its host.
//!
//! Readers load one pointer and take no lock. A change copies the parts of the table that it touches, so that its cost
//! does not grow with the number of configurations, and becomes visible as a whole.
//!
//! Requests for a host that nobody serves may have a plan too, the default one.
//!
//! Order of a lookup:
//!
//! 1. the context extension `host`, if the gateway sets it, even when it is empty: then nothing else counts
//! 2. the [route](crate::route), if the gateway names it: its section before the route as a whole
//! 3. the host of the request
//!
//! Of several hosts that cover that of the request the most specific counts: see [`Host::candidates`].

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use crate::{
    Plan, Request,
    host::{Candidate, Host, HostPattern},
    route::{self, RouteName},
};

/// What leads requests to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A host, or all hosts below a name.
    Host(HostPattern),
    /// A route of a gateway.
    Route(RouteName),
}

impl From<HostPattern> for Place {
    fn from(host: HostPattern) -> Self {
        Self::Host(host)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => host.fmt(formatter),
            Self::Route(route) => route.fmt(formatter),
        }
    }
}

/// All plans by host and route.
#[derive(Debug)]
pub struct PlanIndex {
    current: ArcSwap<Table>,
    writer: Mutex<()>,
}

/// Enough shards that copying one is cheap with a hundred thousand hosts, few enough that copying the list of them is.
const SHARDS: usize = 512;

type Shard = HashMap<Arc<str>, Arc<Plan>>;

#[derive(Debug, Clone)]
struct Table {
    hasher: RandomState,
    /// Shared with the table before as a whole, until one of its shards changes; so are the wildcards.
    exact: Arc<[Arc<Shard>]>,
    wildcards: Arc<[Arc<Shard>]>,
    /// Most tables have no wildcard; then nobody walks labels.
    wildcard_count: usize,
    routes: Arc<[Arc<Shard>]>,
    /// Most tables have no route; then nobody looks for the route of a request.
    route_count: usize,
    /// For hosts that are not in the table.
    default: Option<Arc<Plan>>,
}

impl Default for PlanIndex {
    fn default() -> Self {
        let table = Table {
            hasher: RandomState::new(),
            exact: vec![Arc::default(); SHARDS].into(),
            wildcards: vec![Arc::default(); SHARDS].into(),
            wildcard_count: 0,
            routes: vec![Arc::default(); SHARDS].into(),
            route_count: 0,
            default: None,
        };
        Self { current: ArcSwap::from_pointee(table), writer: Mutex::new(()) }
    }
}

impl PlanIndex {
    /// The plan for a request.
    #[must_use]
    pub fn find(&self, request: &Request) -> Option<Arc<Plan>> {
        let table = self.current.load();
        table
            .find_route(request)
            .or_else(|| table.find(&Host::parse(request.lookup_host())))
            .or(table.default.as_ref())
            .cloned()
    }

    /// Sets the plan for hosts that are not in the table; `None`: there is none.
    pub fn publish_default(&self, plan: Option<Arc<Plan>>) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.current.load());
        table.default = plan;
        self.current.store(Arc::new(table));
    }

    /// Makes several hosts and routes lead elsewhere, all at once; `None` takes one out.
    pub fn publish<P: Into<Place>>(&self, changes: impl IntoIterator<Item = (P, Option<Arc<Plan>>)>) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.current.load());
        for (place, plan) in changes {
            table.set(&place.into(), plan);
        }
        self.current.store(Arc::new(table));
    }
}

impl Table {
    fn find_route(&self, request: &Request) -> Option<&Arc<Plan>> {
        if self.route_count == 0 || request.names_lookup_host() {
            return None;
        }
        route::find(request, |name| get(&self.hasher, &self.routes, name))
    }

    fn find(&self, host: &Host<'_>) -> Option<&Arc<Plan>> {
        for candidate in host.candidates() {
            let found = match candidate {
                Candidate::Exact(key) => get(&self.hasher, &self.exact, &key),
                Candidate::Wildcard(_) if self.wildcard_count == 0 => break,
                Candidate::Wildcard(key) => get(&self.hasher, &self.wildcards, &key),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn set(&mut self, place: &Place, plan: Option<Arc<Plan>>) {
        let (shards, key) = match place {
            Place::Host(HostPattern::Exact(key)) => (&mut self.exact, key.as_str()),
            Place::Host(HostPattern::Wildcard(key)) => (&mut self.wildcards, key.as_str()),
            Place::Route(route) => (&mut self.routes, route.as_str()),
        };
        let Some(shard) = Arc::make_mut(shards).get_mut(shard_of(&self.hasher, key)) else { return };
        let shard = Arc::make_mut(shard);
        let before = shard.len();
        match plan {
            Some(plan) => {
                shard.insert(Arc::from(key), plan);
            }
            None => {
                shard.remove(key);
            }
        }
        let after = shard.len();
        match place {
            Place::Host(HostPattern::Exact(_)) => {}
            Place::Host(HostPattern::Wildcard(_)) => self.wildcard_count = self.wildcard_count + after - before,
            Place::Route(_) => self.route_count = self.route_count + after - before,
        }
    }
}

fn get<'a>(hasher: &RandomState, shards: &'a [Arc<Shard>], key: &str) -> Option<&'a Arc<Plan>> {
    shards.get(shard_of(hasher, key))?.get(key)
}

fn shard_of(hasher: &RandomState, key: &str) -> usize {
    usize::try_from(hasher.hash_one(key)).unwrap_or_default() % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{RequestParts, observe::Metrics};

    fn plan(name: &str) -> Arc<Plan> {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (namespace, name): (Arc<str>, Arc<str>) = ("n".into(), name.into());
        let meters = metrics.plan(&namespace, &name);
        Arc::new(Plan::pending(namespace, name, meters, String::new()))
    }

    fn index(hosts: &[(&str, &str)]) -> PlanIndex {
        let index = PlanIndex::default();
        index.publish(hosts.iter().map(|(host, name)| (HostPattern::parse(host).unwrap(), Some(plan(name)))));
        index
    }

    fn name_of(index: &PlanIndex, host: &str) -> Option<String> {
        let parts = RequestParts { host: host.to_owned(), ..RequestParts::default() };
        index.find(&Request::new(parts)).map(|plan| plan.name.to_string())
    }

    #[test]
    fn the_default_serves_hosts_that_nobody_serves() {
        let index = index(&[("a.test", "a"), ("*.b.test", "b")]);
        assert_eq!(name_of(&index, "other.test"), None);
        index.publish_default(Some(plan("default")));
        for (host, name) in [("a.test", "a"), ("x.b.test", "b"), ("other.test", "default"), ("", "default")] {
            assert_eq!(name_of(&index, host).as_deref(), Some(name), "{host}");
        }
        index.publish_default(None);
        assert_eq!(name_of(&index, "other.test"), None);
    }

    #[test]
    fn a_route_comes_before_the_host() {
        let index = index(&[("a.test", "host")]);
        let route = |section| Place::Route(RouteName::new("HTTPRoute", "n", "web", section).unwrap());
        index.publish([(route(None), Some(plan("route"))), (route(Some("s")), Some(plan("section")))]);
        let found = |host: &str, extensions: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let parts = RequestParts {
                host: host.to_owned(),
                context_extensions: extensions.iter().map(owned).collect(),
                ..RequestParts::default()
            };
            index.find(&Request::new(parts)).map(|plan| plan.name.to_string())
        };
        let found = |host, extensions| found(host, extensions).unwrap_or_default();
        assert_eq!(found("a.test", &[]), "host");
        assert_eq!(found("a.test", &[("route", "HTTPRoute/n/web")]), "route");
        assert_eq!(found("other.test", &[("route", "HTTPRoute/n/web/s")]), "section");
        assert_eq!(found("other.test", &[("route", "HTTPRoute/n/web/other")]), "route");
        assert_eq!(found("a.test", &[("route", "HTTPRoute/n/unknown")]), "host");
        assert_eq!(found("other.test", &[("route", "HTTPRoute/n/unknown")]), "");
        assert_eq!(found("other.test", &[("route", "HTTPRoute/n/web"), ("host", "a.test")]), "host");
        assert_eq!(found("a.test", &[("route", "HTTPRoute/n/web"), ("host", "")]), "");
        index.publish([(route(None), None), (route(Some("s")), None)]);
        assert_eq!(found("a.test", &[("route", "HTTPRoute/n/web/s")]), "host");
        assert_eq!(index.current.load().route_count, 0);
    }

    #[test]
    fn the_most_specific_host_wins() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(Pairs, Pairs)] = &[
            (
                &[
                    ("*.io", "1"),
                    ("talker-api.nip.io", "2"),
                    ("*.pets.com", "2"),
                    ("api.acme.com", "3"),
                    ("*.acme.com", "4"),
                ],
                &[
                    ("dogs.pets.com", "2"),
                    ("a.b.c.pets.com", "2"),
                    ("pets.com", "2"),
                    ("api.acme.com", "3"),
                    ("www.acme.com", "4"),
                    ("acme.com", "4"),
                    ("x.api.acme.com", "4"),
                    ("talker-api.nip.io", "2"),
                    ("foo.nip.io", "1"),
                    ("x.talker-api.nip.io", "1"),
                    ("nip.io", "1"),
                    ("io", "1"),
                    ("foo.org", ""),
                    ("com", ""),
                    ("", ""),
                    ("*.pets.com", "2"),
                    ("API.acme.com", "3"),
                    ("api.acme.com:8080", "3"),
                    ("www.acme.com:443", "4"),
                    ("acme.com:80", "4"),
                    ("dogs.pets.com:", "2"),
                    ("api.acme.com:8080:1", "3"),
                    ("api.acme.com.", "3"),
                    ("[::1]:80", ""),
                ],
            ),
            (
                &[("*", "all"), ("api.acme.com", "a")],
                &[
                    ("api.acme.com", "a"),
                    ("api.acme.com:8080", "a"),
                    ("foo", "all"),
                    ("a.b.c", "all"),
                    ("", "all"),
                    ("acme.com", "all"),
                    ("127.0.0.1:80", "all"),
                    ("[::1]:80", "all"),
                    ("API.acme.com", "a"),
                ],
            ),
            (
                &[
                    ("api.acme.com:8080", "p"),
                    ("api.acme.com", "n"),
                    ("*.acme.com", "w"),
                    ("*.acme.com:9", "w9"),
                    ("*:7", "seven"),
                ],
                &[
                    ("api.acme.com:8080", "p"),
                    ("api.acme.com:9090", "n"),
                    ("api.acme.com", "n"),
                    ("x.acme.com:8080", "w"),
                    ("acme.com:8080", "w"),
                    ("com:8080", ""),
                    ("x.acme.com:9", "w9"),
                    ("api.acme.com:9", "n"),
                    ("other:7", "seven"),
                ],
            ),
            (
                &[("api.*", "x"), ("foo*.acme.com", "y"), ("a.*.com", "z"), ("*.*.net", "s")],
                &[
                    ("api.foo", ""),
                    ("api.*", "x"),
                    ("foobar.acme.com", ""),
                    ("foo*.acme.com", "y"),
                    ("a.b.com", ""),
                    ("a.*.com", "z"),
                    ("a.b.net", ""),
                    ("z.*.net", "s"),
                    ("*.*.net", "s"),
                ],
            ),
            (
                &[
                    ("localhost", "l"),
                    ("127.0.0.1", "ip"),
                    ("*.0.0.1", "w"),
                    ("a.b.com", "x"),
                    ("*.com", "y"),
                    ("[::1]:8080", "six"),
                ],
                &[
                    ("localhost:80", "l"),
                    ("a.localhost", ""),
                    ("127.0.0.1:8000", "ip"),
                    ("10.0.0.1", "w"),
                    ("0.0.1", "w"),
                    ("b.com", "y"),
                    ("com", "y"),
                    ("c.a.b.com", "y"),
                    ("a.b.com", "x"),
                    ("[::1]:8080", "six"),
                    ("[::1]:9090", ""),
                    ("[0::1]:8080", "six"),
                ],
            ),
        ];
        for (hosts, lookups) in cases {
            let index = index(hosts);
            for (host, expected) in *lookups {
                assert_eq!(name_of(&index, host).unwrap_or_default(), *expected, "{host} among {hosts:?}");
            }
        }
    }

    #[test]
    fn long_hosts_take_linear_time() {
        let index = index(&[("*", "any"), ("*.a.test", "a")]);
        let started = std::time::Instant::now();
        for tail in ["", "a.test", "a.test:80", ":80"] {
            let host = format!("{}{tail}", "a.".repeat(500_000));
            assert_eq!(name_of(&index, &host).as_deref(), Some(if tail.contains("test") { "a" } else { "any" }));
        }
        let host = format!("{}test:{}", "a.".repeat(100), "0".repeat(1_000_000));
        assert_eq!(name_of(&index, &host).as_deref(), Some("a"));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_host_that_is_taken_out_falls_back_to_the_wildcard() {
        let index = index(&[("*.acme.com", "w"), ("api.acme.com", "a")]);
        index.publish([(HostPattern::parse("api.acme.com").unwrap(), None)]);
        assert_eq!(name_of(&index, "api.acme.com").as_deref(), Some("w"));
        index.publish([(HostPattern::parse("*.acme.com").unwrap(), None)]);
        assert_eq!(name_of(&index, "api.acme.com"), None);
        assert_eq!(index.current.load().wildcard_count, 0);
    }

    /// The rules of the lookup, said naively: try every pattern, take the best.
    fn naive(hosts: &BTreeMap<String, String>, host: &str) -> Option<String> {
        let asked = Host::parse(host);
        let mut best: Option<((u8, usize, bool), &String)> = None;
        for (pattern, name) in hosts {
            let (wildcard, text) = match HostPattern::parse(pattern).ok()? {
                HostPattern::Exact(text) => (false, text),
                HostPattern::Wildcard(text) => (true, text),
            };
            let (base, port) = match text.split_once(':') {
                Some((base, port)) => (base, Some(port)),
                None => (text.as_str(), None),
            };
            if port.is_some() && port != asked.port {
                continue;
            }
            let fits = if wildcard {
                base.is_empty() || asked.name == base || asked.name.ends_with(&format!(".{base}"))
            } else {
                asked.name == base
            };
            let rank = (u8::from(!wildcard), base.split('.').filter(|label| !label.is_empty()).count(), port.is_some());
            if fits && best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, name));
            }
        }
        best.map(|(_, name)| name.clone())
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_the_naive_model(
            hosts in proptest::collection::btree_map("(\\*\\.)?([ab]\\.){0,3}[abc](:(1|2))?", "[a-z]{1,4}", 0..12),
            changes in proptest::collection::vec(("(\\*\\.)?([ab]\\.){0,3}[abc](:(1|2))?", proptest::option::of("[a-z]{1,4}")), 0..12),
            asked in proptest::collection::vec("([ab]\\.){0,4}[abc](:(1|2))?", 1..12),
        ) {
            let index = PlanIndex::default();
            let mut model = hosts.clone();
            index.publish(hosts.iter().map(|(host, name)| (HostPattern::parse(host).unwrap(), Some(plan(name)))));
            for (host, name) in changes {
                index.publish([(HostPattern::parse(&host).unwrap(), name.as_deref().map(plan))]);
                match name {
                    Some(name) => { model.insert(host, name); }
                    None => { model.remove(&host); }
                }
            }
            for host in asked {
                prop_assert_eq!(name_of(&index, &host), naive(&model, &host), "{}", host);
            }
        }
    }
}
