//! Who else is told of changes where configuration comes from a Kubernetes cluster.
//!
//! ```text
//!   batch, update ──► ClusterSide ─┬─ which Secrets are named ──► the watches
//!                                  ├─ statuses ────────────────► the writer of statuses
//!                                  ├─ what is served ──────────► the snapshot
//!                                  └─ what it cost ────────────► /metrics
//! ```

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use usher_compile::{AuthConfigId, Report, State, Update, Workspace};
use usher_kubernetes::{
    ControllerMetrics, Outcome, status,
    watch::{Follow, Health, Restore},
};
use usher_source::{
    Change,
    snapshot::{Entry, Snapshot, SnapshotError, SnapshotWriter},
};

/// Who else is told.
pub(crate) struct ClusterSide {
    /// Who watches the Secrets that AuthConfigs name.
    pub(crate) follow: Follow,
    /// Who writes statuses.
    pub(crate) status: status::Handle,
    /// What is counted.
    pub(crate) metrics: Arc<ControllerMetrics>,
    /// Where what is told comes from.
    pub(crate) health: Arc<Health>,
    /// What is kept for the next start.
    pub(crate) snapshot: Option<SnapshotKeeper>,
}

impl ClusterSide {
    /// Tells what a batch of changes meant. `took` is the time that taking it in took.
    pub(crate) fn tell(&mut self, batch: &[Change], update: &Update, workspace: &Workspace, took: Duration) {
        self.follow.set(update.named_secrets.clone());
        for report in &update.reports {
            let (namespace, name) = (Arc::clone(&report.id.namespace), Arc::clone(&report.id.name));
            match report.state {
                State::Gone => self.status.forget(namespace, name),
                // It will be known in a moment; until then what was said last stands.
                State::Waiting => {}
                _ => self.status.set(namespace, name, report.status()),
            }
        }
        self.count(batch, update, took);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.keep(batch, update, workspace, self.health.restored().is_some());
        }
    }

    /// Each change counts as one piece of work, and takes its share of the time. An AuthConfig that does not compile is
    /// an error, that trying again does not mend.
    fn count(&self, batch: &[Change], update: &Update, took: Duration) {
        let auth_configs =
            batch.iter().filter(|it| matches!(it, Change::AuthConfig(_) | Change::AuthConfigGone { .. }));
        let secrets = batch.iter().filter(|it| {
            matches!(it, Change::LabelledSecret(_) | Change::LabelledSecretGone { .. } | Change::NamedSecret { .. })
        });
        let (auth_configs, secrets) = (auth_configs.count(), secrets.count());
        let Some(each) = took.checked_div(u32::try_from(auth_configs + secrets).unwrap_or(u32::MAX)) else { return };
        let is_invalid = |report: &&Report| report.is_news && matches!(report.state, State::Earlier | State::Nothing);
        let failed = update.reports.iter().filter(is_invalid).count().min(auth_configs);
        for (controller, count, outcome) in [
            (self.metrics.authconfig(), auth_configs - failed, Outcome::Success),
            (self.metrics.authconfig(), failed, Outcome::TerminalError),
            (self.metrics.secret(), secrets, Outcome::Success),
        ] {
            controller.queued(count);
            controller.taken(count, Duration::ZERO);
            controller.reconciled(count, each, outcome);
        }
    }
}

/// Keeps what is served, for a start while the cluster cannot be asked.
pub(crate) struct SnapshotKeeper {
    snapshot: Arc<Snapshot>,
    writer: Arc<SnapshotWriter>,
    /// What was told since the start, until everything was.
    first: Option<Vec<Entry>>,
}

/// How long the cluster has to show a sign of life before the snapshot is served.
const PATIENCE: Duration = Duration::from_secs(10);

impl SnapshotKeeper {
    /// Opens the snapshot in a folder.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(folder: &Path) -> Result<Self, SnapshotError> {
        let snapshot = Arc::new(Snapshot::open(folder)?);
        let writer = SnapshotWriter::start(Arc::clone(&snapshot))
            .map_err(|error| SnapshotError::Folder { path: folder.to_owned(), error })?;
        Ok(Self { snapshot, writer: Arc::new(writer), first: Some(Vec::new()) })
    }

    /// Who writes.
    pub(crate) fn writer(&self) -> Arc<SnapshotWriter> {
        Arc::clone(&self.writer)
    }

    /// What to serve if the cluster does not answer.
    pub(crate) fn restore(&self) -> Restore {
        let snapshot = Arc::clone(&self.snapshot);
        let load = move || match snapshot.restore() {
            Ok(mut restored) => {
                let written = restored.written?;
                if !restored.complete {
                    // Hosts of what it lacks would be answered by wildcards of others.
                    tracing::warn!("the snapshot never held everything that is in the cluster: it is not served");
                    return None;
                }
                // Who names a Secret comes before what it is.
                restored.changes.sort_by_key(|change| matches!(change, Change::NamedSecret { .. }));
                let written =
                    chrono::DateTime::<chrono::Utc>::from(written).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                tracing::info!(
                    authconfigs = restored.auth_configs,
                    secrets = restored.secrets,
                    unreadable = restored.unreadable,
                    "the snapshot was read"
                );
                Some((restored.changes, written))
            }
            Err(error) => {
                tracing::error!(error = crate::chain(&error), "the snapshot cannot be served");
                None
            }
        };
        Restore { after: PATIENCE, load: Box::new(load) }
    }

    /// `is_restored`: what was told first is, at least in part, what the snapshot remembers.
    fn keep(&mut self, batch: &[Change], update: &Update, workspace: &Workspace, is_restored: bool) {
        let entries = entries(batch, update, workspace);
        let is_complete = batch.iter().any(|change| matches!(change, Change::InitialLoadDone));
        match &mut self.first {
            None => self.writer.send(entries),
            Some(first) => first.extend(entries),
        }
        if is_complete && let Some(first) = self.first.take() {
            match is_restored {
                // The cluster may have told something before, and will not do so again.
                true => self.writer.send(first),
                // What is not there yet of what is named comes later; what is there no more goes now.
                false => self.writer.replace_all(first),
            }
        }
    }
}

/// What is to be kept after a batch: of AuthConfigs the versions that are served.
fn entries(batch: &[Change], update: &Update, workspace: &Workspace) -> Vec<Entry> {
    let mut given = HashMap::new();
    let mut entries = Vec::new();
    for change in batch {
        match change {
            Change::AuthConfig(object) => {
                given.insert(AuthConfigId::of(&object.document.metadata), object);
            }
            Change::LabelledSecret(secret) => entries.push(Entry::LabelledSecret(Arc::clone(secret))),
            Change::LabelledSecretGone { namespace, name } => {
                entries.push(Entry::LabelledSecretGone { namespace: namespace.clone(), name: name.clone() });
            }
            Change::NamedSecret { name, secret } if workspace.is_named(name) => {
                entries.push(Entry::NamedSecret { name: name.clone(), secret: secret.clone() });
            }
            _ => {}
        }
    }
    for (name, is_named) in &update.named_secrets {
        if !is_named {
            entries.push(Entry::NamedSecretGone(name.clone()));
        }
    }
    for report in update.reports.iter().filter(|report| report.is_news) {
        let (namespace, name) = (report.id.namespace.to_string(), report.id.name.to_string());
        let document = given.get(&report.id).map(|object| &object.document);
        match report.state {
            State::Gone => entries.push(Entry::AuthConfigGone { namespace, name }),
            // What waits now waits after the next start, too, and its hosts with it.
            State::Current | State::Waiting => {
                let read = document.and_then(|document| document.result.as_ref().ok()).map(|it| Arc::new(it.clone()));
                entries.extend(read.or_else(|| workspace.kept(&report.id)).map(Entry::AuthConfig));
            }
            State::Earlier => {}
            // Its hosts must not be others' after the next start. Without a document it is a Secret that makes the
            // difference, as it will then.
            State::Nothing => {
                entries.extend(given.get(&report.id).map(|object| Entry::UnservedAuthConfig(Arc::clone(object))));
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use usher_api::{Document, SecretName, Selector, read_documents};
    use usher_engine::plan::OnConditionError;
    use usher_evaluators::{
        Secrets,
        build_context::Options,
        resources::{http, kubernetes::Kubernetes},
    };
    use usher_source::AuthConfigObject;

    use super::*;
    use crate::runtime::{self, CompilerOptions};

    fn workspace() -> Workspace {
        let options = CompilerOptions {
            evaluators: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
            on_condition_error: OnConditionError::Undecidable,
            allow_route_lookup: false,
            secret_label_selector: Selector::default(),
            http: http::Options::default(),
            kubernetes: Kubernetes::default(),
        };
        Workspace::new(runtime::compiler(options, &Registry::new()).unwrap(), false, Secrets::on_demand())
    }

    fn auth_config(name: &str, spec: &str) -> Change {
        let text = format!(
            "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        match read_documents(&text).remove(0) {
            Document::AuthConfig(document) => {
                Change::AuthConfig(Arc::new(AuthConfigObject { document: *document, file: None }))
            }
            other => panic!("{other:?}"),
        }
    }

    fn named(secret: Option<&str>) -> Change {
        let secret = secret.map(|value| {
            let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: {value}}}\n");
            match read_documents(&text).remove(0) {
                Document::Secret(document) => Arc::new(document.result.unwrap()),
                other => panic!("{other:?}"),
            }
        });
        Change::NamedSecret { name: SecretName::new("default", "s"), secret }
    }

    const NAMING: &str = "{hosts: [a.test], authentication: {t: {jwt: {secretRef: {name: s, key: k}}}}}";
    const BROKEN: &str = "{hosts: [a.test], when: [{patternRef: missing}]}";

    #[test]
    fn what_is_served_is_kept() {
        let mut workspace = workspace();
        let mut kept = |batch: &[Change]| {
            let mut update = Update::default();
            runtime::apply(&mut workspace, batch, &mut update);
            let shown = entries(batch, &update, &workspace).into_iter().map(|entry| match entry {
                Entry::AuthConfig(it) => format!("{} with {}", it.metadata.name, it.spec.authentication.len()),
                Entry::UnservedAuthConfig(it) => format!("{} unserved", it.document.metadata.name),
                Entry::AuthConfigGone { name, .. } => format!("{name} gone"),
                Entry::NamedSecret { name, secret } => format!("{name} {}", secret.is_some()),
                Entry::NamedSecretGone(name) => format!("{name} forgotten"),
                other => panic!("{other:?}"),
            });
            shown.collect::<Vec<_>>()
        };
        let gone = Change::AuthConfigGone { namespace: "default".to_owned(), name: "a".to_owned() };
        let none: [&str; 0] = [];
        assert_eq!(kept(&[named(Some("one"))]), none, "nobody names it");
        assert_eq!(kept(&[auth_config("a", NAMING)]), ["a with 1"], "it waits");
        assert_eq!(kept(&[named(Some("one"))]), ["default/s true", "a with 1"]);
        assert_eq!(kept(&[auth_config("a", BROKEN)]), none, "the earlier version is kept");
        // Whom it trusted is gone, and after a start it waits for that.
        assert_eq!(kept(&[named(None)]), ["default/s forgotten"]);
        assert_eq!(kept(&[auth_config("a", "{hosts: [a.test]}")]), ["a with 0"]);
        assert_eq!(kept(std::slice::from_ref(&gone)), ["a gone"]);
        assert_eq!(kept(&[auth_config("a", BROKEN)]), ["a unserved"]);
        assert_eq!(kept(&[auth_config("a", NAMING), named(Some("one"))]), ["default/s true", "a with 1"]);
    }

    #[test]
    fn only_what_the_cluster_told_first_replaces_the_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let (mut workspace, mut update) = (workspace(), Update::default());
        let batch = [auth_config("a", NAMING), named(Some("one")), Change::InitialLoadDone];
        runtime::apply(&mut workspace, &batch, &mut update);
        let restored = |folder: &Path| {
            let mut keeper = SnapshotKeeper::open(folder).unwrap();
            let changes = (keeper.restore().load)().map(|(changes, _)| changes).unwrap_or_default();
            let shown: Vec<_> = changes
                .iter()
                .map(|change| match change {
                    Change::AuthConfig(object) => object.document.metadata.name.clone(),
                    Change::NamedSecret { name, .. } => name.to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            // A restored configuration is complete, but not news.
            keeper.keep(&[Change::InitialLoadDone], &Update::default(), &super::tests::workspace(), true);
            assert!(keeper.writer().flush_and_stop(Duration::from_secs(60)));
            shown
        };
        let mut keeper = SnapshotKeeper::open(folder.path()).unwrap();
        keeper.keep(&batch, &update, &workspace, false);
        assert!(keeper.writer().flush_and_stop(Duration::from_secs(60)));
        drop(keeper);
        for _ in 0..2 {
            assert_eq!(restored(folder.path()), ["a", "default/s"], "who names a Secret comes first");
        }

        // What the cluster told before the snapshot was served is in it afterwards; what else is in it stays.
        let mut keeper = SnapshotKeeper::open(folder.path()).unwrap();
        assert!((keeper.restore().load)().is_some());
        let mut update = Update::default();
        let gone = [Change::AuthConfigGone { namespace: "default".to_owned(), name: "a".to_owned() }];
        runtime::apply(&mut workspace, &gone, &mut update);
        keeper.keep(&gone, &update, &workspace, false);
        let mut update = Update::default();
        let rest = [auth_config("b", "{hosts: [b.test]}"), Change::InitialLoadDone];
        runtime::apply(&mut workspace, &rest, &mut update);
        keeper.keep(&rest, &update, &workspace, true);
        assert!(keeper.writer().flush_and_stop(Duration::from_secs(60)));
        drop(keeper);
        assert_eq!(restored(folder.path()), ["b"]);

        // A snapshot that was read and not served makes no difference: what the cluster lacks goes.
        let mut keeper = SnapshotKeeper::open(folder.path()).unwrap();
        assert!((keeper.restore().load)().is_some());
        keeper.keep(&[Change::InitialLoadDone], &Update::default(), &workspace, false);
        assert!(keeper.writer().flush_and_stop(Duration::from_secs(60)));
        drop(keeper);
        assert!(restored(folder.path()).is_empty());
    }

    #[test]
    fn a_snapshot_that_never_was_complete_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let Change::AuthConfig(object) = auth_config("a", "{hosts: ['*']}") else { panic!() };
        let entry = Entry::AuthConfig(Arc::new(object.document.result.clone().unwrap()));
        Snapshot::open(folder.path()).unwrap().write(&[entry]).unwrap();
        let keeper = SnapshotKeeper::open(folder.path()).unwrap();
        assert!((keeper.restore().load)().is_none());
    }
}
