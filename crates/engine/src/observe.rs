//! Counters and durations of configurations and rules, by the names that dashboards for this API know.
//!
//! ```text
//!  a check ──► meters ─┬─► handle of the family                        as a rule
//!                      └─► labels ──► series with these labels too     where the gateway asks for it
//! ```
//!
//! Handles are resolved when a plan is built or, for series that should exist only once something happened, at their
//! first use; a check never looks a metric up by name. Only if the metadata of a request has labels for it (see
//! `observe/labels.rs`), its samples take the longer way, and where no label has a value at that moment, or there is no
//! room for the series, they take the usual one.

mod family;
pub(crate) mod labels;
mod series;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use self::{
    family::Family,
    labels::{CustomLabels, Expressions, Labels},
    series::{Key, PlanSeries, Series, Subject},
};
use crate::{Context, Verdict};

/// The metric families of the decision engine.
#[derive(Debug)]
pub struct Metrics {
    total: IntCounterVec,
    response_status: IntCounterVec,
    duration: HistogramVec,
    evaluator_total: IntCounterVec,
    evaluator_cancelled: IntCounterVec,
    evaluator_ignored: IntCounterVec,
    evaluator_denied: IntCounterVec,
    evaluator_duration: HistogramVec,
    callbacks_dropped: IntCounterVec,
    /// The evaluator series of each configuration, so that they can be removed with it.
    evaluators: Mutex<HashMap<PlanName, Vec<StepName>>>,
    /// The series with labels of the gateway's.
    labelled: Series,
    expressions: Expressions,
}

/// Namespace and name of a configuration.
type PlanName = (Arc<str>, Arc<str>);
/// Evaluator type and name of a rule.
type StepName = (&'static str, Arc<str>);

impl Metrics {
    /// The families, registered.
    ///
    /// # Errors
    /// When the registry holds families of these names already.
    pub fn register(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let callbacks_dropped = IntCounterVec::new(
            Opts::new(
                "usher_callbacks_dropped_total",
                "Decisions whose callbacks did not run because too many were waiting.",
            ),
            &["namespace", "authconfig"],
        )?;
        registry.register(Box::new(callbacks_dropped.clone()))?;
        let labelled = Series::new()?;
        registry.register(Box::new(labelled.clone()))?;
        Ok(Arc::new(Self {
            total: Family::Total.counter(registry)?,
            response_status: Family::ResponseStatus.counter(registry)?,
            duration: Family::Duration.histogram(registry)?,
            evaluator_total: Family::EvaluatorTotal.counter(registry)?,
            evaluator_cancelled: Family::EvaluatorCancelled.counter(registry)?,
            evaluator_ignored: Family::EvaluatorIgnored.counter(registry)?,
            evaluator_denied: Family::EvaluatorDenied.counter(registry)?,
            evaluator_duration: Family::EvaluatorDuration.histogram(registry)?,
            callbacks_dropped,
            evaluators: Mutex::default(),
            labelled,
            expressions: Expressions::default(),
        }))
    }

    /// The handles of one configuration.
    #[must_use]
    pub fn plan(self: &Arc<Self>, namespace: &Arc<str>, name: &Arc<str>) -> PlanMeters {
        PlanMeters {
            metrics: Arc::clone(self),
            labels: [Arc::clone(namespace), Arc::clone(name)],
            labelled: self.labelled.of(namespace, name),
            total: OnceLock::new(),
            duration: OnceLock::new(),
            statuses: Default::default(),
            callbacks_dropped: OnceLock::new(),
        }
    }

    /// The handles of one rule; `kind` is one of the known evaluator types, for example `IDENTITY_APIKEY`.
    #[must_use]
    pub fn step(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        authconfig: &Arc<str>,
        kind: &'static str,
        rule: &Arc<str>,
    ) -> StepMeters {
        let mut evaluators = self.evaluators.lock().unwrap_or_else(PoisonError::into_inner);
        let known = evaluators.entry((Arc::clone(namespace), Arc::clone(authconfig))).or_default();
        if !known.iter().any(|(known_kind, name)| *known_kind == kind && name == rule) {
            known.push((kind, Arc::clone(rule)));
        }
        drop(evaluators);
        StepMeters {
            metrics: Arc::clone(self),
            labelled: self.labelled.of(namespace, authconfig),
            namespace: Arc::clone(namespace),
            authconfig: Arc::clone(authconfig),
            kind,
            rule: Arc::clone(rule),
            total: OnceLock::new(),
            cancelled: OnceLock::new(),
            ignored: OnceLock::new(),
            denied: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }

    /// Removes all series of a configuration that is gone.
    pub fn forget(&self, namespace: &Arc<str>, name: &Arc<str>) {
        self.labelled.forget(namespace, name);
        let plan = [&**namespace, &**name];
        // An error only says that there was no such series.
        let _ = self.total.remove_label_values(&plan);
        let _ = self.duration.remove_label_values(&plan);
        let _ = self.callbacks_dropped.remove_label_values(&plan);
        for status in STATUSES {
            let _ = self.response_status.remove_label_values(&[namespace, name, status]);
        }
        let gone = self
            .evaluators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(Arc::clone(namespace), Arc::clone(name)))
            .unwrap_or_default();
        for (kind, rule) in gone {
            let labels = [&**namespace, &**name, kind, &*rule];
            for family in
                [&self.evaluator_total, &self.evaluator_cancelled, &self.evaluator_ignored, &self.evaluator_denied]
            {
                let _ = family.remove_label_values(&labels);
            }
            let _ = self.evaluator_duration.remove_label_values(&labels);
        }
    }

    /// The labels that the gateway wants on the metrics of this request, as far as they have values now.
    fn labels(&self, context: &Context<'_>) -> Option<Labels> {
        context.metric_labels(|metadata| CustomLabels::read(metadata, &self.expressions))?.evaluate(context)
    }
}

/// The `status` label of verdicts.
const STATUSES: [&str; 6] =
    ["OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAVAILABLE", "UNAUTHENTICATED"];

/// The series of one configuration.
#[derive(Debug)]
pub struct PlanMeters {
    metrics: Arc<Metrics>,
    labels: [Arc<str>; 2],
    labelled: Arc<PlanSeries>,
    total: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
    statuses: [OnceLock<IntCounter>; 6],
    callbacks_dropped: OnceLock<IntCounter>,
}

impl PlanMeters {
    /// The configuration applies to a request.
    pub(crate) fn started(&self, context: &Context<'_>) {
        if let Some(labels) = self.metrics.labels(context)
            && self.labelled.count(Key { family: Family::Total, subject: Subject::Configuration, labels })
        {
            return;
        }
        self.total.get_or_init(|| self.metrics.total.with_label_values(&self.labels)).inc();
    }

    /// It was decided.
    pub(crate) fn decided(&self, verdict: &Verdict, took: Duration, context: &Context<'_>) {
        let labels = self.metrics.labels(context);
        let key = |family, subject| labels.clone().map(|labels| Key { family, subject, labels });
        let duration = key(Family::Duration, Subject::Configuration);
        if !duration.is_some_and(|key| self.labelled.observe(key, took)) {
            let handle = self.duration.get_or_init(|| self.metrics.duration.with_label_values(&self.labels));
            handle.observe(took.as_secs_f64());
        }
        let name = verdict.code_name();
        let Some((status, handle)) = STATUSES.iter().zip(&self.statuses).find(|(status, _)| **status == name) else {
            return;
        };
        if !key(Family::ResponseStatus, Subject::Status(status)).is_some_and(|key| self.labelled.count(key)) {
            let [namespace, authconfig] = &self.labels;
            let new = || self.metrics.response_status.with_label_values(&[&**namespace, authconfig, status]);
            handle.get_or_init(new).inc();
        }
    }

    /// The callbacks of one decision do not run.
    pub(crate) fn callbacks_dropped(&self) {
        self.callbacks_dropped.get_or_init(|| self.metrics.callbacks_dropped.with_label_values(&self.labels)).inc();
    }
}

/// The series of one rule.
#[derive(Debug)]
pub struct StepMeters {
    metrics: Arc<Metrics>,
    labelled: Arc<PlanSeries>,
    namespace: Arc<str>,
    authconfig: Arc<str>,
    kind: &'static str,
    rule: Arc<str>,
    total: OnceLock<IntCounter>,
    cancelled: OnceLock<IntCounter>,
    ignored: OnceLock<IntCounter>,
    denied: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
}

impl StepMeters {
    /// The rule was reached.
    pub(crate) fn reached(&self, context: &Context<'_>) {
        let labels = self.metrics.labels(context);
        self.count(Family::EvaluatorTotal, labels, &self.total, &self.metrics.evaluator_total);
    }

    /// It was reached too late.
    pub(crate) fn cancelled(&self, context: &Context<'_>) {
        let labels = self.metrics.labels(context);
        self.count(Family::EvaluatorCancelled, labels, &self.cancelled, &self.metrics.evaluator_cancelled);
    }

    /// Its conditions did not match.
    pub(crate) fn ignored(&self, context: &Context<'_>) {
        let labels = self.metrics.labels(context);
        self.count(Family::EvaluatorIgnored, labels, &self.ignored, &self.metrics.evaluator_ignored);
    }

    /// It ran.
    pub(crate) fn ran(&self, succeeded: bool, took: Duration, context: &Context<'_>) {
        let labels = self.metrics.labels(context);
        if !succeeded {
            self.count(Family::EvaluatorDenied, labels.clone(), &self.denied, &self.metrics.evaluator_denied);
        }
        if !self.key(Family::EvaluatorDuration, labels).is_some_and(|key| self.labelled.observe(key, took)) {
            let new = || self.metrics.evaluator_duration.with_label_values(&self.label_values());
            self.duration.get_or_init(new).observe(took.as_secs_f64());
        }
    }

    fn count(&self, family: Family, labels: Option<Labels>, handle: &OnceLock<IntCounter>, all: &IntCounterVec) {
        if !self.key(family, labels).is_some_and(|key| self.labelled.count(key)) {
            handle.get_or_init(|| all.with_label_values(&self.label_values())).inc();
        }
    }

    fn key(&self, family: Family, labels: Option<Labels>) -> Option<Key> {
        Some(Key { family, subject: Subject::Rule(self.kind, Arc::clone(&self.rule)), labels: labels? })
    }

    fn label_values(&self) -> [&str; 4] {
        [&self.namespace, &self.authconfig, self.kind, &self.rule]
    }
}

#[cfg(test)]
mod tests;
