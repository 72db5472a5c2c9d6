//! Secrets that AuthConfigs name.

use usher_test_support::Fault;

use super::*;

async fn started(api: &ApiServer) -> Running {
    let mut running = Running::start(api, options());
    running.tells(&["done"]).await;
    running
}

#[tokio::test]
async fn a_secret_is_told_as_long_as_it_is_named() {
    let api = ApiServer::start();
    api.apply(secret("n", "one"));
    let mut running = started(&api).await;
    assert_eq!((api.count("list", "secrets"), api.count("get", "secrets")), (1, 0), "only labelled ones so far");

    running.follow("n", true);
    running.tells(&["named n=one"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    api.apply(secret("n", "two"));
    running.tells(&["named n=two"]).await;
    api.delete("secrets", "ns", "n");
    running.tells(&["named n none"]).await;
    api.apply(secret("n", "three"));
    running.tells(&["named n=three"]).await;

    running.follow("n", false);
    api.apply(secret("n", "four"));
    running.follow("marker", true);
    running.tells(&["named marker none"]).await;
    running.follow("n", true);
    running.tells(&["named n=four"]).await;
    assert!(running.receiver.try_recv().is_err());
}

#[tokio::test]
async fn other_secrets_are_neither_read_nor_told() {
    let api = ApiServer::start();
    api.load((0..600).map(|number| secret(&format!("s{number}"), "x")));
    let mut running = started(&api).await;
    running.follow("s7", true);
    running.tells(&["named s7=x"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    for number in 0..20 {
        api.apply(secret("s8", &format!("{number}")));
    }
    api.apply(secret("s7", "y"));
    running.tells(&["named s7=y"]).await;
    let read: BTreeSet<_> =
        api.calls().into_iter().filter(|call| call.verb == "get").filter_map(|call| call.name).collect();
    assert_eq!(read, BTreeSet::from(["s7".to_owned()]));
    assert_eq!(api.count("get", "secrets"), 2);
}

#[tokio::test]
async fn a_secret_that_did_not_change_is_not_told_again() {
    let api = ApiServer::start();
    api.apply(secret("n", "one"));
    let mut running = started(&api).await;
    running.follow.set(vec![(SecretName::new("ns", "n"), true), (SecretName::new("ns", "n"), true)]);
    running.tells(&["named n=one"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    // The watch begins anew with a list, which shows the same.
    api.pause();
    running.fails(Watched::NamedSecrets).await;
    api.compact();
    api.resume();
    running.is_connected(Watched::NamedSecrets).await;
    running.follow("marker", true);
    running.tells(&["named marker none"]).await;
    assert!(running.receiver.try_recv().is_err());
}

#[tokio::test]
async fn what_happened_while_the_watch_was_away_is_found() {
    let api = ApiServer::start();
    for name in ["gone", "new", "same"] {
        api.apply(secret(name, "one"));
    }
    let mut running = started(&api).await;
    for name in ["gone", "new", "same", "never"] {
        running.follow(name, true);
    }
    running.tells(&["named gone=one", "named new=one", "named same=one", "named never none"]).await;
    running.is_connected(Watched::NamedSecrets).await;
    api.pause();
    running.fails(Watched::NamedSecrets).await;
    api.delete("secrets", "ns", "gone");
    api.apply(secret("new", "two"));
    api.compact();
    assert!(running.receiver.try_recv().is_err(), "a server that is away removes nothing");
    api.resume();
    running.tells(&["named gone none", "named new=two"]).await;
}

#[tokio::test]
async fn refusals_and_failures_are_tried_again() {
    let api = ApiServer::start();
    api.apply(secret("n", "one"));
    let mut running = started(&api).await;
    for code in [500, 503, 429] {
        api.fail(Fault::answer(code).verb("get").resource("secrets").times(1));
    }
    running.follow("n", true);
    running.tells(&["named n=one"]).await;

    api.fail(Fault::forbid().verb("get").resource("secrets"));
    api.apply(secret("m", "two"));
    running.follow("m", true);
    running.tells(&["named m none"]).await;
    let asked = api.count("get", "secrets");
    eventually(|| (api.count("get", "secrets") > asked + 2).then_some(()).ok_or("asked again".to_owned())).await;
    assert!(running.receiver.try_recv().is_err(), "told once");
    api.clear_faults();
    running.tells(&["named m=two"]).await;
    api.apply(secret("m", "three"));
    running.tells(&["named m=three"]).await;

    // As by a server that has just begun: what is known stays.
    running.is_connected(Watched::NamedSecrets).await;
    api.fail(Fault::forbid().verb("get").resource("secrets").times(3));
    api.apply(secret("m", "four"));
    running.tells(&["named m=four"]).await;
}

#[tokio::test]
async fn the_watch_of_all_secrets_runs_while_one_is_named() {
    let api = ApiServer::start();
    api.apply(secret("n", "one"));
    let timing = Timing { linger: Duration::from_millis(50), ..timing() };
    let mut running = Running::start_with(&api, options(), timing, None);
    running.tells(&["done"]).await;
    running.is_connected(Watched::Secrets).await;
    let open = |wanted: usize| {
        let open = api.open_watches("secrets");
        (open == wanted).then_some(()).ok_or(format!("{open} watches are open"))
    };
    for value in ["one", "two"] {
        api.apply(secret("n", value));
        running.follow("n", true);
        running.tells(&[&format!("named n={value}")]).await;
        running.is_connected(Watched::NamedSecrets).await;
        eventually(|| open(2)).await;
        // One that is named again at once is still named.
        let lists = api.count("list", "secrets");
        running.follow.set(vec![(SecretName::new("ns", "n"), false), (SecretName::new("ns", "m"), true)]);
        running.tells(&["named m none"]).await;
        assert_eq!(api.count("list", "secrets"), lists);
        running.follow("m", false);
        running.is(Watched::NamedSecrets, |state| *state == WatchState::NotNeeded).await;
        eventually(|| open(1)).await;
        assert!(running.health.connected());
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_asked_for_again() {
    let api = ApiServer::start();
    api.apply(secret("n", "one"));
    let timing = Timing { get: Duration::from_millis(50), ..timing() };
    let mut running = Running::start_with(&api, options(), timing, None);
    running.tells(&["done"]).await;
    api.fail(Fault::hang().verb("get").resource("secrets").times(2));
    running.follow("n", true);
    running.tells(&["named n=one"]).await;
}

#[tokio::test]
async fn no_name_leads_elsewhere() {
    let api = ApiServer::start();
    let mut running = started(&api).await;
    let names = ["../../../api", "a/b", "..", "UPPER", "a?watch=true", ""];
    running.follow.set(names.map(|name| (SecretName::new("ns", name), true)).to_vec());
    assert_eq!(running.changes(names.len()).await.len(), names.len());
    assert_eq!(api.count("get", "secrets"), 0);
    assert!(api.calls().iter().all(|call| ["list", "watch"].contains(&&*call.verb)), "{:#?}", api.calls());
}

#[tokio::test]
async fn many_secrets_and_many_changes_end_right() {
    let api = ApiServer::start();
    api.load((0..300).map(|number| secret(&format!("s{number}"), "0")));
    let mut running = started(&api).await;
    running.follow.set((0..300).map(|number| (SecretName::new("ns", &format!("s{number}")), true)).collect());
    for round in 1..5 {
        for number in (0..300).step_by(7) {
            let name = format!("s{number}");
            if (number + round) % 2 == 0 {
                api.delete("secrets", "ns", &name);
            } else {
                api.apply(secret(&name, &round.to_string()));
            }
        }
    }
    let mut known = std::collections::BTreeMap::new();
    let is_right = |known: &std::collections::BTreeMap<String, String>| {
        known.len() == 300
            && known.iter().all(|(name, told)| {
                let number: usize = name[1..].parse().unwrap();
                let expected = match (number % 7, number % 2) {
                    (0, 0) => format!("named {name} none"),
                    (0, _) => format!("named {name}=4"),
                    _ => format!("named {name}=0"),
                };
                *told == expected
            })
    };
    while !is_right(&known) {
        for change in running.batch().await {
            let Change::NamedSecret { name, .. } = &change else { panic!("{change:?}") };
            known.insert(name.name.to_string(), short(&change));
        }
    }
}
