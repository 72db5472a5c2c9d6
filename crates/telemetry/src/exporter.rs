//! The road of spans to a collector: batches, over OTLP.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, header::AUTHORIZATION};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol as Encoding, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter, TracerProviderBuilder},
};
use tokio::runtime::Handle;
use tonic::{metadata::MetadataMap, transport::ClientTlsConfig};

use crate::{Endpoint, endpoint::Protocol};

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint names nothing that could be reached, or TLS cannot be set up.
    #[error("the connection cannot be set up")]
    Connection(#[source] tonic::transport::Error),
    /// TLS cannot be set up.
    #[error("the http client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The exporter does not accept what it is given.
    #[error("the exporter cannot be set up")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// There is nobody to do the sending.
    #[error("there is no runtime")]
    Runtime(#[source] tokio::runtime::TryCurrentError),
}

/// The most time for one batch, with all attempts.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Adds the collector to a provider.
pub(crate) fn export_to(
    builder: TracerProviderBuilder,
    endpoint: &Endpoint,
    insecure: bool,
) -> Result<TracerProviderBuilder, ExporterError> {
    let runtime = Handle::try_current().map_err(ExporterError::Runtime)?;
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster, with the same provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let cause = Arc::new(Cause::default());
    let exporter = match endpoint.protocol {
        Protocol::Grpc => grpc(endpoint, insecure),
        Protocol::Http => http(endpoint, insecure, runtime, Arc::clone(&cause)),
    }?;
    let to = endpoint.to_string();
    Ok(builder.with_batch_exporter(Told { exporter, to, cause, state: Mutex::default() }))
}

fn grpc(endpoint: &Endpoint, insecure: bool) -> Result<opentelemetry_otlp::SpanExporter, ExporterError> {
    let mut channel = tonic::transport::Endpoint::new(endpoint.url(insecure))
        .map_err(ExporterError::Connection)?
        .timeout(TIME_LIMIT)
        .connect_timeout(TIME_LIMIT);
    if !insecure {
        channel = channel.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(ExporterError::Connection)?;
    }
    opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(channel.connect_lazy())
        .with_timeout(TIME_LIMIT)
        .with_metadata(MetadataMap::from_headers(headers(endpoint)))
        .build()
        .map_err(ExporterError::Exporter)
}

fn http(
    endpoint: &Endpoint,
    insecure: bool,
    runtime: Handle,
    cause: Arc<Cause>,
) -> Result<opentelemetry_otlp::SpanExporter, ExporterError> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers(endpoint))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIME_LIMIT)
        .build()
        .map_err(ExporterError::Client)?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Sender { client, runtime, cause })
        .with_protocol(Encoding::HttpBinary)
        .with_endpoint(endpoint.url(insecure))
        .with_timeout(TIME_LIMIT)
        .build()
        .map_err(ExporterError::Exporter)
}

fn headers(endpoint: &Endpoint) -> HeaderMap {
    endpoint.authorization().map(|value| (AUTHORIZATION, value.clone())).into_iter().collect()
}

/// Sends requests from a thread that is not Tokio's.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    cause: Arc<Cause>,
}

/// Bytes of an answer; there is nothing in it but, perhaps, why not all was taken.
const LONGEST_ANSWER: usize = 1 << 20;

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let exchange = self.runtime.spawn(async move { exchange(&client, request).await });
        Box::pin(async move {
            let result = match exchange.await {
                Ok(result) => result,
                Err(error) => Err(error.into()),
            };
            self.cause.set(result.as_ref().err().map(|error| causes(&**error)));
            result
        })
    }
}

async fn exchange(client: &reqwest::Client, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let mut answer = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err("the answer is too large".into());
        }
        body.extend_from_slice(&chunk);
    }
    *response.body_mut() = body.into();
    Ok(response)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Why the last request had no answer, which the exporter keeps to itself.
#[derive(Debug, Default)]
struct Cause(Mutex<Option<String>>);

impl Cause {
    fn set(&self, cause: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An exporter whose failures are told in the log, each kind of trouble once in a while.
struct Told<E> {
    exporter: E,
    to: String,
    cause: Arc<Cause>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    lost: usize,
}

/// How long nothing more is said about batches that cannot be sent.
const SILENCE: Duration = Duration::from_secs(60);

impl<E> Told<E> {
    fn tell(&self, spans: usize, result: &OTelSdkResult) {
        let cause = self.cause.take();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let to = &*self.to;
        match result {
            Ok(()) => {
                if state.told.take().is_some() {
                    tracing::info!(to, "spans are sent again");
                }
                state.lost = 0;
            }
            Err(error) => {
                state.lost += spans;
                if state.told.is_some_and(|told| told.elapsed() < SILENCE) {
                    return;
                }
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::error!(to, error = format!("{error}{cause}"), lost = state.lost, "trace error");
                *state = State { told: Some(Instant::now()), lost: 0 };
            }
        }
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.tell(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Without the exporter, which knows the credential.
impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Told").field("to", &self.to).finish_non_exhaustive()
    }
}
