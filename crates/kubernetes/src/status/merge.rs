//! What the status of an AuthConfig becomes, out of what it ought to be and what it is.

use serde_json::{Value, json};
use usher_api::{AuthConfigCondition, AuthConfigStatus};

/// The types of the conditions that are this server's. Those of others stay as they are.
const OWN_CONDITIONS: [&str; 4] = ["Available", "Ready", "HostConflict", "Warnings"];

/// Whether nothing has to be written.
///
/// Without `generations`, the fields about generations do not count: the API does not keep them, because its resource
/// definition is older than they are.
pub(super) fn in_place(desired: &AuthConfigStatus, observed: Option<&AuthConfigStatus>, generations: bool) -> bool {
    let Some(observed) = observed else { return false };
    let same_generations = desired.observed_generation == observed.observed_generation
        && desired.served_generation == observed.served_generation;
    let mut own = observed.conditions.iter().filter(|condition| is_own(condition));
    (same_generations || !generations)
        && desired.summary == observed.summary
        && own.clone().count() == desired.conditions.len()
        && own.all(|there| {
            let wanted = desired.conditions.iter().find(|wanted| wanted.kind == there.kind);
            wanted.is_some_and(|wanted| says_the_same(wanted, there)) && there.last_transition_time.is_some()
        })
}

/// Whether conditions of one type are alike but for the time of transition.
fn says_the_same(wanted: &AuthConfigCondition, there: &AuthConfigCondition) -> bool {
    wanted.status == there.status
        && wanted.reason == there.reason
        && wanted.message == there.message
        && wanted.last_updated_time == there.last_updated_time
}

fn is_own(condition: &AuthConfigCondition) -> bool {
    OWN_CONDITIONS.contains(&condition.kind.as_str())
}

/// The status to be written at this time (RFC 3339). Conditions stay in the order in which they are; times of transition
/// stay where `status` does.
pub(super) fn merged(desired: &AuthConfigStatus, observed: Option<&AuthConfigStatus>, now: &str) -> AuthConfigStatus {
    let there = observed.map_or(&[][..], |observed| &observed.conditions);
    let mut missing: Vec<_> = desired.conditions.iter().collect();
    let mut conditions = Vec::with_capacity(there.len().max(missing.len()));
    for condition in there {
        if !is_own(condition) {
            conditions.push(condition.clone());
        } else if let Some(position) = missing.iter().position(|wanted| wanted.kind == condition.kind) {
            let wanted = missing.remove(position);
            let since = condition.last_transition_time.as_deref().filter(|_| condition.status == wanted.status);
            conditions.push(at(wanted, since.unwrap_or(now)));
        }
    }
    conditions.extend(missing.into_iter().map(|wanted| at(wanted, now)));
    AuthConfigStatus { conditions, ..desired.clone() }
}

fn at(condition: &AuthConfigCondition, time: &str) -> AuthConfigCondition {
    AuthConfigCondition { last_transition_time: Some(time.to_owned()), ..condition.clone() }
}

/// The merge patch that makes `status` be this, of this version of the object and of no other.
pub(super) fn patch(status: &AuthConfigStatus, resource_version: &str) -> Value {
    let AuthConfigStatus { conditions, summary, observed_generation, served_generation } = status;
    json!({
        "metadata": {"resourceVersion": resource_version},
        // In a merge patch `null` removes a member, and a list replaces the whole list.
        "status": {
            "conditions": conditions,
            "summary": summary,
            "observedGeneration": observed_generation,
            "servedGeneration": served_generation,
        },
    })
}

/// Whether the API has kept the fields about generations. None: it cannot be known.
pub(super) fn keeps_generations(sent: &AuthConfigStatus, answered: Option<&AuthConfigStatus>) -> Option<bool> {
    sent.observed_generation.or(sent.served_generation)?;
    let kept = answered.is_some_and(|status| status.observed_generation.or(status.served_generation).is_some());
    Some(kept)
}

#[cfg(test)]
mod tests {
    use usher_api::AuthConfigSummary;

    use super::*;

    const EARLIER: &str = "2026-01-31T10:00:00Z";
    const NOW: &str = "2026-02-01T10:00:00Z";

    /// Type, status, reason, message.
    type Row = (&'static str, &'static str, &'static str, &'static str);

    fn condition((kind, status, reason, message): Row) -> AuthConfigCondition {
        AuthConfigCondition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
            ..AuthConfigCondition::default()
        }
    }

    fn status(rows: &[Row]) -> AuthConfigStatus {
        AuthConfigStatus {
            conditions: rows.iter().map(|row| condition(*row)).collect(),
            summary: Some(AuthConfigSummary { num_hosts_ready: "1/1".to_owned(), ..AuthConfigSummary::default() }),
            observed_generation: Some(3),
            served_generation: Some(3),
        }
    }

    fn since_earlier(rows: &[Row]) -> AuthConfigStatus {
        let mut status = status(rows);
        status.conditions.iter_mut().for_each(|condition| condition.last_transition_time = Some(EARLIER.to_owned()));
        status
    }

    const AVAILABLE: Row = ("Available", "True", "HostsLinked", "");
    const UNAVAILABLE: Row = ("Available", "False", "HostsNotLinked", "No hosts linked to the resource");
    const READY: Row = ("Ready", "True", "Reconciled", "");
    const RECONCILING: Row = ("Ready", "False", "Reconciling", "");
    const INVALID: Row = ("Ready", "False", "Invalid", "Secret \"x\" not found");
    const NOT_LINKED: Row = ("Ready", "False", "HostsNotLinked", "One or more hosts are not linked to the resource");
    const CACHING: Row = ("Ready", "False", "CachingError", "Something");
    const UNKNOWN: Row = ("Ready", "False", "Unknown", "");
    const CONFLICT: Row = ("HostConflict", "True", "HostsTaken", "`a.io` is of ns/other");
    const FOREIGN: Row = ("Audited", "True", "Yearly", "");

    #[test]
    fn the_time_of_transition_changes_with_the_status_only() {
        type Case<'a> = (&'a str, &'a [Row], &'a [Row], &'a [(&'a str, &'a str)]);
        let cases: &[Case<'_>] = &[
            ("nothing there", &[], &[AVAILABLE, READY], &[("Available", NOW), ("Ready", NOW)]),
            ("the same", &[AVAILABLE, READY], &[AVAILABLE, READY], &[("Available", EARLIER), ("Ready", EARLIER)]),
            ("order is kept", &[READY, AVAILABLE], &[AVAILABLE, INVALID], &[("Ready", NOW), ("Available", EARLIER)]),
            ("became ready", &[AVAILABLE, RECONCILING], &[AVAILABLE, READY], &[("Available", EARLIER), ("Ready", NOW)]),
            (
                "other reason",
                &[UNAVAILABLE, INVALID],
                &[UNAVAILABLE, NOT_LINKED],
                &[("Available", EARLIER), ("Ready", EARLIER)],
            ),
            (
                "other reason without message",
                &[AVAILABLE, CACHING],
                &[AVAILABLE, UNKNOWN],
                &[("Available", EARLIER), ("Ready", EARLIER)],
            ),
            (
                "conflict comes",
                &[AVAILABLE, READY],
                &[AVAILABLE, NOT_LINKED, CONFLICT],
                &[("Available", EARLIER), ("Ready", NOW), ("HostConflict", NOW)],
            ),
            (
                "conflict goes",
                &[AVAILABLE, CONFLICT, NOT_LINKED],
                &[AVAILABLE, READY],
                &[("Available", EARLIER), ("Ready", NOW)],
            ),
            (
                "others' conditions stay",
                &[FOREIGN, RECONCILING],
                &[AVAILABLE, READY],
                &[("Audited", EARLIER), ("Ready", NOW), ("Available", NOW)],
            ),
            ("twice the same type", &[READY, READY], &[READY], &[("Ready", EARLIER)]),
        ];
        for (case, there, wanted, expected) in cases {
            let observed = since_earlier(there);
            let desired = status(wanted);
            let merged = merged(&desired, Some(&observed), NOW);
            let times: Vec<_> = merged
                .conditions
                .iter()
                .map(|condition| (condition.kind.as_str(), condition.last_transition_time.as_deref().unwrap()))
                .collect();
            assert_eq!(times, *expected, "{case}");
            for wanted in &desired.conditions {
                let written = merged.conditions.iter().find(|condition| condition.kind == wanted.kind).unwrap();
                assert!(says_the_same(wanted, written), "{case}");
            }
            assert_eq!(in_place(&desired, Some(&observed), true), merged == observed, "{case}");
            assert!(in_place(&desired, Some(&merged), true), "{case}: a second time nothing is written");
        }
    }

    #[test]
    fn every_part_counts() {
        let desired = status(&[AVAILABLE, READY]);
        let good = since_earlier(&[AVAILABLE, READY]);
        assert!(in_place(&desired, Some(&good), true));
        assert!(!in_place(&desired, None, true));
        type Change = fn(&mut AuthConfigStatus);
        let changes: [(&str, Change); 7] = [
            ("summary", |status| status.summary.as_mut().unwrap().num_hosts_ready = "0/1".to_owned()),
            ("no summary", |status| status.summary = None),
            ("observedGeneration", |status| status.observed_generation = Some(2)),
            ("servedGeneration", |status| status.served_generation = None),
            ("no time", |status| status.conditions[0].last_transition_time = None),
            ("message", |status| status.conditions[1].message = Some("x".to_owned())),
            ("type", |status| status.conditions[1].kind = "HostConflict".to_owned()),
        ];
        for (what, change) in changes {
            let mut observed = good.clone();
            change(&mut observed);
            assert!(!in_place(&desired, Some(&observed), true), "{what}");
            assert_eq!(in_place(&desired, Some(&observed), false), what.ends_with("Generation"), "{what}");
        }
    }

    #[test]
    fn a_patch_is_for_one_version_and_removes_what_is_not_to_be_there() {
        let desired = AuthConfigStatus { served_generation: None, summary: None, ..status(&[READY]) };
        let patch = patch(&merged(&desired, None, NOW), "7");
        let expected = json!({
            "metadata": {"resourceVersion": "7"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW, "reason": "Reconciled"}],
                "summary": null,
                "observedGeneration": 3,
                "servedGeneration": null,
            },
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn it_shows_whether_the_api_keeps_generations() {
        let sent = status(&[READY]);
        let none = AuthConfigStatus { observed_generation: None, served_generation: None, ..sent.clone() };
        assert_eq!(keeps_generations(&sent, Some(&sent)), Some(true));
        assert_eq!(keeps_generations(&sent, Some(&none)), Some(false));
        assert_eq!(keeps_generations(&sent, None), Some(false));
        assert_eq!(keeps_generations(&none, Some(&none)), None);
    }
}
