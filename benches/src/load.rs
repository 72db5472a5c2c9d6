//! Who asks: HTTP/2 at the level of frames. Cheap, so that most of the machine is the server's.
//!
//! ```text
//!   closed loop   some checks wait for their answer at any time; each answer lets the next one go
//!   open loop     a fixed number of checks each second, whatever the server does
//!     schedule      when each is due: its latency counts from then
//!     timer         wakes for it
//! ```

mod schedule;
mod timer;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Version, header};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use usher_proto::envoy::service::auth::v3::CheckResponse;

use crate::check::{self, status_code};
use crate::scenario::Questions;
use crate::statistics::Distribution;

pub(crate) use schedule::due;
pub(crate) use timer::Timer;

/// How much is asked at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Connections; at least one.
    pub(crate) connections: usize,
    /// Checks that wait for their answer, on all connections together; at least one.
    pub(crate) in_flight: usize,
}

/// Which questions are asked, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Position of the first question.
    pub(crate) first: usize,
    /// No check is begun after this time.
    pub(crate) time: Duration,
    /// No more checks than this.
    pub(crate) checks: u64,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From the first question to the last answer.
    pub(crate) elapsed: Duration,
    /// One for each check.
    pub(crate) latencies: Distribution,
    /// How much later than scheduled checks were sent although nothing but this process held them up: part of their
    /// latencies. Empty in the closed loop, which has no schedule.
    pub(crate) late: Distribution,
}

/// Connections to a server.
pub(crate) struct Client {
    connections: Vec<SendRequest<Bytes>>,
    in_flight: usize,
    /// Reads and writes; ends with the client.
    _drivers: JoinSet<()>,
}

/// How long a server may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

impl Client {
    /// Opens the connections.
    pub(crate) async fn connect(address: SocketAddr, pace: Pace) -> anyhow::Result<Self> {
        let (mut connections, mut drivers) = (Vec::new(), JoinSet::new());
        for _ in 0..pace.connections.max(1) {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (connection, driver) = h2::client::Builder::new()
                .initial_window_size(1 << 20)
                .initial_connection_window_size(16 << 20)
                .handshake(stream)
                .await?;
            // Its errors come to whoever asks, too.
            drivers.spawn(async move { drop(driver.await) });
            connections.push(connection);
        }
        Ok(Self { connections, in_flight: pace.in_flight.max(1), _drivers: drivers })
    }

    /// Asks one question, and reads all of the answer.
    pub(crate) async fn answer(&self, frame: &Bytes) -> anyhow::Result<CheckResponse> {
        let mut connection = self.connections.first().context("there is no connection")?.clone().ready().await?;
        let mut answer = BytesMut::new();
        let call = call(&mut connection, template()?, frame.clone(), |part| answer.extend_from_slice(part));
        timeout(PATIENCE, call).await.context("the server is silent")??;
        check::answer(&answer)
    }

    /// Asks in a closed loop; an answer that is not as expected ends it. All answers have come when it returns, and all
    /// callbacks.
    pub(crate) async fn ask(&self, questions: &Questions, extent: Extent) -> anyhow::Result<Outcome> {
        let asked = Arc::new(AtomicU64::new(0));
        let latencies = Arc::new(Mutex::new(Distribution::default()));
        let template = template()?;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let all = async {
            for connection in self.connections.iter().cycle().take(self.in_flight) {
                let asker = Asker {
                    connection: connection.clone(),
                    template: template.clone(),
                    questions: questions.clone(),
                    extent,
                    asked: Arc::clone(&asked),
                    latencies: Arc::clone(&latencies),
                };
                tasks.spawn(asker.run(start));
            }
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        told_of(questions, extent, all).await.context("the server is silent")??;
        Ok(Outcome { elapsed: start.elapsed(), latencies: taken(&latencies), late: Distribution::default() })
    }
}

/// Asks, and waits until whoever is to be told of the decisions was told of all. None: it took too long.
async fn told_of<T>(
    questions: &Questions,
    extent: Extent,
    asking: impl Future<Output = anyhow::Result<T>>,
) -> Option<anyhow::Result<T>> {
    let Some(decisions) = &questions.decisions else { return timeout(extent.time + PATIENCE, asking).await.ok() };
    decisions.clear();
    let missing = || format!("{} callbacks are missing", decisions.waiting());
    let told = async {
        let asked = timeout(extent.time + PATIENCE, asking).await.with_context(missing)??;
        timeout(PATIENCE, decisions.emptied()).await.with_context(missing)??;
        Ok(asked)
    };
    Some(told.await)
}

/// What was gathered, which leaves nothing.
fn taken(latencies: &Mutex<Distribution>) -> Distribution {
    std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Asks one question after the other.
struct Asker {
    connection: SendRequest<Bytes>,
    template: Request<()>,
    questions: Questions,
    extent: Extent,
    /// Questions asked by all.
    asked: Arc<AtomicU64>,
    /// Of all.
    latencies: Arc<Mutex<Distribution>>,
}

impl Asker {
    async fn run(self, start: Instant) -> anyhow::Result<()> {
        let Self { mut connection, template, questions, extent, asked, latencies } = self;
        let mut now = Instant::now();
        while now.duration_since(start) < extent.time {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if number >= extent.checks {
                break;
            }
            let frame = frame(&questions, extent, number)?;
            if let Some(decisions) = &questions.decisions {
                decisions.enter().await?;
                now = Instant::now();
            }
            connection = connection.ready().await?;
            check(&mut connection, template.clone(), frame, questions.expected).await?;
            let answered = Instant::now();
            latencies.lock().unwrap_or_else(PoisonError::into_inner).push(answered.duration_since(now));
            now = answered;
        }
        Ok(())
    }
}

/// The question with this number.
fn frame(questions: &Questions, extent: Extent, number: u64) -> anyhow::Result<Bytes> {
    let position = extent.first.wrapping_add(usize::try_from(number)?);
    let frame = position.checked_rem(questions.frames.len()).and_then(|position| questions.frames.get(position));
    Ok(frame.context("there are no questions")?.clone())
}

async fn check(
    connection: &mut SendRequest<Bytes>,
    template: Request<()>,
    frame: Bytes,
    expected: i32,
) -> anyhow::Result<()> {
    let (mut code, mut start) = (None, BytesMut::new());
    let read = |part: &[u8]| {
        if code.is_none() && start.is_empty() {
            code = status_code(part);
        }
        // The answer comes in pieces: it seldom does.
        if code.is_none() {
            start.extend_from_slice(part);
            code = status_code(&start);
        }
    };
    call(connection, template, frame, read).await?;
    match code {
        Some(code) if code == expected => Ok(()),
        Some(code) => bail!("the answer has code {code}, not {expected}"),
        None => bail!("the answer has no code"),
    }
}

/// Asks, and hands on the parts of the answer as they come.
async fn call(
    connection: &mut SendRequest<Bytes>,
    template: Request<()>,
    frame: Bytes,
    mut read: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let (answer, mut stream) = connection.send_request(template, false)?;
    stream.send_data(frame, true)?;
    let mut body = answer.await?.into_body();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        read(&part);
    }
    let trailers = body.trailers().await?;
    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    if status.map(HeaderValue::as_bytes) != Some(b"0") {
        bail!("the call failed: grpc-status {status:?}");
    }
    Ok(())
}

fn template() -> anyhow::Result<Request<()>> {
    Ok(Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri("http://authorization.bench/envoy.service.auth.v3.Authorization/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        // Gateways always set a deadline.
        .header("grpc-timeout", "10000m")
        .body(())?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tonic::{Response, Status};
    use usher_proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
    use usher_proto::envoy::service::auth::v3::{CheckRequest, CheckResponse};
    use usher_server::listener::Http2Settings;
    use usher_server::{Listener, ListenerSettings, Running};

    use super::*;
    use crate::material::Material;
    use crate::upstream::Upstream;

    /// Answers with a code, or not at all.
    struct Answering(Option<i32>, Arc<AtomicU64>);

    #[tonic::async_trait]
    impl Authorization for Answering {
        async fn check(&self, call: tonic::Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(call.into_inner().attributes.is_some());
            let code = self.0.ok_or_else(|| Status::unavailable("away"))?;
            let status = usher_proto::google::rpc::Status { code, ..Default::default() };
            Ok(Response::new(CheckResponse { status: Some(status), ..CheckResponse::default() }))
        }
    }

    async fn server(code: Option<i32>) -> (Running, Arc<AtomicU64>) {
        let listener = Listener::bind(ListenerSettings::new((Ipv4Addr::LOCALHOST, 0).into())).await.unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let service = AuthorizationServer::new(Answering(code, Arc::clone(&count)));
        (listener.serve_http2(service, Http2Settings::default()), count)
    }

    #[tokio::test]
    async fn asks_as_often_as_told_and_not_less() {
        let (running, count) = server(Some(0)).await;
        let client = Client::connect(running.address(), Pace { connections: 2, in_flight: 7 }).await.unwrap();
        let extent = Extent { first: 3, time: Duration::from_secs(60), checks: 100 };
        let outcome = client.ask(&Questions::anonymous(), extent).await.unwrap();
        assert_eq!((outcome.latencies.len(), count.load(Ordering::Relaxed)), (100, 100));
        let nothing = Extent { time: Duration::ZERO, ..extent };
        assert_eq!(client.ask(&Questions::anonymous(), nothing).await.unwrap().latencies.len(), 0);
        let answer = client.answer(&Questions::anonymous().frames[0]).await.unwrap();
        assert_eq!(answer.status.unwrap().code, 0);
    }

    #[tokio::test]
    async fn callbacks_are_waited_for() {
        let (running, count) = server(Some(0)).await;
        let client = Client::connect(running.address(), Pace { connections: 1, in_flight: 8 }).await.unwrap();
        let upstream = Upstream::start(&Material::default()).unwrap();
        let decisions = Arc::clone(upstream.decisions());
        let questions = Questions { decisions: Some(Arc::clone(&decisions)), ..Questions::anonymous() };
        let extent = Extent { first: 0, time: Duration::from_secs(60), checks: 3 };
        let asking = tokio::spawn(async move { client.ask(&questions, extent).await });
        while count.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        (0..2).for_each(|_| decisions.leave());
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!asking.is_finished());
        decisions.leave();
        assert_eq!(asking.await.unwrap().unwrap().latencies.len(), 3);
    }

    #[tokio::test]
    async fn other_answers_than_the_expected_one_are_errors() {
        for (code, expected) in [(Some(7), "code 7, not 0"), (None, "the call failed")] {
            let (running, _) = server(code).await;
            let client = Client::connect(running.address(), Pace { connections: 1, in_flight: 2 }).await.unwrap();
            let extent = Extent { first: 0, time: Duration::from_secs(60), checks: 10 };
            let error = client.ask(&Questions::anonymous(), extent).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
