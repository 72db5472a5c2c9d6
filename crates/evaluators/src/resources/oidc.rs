//! Issuers of JSON Web Tokens and their keys, kept up to date in the background.
//!
//! ```text
//!  plan ──► Arc<Source> ◄── weak ── Issuers        one Source per configuration, however many plans name it
//!              │
//!              ├─ keys        what a check reads, without waiting: the last good key set
//!              └─ task        discovers, fetches, tries again; ends when the last plan lets go of the Source
//! ```
//!
//! Checks never fetch. They may ask the task to fetch, when a token names a key that is not there: one fetch serves
//! all who ask while it is under way, and such fetches are at least [`Timing::on_demand_interval`] apart, so that made-up
//! tokens cannot turn this process against the issuer. What was fetched last stays in use until something newer was
//! fetched with success.

mod discovery;
mod verified;

#[cfg(test)]
pub(crate) mod test_issuer;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use usher_engine::{Failure, evaluator::Undecided};

use crate::resources::{http::Client, jwks::KeySet};

pub use verified::{TokenHash, VerifiedToken, VerifiedTokens};

/// Where keys come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// An OpenID Connect issuer; its discovery document says where its keys are.
    Issuer(String),
    /// A key set.
    KeySet(String),
}

/// The configuration of a [`Source`]. Rules with equal ones share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceConfig {
    /// Where the keys come from.
    pub location: Location,
    /// After what time they are fetched again; never if not given.
    pub ttl: Option<Duration>,
    /// The time limit of each request; that of the client if not given.
    pub timeout: Option<Duration>,
}

/// All sources in use.
pub struct Issuers {
    client: Client,
    runtime: Option<Handle>,
    timing: Timing,
    sources: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    sources: HashMap<SourceConfig, Weak<Source>>,
    /// At which size dead entries are looked for.
    sweep_at: usize,
}

impl Issuers {
    /// No sources yet. Background tasks run on the runtime in which this is called; without one (as when a
    /// configuration is only validated) on the runtime in which a source is asked for, and if there is none either,
    /// nothing is ever fetched.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with_timing(client, Timing::default())
    }

    fn with_timing(client: Client, timing: Timing) -> Self {
        Self { client, runtime: Handle::try_current().ok(), timing, sources: Mutex::default() }
    }

    /// The source of that configuration. The first who asks for it makes its keys be fetched, at once and in the
    /// background; the last who drops it ends that.
    #[must_use]
    pub fn source(&self, config: SourceConfig) -> Arc<Source> {
        let mut registry = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = registry.sources.get(&config).and_then(Weak::upgrade) {
            return source;
        }
        if registry.sources.len() >= registry.sweep_at {
            registry.sources.retain(|_, source| source.strong_count() > 0);
            registry.sweep_at = (registry.sources.len() * 2).max(64);
        }
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok());
        let source = Arc::new(Source::start(config.clone(), self.client.clone(), self.timing, runtime));
        registry.sources.insert(config, Arc::downgrade(&source));
        source
    }

    /// Waits until the keys of every source in use were fetched, or that was tried once. False if that takes longer
    /// than `at_most`.
    pub async fn wait_first_attempts(&self, at_most: Duration) -> bool {
        let all: Vec<_> = {
            let registry = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            registry.sources.values().filter_map(Weak::upgrade).map(|source| source.shared.progress.clone()).collect()
        };
        let attempts = async {
            for mut progress in all {
                // An error means that the source has gone: nothing to wait for.
                let _ = progress.wait_for(|progress| progress.attempts > 0).await;
            }
        };
        tokio::time::timeout(at_most, attempts).await.is_ok()
    }
}

/// The keys of one issuer.
pub struct Source {
    shared: Arc<Shared>,
    task: Option<AbortHandle>,
}

struct Shared {
    config: SourceConfig,
    client: Client,
    timing: Timing,
    keys: ArcSwapOption<Keys>,
    on_demand: Mutex<OnDemand>,
    wake: Notify,
    progress: watch::Receiver<Progress>,
}

/// What was fetched with success, and what was verified with it. Replaced as a whole: nothing that was verified with
/// other keys survives them.
#[derive(Debug)]
pub struct Keys {
    /// The issuer as its discovery document names it; none for a bare key set.
    pub issuer: Option<String>,
    /// The keys.
    pub set: KeySet,
    /// Tokens that were verified with these keys.
    pub verified: VerifiedTokens,
}

/// Fetches that checks asked for.
#[derive(Default)]
struct OnDemand {
    /// The number of the latest.
    number: u64,
    /// When it was asked for.
    at: Option<Instant>,
}

/// How far the task is.
#[derive(Default)]
struct Progress {
    /// How often it tried, with or without success.
    attempts: u64,
    /// The latest [`OnDemand::number`] that an attempt came after.
    answered: u64,
    /// Why the last attempt failed, if it did.
    error: Option<Arc<str>>,
    /// When it tries again by itself.
    next: Option<Instant>,
}

/// What came of asking for newer keys.
pub enum Refresh<F> {
    /// They are being fetched: wait, then look again.
    Underway(F),
    /// That was done moments ago: what is there is all there is.
    Recent,
}

impl Source {
    /// What was fetched last with success.
    pub fn keys(&self) -> Guard<Option<Arc<Keys>>> {
        self.shared.keys.load()
    }

    /// Asks for newer keys.
    pub fn refresh(&self) -> Refresh<impl Future<Output = ()> + Send + use<>> {
        let number = {
            let mut on_demand = self.shared.on_demand.lock().unwrap_or_else(PoisonError::into_inner);
            let (answered, ended) =
                (self.shared.progress.borrow().answered, self.shared.progress.has_changed().is_err());
            let recent = on_demand.at.is_some_and(|at| at.elapsed() < self.shared.timing.on_demand_interval);
            if ended || on_demand.number == answered && recent {
                return Refresh::Recent;
            }
            if on_demand.number == answered {
                on_demand.number += 1;
                on_demand.at = Some(Instant::now());
                self.shared.wake.notify_one();
            }
            on_demand.number
        };
        let mut progress = self.shared.progress.clone();
        Refresh::Underway(async move {
            // An error means that nobody fetches any more.
            let _ = progress.wait_for(|progress| progress.answered >= number).await;
        })
    }

    /// Waits for the end of the first attempt to fetch keys, if that is still to come.
    pub fn first_attempt(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut progress = self.shared.progress.clone();
        if progress.borrow().attempts > 0 || progress.has_changed().is_err() {
            return None;
        }
        Some(async move {
            let _ = progress.wait_for(|progress| progress.attempts > 0).await;
        })
    }

    /// Whether the last attempt to fetch keys failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.progress.borrow().error.is_some()
    }

    /// The failure of whoever needs keys that could not be fetched.
    #[must_use]
    pub fn unavailable(&self) -> Failure {
        let progress = self.shared.progress.borrow();
        let reason = match self.shared.config.location {
            Location::Issuer(_) => "missing openid connect configuration",
            Location::KeySet(_) => "missing json web key set",
        };
        let cause = progress.error.as_deref().unwrap_or("not fetched yet");
        let wait = progress.next.map(|next| next.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)));
        Failure::Undecidable(Undecided {
            reason,
            detail: format!("{:?}: {cause}", self.shared.config.location),
            retry_after: wait,
        })
    }

    fn start(config: SourceConfig, client: Client, timing: Timing, runtime: Option<Handle>) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            config,
            client,
            timing,
            keys: ArcSwapOption::empty(),
            on_demand: Mutex::default(),
            wake: Notify::new(),
            progress,
        });
        let task = runtime.map(|runtime| runtime.spawn(Arc::clone(&shared).keep_fresh(sender)).abort_handle());
        Self { shared, task }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    /// Fetches at once; then again after the ttl, sooner after a failure, and when asked to.
    async fn keep_fresh(self: Arc<Self>, progress: watch::Sender<Progress>) {
        let mut failures = 0;
        loop {
            let asked = self.asked();
            // A panic must not leave the keys to grow old.
            let attempt = AssertUnwindSafe(self.load()).catch_unwind().await;
            let error = attempt.unwrap_or_else(|_| Err("the attempt broke off".to_owned())).err();
            let pause = match &error {
                None => {
                    failures = 0;
                    self.config.ttl
                }
                Some(error) => {
                    let pause = self.timing.pause_after(failures);
                    failures = failures.saturating_add(1);
                    tracing::warn!(location = ?self.config.location, %error, retry_in = ?pause, "keys cannot be fetched");
                    Some(pause)
                }
            };
            let next = pause.and_then(|pause| Instant::now().checked_add(pause));
            progress.send_modify(|progress| {
                progress.attempts += 1;
                progress.answered = asked;
                progress.error = error.map(Arc::from);
                progress.next = next;
            });
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let demanded = async {
                while self.asked() == asked {
                    self.wake.notified().await;
                }
            };
            tokio::select! {
                () = due => {}
                () = demanded => {}
            }
        }
    }

    fn asked(&self) -> u64 {
        self.on_demand.lock().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Fetches everything anew. An issuer that moved its keys is followed, which fetching the keys alone would not do.
    async fn load(&self) -> Result<(), String> {
        let (issuer, set) = discovery::load(&self.client, &self.config.location, self.config.timeout).await?;
        let same = self.keys.load().as_ref().is_some_and(|keys| keys.issuer == issuer && keys.set.has_same_keys(&set));
        if same {
            tracing::debug!(location = ?self.config.location, "keys are unchanged");
        } else {
            tracing::info!(location = ?self.config.location, keys = set.len(), "keys fetched");
            self.keys.store(Some(Arc::new(Keys { issuer, set, verified: VerifiedTokens::new() })));
        }
        Ok(())
    }
}

/// How patient and how insistent tasks are.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// The pause after the first failure; it doubles with each further one.
    first_pause: Duration,
    /// The longest pause.
    longest_pause: Duration,
    /// How far apart fetches are that checks ask for.
    on_demand_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            on_demand_interval: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// The pause after so many failures before this one, some of it by chance: issuers that went away together are not
    /// asked together when they come back.
    fn pause_after(&self, failures: u32) -> Duration {
        let pause = self.first_pause.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest_pause);
        let mut chance = [0];
        // Without chance all are asked together, which works too.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        pause.mul_f64(0.75 + 0.25 * f64::from(chance[0]) / 255.0)
    }
}

/// Without what may be secret in a URL.
impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, url) = match self {
            Self::Issuer(url) => ("issuer", url),
            Self::KeySet(url) => ("key set", url),
        };
        match url::Url::parse(url) {
            Ok(url) => write!(formatter, "{kind} {}", crate::resources::http::shown(&url)),
            Err(_) => write!(formatter, "{kind}"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).sources.len();
        formatter.debug_struct("Issuers").field("sources", &sources).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
