//! Which configuration serves which host.
//!
//! Several configurations may claim one host, or hosts that cover each other. The oldest claim wins: a claim is *loose*
//! as long as an older linked claim of another configuration covers its host, and it is linked as soon as that one
//! goes. A host without a port also covers the same host with one, against configurations of other owners: gateways
//! choose the way by the host alone, and clients may write any port.
//!
//! Short names of hosts give way: one is linked only as long as nobody claims it as a host, and it is the short name of
//! no other configuration. If it is, it is *shared*: it says too little to tell whose it is, so it is nobody's. So is a
//! host that is an older short name of another owner: it would take requests from that.
//!
//! A change is worked out for the hosts that it can touch, not for all.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    ops::Bound,
};

use usher_engine::host::{Host, HostPattern};

use crate::AuthConfigId;

/// The age of a configuration: earlier sorts first. No two configurations have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// When the object was created, RFC 3339, where the source of configuration knows.
    pub created: Option<String>,
    /// Who comes first of those that were created in the same second. Replicas see them in different orders, and must
    /// not serve different ones of them.
    pub id: Option<AuthConfigId>,
    /// In which order objects were first seen, where nothing else tells them apart.
    pub seen: u64,
}

/// Who claims hosts.
pub trait Claimant: Clone + Ord + Hash {
    /// Whether both are in the hands of the same people.
    fn has_owner_of(&self, other: &Self) -> bool;
}

impl Claimant for AuthConfigId {
    fn has_owner_of(&self, other: &Self) -> bool {
        self.namespace == other.namespace
    }
}

/// All claims.
#[derive(Debug)]
pub struct Claims<Id> {
    /// Whether a host that an older configuration only covers with a wildcard may be claimed by a newer one.
    allow_superseding_host_subsets: bool,
    claims: BTreeMap<Key, Vec<Claim<Id>>>,
    /// The names that are short names of several configurations.
    shared: BTreeSet<Key>,
    /// The loose claims that each configuration stands in the way of.
    in_the_way: HashMap<Id, BTreeSet<(Key, Id)>>,
}

#[derive(Debug, Clone)]
struct Claim<Id> {
    age: Age,
    id: Id,
    is_short_name: bool,
    /// The configuration whose claim makes this one loose. None: it is linked.
    taken_by: Option<Id>,
}

/// The hosts that a configuration claims, and their short names. No name is twice among them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// Hosts.
    pub hosts: &'a [HostPattern],
    /// Short names of these hosts.
    pub short_names: &'a [HostPattern],
}

impl<'a> Names<'a> {
    /// All of them, and which of them are short names.
    fn iter(self) -> impl Iterator<Item = (&'a HostPattern, bool)> {
        let hosts = self.hosts.iter().map(|host| (host, false));
        hosts.chain(self.short_names.iter().map(|name| (name, true)))
    }
}

/// A claim whose turn comes to be decided about.
struct Turn<Id> {
    is_short_name: bool,
    age: Age,
    key: Key,
    id: Id,
    /// Whose claim made it loose until now.
    before: Option<Id>,
}

/// What a change of claims may have changed.
#[derive(Debug)]
pub struct Touched<Id> {
    /// The hosts whose owner may be another one now.
    pub hosts: Vec<HostPattern>,
    /// The configurations that have won or lost a host, or that have another rival now.
    pub configurations: BTreeSet<Id>,
}

/// A host, sorted so that all hosts below a name are neighbours: labels from the last to the first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    reversed: String,
    wildcard: bool,
    port: String,
}

impl<Id> Claims<Id> {
    /// No claims yet.
    #[must_use]
    pub fn new(allow_superseding_host_subsets: bool) -> Self {
        Self {
            allow_superseding_host_subsets,
            claims: BTreeMap::new(),
            shared: BTreeSet::new(),
            in_the_way: HashMap::new(),
        }
    }
}

impl<Id: Claimant> Claims<Id> {
    /// Replaces the hosts that a configuration claims, and says what that may have changed.
    pub fn replace(&mut self, id: &Id, age: &Age, before: Names<'_>, after: Names<'_>) -> Touched<Id> {
        let mut touched = BTreeSet::new();
        let mut configurations = BTreeSet::new();
        let kept: BTreeSet<_> = after.iter().map(|(pattern, _)| pattern).collect();
        for (pattern, _) in before.iter() {
            let key = Key::of(pattern);
            if !kept.contains(pattern) {
                let claims = self.claims.get_mut(&key).into_iter();
                let gone = claims.flat_map(|claims| claims.extract_if(.., |claim| claim.id == *id)).collect::<Vec<_>>();
                for winner in gone.into_iter().filter_map(|claim| claim.taken_by) {
                    self.no_longer_in_the_way(&winner, &key, id);
                    configurations.insert(winner);
                }
            }
            self.covered_by(&key, &mut touched);
        }
        for (pattern, is_short_name) in after.iter() {
            let key = Key::of(pattern);
            let claims = self.claims.entry(key.clone()).or_default();
            match claims.binary_search_by(|claim| claim.age.cmp(age)) {
                Err(place) => {
                    claims.insert(place, Claim { age: age.clone(), id: id.clone(), is_short_name, taken_by: None })
                }
                Ok(place) => claims.get_mut(place).into_iter().for_each(|claim| claim.is_short_name = is_short_name),
            }
            self.covered_by(&key, &mut touched);
        }
        self.link(&touched, &mut configurations);
        for key in &touched {
            if self.claims.get(key).is_some_and(Vec::is_empty) {
                self.claims.remove(key);
            }
        }
        Touched { hosts: touched.iter().map(Key::pattern).collect(), configurations }
    }

    /// Who serves exactly this claimed host.
    pub fn owner(&self, pattern: &HostPattern) -> Option<&Id> {
        self.claims.get(&Key::of(pattern))?.iter().find(|claim| claim.is_linked()).map(|claim| &claim.id)
    }

    /// Of the configurations that share this short name, so that it is nobody's, the oldest. None if they do not.
    pub fn shared_by(&self, pattern: &HostPattern) -> Option<&Id> {
        let key = Key::of(pattern);
        if !self.shared.contains(&key) {
            return None;
        }
        self.claims.get(&key)?.iter().find(|claim| claim.is_short_name).map(|claim| &claim.id)
    }

    /// Whose claim makes the claim of a configuration on exactly this host loose. None if it is not loose.
    pub fn taken_by(&self, pattern: &HostPattern, id: &Id) -> Option<&Id> {
        self.claims.get(&Key::of(pattern))?.iter().find(|claim| claim.id == *id)?.taken_by.as_ref()
    }

    /// The loose claims of others that a configuration stands in the way of.
    pub fn wanted_by_others(&self, id: &Id) -> impl Iterator<Item = (HostPattern, &Id)> {
        self.in_the_way.get(id).into_iter().flatten().map(|(key, id)| (key.pattern(), id))
    }

    fn no_longer_in_the_way(&mut self, winner: &Id, key: &Key, loser: &Id) {
        if let Some(losers) = self.in_the_way.get_mut(winner) {
            losers.remove(&(key.clone(), loser.clone()));
            if losers.is_empty() {
                self.in_the_way.remove(winner);
            }
        }
    }

    /// The key itself and every claimed host that its lookup would cover.
    fn covered_by(&self, key: &Key, touched: &mut BTreeSet<Key>) {
        touched.insert(key.clone());
        if !key.wildcard {
            if key.port.is_empty() {
                let with_ports = self.claims.range((Bound::Excluded(key), Bound::Unbounded)).map(|(other, _)| other);
                let of_host = |other: &&Key| other.reversed == key.reversed && !other.wildcard;
                touched.extend(with_ports.take_while(of_host).cloned());
            }
            return;
        }
        let from = Key { reversed: key.reversed.clone(), wildcard: false, port: String::new() };
        for other in self.claims.range((Bound::Included(from), Bound::Unbounded)).map(|(other, _)| other) {
            if !other.is_at_or_below(&key.reversed) {
                break;
            }
            touched.insert(other.clone());
        }
    }

    /// Decides for these hosts which claims are linked: hosts before short names, and of these the oldest claim first.
    fn link(&mut self, keys: &BTreeSet<Key>, configurations: &mut BTreeSet<Id>) {
        let mut turns = Vec::new();
        for key in keys {
            for claim in self.claims.get_mut(key).into_iter().flatten() {
                // None of them counts before it is its turn: what counts was decided before.
                let before = claim.taken_by.replace(claim.id.clone());
                let (age, id) = (claim.age.clone(), claim.id.clone());
                turns.push(Turn { is_short_name: claim.is_short_name, age, key: key.clone(), id, before });
            }
        }
        turns.sort_by(|left, right| {
            (left.is_short_name, &left.age, &left.key).cmp(&(right.is_short_name, &right.age, &right.key))
        });
        for Turn { is_short_name, age, key, id, .. } in &turns {
            let taken_by =
                if *is_short_name { self.in_the_way_of_short_name(key, age, id) } else { self.older(key, age, id) };
            if let Some(claim) = self.claim_mut(key, age) {
                claim.taken_by = taken_by;
            }
        }
        for key in keys {
            self.share(key);
        }
        for Turn { age, key, id, before, .. } in turns {
            let taken_by = self.claim_mut(&key, &age).and_then(|claim| claim.taken_by.clone());
            if before != taken_by {
                if let Some(winner) = &before {
                    self.no_longer_in_the_way(winner, &key, &id);
                }
                if let Some(winner) = &taken_by {
                    self.in_the_way.entry(winner.clone()).or_default().insert((key, id.clone()));
                }
                configurations.extend([Some(id), before, taken_by].into_iter().flatten());
            }
        }
    }

    /// Very many may claim one host: they are sorted by age, and no two have the same.
    fn claim_mut(&mut self, key: &Key, age: &Age) -> Option<&mut Claim<Id>> {
        let claims = self.claims.get_mut(key)?;
        let found = claims.binary_search_by(|claim| claim.age.cmp(age)).ok()?;
        claims.get_mut(found)
    }

    /// Whose older claim makes that of a host loose.
    fn older(&self, key: &Key, age: &Age, id: &Id) -> Option<Id> {
        if let Some(owner) = self.short_name_without_port(key, age, id) {
            return Some(owner.clone());
        }
        let (covering, owner) = self.covering(key, age, id)?;
        let is_in_the_way = owner != id && (covering == *key || !self.allow_superseding_host_subsets);
        is_in_the_way.then(|| owner.clone())
    }

    /// From whose older short name a host with a port would take requests.
    fn short_name_without_port(&self, key: &Key, age: &Age, id: &Id) -> Option<&Id> {
        let bare = key.without_port().filter(|_| !self.allow_superseding_host_subsets)?;
        let mut claims = self.claims.get(&bare)?.iter();
        claims
            .find(|claim| claim.is_short_name && claim.age < *age && !claim.id.has_owner_of(id))
            .map(|claim| &claim.id)
    }

    /// Whose claim makes that of a short name loose, other short names left out.
    fn in_the_way_of_short_name(&self, key: &Key, age: &Age, id: &Id) -> Option<Id> {
        let mut claims = self.claims.get(key).into_iter().flatten();
        match claims.find(|claim| claim.is_linked() && !claim.is_short_name) {
            Some(claim) => Some(claim.id.clone()),
            None => self.older(key, age, id),
        }
    }

    /// Decides whether a name is nobody's: it is the short name of several, also if some of them are loose for another
    /// reason; or it is a host of one, and an older short name of another owner.
    fn share(&mut self, key: &Key) {
        let Some(claims) = self.claims.get_mut(key) else { return };
        let short_names = || claims.iter().filter(|claim| claim.is_short_name);
        let rivals: Vec<_> = match claims.iter().find(|claim| claim.is_linked()) {
            None => Vec::new(),
            Some(served) if served.is_short_name => {
                let others = short_names().filter(|claim| claim.id != served.id);
                others.map(|claim| claim.id.clone()).collect()
            }
            Some(host) => {
                let older = short_names().filter(|claim| claim.age < host.age && !claim.id.has_owner_of(&host.id));
                older.map(|claim| claim.id.clone()).collect()
            }
        };
        let Some(first) = rivals.first() else {
            self.shared.remove(key);
            return;
        };
        // Of short names there may be several; each of the others is in the way of the first one, and that of them.
        let served: Vec<_> = claims.iter().filter(|claim| claim.is_linked()).map(|claim| claim.id.clone()).collect();
        for claim in claims.iter_mut().filter(|claim| claim.is_linked()) {
            let other = if claim.id == *first { served.iter().find(|id| **id != claim.id) } else { Some(first) };
            claim.taken_by = Some(other.unwrap_or(first).clone());
        }
        self.shared.insert(key.clone());
    }

    /// The most specific linked host, claimed earlier, that a lookup of this one would find.
    fn covering(&self, key: &Key, age: &Age, id: &Id) -> Option<(Key, &Id)> {
        key.find_covering(|covering| {
            let mut claims = self.claims.get(&covering)?.iter();
            let claim = claims.find(|claim| claim.is_linked() && !claim.is_short_name && claim.age < *age)?;
            // One owner may tell the ports of a host apart.
            let is_other_port = !covering.wildcard && covering != *key;
            (!is_other_port || !claim.id.has_owner_of(id)).then_some((covering, &claim.id))
        })
    }
}

impl<Id> Claim<Id> {
    fn is_linked(&self) -> bool {
        self.taken_by.is_none()
    }
}

/// Sorts before every character that a host can have, so that all hosts below a name follow it at once.
const SEPARATOR: char = '\u{1}';

impl Key {
    fn of(pattern: &HostPattern) -> Self {
        let (text, wildcard) = match pattern {
            HostPattern::Exact(text) => (text, false),
            HostPattern::Wildcard(text) => (text, true),
        };
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (text.as_str(), ""),
        };
        Self { reversed: reverse(name), wildcard, port: port.to_owned() }
    }

    fn pattern(&self) -> HostPattern {
        let name = if self.reversed.starts_with('[') {
            self.reversed.clone()
        } else {
            self.reversed.split(SEPARATOR).rev().collect::<Vec<_>>().join(".")
        };
        let text = if self.port.is_empty() { name } else { format!("{name}:{}", self.port) };
        if self.wildcard { HostPattern::Wildcard(text) } else { HostPattern::Exact(text) }
    }

    fn is_at_or_below(&self, reversed: &str) -> bool {
        reversed.is_empty()
            || self.reversed.strip_prefix(reversed).is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
    }

    /// The same host without its port, if it has one and is no wildcard.
    fn without_port(&self) -> Option<Self> {
        (!self.wildcard && !self.port.is_empty()).then(|| Self { port: String::new(), ..self.clone() })
    }

    /// The most specific of what covers this host, itself included, for which there is something. What covers a wildcard are
    /// wildcards.
    fn find_covering<T>(&self, mut found: impl FnMut(Self) -> Option<T>) -> Option<T> {
        let (HostPattern::Exact(host) | HostPattern::Wildcard(host)) = self.pattern();
        Host::parse(&host)
            .candidates()
            .map(|candidate| Self::of(&candidate.into()))
            .find_map(|key| if key.wildcard || !self.wildcard { found(key) } else { None })
    }
}

fn reverse(name: &str) -> String {
    if name.starts_with('[') {
        return name.to_owned();
    }
    name.split('.').rev().collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// What stands before the slash.
    impl Claimant for &'static str {
        fn has_owner_of(&self, other: &Self) -> bool {
            let owner = |id: &'static str| id.split_once('/').map_or("", |(owner, _)| owner);
            owner(self) == owner(other)
        }
    }

    impl Claimant for u8 {
        fn has_owner_of(&self, other: &Self) -> bool {
            self % 2 == other % 2
        }
    }

    fn hosts(texts: &[&str]) -> Vec<HostPattern> {
        texts.iter().map(|text| HostPattern::parse(text).unwrap()).collect()
    }

    fn named<'a>(hosts: &'a [HostPattern], short_names: &'a [HostPattern]) -> Names<'a> {
        Names { hosts, short_names }
    }

    fn age(seen: u64) -> Age {
        Age { created: None, id: None, seen }
    }

    /// Configurations in order of age, and which of their hosts are theirs.
    fn linked(superseding: bool, configs: &[(&'static str, &[&str])]) -> Vec<String> {
        let mut claims = Claims::new(superseding);
        for (seen, (id, texts)) in configs.iter().enumerate() {
            claims.replace(id, &age(seen as u64), Names::default(), named(&hosts(texts), &[]));
        }
        let mut linked = Vec::new();
        for (id, texts) in configs {
            for text in *texts {
                if claims.owner(&HostPattern::parse(text).unwrap()) == Some(id) {
                    linked.push(format!("{id} {text}"));
                }
            }
        }
        linked
    }

    #[test]
    fn the_oldest_claim_wins() {
        type Case<'a> = (bool, &'a [(&'static str, &'a [&'a str])], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (false, &[("x", &["api.acme.com"]), ("y", &["api.acme.com"])], &["x api.acme.com"]),
            (false, &[("x", &["*.acme.com"]), ("y", &["api.acme.com"])], &["x *.acme.com"]),
            (false, &[("x", &["*.acme.com"]), ("y", &["acme.com"])], &["x *.acme.com"]),
            (false, &[("x", &["*.acme.com"]), ("y", &["*.api.acme.com"])], &["x *.acme.com"]),
            (false, &[("x", &["api.acme.com"]), ("y", &["*.acme.com"])], &["x api.acme.com", "y *.acme.com"]),
            (false, &[("x", &["*"]), ("y", &["foo.bar"])], &["x *"]),
            (false, &[("x", &["api.acme.com"]), ("y", &["api.acme.com:80"])], &["x api.acme.com", "y api.acme.com:80"]),
            (false, &[("x", &["*.acme.com"]), ("y", &["api.acme.com:80"])], &["x *.acme.com"]),
            (false, &[("a/x", &["api.acme.com"]), ("b/y", &["api.acme.com:80"])], &["a/x api.acme.com"]),
            (
                true,
                &[("a/x", &["api.acme.com"]), ("b/y", &["api.acme.com:80"])],
                &["a/x api.acme.com", "b/y api.acme.com:80"],
            ),
            (
                false,
                &[("b/y", &["api.acme.com:80"]), ("a/x", &["api.acme.com"])],
                &["b/y api.acme.com:80", "a/x api.acme.com"],
            ),
            (false, &[("x", &["api.acme.com"]), ("y", &["x.api.acme.com"])], &["x api.acme.com", "y x.api.acme.com"]),
            (false, &[("x", &["a.com"]), ("y", &["a.com", "b.com"])], &["x a.com", "y b.com"]),
            (false, &[("x", &["*.acme.com", "api.acme.com"])], &["x *.acme.com", "x api.acme.com"]),
            (true, &[("x", &["*.io"]), ("y", &["echo-api.io"])], &["x *.io", "y echo-api.io"]),
            (true, &[("x", &["echo-api.io"]), ("y", &["echo-api.io"])], &["x echo-api.io"]),
            (
                true,
                &[("x", &["*.acme.com"]), ("y", &["acme.com", "*.api.acme.com"])],
                &["x *.acme.com", "y acme.com", "y *.api.acme.com"],
            ),
            (true, &[("x", &["*"]), ("y", &["foo.bar"])], &["x *", "y foo.bar"]),
        ];
        for (superseding, configs, expected) in cases {
            assert_eq!(linked(*superseding, configs), *expected, "{superseding} {configs:?}");
        }
    }

    #[test]
    fn a_loose_claim_is_linked_when_the_winner_goes() {
        let mut claims = Claims::new(false);
        claims.replace(&"x", &age(0), Names::default(), named(&hosts(&["*.acme.com"]), &[]));
        claims.replace(&"y", &age(1), Names::default(), named(&hosts(&["api.acme.com", "*.b.acme.com"]), &[]));
        claims.replace(&"z", &age(2), Names::default(), named(&hosts(&["c.b.acme.com"]), &[]));
        assert_eq!(claims.owner(&HostPattern::Exact("api.acme.com".to_owned())), None);
        let wanted = |claims: &Claims<&'static str>, id| {
            claims.wanted_by_others(&id).map(|(host, id)| format!("{host} {id}")).collect::<Vec<_>>()
        };
        assert_eq!(wanted(&claims, "x"), ["api.acme.com y", "*.b.acme.com y", "c.b.acme.com z"]);
        assert_eq!(claims.taken_by(&HostPattern::Wildcard("b.acme.com".to_owned()), &"y"), Some(&"x"));
        let touched = claims.replace(&"x", &age(0), named(&hosts(&["*.acme.com"]), &[]), Names::default());
        assert_eq!(touched.configurations, ["x", "y", "z"].into());
        assert_eq!((wanted(&claims, "x"), wanted(&claims, "y")), (vec![], vec!["c.b.acme.com z".to_owned()]));
        assert_eq!(touched.hosts, hosts(&["*.acme.com", "api.acme.com", "*.b.acme.com", "c.b.acme.com"]));
        assert_eq!(claims.owner(&HostPattern::Exact("api.acme.com".to_owned())), Some(&"y"));
        assert_eq!(claims.owner(&HostPattern::Wildcard("b.acme.com".to_owned())), Some(&"y"));
        assert_eq!(claims.owner(&HostPattern::Exact("c.b.acme.com".to_owned())), None);
        let touched = claims.replace(&"z", &age(2), named(&hosts(&["c.b.acme.com"]), &[]), Names::default());
        assert_eq!(touched.configurations, ["y"].into());
        assert!(claims.in_the_way.is_empty());
    }

    #[test]
    fn short_names_give_way_and_shared_ones_are_nobodys() {
        /// Hosts and short names.
        type Given<'a> = (&'a [&'a str], &'a [&'a str]);
        let mut claims = Claims::new(false);
        let shop = HostPattern::Exact("shop".to_owned());
        let set = |claims: &mut Claims<&'static str>, id, seen, before: Given<'_>, after: Given<'_>| {
            let [old, new] = [before, after].map(|(names, short_names)| (hosts(names), hosts(short_names)));
            let touched = claims.replace(&id, &age(seen), named(&old.0, &old.1), named(&new.0, &new.1));
            touched.configurations.into_iter().collect::<Vec<_>>()
        };
        let (none, short_name): (Given<'_>, Given<'_>) = ((&[], &[]), (&[], &["shop"]));
        set(&mut claims, "x", 0, none, short_name);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (Some(&"x"), None));
        assert_eq!(set(&mut claims, "y", 1, none, short_name), ["x", "y"]);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (None, Some(&"x")));
        assert_eq!((claims.taken_by(&shop, &"x"), claims.taken_by(&shop, &"y")), (Some(&"y"), Some(&"x")));
        // A host comes before short names of its owner, however old they are, and takes nothing from others.
        assert_eq!(set(&mut claims, "z", 2, none, (&["shop"], &[])), ["x", "y", "z"]);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (Some(&"z"), None));
        let port = HostPattern::Exact("shop:80".to_owned());
        set(&mut claims, "other/host", 9, none, (&["shop", "shop:80"], &[]));
        assert_eq!((claims.owner(&shop), claims.owner(&port)), (Some(&"z"), None));
        set(&mut claims, "z", 2, (&["shop"], &[]), none);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop), claims.owner(&port)), (None, Some(&"x"), None));
        set(&mut claims, "other/host", 9, (&["shop", "shop:80"], &[]), none);
        set(&mut claims, "z", 2, none, (&["shop"], &[]));
        set(&mut claims, "z", 2, (&["shop"], &[]), none);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (None, Some(&"x")));
        set(&mut claims, "y", 1, short_name, none);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (Some(&"x"), None));
        // A short name becomes a host.
        set(&mut claims, "x", 0, short_name, (&["shop"], &[]));
        set(&mut claims, "y", 1, none, short_name);
        assert_eq!((claims.owner(&shop), claims.taken_by(&shop, &"y")), (Some(&"x"), Some(&"x")));
        set(&mut claims, "y", 1, short_name, none);
        set(&mut claims, "x", 0, (&["shop"], &[]), none);
        assert!(claims.claims.is_empty() && claims.in_the_way.is_empty() && claims.shared.is_empty());
        // One that a wildcard covers still says that the name is not the other's alone.
        set(&mut claims, "x", 0, none, short_name);
        set(&mut claims, "w", 1, none, (&["*"], &[]));
        set(&mut claims, "y", 2, none, short_name);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (None, Some(&"x")));
        assert_eq!((claims.taken_by(&shop, &"x"), claims.taken_by(&shop, &"y")), (Some(&"y"), Some(&"w")));
        set(&mut claims, "y", 2, short_name, none);
        assert_eq!((claims.owner(&shop), claims.shared_by(&shop)), (Some(&"x"), None));
        set(&mut claims, "w", 1, (&["*"], &[]), none);
        set(&mut claims, "x", 0, short_name, none);
        // What an older wildcard covers is not free.
        set(&mut claims, "x", 0, none, (&["*"], &[]));
        set(&mut claims, "y", 1, none, short_name);
        assert_eq!((claims.owner(&shop), claims.taken_by(&shop, &"y")), (None, Some(&"x")));
    }

    proptest! {
        /// Working a change out for what it touches gives the same as working everything out anew.
        #[test]
        fn changes_agree_with_starting_anew(
            superseding: bool,
            steps in proptest::collection::vec(
                (
                    0_u8..4,
                    proptest::collection::btree_set("(\\*\\.)?([ab]\\.){0,2}[abc](:1)?|\\*", 0..4),
                    proptest::collection::btree_set("([ab]\\.)?[abc](:1)?", 0..3),
                ),
                1..12,
            ),
        ) {
            let mut claims = Claims::new(superseding);
            let mut current: HashMap<u8, (Vec<HostPattern>, Vec<HostPattern>)> = HashMap::new();
            for (id, texts, short_names) in steps {
                let [after, mut short_names] =
                    [texts, short_names].map(|texts| hosts(&texts.iter().map(String::as_str).collect::<Vec<_>>()));
                short_names.retain(|short_name| !after.contains(short_name));
                let before = current.insert(id, (after.clone(), short_names.clone())).unwrap_or_default();
                claims.replace(&id, &age(u64::from(id)), named(&before.0, &before.1), named(&after, &short_names));

                let mut anew = Claims::new(superseding);
                for id in 0..4 {
                    let names = current.get(&id).map_or(Names::default(), |(hosts, short_names)| named(hosts, short_names));
                    anew.replace(&id, &age(u64::from(id)), Names::default(), names);
                }
                for pattern in current.values().flat_map(|(hosts, short_names)| hosts.iter().chain(short_names)) {
                    prop_assert_eq!(claims.owner(pattern), anew.owner(pattern), "{}", pattern);
                    prop_assert_eq!(claims.shared_by(pattern), anew.shared_by(pattern), "{}", pattern);
                }
                prop_assert_eq!(&claims.in_the_way, &anew.in_the_way);
                prop_assert_eq!(&claims.shared, &anew.shared);
            }
        }
    }
}
