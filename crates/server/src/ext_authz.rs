//! Envoy's external authorization over gRPC: decode, decide, answer.
//!
//! A call that carries a check is always answered with a `CheckResponse`; gRPC errors are left to calls that are not checks,
//! because a gateway takes them for an outage and may let the request pass.

mod attributes;
mod response;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use usher_engine::Verdict;
use usher_proto::envoy::service::auth::v3::CheckResponse;

pub(crate) use self::attributes::made_up_id;
use crate::answer::Answer;
use crate::decide::{Call, Decide, guarded};
use crate::grpc::{Services, TooLong};
use crate::listener::{Http2Settings, Listener, Running};
use crate::{Metrics, Readiness, Tracing};
use usher_telemetry::Call as Traced;

/// Longest check that is read: bodies are part of it, and gateways set no limit of their own on the message.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How checks are answered.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Our own limit on the time of a check, next to the caller's deadline.
    pub timeout: Option<Duration>,
    /// Tell the gateway apart "no" and "could not decide" (`error_response`); Envoy understands it since 1.37.
    pub error_response: bool,
    /// Put several challenges of a refusal into one header, for gateways that keep only one of them.
    pub join_challenges: bool,
    /// Where calls are recorded.
    pub tracing: Tracing,
}

/// Answers checks and gRPC health checks on a listener.
pub fn serve<D: Decide>(
    listener: Listener,
    decide: Arc<D>,
    readiness: Arc<dyn Readiness>,
    metrics: Arc<Metrics>,
    settings: Settings,
) -> Running {
    let authorization = ExtAuthz { decide, metrics: Arc::clone(&metrics), settings };
    let services = Arc::new(Services::new(authorization, readiness, metrics));
    let settings = Http2Settings { date_header: false, ..Http2Settings::default() };
    listener.serve_http2(tower::service_fn(move |call| Arc::clone(&services).answer(call)), settings)
}

/// The service `envoy.service.auth.v3.Authorization`.
pub(crate) struct ExtAuthz<D> {
    decide: Arc<D>,
    metrics: Arc<Metrics>,
    settings: Settings,
}

impl<D: Decide> ExtAuthz<D> {
    /// Answers the method `Check`: a message, `CheckRequest`, that came with these headers. What cannot be read as such a
    /// message is denied: told that the call failed, a gateway may let the request pass, and clients may have had a hand in it.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        message: Result<Bytes, TooLong>,
        deadline: Option<Instant>,
    ) -> CheckResponse {
        let request = match &message {
            Ok(message) => attributes::request(message).map_err(|error| error.0),
            Err(TooLong) => Err("it is too long"),
        };
        // What is needed of it was copied.
        drop(message);
        let mut traced = self.settings.tracing.grpc_check(headers);
        traced.begin_check("Check");
        let mut request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return self.answer(Verdict::invalid(), "", &mut traced),
            Err(error) => {
                tracing::info!(error, "a check cannot be read");
                return self.answer(Verdict::invalid(), "", &mut traced);
            }
        };
        traced.set_request(&mut request);
        let request = Arc::new(request);
        let call = Call { deadline, headers };
        let verdict = guarded(&*self.decide, Arc::clone(&request), call).await;
        self.answer(verdict, &request.parts().id, &mut traced)
    }

    fn answer(&self, verdict: Verdict, id: &str, traced: &mut Traced) -> CheckResponse {
        traced.set_verdict(&verdict);
        self.metrics.answered(&verdict);
        let mut answer = Answer::new(verdict, id);
        if let Answer::Refused(refused) = &mut answer
            && self.settings.join_challenges
        {
            refused.join_challenges();
        }
        response::check_response(answer, self.settings.error_response)
    }
}

impl<D> ExtAuthz<D> {
    /// When an answer to a call that came then, with these headers, is worth nothing any more: the smaller of the caller's
    /// deadline and our own limit.
    pub(crate) fn deadline(&self, received: Instant, headers: &HeaderMap) -> Option<Instant> {
        let callers = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()));
        // The answer has to be there in time, not just on its way.
        let callers = callers.map(|timeout| timeout - (timeout / 20).min(Duration::from_millis(10)));
        let timeout = match (callers, self.settings.timeout) {
            (Some(callers), Some(ours)) => Some(callers.min(ours)),
            (callers, ours) => callers.or(ours),
        };
        received.checked_add(timeout?)
    }
}

/// A `grpc-timeout` header: up to eight digits and a unit. Anything else counts as no deadline.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
