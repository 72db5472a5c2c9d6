//! A collector for tests, on ports of its own: remembers the spans that it gets, and by whom they were sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    exports: Mutex<Vec<Export>>,
    changed: Notify,
}

/// One message, with the target over HTTP and the `authorization`.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) request: ExportTraceServiceRequest,
}

impl Collected {
    /// Everything that was sent so far.
    pub(crate) fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let exports = self.exports();
        let resources = exports.into_iter().flat_map(|export| export.request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Waits until there are that many spans.
    pub(crate) async fn wait_for_spans(&self, count: usize) -> Vec<Span> {
        let enough = async {
            loop {
                let changed = self.changed.notified();
                if self.spans().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough).await.unwrap();
        self.spans()
    }

    fn add(&self, export: Export) {
        self.exports.lock().unwrap().push(export);
        self.changed.notify_waiters();
    }
}

/// The text, number or list of an attribute, as it is printed.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match &found.value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => Some(text.clone()),
        Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// Collects over gRPC.
pub(crate) async fn over_grpc() -> (SocketAddr, Arc<Collected>) {
    let collected = Arc::<Collected>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(Grpc(Arc::clone(&collected)));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, collected)
}

struct Grpc(Arc<Collected>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.0.add(Export { target: String::new(), authorization, request: request.into_inner() });
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Collects over HTTP/1.1, answering with the statuses in their order and then with 200.
pub(crate) async fn over_http(statuses: &[u16]) -> (SocketAddr, Arc<Collected>) {
    let collected = Arc::<Collected>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut statuses = statuses.to_vec();
    statuses.reverse();
    let (shared, statuses) = (Arc::clone(&collected), Arc::new(Mutex::new(statuses)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&shared), Arc::clone(&statuses)));
        }
    });
    (address, collected)
}

async fn serve(mut stream: TcpStream, collected: Arc<Collected>, statuses: Arc<Mutex<Vec<u16>>>) {
    let mut read = Vec::new();
    while let Some((head, body)) = next_request(&mut stream, &mut read).await {
        let status = statuses.lock().unwrap().pop().unwrap_or(200);
        if status == 200 {
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let authorization = header(&head, "authorization").map(str::to_owned);
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            collected.add(Export { target, authorization, request });
        }
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
            if read.len() >= end + 4 + length {
                let rest = read.split_off(end + 4 + length);
                let body = read.split_off(end + 4);
                *read = rest;
                return Some((head, body));
            }
        }
        let mut part = [0; 8192];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&part[..count]),
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
