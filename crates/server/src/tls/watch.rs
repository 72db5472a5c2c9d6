//! Takes other certificates into use when their files change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{ClientCertificates, Files, Policy, TlsSettings};

/// How often the files are read, whatever the watch says.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The task that watches; it ends with this.
pub(super) struct Watching {
    reloads: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(super) fn start(
        settings: TlsSettings,
        policy: Policy,
        files: Files,
        current: Arc<ArcSwap<ServerConfig>>,
        poll_interval: Duration,
    ) -> Self {
        let (announce, reloads) = watch::channel(0);
        let reloader = Reloader { settings, policy, last: Some(files), current, announce, complaint: String::new() };
        Self { reloads, task: tokio::spawn(reloader.run(poll_interval)) }
    }

    pub(super) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reloader {
    settings: TlsSettings,
    policy: Policy,
    /// What was looked at last, whether it could be used or not.
    last: Option<Files>,
    current: Arc<ArcSwap<ServerConfig>>,
    announce: watch::Sender<u64>,
    /// What was said last, so that it is said once.
    complaint: String,
}

impl Reloader {
    async fn run(mut self, poll_interval: Duration) {
        // One event waiting is enough: the files are read after it was taken.
        let (notice, mut notices) = mpsc::channel(1);
        let _watcher = self.watch(notice);
        loop {
            // At once too: the files may have changed before they were watched.
            self = match tokio::task::spawn_blocking(move || {
                self.look();
                self
            })
            .await
            {
                Ok(reloader) => reloader,
                Err(_) => return tracing::error!("certificates are not watched any more"),
            };
            if let Ok(None) = tokio::time::timeout(poll_interval, notices.recv()).await {
                // Without a watch there is no event to wait for.
                tokio::time::sleep(poll_interval).await;
            }
        }
    }

    /// Reads the files, and takes them into use if they are others and can be used.
    fn look(&mut self) {
        let files = match Files::read(&self.settings) {
            Ok(files) => files,
            Err(error) => return self.complain(&error),
        };
        if self.last.as_ref() == Some(&files) {
            return;
        }
        let config = self.policy.config(&self.settings, &files);
        self.last = Some(files);
        match config {
            Ok(config) => {
                self.complaint.clear();
                self.current.store(config);
                self.announce.send_modify(|reloads| *reloads += 1);
                tracing::info!(certificate = %self.settings.certificate.display(), "certificate reloaded");
            }
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &dyn std::error::Error) {
        let complaint = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if self.complaint != complaint {
            tracing::error!(error = %complaint, "the changed certificate is not used; the last one stays in use");
            self.complaint = complaint;
        }
    }

    /// Watches the directories of the files; none if that is not possible here.
    fn watch(&self, notice: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
        let on_event = move |_| {
            let _ = notice.try_send(());
        };
        let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            for directory in self.directories() {
                watcher.watch(&directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "cannot watch certificates; they are read every few seconds instead");
                None
            }
        }
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        let authorities = match &self.settings.client_certificates {
            ClientCertificates::Required { authorities } => Some(authorities),
            ClientCertificates::NotAsked | ClientCertificates::AskedNotVerified => None,
        };
        let files = [&self.settings.certificate, &self.settings.key].into_iter().chain(authorities);
        files
            .map(|file| match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => Path::new(".").to_owned(),
            })
            .collect()
    }
}
