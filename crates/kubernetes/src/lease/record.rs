//! What is in a Lease, whom it says leads, and what to write. No clock and no network.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::resources::LEASES;

/// Who may write the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// This replica: it holds the Lease, or nobody does.
    Us,
    /// Another, of this identity.
    Other(String),
}

/// A replica that wants the Lease.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    duration: Duration,
    /// The `spec` that was found last, and when it was found first.
    seen: Option<(Value, Instant)>,
}

/// The members of `spec` that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    acquire_time: Option<String>,
    lease_transitions: Option<u32>,
}

impl Spec {
    /// What cannot be read counts as missing: a Lease that makes no sense is nobody's.
    fn of(lease: &Value) -> Self {
        lease.get("spec").and_then(|spec| Self::deserialize(spec).ok()).unwrap_or_default()
    }
}

impl Candidate {
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None }
    }

    /// Whom this Lease is for, as it was just found.
    pub(super) fn look(&mut self, lease: &Value, now: Instant) -> Holder {
        let spec = lease.get("spec").unwrap_or(&Value::Null);
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let Spec { holder_identity, lease_duration_seconds, .. } = Spec::of(lease);
        let granted = lease_duration_seconds.filter(|seconds| *seconds > 0);
        let granted = granted.map_or(self.duration, |seconds| Duration::from_secs(seconds.into()));
        match holder_identity {
            Some(holder) if holder != self.identity && !holder.is_empty() && now < since + granted => {
                Holder::Other(holder)
            }
            _ => Holder::Us,
        }
    }

    /// Whether the Lease names this replica.
    pub(super) fn is_holder(&self, lease: &Value) -> bool {
        Spec::of(lease).holder_identity.as_ref() == Some(&self.identity)
    }

    /// A Lease that this replica holds, to be created.
    pub(super) fn new_lease(&self, namespace: &str, name: &str) -> Value {
        let now = micro_time();
        json!({
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self.seconds(),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        })
    }

    /// This Lease, held by this replica from now on, or still.
    pub(super) fn taken(&self, lease: &Value) -> Value {
        let now = micro_time();
        let Spec { acquire_time, lease_transitions, .. } = Spec::of(lease);
        let transitions = lease_transitions.unwrap_or_default();
        let (acquired, transitions) = match acquire_time {
            Some(acquired) if self.is_holder(lease) => (acquired, transitions),
            _ if self.is_holder(lease) => (now.clone(), transitions),
            _ => (now.clone(), transitions.saturating_add(1).min(i32::MAX.unsigned_abs())),
        };
        with_spec(
            lease,
            [
                ("holderIdentity", self.identity.as_str().into()),
                ("leaseDurationSeconds", self.seconds().into()),
                ("acquireTime", acquired.into()),
                ("renewTime", now.into()),
                ("leaseTransitions", transitions.into()),
            ],
        )
    }

    /// This Lease, held by nobody.
    pub(super) fn released(&self, lease: &Value) -> Value {
        let now = micro_time();
        with_spec(
            lease,
            [
                ("holderIdentity", "".into()),
                ("leaseDurationSeconds", 1.into()),
                ("acquireTime", now.as_str().into()),
                ("renewTime", now.into()),
            ],
        )
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.duration.as_secs()).unwrap_or(u32::MAX).clamp(1, i32::MAX.unsigned_abs())
    }
}

/// The Lease with these members of `spec`. Everything else stays as it is, its version above all.
fn with_spec<const N: usize>(lease: &Value, members: [(&str, Value); N]) -> Value {
    let mut lease = lease.as_object().cloned().unwrap_or_default();
    let mut spec = match lease.remove("spec") {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    };
    spec.extend(members.map(|(name, value)| (name.to_owned(), value)));
    lease.insert("spec".to_owned(), Value::Object(spec));
    Value::Object(lease)
}

/// Now, as `MicroTime` of `meta/v1`.
fn micro_time() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, renewed: &str) -> Value {
        json!({
            "metadata": {"name": "x", "resourceVersion": "7"},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-01T00:00:00.000000Z",
                "renewTime": renewed,
                "leaseTransitions": 3,
                "strategy": "OldestEmulationVersion",
            },
        })
    }

    fn candidate() -> Candidate {
        Candidate::new("us".to_owned(), Duration::from_secs(15))
    }

    #[test]
    fn a_lease_expires_when_it_was_not_seen_to_change() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut candidate = candidate();
        let other = || Holder::Other("other".to_owned());
        // Its times are long past by our clock; that is not what counts.
        assert_eq!(candidate.look(&held("other", "1970-01-01T00:00:00.000000Z"), at(0)), other());
        assert_eq!(candidate.look(&held("other", "1970-01-01T00:00:00.000000Z"), at(14)), other());
        assert_eq!(candidate.look(&held("other", "1970-01-01T00:00:02.000000Z"), at(16)), other());
        assert_eq!(candidate.look(&held("other", "1970-01-01T00:00:02.000000Z"), at(30)), other());
        assert_eq!(candidate.look(&held("other", "1970-01-01T00:00:02.000000Z"), at(31)), Holder::Us);
        // Another takes it before we do.
        assert_eq!(
            candidate.look(&held("third", "1970-01-01T00:00:03.000000Z"), at(32)),
            Holder::Other("third".into())
        );
    }

    #[test]
    fn a_lease_that_nobody_else_holds_is_ours() {
        let cases = [
            ("ours", held("us", "x")),
            ("released", held("", "x")),
            ("no holder", json!({"spec": {"leaseDurationSeconds": 15}})),
            ("no spec", json!({})),
            ("no object", json!(7)),
            ("nonsense", json!({"spec": {"holderIdentity": 7, "leaseTransitions": "many"}})),
        ];
        for (case, lease) in cases {
            assert_eq!(candidate().look(&lease, Instant::now()), Holder::Us, "{case}");
            let taken = candidate().taken(&lease);
            assert_eq!(taken["spec"]["holderIdentity"], "us", "{case}: {taken}");
        }
    }

    #[test]
    fn the_time_that_is_granted_is_that_of_the_lease() {
        let begin = Instant::now();
        for (seconds, expected) in [(json!(1), 1), (json!(60), 60), (json!(0), 15), (json!(-5), 0), (Value::Null, 15)] {
            let mut lease = held("other", "x");
            lease["spec"]["leaseDurationSeconds"] = seconds.clone();
            let mut candidate = candidate();
            let expired =
                (0..100).find(|elapsed| candidate.look(&lease, begin + Duration::from_secs(*elapsed)) == Holder::Us);
            assert_eq!(expired, Some(expected), "{seconds}");
        }
    }

    #[test]
    fn who_takes_over_is_counted_and_who_stays_is_not() {
        let taken = candidate().taken(&held("other", "x"));
        assert_eq!(taken["spec"]["leaseTransitions"], 4);
        assert_ne!(taken["spec"]["acquireTime"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(taken["spec"]["acquireTime"], taken["spec"]["renewTime"]);

        let stays = candidate().taken(&held("us", "x"));
        assert_eq!(stays["spec"]["leaseTransitions"], 3);
        assert_eq!(stays["spec"]["acquireTime"], "2026-01-01T00:00:00.000000Z");
        assert_ne!(stays["spec"]["renewTime"], "x");

        for lease in [&taken, &stays] {
            assert_eq!(lease["metadata"]["resourceVersion"], "7", "or the API would not notice that another wrote");
            assert_eq!(lease["spec"]["strategy"], "OldestEmulationVersion");
            assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
        }
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let released = candidate().released(&held("us", "x"));
        assert_eq!(released["spec"]["holderIdentity"], "");
        assert_eq!(released["spec"]["leaseDurationSeconds"], 1);
        assert_eq!(released["spec"]["leaseTransitions"], 3);
        assert_eq!(released["metadata"]["resourceVersion"], "7");
        let mut other = Candidate::new("other".to_owned(), Duration::from_secs(15));
        assert_eq!(other.look(&released, Instant::now()), Holder::Us);
        assert_eq!(other.taken(&released)["spec"]["leaseTransitions"], 4);
    }

    #[test]
    fn times_have_six_digits() {
        let time = micro_time();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len(), "{time}");
        assert!(time.ends_with('Z'), "{time}");
    }
}
