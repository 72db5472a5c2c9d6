//! What is not written at once: refusals, conflicts, an API that is away, another writer.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_less_and_less_often() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(true));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        pauses.push(world.after_wait().await.0);
        world.fail("a", refused(500));
        world.observe("a", None);
    }
    for (pause, expected) in pauses.iter().zip([100, 500, 1000, 2000, 4000, 8000, 16_000]) {
        assert!((expected..=expected + expected / 5 + 1).contains(pause), "{pauses:?}");
    }
    assert!(pauses[11] <= 360_001, "{pauses:?}");
    assert_eq!(world.metric("workqueue_retries_total{name=\"authconfig_status\"}"), "12");
    // Something else may not be refused.
    world.set("a", status(false));
    assert_eq!(world.after_wait().await.0, 100);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_away_is_left_in_peace() {
    let mut world = World::leading();
    for name in ["a", "b"] {
        world.observe(name, None);
        world.set(name, status(true));
    }
    advance(Duration::from_millis(100)).await;
    let (name, _) = world.write().unwrap();
    world.fail(&name, Failure::new(Cause::NoAnswer, "no connection"));
    let wait = world.wait().unwrap();
    assert!((500..=600).contains(&wait), "for `b` as well: {wait}");
    let (_, patch) = world.after_wait().await;
    world.done("b", &patch);
    let (after, patch) = world.after_wait().await;
    assert!(after <= 200, "{after}");
    world.done("a", &patch);
    assert_eq!(world.wait(), None);

    world.set("a", status(false));
    world.after_wait().await;
    let busy = Failure { retry_after: Some(Duration::from_secs(7)), ..refused(429) };
    world.fail("a", busy);
    assert_eq!(world.wait(), Some(7000));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_waits_for_the_watch() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(true));
    world.after_wait().await;
    world.fail("a", refused(409));
    assert!(world.wait().unwrap() >= 30_000);
    world.observe("a", None);
    let (after, patch) = world.after_wait().await;
    assert_eq!((after, &patch["metadata"]["resourceVersion"]), (100, &json!("2")));
    // The watch is quicker than the answer.
    world.observe("a", None);
    world.fail("a", refused(409));
    let (after, patch) = world.after_wait().await;
    assert!((1000..=1200).contains(&after), "the second in a row: {after}");
    assert_eq!(patch["metadata"]["resourceVersion"], "3");
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_it_is_written_to_is_not_lost() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(true));
    world.after_wait().await;
    // It is gone, and another of that name is there, before the API has answered that there is none.
    let again = Observed { uid: "v".to_owned(), resource_version: "9".to_owned(), status: None };
    world.queue.tell(key("a"), News::Observed(None), Instant::now());
    world.queue.tell(key("a"), News::Observed(Some(again.clone())), Instant::now());
    world.fail("a", refused(404));
    let (after, patch) = world.after_wait().await;
    assert!((500..=600).contains(&after), "{after}");
    assert_eq!(patch["metadata"]["resourceVersion"], "9");
    // The same, but the first was written before it was gone: nobody has overwritten anything.
    let written = Observed { status: serde_json::from_value(patch["status"].clone()).unwrap(), ..again };
    let third = Observed { uid: "w".to_owned(), resource_version: "12".to_owned(), status: None };
    world.queue.tell(key("a"), News::Observed(Some(third)), Instant::now());
    world.queue.done(key("a"), Ok(Observed { resource_version: "10".to_owned(), ..written }), Instant::now());
    let (after, patch) = world.after_wait().await;
    assert_eq!((after, &patch["metadata"]["resourceVersion"]), (100, &json!("12")));
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_does_not_end_the_peace() {
    let mut world = World::leading();
    for name in ["a", "b", "c"] {
        world.observe(name, None);
        world.set(name, status(true));
    }
    advance(Duration::from_millis(100)).await;
    let (first, _) = world.write().unwrap();
    let (second, patch) = world.write().unwrap();
    world.fail(&first, Failure { retry_after: Some(Duration::from_secs(7)), ..refused(429) });
    world.done(&second, &patch);
    assert_eq!(world.wait(), Some(7000));
    let (after, patch) = world.after_wait().await;
    assert_eq!(after, 7000);
    world.done("c", &patch);
    assert_eq!(world.write().unwrap().0, "a", "it answers again");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_to_an_unknown_version() {
    let mut world = World::leading();
    world.set("a", status(true));
    world.queue.tell(key("a"), News::Observed(Some(Observed::default())), Instant::now());
    assert_eq!(world.wait(), None);
    world.observe("a", None);
    assert_eq!(world.after_wait().await.1["metadata"]["resourceVersion"], "1");
}

#[tokio::test(start_paused = true)]
async fn where_writing_is_forbidden_it_is_rarely_tried() {
    let mut world = World::leading();
    for name in ["a", "b"] {
        world.observe(name, None);
        world.set(name, status(true));
    }
    advance(Duration::from_millis(100)).await;
    world.write().unwrap();
    world.fail("a", refused(403));
    let wait = world.wait().unwrap();
    assert!((5000..=6000).contains(&wait), "for `b` as well: {wait}");
    let errors = "controller_runtime_terminal_reconcile_errors_total{controller=\"authconfig_status\"}";
    assert_eq!(world.metric(errors), "1");
    // Elsewhere it is not.
    let elsewhere = Key { namespace: "other".into(), name: "a".into() };
    world.queue.tell(elsewhere.clone(), News::Desired(Some(status(true))), Instant::now());
    let observed = Observed { resource_version: "1".to_owned(), ..Observed::default() };
    world.queue.tell(elsewhere, News::Observed(Some(observed)), Instant::now());
    assert_eq!(world.after_wait().await.0, 100);
    world.queue.done(Key { namespace: "other".into(), name: "a".into() }, Err(refused(403)), Instant::now());
    // Less and less often.
    let mut pauses = Vec::new();
    for _ in 0..60 {
        let begin = Instant::now();
        let (name, namespace) = loop {
            match world.queue.next(Instant::now()) {
                Next::Write(key, _) => break (key.name, key.namespace),
                Next::Wait(until) => advance(until.unwrap() - Instant::now()).await,
            }
        };
        pauses.push(begin.elapsed());
        world.queue.done(Key { namespace, name }, Err(refused(403)), Instant::now());
    }
    assert!(pauses.iter().any(|pause| *pause >= Duration::from_secs(300)), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(360)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_forgotten() {
    let mut world = World::leading();
    world.observe("a", None);
    world.set("a", status(true));
    world.after_wait().await;
    world.fail("a", refused(404));
    assert_eq!(world.wait(), None);
    world.queue.tell(key("a"), News::Observed(None), Instant::now());
    // It is made again, with the same name.
    let again = Observed { uid: "v".to_owned(), resource_version: "9".to_owned(), status: None };
    world.queue.tell(key("a"), News::Observed(Some(again)), Instant::now());
    let (after, patch) = world.after_wait().await;
    assert_eq!((after, &patch["metadata"]["resourceVersion"]), (100, &json!("9")));
    // It goes away while it is being written.
    world.queue.tell(key("a"), News::Observed(None), Instant::now());
    world.queue.tell(key("a"), News::Desired(None), Instant::now());
    world.fail("a", refused(404));
    world.queue.tell(key("never seen"), News::Desired(None), Instant::now());
    assert!(world.queue.entries.is_empty() && world.queue.due.is_empty());
    assert_eq!(world.metric("workqueue_depth{name=\"authconfig_status\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn another_writer_is_not_answered_blow_by_blow() {
    let mut world = World::leading();
    world.observe("a", Some(status(false)));
    world.set("a", status(true));
    let mut pauses = Vec::new();
    for _ in 0..11 {
        let (after, patch) = world.after_wait().await;
        pauses.push(after);
        world.done("a", &patch);
        world.observe("a", Some(status(false)));
    }
    assert_eq!(pauses, [100, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000]);
    // Another status does not break the peace.
    world.set("a", AuthConfigStatus { observed_generation: Some(2), ..status(true) });
    let (after, patch) = world.after_wait().await;
    assert_eq!(after, 300_000);
    let written = world.done("a", &patch);
    advance(Duration::from_secs(3600)).await;
    world.observe("a", Some(written));
    world.observe("a", Some(status(false)));
    assert_eq!(world.after_wait().await.0, 1000, "it was quiet for long");
}
