//! What callbacks see, and that they harm nobody.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use usher_expr::{Document as _, Expression};

use super::{Limits, Queue};
use crate::{
    Context, Evaluation, Evaluator, Failure, Plan, Request, RequestParts, check_with_callbacks,
    context::Phase,
    observe::Metrics,
    plan::{DenyWith, MetadataRule, OnMetadataError},
    testing::{Scenario, Told, denied, predicate, request, rule, step, undecided, yes},
    verdict::Verdict,
};

/// Long enough for anything but a mistake.
const ENOUGH: Duration = Duration::from_secs(20);

/// A callback that tells the test of what it saw.
#[derive(Debug, Clone)]
struct Tell(&'static str, mpsc::UnboundedSender<Value>);

impl Evaluator for Tell {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let seen = Expression::selector(self.0).unwrap().resolve(context).unwrap();
        self.1.send(seen).unwrap();
        Evaluation::success(json!("told"))
    }
}

/// A callback that waits for permission.
#[derive(Debug, Clone)]
struct Wait(Arc<Semaphore>, Arc<AtomicUsize>);

impl Wait {
    fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)), Arc::default())
    }
}

impl Evaluator for Wait {
    fn evaluate<'a>(&'a self, _: &'a Context<'a>) -> Evaluation<'a> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Evaluation::pending(async {
            self.0.acquire().await.unwrap().forget();
            Ok(Arc::new(json!(true)))
        })
    }
}

async fn decide(plan: &Arc<Plan>, queue: &Queue) -> Verdict {
    let request = Arc::new(request());
    let (verdict, due) = check_with_callbacks(plan, &request, None, None).await;
    if let Some(due) = due {
        queue.push(due, request);
    }
    verdict
}

fn allowing(callback: impl Evaluator + 'static) -> Scenario {
    Scenario { identity: vec![rule("i", 0, yes())], callbacks: vec![step("c", 0, callback)], ..Scenario::default() }
}

#[tokio::test]
async fn callbacks_see_every_kind_of_decision() {
    let decision = |allowed: bool, status: u16, reason: &str, rule: &str| json!({"allowed": allowed, "status": status, "reason": reason, "rule": rule});
    let identity = || vec![rule("i", 0, yes())];
    let none = Scenario::default;
    let metadata = |told: Told| vec![MetadataRule { step: step("m", 0, told), on_error: OnMetadataError::Deny }];
    let cases = [
        (Scenario { identity: identity(), ..none() }, decision(true, 200, "", "")),
        (Scenario { identity: vec![rule("i", 0, denied("no key"))], ..none() }, decision(false, 401, "no key", "i")),
        (
            Scenario { identity: vec![rule("a", 0, denied("1")), rule("b", 0, denied("2"))], ..none() },
            decision(false, 401, r#"{"a":"1","b":"2"}"#, ""),
        ),
        (
            Scenario { identity: vec![rule("i", 0, undecided())], ..none() },
            decision(false, 503, "issuer is unavailable", "i"),
        ),
        (
            Scenario { identity: identity(), authorization: vec![step("z", 0, denied("no"))], ..none() },
            decision(false, 403, "no", "z"),
        ),
        (
            Scenario {
                identity: identity(),
                authorization: vec![step("z", 0, denied("no"))],
                unauthorized: DenyWith {
                    status: Some(302),
                    message: Some(Expression::value(json!("go away"))),
                    ..DenyWith::default()
                },
                ..none()
            },
            decision(false, 302, "go away", "z"),
        ),
        (
            Scenario { identity: identity(), authorization: vec![step("z", 0, Told::Panic)], ..none() },
            decision(false, 503, "internal error", "z"),
        ),
        (
            Scenario { identity: identity(), metadata: metadata(undecided()), ..none() },
            decision(false, 503, "issuer is unavailable", "m"),
        ),
        (
            Scenario { identity: identity(), metadata: metadata(denied("no")), ..none() },
            decision(false, 403, "no", "m"),
        ),
    ];
    for (scenario, expected) in cases {
        let described = format!("{scenario:?}");
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let plan = Scenario { callbacks: vec![step("c", 0, Tell("auth.decision", sender))], ..scenario }.plan();
        decide(&Arc::new(plan), &Queue::default()).await;
        assert_eq!(receiver.recv().await, Some(expected), "{described}");
    }
}

#[tokio::test]
async fn callbacks_run_after_a_passed_deadline() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut scenario = allowing(Tell("auth.decision.status", sender));
    scenario.authorization.push(step("never", 0, Told::Never));
    let (plan, request) = (Arc::new(scenario.plan()), Arc::new(request()));
    let deadline = Instant::now() + Duration::from_millis(2);
    let (verdict, due) = check_with_callbacks(&plan, &request, Some(deadline), None).await;
    assert_eq!(verdict.http_status(), 503);
    Queue::default().push(due.unwrap(), request);
    assert_eq!(receiver.recv().await, Some(json!(503)));
}

#[tokio::test]
async fn nothing_is_due_where_nothing_was_decided_or_nobody_is_told() {
    let (namespace, name): (Arc<str>, Arc<str>) = ("ns".into(), "pets".into());
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let meters = || metrics.plan(&namespace, &name);
    let plans = [
        Scenario { when: Some(predicate("false")), ..allowing(yes()) }.plan(),
        Scenario { when: Some(predicate("request.headers.missing == 'x'")), ..allowing(yes()) }.plan(),
        Scenario { callbacks: Vec::new(), ..allowing(yes()) }.plan(),
        Plan::pending(namespace.clone(), name.clone(), meters(), String::new()),
        Plan::broken(namespace.clone(), name.clone(), meters(), String::new()),
    ];
    for plan in plans.map(Arc::new) {
        let (_, due) = check_with_callbacks(&plan, &request(), None, None).await;
        assert!(due.is_none(), "{plan:?}");
    }
}

#[tokio::test]
async fn callbacks_see_what_the_phases_left_and_earlier_callbacks() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut skipped = step("skipped", 0, Told::Panic);
    skipped.when = Some(predicate("auth.decision.allowed"));
    let mut told = step("conditional", 0, yes());
    told.when = Some(predicate("!auth.decision.allowed && auth.decision.status == 403 && auth.decision.rule == 'z'"));
    let callbacks = vec![
        step("last", 2, Tell("auth", sender)),
        step("panics", 0, Told::Panic),
        step("panics-later", 0, Told::PanicLater),
        step("fails", 0, denied("no")),
        skipped,
        told,
        step("later", 1, Told::Later(Ok(Arc::new(json!(2))))),
    ];
    let scenario = Scenario {
        identity: vec![rule("i", 0, Told::Now(Ok(Arc::new(json!({"sub": "joe"})))))],
        metadata: vec![MetadataRule { step: step("geo", 0, yes()), on_error: OnMetadataError::Skip }],
        authorization: vec![step("a", 0, yes()), step("z", 1, denied("no"))],
        callbacks,
        ..Scenario::default()
    };
    let queue = Queue::default();
    decide(&Arc::new(scenario.plan()), &queue).await;
    let expected = json!({
        "identity": {"sub": "joe"},
        "metadata": {"geo": true},
        "authorization": {"a": true},
        "callbacks": {"conditional": true, "later": 2},
        "decision": {"allowed": false, "status": 403, "reason": "no", "rule": "z"},
    });
    assert_eq!(receiver.recv().await, Some(expected));
    assert_eq!(queue.flush(ENOUGH).await, 0);
}

#[tokio::test]
async fn only_callbacks_see_a_decision() {
    let request = request();
    let mut context = Context::new(&request, None, None);
    assert_eq!(context.json().pointer("/auth/decision"), None);
    context.add(Phase::Callbacks, "c".into(), Arc::new(json!(1)));
    assert_eq!(context.json().pointer("/auth"), Some(&json!({"callbacks": {"c": 1}})));
}

#[tokio::test]
async fn a_callback_that_hangs_delays_no_answer_and_no_other_namespace() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let hanging = Arc::new(allowing(Told::Never).plan_in("hanging", &metrics));
    let healthy = Arc::new(allowing(Tell("request.path", sender)).plan_in("healthy", &metrics));
    let limits = Limits { running: 3, running_of_namespace: 2, ..Limits::default() };
    let queue = Queue::new(limits);
    for _ in 0..50 {
        assert!(decide(&hanging, &queue).await.is_allowed());
    }
    for _ in 0..50 {
        assert!(decide(&healthy, &queue).await.is_allowed());
    }
    for _ in 0..50 {
        assert_eq!(receiver.recv().await, Some(json!("/x")));
    }
    assert_eq!(queue.flush(Duration::from_millis(1)).await, 50);
    // Nothing is taken in any more.
    decide(&healthy, &queue).await;
    assert!(receiver.try_recv().is_err());
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let (one, other) = (Wait::new(), Wait::new());
    let plans = [
        Arc::new(allowing(one.clone()).plan_in("one", &metrics)),
        Arc::new(allowing(other.clone()).plan_in("other", &metrics)),
    ];
    let limits =
        Limits { running: 10, running_of_namespace: 2, waiting: 5, waiting_of_namespace: 3, ..Limits::default() };
    let queue = Queue::new(limits);
    for plan in &plans {
        for _ in 0..9 {
            decide(plan, &queue).await;
        }
    }
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    // Of nine two run, three wait; of the other nine two run, and two find the places that are left.
    for expected in [r#"{authconfig="pets",namespace="one"} 4"#, r#"{authconfig="pets",namespace="other"} 5"#] {
        assert!(page.contains(&format!("usher_callbacks_dropped_total{expected}")), "{page}");
    }
    one.0.add_permits(100);
    other.0.add_permits(100);
    assert_eq!(queue.flush(ENOUGH).await, 0);
    assert_eq!((one.1.load(Ordering::SeqCst), other.1.load(Ordering::SeqCst)), (5, 4));
}

#[tokio::test]
async fn memory_is_limited() {
    let wait = Wait::new();
    let plan = Arc::new(allowing(wait.clone()).plan());
    let queue = Queue::new(Limits { bytes_of_namespace: 100_000, ..Limits::default() });
    let push = async |length: usize| {
        let request = Request::new(RequestParts { body: "b".repeat(length), ..RequestParts::default() });
        let (_, due) = check_with_callbacks(&plan, &request, None, None).await;
        queue.push(due.unwrap(), Arc::new(request));
        tokio::task::yield_now().await;
        wait.1.load(Ordering::SeqCst)
    };
    // The first one runs whatever it takes, and leaves no room.
    assert_eq!(push(200_000).await, 1);
    assert_eq!(push(10).await, 1);
    wait.0.add_permits(1);
    assert_eq!(queue.bytes_when_idle().await, 0);
    assert_eq!(push(10).await, 2);
    assert_eq!(push(10).await, 3);
    assert_eq!(push(200_000).await, 3);
    wait.0.add_permits(2);
    assert_eq!(queue.bytes_when_idle().await, 0);
}

#[tokio::test]
async fn a_flush_waits_for_what_runs_and_what_waits() {
    let wait = Wait::new();
    let plan = Arc::new(allowing(wait.clone()).plan());
    let queue = Arc::new(Queue::new(Limits { running_of_namespace: 1, ..Limits::default() }));
    assert_eq!(queue.flush(ENOUGH).await, 0);
    let queue = Arc::new(Queue::new(Limits { running_of_namespace: 1, ..Limits::default() }));
    for _ in 0..3 {
        decide(&plan, &queue).await;
    }
    let flushing = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.flush(ENOUGH).await }
    });
    tokio::task::yield_now().await;
    assert!(!flushing.is_finished());
    wait.0.add_permits(3);
    assert_eq!(flushing.await.unwrap(), 0);
    assert_eq!(wait.1.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn each_callback_has_a_bounded_time() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut scenario = allowing(Told::Never);
    scenario.callbacks.push(step("next", 1, Tell("auth.callbacks.c", sender)));
    let queue = Queue::new(Limits { time: Duration::from_millis(5), ..Limits::default() });
    decide(&Arc::new(scenario.plan()), &queue).await;
    assert_eq!(receiver.recv().await, Some(Value::Null));
    assert_eq!(queue.flush(ENOUGH).await, 0);
}

#[tokio::test]
async fn callbacks_are_counted_where_asked_for() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let mut scenario = allowing(Told::Later(Err(Failure::denied("no"))));
    let name: Arc<str> = "c".into();
    scenario.callbacks[0].meters = Some(metrics.step(&"ns".into(), &"pets".into(), "CALLBACK_HTTP", &name));
    let queue = Queue::default();
    decide(&Arc::new(scenario.plan_in("ns", &metrics)), &queue).await;
    assert_eq!(queue.flush(ENOUGH).await, 0);
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let labels = r#"{authconfig="pets",evaluator_name="c",evaluator_type="CALLBACK_HTTP",namespace="ns"} 1"#;
    for family in ["auth_server_evaluator_total", "auth_server_evaluator_denied"] {
        assert!(page.contains(&format!("{family}{labels}")), "{page}");
    }
}

/// A callback whose result panics when it is read is not there; this one panics where no guard of a step is.
#[tokio::test]
async fn a_panic_ends_neither_the_queue_nor_those_who_wait() {
    /// Panics for the first one who comes, when its future is dropped.
    #[derive(Debug)]
    struct Bomb(Arc<Mutex<bool>>, mpsc::UnboundedSender<Value>);
    struct Fuse(bool);
    impl Drop for Fuse {
        fn drop(&mut self) {
            assert!(!self.0, "told to");
        }
    }
    impl Evaluator for Bomb {
        fn evaluate<'a>(&'a self, _: &'a Context<'a>) -> Evaluation<'a> {
            let fuse = Fuse(std::mem::take(&mut *self.0.lock().unwrap()));
            Evaluation::pending(async move {
                let _fuse = fuse;
                tokio::task::yield_now().await;
                self.1.send(json!("ran")).unwrap();
                std::future::pending().await
            })
        }
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let plan = Arc::new(allowing(Bomb(Arc::new(Mutex::new(true)), sender)).plan());
    let limits = Limits { running_of_namespace: 1, time: Duration::from_millis(2), ..Limits::default() };
    let queue = Queue::new(limits);
    decide(&plan, &queue).await;
    decide(&plan, &queue).await;
    assert_eq!(receiver.recv().await, Some(json!("ran")));
    assert_eq!(receiver.recv().await, Some(json!("ran")));
    assert_eq!(queue.flush(ENOUGH).await, 0);
}
