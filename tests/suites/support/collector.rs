//! A collector of spans, OTLP over HTTP.

use std::{
    io::{self, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span as WireSpan,
};
use prost::Message as _;

use super::{http, wait::until};

/// Takes whatever is sent to it, as long as it lives.
#[derive(Debug)]
pub(crate) struct Collector {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    spans: Mutex<Vec<Span>>,
    is_over: AtomicBool,
}

/// A span. Ids in hexadecimal.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// The name of the service that sent it.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first span of a trace.
    pub(crate) parent: String,
    attributes: Vec<KeyValue>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let collector = Self { port, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&state);
                // A connection that breaks is the sender's to notice.
                thread::spawn(move || take(stream, &state));
            }
        });
        collector
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.spans.lock().unwrap().clone()
    }

    /// The first span of a service with such a name, as soon as it is there.
    pub(crate) fn wait_for(&self, service: &str, is_name: impl Fn(&str) -> bool) -> Span {
        until("a span", || {
            let spans = self.spans();
            let found = spans.iter().find(|span| span.service == service && is_name(&span.name));
            found.cloned().ok_or_else(|| format!("none such of `{service}` in {spans:?}"))
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the listening thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Span {
    /// The text or the number of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        text(&self.attributes, name)
    }

    fn new(service: &str, span: WireSpan) -> Self {
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            service: service.to_owned(),
            name: span.name,
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            attributes: span.attributes,
        }
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()? {
        AnyValue { value: Some(Value::StringValue(text)) } => Some(text.clone()),
        AnyValue { value: Some(Value::IntValue(number)) } => Some(number.to_string()),
        AnyValue { .. } => None,
    }
}

fn take(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(http::TIMEOUT))?;
    let (first, _, body) = http::read_message(&mut BufReader::new(&mut stream), false)?;
    if first != "POST /v1/traces HTTP/1.1" {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    let message = ExportTraceServiceRequest::decode(&*body).map_err(io::Error::other)?;
    for resource in message.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text(&attributes, "service.name").unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        state.spans.lock().unwrap().extend(spans.map(|span| Span::new(&service, span)));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
