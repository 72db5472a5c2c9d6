//! The index of API keys: events, lookups, size.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use usher_api::{Secret, Selector};
use usher_evaluators::resources::api_keys::ApiKeys;

use crate::support::secret;

fn index() -> ApiKeys {
    ApiKeys::new(Selector::default()).unwrap()
}

/// The name of the Secret that this key identifies.
fn find(keys: &ApiKeys, key: &str, namespace: Option<&str>, selector: &str) -> Option<String> {
    let identity = keys.find(key, namespace, &Selector::parse(selector).unwrap())?;
    Some(identity["metadata"]["name"].as_str().unwrap().to_owned())
}

fn made(mut secret: Secret, created: &str) -> Secret {
    secret.metadata.creation_timestamp = Some(created.to_owned());
    secret
}

#[test]
fn keys_come_change_and_go() {
    let keys = index();
    assert_eq!(find(&keys, "v1", None, ""), None);
    keys.apply(&secret("ns/a", "app=x", "v1"));
    assert_eq!(find(&keys, "v1", Some("ns"), "app=x").as_deref(), Some("a"));
    assert_eq!(find(&keys, "v1", Some("other"), "app=x"), None);
    assert_eq!(find(&keys, "v1", Some("ns"), "app=y"), None);
    assert_eq!(find(&keys, "v1", None, "").as_deref(), Some("a"));

    keys.apply(&secret("ns/a", "app=x", "v2"));
    assert_eq!(find(&keys, "v1", None, ""), None);
    assert_eq!(find(&keys, "v2", None, "").as_deref(), Some("a"));
    assert_eq!(keys.len(), 1);

    keys.apply(&secret("ns/a", "app=y", "v2"));
    assert_eq!(find(&keys, "v2", None, "app=x"), None);
    assert_eq!(find(&keys, "v2", None, "app=y").as_deref(), Some("a"));

    keys.apply(&secret("ns/a", "app=y", ""));
    assert_eq!(find(&keys, "v2", None, ""), None);
    assert_eq!(find(&keys, "", None, ""), None);
    assert!(keys.is_empty());

    keys.apply(&secret("ns/a", "", "v3"));
    let mut without = secret("ns/a", "", "v3");
    let value = without.data.remove("api_key").unwrap();
    without.data.insert("token".to_owned(), value);
    keys.apply(&without);
    assert_eq!(find(&keys, "v3", None, ""), None);

    keys.apply(&secret("ns/a", "", "v4"));
    keys.remove("ns", "b");
    keys.remove("other", "a");
    assert_eq!(find(&keys, "v4", None, "").as_deref(), Some("a"));
    keys.remove("ns", "a");
    keys.remove("ns", "a");
    assert_eq!(find(&keys, "v4", None, ""), None);
}

#[test]
fn the_identity_is_the_secret_as_it_is_now() {
    let keys = index();
    let mut key = secret("ns/a", "app=x", "v1\n");
    key.data.insert("plan".to_owned(), b"gold".to_vec());
    keys.apply(&key);
    let first = keys.find("v1\n", None, &Selector::default()).unwrap();
    assert_eq!(*first, key.to_identity_json());
    assert!(std::sync::Arc::ptr_eq(&first, &keys.find("v1\n", None, &Selector::default()).unwrap()), "kept ready");
    assert!(keys.find("v1", None, &Selector::default()).is_none(), "every byte counts");

    key.metadata.annotations.insert("plan".to_owned(), "platinum".to_owned());
    keys.apply(&key);
    let changed = keys.find("v1\n", None, &Selector::default()).unwrap();
    assert_eq!(*changed, key.to_identity_json());
}

#[test]
fn of_several_secrets_with_one_key_the_oldest_counts_and_the_last_revokes() {
    let keys = index();
    keys.apply(&made(secret("ns/younger", "app=x", "same"), "2026-02-01T00:00:00Z"));
    keys.apply(&made(secret("ns/older", "app=x", "same"), "2026-01-01T00:00:00Z"));
    keys.apply(&made(secret("ns/other-app", "app=y", "same"), "2025-01-01T00:00:00Z"));
    keys.apply(&made(secret("alien/oldest", "app=x", "same"), "2024-01-01T00:00:00Z"));
    let find = |namespace: Option<&str>, selector: &str| find(&keys, "same", namespace, selector);
    assert_eq!(find(Some("ns"), "app=x").as_deref(), Some("older"));
    assert_eq!(find(Some("ns"), "app=y").as_deref(), Some("other-app"));
    assert_eq!(find(Some("ns"), "").as_deref(), Some("other-app"));
    assert_eq!(find(Some("alien"), "").as_deref(), Some("oldest"));
    assert_eq!(find(Some("zoo"), ""), None);
    assert_eq!(find(None, "").as_deref(), Some("oldest"));
    assert_eq!(find(None, "app=y").as_deref(), Some("other-app"));
    keys.remove("ns", "older");
    assert_eq!(find(Some("ns"), "app=x").as_deref(), Some("younger"));
    keys.apply(&made(secret("ns/younger", "app=x", "another"), "2026-02-01T00:00:00Z"));
    assert_eq!(find(Some("ns"), "app=x"), None);
    keys.remove("alien", "oldest");
    assert_eq!(find(None, "app=x"), None);
    assert_eq!(keys.len(), 2);
}

#[test]
fn secrets_that_are_not_watched_do_not_count() {
    let keys = ApiKeys::new(Selector::parse("managed=yes").unwrap()).unwrap();
    keys.apply(&secret("ns/a", "app=x", "ka"));
    assert_eq!(find(&keys, "ka", None, ""), None);
    keys.apply(&secret("ns/a", "app=x,managed=yes", "ka"));
    assert_eq!(find(&keys, "ka", None, "").as_deref(), Some("a"));
    keys.apply(&secret("ns/a", "app=x,managed=no", "ka"));
    assert_eq!(find(&keys, "ka", None, ""), None);
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    let keys = index();
    keys.apply(&secret("ns/a", "", "hunter2"));
    assert_eq!(format!("{keys:?}"), "ApiKeys { len: 1, .. }");
}

/// A key that is there all the time is found all the time, while its Secret and many others change.
#[test]
fn lookups_never_miss_a_key_that_stays() {
    let keys = index();
    keys.apply(&secret("ns/stays", "n=0", "stays"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut lookups = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(find(&keys, "stays", Some("ns"), "").as_deref(), Some("stays"));
                        lookups += 1;
                    }
                    lookups
                })
            })
            .collect();
        for round in 0..3000 {
            keys.apply(&secret("ns/stays", &format!("n={round}"), "stays"));
            keys.apply(&secret(&format!("ns/{round}"), "", &format!("key-{round}")));
            keys.apply(&secret(&format!("ns/twin-{}", round % 7), "", if round % 2 == 0 { "stays" } else { "goes" }));
            keys.remove("ns", &format!("{}", round / 2));
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

fn realistic(number: usize) -> Secret {
    let mut key = secret(
        &format!("team-{}/customer-{number:07}", number % 50),
        "authorino.kuadrant.io/managed-by=authorino,group=friends",
        &format!("ndyBzreUzF4zqDQsqSPMHkRhr{number:07}"),
    );
    key.metadata.uid = Some(format!("4b825dc6-42cb-4f2a-9a0e-{number:012}"));
    key.metadata.resource_version = Some(number.to_string());
    key.metadata.creation_timestamp = Some("2026-01-02T03:04:05Z".to_owned());
    key.metadata.annotations = [("secret.kuadrant.io/user-id".to_owned(), format!("customer-{number:07}"))].into();
    key.secret_type = "Opaque".to_owned();
    key
}

#[test]
fn many_keys_are_all_found() {
    let keys = index();
    let count = 100_000;
    for number in 0..count {
        keys.apply(&realistic(number));
    }
    assert_eq!(keys.len(), count);
    let selector = Selector::parse("group=friends").unwrap();
    for number in (0..count).step_by(97) {
        let key = realistic(number);
        let value = String::from_utf8(key.data["api_key"].clone()).unwrap();
        let found = keys.find(&value, Some(&key.metadata.namespace), &selector).unwrap();
        assert_eq!(*found, key.to_identity_json());
    }
    for number in 0..count {
        let key = realistic(number);
        keys.remove(&key.metadata.namespace, &key.metadata.name);
    }
    assert!(keys.is_empty());
}

/// Thousands of Secrets with one and the same key make neither events nor lookups slow: they are looked at up to a
/// limit, and count in turn.
#[test]
fn one_key_in_very_many_secrets_stays_cheap() {
    let keys = index();
    let started = Instant::now();
    for number in 0..20_000 {
        keys.apply(&secret(&format!("ns/{number:05}"), "app=x", "changeme"));
    }
    keys.apply(&secret("other/mine", "app=x", "changeme"));
    for _ in 0..1000 {
        assert_eq!(find(&keys, "changeme", Some("ns"), "app=y"), None);
        assert_eq!(find(&keys, "changeme", Some("other"), "app=x").as_deref(), Some("mine"));
    }
    for number in 0..19_999 {
        keys.remove("ns", &format!("{number:05}"));
    }
    assert_eq!(find(&keys, "changeme", Some("ns"), "app=x").as_deref(), Some("19999"));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// Prints what a million keys cost. Run it alone, optimised: `cargo test --release -p usher-evaluators -- --ignored
/// --nocapture a_million_keys`.
#[test]
#[ignore = "takes a while and about half a gigabyte"]
fn a_million_keys() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    let keys = index();
    let count = 1_000_000;
    let before = resident();
    let (mut spent, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let mut measure = |number: usize| {
        let secret = realistic(number);
        let started = Instant::now();
        keys.apply(&secret);
        let took = started.elapsed();
        spent += took;
        slowest = slowest.max(took);
        took
    };
    let first: Duration = (0..10_000).map(&mut measure).sum();
    (10_000..count - 10_000).for_each(|number| {
        measure(number);
    });
    let last: Duration = (count - 10_000..count).map(&mut measure).sum();
    println!("bytes per key: {}", (resident() - before) / count);
    println!(
        "event: first {:?}, last {:?}, all {:?}, slowest {slowest:?}",
        first / 10_000,
        last / 10_000,
        spent / 1_000_000
    );
    let selector = Selector::parse("group=friends").unwrap();
    let values: Vec<_> = (0..count)
        .step_by(7)
        .map(realistic)
        .map(|key| (String::from_utf8(key.data["api_key"].clone()).unwrap(), key.metadata.namespace))
        .collect();
    let started = Instant::now();
    for (value, namespace) in &values {
        assert!(keys.find(value, Some(namespace), &selector).is_some());
    }
    println!("lookup with a new identity: {:?}", started.elapsed() / u32::try_from(values.len()).unwrap());
    let (value, namespace) = &values[0];
    let started = Instant::now();
    for _ in 0..100_000 {
        assert!(keys.find(value, Some(namespace), &selector).is_some());
    }
    println!("lookup with a kept identity: {:?}", started.elapsed() / 100_000);
    let started = Instant::now();
    for _ in 0..100_000 {
        assert!(keys.find("unknown", Some("team-1"), &selector).is_none());
    }
    println!("lookup of an unknown key: {:?}", started.elapsed() / 100_000);
    assert!((resident() - before) / count < 600, "600 bytes per key");
}
