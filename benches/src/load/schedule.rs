//! The open loop: checks go out when they are due, whether the server has answered the ones before or not. A latency counts
//! from when a check was due: what is held up, by the server or by the limits here, has waited, as a user would have.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::{JoinError, JoinSet};

use super::timer::Timer;
use super::{Client, Extent, Outcome, check, frame, taken, template, told_of};
use crate::scenario::Questions;
use crate::statistics::Distribution;

/// Checks that wait for their answer at any time, on all connections together. More have to wait here, and their waiting
/// counts. Gateways have such a limit too.
const IN_FLIGHT: usize = 1000;

impl Client {
    /// Asks so many checks each second; an answer that is not as expected ends it. All answers have come when it returns, and
    /// all callbacks.
    pub(crate) async fn ask_on_schedule(
        &self,
        questions: &Questions,
        extent: Extent,
        rate: NonZeroU32,
    ) -> anyhow::Result<Outcome> {
        let latencies = Arc::new(Mutex::new(Distribution::default()));
        let late = Arc::new(Mutex::new(Distribution::default()));
        let template = template()?;
        let mut timer = Timer::new().context("there is no timer")?;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        // Until when something else than this process held checks up.
        let mut held_up = start;
        let all = async {
            for (number, connection) in (0..extent.checks).zip(self.connections.iter().cycle()) {
                let due = due(number, rate).filter(|due| *due < extent.time);
                let Some(due) = due.map(|due| start + due) else { break };
                while let Some(ended) = tasks.try_join_next() {
                    answered(ended)?;
                }
                timer.until(due).await?;
                while tasks.len() >= IN_FLIGHT {
                    tasks.join_next().await.map_or(Ok(()), answered)?;
                    held_up = Instant::now();
                }
                let scheduled = Scheduled {
                    connection: connection.clone(),
                    template: template.clone(),
                    frame: frame(questions, extent, number)?,
                    questions: questions.clone(),
                    due,
                    latencies: Arc::clone(&latencies),
                    late: (due >= held_up && questions.decisions.is_none()).then(|| Arc::clone(&late)),
                };
                tasks.spawn(scheduled.run());
            }
            while let Some(ended) = tasks.join_next().await {
                answered(ended)?;
            }
            Ok(())
        };
        let behind = || format!("the server does not keep up with {rate} checks a second");
        told_of(questions, extent, all).await.with_context(behind)??;
        Ok(Outcome { elapsed: start.elapsed(), latencies: taken(&latencies), late: taken(&late) })
    }
}

/// When the check with this number is due, from the start; none if that is too far away to matter.
pub(crate) fn due(number: u64, rate: NonZeroU32) -> Option<Duration> {
    const SECOND: u64 = 1_000_000_000;
    let (seconds, rest) = (number / u64::from(rate.get()), number % u64::from(rate.get()));
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(rest * SECOND / u64::from(rate.get())))
}

fn answered(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended?
}

/// One check.
struct Scheduled {
    connection: SendRequest<Bytes>,
    template: Request<()>,
    frame: Bytes,
    questions: Questions,
    due: Instant,
    latencies: Arc<Mutex<Distribution>>,
    /// Where to note how late it is sent; none if something else held it up.
    late: Option<Arc<Mutex<Distribution>>>,
}

impl Scheduled {
    async fn run(self) -> anyhow::Result<()> {
        let Self { connection, template, frame, questions, due, latencies, late } = self;
        let push = |latencies: &Mutex<Distribution>| {
            latencies.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
        };
        if let Some(late) = &late {
            push(late);
        }
        if let Some(decisions) = &questions.decisions {
            decisions.enter().await?;
        }
        // With as many open streams as the server allows, it goes out as soon as one has ended.
        check(&mut connection.ready().await?, template, frame, questions.expected).await?;
        push(&latencies);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Notify;
    use tonic::{Response, Status};
    use usher_proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
    use usher_proto::envoy::service::auth::v3::{CheckRequest, CheckResponse};
    use usher_server::listener::Http2Settings;
    use usher_server::{Listener, ListenerSettings};

    use super::*;
    use crate::load::Pace;

    #[test]
    fn checks_are_due_at_equal_distances() {
        for (number, rate, expected) in [
            (0, 5000, Some(0)),
            (1, 5000, Some(200_000)),
            (7499, 5000, Some(1_499_800_000)),
            (u64::from(u32::MAX) * 3 + 1, u32::MAX, Some(3_000_000_000)),
            (9, 1, Some(9_000_000_000)),
        ] {
            let found = due(number, NonZeroU32::new(rate).unwrap());
            assert_eq!(found, expected.map(Duration::from_nanos), "{number} at {rate}");
        }
        assert!(due(u64::MAX, NonZeroU32::MIN).is_some());
    }

    /// Lets some checks wait, and answers all others at once; also the very first.
    struct Stalling {
        waiting: Waiting,
        asked: AtomicU64,
        enough: Notify,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Waiting {
        /// The second check waits until so many are asked.
        UntilAsked(u64),
        /// So many checks from the second on are slow.
        Slow(u64),
    }

    const SLOW: Duration = Duration::from_millis(300);

    #[tonic::async_trait]
    impl Authorization for Stalling {
        async fn check(&self, _: tonic::Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
            let before = self.asked.fetch_add(1, Ordering::Relaxed);
            match self.waiting {
                Waiting::UntilAsked(_) if before == 1 => self.enough.notified().await,
                Waiting::UntilAsked(number) if before + 1 == number => self.enough.notify_one(),
                Waiting::Slow(number) if (1..=number).contains(&before) => tokio::time::sleep(SLOW).await,
                Waiting::UntilAsked(_) | Waiting::Slow(_) => {}
            }
            Ok(Response::new(CheckResponse { status: Some(Default::default()), ..CheckResponse::default() }))
        }
    }

    /// Asks for half a second.
    async fn ask(waiting: Waiting, streams: Option<u32>, rate: u32) -> Outcome {
        let listener = Listener::bind(ListenerSettings::new((Ipv4Addr::LOCALHOST, 0).into())).await.unwrap();
        let service = AuthorizationServer::new(Stalling { waiting, asked: AtomicU64::new(0), enough: Notify::new() });
        let mut settings = Http2Settings::default();
        if let Some(streams) = streams {
            settings.max_concurrent_streams = streams;
        }
        let running = listener.serve_http2(service, settings);
        let client = Client::connect(running.address(), Pace { connections: 1, in_flight: 1 }).await.unwrap();
        let extent = Extent { first: 0, time: Duration::from_millis(500), checks: u64::MAX };
        let questions = Questions::anonymous();
        // From then on the client knows how many streams it may open.
        client.answer(&questions.frames[0]).await.unwrap();
        client.ask_on_schedule(&questions, extent, NonZeroU32::new(rate).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn as_many_are_asked_as_are_due_whatever_the_server_does() {
        // A closed loop with one check at a time would wait forever.
        let outcome = ask(Waiting::UntilAsked(501), None, 1000).await;
        assert_eq!(outcome.latencies.len(), 500);
        assert_eq!(outcome.late.len(), 500);
        // The last one was due then.
        assert!(outcome.elapsed >= Duration::from_millis(499));
        assert!(outcome.latencies.quantile(1.0).unwrap() >= Duration::from_millis(498));
        assert!(outcome.latencies.quantile(0.0).unwrap() < Duration::from_millis(498));
    }

    #[tokio::test]
    async fn waiting_for_the_server_to_take_it_counts() {
        // One stream at a time: all that are due meanwhile wait until the first is answered. A closed loop would count one.
        let outcome = ask(Waiting::Slow(1), Some(1), 1000).await;
        assert_eq!(outcome.latencies.len(), 500);
        assert!(outcome.latencies.quantile(0.5).unwrap() >= SLOW / 10, "{:?}", outcome.latencies.quantile(0.5));
        // So do those beyond the limit here, and this process is not to blame for them.
        let outcome = ask(Waiting::Slow(u64::MAX), None, 10_000).await;
        assert_eq!(outcome.latencies.len(), 5000);
        assert!(outcome.late.len() < 5000);
        assert!(outcome.latencies.quantile(0.99).unwrap() >= SLOW * 2, "{:?}", outcome.latencies.quantile(0.99));
    }
}
