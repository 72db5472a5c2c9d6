//! What every rule has, whatever it does: a name, a priority, a condition, a cache, counters.

use std::time::Duration;

use usher_api::{CommonEvaluatorSpec, EvaluatorCaching};
use usher_engine::{Evaluator, Step, cache::StepCache, plan::DEFAULT_CACHE_TTL};

use crate::{BuildContext, FieldPath, Problems, conditions, values};

/// What a rule does, and the name by which metrics know it, for example `IDENTITY_APIKEY`.
pub(crate) struct Method {
    kind: &'static str,
    evaluator: Option<Box<dyn Evaluator>>,
}

impl Method {
    /// A method that was built, or, if there is none, that is wrong: then the problems say why.
    pub(crate) fn new(kind: &'static str, evaluator: Option<impl Evaluator + 'static>) -> Self {
        Self::boxed(kind, evaluator.map(|evaluator| Box::new(evaluator) as Box<dyn Evaluator>))
    }

    /// As [`new`](Self::new), where the evaluator is in its box already.
    pub(crate) fn boxed(kind: &'static str, evaluator: Option<Box<dyn Evaluator>>) -> Self {
        Self { kind, evaluator }
    }
}

/// The step of the rule `name`. Everything is checked, also when the method is wrong.
pub(crate) fn step(
    name: &str,
    common: &CommonEvaluatorSpec,
    method: Option<Method>,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Step> {
    let when = conditions::build(&common.when, &at.field("when"), context, problems);
    let cache = match &common.cache {
        Some(caching) => cache(caching, &at.field("cache"), context, problems),
        None => Some(None),
    };
    let Method { kind, evaluator } = method?;
    let (cache, evaluator) = (cache?, evaluator?);
    let name = name.into();
    let meters = (common.metrics || context.options.deep_metrics)
        .then(|| context.metrics.step(context.namespace, context.name, kind, &name));
    Some(Step { name, priority: common.priority, when, evaluator, cache, meters })
}

/// The longest time for which a result is kept: a year. Any longer is as good as for ever.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn cache(
    caching: &EvaluatorCaching,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Option<StepCache>> {
    let key = values::build(&caching.key, &at.field("key"), problems)?;
    let ttl = match u64::try_from(caching.ttl) {
        Ok(0) => DEFAULT_CACHE_TTL,
        Ok(seconds) => Duration::from_secs(seconds).min(LONGEST_TTL),
        Err(_) => {
            problems.warn(&at.field("ttl"), "nothing is kept: it is negative");
            return Some(None);
        }
    };
    Some(Some(StepCache::new(key, ttl, context.options.evaluator_cache_bytes)))
}
