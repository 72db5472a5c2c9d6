//! The gRPC services of one port, and what is counted about their calls.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;
use usher_proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use usher_proto::grpc::health::v1::health_check_response::ServingStatus;
use usher_proto::grpc::health::v1::health_server::{Health, HealthServer};
use usher_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

use crate::metrics::{GrpcMethod, InFlight};
use crate::{Metrics, Readiness};

/// Authorization and health.
pub(crate) struct Services<A> {
    authorization: AuthorizationServer<A>,
    health: HealthServer<ReadinessHealth>,
    metrics: Arc<Metrics>,
}

impl<A> Services<A> {
    pub(crate) fn new(
        authorization: AuthorizationServer<A>,
        readiness: Arc<dyn Readiness>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { authorization, health: HealthServer::new(ReadinessHealth(readiness)), metrics }
    }
}

impl<A> Clone for Services<A> {
    fn clone(&self) -> Self {
        let metrics = Arc::clone(&self.metrics);
        Self { authorization: self.authorization.clone(), health: self.health.clone(), metrics }
    }
}

impl<A: Authorization> Service<Request<Incoming>> for Services<A> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        let method = match request.uri().path() {
            "/envoy.service.auth.v3.Authorization/Check" => GrpcMethod::Check,
            "/grpc.health.v1.Health/Check" => GrpcMethod::HealthCheck,
            "/grpc.health.v1.Health/List" => GrpcMethod::HealthList,
            "/grpc.health.v1.Health/Watch" => GrpcMethod::HealthWatch,
            _ => {
                return Answering { inner: None, in_flight: None };
            }
        };
        let in_flight = Some(self.metrics.start(method));
        let inner = match method {
            GrpcMethod::Check => self.authorization.call(request),
            GrpcMethod::HealthCheck | GrpcMethod::HealthList | GrpcMethod::HealthWatch => self.health.call(request),
        };
        Answering { inner: Some(inner), in_flight }
    }
}

type Inner = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A call that is being answered.
pub(crate) struct Answering {
    /// None for methods that nobody serves.
    inner: Option<Inner>,
    in_flight: Option<InFlight>,
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Ok(Status::unimplemented("no such method").into_http()));
        };
        let Ok(response) = ready!(inner.as_mut().poll(context));
        if let Some(in_flight) = self.in_flight.take() {
            // An answer without a message says so in its headers; one with a message ends well.
            let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
            in_flight.complete(code);
        }
        Poll::Ready(Ok(response))
    }
}

/// The service `grpc.health.v1.Health`. Every name is known, so that probes of any configuration work.
struct ReadinessHealth(Arc<dyn Readiness>);

impl ReadinessHealth {
    fn status(&self) -> HealthCheckResponse {
        let status = if self.0.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl Health for ReadinessHealth {
    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Ok(tonic::Response::new(self.status()))
    }

    async fn list(&self, _: tonic::Request<HealthListRequest>) -> Result<tonic::Response<HealthListResponse>, Status> {
        let statuses = [(String::new(), self.status())].into();
        Ok(tonic::Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("Watch is not implemented"))
    }
}
