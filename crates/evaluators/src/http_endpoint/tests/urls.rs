use serde_json::json;
use url::Url;

use super::*;

#[tokio::test]
async fn values_are_put_into_the_url() {
    let world = World::new().await;
    let cases = [
        ("/m?p={request.headers.x-origin}", "/m?p=some-origin"),
        ("/m?p={request.nope}&x", "/m?p=&x"),
        ("/m?a={request.headers.q}", "/m?a=a%20b"),
        ("/m?o={auth.identity.list}", "/m?o=[%22a%22,2]"),
        (r"/m?\{{auth.identity.user}\}", "/m?{mock}"),
        (r"/m?a\b", "/m?ab"),
        ("/m?a={request.method", "/m?a="),
        ("/m#{request.method}", "/m"),
        ("/{request.nope}m", "/m"),
        ("/x/{request.nope}../m", "/m"),
    ];
    for (url, expected) in cases {
        let request = world.sent(&json!({"url": format!("URL{url}")}), &document()).await;
        assert_eq!(target(&request), expected, "{url}");
    }
    let resolved = [
        ("http://m/{context.request.http.path}", "http://m//hello"),
        ("http://m/{request.nope}/x", "http://m//x"),
        ("http://m{request.path}", "http://m/hello"),
        ("http://m{request.path}?a={request.method}", "http://m/hello?a=GET"),
        ("http://tenant-{auth.identity.user}/", "http://tenant-mock/"),
    ];
    for (url, expected) in resolved {
        assert_eq!(world.endpoint(&json!({"url": url})).request(&document()).ok().unwrap().url, expected);
    }
}

#[tokio::test]
async fn an_expression_gives_the_url() {
    let world = World::new().await;
    let spec = json!({"urlExpression": "'URL/m?u=' + auth.identity.user"});
    assert_eq!(target(&world.sent(&spec, &document()).await), "/m?u=mock");
    for (expression, reason) in [
        ("'URL/m' + request.headers['none']", "no such key: none"),
        ("auth.identity.n", "the URL is not a string"),
        ("auth.identity.object", "the URL is not a string"),
        ("null", "the URL is not a string"),
        ("'/m'", "invalid URL: missing scheme (expected http or https)"),
    ] {
        let endpoint = world.endpoint(&json!({"urlExpression": expression}));
        assert_eq!(refused(endpoint.call(&document()).await), reason, "{expression}");
    }
    assert_eq!(world.server.count("/m"), 1);
}

#[tokio::test]
async fn urls_that_may_not_be_asked_for_are_the_fault_of_who_made_them() {
    let world = World::new().await;
    let cases = [
        ("x".repeat(2048), "invalid URL: exceeds maximum length of 2048 characters"),
        ("\0".to_owned(), "invalid URL: contains null byte"),
        ("?\0".to_owned(), "invalid URL: contains null byte"),
        ("\n".to_owned(), "invalid URL: contains control character"),
        ("\u{7f}".to_owned(), "invalid URL: contains control character"),
    ];
    for url in ["URL/m{request.headers.x}", "{request.headers.y}{request.headers.x}"] {
        let endpoint = world.endpoint(&json!({"url": url}));
        for (x, reason) in &cases {
            let document = json!({"request": {"headers": {"x": x, "y": format!("{}/m", world.server.url)}}});
            assert_eq!(refused(endpoint.call(&document).await), *reason, "{url} {x:?}");
        }
    }
    assert_eq!(world.server.count("/m"), 0);
    let fixed = [
        ("ftp://m/x", "invalid URL: unsupported scheme \"ftp\" (only http and https are allowed)"),
        ("/m", "invalid URL: missing scheme (expected http or https)"),
        ("http:///m", "invalid URL: missing host"),
    ];
    for (url, reason) in fixed {
        // Loaded all the same: rules that need none of it work without.
        let (endpoint, problems, warnings) = world.build(&json!({"url": url}));
        assert_eq!((problems, warnings), (Vec::new(), vec![format!("http.url: {reason}")]));
        assert_eq!(refused(endpoint.unwrap().call(&Value::Null).await), reason);
    }
}

#[tokio::test]
async fn control_characters_in_the_query_are_encoded_and_never_split_the_request() {
    let world = World::new().await;
    for (x, expected) in [
        ("a\r\nx-evil: 1", "/m?q=a%0D%0Ax-evil:%201"),
        ("a HTTP/1.1\n\nGET /b", "/m?q=a%20HTTP/1.1%0A%0AGET%20/b"),
        ("\t\u{1}\u{7f}", "/m?q=%09%01%7F"),
        ("ä\"<>", "/m?q=%C3%A4%22%3C%3E"),
        ("1&b=2#c", "/m?q=1&b=2"),
    ] {
        let request = world.sent(&json!({"url": "URL/m?q={request.headers.x}"}), &with_x(x)).await;
        assert_eq!(target(&request), expected, "{x:?}");
        assert!(header(&request, "x-evil").is_empty());
    }
}

#[tokio::test]
async fn values_cannot_change_scheme_host_or_port() {
    let world = World::new().await;
    let evil = [
        "@evil.test",
        ":80@evil.test/",
        "//evil.test/",
        "\\evil.test",
        "/\\evil.test",
        ".evil.test/",
        "..",
        "../..",
        "/../../",
        ":81/",
        "80",
        "?@evil.test",
        "#@evil.test",
        "%40evil.test",
        "http://evil.test",
        "/@evil.test",
        "x:y@evil.test/",
        "\u{ff0f}\u{ff0f}evil.test",
        "\u{3002}evil.test",
    ];
    let templates = [
        "http://h{request.headers.x}",
        "http://h{request.headers.x}?a=b",
        "http://h:8080{request.headers.x}/m",
        "http://h:8080/{request.headers.x}",
        "http://h/{request.headers.x}/m",
        "http://h?{request.headers.x}",
        "http://user:word@h{request.headers.x}",
        "http://[::2]:8080{request.headers.x}",
        "http://h\\{request.headers.x}",
    ];
    for template in templates {
        let endpoint = world.endpoint(&json!({"url": template}));
        let plain = Url::parse(&endpoint.request(&with_x("/")).ok().unwrap().url).unwrap();
        let mut passed = 0;
        for x in evil {
            match endpoint.request(&with_x(x)) {
                Ok(request) => {
                    let url = Url::parse(&request.url).unwrap();
                    assert_eq!(url.origin(), plain.origin(), "{template} {x}");
                    assert_eq!((url.username(), url.password()), (plain.username(), plain.password()));
                    passed += 1;
                }
                Err(EndpointError::Request(reason)) => assert!(reason.starts_with("invalid URL: "), "{reason}"),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(passed >= 5, "{template}");
    }
    let endpoint = world.endpoint(&json!({"url": "http://h{request.headers.x}"}));
    let reason = refused(endpoint.request(&with_x("@evil.test")));
    assert_eq!(reason, "invalid URL: a value changes scheme, host or port");
}

#[tokio::test]
async fn hosts_that_depend_on_values_are_worth_a_warning() {
    let world = World::new().await;
    let doubtful = "the host depends on values of the request: end it with a slash or a port, if that is not intended";
    let cases = [
        ("http://h/{request.path}", None),
        ("http://h{request.path}", None),
        ("http://h:80{request.path}/x", None),
        ("http://{request.host}/x", Some(doubtful)),
        ("http://tenant-{request.host}/", Some(doubtful)),
        ("http://tenant-{request.host}", Some(doubtful)),
        ("http://h{request.path}/x", Some(doubtful)),
        ("http://h:{request.path}", Some(doubtful)),
        ("{request.host}", Some(doubtful)),
        ("ftp://h/{request.path}", Some("invalid URL: unsupported scheme \"ftp\" (only http and https are allowed)")),
    ];
    for (url, expected) in cases {
        let (endpoint, problems, warnings) = world.build(&json!({"url": url}));
        assert!(endpoint.is_some() && problems.is_empty());
        let expected: Vec<_> = expected.into_iter().map(|warning| format!("http.url: {warning}")).collect();
        assert_eq!(warnings, expected, "{url}");
    }
}
