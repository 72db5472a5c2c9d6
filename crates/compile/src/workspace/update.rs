//! What a batch of changes means.

use std::{collections::HashMap, sync::Arc};

use usher_engine::{Plan, index::Place};

use crate::{AuthConfigId, policies::PolicyReport, references::Named, report::Report};

/// What a batch of changes means.
#[derive(Debug, Default)]
pub struct Update {
    /// Where hosts and routes lead now; `None`: nowhere. To be published at once.
    pub places: Vec<(Place, Option<Arc<Plan>>)>,
    /// What is in force now of AuthConfigs, whatever hosts they have; `None`: nothing any more. Of several entries of one
    /// AuthConfig the last one counts.
    pub plans: Vec<(AuthConfigId, Option<Arc<Plan>>)>,
    /// What became of each AuthorizationPolicy that changed. If there is any, [`Workspace::default_plan`] is another one.
    pub policies: Vec<PolicyReport>,
    /// What became of each AuthConfig that changed, or that others have won hosts from or lost hosts to.
    pub reports: Vec<Report>,
    /// The Secrets that AuthConfigs name from now on (true), or no longer (false), in this order. Whoever keeps a
    /// workspace whose Secrets are on demand says what they are, now and whenever they change.
    pub named_secrets: Named,
    /// Where the report of an AuthConfig stands.
    reported: HashMap<AuthConfigId, usize>,
}

impl Update {
    /// Says what became of an AuthConfig; what was said earlier in the same batch is out of date.
    pub(super) fn report(&mut self, mut report: Report) {
        match self.reported.get(&report.id).and_then(|index| self.reports.get_mut(*index)) {
            Some(earlier) => {
                report.is_news |= earlier.is_news;
                *earlier = report;
            }
            None => {
                self.reported.insert(report.id.clone(), self.reports.len());
                self.reports.push(report);
            }
        }
    }
}
