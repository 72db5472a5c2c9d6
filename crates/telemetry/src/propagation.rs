//! The trace that a call belongs to, as its headers say: W3C Trace Context and W3C Baggage.
//!
//! Callers may send anything. What is not valid is ignored as a whole; what is too large is left out.

use std::str::FromStr as _;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use usher_engine::TraceContext;

/// Bytes of a `traceparent` of a later version than ours, which may have further fields.
const LONGEST_TRACEPARENT: usize = 256;

/// Bytes of `tracestate`, all headers of that name together. 512 have to be passed on (Trace Context §3.3.1.5).
const LONGEST_TRACESTATE: usize = 8192;

/// Members of `tracestate` (Trace Context §3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// Bytes of `baggage`, all headers of that name together (Baggage §3.3.2).
const LONGEST_BAGGAGE: usize = 8192;

/// The flags that are known: sampled, and that the trace id is random (Trace Context level 2).
const KNOWN_FLAGS: u8 = 0b11;

/// A valid context.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    traceparent: &'a str,
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
    pub(crate) tracestate: String,
    pub(crate) baggage: String,
}

impl<'a> Incoming<'a> {
    /// Reads the headers of a call. Without a valid `traceparent` there is nothing, and no other header is looked at.
    pub(crate) fn read(headers: &'a HeaderMap) -> Option<Self> {
        let first = headers.get("traceparent")?;
        if headers.get_all("traceparent").iter().nth(1).is_some() {
            return None;
        }
        let traceparent = first.to_str().ok()?;
        let (trace_id, span_id, flags) = parse_traceparent(traceparent)?;
        Some(Self { traceparent, trace_id, span_id, flags, tracestate: tracestate(headers), baggage: baggage(headers) })
    }

    /// Whether the caller records the trace.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// The caller's span.
    pub(crate) fn span_context(&self) -> SpanContext {
        let tracestate = TraceState::from_str(&self.tracestate).unwrap_or_default();
        SpanContext::new(self.trace_id, self.span_id, self.flags, true, tracestate)
    }

    /// What goes out is what came in.
    pub(crate) fn unchanged(self) -> TraceContext {
        TraceContext::new(self.traceparent.to_owned(), self.tracestate, self.baggage)
    }
}

/// The context of calls that a span makes.
pub(crate) fn within(span: &SpanContext, tracestate: &str, baggage: &str) -> TraceContext {
    if !span.is_valid() {
        return TraceContext::default();
    }
    let flags = span.trace_flags().to_u8();
    let traceparent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    TraceContext::new(traceparent, tracestate.to_owned(), baggage.to_owned())
}

/// The baggage of a call, as it came.
pub(crate) fn baggage(headers: &HeaderMap) -> String {
    joined(headers, "baggage", LONGEST_BAGGAGE)
}

fn tracestate(headers: &HeaderMap) -> String {
    let tracestate = joined(headers, "tracestate", LONGEST_TRACESTATE);
    let members = tracestate.split(',').filter(|member| !member.trim().is_empty()).count();
    if members > MOST_MEMBERS { String::new() } else { tracestate }
}

/// The values of all headers of a name as one (RFC 9110 §5.3); empty if that is too long, or not text.
fn joined(headers: &HeaderMap, name: &str, longest: usize) -> String {
    let mut joined = String::new();
    for value in headers.get_all(name) {
        let Ok(value) = value.to_str() else { return String::new() };
        if joined.len() + value.len() >= longest {
            return String::new();
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(value);
    }
    joined
}

/// `VERSION-TRACE_ID-SPAN_ID-FLAGS`, hexadecimal in lower case, ids other than zero (Trace Context §3.2). Later versions
/// may have more behind it.
fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    if text.len() > LONGEST_TRACEPARENT {
        return None;
    }
    let mut fields = text.splitn(5, '-');
    let version = hexadecimal(fields.next()?, 2)?;
    let trace_id = TraceId::from_hex(hexadecimal(fields.next()?, 32)?).ok()?;
    let span_id = SpanId::from_hex(hexadecimal(fields.next()?, 16)?).ok()?;
    let flags = u8::from_str_radix(hexadecimal(fields.next()?, 2)?, 16).ok()?;
    let is_of_known_length = version != "00" || fields.next().is_none();
    let is_valid = version != "ff" && is_of_known_length && trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
    is_valid.then_some((trace_id, span_id, TraceFlags::new(flags & KNOWN_FLAGS)))
}

fn hexadecimal(text: &str, length: usize) -> Option<&str> {
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(digits)).then_some(text)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    /// What goes out, by name.
    fn passed_on(headers: &HeaderMap) -> Vec<(&'static str, String)> {
        let context = Incoming::read(headers).map(Incoming::unchanged).unwrap_or_default();
        context.headers().map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn only_valid_parents_count() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let cases = [
            (TRACEPARENT.to_owned(), true),
            (format!("00-{id}-b7ad6b7169203331-00"), true),
            (format!("00-{id}-b7ad6b7169203331-ff"), true),
            // A later version, with and without more fields.
            (format!("cc-{id}-b7ad6b7169203331-01"), true),
            (format!("cc-{id}-b7ad6b7169203331-01-what-the-future-will-be-like"), true),
            (format!("cc-{id}-b7ad6b7169203331-01.what"), false),
            (format!("cc-{id}-b7ad6b7169203331-01-{}", "x".repeat(300)), false),
            (format!("ff-{id}-b7ad6b7169203331-01"), false),
            (format!("00-{id}-b7ad6b7169203331-01-more"), false),
            (format!("00-{id}-b7ad6b7169203331-01-"), false),
            (format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()), false),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false),
            (format!("00-{id}-0000000000000000-01"), false),
            (format!("00-{id}-b7ad6b7169203331"), false),
            (format!("00-{id}-b7ad6b716920333-01"), false),
            (format!("00-{id}-+7ad6b7169203331-01"), false),
            (format!("0-{id}-b7ad6b7169203331-01"), false),
            (format!("00-{id}-b7ad6b7169203331-0é"), false),
            ("00-1-2-01".to_owned(), false),
            (String::new(), false),
            ("-".repeat(55), false),
        ];
        for (text, is_valid) in cases {
            let found = passed_on(&headers(&[("traceparent", &text), ("tracestate", "a=b"), ("baggage", "c=d")]));
            let expected = [("traceparent", text.clone()), ("tracestate", "a=b".into()), ("baggage", "c=d".into())];
            assert_eq!(found, if is_valid { expected.to_vec() } else { Vec::new() }, "{text}");
        }
    }

    #[test]
    fn two_parents_are_none_and_nothing_goes_without_a_parent() {
        assert_eq!(passed_on(&headers(&[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)])), []);
        assert_eq!(passed_on(&headers(&[("tracestate", "a=b"), ("baggage", "c=d")])), []);
        assert_eq!(passed_on(&HeaderMap::new()), []);
    }

    #[test]
    fn what_is_too_large_or_no_text_is_left_out() {
        let members = |count: usize| (0..count).map(|index| format!("k{index}=v")).collect::<Vec<_>>().join(",");
        let cases = [
            ("tracestate", vec!["a=b".to_owned(), "c=d".to_owned()], Some("a=b,c=d".to_owned())),
            ("tracestate", vec![members(32)], Some(members(32))),
            ("tracestate", vec![members(33)], None),
            ("tracestate", vec![members(20), members(20)], None),
            ("tracestate", vec!["x".repeat(8192)], None),
            ("tracestate", vec!["é=b".to_owned()], None),
            ("baggage", vec!["a=b".to_owned(), "c=d;e".to_owned()], Some("a=b,c=d;e".to_owned())),
            ("baggage", vec!["x".repeat(8191)], Some("x".repeat(8191))),
            ("baggage", vec!["x".repeat(8192)], None),
            ("baggage", vec!["x".repeat(4096), "x".repeat(4096)], None),
            ("baggage", vec!["a=é".to_owned()], None),
        ];
        for (name, values, expected) in cases {
            let mut pairs = vec![("traceparent", TRACEPARENT)];
            pairs.extend(values.iter().map(|value| (name, value.as_str())));
            let found = passed_on(&headers(&pairs));
            assert_eq!(found.first(), Some(&("traceparent", TRACEPARENT.to_owned())), "{name}");
            assert_eq!(found.get(1).map(|(_, value)| value), expected.as_ref(), "{name} {values:?}");
        }
    }

    #[test]
    fn the_parent_is_the_callers_span() {
        let headers = headers(&[("traceparent", TRACEPARENT), ("tracestate", "congo=t61rcWkgMzE")]);
        let incoming = Incoming::read(&headers).unwrap();
        let parent = incoming.span_context();
        assert_eq!(parent.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
        assert_eq!((parent.is_remote(), parent.is_sampled()), (true, true));
        assert_eq!(parent.trace_state().get("congo"), Some("t61rcWkgMzE"));
        let out = within(&parent, "congo=t61rcWkgMzE", "");
        assert_eq!(out.headers().next(), Some(("traceparent", TRACEPARENT)));
        assert!(within(&SpanContext::NONE, "a=b", "c=d").is_empty());
    }
}
