//! The settings that `usher doctor needs` prints, run.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::{ALLOW, Gateway, RECEIVED, bearer, shipped, start_usher, through_each_envoy, tokens};
use crate::{
    support::{
        documents::Folder,
        http::{Request, Response},
        usher::Usher,
    },
    with_gateways::needs::{Settings, merge, needs, only},
};

/// A request to a host, for `/get`, and the status of its answer.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16);

/// What an extension is told: what these AuthConfigs read.
fn tell(objects: &mut Folder, extension: &str, auth_configs: &[&str]) -> Value {
    let settings = only(needs("kgateway", objects, auth_configs));
    merge(objects.edit("GatewayExtension", extension), &settings);
    settings["spec"]["extAuth"].clone()
}

#[test]
fn with_the_printed_settings_all_is_answered_as_before() {
    let (alice, bob, other) = (bearer(tokens::ALICE), bearer(tokens::BOB), bearer(tokens::OTHER_KEY));
    let [alice, bob, other] = [&alice, &bob, &other].map(|token| ("authorization", token.as_str()));
    let forged = ("x-validated-by", "me");
    let force = ("x-force-authorized", "true");
    let key = ("x-api-key", "example-key-of-acme");
    let lists: Vec<Row<'_>> = vec![
        ("tokens.example.com", vec![], 401),
        ("tokens.example.com", vec![other], 401),
        ("tokens.example.com", vec![alice], 403),
        ("tokens.example.com", vec![bob, forged, force], 200),
        ("a.tokens.example.com:8080", vec![bob], 200),
        ("shop.example.com", vec![], 401),
        ("shop.example.com", vec![bob], 401),
        ("shop.example.com", vec![("x-api-key", "nobody's")], 401),
        ("shop.example.com", vec![key, ("x-partner", "somebody-else")], 200),
    ];
    let sample: Vec<Row<'_>> = vec![
        ("www.example.com", vec![], 403),
        ("www.example.com", vec![("x-ext-authz", "Allow")], 403),
        ("www.example.com", vec![ALLOW, ALLOW], 403),
        ("www.example.com", vec![ALLOW, ("x-ext-authz-check-result", "forged")], 200),
        ("both.example.com", vec![], 403),
        ("both.example.com", vec![ALLOW], 401),
        ("both.example.com", vec![bob], 403),
        ("both.example.com", vec![ALLOW, alice], 403),
        ("both.example.com", vec![ALLOW, bob, forged, force], 200),
    ];

    // Each extension is told what the AuthConfigs read that it leads to. Of the sample it is not known which headers that are.
    let mut for_all = shipped();
    let told = tell(&mut for_all, "usher", &[]);
    assert_eq!((told.get("headersToForward"), &told["withRequestBody"]["maxRequestBytes"]), (None, &json!(8192)));
    let told = tell(&mut for_all, "usher-of-httpbin", &["httpbin/tokens"]);
    assert!(told["headersToForward"].is_array() && told.get("withRequestBody").is_none(), "{told}");
    // Without the sample there is a list.
    let mut for_lists = shipped();
    let told = tell(&mut for_lists, "usher", &["httpbin/tokens", "httpbin/shop"]);
    assert!(told["headersToForward"].is_array() && told.get("withRequestBody").is_none(), "{told}");

    let usher = start_usher();
    let all = [lists.clone(), sample].concat();
    let expected = answers(&shipped(), &usher, &all);
    assert_eq!(answers(&for_all, &usher, &all), expected);
    let expected: Vec<_> =
        expected.into_iter().map(|mut envoy| envoy.drain(..lists.len()).collect::<Vec<_>>()).collect();
    assert_eq!(answers(&for_lists, &usher, &lists), expected);
}

/// What comes of each request, for each Envoy, apart from what differs from one request to the next.
fn answers(objects: &Folder, usher: &Usher, rows: &[Row<'_>]) -> Vec<Vec<Value>> {
    let answers = RefCell::new(Vec::new());
    through_each_envoy(objects, usher, |gateway| {
        let answer = |(host, headers, status): &Row<'_>| {
            let response = gateway.get(host, "/get", headers);
            assert_eq!(response.status, *status, "{host} {headers:?}: {}", response.text());
            shown(&response)
        };
        answers.borrow_mut().push(rows.iter().map(answer).collect());
    });
    answers.into_inner()
}

fn shown(response: &Response) -> Value {
    let varies = ["date", "x-envoy-upstream-service-time", "x-request-id", RECEIVED];
    let headers = response.all_headers().filter(|(name, _)| !varies.contains(name) && *name != "content-length");
    let mut body = response.text();
    if response.status == 200 {
        let mut seen = response.json();
        let headers = seen["headers"].as_object_mut().unwrap();
        headers.retain(|name, _| !varies.contains(&name.as_str()));
        body = seen.to_string();
    }
    json!({"status": response.status, "headers": headers.collect::<Vec<_>>(), "body": body})
}

/// What the settings do, and what happens where a header is missing in the list.
#[test]
fn usher_is_told_what_the_settings_say() {
    let bob = bearer(tokens::BOB);
    let mut objects = shipped();
    let told = json!({"json": {"properties": {"headers": {"selector": "context.request.http.headers"}}}});
    objects.edit("AuthConfig", "tokens")["spec"]["response"]["success"]["headers"]["x-told"] = told;
    let usher = Usher::start(&objects.for_usher());
    let get = |gateway: &Gateway<'_>| {
        let headers = [("authorization", bob.as_str()), ("X-Validated-By", "me"), ("x-other", "1"), ("cookie", "a=b")];
        gateway.get("tokens.example.com", "/get", &headers)
    };
    let mut listed = shipped();
    tell(&mut listed, "usher", &["httpbin/tokens"]);
    through_each_envoy(&listed, &usher, |gateway| {
        let response = get(gateway);
        assert_eq!(response.status, 200, "{}", response.text());
        let told: Value = serde_json::from_str(response.json()["headers"]["x-told"].as_str().unwrap()).unwrap();
        let told: Vec<_> = told["headers"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(told, ["authorization", "x-request-id", "x-validated-by"]);
    });
    let list = &mut listed.edit("GatewayExtension", "usher")["spec"]["extAuth"]["headersToForward"];
    list.as_array_mut().unwrap().retain(|name| name != "authorization");
    through_each_envoy(&listed, &usher, |gateway| assert_eq!(get(gateway).status, 401));

    let mut with_body = shipped();
    tell(&mut with_body, "usher", &[]);
    through_each_envoy(&with_body, &usher, |gateway| {
        let post = |length: usize| {
            let (host, body) = ("www.example.com", vec![b'a'; length]);
            let request = Request { method: "POST", host, headers: &[ALLOW], body: &body, ..Request::default() };
            gateway.envoy.send(request).unwrap()
        };
        let response = post(11);
        let received = response.json()["headers"][RECEIVED].as_str().unwrap().to_owned();
        assert!(received.contains(r#" size:11 protocol:"HTTP/1.1" body:"aaaaaaaaaaa"}"#), "{received}");
        assert_eq!((post(8192).status, post(8193).status), (200, 413));
    });
}

/// A route is named by what is printed for its AuthConfig.
#[test]
fn the_printed_extension_names_the_route() {
    let mut objects = shipped();
    let config = &mut objects.edit("AuthConfig", "tokens")["spec"];
    config["hosts"] = json!([]);
    config["routes"] = json!([{"name": "tokens"}]);
    let printed = needs("kgateway", &objects, &["httpbin/tokens"]);
    let [extension, policy] = &printed[..] else { panic!("{printed:?}") };
    let titles = [extension, policy].map(|Settings { title, .. }| title.as_str());
    assert_eq!(titles, ["GatewayExtension", "TrafficPolicy, for HTTPRoute/httpbin/tokens"]);
    merge(objects.edit("GatewayExtension", "usher"), &extension.fields);
    let target = objects.edit("TrafficPolicy", "tokens");
    target["spec"]["extAuth"]["contextExtensions"] = json!({});
    merge(target, &policy.fields);

    let usher = Usher::start_with(&objects.for_usher(), &["--allow-route-lookup"]);
    let [bob, alice] = [bearer(tokens::BOB), bearer(tokens::ALICE)];
    through_each_envoy(&objects, &usher, |gateway| {
        for (headers, status) in
            [(&[][..], 401), (&[("authorization", &*alice)], 403), (&[("authorization", &*bob)], 200)]
        {
            assert_eq!(gateway.get("tokens.example.com", "/get", headers).status, status, "{headers:?}");
        }
    });
}
