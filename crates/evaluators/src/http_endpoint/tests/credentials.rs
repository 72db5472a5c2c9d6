use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::json;

use super::*;
use crate::resources::client_credentials::Tokens;

fn token_reply(token: &str, expires_in: i64) -> Reply {
    Reply::json(&json!({"access_token": token, "expires_in": expires_in}))
}

#[tokio::test]
async fn a_shared_secret_stands_where_it_should() {
    let world = World::new().await;
    let cases = [
        (json!(null), Some(("authorization", "Bearer s t"))),
        (json!({}), Some(("authorization", "Bearer s t"))),
        (json!({"authorizationHeader": {"prefix": "TOKEN"}}), Some(("authorization", "TOKEN s t"))),
        (json!({"authorizationHeader": {"prefix": ""}}), Some(("authorization", "Bearer s t"))),
        (json!({"customHeader": {"name": "X-Secret"}}), Some(("x-secret", "s t"))),
        (json!({"cookie": {"name": "pw"}}), Some(("cookie", "pw=s t"))),
        (json!({"queryString": {"name": "k"}}), None),
    ];
    for (credentials, expected) in cases {
        let spec = json!({
            "url": "URL/m?b=2&a=1&k=old&a=0&k=old", "credentials": credentials,
            "sharedSecretRef": {"name": "s", "key": "word"},
        });
        let request = world.sent(&spec, &document()).await;
        for name in ["authorization", "x-secret", "cookie"] {
            let values: Vec<_> = expected.iter().filter(|(place, _)| *place == name).map(|(_, value)| *value).collect();
            assert_eq!(header(&request, name), values, "{credentials}");
        }
        let query = if expected.is_none() { "/m?a=1&a=0&b=2&k=s+t" } else { "/m?b=2&a=1&k=old&a=0&k=old" };
        assert_eq!(target(&request), query);
    }
    for place in [json!({"queryString": {"name": "k"}}), json!({})] {
        let spec = json!({
            "url": "URL/m?b=2&a=1", "credentials": place, "sharedSecretRef": {"name": "s", "key": "empty"},
        });
        let request = world.sent(&spec, &document()).await;
        assert_eq!((target(&request), header(&request, "authorization").len()), ("/m?b=2&a=1", 0));
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_are_refused() {
    let world = World::new().await;
    let secret = json!({"name": "s", "key": "token"});
    let cases = [
        (
            json!({"sharedSecretRef": {"name": "none", "key": "token"}}),
            r#"http.sharedSecretRef: Secret "none" not found"#,
        ),
        (
            json!({"sharedSecretRef": {"name": "s", "key": "newline"}}),
            r#"http.sharedSecretRef: entry "newline" of Secret "s" cannot stand in a header"#,
        ),
        (
            json!({"sharedSecretRef": secret, "credentials": {"customHeader": {"name": "x y"}}}),
            "http.credentials.customHeader.name: `x y` is not a header name",
        ),
        (
            json!({"sharedSecretRef": secret, "credentials": {"customHeader": {"name": "Host"}}}),
            "http.credentials.customHeader.name: `host` cannot carry a credential",
        ),
        (
            json!({"sharedSecretRef": secret, "credentials": {"cookie": {"name": "a=b"}}}),
            "http.credentials.cookie.name: `a=b` is not the name of a cookie",
        ),
        (
            json!({"sharedSecretRef": secret, "credentials": {"authorizationHeader": {"prefix": "a\nb"}}}),
            "http.credentials.authorizationHeader.prefix: cannot stand in a header",
        ),
        (
            json!({"oauth2": {"tokenUrl": "ftp://x", "clientId": "c", "clientSecretRef": secret}}),
            r#"http.oauth2.tokenUrl: invalid URL: unsupported scheme "ftp" (only http and https are allowed)"#,
        ),
        (
            json!({"oauth2": {"tokenUrl": "http://x", "clientId": "c", "clientSecretRef": {"name": "none", "key": "k"}}}),
            r#"http.oauth2.clientSecretRef: Secret "none" not found"#,
        ),
        (
            json!({"oauth2": {
                "tokenUrl": "http://x", "clientId": "c", "clientSecretRef": secret, "scopes": ["a"],
                "extraParams": {"scope": "b"},
            }}),
            r#"http.oauth2.extraParams.scope: oauth2: cannot overwrite parameter "scope""#,
        ),
    ];
    for (mut spec, problem) in cases {
        spec["url"] = json!("http://m/");
        let (endpoint, problems, _) = world.build(&spec);
        assert!(endpoint.is_none());
        assert_eq!(problems, [problem]);
    }
}

#[tokio::test]
async fn a_token_is_sent_along() {
    let world = World::new().await;
    world.server.set_each("/token", (1..9).map(|number| token_reply(&format!("t-{number}"), 300)));
    let oauth2 = json!({"tokenUrl": "URL/token", "clientId": "cli", "clientSecretRef": {"name": "s", "key": "token"}});
    let mut spec = json!({"url": "URL/m", "oauth2": oauth2, "sharedSecretRef": {"name": "s", "key": "word"}});
    let endpoint = world.endpoint(&spec);
    // As long as one of them lives, they share a token.
    spec["credentials"] = json!({"queryString": {"name": "k"}});
    assert_eq!(target(&world.sent(&spec, &document()).await), "/m?k=t-1");
    let mut forced = oauth2.clone();
    forced["cache"] = json!(false);
    let forced = world.endpoint(&json!({"url": "URL/m", "oauth2": forced, "credentials": {"cookie": {"name": "c"}}}));
    for (endpoint, name, expected) in [
        (&endpoint, "authorization", "Bearer t-1"),
        (&endpoint, "authorization", "Bearer t-1"),
        (&forced, "cookie", "c=t-2"),
        (&forced, "cookie", "c=t-3"),
        (&endpoint, "authorization", "Bearer t-3"),
    ] {
        endpoint.call(&Value::Null).await.unwrap();
        assert_eq!(header(&world.server.last_request("/m").unwrap(), name), [expected]);
    }
    let (_, _, warnings) = world.build(&spec);
    assert_eq!(warnings, ["http.sharedSecretRef: has no effect: the token of `oauth2` is sent"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_asked() {
    let spec = json!({
        "url": "URL/m",
        "oauth2": {"tokenUrl": "URL/token", "clientId": "cli", "clientSecretRef": {"name": "s", "key": "token"}},
    });
    for (reply, detail) in [
        (Reply::text(401, "hush"), "oauth2: cannot fetch token: 401 Unauthorized"),
        (token_reply("a\nb", 300), "the token contains characters that cannot stand in a header"),
    ] {
        let world = World::new().await;
        world.server.set("/token", reply);
        let error = world.endpoint(&spec).call(&Value::Null).await.unwrap_err();
        let expected = EndpointError::Dependency { reason: "token request failed", detail: detail.to_owned() };
        assert_eq!(error, expected);
        assert_eq!(world.server.count("/m"), 0);
    }
}

#[tokio::test]
async fn a_young_token_is_not_replaced_when_it_is_rejected() {
    let world = World::new().await;
    world.server.set("/token", token_reply("t-1", 300));
    world.server.set("/m", Reply::text(401, "no"));
    let spec = json!({
        "url": "URL/m",
        "oauth2": {"tokenUrl": "URL/token", "clientId": "cli", "clientSecretRef": {"name": "s", "key": "token"}},
    });
    let endpoint = world.endpoint(&spec);
    for _ in 0..3 {
        assert_eq!(endpoint.call(&Value::Null).await.unwrap().status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!((world.server.count("/token"), world.server.count("/m")), (1, 3));
}

#[tokio::test]
async fn a_rejected_token_is_replaced_and_what_may_be_done_twice_is_done_again() {
    // The method, how many requests it takes, and the status in the end.
    let cases = [("GET", 2, 200), ("PUT", 2, 200), ("DELETE", 2, 200), ("POST", 1, 401), ("PATCH", 1, 401)];
    for (method, requests, status) in cases {
        let mut world = World::new().await;
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = Arc::clone(&now);
        let tokens = Tokens::with_clock(world.resources.http.clone(), Arc::new(move || *clock.lock().unwrap()));
        Arc::get_mut(&mut world.resources).unwrap().tokens = Arc::new(tokens);
        world.server.set_each("/token", (1..9).map(|number| token_reply(&format!("t-{number}"), 300)));
        let endpoint = world.endpoint(&json!({
            "url": "URL/m", "method": method,
            "oauth2": {"tokenUrl": "URL/token", "clientId": "cli", "clientSecretRef": {"name": "s", "key": "token"}},
        }));
        endpoint.call(&Value::Null).await.unwrap();
        *now.lock().unwrap() += Duration::from_secs(10);
        world.server.set_each("/m", [Reply::text(401, "no"), Reply::text(200, "yes")]);
        assert_eq!(endpoint.call(&Value::Null).await.unwrap().status.as_u16(), status, "{method}");
        assert_eq!(world.server.count("/m"), 1 + requests, "{method}");
        // Either way the next one has another token.
        endpoint.call(&Value::Null).await.unwrap();
        let request = world.server.last_request("/m").unwrap();
        assert_eq!(header(&request, "authorization"), ["Bearer t-2"], "{method}");
        assert_eq!(world.server.count("/token"), 2, "{method}");
    }
}
