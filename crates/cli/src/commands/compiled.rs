//! Configuration from files, compiled as a server would: what `validate`, `check` and `doctor` begin with.

use std::{collections::BTreeSet, sync::Arc};

use prometheus::Registry;
use usher_compile::{AuthConfigId, Update, Workspace};
use usher_evaluators::{Resources, Secrets};
use usher_source::directory::Loaded;

use super::options::{ConfigOptions, FileOptions};
use crate::runtime;

/// Configuration from files, and what came of compiling it.
pub(crate) struct Compiled {
    /// What the files say, and what is wrong with them.
    pub(crate) loaded: Loaded,
    /// Everything that is configured.
    pub(crate) workspace: Workspace,
    /// What compiling brought about. Problems of documents that could not be read are left out of the reports: they are
    /// among those of `loaded`.
    pub(crate) update: Update,
    /// What is fetched in the background, if there is a runtime; without one nothing is.
    pub(crate) resources: Arc<Resources>,
}

impl Compiled {
    /// Reads files and compiles what is in them. What is wrong with them is no error.
    ///
    /// # Errors
    /// When there is nothing to compile with.
    pub(crate) fn load(files: &FileOptions, config: &ConfigOptions) -> Result<Self, String> {
        let compiler = runtime::compiler(config.for_files(), &Registry::new()).map_err(|error| crate::chain(&error))?;
        let resources = Arc::clone(&compiler.resources);
        let loaded = config.directory(&files.config).load();
        let mut workspace = Workspace::new(compiler, config.allow_superseding_host_subsets, Secrets::complete());
        let mut update = Update::default();
        runtime::apply(&mut workspace, &loaded.changes, &mut update);
        leave_out_unread(&loaded, &mut update);
        Ok(Self { loaded, workspace, update, resources })
    }

    /// Sees that there is something to decide with.
    ///
    /// # Errors
    /// When there is neither an AuthConfig nor an AuthorizationPolicy.
    pub(crate) fn require_any(&self) -> Result<(), String> {
        match self.update.reports.is_empty() && self.update.policies.is_empty() {
            true => Err("no AuthConfig was found".to_owned()),
            false => Ok(()),
        }
    }
}

fn leave_out_unread(loaded: &Loaded, update: &mut Update) {
    let auth_configs = loaded.auth_configs().map(|object| &object.document);
    let unread: BTreeSet<_> = auth_configs
        .filter(|document| document.result.is_err())
        .map(|document| AuthConfigId::of(&document.metadata))
        .collect();
    for report in update.reports.iter_mut().filter(|report| unread.contains(&report.id)) {
        report.problems.clear();
    }
    let policies = loaded.authorization_policies().map(|object| &object.document);
    let unread: BTreeSet<_> =
        policies.filter(|document| document.result.is_err()).map(|document| &document.metadata.name).collect();
    for report in update.policies.iter_mut().filter(|report| unread.contains(&report.name)) {
        report.problems.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use usher_source::directory::Severity;

    use super::*;
    use crate::commands::options::tests::of_files;

    fn load(text: &str) -> Compiled {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), text).unwrap();
        let (files, config) = of_files(folder.path());
        Compiled::load(&files, &config).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_claims_its_hosts() {
        let Compiled { loaded, update, .. } = load(
            "\
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: first}
spec: {hosts: [a.test]}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: unread}
spec: {hosts: [a.test], when: {}}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: uncompiled}
spec: {hosts: [b.test], when: [{patternRef: nowhere}]}
---
apiVersion: envoy.kyverno.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: unread}
spec: {rules: []}
---
apiVersion: envoy.kyverno.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: uncompiled}
spec: {deny: [{response: 'envoy.Denied('}]}
",
        );
        let of_files = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let of_files: Vec<_> = of_files.map(|problem| problem.object.clone().unwrap()).collect();
        assert_eq!(of_files, ["AuthConfig default/unread", "AuthorizationPolicy unread"]);
        let reports = update.reports.iter().map(|it| (it.id.name.to_string(), it.problems.len(), it.lost.len()));
        let counted = |name: &str, problems, lost| (name.to_owned(), problems, lost);
        assert_eq!(
            reports.collect::<BTreeSet<_>>(),
            BTreeSet::from([counted("first", 0, 0), counted("unread", 0, 1), counted("uncompiled", 1, 0)])
        );
        let policies = update.policies.iter().map(|it| (it.name.clone(), it.problems.len()));
        assert_eq!(
            policies.collect::<BTreeSet<_>>(),
            BTreeSet::from([("unread".to_owned(), 0), ("uncompiled".to_owned(), 1)])
        );
    }

    #[test]
    fn nothing_is_required_of_files_that_are_only_looked_at() {
        assert_eq!(load("kind: Other\n").require_any().unwrap_err(), "no AuthConfig was found");
        let config = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec: {}\n";
        assert_eq!(load(config).require_any(), Ok(()));
    }
}
