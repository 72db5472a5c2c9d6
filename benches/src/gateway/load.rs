//! Who asks the gateway: one request after the other, or so many each second.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::connection::Connection;
use super::request::Requests;
use crate::load::{Timer, due};
use crate::statistics::Distribution;

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// One at a time, on one connection.
    Closed,
    /// So many each second, whatever the gateway does.
    Open(NonZeroU32),
}

/// How long answers took.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    /// One for each request. In the open loop from when it was due, in the closed one from when it was sent.
    pub(super) latencies: Distribution,
    /// How much later than due requests were sent although a connection was free: the load generator's part of their
    /// latencies. Empty in the closed loop.
    pub(super) late: Distribution,
}

/// Connections to one gateway, and what is sent.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    /// At least one. All of them are idle.
    pub(super) connections: &'a mut VecDeque<Connection>,
    pub(super) requests: &'a mut Requests,
    /// No request is begun after this time.
    pub(super) time: Duration,
}

/// How long a gateway may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

impl Asking<'_> {
    /// Asks; all answers have come when it returns. Adds how long they took to `answers`.
    ///
    /// # Errors
    /// If an answer is not as expected.
    pub(super) async fn ask(mut self, load: Load, answers: &mut Answers) -> anyhow::Result<()> {
        let limit = self.time + PATIENCE;
        let asking = async {
            match load {
                Load::Closed => self.one_by_one(answers).await,
                Load::Open(rate) => self.on_schedule(rate, answers).await,
            }
        };
        timeout(limit, asking).await.context("the gateway is silent, or does not keep up")?
    }

    async fn one_by_one(&mut self, answers: &mut Answers) -> anyhow::Result<()> {
        let connection = self.connections.front_mut().context("there is no connection")?;
        let start = Instant::now();
        let mut now = start;
        while now.duration_since(start) < self.time {
            connection.ask(&self.requests.in_turn()).await?;
            let answered = Instant::now();
            answers.latencies.push(answered.duration_since(now));
            now = answered;
        }
        Ok(())
    }

    async fn on_schedule(&mut self, rate: NonZeroU32, answers: &mut Answers) -> anyhow::Result<()> {
        let mut timer = Timer::new().context("there is no timer")?;
        let mut tasks: JoinSet<anyhow::Result<Answered>> = JoinSet::new();
        let start = Instant::now();
        // Until when requests waited for a connection: the gateway held them up.
        let mut held_up = start;
        for number in 0.. {
            let Some(due) = due(number, rate).filter(|due| *due < self.time) else { break };
            let due = start + due;
            timer.until(due).await?;
            while let Some(ended) = tasks.try_join_next() {
                self.connections.push_back(taken(ended, answers)?);
            }
            // With none free, the request waits here, and that counts: a client that comes later has to wait, too.
            let connection = match self.connections.pop_front() {
                Some(connection) => connection,
                None => {
                    let ended = tasks.join_next().await.context("there is no connection")?;
                    held_up = Instant::now();
                    taken(ended, answers)?
                }
            };
            let scheduled = Scheduled { connection, due, is_held_up: due < held_up };
            tasks.spawn(scheduled.run(self.requests.in_turn()));
        }
        while let Some(ended) = tasks.join_next().await {
            self.connections.push_back(taken(ended, answers)?);
        }
        Ok(())
    }
}

/// A request that has a connection.
struct Scheduled {
    connection: Connection,
    due: Instant,
    is_held_up: bool,
}

/// One that was answered.
struct Answered {
    connection: Connection,
    latency: Duration,
    /// None if the gateway held it up.
    late: Option<Duration>,
}

impl Scheduled {
    async fn run(self, request: bytes::Bytes) -> anyhow::Result<Answered> {
        let Self { mut connection, due, is_held_up } = self;
        let late = (!is_held_up).then(|| due.elapsed());
        connection.ask(&request).await?;
        Ok(Answered { connection, latency: due.elapsed(), late })
    }
}

/// Notes how long it took, and gives back the connection.
fn taken(ended: Result<anyhow::Result<Answered>, JoinError>, answers: &mut Answers) -> anyhow::Result<Connection> {
    let Answered { connection, latency, late } = ended??;
    answers.latencies.push(latency);
    if let Some(late) = late {
        answers.late.push(late);
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::scenario::Questions;

    const SLOW: Duration = Duration::from_millis(300);

    /// Answers every request, the second of all after [`SLOW`]. Gives the number of requests so far.
    async fn gateway() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while stream.read_buf(&mut request).await.unwrap() > 0 {
                        if request.ends_with(b"\r\n\r\n") {
                            request.clear();
                            if counted.fetch_add(1, Ordering::Relaxed) == 1 {
                                tokio::time::sleep(SLOW).await;
                            }
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                        }
                    }
                });
            }
        });
        (address, count)
    }

    /// Asks for half a second.
    async fn ask(connections: usize, load: Load) -> (Answers, u64) {
        let (address, count) = gateway().await;
        let mut idle = VecDeque::new();
        for _ in 0..connections {
            idle.push_back(Connection::open(address).await.unwrap());
        }
        let mut requests = Requests::of(&*Questions::anonymous().frames, "").unwrap();
        let time = Duration::from_millis(500);
        let asking = Asking { connections: &mut idle, requests: &mut requests, time };
        let mut answers = Answers::default();
        asking.ask(load, &mut answers).await.unwrap();
        assert_eq!(idle.len(), connections, "all are idle again");
        (answers, count.load(Ordering::Relaxed))
    }

    fn open(rate: u32) -> Load {
        Load::Open(NonZeroU32::new(rate).unwrap())
    }

    #[tokio::test]
    async fn the_closed_loop_counts_a_stall_once() {
        let (answers, asked) = ask(3, Load::Closed).await;
        assert!(asked > 10, "{asked}");
        assert_eq!((answers.latencies.len(), answers.late.len()), (asked, 0));
        assert!(answers.latencies.quantile(1.0).unwrap() >= SLOW);
        assert!(answers.latencies.quantile(0.5).unwrap() < SLOW / 10);
    }

    #[tokio::test]
    async fn the_open_loop_counts_all_that_a_stall_holds_up() {
        let (answers, asked) = ask(1, open(200)).await;
        assert_eq!((answers.latencies.len(), asked), (100, 100));
        // About 60 were due while the only connection waited: they were late, and not because of the load generator.
        assert!(answers.late.len() < 60, "{}", answers.late.len());
        assert!(answers.latencies.quantile(0.6).unwrap() >= SLOW / 10, "{:?}", answers.latencies.quantile(0.6));
    }

    #[tokio::test]
    async fn the_open_loop_goes_on_with_the_other_connections() {
        let (answers, asked) = ask(16, open(200)).await;
        assert_eq!((answers.latencies.len(), asked), (100, 100));
        assert!(answers.late.len() > 60, "{}", answers.late.len());
        assert!(answers.latencies.quantile(1.0).unwrap() >= SLOW);
        assert!(answers.latencies.quantile(0.9).unwrap() < SLOW, "{:?}", answers.latencies.quantile(0.9));
    }
}
