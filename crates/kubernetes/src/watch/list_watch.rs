//! A list, and then every change: for as long as somebody listens.
//!
//! ```text
//!            ┌─────── the version is too old (410), is not understood, or is refused again and again ──┐
//!            ▼                                                                                      │
//!          list ── Restart, Listed…, Complete ──► watch from its version ── Changed, Deleted… ──────┤
//!            ▲ ▲                                   ▲                │                               │
//!   pause ───┘ └── continue token                  └── ended, silent, pause after a failure ────────┘
//! ```
//!
//! It is not the watcher of `kube`: that one tells neither when a broken watch works again nor when one that is quiet is
//! well, and goes on for ever with a version that the server refuses when a watch begins.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::{sync::mpsc, time::Instant};

use super::{
    collection::{Collection, Page},
    health::{Health, Watched},
    item::Item,
    lines::Line,
};
use crate::{
    Cluster,
    backoff::{Backoff, jittered},
    exchange::{Cause, Failure, in_time},
};

/// What happens to the objects of a collection.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event<T> {
    /// A list begins. One that had begun before does not count.
    Restart,
    /// These are there. An object may be listed twice.
    Listed(Vec<T>),
    /// The list is complete: what it did not show is gone.
    Complete,
    /// The server answers, and tells of changes from now on.
    Connected,
    /// This one is new or different.
    Changed(T),
    /// This one is gone, or is no longer one of the collection.
    Deleted(T),
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// For a page of a list, or for the answer to a watch.
    pub(super) answer: Duration,
    /// For one object.
    pub(super) get: Duration,
    /// The server ends a watch after so many seconds; it is begun again where it ended. A connection that is dead
    /// without anybody having said so is noticed after this time and `silence`.
    pub(super) watch_seconds: u32,
    /// How much longer than that a watch may be silent.
    pub(super) silence: Duration,
    /// Between attempts.
    pub(super) backoff: Backoff,
    /// How long a watch goes on that nobody needs any more.
    pub(super) linger: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            get: Duration::from_secs(10),
            watch_seconds: 60,
            silence: Duration::from_secs(10),
            // What is revoked while the API server is away must not be served for long after it is back.
            backoff: Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) },
            linger: Duration::from_secs(60),
        }
    }
}

/// When the server last told something that helps to complete a list.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Instant>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// How many objects are asked for at a time.
const PAGE_SIZE: u32 = 500;

/// How many objects of a list are told at a time.
const LISTED_AT_A_TIME: usize = 20;

/// After so many refusals in a row to go on from a version, the list is read again.
const REFUSALS: u32 = 5;

/// A watch that told nothing and ended sooner did not go well.
const SHORT: Duration = Duration::from_secs(1);

/// One collection, and who listens.
pub(super) struct ListWatch<T> {
    pub(super) cluster: Arc<Cluster>,
    pub(super) collection: Collection,
    pub(super) watched: Watched,
    pub(super) timing: Timing,
    pub(super) health: Arc<Health>,
    pub(super) progress: Arc<Progress>,
    pub(super) events: mpsc::Sender<Event<T>>,
}

/// How a watch, or a list, ended.
enum Ended {
    /// Go on from this version.
    At(String),
    /// There is no going on from any version that is known: read the list.
    TooOld,
}

/// Why there is nothing to go on with.
enum Interruption {
    /// Nobody listens any more.
    Unheard,
    Failed(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<T: Item> ListWatch<T> {
    /// Runs until nobody listens any more. Begins with a list, each time that it is called.
    pub(super) async fn run(&self) {
        self.health.connecting(self.watched);
        let mut version: Option<String> = None;
        let mut page_size = PAGE_SIZE;
        // In a row: of any kind, refusals that have to do with what was asked, and versions that were too old.
        let (mut failures, mut refusals, mut too_old) = (0, 0, 0);
        loop {
            let mut well = false;
            let mut retry_after = None;
            let result = match &version {
                None => self.list(page_size).await.map(Ended::At),
                Some(version) => self.watch(version, &mut well).await,
            };
            if well {
                (failures, refusals, too_old) = (0, 0, 0);
            }
            match result {
                Ok(Ended::At(next)) => {
                    // A watch that ended as soon as it had begun is not begun again at once.
                    let soon = version.replace(next).is_some() && !well;
                    if !soon {
                        continue;
                    }
                    failures += 1;
                }
                Ok(Ended::TooOld) => {
                    version = None;
                    too_old += 1;
                    tracing::info!(watch = %self.watched, "the watch cannot go on from where it was; the list is read again");
                    // The server answers, and may have forgotten because it was away: what failed then does not count.
                    failures = too_old;
                    if too_old == 1 {
                        continue;
                    }
                }
                Err(Interruption::Unheard) => return,
                Err(Interruption::Failed(failure)) if failure.cause == Cause::TooLarge && page_size > 1 => {
                    page_size = (page_size / 4).max(1);
                    tracing::debug!(watch = %self.watched, page_size, "objects are large; smaller pages are asked for");
                    continue;
                }
                Err(Interruption::Failed(failure)) => {
                    failures += 1;
                    refusals += u32::from(failure.status().is_some() && !failure.is_of_the_api());
                    retry_after = failure.retry_after;
                    if refusals >= REFUSALS {
                        (version, refusals) = (None, 0);
                    }
                    self.health.fails(self.watched, failure.text);
                }
            }
            let pause = jittered(self.timing.backoff.pause(failures)).max(retry_after.unwrap_or_default());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.events.closed() => return,
            }
        }
    }

    /// Tells the whole list, and gives its version.
    async fn list(&self, page_size: u32) -> Result<String, Interruption> {
        let mut continue_token = None;
        self.tell(Event::Restart).await?;
        loop {
            let page = self.collection.page(&self.cluster, page_size, continue_token.take());
            let page: Page<T> = in_time(self.timing.answer, page).await?;
            self.progress.made();
            let mut items = page.items.unwrap_or_default().into_iter();
            loop {
                let some: Vec<_> = items.by_ref().take(LISTED_AT_A_TIME).collect();
                if some.is_empty() {
                    break;
                }
                self.tell(Event::Listed(some)).await?;
                self.progress.made();
            }
            continue_token = page.metadata.continue_token.filter(|token| !token.is_empty());
            if continue_token.is_some() {
                continue;
            }
            let version = page.metadata.resource_version.filter(|version| !version.is_empty());
            let version =
                version.ok_or_else(|| Failure::new(Cause::Unreadable, "the list has no `metadata.resourceVersion`"))?;
            self.tell(Event::Complete).await?;
            return Ok(version);
        }
    }

    /// Tells every change after this version. Says whether it went well: it lasted, or came to another version.
    async fn watch(&self, version: &str, well: &mut bool) -> Result<Ended, Interruption> {
        let begun = Instant::now();
        let lines = self.collection.watch(&self.cluster, version, self.timing.watch_seconds);
        let mut lines = match in_time(self.timing.answer, lines).await {
            Ok(lines) => lines,
            Err(failure) if is_too_old(failure.status()) => return Ok(Ended::TooOld),
            Err(failure) => return Err(failure.into()),
        };
        self.health.works(self.watched);
        self.tell(Event::Connected).await?;
        let silence = Duration::from_secs(self.timing.watch_seconds.into()) + self.timing.silence;
        let mut version = version.to_owned();
        loop {
            let line = tokio::select! {
                line = lines.next(silence) => line,
                () = self.events.closed() => return Err(Interruption::Unheard),
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => {
                    *well |= begun.elapsed() >= SHORT;
                    return Ok(Ended::At(version));
                }
                Err(failure) => {
                    // It would come again and again; a list, which may be longer, goes past it.
                    tracing::warn!(watch = %self.watched, reason = %failure, "an object is too large to be watched");
                    return Ok(Ended::TooOld);
                }
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Ok(Line { kind, object }) = T::read_line(&line) else {
                // Its change is not lost: the list will show it.
                tracing::debug!(watch = %self.watched, "the Kubernetes API told something that cannot be read");
                return Ok(Ended::TooOld);
            };
            if kind == "ERROR" {
                let status = object.code().and_then(|code| StatusCode::from_u16(code).ok());
                if is_too_old(status) {
                    return Ok(Ended::TooOld);
                }
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let text = format!("the watch was ended with HTTP {status}");
                return Err(Failure::new(Cause::Refused(status), text).into());
            }
            match object.resource_version() {
                Some(next) if !next.is_empty() => {
                    *well |= next != version;
                    next.clone_into(&mut version);
                }
                _ => return Ok(Ended::TooOld),
            }
            match kind.as_str() {
                "ADDED" | "MODIFIED" => self.tell(Event::Changed(object)).await?,
                "DELETED" => self.tell(Event::Deleted(object)).await?,
                _ => {}
            }
        }
    }

    async fn tell(&self, event: Event<T>) -> Result<(), Interruption> {
        self.events.send(event).await.map_err(|_| Interruption::Unheard)
    }
}

/// Whether a watch cannot go on from where it was: the version is too old (410), or is one that the server has not
/// reached, as after it was set back (504), or one that it does not understand (400).
fn is_too_old(status: Option<StatusCode>) -> bool {
    matches!(status, Some(StatusCode::GONE | StatusCode::GATEWAY_TIMEOUT | StatusCode::BAD_REQUEST))
}
