//! What became of an AuthConfig, and how its `status` says so.

use usher_api::{AuthConfig, AuthConfigCondition, AuthConfigStatus, AuthConfigSummary};
use usher_engine::index::Place;
use usher_evaluators::Problem;

use crate::AuthConfigId;

/// What became of an AuthConfig.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Which one.
    pub id: AuthConfigId,
    /// Whether the AuthConfig itself, or a Secret that it names, has changed. If not, others have won or lost hosts.
    pub is_news: bool,
    /// What is served.
    pub state: State,
    /// What is wrong with what was given last.
    pub problems: Vec<Problem>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Problem>,
    /// The hosts that lead to it.
    pub linked_hosts: Vec<String>,
    /// The routes that lead to it.
    pub linked_routes: Vec<String>,
    /// The hosts, other names of hosts, and routes that it claims in vain.
    pub lost: Vec<Contest>,
    /// The hosts that younger AuthConfigs claim in vain because of this one; at most [`MOST_CONTESTS`].
    pub wanted_hosts: Vec<Contest>,
    /// What was given last.
    pub given: Given,
    /// `metadata.generation` of what is served.
    pub served_generation: Option<i64>,
}

/// The most contests that are reported on the side of the winner.
pub const MOST_CONTESTS: usize = 20;

/// A host or route that two AuthConfigs claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// The host or route.
    pub place: Place,
    /// The field that claims it: `spec.hosts`, `spec.hostAliases` or `spec.routes`.
    pub field: &'static str,
    /// The other AuthConfig. None if nobody is served there.
    pub other: Option<AuthConfigId>,
    /// Whether it is nobody's: another name of a host that does not say which host is meant.
    pub is_shared: bool,
}

impl std::fmt::Display for Contest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, other, is_shared, .. } = self;
        match other {
            Some(other) if *is_shared => {
                write!(formatter, "`{place}` is nobody's: {other} claims it, too")
            }
            Some(other) => write!(formatter, "`{place}` belongs to {other}"),
            None => write!(formatter, "`{place}` belongs to nobody"),
        }
    }
}

/// What is served of an AuthConfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What was given last.
    Current,
    /// An earlier version; what was given last does not compile.
    Earlier,
    /// Nothing: no version compiled yet, and its hosts answer *undecidable*.
    Nothing,
    /// Nothing yet: it names a Secret of which nobody has said yet whether there is one. Its hosts answer *undecidable*.
    Waiting,
    /// It is gone.
    Gone,
}

/// An AuthConfig in numbers, as its author wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// `metadata.generation`
    pub generation: Option<i64>,
    /// Number of hosts.
    pub hosts: usize,
    /// Number of authentication rules; the implicit one does not count.
    pub authentication: usize,
    /// Number of metadata sources.
    pub metadata: usize,
    /// Number of authorization rules.
    pub authorization: usize,
    /// Number of headers and members of dynamic metadata that are added to allowed requests.
    pub response: usize,
    /// Whether one of these is a wristband.
    pub has_wristband: bool,
}

impl Given {
    pub(crate) fn of(auth_config: &AuthConfig) -> Self {
        let spec = &auth_config.spec;
        let success = spec.response.as_ref().and_then(|response| response.success.as_ref());
        let items = || {
            success.into_iter().flat_map(|success| success.headers.values().chain(success.dynamic_metadata.values()))
        };
        Self {
            generation: auth_config.metadata.generation,
            hosts: spec.hosts.len(),
            authentication: spec.authentication.len(),
            metadata: spec.metadata.len(),
            authorization: spec.authorization.len(),
            response: items().count(),
            has_wristband: items().any(|item| item.wristband.is_some()),
        }
    }
}

/// The most problems, and the most hosts, that one message tells of.
const MOST_TOLD: usize = 10;

/// The longest message, in bytes: statuses are stored by the Kubernetes API, and shown in tables.
const LONGEST_MESSAGE: usize = 4096;

impl Report {
    /// `status` of the AuthConfig, without the times of transitions.
    ///
    /// | condition | status, reason |
    /// |---|---|
    /// | `Available` | `True`, `HostsLinked`: some host is served. `False`, `HostsNotLinked` |
    /// | `Ready` | `True`, `Reconciled`. `False`, `Invalid`: what was given last does not compile; with `Available`, an earlier version serves on. `False`, `HostsNotLinked`: hosts belong to older AuthConfigs. `False`, `Reconciling` |
    /// | `HostConflict` | there only if it is `True`. `HostTaken`: hosts belong to older AuthConfigs. `HostWanted`: younger ones claim hosts of this one |
    /// | `Warnings` | there only if it is `True`. `Doubtful`: something works, but probably not as meant |
    #[must_use]
    pub fn status(&self) -> AuthConfigStatus {
        let is_served = matches!(self.state, State::Current | State::Earlier);
        let hosts_ready = if is_served { self.linked_hosts.clone() } else { Vec::new() };
        let (ready, reason, message) = match self.state {
            State::Current if self.lost.is_empty() => (true, "Reconciled", None),
            State::Current => {
                (false, "HostsNotLinked", Some("One or more hosts are not linked to the resource".to_owned()))
            }
            State::Earlier | State::Nothing => (false, "Invalid", Some(self.problems_as_message())),
            State::Waiting | State::Gone => (false, "Reconciling", None),
        };
        let is_available = !hosts_ready.is_empty() || (is_served && !self.linked_routes.is_empty());
        let available = match is_available {
            true => condition("Available", true, "HostsLinked", None),
            false => {
                condition("Available", false, "HostsNotLinked", Some("No hosts linked to the resource".to_owned()))
            }
        };
        let mut conditions = vec![available, condition("Ready", ready, reason, message)];
        conditions.extend(self.host_conflict());
        conditions.extend(self.doubts());
        let Given { hosts, authentication, metadata, authorization, response, has_wristband, generation } = self.given;
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        AuthConfigStatus {
            conditions,
            summary: Some(AuthConfigSummary {
                ready,
                num_hosts_ready: format!("{}/{hosts}", hosts_ready.len()),
                hosts_ready,
                num_identity_sources: count(authentication),
                num_metadata_sources: count(metadata),
                num_authorization_policies: count(authorization),
                num_response_items: count(response),
                festival_wristband_enabled: has_wristband,
            }),
            observed_generation: generation,
            served_generation: self.served_generation,
        }
    }

    fn problems_as_message(&self) -> String {
        let message = told(self.problems.iter().map(ToString::to_string), self.problems.len());
        let mut letters = message.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).collect()
    }

    fn host_conflict(&self) -> Option<AuthConfigCondition> {
        let taken = self.lost.iter().map(ToString::to_string);
        let wanted = self.wanted_hosts.iter().filter_map(|Contest { place, other, .. }| {
            other.as_ref().map(|other| format!("`{place}` is also claimed by {other}"))
        });
        let reason = match (self.lost.is_empty(), self.wanted_hosts.is_empty()) {
            (true, true) => return None,
            (true, false) => "HostWanted",
            (false, _) => "HostTaken",
        };
        let message = told(taken.chain(wanted), self.lost.len() + self.wanted_hosts.len());
        Some(condition("HostConflict", true, reason, Some(message)))
    }

    fn doubts(&self) -> Option<AuthConfigCondition> {
        let message = told(self.warnings.iter().map(ToString::to_string), self.warnings.len());
        (!self.warnings.is_empty()).then(|| condition("Warnings", true, "Doubtful", Some(message)))
    }
}

fn condition(kind: &str, status: bool, reason: &str, message: Option<String>) -> AuthConfigCondition {
    AuthConfigCondition {
        kind: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message,
        ..AuthConfigCondition::default()
    }
}

/// The first of several texts, and how many more there are.
fn told(texts: impl Iterator<Item = String>, count: usize) -> String {
    let mut message = texts.take(MOST_TOLD).collect::<Vec<_>>().join("; ");
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        message.push('…');
    }
    if count > MOST_TOLD {
        message.push_str(&format!("; and {} more", count - MOST_TOLD));
    }
    message
}

#[cfg(test)]
mod tests {
    use usher_engine::host::HostPattern;

    use super::*;

    fn report(state: State) -> Report {
        let given = Given { generation: Some(3), hosts: 2, authentication: 1, has_wristband: true, ..Given::default() };
        Report {
            id: AuthConfigId { namespace: "ns".into(), name: "a".into() },
            is_news: true,
            state,
            problems: Vec::new(),
            warnings: Vec::new(),
            linked_hosts: vec!["a.test".to_owned(), "b.test".to_owned()],
            linked_routes: Vec::new(),
            lost: Vec::new(),
            wanted_hosts: Vec::new(),
            given,
            served_generation: Some(3),
        }
    }

    /// `TYPE=STATUS/REASON: MESSAGE`, and how many hosts are ready.
    fn shown(report: &Report) -> (Vec<String>, String) {
        let status = report.status();
        let conditions = status.conditions.into_iter().map(|condition| {
            let message = condition.message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{}={}/{}{message}", condition.kind, condition.status, condition.reason.unwrap())
        });
        (conditions.collect(), status.summary.unwrap().num_hosts_ready)
    }

    fn contest(host: &str, other: Option<&str>) -> Contest {
        let other = other.map(|name| AuthConfigId { namespace: "ns".into(), name: name.into() });
        Contest { place: HostPattern::parse(host).unwrap().into(), field: "spec.hosts", other, is_shared: false }
    }

    #[test]
    fn the_conditions_say_what_is_served_and_why_not() {
        let problem = |path: &str, message: &str| Problem { path: path.to_owned(), message: message.to_owned() };
        let problems = || vec![problem("spec.a", "wrong"), problem("spec.b", "Secret \"s\" not found")];
        let not_available = "Available=False/HostsNotLinked: No hosts linked to the resource";
        let invalid = "Ready=False/Invalid: Spec.a: wrong; spec.b: Secret \"s\" not found";
        let loose = "Ready=False/HostsNotLinked: One or more hosts are not linked to the resource";
        let cases: [(Report, &[&str], &str); 10] = [
            (report(State::Current), &["Available=True/HostsLinked", "Ready=True/Reconciled"], "2/2"),
            (
                Report { problems: problems(), served_generation: Some(2), ..report(State::Earlier) },
                &["Available=True/HostsLinked", invalid],
                "2/2",
            ),
            (Report { problems: problems(), ..report(State::Nothing) }, &[not_available, invalid], "0/2"),
            (report(State::Waiting), &[not_available, "Ready=False/Reconciling"], "0/2"),
            (
                Report {
                    linked_hosts: vec!["a.test".to_owned()],
                    lost: vec![contest("b.test", Some("older"))],
                    ..report(State::Current)
                },
                &["Available=True/HostsLinked", loose, "HostConflict=True/HostTaken: `b.test` belongs to ns/older"],
                "1/2",
            ),
            (
                Report {
                    linked_hosts: Vec::new(),
                    lost: vec![contest("a.test", Some("older")), contest("b.test", None)],
                    wanted_hosts: vec![contest("c.test", Some("younger"))],
                    ..report(State::Current)
                },
                &[
                    not_available,
                    loose,
                    "HostConflict=True/HostTaken: `a.test` belongs to ns/older; `b.test` belongs to nobody; `c.test` is \
                     also claimed by ns/younger",
                ],
                "0/2",
            ),
            (
                Report {
                    linked_hosts: vec!["a.web.svc.cluster.local".to_owned()],
                    lost: vec![Contest { is_shared: true, field: "spec.hostAliases", ..contest("a", Some("other")) }],
                    given: Given { hosts: 1, ..Given::default() },
                    ..report(State::Current)
                },
                &[
                    "Available=True/HostsLinked",
                    loose,
                    "HostConflict=True/HostTaken: `a` is nobody's: ns/other claims it, too",
                ],
                "1/1",
            ),
            (
                Report {
                    linked_hosts: Vec::new(),
                    linked_routes: vec!["HTTPRoute/ns/web".to_owned()],
                    given: Given::default(),
                    ..report(State::Current)
                },
                &["Available=True/HostsLinked", "Ready=True/Reconciled"],
                "0/0",
            ),
            (
                Report { warnings: vec![problem("spec.c", "short key")], ..report(State::Current) },
                &["Available=True/HostsLinked", "Ready=True/Reconciled", "Warnings=True/Doubtful: spec.c: short key"],
                "2/2",
            ),
            (
                Report { wanted_hosts: vec![contest("x.a.test", Some("younger"))], ..report(State::Current) },
                &[
                    "Available=True/HostsLinked",
                    "Ready=True/Reconciled",
                    "HostConflict=True/HostWanted: `x.a.test` is also claimed by ns/younger",
                ],
                "2/2",
            ),
        ];
        for (report, conditions, ready) in cases {
            assert_eq!(shown(&report), (conditions.iter().map(|text| (*text).to_owned()).collect(), ready.to_owned()));
        }
    }

    #[test]
    fn the_summary_counts_what_was_given_last() {
        let report = Report { served_generation: Some(2), ..report(State::Earlier) };
        let status = serde_json::to_value(report.status()).unwrap();
        assert_eq!(status["observedGeneration"], 3);
        assert_eq!(status["servedGeneration"], 2);
        let summary = serde_json::json!({
            "ready": false, "hostsReady": ["a.test", "b.test"], "numHostsReady": "2/2", "numIdentitySources": 1,
            "numMetadataSources": 0, "numAuthorizationPolicies": 0, "numResponseItems": 0,
            "festivalWristbandEnabled": true,
        });
        assert_eq!(status["summary"], summary);
    }

    #[test]
    fn messages_are_of_bounded_length() {
        let problems = (0..40).map(|number| Problem { path: format!("spec.{number}"), message: "é".repeat(500) });
        let status = Report { problems: problems.collect(), ..report(State::Nothing) }.status();
        let message = status.conditions[1].message.clone().unwrap();
        assert!(message.len() < LONGEST_MESSAGE + 30 && message.ends_with("…; and 30 more"), "{message}");
    }
}
