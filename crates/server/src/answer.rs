//! What goes out, whatever the protocol: every status on one screen.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};
use usher_engine::Verdict;
use usher_engine::verdict::{Additions, Denial, DenialKind};

use crate::headers;

/// Header that carries the reason of every answer but "allowed".
pub(crate) const REASON: &str = "x-ext-auth-reason";

/// An answer, ready to be written.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The request may pass, with these additions. Names of headers are in lower case and may be set; no name is both
    /// set and removed.
    Allowed(Additions),
    /// It may not.
    Refused(Refused),
}

/// What the client of a refused request gets.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which refusal.
    pub(crate) kind: &'static Kind,
    /// HTTP status: of the kind, or the one that a configuration asks for instead; 300 to 599.
    pub(crate) status: u16,
    /// In order, lower-case names; a name may occur several times. The reason is the last one.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) reason: String,
    /// For later filters and logs of the gateway.
    pub(crate) dynamic_metadata: Map<String, Value>,
}

/// A row of the table of refusals.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// `google.rpc.Code`; never 0, which would mean "allowed".
    pub(crate) code: i32,
    /// HTTP status.
    pub(crate) status: u16,
    /// Whether we could not decide, in contrast to "no".
    pub(crate) is_failure: bool,
}

pub(crate) const INVALID: Kind = Kind { code: 3, status: 400, is_failure: false };
pub(crate) const NOT_FOUND: Kind = Kind { code: 5, status: 404, is_failure: false };
pub(crate) const UNAUTHORIZED: Kind = Kind { code: 7, status: 403, is_failure: false };
pub(crate) const UNDECIDABLE: Kind = Kind { code: 14, status: 503, is_failure: true };
pub(crate) const UNAUTHENTICATED: Kind = Kind { code: 16, status: 401, is_failure: false };

impl Answer {
    /// The answer that a verdict leads to. `id` identifies the decision to those who can read the logs.
    pub(crate) fn new(verdict: Verdict, id: &str) -> Self {
        match verdict {
            Verdict::Allow(allow) => allowed(allow.into_additions(), id),
            Verdict::Deny(denial) => denied(denial),
            Verdict::Undecidable(undecided) => undecidable(undecided.reason, undecided.retry_after, id),
        }
    }
}

/// The header of challenges (RFC 9110 §11.6.1), which may be repeated or be a list.
const CHALLENGE: &str = "www-authenticate";

impl Refused {
    /// Puts several challenges into one header, in the place of the first: gateways may keep only the last of several.
    pub(crate) fn join_challenges(&mut self) {
        let is_challenge = |(name, _): &(String, String)| name == CHALLENGE;
        let Some(first) = self.headers.iter().position(is_challenge) else { return };
        let others = self.headers.extract_if(first + 1.., |header| is_challenge(header));
        let others: Vec<_> = others.map(|(_, challenge)| challenge).collect();
        if let Some((_, challenges)) = self.headers.get_mut(first) {
            for challenge in others {
                challenges.push_str(", ");
                challenges.push_str(&challenge);
            }
        }
    }
}

/// A header that cannot be sent is not left out: the upstream would take the client's own header of that name for ours,
/// and the client would miss what the configuration wants it to see. Nor is one left where it must be removed.
fn allowed(additions: Additions, id: &str) -> Answer {
    let mut additions = additions;
    for (name, value) in &mut additions.headers {
        normalize(name, value);
    }
    for header in &mut additions.response_headers {
        normalize(&mut header.name, &mut header.value);
    }
    for name in &mut additions.remove_headers {
        name.make_ascii_lowercase();
    }
    let Additions { headers, remove_headers, response_headers, .. } = &mut additions;
    // Envoy removes after setting.
    remove_headers.retain(|removed| !headers.iter().any(|(set, _)| set == removed));
    let set = headers.iter().map(|(name, _)| name).chain(response_headers.iter().map(|header| &header.name));
    if let Some(name) = set.chain(&*remove_headers).find(|name| !headers::may_be_set(name)) {
        tracing::error!(%name, request_id = %id, "a header cannot be set or removed");
        return undecidable("invalid header", None, id);
    }
    Answer::Allowed(additions)
}

fn denied(denial: Denial) -> Answer {
    let kind = match denial.kind {
        DenialKind::Unauthenticated => &UNAUTHENTICATED,
        DenialKind::Unauthorized => &UNAUTHORIZED,
        DenialKind::NotFound => &NOT_FOUND,
        DenialKind::Invalid => &INVALID,
    };
    let status = denial.http_status();
    Answer::Refused(Refused {
        dynamic_metadata: denial.dynamic_metadata,
        ..refused(kind, status, denial.headers, denial.body, denial.reason)
    })
}

fn undecidable(reason: &str, retry_after: Option<Duration>, id: &str) -> Answer {
    let reason = match reason.is_empty() || id.is_empty() {
        true => Cow::Borrowed(reason),
        false => Cow::Owned(format!("{reason} ({id})")),
    };
    let retry_after = retry_after.map(|after| {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        ("retry-after".to_owned(), seconds.max(1).to_string())
    });
    let headers = retry_after.into_iter().collect();
    Answer::Refused(refused(&UNDECIDABLE, UNDECIDABLE.status, headers, String::new(), reason.into_owned()))
}

fn refused(kind: &'static Kind, status: u16, headers: Vec<(String, String)>, body: String, reason: String) -> Refused {
    let reason = headers::clean(reason);
    let mut headers = headers;
    for (name, value) in &mut headers {
        normalize(name, value);
    }
    headers.retain(|(name, _)| headers::may_be_set(name));
    headers.push((REASON.to_owned(), reason.clone()));
    Refused { kind, status, headers, body, reason, dynamic_metadata: Map::new() }
}

fn normalize(name: &mut str, value: &mut String) {
    name.make_ascii_lowercase();
    *value = headers::clean(std::mem::take(value));
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_engine::verdict::ResponseHeader;

    use super::*;

    fn refusal(answer: Answer) -> Refused {
        match answer {
            Answer::Refused(refused) => refused,
            Answer::Allowed(_) => panic!("allowed"),
        }
    }

    #[test]
    fn challenges_can_share_a_header() {
        let joined = |headers: &[(&str, &str)]| {
            let mut refused = refused(&UNAUTHENTICATED, 401, pairs(headers), String::new(), "no".to_owned());
            refused.join_challenges();
            refused.headers
        };
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, Headers); 3] = [
            (&[], &[(REASON, "no")]),
            (&[("x", "1"), ("WWW-Authenticate", "A")], &[("x", "1"), (CHALLENGE, "A"), (REASON, "no")]),
            (
                &[(CHALLENGE, r#"Bearer realm="a""#), ("x", "1"), (CHALLENGE, "B"), (CHALLENGE, "C")],
                &[(CHALLENGE, r#"Bearer realm="a", B, C"#), ("x", "1"), (REASON, "no")],
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(joined(headers), pairs(expected));
        }
    }

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_denial_has_its_statuses() {
        for (kind, code, status) in [
            (DenialKind::Invalid, 3, 400),
            (DenialKind::NotFound, 5, 404),
            (DenialKind::Unauthorized, 7, 403),
            (DenialKind::Unauthenticated, 16, 401),
        ] {
            let refused = refusal(Answer::new(Verdict::Deny(Denial::new(kind, "why")), "id"));
            assert_eq!((refused.kind.code, refused.status, refused.kind.is_failure), (code, status, false));
            assert_eq!(refused.headers, pairs(&[(REASON, "why")]));
            assert_eq!(refused.body, "");
        }
    }

    #[test]
    fn a_configuration_may_ask_for_another_status_but_not_for_any() {
        for (asked, expected) in [
            (300, 300),
            (302, 302),
            (418, 418),
            (511, 511),
            (599, 599),
            (0, 401),
            (100, 401),
            (199, 401),
            (200, 401),
            (204, 401),
            (299, 401),
            (600, 401),
            (u16::MAX, 401),
        ] {
            let denial = Denial { status: Some(asked), ..Denial::new(DenialKind::Unauthenticated, "") };
            assert_eq!(refusal(Answer::new(Verdict::Deny(denial), "")).status, expected, "{asked}");
        }
    }

    #[test]
    fn undecidable_tells_the_id_and_when_to_come_back() {
        let refused = refusal(Answer::new(Verdict::undecidable("issuer unavailable", "secret detail"), "4711"));
        assert_eq!((refused.kind.code, refused.status, refused.kind.is_failure), (14, 503, true));
        assert_eq!(refused.headers, pairs(&[(REASON, "issuer unavailable (4711)")]));

        let late = refusal(Answer::new(Verdict::undecidable("", "late"), "4711"));
        assert_eq!(late.headers, pairs(&[(REASON, "")]));

        for (after, expected) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let refused = refusal(undecidable("busy", Some(Duration::from_millis(after)), ""));
            assert_eq!(refused.headers, pairs(&[("retry-after", expected), (REASON, "busy")]), "{after}");
        }
    }

    #[test]
    fn headers_keep_order_and_repetition_and_lose_what_is_dangerous() {
        let denial = Denial {
            headers: pairs(&[
                ("WWW-Authenticate", "Bearer realm=\"a\""),
                ("www-authenticate", "APIKEY realm=\"b\""),
                ("content-length", "7"),
                ("location", "https://l/\r\nset-cookie: x"),
            ]),
            body: "body".to_owned(),
            ..Denial::new(DenialKind::Unauthenticated, "no\nway")
        };
        let refused = refusal(Answer::new(Verdict::Deny(denial), ""));
        let expected = [
            ("www-authenticate", "Bearer realm=\"a\""),
            ("www-authenticate", "APIKEY realm=\"b\""),
            ("location", "https://l/set-cookie: x"),
            (REASON, "noway"),
        ];
        assert_eq!(refused.headers, pairs(&expected));
        assert_eq!(refused.body, "body");
    }

    #[test]
    fn statuses_are_those_that_callbacks_are_told() {
        let kinds = [DenialKind::Unauthenticated, DenialKind::Unauthorized, DenialKind::NotFound, DenialKind::Invalid];
        for kind in kinds {
            for status in [None, Some(0), Some(200), Some(302), Some(600)] {
                let denial = Denial { status, ..Denial::new(kind, "") };
                let told = Verdict::Deny(denial.clone()).http_status();
                assert_eq!(refusal(Answer::new(Verdict::Deny(denial), "")).status, told, "{kind:?} {status:?}");
            }
            assert_eq!(refusal(Answer::new(Verdict::Deny(Denial::new(kind, "")), "")).kind.status, kind.http_status());
        }
        assert_eq!(Verdict::undecidable("", "").http_status(), UNDECIDABLE.status);
    }

    #[test]
    fn denials_may_carry_metadata() {
        let dynamic_metadata = Map::from_iter([("why".to_owned(), json!({"rule": "a"}))]);
        let denial = Denial { dynamic_metadata: dynamic_metadata.clone(), ..Denial::new(DenialKind::Unauthorized, "") };
        assert_eq!(refusal(Answer::new(Verdict::Deny(denial), "")).dynamic_metadata, dynamic_metadata);
    }

    #[test]
    fn allowed_headers_are_all_set_or_nothing_is_allowed() {
        let response = |name: &str, value: &str| {
            vec![ResponseHeader {
                name: name.to_owned(),
                value: value.to_owned(),
                action: usher_engine::plan::HeaderAction::Append,
            }]
        };
        let additions = Additions {
            headers: pairs(&[("X-User", "a\nb")]),
            remove_headers: vec!["X-Secret".to_owned(), "x-user".to_owned()],
            response_headers: response("X-Trace", "a\r\nset-cookie: b"),
            query_parameters: pairs(&[("a", "1")]),
            remove_query_parameters: vec!["B".to_owned()],
            dynamic_metadata: Map::from_iter([("a".to_owned(), json!(1))]),
        };
        match allowed(additions.clone(), "") {
            Answer::Allowed(allowed) => {
                let expected = Additions {
                    headers: pairs(&[("x-user", "ab")]),
                    remove_headers: vec!["x-secret".to_owned()],
                    response_headers: response("x-trace", "aset-cookie: b"),
                    ..additions
                };
                assert_eq!(allowed, expected);
            }
            Answer::Refused(refused) => panic!("{refused:?}"),
        }
        for name in [":path", "Host", "content-length", "a b", ""] {
            for additions in [
                Additions { headers: pairs(&[("x-fine", ""), (name, "x")]), ..Additions::default() },
                Additions { response_headers: response(name, "x"), ..Additions::default() },
                Additions { remove_headers: vec![name.to_owned()], ..Additions::default() },
            ] {
                let refused = refusal(allowed(additions, "7"));
                assert_eq!((refused.kind, refused.reason.as_str()), (&UNDECIDABLE, "invalid header (7)"), "{name:?}");
            }
        }
    }
}
