//! The trace of a check in the requests that are made on its behalf.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use usher_engine::TraceContext;

/// Puts the headers of a trace in place of what is there by the same names. Without a trace nothing changes.
pub fn pass_on(trace: &TraceContext, headers: &mut HeaderMap) {
    for (name, value) in trace.headers() {
        // What came in a header can go out in one.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
