//! Policies that decide by themselves.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{step, too_late};
use crate::{
    Journal, Request, Verdict,
    plan::{HeaderAction, Policy, PolicyDecision, RequestChanges},
    upstream::{UpstreamRequest, clean},
    verdict::{Additions, Allow, Grant, ResponseHeader},
};

/// Proof that a policy said *allowed*.
#[derive(Debug)]
pub(crate) struct AllowedByPolicy(());

/// Asks the policy, in its guard.
pub(crate) fn run(
    policy: &dyn Policy,
    request: &Request,
    deadline: Option<Instant>,
    journal: Option<&Journal>,
) -> Verdict {
    let Ok(decision) = catch_unwind(AssertUnwindSafe(|| policy.decide(request, journal))) else {
        return Verdict::undecidable(step::INTERNAL, "a policy panicked");
    };
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return too_late();
    }
    match decision {
        PolicyDecision::Allowed(changes) => {
            let grant = Grant::allowed_by_policy(&AllowedByPolicy(()));
            Verdict::Allow(Allow::new(grant, additions(request, changes)))
        }
        PolicyDecision::Denied(denial) => Verdict::Deny(denial),
        PolicyDecision::Undecidable(undecided) => Verdict::Undecidable(undecided),
    }
}

/// The changes as the gateway is told them: it sets first and removes afterwards, as Envoy does.
fn additions(request: &Request, changes: RequestChanges) -> Additions {
    let mut upstream = UpstreamRequest::new(request, &[], &[]);
    for (name, value) in changes.headers {
        upstream.set_header(&name, value);
    }
    for name in changes.remove_headers {
        upstream.remove_header(&name);
    }
    for (name, value) in changes.query_parameters {
        upstream.set_query_parameter(&name, value);
    }
    for name in changes.remove_query_parameters {
        upstream.remove_query_parameter(&name);
    }
    let response_headers = changes.response_headers.into_iter();
    let added = |(name, value)| ResponseHeader { name, value: clean(value), action: HeaderAction::Append };
    Additions {
        response_headers: response_headers.map(added).collect(),
        dynamic_metadata: changes.dynamic_metadata,
        ..upstream.into_additions()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        RequestParts,
        verdict::{Denial, DenialKind},
    };

    #[derive(Debug)]
    struct Fixed(Option<PolicyDecision>);

    impl Policy for Fixed {
        fn decide(&self, _: &Request, _: Option<&Journal>) -> PolicyDecision {
            self.0.clone().expect("a panic where the test wants one")
        }
    }

    fn verdict(decision: Option<PolicyDecision>, deadline: Option<Instant>) -> Verdict {
        let request = Request::new(RequestParts { path: "/?%61=1&b=2".to_owned(), ..RequestParts::default() });
        run(&Fixed(decision), &request, deadline, None)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn removing_comes_after_setting() {
        let changes = RequestChanges {
            headers: pairs(&[("x-a", "1"), ("x-a", "2"), ("x-b", "1\r\n")]),
            remove_headers: vec!["x-b".to_owned(), "x-c".to_owned()],
            response_headers: pairs(&[("set-cookie", "a=1"), ("set-cookie", "b=\n2")]),
            query_parameters: pairs(&[("q", "1"), ("b", "3")]),
            remove_query_parameters: vec!["a".to_owned(), "q".to_owned()],
            ..RequestChanges::default()
        };
        let Verdict::Allow(allow) = verdict(Some(PolicyDecision::Allowed(changes)), None) else {
            panic!("not allowed")
        };
        let cookie = |value: &str| ResponseHeader {
            name: "set-cookie".to_owned(),
            value: value.to_owned(),
            action: HeaderAction::Append,
        };
        let expected = Additions {
            headers: pairs(&[("x-a", "2")]),
            remove_headers: vec!["x-b".to_owned(), "x-c".to_owned()],
            response_headers: vec![cookie("a=1"), cookie("b=2")],
            query_parameters: pairs(&[("b", "3")]),
            remove_query_parameters: vec!["%61".to_owned(), "a".to_owned()],
            ..Additions::default()
        };
        assert_eq!(*allow.additions(), expected);
    }

    #[test]
    fn nothing_but_an_allow_in_time_lets_a_request_in() {
        let allowed = || Some(PolicyDecision::Allowed(RequestChanges::default()));
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        assert!(verdict(allowed(), None).is_allowed());
        assert!(matches!(verdict(allowed(), past), Verdict::Undecidable(_)));
        assert!(matches!(verdict(None, None), Verdict::Undecidable(_)));
        let denied = PolicyDecision::Denied(Denial::new(DenialKind::Unauthorized, ""));
        assert!(matches!(verdict(Some(denied), None), Verdict::Deny(_)));
    }
}
