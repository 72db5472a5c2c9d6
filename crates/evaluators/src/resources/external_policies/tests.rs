use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;
use usher_engine::evaluator::Undecided;

use super::*;
use crate::resources::background::tests::until;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A registry that answers as it is told to: with the answers in turn, then with the last one.
#[derive(Clone, Default)]
struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<&'static str, &'static str>>>,
    downloads: AtomicUsize,
    compiled: Mutex<Vec<String>>,
    closed: watch::Sender<bool>,
}

impl Scripted {
    fn new(answers: &[Result<&'static str, &'static str>]) -> Self {
        let this = Self::default();
        this.answer(answers);
        this
    }

    fn answer(&self, answers: &[Result<&'static str, &'static str>]) {
        *self.0.answers.lock().unwrap() = answers.iter().copied().collect();
    }

    /// Whether downloads wait.
    fn set_closed(&self, closed: bool) {
        self.0.closed.send_replace(closed);
    }

    fn downloads(&self) -> usize {
        self.0.downloads.load(Ordering::SeqCst)
    }

    /// All texts that were compiled.
    fn compiled(&self) -> Vec<String> {
        self.0.compiled.lock().unwrap().clone()
    }

    /// Until so many further downloads have begun: those before have ended with everything that follows from them.
    async fn rounds(&self, rounds: usize) {
        let enough = self.downloads() + rounds;
        until(|| self.downloads() >= enough).await;
    }
}

impl Origin for Scripted {
    type Policy = String;

    async fn download(&self) -> Result<String, String> {
        self.0.downloads.fetch_add(1, Ordering::SeqCst);
        self.0.closed.subscribe().wait_for(|closed| !closed).await.unwrap();
        let answer = {
            let mut answers = self.0.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() }
        };
        match answer.unwrap() {
            Ok("panic while downloading") => panic!("expected by the test"),
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(error.to_owned()),
        }
    }

    fn compile(&self, text: &str) -> Result<(String, Vec<String>), String> {
        self.0.compiled.lock().unwrap().push(text.to_owned());
        match text {
            "panic" => panic!("expected by the test"),
            text if text.starts_with("bad") => Err(format!("`{text}`")),
            text => Ok((format!("compiled {text}"), vec!["doubtful".to_owned()])),
        }
    }
}

/// Nothing is tried again by itself, nor for checks.
const PATIENT: Timing = Timing { first_pause: DAY, longest_pause: DAY, on_demand_interval: DAY };

/// Failures are tried again almost at once.
const INSISTENT: Timing =
    Timing { first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(1), ..PATIENT };

fn policies(timing: Timing) -> ExternalPolicies<Scripted> {
    ExternalPolicies::with_timing(timing, DAY)
}

fn config(id: &str, ttl: Option<Duration>) -> PolicyConfig {
    let [authconfig, rule] = ["team/a", "r"].map(str::to_owned);
    PolicyConfig { digest: Digest::of(id.as_bytes()), authconfig, rule, ttl }
}

const OFTEN: Option<Duration> = Some(Duration::from_millis(1));

fn current(policy: &ExternalPolicy<Scripted>) -> Option<String> {
    policy.version().as_ref().map(|version| version.policy.clone())
}

fn missing(policy: &ExternalPolicy<Scripted>) -> Undecided {
    match policy.missing() {
        Failure::Undecidable(undecided) => undecided,
        other => panic!("this is nobody's doing: {other:?}"),
    }
}

#[tokio::test]
async fn a_policy_is_downloaded_at_once_and_in_the_background() {
    let origin = Scripted::new(&[Ok("a")]);
    origin.set_closed(true);
    let policies = policies(PATIENT);
    assert!(policies.wait_first_attempts(Duration::ZERO).await, "there is nothing to wait for");
    let policy = policies.policy(config("1", None), origin.clone());
    assert!(!policies.wait_first_attempts(Duration::from_millis(1)).await);
    assert_eq!(current(&policy), None);
    assert_eq!(missing(&policy).detail, "external policy of rule `r` of AuthConfig team/a: not fetched yet");
    let first = policy.first_attempt().unwrap();
    origin.set_closed(false);
    first.await;
    assert_eq!(current(&policy).as_deref(), Some("compiled a"));
    assert!(policy.first_attempt().is_none() && policies.wait_first_attempts(Duration::ZERO).await);
    assert_eq!((origin.downloads(), origin.compiled().len()), (1, 1));
}

#[tokio::test]
async fn a_policy_is_downloaded_again_after_the_ttl_and_compiled_only_if_it_changed() {
    let origin = Scripted::new(&[Ok("a"), Ok("a"), Ok("a"), Ok("b"), Ok("b"), Ok("a")]);
    let policies = policies(PATIENT);
    let policy = policies.policy(config("1", OFTEN), origin.clone());
    origin.rounds(9).await;
    assert_eq!(origin.compiled(), ["a", "b", "a"]);
    assert_eq!(current(&policy).as_deref(), Some("compiled a"));
    let before = policy.version().clone().unwrap();
    origin.rounds(3).await;
    assert!(Arc::ptr_eq(&before, policy.version().as_ref().unwrap()));
}

#[tokio::test]
async fn whatever_happens_later_the_last_good_policy_stays() {
    for failure in [Err("away"), Ok("bad"), Ok("panic"), Ok("panic while downloading")] {
        let origin = Scripted::new(&[Ok("a"), failure]);
        let policies = policies(INSISTENT);
        let policy = policies.policy(config("1", OFTEN), origin.clone());
        origin.rounds(5).await;
        assert_eq!(current(&policy).as_deref(), Some("compiled a"), "{failure:?}");
        assert!(policy.kept.is_failing(), "{failure:?}");
        origin.answer(&[Ok("b")]);
        until(|| current(&policy).as_deref() == Some("compiled b")).await;
        until(|| !policy.kept.is_failing()).await;
    }
}

#[tokio::test]
async fn what_never_came_is_missing_until_it_comes() {
    for (failure, cause) in [
        (Err("away"), "away"),
        (Ok("bad"), "the policy is invalid: `bad`"),
        (Ok("panic"), "compiling the policy broke off"),
        (Ok("panic while downloading"), "the attempt broke off"),
    ] {
        let origin = Scripted::new(&[failure]);
        let policies = policies(INSISTENT);
        // Without a ttl, too.
        let policy = policies.policy(config("1", None), origin.clone());
        origin.rounds(3).await;
        let undecided = missing(&policy);
        assert_eq!(undecided.reason, "missing policy");
        assert_eq!(undecided.detail, format!("external policy of rule `r` of AuthConfig team/a: {cause}"));
        assert_eq!(undecided.retry_after, Some(Duration::from_secs(1)));
        assert!(current(&policy).is_none() && policy.first_attempt().is_none());
        origin.answer(&[Ok("a")]);
        until(|| current(&policy).is_some()).await;
        // There is no next attempt without a ttl.
        until(|| !policy.kept.is_failing() && missing(&policy).retry_after.is_none()).await;
    }
}

#[tokio::test]
async fn a_text_that_was_refused_is_compiled_again_only_after_a_long_time() {
    let origin = Scripted::new(&[Ok("bad")]);
    let policies = policies(INSISTENT);
    let _policy = policies.policy(config("1", None), origin.clone());
    origin.rounds(5).await;
    assert_eq!(origin.compiled(), ["bad"]);
    origin.answer(&[Ok("bad 2")]);
    origin.rounds(5).await;
    assert_eq!(origin.compiled(), ["bad", "bad 2"]);

    let origin = Scripted::new(&[Ok("bad")]);
    let policies = ExternalPolicies::with_timing(INSISTENT, Duration::ZERO);
    let _policy = policies.policy(config("1", None), origin.clone());
    origin.rounds(5).await;
    assert!(origin.compiled().len() >= 4);
}

#[tokio::test]
async fn checks_that_find_no_policy_bring_the_next_attempt_forward() {
    let origin = Scripted::new(&[Err("away")]);
    let policies = policies(PATIENT);
    let policy = policies.policy(config("1", None), origin.clone());
    assert!(policies.wait_first_attempts(DAY).await);
    // However many, it is one attempt.
    for _ in 0..20 {
        missing(&policy);
    }
    until(|| origin.downloads() == 2).await;
    for _ in 0..20 {
        missing(&policy);
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.downloads(), 2);
}

#[tokio::test]
async fn one_configuration_is_one_policy_and_the_last_user_ends_it() {
    let origin = Scripted::new(&[Ok("a")]);
    let policies = policies(PATIENT);
    let [one, two] = [(); 2].map(|()| policies.policy(config("1", None), origin.clone()));
    let other = policies.policy(config("2", None), origin.clone());
    assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
    assert!(policies.wait_first_attempts(DAY).await);
    assert_eq!(origin.downloads(), 2);
    let used = Arc::downgrade(&one.kept.fetch().origin);
    drop(one);
    assert!(current(&two).is_some());
    let again = policies.policy(config("1", None), origin.clone());
    assert!(Arc::ptr_eq(&two, &again) && again.first_attempt().is_none());
    assert_eq!(origin.downloads(), 2);
    drop((two, again));
    until(|| used.strong_count() == 0).await;
    let anew = policies.policy(config("1", None), origin.clone());
    assert_eq!(current(&anew), None);
}

#[tokio::test]
async fn a_policy_out_of_use_is_not_waited_for() {
    let origin = Scripted::new(&[Ok("a")]);
    origin.set_closed(true);
    let policies = policies(PATIENT);
    let policy = policies.policy(config("1", None), origin.clone());
    let first = policy.first_attempt().unwrap();
    drop(policy);
    first.await;
    assert!(policies.wait_first_attempts(DAY).await);
}

#[tokio::test]
async fn policies_out_of_use_do_not_pile_up() {
    let policies = policies(PATIENT);
    for number in 0..1000 {
        drop(policies.policy(config(&number.to_string(), None), Scripted::new(&[Ok("a")])));
    }
    assert!(policies.policies.len() < 200);
}

#[test]
fn without_a_runtime_nothing_is_downloaded_and_nobody_waits() {
    let origin = Scripted::new(&[Ok("a")]);
    let policies = policies(PATIENT);
    let policy = policies.policy(config("1", OFTEN), origin.clone());
    assert!(current(&policy).is_none() && policy.first_attempt().is_none());
    assert_eq!(missing(&policy).retry_after, None);
    assert_eq!(origin.downloads(), 0);
}

#[test]
fn policies_can_be_asked_for_outside_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let policies = runtime.block_on(async { policies(PATIENT) });
    let origin = Scripted::new(&[Ok("a")]);
    let policy =
        std::thread::scope(|scope| scope.spawn(|| policies.policy(config("1", None), origin.clone())).join().unwrap());
    assert!(runtime.block_on(policies.wait_first_attempts(DAY)));
    assert!(current(&policy).is_some());
}
