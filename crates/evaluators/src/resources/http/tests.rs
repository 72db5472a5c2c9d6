use super::{
    test_server::{Reply, TestServer},
    *,
};

fn client(options: Options) -> Client {
    Client::new(Options { allow_loopback: true, ..options }).unwrap()
}

#[tokio::test]
async fn an_answer_of_any_status_is_read_whole() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(404, "no such thing"));
    let response = client(Options::default()).fetch(Request::get(format!("{}/a?x=1", server.url), None)).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (404, &b"no such thing"[..]));
    assert_eq!(server.last_target("/a"), Some("/a?x=1".to_owned()));
}

#[tokio::test]
async fn a_body_is_sent() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(200, "ok"));
    let mut request = Request::get(format!("{}/a", server.url), None);
    request.method = Method::POST;
    request.body = Bytes::from_static(b"token=t");
    request.headers.insert("x-a", "b".parse().unwrap());
    client(Options::default()).fetch(request).await.unwrap();
    let received = server.last_request("/a").unwrap();
    assert!(received.starts_with("POST /a HTTP/1.1\r\n"), "{received}");
    assert!(received.contains("\r\nx-a: b\r\n") && received.ends_with("\r\n\r\ntoken=t"), "{received}");
}

/// Connections are shared: a request that claims more than it sends would make the next one, perhaps of another
/// tenant, its body.
#[tokio::test]
async fn headers_do_not_say_where_a_request_ends() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(200, "ok"));
    for (body, length) in [("", None), ("abc", Some("3"))] {
        let mut request = Request::get(format!("{}/a", server.url), Some(Duration::from_secs(2)));
        request.body = Bytes::from_static(body.as_bytes());
        for (name, value) in [
            ("content-length", "50"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-a"),
            ("upgrade", "h2c"),
            ("x-a", "b"),
        ] {
            request.headers.insert(name, value.parse().unwrap());
        }
        client(Options::default()).fetch(request).await.unwrap();
        let received = server.last_request("/a").unwrap();
        let found = received.lines().find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(found, length, "{received}");
        assert!(received.contains("x-a: b") && received.ends_with(&format!("\r\n\r\n{body}")), "{received}");
        for name in ["transfer-encoding", "connection", "upgrade"] {
            assert!(!received.contains(&format!("{name}: ")), "{received}");
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(302, "").with_header("location", &format!("{}/b", server.url)));
    server.set("/b", Reply::text(200, "secret"));
    let response = client(Options::default()).fetch(Request::get(format!("{}/a", server.url), None)).await.unwrap();
    assert_eq!(response.status.as_u16(), 302);
    assert_eq!((server.count("/a"), server.count("/b")), (1, 0));
}

#[tokio::test]
async fn a_body_is_refused_beyond_the_limit_whether_it_is_announced_or_not() {
    let server = TestServer::start().await;
    let client = client(Options { max_body: 1000, ..Options::default() });
    for (size, chunked, fits) in [(1000, false, true), (1001, false, false), (1000, true, true), (1001, true, false)] {
        let reply = Reply::text(200, &"x".repeat(size));
        server.set("/a", if chunked { reply.chunked() } else { reply });
        let result = client.fetch(Request::get(format!("{}/a", server.url), None)).await;
        match result {
            Ok(response) => assert!(fits && response.body.len() == size, "{size} {chunked}"),
            Err(error) => {
                assert!(!fits, "{size} {chunked}: {error}");
                assert_eq!((error.kind(), error.reason()), (FetchErrorKind::TooLarge, "response too large"));
            }
        }
    }
}

#[tokio::test]
async fn a_slow_body_runs_into_the_time_limit() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(200, "partial").stalled());
    let request = Request::get(format!("{}/a", server.url), Some(Duration::from_millis(50)));
    let error = client(Options::default()).fetch(request).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (FetchErrorKind::Timeout, "request timed out"));
}

#[tokio::test]
async fn a_server_without_tls_is_not_an_https_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = Request::get(format!("https://{}/", listener.local_addr().unwrap()), None);
    let client = client(Options::default());
    let plain = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let (result, ()) = tokio::join!(client.fetch(request), plain);
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (FetchErrorKind::Connection, "connection failed"), "{error}");
}

#[tokio::test]
async fn errors_keep_the_secrets_of_the_url() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let request = Request::get(format!("http://user:pass@127.0.0.1:{closed}/p?token=q"), None);
    let error = client(Options::default()).fetch(request).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Connection);
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("GET http://127.0.0.1:{closed}/p: ")), "{text}");
    for secret in ["user", "pass", "token", "q\""] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn guarded_addresses_are_refused_as_literals_and_as_names() {
    let strict = Client::new(Options::default()).unwrap();
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://127.0.0.1:1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://localhost:1/",
    ] {
        let error = strict.fetch(Request::get(url, None)).await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (FetchErrorKind::Address, "address not allowed"), "{url}: {error}");
    }
    let error = client(Options::default()).fetch(Request::get("http://169.254.169.254/", None)).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Address, "{error}");
}

#[tokio::test]
async fn a_name_may_be_resolved_to_an_allowed_network() {
    let server = TestServer::start().await;
    server.set("/a", Reply::text(200, "ok"));
    let allowed = vec!["127.0.0.0/8".parse().unwrap()];
    let client = Client::new(Options { allow_upstream: allowed, ..Options::default() }).unwrap();
    let url = server.url.replace("127.0.0.1", "localhost");
    let response = client.fetch(Request::get(format!("{url}/a"), None)).await.unwrap();
    assert_eq!(response.status.as_u16(), 200);
}

#[test]
fn a_rule_without_a_time_limit_says_so() {
    assert_eq!(time_limit(None), Some(Duration::from_secs(5)));
    assert_eq!(time_limit(Some(0)), None);
    assert_eq!(time_limit(Some(250)), Some(Duration::from_millis(250)));
}
