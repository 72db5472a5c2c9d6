//! Policies that are downloaded, kept up to date in the background.
//!
//! Checks evaluate the text that was downloaded and compiled last ([`ExternalPolicy::version`]) and never download. A
//! registry that is away, or that publishes what is no policy, changes nothing. A text is compiled once, not with each
//! download.
//!
//! ```text
//!  download ──► text ──► the one in use? ──no──► refused before? ──no──► compile ──► Version
//!                              │ yes                   │ yes                │
//!                              └─ nothing changes      └────────────────────┴─ a failure: the last one stays
//! ```

pub(crate) mod answer;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::Guard;
use aws_lc_rs::digest;
use tokio::sync::Semaphore;
use usher_engine::Failure;

use crate::resources::background::{Fetch, Kept, Registry, Timing, wait_for_all};

/// Where the text of a policy comes from, and what is made of it.
pub(crate) trait Origin: Send + Sync + 'static {
    /// A text, compiled.
    type Policy: Send + Sync + 'static;

    /// Downloads the text, within bounds of time and size; the error says why there is none.
    fn download(&self) -> impl Future<Output = Result<String, String>> + Send;

    /// Compiles a text. Called on a thread that may be blocked. With the policy come warnings: what works, but probably
    /// not as meant.
    fn compile(&self, text: &str) -> Result<(Self::Policy, Vec<String>), String>;
}

/// What an [`ExternalPolicy`] is for.
#[derive(Debug, Clone)]
pub(crate) struct PolicyConfig {
    /// Stands for everything that the policy depends on. With the same digest it is the same policy.
    pub(crate) digest: Digest,
    /// The AuthConfig, `NAMESPACE/NAME`; for logs.
    pub(crate) authconfig: String,
    /// The rule of the AuthConfig; for logs.
    pub(crate) rule: String,
    /// After what time it is downloaded again; never if not given.
    pub(crate) ttl: Option<Duration>,
}

/// A SHA-256. Of cryptographic strength, because texts and configurations are written by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

impl Digest {
    /// The digest of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut array = [0; digest::SHA256_OUTPUT_LEN];
        array.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(array)
    }
}

/// All downloaded policies in use.
pub(crate) struct ExternalPolicies<O: Origin> {
    policies: Registry<Digest, ExternalPolicy<O>>,
    reconsider_after: Duration,
}

/// After what time a text that could not be compiled is compiled again. Whether it can be depends on it alone, or almost:
/// on a busy machine it may have taken too long.
const RECONSIDER_AFTER: Duration = Duration::from_secs(600);

impl<O: Origin> ExternalPolicies<O> {
    /// No policies yet. Background tasks run on the runtime in which this is called; without one (as when a
    /// configuration is only validated) on the runtime in which a policy is asked for, and if there is none either,
    /// nothing is ever downloaded.
    pub(crate) fn new() -> Self {
        Self::with_timing(Timing::default(), RECONSIDER_AFTER)
    }

    /// As [`new`](Self::new), with another patience.
    pub(crate) fn with_timing(timing: Timing, reconsider_after: Duration) -> Self {
        Self { policies: Registry::new(timing), reconsider_after }
    }

    /// The policy of that configuration. The first who asks for it makes it be downloaded, at once and in the
    /// background; the last who drops it ends that.
    pub(crate) fn policy(&self, config: PolicyConfig, origin: O) -> Arc<ExternalPolicy<O>> {
        self.policies.get(config.digest, |start| {
            let reconsider_after = self.reconsider_after;
            let publication =
                Publication { config, origin: Arc::new(origin), reconsider_after, state: Mutex::default() };
            ExternalPolicy { kept: Kept::start(publication, start) }
        })
    }

    /// Waits until every policy in use was downloaded, or that was tried once. False if that takes longer than
    /// `at_most`.
    pub(crate) async fn wait_first_attempts(&self, at_most: Duration) -> bool {
        let attempts = self.policies.in_use().iter().filter_map(|policy| policy.first_attempt()).collect();
        wait_for_all(attempts, at_most).await
    }
}

/// One downloaded policy.
pub(crate) struct ExternalPolicy<O: Origin> {
    kept: Kept<Publication<O>>,
}

/// A text that was downloaded and compiled.
pub(crate) struct Version<P> {
    text: Digest,
    /// What the text was compiled to.
    pub(crate) policy: P,
}

impl<O: Origin> ExternalPolicy<O> {
    /// What was compiled last with success.
    pub(crate) fn version(&self) -> Guard<Option<Arc<Version<O::Policy>>>> {
        self.kept.value()
    }

    /// Waits for the end of the first attempt to download the policy, if that is still to come.
    pub(crate) fn first_attempt(&self) -> Option<impl Future<Output = ()> + Send + use<O>> {
        self.kept.first_attempt()
    }

    /// The failure of a check that finds no policy. Somebody needs it now, so the next attempt may come sooner than it
    /// would by itself, but nobody waits for it.
    pub(crate) fn missing(&self) -> Failure {
        if self.first_attempt().is_none() {
            let _ = self.kept.refresh();
        }
        self.kept.unavailable("missing policy")
    }
}

/// How the text is downloaded and becomes a policy.
struct Publication<O> {
    config: PolicyConfig,
    origin: Arc<O>,
    reconsider_after: Duration,
    state: Mutex<State>,
}

/// What is known from earlier attempts.
#[derive(Default)]
struct State {
    /// The text that could not be compiled.
    refused: Option<Refused>,
    /// Why the last attempt failed, if it did.
    error: Option<String>,
}

struct Refused {
    text: Digest,
    error: String,
    at: Instant,
}

impl<O: Origin> Fetch for Publication<O> {
    type Value = Version<O::Policy>;

    async fn fetch(&self, last: Option<Arc<Self::Value>>) -> Result<Option<Self::Value>, String> {
        let result = self.update(last.as_deref()).await;
        let PolicyConfig { authconfig, rule, .. } = &self.config;
        match &result {
            Ok(Some(_)) => tracing::info!(authconfig, rule, "policy updated from external registry"),
            Ok(None) => tracing::debug!(authconfig, rule, "external policy unchanged"),
            Err(error) => self.tell(error, last.is_some()),
        }
        self.state().error = result.as_ref().err().cloned();
        result
    }

    fn ttl(&self) -> Option<Duration> {
        self.config.ttl
    }

    /// Told already, with the names of AuthConfig and rule.
    fn log_failure(&self, _: &str, _: Duration) {}
}

impl<O: Origin> Publication<O> {
    /// Downloads the text and, if it is another one than that in use, compiles it.
    async fn update(&self, last: Option<&Version<O::Policy>>) -> Result<Option<Version<O::Policy>>, String> {
        let text = self.origin.download().await?;
        let digest = Digest::of(text.as_bytes());
        if last.is_some_and(|last| last.text == digest) {
            return Ok(None);
        }
        if let Some(error) = self.refused_before(digest) {
            return Err(error);
        }
        match self.compile(text).await? {
            Ok((policy, warnings)) => {
                let PolicyConfig { authconfig, rule, .. } = &self.config;
                for warning in warnings {
                    tracing::warn!(authconfig, rule, problem = warning, "doubtful external policy");
                }
                Ok(Some(Version { text: digest, policy }))
            }
            Err(error) => {
                let error = format!("the policy is invalid: {error}");
                self.state().refused = Some(Refused { text: digest, error: error.clone(), at: Instant::now() });
                Err(error)
            }
        }
    }

    /// Why this text was refused not long ago.
    fn refused_before(&self, text: Digest) -> Option<String> {
        let state = self.state();
        let refused = state.refused.as_ref().filter(|refused| refused.text == text)?;
        (refused.at.elapsed() < self.reconsider_after).then(|| refused.error.clone())
    }

    /// The outer error says that compiling came to no end.
    async fn compile(&self, text: String) -> Result<Result<(O::Policy, Vec<String>), String>, String> {
        let broken = || "compiling the policy broke off".to_owned();
        let _turn = COMPILING.acquire().await.map_err(|_| broken())?;
        let origin = Arc::clone(&self.origin);
        tokio::task::spawn_blocking(move || origin.compile(&text)).await.map_err(|_| broken())
    }

    /// A failure that lasts is told once.
    fn tell(&self, error: &str, kept: bool) {
        const MESSAGE: &str = "failed to download policy from external registry";
        let PolicyConfig { authconfig, rule, .. } = &self.config;
        if self.state().error.as_deref() == Some(error) {
            tracing::debug!(authconfig, rule, error, earlier_policy_stays = kept, "{MESSAGE}");
        } else {
            tracing::error!(authconfig, rule, error, earlier_policy_stays = kept, "{MESSAGE}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many policies are compiled at a time: when all are downloaded at once, as at the start, checks need processors
/// too.
static COMPILING: Semaphore = Semaphore::const_new(2);

impl<O> fmt::Display for Publication<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyConfig { authconfig, rule, .. } = &self.config;
        write!(formatter, "external policy of rule `{rule}` of AuthConfig {authconfig}")
    }
}

impl<O: Origin> fmt::Debug for ExternalPolicies<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ExternalPolicies").field("policies", &self.policies.len()).finish_non_exhaustive()
    }
}

/// Requests and texts may hold secrets.
impl<O: Origin> fmt::Debug for ExternalPolicy<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyConfig { authconfig, rule, ttl, .. } = &self.kept.fetch().config;
        formatter
            .debug_struct("ExternalPolicy")
            .field("authconfig", authconfig)
            .field("rule", rule)
            .field("ttl", ttl)
            .finish_non_exhaustive()
    }
}
