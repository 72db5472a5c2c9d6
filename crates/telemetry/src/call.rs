//! One call that is being answered.
//!
//! ```text
//!  gRPC   envoy.service.auth.v3.Authorization/Check  ──►  Check
//!  HTTP   auth                                       ──►  ServeHTTP
//!         oidc
//! ```

use std::borrow::Cow;

use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use usher_engine::{TraceContext, Verdict, verdict::DenialKind};

use crate::{
    Tracing,
    propagation::{self, Incoming},
};

/// A call that is being answered: its context, and its spans where it is recorded. They end with it.
#[derive(Debug, Default)]
pub struct Call {
    context: TraceContext,
    /// In a box, because most calls of most processes are not recorded.
    recorded: Option<Box<Recorded>>,
}

#[derive(Debug)]
struct Recorded {
    checks: SdkTracer,
    /// The check within the call. Comes first so that it ends first.
    check: Option<Span>,
    call: Span,
    is_grpc: bool,
    is_answered: bool,
    tracestate: String,
    baggage: String,
}

/// The longest text that is taken from a caller, in bytes.
const LONGEST_TEXT: usize = 1024;

const SERVICE: &str = "envoy.service.auth.v3.Authorization";

impl Tracing {
    /// A gRPC call of the authorization service, with these metadata.
    #[must_use]
    pub fn grpc_check(&self, metadata: &HeaderMap) -> Call {
        self.begin(metadata, true, || {
            SpanBuilder::from_name("envoy.service.auth.v3.Authorization/Check").with_attributes([
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", SERVICE),
                KeyValue::new("rpc.method", "Check"),
            ])
        })
    }

    /// An HTTP request; `name` is that of the server.
    #[must_use]
    pub fn http<B>(&self, name: &'static str, request: &Request<B>) -> Call {
        let headers = request.headers();
        self.begin(headers, false, || {
            let mut attributes = vec![
                KeyValue::new("http.request.method", method(request.method())),
                KeyValue::new("url.path", cut(request.uri().path())),
                KeyValue::new("network.protocol.version", version(request.version())),
            ];
            let texts = [("server.address", header::HOST), ("user_agent.original", header::USER_AGENT)];
            attributes.extend(texts.into_iter().filter_map(|(attribute, name)| {
                Some(KeyValue::new(attribute, cut(headers.get(name)?.to_str().ok()?)))
            }));
            SpanBuilder::from_name(name).with_attributes(attributes)
        })
    }

    /// Without a collector this looks for one header, and nothing else if it is not there.
    fn begin(&self, headers: &HeaderMap, is_grpc: bool, span: impl FnOnce() -> SpanBuilder) -> Call {
        let incoming = Incoming::read(headers);
        let Some(exporting) = &self.0 else { return Call::passing_on(incoming) };
        let not_recorded = |incoming: &Incoming<'_>| exporting.follows_callers && !incoming.is_sampled();
        if incoming.as_ref().is_some_and(not_recorded) {
            return Call::passing_on(incoming);
        }
        let (parent, tracestate, baggage) = match incoming {
            Some(incoming) => {
                let parent = Context::new().with_remote_span_context(incoming.span_context());
                (parent, incoming.tracestate, incoming.baggage)
            }
            None => (Context::new(), String::new(), propagation::baggage(headers)),
        };
        let call = exporting.calls.build_with_context(span().with_kind(SpanKind::Server), &parent);
        let context = propagation::within(call.span_context(), &tracestate, &baggage);
        // The decision not to record is passed on, too.
        let recorded = call.is_recording().then(|| {
            let checks = exporting.checks.clone();
            Box::new(Recorded { checks, check: None, call, is_grpc, is_answered: false, tracestate, baggage })
        });
        Call { context, recorded }
    }
}

impl Call {
    fn passing_on(incoming: Option<Incoming<'_>>) -> Self {
        Self { context: incoming.map(Incoming::unchanged).unwrap_or_default(), recorded: None }
    }

    /// The context of what is done for this call, from now on.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Here the check begins; `name` is that of its span.
    pub fn begin_check(&mut self, name: &'static str) {
        let Some(recorded) = &mut self.recorded else { return };
        let parent = Context::new().with_remote_span_context(recorded.call.span_context().clone());
        let check = SpanBuilder::from_name(name).with_kind(SpanKind::Internal);
        let check = recorded.checks.build_with_context(check, &parent);
        self.context = propagation::within(check.span_context(), &recorded.tracestate, &recorded.baggage);
        recorded.check = Some(check);
    }

    /// What is checked. From now on the request carries the context of this call.
    pub fn set_request(&mut self, request: &mut usher_engine::Request) {
        request.set_trace(self.context.clone());
        let Some(recorded) = &mut self.recorded else { return };
        let inner = recorded.inner();
        inner.set_attribute(KeyValue::new("authorino.request_id", cut(&request.parts().id)));
        if let Some(id) = request.header("x-request-id") {
            inner.set_attribute(KeyValue::new("guid:x-request-id", cut(id)));
        }
    }

    /// What was decided. That the answer is no is no error; that there is none, or that nothing could be asked, is one.
    pub fn set_verdict(&mut self, verdict: &Verdict) {
        let Some(recorded) = &mut self.recorded else { return };
        recorded.inner().set_attribute(KeyValue::new("usher.verdict", verdict.code_name()));
        match verdict {
            Verdict::Deny(denial) if denial.kind == DenialKind::Invalid => recorded.failed(denial.reason.clone()),
            Verdict::Undecidable(undecided) if undecided.detail.is_empty() => recorded.failed(undecided.reason),
            Verdict::Undecidable(undecided) => recorded.failed(undecided.detail.clone()),
            Verdict::Allow(_) | Verdict::Deny(_) => {}
        }
        if recorded.is_grpc {
            recorded.answered(KeyValue::new("rpc.grpc.status_code", 0));
        }
    }

    /// Why there is no check.
    pub fn set_error(&mut self, error: &'static str) {
        if let Some(recorded) = &mut self.recorded {
            recorded.failed(error);
        }
    }

    /// The status of an answer over HTTP.
    pub fn set_status(&mut self, status: StatusCode) {
        let Some(recorded) = &mut self.recorded else { return };
        recorded.answered(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            recorded.call.set_status(Status::error(""));
        }
    }
}

impl Recorded {
    /// The innermost span.
    fn inner(&mut self) -> &mut Span {
        self.check.as_mut().unwrap_or(&mut self.call)
    }

    fn failed(&mut self, error: impl Into<Cow<'static, str>>) {
        let error = error.into();
        let inner = self.inner();
        inner.add_event("exception", vec![KeyValue::new("exception.message", error.clone())]);
        inner.set_status(Status::error(error));
    }

    fn answered(&mut self, status: KeyValue) {
        self.call.set_attribute(status);
        self.is_answered = true;
    }
}

/// The spans end now. Without an answer the caller has gone, or the answer panicked.
impl Drop for Recorded {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.failed("the call ended before there was an answer");
        if self.is_grpc {
            const CANCELLED: i64 = 1;
            self.call.set_attribute(KeyValue::new("rpc.grpc.status_code", CANCELLED));
        }
    }
}

/// Callers may send any word as a method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    text.get(..end).unwrap_or_default().to_owned()
}
