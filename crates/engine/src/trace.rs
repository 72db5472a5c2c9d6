//! The trace that a check belongs to, carried to those who are asked on its behalf.

use std::{fmt, sync::Arc};

/// The headers of W3C Trace Context and W3C Baggage that requests to others get, or nothing.
///
/// The engine does not look into it: whoever received the check made it, and whoever asks others sends it along.
/// Nothing costs nothing; clones share the texts.
#[derive(Clone, Default)]
pub struct TraceContext(Option<Arc<Headers>>);

struct Headers {
    traceparent: String,
    tracestate: String,
    baggage: String,
}

impl TraceContext {
    /// A context of these header values. Without a `traceparent` there is none; the others may be empty.
    #[must_use]
    pub fn new(traceparent: String, tracestate: String, baggage: String) -> Self {
        if traceparent.is_empty() {
            return Self(None);
        }
        Self(Some(Arc::new(Headers { traceparent, tracestate, baggage })))
    }

    /// Whether there is no trace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Names and values of the headers that are to be sent, each once; none if there is no trace.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let headers = self.0.iter().flat_map(|headers| {
            [
                ("traceparent", headers.traceparent.as_str()),
                ("tracestate", headers.tracestate.as_str()),
                ("baggage", headers.baggage.as_str()),
            ]
        });
        headers.filter(|(_, value)| !value.is_empty())
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.headers().map(|(_, value)| value.len()).sum()
    }
}

/// Without the baggage, in which applications put what they like.
impl fmt::Debug for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traceparent = self.0.as_deref().map(|headers| headers.traceparent.as_str());
        write!(formatter, "TraceContext({})", traceparent.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_sent() {
        let headers = |context: &TraceContext| context.headers().map(|(name, _)| name).collect::<Vec<_>>();
        let context = |parent: &str, state: &str, baggage: &str| {
            TraceContext::new(parent.to_owned(), state.to_owned(), baggage.to_owned())
        };
        assert_eq!(headers(&TraceContext::default()), [""; 0]);
        assert!(context("", "a=b", "c=d").is_empty());
        assert_eq!(headers(&context("", "a=b", "c=d")), [""; 0]);
        assert_eq!(headers(&context("p", "", "")), ["traceparent"]);
        assert_eq!(headers(&context("p", "", "c=d")), ["traceparent", "baggage"]);
        let whole = context("p", "a=b", "secret=d");
        assert_eq!(headers(&whole), ["traceparent", "tracestate", "baggage"]);
        assert_eq!((whole.size(), format!("{whole:?}").as_str()), (12, "TraceContext(p)"));
    }
}
