//! What goes along with every request that is made on behalf of a check: its trace, and how deep such requests are
//! nested.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use usher_engine::{
    Failure, Request, TraceContext,
    request::{MOST_NESTED, NESTING_HEADER},
};

const NESTING: HeaderName = HeaderName::from_static(NESTING_HEADER);

/// What requests get that are made because of another one.
#[derive(Debug, Clone, Default)]
pub struct Onward {
    trace: TraceContext,
    /// How many requests of rules led to the one that is checked.
    nested: u16,
}

impl Onward {
    /// What requests get that are made because of this one.
    ///
    /// # Errors
    /// When this one is nested as deep as may be: the requests of rules come back to the rules, which would go on for
    /// ever, and multiply if there are several. A check of such a request ends before any rule is asked; this is for
    /// rules that are asked otherwise.
    pub fn of(request: &Request) -> Result<Self, NestedTooDeep> {
        let nested = request.nesting();
        if nested >= MOST_NESTED {
            return Err(NestedTooDeep(nested));
        }
        Ok(Self { trace: request.trace().clone(), nested })
    }

    /// Puts the headers in place of what is there by the same names. Without a trace its headers stay as they are.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert(NESTING, HeaderValue::from(self.nested.saturating_add(1)));
        for (name, value) in self.trace.headers() {
            // What came in a header can go out in one.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Requests of rules lead back to rules, again and again. With their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requests of rules lead back to rules: {0} of them are nested")]
pub struct NestedTooDeep(u16);

impl NestedTooDeep {
    /// What callers are told.
    pub const REASON: &str = "requests nested too deep";
}

impl From<NestedTooDeep> for Failure {
    fn from(error: NestedTooDeep) -> Self {
        Self::undecidable(NestedTooDeep::REASON, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use usher_engine::RequestParts;

    use super::*;

    #[test]
    fn nesting_is_counted_and_ends() {
        let onward = |told: Option<&str>| {
            let headers = told.map(|told| ("x-usher-nesting".to_owned(), told.to_owned()));
            let headers = headers.into_iter().collect();
            Onward::of(&Request::new(RequestParts { headers, ..RequestParts::default() }))
        };
        for (told, sent) in [(None, "1"), (Some("1"), "2"), (Some("1, 2"), "3"), (Some("x"), "1"), (Some("-1"), "1")] {
            let mut headers = HeaderMap::from_iter([(NESTING, HeaderValue::from_static("0"))]);
            onward(told).unwrap().put(&mut headers);
            assert_eq!(headers.len(), 1);
            assert_eq!(headers[NESTING], sent, "{told:?}");
        }
        for told in ["3", "4", "65535", "0,3"] {
            assert!(onward(Some(told)).is_err(), "{told}");
        }
    }
}
