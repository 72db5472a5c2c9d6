//! Which AuthConfig a host leads to, and why; or which hosts are near.

use std::collections::BTreeMap;

use usher_compile::Report;
use usher_engine::{
    Plan,
    host::{Host, HostPattern},
    index::Place,
    plan::PlanKind,
};

use crate::commands::{
    compiled::Compiled,
    options::{ConfigOptions, FileOptions},
};

/// The most hosts that are named as near.
const MOST_NEAR: usize = 5;

/// Where hosts lead with some configuration.
pub(super) struct Hosts {
    plans: BTreeMap<HostPattern, std::sync::Arc<Plan>>,
    /// Whether AuthorizationPolicies decide about hosts of no AuthConfig.
    has_default: bool,
    /// Hosts that AuthConfigs claim in vain.
    lost: Vec<Lost>,
    /// Whether any AuthConfig is looked up by routes.
    has_routes: bool,
}

/// A host that an AuthConfig claims in vain.
struct Lost {
    /// The AuthConfig.
    id: String,
    host: HostPattern,
    /// Whose it is.
    owner: Option<String>,
    /// It is nobody's: a short name of a Service that several AuthConfigs claim.
    is_shared: bool,
    /// The AuthConfig lists it in `spec.hosts`.
    is_listed: bool,
}

impl Hosts {
    /// Compiles the configuration, as a server would.
    ///
    /// # Errors
    /// When there is nothing to compile, or nothing to compile it with.
    pub(super) fn load(files: &FileOptions, config: &ConfigOptions) -> Result<Self, String> {
        let compiled = Compiled::load(files, config)?;
        super::tell_errors(&compiled.loaded);
        compiled.require_any()?;
        let Compiled { loaded, workspace, update, .. } = compiled;
        let lost = update.reports.iter().flat_map(lost_hosts).collect();
        let has_default = workspace.default_plan().is_some();
        let has_routes = loaded.auth_configs().any(|object| !object.document.claimed.routes.is_empty());
        let mut plans = BTreeMap::new();
        for (place, plan) in update.places {
            let Place::Host(host) = place else { continue };
            match plan {
                Some(plan) => plans.insert(host, plan),
                None => plans.remove(&host),
            };
        }
        Ok(Self { plans, has_default, lost, has_routes })
    }

    /// What is to be known about a host, in lines.
    pub(super) fn tell(&self, host: &str) -> String {
        self.lines(host).lines().map(|line| super::printable(line) + "\n").collect()
    }

    /// The lines, in which nothing is escaped yet.
    fn lines(&self, host: &str) -> String {
        let mut text = String::new();
        let claims = claims(host);
        let fits = |pattern: &HostPattern| claims.contains(pattern);
        let is_shared = |pattern: &HostPattern| self.lost.iter().any(|lost| lost.is_shared && lost.host == *pattern);
        match self.find(host) {
            Some((pattern, plan)) => {
                let id = format!("{}/{}", plan.namespace, plan.name);
                let exact = if matches!(pattern, HostPattern::Exact(_)) { "" } else { ", a wildcard" };
                let by = format!("by `{pattern}`{exact}");
                text.push_str(&match &plan.kind {
                    PlanKind::Broken(problem) if is_shared(&pattern) => format!("host `{host}`: 503, because {problem}\n"),
                    // The Secrets that it names may be elsewhere.
                    PlanKind::Broken(problem) | PlanKind::Pending(problem) => format!(
                        "host `{host}`: AuthConfig {id} has it, {by}; with what is here it answers 503, because {problem}\n"
                    ),
                    PlanKind::Rules(_) | PlanKind::Policy(_) => {
                        format!("host `{host}`: AuthConfig {id} decides, {by}\n")
                    }
                });
            }
            None if self.has_default => {
                text.push_str(&format!("host `{host}`: no AuthConfig has it, the AuthorizationPolicies decide\n"));
            }
            None => {
                text.push_str(&format!("host `{host}`: no AuthConfig has it: 404, `Service not found`\n"));
                let near = self.near(host);
                if !near.is_empty() {
                    text.push_str("  hosts that are near:\n");
                }
                for (pattern, plan) in near {
                    text.push_str(&format!("    `{pattern}` of {}/{}\n", plan.namespace, plan.name));
                }
                if let Some(full) = self.full_name(host) {
                    text.push_str(&format!(
                        "  short names of the Service `{full}` count with `hostAliases: kubernetesService`\n"
                    ));
                }
            }
        }
        for lost in self.lost.iter().filter(|lost| fits(&lost.host)) {
            text.push_str(&format!("  {}\n", lost.words()));
        }
        text.push_str("  a context extension `host` takes the place of the host of the request, even if it is empty\n");
        if self.has_routes {
            text.push_str("  AuthConfigs with `routes` come first, where the gateway names the route\n");
        }
        text
    }

    /// The pattern that leads somewhere, and where to.
    fn find(&self, host: &str) -> Option<(HostPattern, &Plan)> {
        claims(host).into_iter().find_map(|pattern| {
            let plan = self.plans.get(&pattern)?;
            Some((pattern, plan.as_ref()))
        })
    }

    /// The host of a Kubernetes Service of which this one is a shorter name.
    fn full_name(&self, host: &str) -> Option<&str> {
        let wanted = Host::parse(host).name;
        self.plans.keys().find_map(|pattern| match pattern {
            HostPattern::Exact(name) => {
                let rest = name.strip_prefix(&*wanted)?.strip_prefix('.')?;
                (rest.starts_with("svc.") || rest.contains(".svc.") || wanted.ends_with(".svc"))
                    .then_some(name.as_str())
            }
            HostPattern::Wildcard(_) => None,
        })
    }

    /// Hosts that somebody may have meant: spelled almost the same, or beginning in the same way.
    fn near(&self, host: &str) -> Vec<(&HostPattern, &Plan)> {
        let wanted = Host::parse(host).name.into_owned();
        let first = |name: &str| name.split(['.', ':']).next().unwrap_or_default().to_owned();
        let mut near: Vec<_> = self
            .plans
            .iter()
            .filter_map(|(pattern, plan)| {
                let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = pattern;
                let distance = distance(&wanted, name);
                let is_near = distance <= (wanted.chars().count() / 4).max(2) || first(&wanted) == first(name);
                is_near.then_some((distance, pattern, plan.as_ref()))
            })
            .collect();
        near.sort_by_key(|(distance, pattern, _)| (*distance, *pattern));
        near.into_iter().take(MOST_NEAR).map(|(_, pattern, plan)| (pattern, plan)).collect()
    }
}

impl Lost {
    fn words(&self) -> String {
        let Self { id, host, owner, is_shared, is_listed } = self;
        match (owner, is_shared, is_listed) {
            (_, true, true) => format!("AuthConfig {id} lists `{host}`, a short name of an older one"),
            (_, true, false) => format!("`{host}` is a short name of AuthConfig {id}"),
            (Some(owner), false, _) => format!("AuthConfig {id} claims `{host}` in vain: it belongs to {owner}"),
            (None, false, _) => format!("AuthConfig {id} claims `{host}` in vain"),
        }
    }
}

/// What may be claimed that covers a host, in the order of a lookup.
fn claims(host: &str) -> Vec<HostPattern> {
    Host::parse(host).candidates().map(HostPattern::from).collect()
}

fn lost_hosts(report: &Report) -> impl Iterator<Item = Lost> {
    report.lost.iter().filter_map(|contest| match &contest.place {
        Place::Host(host) => Some(Lost {
            id: report.id.to_string(),
            host: host.clone(),
            owner: contest.other.as_ref().map(ToString::to_string),
            is_shared: contest.is_shared,
            is_listed: contest.field == "spec.hosts",
        }),
        Place::Route(_) => None,
    })
}

/// How many letters have to be put in, taken out or exchanged; of very long names only the beginnings count.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 300;
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().take(LONGEST).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = vec![before];
        for (other, above) in right.iter().zip(row.iter().skip(1)) {
            let exchanged = diagonal + usize::from(letter != *other);
            diagonal = *above;
            before = exchanged.min(before + 1).min(above + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use usher_engine::{PlanIndex, Request, RequestParts};

    use super::*;
    use crate::commands::options::tests::of_files;

    const CONFIG: &str = "\
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.example.com, '*.shop.example.com', 'admin.example.com:8443']
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: late, namespace: web}
spec:
  hosts: [shop.example.com, pets.web.svc.cluster.local]
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: one, namespace: one}
spec: {hosts: [api.one.svc.cluster.local], hostAliases: kubernetesService}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: cart, namespace: web}
spec: {hosts: [cart.web.svc.cluster.local], hostAliases: kubernetesService}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: two, namespace: two}
spec: {hosts: [api.two.svc.cluster.local], hostAliases: kubernetesService}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: lister, namespace: lists}
spec: {hosts: [cart]}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: broken, namespace: web}
spec:
  hosts: [broken.example.com]
  when: [{patternRef: nowhere}]
";

    fn hosts() -> (tempfile::TempDir, Hosts) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, CONFIG).unwrap();
        let (files, config) = of_files(&file);
        (folder, Hosts::load(&files, &config).unwrap())
    }

    #[test]
    fn a_host_is_told_with_its_reason() {
        let (_folder, hosts) = hosts();
        for (host, expected) in [
            (
                "shop.example.com",
                "host `shop.example.com`: AuthConfig web/shop decides, by `shop.example.com`\n  AuthConfig \
                 web/late claims `shop.example.com` in vain: it belongs to web/shop\n",
            ),
            ("SHOP.example.com.:80", "decides, by `shop.example.com`"),
            ("a.b.shop.example.com", "AuthConfig web/shop decides, by `*.shop.example.com`, a wildcard"),
            ("admin.example.com:8443", "by `admin.example.com:8443`"),
            (
                "admin.example.com:80",
                "no AuthConfig has it: 404, `Service not found`\n  hosts that are near:\n    \
                 `admin.example.com:8443` of web/shop\n",
            ),
            ("shoop.example.com", "hosts that are near:\n    `shop.example.com` of web/shop\n"),
            (
                "pets",
                "hosts that are near:\n    `pets.web.svc.cluster.local` of web/late\n  short names of the Service \
                 `pets.web.svc.cluster.local` count with `hostAliases: kubernetesService`\n",
            ),
            (
                "broken.example.com",
                "host `broken.example.com`: AuthConfig web/broken has it, by `broken.example.com`; with what is here it answers 503, because ",
            ),
            (
                "api:8080",
                "host `api:8080`: 503, because `api` is a short name that several AuthConfigs claim\n  `api` is a short name of AuthConfig one/one\n  `api` is a short name of AuthConfig two/two\n",
            ),
            (
                "cart",
                "host `cart`: 503, because `cart` is a short name that several AuthConfigs claim\n  `cart` is a short name of AuthConfig web/cart\n  AuthConfig lists/lister lists `cart`, a short name of an older one\n",
            ),
            ("api.one", "AuthConfig one/one decides, by `api.one`\n"),
            ("elsewhere.test", "no AuthConfig has it: 404, `Service not found`\n  a context extension"),
        ] {
            let told = hosts.tell(host);
            assert!(told.contains(expected), "{host}: {told}");
        }
    }

    #[test]
    fn hosts_lead_where_a_server_leads_them() {
        let (_folder, hosts) = hosts();
        let index = PlanIndex::default();
        index.publish(hosts.plans.iter().map(|(host, plan)| (host.clone(), Some(std::sync::Arc::clone(plan)))));
        for host in [
            "shop.example.com",
            "Shop.Example.com:1",
            "x.shop.example.com:443",
            "admin.example.com",
            "admin.example.com:8443",
            "admin.example.com:08443",
            "",
            "x",
            "[::1]:80",
            "a..b",
            "shop.example.com:",
        ] {
            let name = |plan: &Plan| plan.name.to_string();
            let parts = RequestParts { host: host.to_owned(), ..RequestParts::default() };
            let found = index.find(&Request::new(parts)).map(|plan| name(&plan));
            assert_eq!(hosts.find(host).map(|(_, plan)| name(plan)), found, "{host}");
        }
    }

    #[test]
    fn letters_are_counted() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("shop", "shoop", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
