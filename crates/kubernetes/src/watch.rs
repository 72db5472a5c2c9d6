//! Configuration in a Kubernetes cluster.
//!
//! ```text
//!   AuthConfigs ───────────── list_watch ─┐
//!   Secrets with labels ───── list_watch ─┼─► told ──► batches ──► Vec<Change>
//!   Secrets that are named ── named ──────┘    └─────► status: what is in the API
//!     metadata of all Secrets └ list_watch
//!
//!   collection   what is listed and watched     known     names and versions of what was told
//!   item         an object of it                batches   changes that are sent together
//!   lines        a watch, line by line          health    how the watches are doing
//! ```
//!
//! **From the API to the channel.** A line of a watch, or an object of a list, becomes an event; events of all watches
//! meet in [`Source::watch`]. What is not known yet in this version becomes a [`Change`], what comes at the same time one
//! batch. Nothing waits but for the receiver: while that is busy, nothing more is read from the API.
//!
//! **What is kept.** Names and fingerprints of versions, no objects. What changes nothing for this server is not told:
//! of AuthConfigs only changes of the specification are, so a written status ends here.
//!
//! **What removes.** Only a complete list that lacks an object, or a watch that says that it is gone. An API server that
//! is away, refuses or forgets where the watch was removes nothing.
//!
//! **Secrets.** Those with the labels of API keys and authorities are told with their contents. Those that AuthConfigs
//! name are read one by one ([`Follow`]); that they change is learnt from a watch of the metadata of all Secrets, which
//! runs while any is named.

mod batches;
mod collection;
mod health;
mod item;
mod known;
mod lines;
mod list_watch;
mod named;
#[cfg(test)]
mod tests;
mod told;

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch::Receiver},
    task::{JoinSet, spawn_blocking, yield_now},
    time::{sleep_until, timeout},
};
use usher_api::Selector;
use usher_source::Change;

use self::{
    batches::BATCH,
    collection::Collection,
    item::{Item, Metadata},
    known::Fingerprints,
    list_watch::{Event, ListWatch, Progress, Timing},
    named::{Asking, Followed, Wanted},
    told::Told,
};
pub use self::{
    health::{Health, WatchState, Watched},
    named::Follow,
};
use crate::{Cluster, metrics::ControllerMetrics, status};

/// How many events of each watch may wait for their turn.
const QUEUE: usize = 32;

/// AuthConfigs and Secrets of a Kubernetes cluster.
#[derive(Debug)]
pub struct Source {
    cluster: Arc<Cluster>,
    options: Options,
    status: Option<status::Handle>,
    health: Arc<Health>,
    fingerprints: Fingerprints,
    followed: Arc<Followed>,
    wanted: mpsc::UnboundedReceiver<Wanted>,
    timing: Timing,
}

/// What is taken from the cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Take only objects of this namespace. Default: of all.
    pub watch_namespace: Option<String>,
    /// Take only AuthConfigs with these labels. Default: all.
    pub auth_config_label_selector: Selector,
    /// Take API keys and authorities only from Secrets with these labels. Default: from all.
    pub secret_label_selector: Selector,
}

/// What is served while the API server is away.
pub struct Restore {
    /// After so much time without an answer that helps, unless everything was told by then. A long list that is being
    /// read is an answer.
    pub after: Duration,
    /// Reads the snapshot: changes (AuthConfigs, labelled and named Secrets) and when it was written. None: there is
    /// none. May block.
    pub load: Box<dyn FnOnce() -> Option<(Vec<Change>, String)> + Send>,
}

impl Source {
    /// A source of what is in this cluster. Nothing is asked yet.
    ///
    /// What the API says about statuses is told to `status`, and how the watches are doing to `metrics`.
    #[must_use]
    pub fn new(
        cluster: Arc<Cluster>,
        mut options: Options,
        status: Option<status::Handle>,
        metrics: Option<Arc<ControllerMetrics>>,
    ) -> Self {
        options.watch_namespace = options.watch_namespace.filter(|namespace| !namespace.is_empty());
        let fingerprints = Fingerprints::default();
        let (followed, wanted) = Followed::new(fingerprints.clone());
        let health = Arc::new(Health::new(metrics));
        Self { cluster, options, status, health, fingerprints, followed, wanted, timing: Timing::default() }
    }

    /// To be told which Secrets AuthConfigs name.
    pub fn follow(&self) -> Follow {
        Follow::new(Arc::clone(&self.followed))
    }

    /// How it is doing.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Tells everything there is, then every change, until the receiver is dropped.
    ///
    /// [`Change::InitialLoadDone`] comes when all AuthConfigs and all labelled Secrets were told, or what `restore`
    /// remembers of them; named Secrets come as they are asked for. Failures are logged once each, and tried again for
    /// ever.
    ///
    /// # Errors
    /// One of the watches ended by itself.
    pub async fn watch(self, sender: mpsc::Sender<Vec<Change>>, restore: Option<Restore>) -> io::Result<()> {
        let progress = Arc::new(Progress::new());
        let mut restoring = Box::pin(restoring(Arc::clone(&progress), restore));
        let mut may_restore = true;
        let namespace = self.options.watch_namespace.as_deref();
        let mut tasks = JoinSet::new();

        let collection = Collection::auth_configs(namespace, &self.options.auth_config_label_selector);
        let (watch, mut auth_configs) = self.list_watch(Watched::AuthConfigs, collection, &progress);
        tasks.spawn(async move { watch.run().await });
        let collection = Collection::secrets(namespace, &self.options.secret_label_selector);
        let (watch, mut secrets) = self.list_watch(Watched::Secrets, collection, &progress);
        tasks.spawn(async move { watch.run().await });

        let collection = Collection::metadata_of_secrets(namespace);
        // What it tells does not help to complete the lists.
        let (watch, mut hints) = self.list_watch(Watched::NamedSecrets, collection, &Arc::new(Progress::new()));
        tasks.spawn(while_needed(watch, self.followed.any(), self.timing.linger));
        let followed = Arc::clone(&self.followed);
        tasks.spawn(async move {
            while let Some(event) = hints.recv().await {
                followed.hint(event);
            }
        });
        let (answers, mut named) = mpsc::channel(QUEUE);
        let asking = Asking {
            cluster: self.cluster,
            followed: Arc::clone(&self.followed),
            namespace: self.options.watch_namespace,
            limit: self.timing.get,
            backoff: self.timing.backoff,
            answers,
        };
        tasks.spawn(asking.run(self.wanted));

        let mut told = Told::new(self.fingerprints, self.status);
        let mut complete = false;
        loop {
            tokio::select! {
                Some(event) = auth_configs.recv() => told.auth_configs(event),
                Some(event) = secrets.recv() => told.secrets(event),
                Some(answer) = named.recv() => if self.followed.is_current(&answer) {
                    told.named_secret(answer.name, answer.secret);
                },
                restored = &mut restoring, if may_restore && !complete => {
                    may_restore = false;
                    if let Some((mut changes, written)) = restored {
                        tracing::warn!(written, "the Kubernetes API is away: what a snapshot remembers is served");
                        self.followed.restore(&mut changes);
                        told.restore(changes);
                        self.health.set_restored(Some(written));
                    }
                }
                _ = tasks.join_next() => {
                    return Err(io::Error::other("watching the Kubernetes API ended unexpectedly"));
                }
                () = sender.closed() => return Ok(()),
            }
            // Whatever is there by now goes into the same batch. Much of it may be no news, so it is counted, too.
            for _ in 0..BATCH {
                if told.waiting() >= BATCH {
                    break;
                }
                yield_now().await;
                let mut more = false;
                if let Ok(event) = auth_configs.try_recv() {
                    told.auth_configs(event);
                    more = true;
                }
                if let Ok(event) = secrets.try_recv() {
                    told.secrets(event);
                    more = true;
                }
                if let Ok(answer) = named.try_recv() {
                    if self.followed.is_current(&answer) {
                        told.named_secret(answer.name, answer.secret);
                    }
                    more = true;
                }
                if !more {
                    break;
                }
            }
            if told.is_complete() && !complete {
                complete = true;
                self.followed.drop_restored();
                self.health.set_restored(None);
                let (auth_configs, secrets) = told.len();
                tracing::info!(auth_configs, secrets, "everything that is in the Kubernetes API was read");
            }
            for batch in told.take_batches() {
                if sender.send(batch).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn list_watch<T: Item>(
        &self,
        watched: Watched,
        collection: Collection,
        progress: &Arc<Progress>,
    ) -> (ListWatch<T>, mpsc::Receiver<Event<T>>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        let watch = ListWatch {
            cluster: Arc::clone(&self.cluster),
            collection,
            watched,
            timing: self.timing,
            health: Arc::clone(&self.health),
            progress: Arc::clone(progress),
            events,
        };
        (watch, receiver)
    }
}

/// Runs the watch while somebody needs it, and a while longer: an AuthConfig that is replaced by another may name the
/// same Secrets.
async fn while_needed(watch: ListWatch<Metadata>, mut needed: Receiver<bool>, linger: Duration) {
    loop {
        // An error says that nobody can need it any more.
        if needed.wait_for(|needed| *needed).await.is_err() {
            return;
        }
        tokio::select! {
            () = watch.run() => return,
            () = not_needed_for(&mut needed, linger) => watch.health.not_needed(watch.watched),
        }
    }
}

async fn not_needed_for(needed: &mut Receiver<bool>, linger: Duration) {
    loop {
        if needed.wait_for(|needed| !needed).await.is_err() {
            return;
        }
        if timeout(linger, needed.wait_for(|needed| *needed)).await.is_err() {
            return;
        }
    }
}

/// Waits until nothing has helped for as long as `restore` says, and reads the snapshot.
async fn restoring(progress: Arc<Progress>, restore: Option<Restore>) -> Option<(Vec<Change>, String)> {
    let Restore { after, load } = restore?;
    loop {
        let last = progress.last();
        // A time that cannot be counted never comes.
        let due = last.checked_add(after)?;
        sleep_until(due).await;
        if progress.last() == last {
            break;
        }
    }
    match spawn_blocking(load).await {
        Ok(None) => {
            tracing::warn!("the Kubernetes API is away, and no snapshot remembers what was there");
            None
        }
        Ok(restored) => restored,
        Err(_) => {
            tracing::error!("reading the snapshot failed unexpectedly");
            None
        }
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Restore").field("after", &self.after).finish_non_exhaustive()
    }
}
