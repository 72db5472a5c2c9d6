//! The gRPC services of one port, and what is counted about their calls.
//!
//! ```text
//!  call ──► Services ─┬─ Authorization/Check ──► message ──► ExtAuthz ──► message
//!                     └─ Health/* ─────────────► the generated service
//! ```
//!
//! Checks are all that this server is for, so they go a way of their own: [`message`] is the frame around one message there
//! and one back, and nothing else of gRPC.

mod message;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{Code, Status};
use tower::Service;
use usher_proto::grpc::health::v1::health_check_response::ServingStatus;
use usher_proto::grpc::health::v1::health_server::{Health, HealthServer};
use usher_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

pub(crate) use self::message::{Body, TooLong};
use crate::decide::Decide;
use crate::ext_authz::{ExtAuthz, MAX_MESSAGE_BYTES};
use crate::metrics::{GrpcMethod, InFlight};
use crate::{Metrics, Readiness};

/// Authorization and health.
pub(crate) struct Services<D> {
    authorization: ExtAuthz<D>,
    health: HealthServer<ReadinessHealth>,
    metrics: Arc<Metrics>,
}

impl<D: Decide> Services<D> {
    pub(crate) fn new(authorization: ExtAuthz<D>, readiness: Arc<dyn Readiness>, metrics: Arc<Metrics>) -> Self {
        Self { authorization, health: HealthServer::new(ReadinessHealth(readiness)), metrics }
    }

    /// Answers a call. Dropped before its end, the call is counted as one that was given up.
    pub(crate) async fn answer(self: Arc<Self>, call: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let method = match call.uri().path() {
            "/envoy.service.auth.v3.Authorization/Check" => GrpcMethod::Check,
            "/grpc.health.v1.Health/Check" => GrpcMethod::HealthCheck,
            "/grpc.health.v1.Health/List" => GrpcMethod::HealthList,
            "/grpc.health.v1.Health/Watch" => GrpcMethod::HealthWatch,
            _ => return Ok(Status::unimplemented("no such method").into_http()),
        };
        let in_flight = self.metrics.start(method);
        let (response, code) = match method {
            GrpcMethod::Check => match self.check(call, &in_flight).await {
                Ok(body) => (message::response(body), Code::Ok),
                Err(status) => {
                    let code = status.code();
                    (status.into_http(), code)
                }
            },
            GrpcMethod::HealthCheck | GrpcMethod::HealthList | GrpcMethod::HealthWatch => {
                let Ok(response) = self.health.clone().call(call).await;
                // An answer without a message says so in its headers; one with a message ends well.
                let code = response.headers().get("grpc-status");
                let code = code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
                (response.map(Body::from), code)
            }
        };
        in_flight.complete(code);
        Ok(response)
    }

    async fn check(&self, call: Request<Incoming>, in_flight: &InFlight) -> Result<Body, Status> {
        let (parts, body) = call.into_parts();
        message::is_readable(&parts.headers)?;
        let deadline = self.authorization.deadline(in_flight.started(), &parts.headers);
        let message = message::read(body, MAX_MESSAGE_BYTES, deadline).await?;
        let answer = self.authorization.check(&parts.headers, message, deadline).await;
        message::body(&answer)
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
