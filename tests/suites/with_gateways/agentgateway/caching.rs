//! Which answers are reused, and for whom.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::{CLEANER, FOLDER, PLANNER, World, named};
use crate::support::{documents::Folder, http::Response, usher::Usher, workspace::root};

const HOST: &str = "ai.example.com";

fn list(world: &World, target: &str, authorization: &[&str]) -> Response {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    world.proxy.get(HOST, target, &headers)
}

fn key(key: &str) -> String {
    format!("APIKEY {key}")
}

/// The objects of the guide, but for this change to what `models` says about the cache.
fn with_cache(change: impl Fn(&mut Value)) -> World {
    World::changed(
        |document| named(document, "perimeter").is_none(),
        |document| {
            if named(document, "models").is_some() {
                change(&mut document["spec"]["traffic"]["extAuth"]["cache"]);
            }
        },
    )
}

fn agent(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["headers"]["x-agent"].as_str().unwrap().to_owned()
}

#[test]
fn a_permission_for_a_key_is_reused_for_half_a_minute() {
    for world in [World::start(), World::standalone()] {
        for _ in 0..5 {
            assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner", "with its headers");
        }
        assert_eq!((world.calls("models"), world.models.requests()), (1, 5));
        world.clock.forward(Duration::from_secs(31));
        assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner");
        assert_eq!(world.calls("models"), 2);
    }
}

#[test]
fn nobody_gets_the_answer_of_another() {
    let world = World::start();
    assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner");
    assert_eq!(agent(&list(&world, "/v1/models", &[&key(CLEANER)])), "cleaner");
    assert_eq!(agent(&list(&world, "/v1/models?owner=all", &[&key(PLANNER)])), "planner");
    assert_eq!(
        agent(&world.proxy.get("other.example.com", "/v1/models", &[("authorization", &key(PLANNER))])),
        "planner"
    );
    assert_eq!(world.calls("models"), 4, "another key, another query, another host");

    // The first of two headers is one that was allowed.
    let response = list(&world, "/v1/models", &[&key(PLANNER), &key("of-nobody")]);
    assert_eq!((response.status, world.calls("models")), (401, 5));
    let post = world.proxy.post(HOST, "/v1/models", &[("authorization", &key(PLANNER))], "{}");
    assert_eq!((post.status, world.calls("models")), (403, 6), "another method");
}

#[test]
fn denials_and_tokens_are_asked_about_every_time() {
    let world = World::start();
    let token = fs::read_to_string(root().join("deploy/examples/quickstart/ann.jwt")).unwrap();
    let token = format!("Bearer {}", token.trim());
    let post = |world: &World| world.proxy.post(HOST, "/v1/models", &[("authorization", &key(PLANNER))], "{}");
    let mut calls = 0;
    for _ in 0..3 {
        let nobody = list(&world, "/v1/models", &[]);
        assert_eq!(nobody.status, 401, "without a credential there is no key");
        let challenges: Vec<_> = nobody.headers("www-authenticate").collect();
        assert_eq!(challenges, [r#"APIKEY realm="keys", Bearer realm="tokens""#]);
        assert_eq!(list(&world, "/v1/models", &[&key("of-nobody")]).status, 401);
        assert_eq!(post(&world).status, 403);
        assert_eq!(agent(&list(&world, "/v1/models", &[&token])), "ann");
        calls += 4;
        assert_eq!(world.calls("models"), calls);
    }
}

/// Why the AuthConfig says for how long, and not the policy: with a time of its own the gateway keeps denials too.
#[test]
fn a_fixed_time_keeps_denials_as_well() {
    let world = with_cache(|cache| cache["ttl"] = json!("30s"));
    for _ in 0..3 {
        assert_eq!(list(&world, "/v1/models", &[&key("of-nobody")]).status, 401);
    }
    assert_eq!(world.calls("models"), 1);
}

/// Why all that the policy reads has to be in the key.
#[test]
fn a_key_that_misses_the_credential_gives_everybody_the_answer_of_the_first() {
    let world = with_cache(|cache| {
        let key = cache["key"].as_array_mut().unwrap();
        key.retain(|part| !part.as_str().unwrap().contains("authorization"));
        assert_eq!(key.len(), 3);
    });
    assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner");
    assert_eq!(agent(&list(&world, "/v1/models", &[&key(CLEANER)])), "planner");
    assert_eq!(list(&world, "/v1/models", &[]).status, 200, "even without a key");
    assert_eq!(world.calls("models"), 1);
}

/// Why `join()` has to be in the key.
#[test]
fn a_key_with_the_first_of_several_headers_hides_the_others() {
    let world = with_cache(|cache| cache["key"][3] = json!(r#"request.headers["authorization"]"#));
    assert_eq!(list(&world, "/v1/models", &[&key(PLANNER)]).status, 200);
    assert_eq!(list(&world, "/v1/models", &[&key(PLANNER), &key("of-nobody")]).status, 200);
    assert_eq!(world.calls("models"), 1);
}

/// Why `string()` has to be in the key. The gateway says nothing of it: it just asks about every request.
#[test]
fn a_key_with_an_address_as_it_is_is_no_key() {
    for address in ["request.pathAndQuery", "request.uri"] {
        let world = with_cache(|cache| {
            assert_eq!(cache["key"][2], "string(request.pathAndQuery)");
            cache["key"][2] = json!(address);
        });
        for _ in 0..3 {
            assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner");
        }
        assert_eq!(world.calls("models"), 3, "{address}");
    }
}

/// Objects with which no AuthConfig decides about `models`, and the status: there is none, or it does not come to a decision.
fn without_a_decision() -> [(Folder, u16); 2] {
    let undecidable = json!({
        "when": [{"predicate": r#"request.headers["x-missing"] == "a""#}],
        "patternMatching": {"patterns": []},
    });
    let mut broken = Folder::read(FOLDER);
    broken.edit("AuthConfig", "models")["spec"]["authorization"]["broken"] = undecidable;
    [(Folder::read(FOLDER).without("AuthConfig", "models"), 404), (broken, 503)]
}

/// How often Usher is asked because of the route, of three times that the same request comes. `perimeter` are the dynamic metadata
/// of the check before; None: there is no such check.
fn asked_of_three(mut folder: Folder, status: u16, perimeter: Option<Value>) -> u64 {
    let documents = match perimeter {
        Some(metadata) => {
            folder.edit("AuthConfig", "perimeter")["spec"]["response"]["success"]["dynamicMetadata"] = metadata;
            folder.documents.clone()
        }
        None => super::without_perimeter(&folder),
    };
    let world = World::of(Usher::start(&folder.for_usher()), |ports| ports.cluster(&documents));
    for _ in 0..3 {
        assert_eq!(list(&world, "/v1/models", &[&key(PLANNER)]).status, status);
    }
    assert_eq!(world.models.requests(), 0);
    world.calls("models")
}

#[test]
fn what_is_no_decision_is_not_kept() {
    for perimeter in [None, Some(json!({})), Some(json!({"cacheTtlOfPerimeter": {"plain": {"value": "30s"}}}))] {
        for (folder, status) in without_a_decision() {
            assert_eq!(asked_of_three(folder, status, perimeter.clone()), 3, "{status} after {perimeter:?}");
        }
    }
}

/// Why no earlier check may use the name that `ttl` reads: what it said stands where the later one says nothing.
#[test]
fn what_is_no_decision_is_kept_for_the_time_of_an_earlier_check() {
    for (folder, status) in without_a_decision() {
        let perimeter = json!({"cacheTtl": {"plain": {"value": "30s"}}});
        assert_eq!(asked_of_three(folder, status, Some(perimeter)), 1, "{status}");
    }
}

/// What an AuthConfig does not say about the time, nothing else may be taken for.
#[test]
fn without_a_time_nothing_is_kept() {
    let world = with_cache(|cache| cache["ttl"] = json!("duration(extauthz.noSuchMember)"));
    for _ in 0..3 {
        assert_eq!(agent(&list(&world, "/v1/models", &[&key(PLANNER)])), "planner");
    }
    assert_eq!(world.calls("models"), 3);
}

/// Claims know when they end: the time may also be such a point in time.
#[test]
fn a_token_can_be_kept_until_it_expires() {
    const TTL: &str = "extauthz.until";
    let world = with_cache(|cache| cache["ttl"] = json!(TTL));
    world.usher.write("config.yaml", &until_it_expires());
    let token = fs::read_to_string(root().join("deploy/examples/quickstart/ann.jwt")).unwrap();
    let token = format!("Bearer {}", token.trim());
    crate::support::wait::until("the new configuration", || {
        match list(&world, "/v1/models?probe", &[&token]).header("x-kept") {
            Some(_) => Ok(()),
            None => Err("not yet".to_owned()),
        }
    });
    let before = world.calls("models");
    for _ in 0..3 {
        assert_eq!(list(&world, "/v1/models", &[&token]).status, 200);
    }
    assert_eq!(world.calls("models"), before + 1);
}

/// The AuthConfigs, `models` with the expiry of the token in the place of a time.
fn until_it_expires() -> String {
    let mut folder = Folder::read(FOLDER);
    let success = &mut folder.edit("AuthConfig", "models")["spec"]["response"]["success"];
    success["dynamicMetadata"] = json!({"until": {"plain": {"selector": "auth.identity.exp"}}});
    success["responseHeaders"] = json!({"x-kept": {"plain": {"value": "true"}}});
    folder.for_usher()
}
