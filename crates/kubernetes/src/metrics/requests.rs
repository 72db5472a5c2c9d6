//! Counts what the client sends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use prometheus::IntCounterVec;
use tower::{Layer, Service};

use super::ControllerMetrics;

/// A layer around the client that counts requests by method and by what was answered.
#[derive(Clone)]
pub(crate) struct CountRequests {
    requests: Option<IntCounterVec>,
    /// Name or address and port.
    host: Arc<str>,
}

impl CountRequests {
    /// Counts those to this host, or nothing if there are no metrics.
    pub(crate) fn new(metrics: Option<&ControllerMetrics>, host: &str) -> Self {
        Self { requests: metrics.map(|metrics| metrics.requests.clone()), host: host.into() }
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, count: self.clone() }
    }
}

/// A client whose requests are counted.
pub(crate) struct Counted<S> {
    inner: S,
    count: CountRequests,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    A: 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut counting = Counting { count: self.count.clone(), method: request.method().clone(), status: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            counting.answered(answer.as_ref().map(Response::status).ok());
            answer
        })
    }
}

/// A request that is counted when it has ended, be it that nobody waits for the answer any more.
struct Counting {
    count: CountRequests,
    method: Method,
    status: Option<StatusCode>,
}

impl Counting {
    fn answered(&mut self, status: Option<StatusCode>) {
        self.status = status;
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(requests) = &self.count.requests {
            let code = self.status.as_ref().map_or("<error>", |status| status.as_str());
            requests.with_label_values(&[code, self.method.as_str(), &self.count.host]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_method_and_answer() {
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry).unwrap();
        let api = service_fn(|request: Request<u16>| async move {
            match *request.body() {
                0 => Err("no connection"),
                1 => std::future::pending().await,
                status => Ok(Response::builder().status(status).body(()).unwrap()),
            }
        });
        let mut client = CountRequests::new(Some(&metrics), "10.0.0.1:443").layer(api);
        for (method, status) in [("GET", 200), ("GET", 200), ("PATCH", 409), ("PUT", 0)] {
            let request = Request::builder().method(method).body(status).unwrap();
            let _ = client.ready().await.unwrap().call(request).await;
        }
        // Nobody waits for this one.
        let silent = Request::builder().method("GET").body(1).unwrap();
        let mut asked = client.ready().await.unwrap().call(silent);
        assert!(futures_util::poll!(&mut asked).is_pending());
        drop(asked);
        let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for (code, method, count) in
            [("200", "GET", 2), ("409", "PATCH", 1), ("<error>", "PUT", 1), ("<error>", "GET", 1)]
        {
            let line = format!(
                "rest_client_requests_total{{code=\"{code}\",host=\"10.0.0.1:443\",method=\"{method}\"}} {count}\n"
            );
            assert!(page.contains(&line), "{line}{page}");
        }
    }
}
