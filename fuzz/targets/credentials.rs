//! Credentials in headers, cookies and queries, which anybody on the network can send.
//!
//! Input: lines with the names that are looked for, the request target, `authorization`, `cookie` and `x-key`.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use usher_engine::{Request, RequestParts, host::Host};
use usher_evaluators::{FieldPath, Problems, credentials::Credentials};
use usher_fuzz::line;

fuzz_target!(|text: &str| {
    let (name, rest) = line(text);
    let (path, rest) = line(rest);
    let (authorization, rest) = line(rest);
    let (cookie, key) = line(rest);
    let headers = [("authorization", authorization), ("cookie", cookie), ("x-key", key)];
    let request = Request::new(RequestParts {
        path: path.to_owned(),
        host: key.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..RequestParts::default()
    });

    // The parts of the request are those that were sent.
    assert!(path.contains(request.query()));
    assert!(request.url_path().len() <= path.len() + 1);
    let _ = (request.lookup_host(), request.grpc(), Host::parse(key));

    let places = [
        (json!({"authorizationHeader": {"prefix": name}}), authorization),
        (json!({"customHeader": {"name": "x-key"}}), key),
        (json!({"customHeader": {"name": name}}), ""),
        (json!({"queryString": {"name": name}}), path),
        (json!({"cookie": {"name": name}}), cookie),
    ];
    for (place, sent) in places {
        let spec = serde_json::from_value(place.clone()).expect("a place");
        let mut problems = Problems::default();
        let Some(credentials) = Credentials::build(Some(&spec), &FieldPath::root("credentials"), &mut problems) else {
            assert!(!problems.is_empty());
            continue;
        };
        match credentials.find(&request) {
            Some(Cow::Borrowed(found)) if !sent.is_empty() => assert!(sent.contains(found), "{place}"),
            // Only what is percent-encoded is not found as it was sent.
            Some(Cow::Owned(found)) => {
                assert!(place.get("queryString").is_some() && sent.contains(['%', '+']) && found.len() <= sent.len());
            }
            _ => {}
        }
    }
});
