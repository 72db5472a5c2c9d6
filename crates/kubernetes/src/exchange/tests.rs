use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::Response;
use kube::Client;
use serde_json::{Value, json};

use super::*;

/// A cluster whose API always answers this, and what it was asked.
fn answering(
    answer: impl Fn() -> Response<Body> + Clone + Send + 'static,
) -> (Cluster, Arc<Mutex<Vec<http::HeaderMap>>>) {
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let headers = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        headers.lock().unwrap().push(request.headers().clone());
        std::future::ready(Ok::<_, Infallible>(answer()))
    });
    (Cluster::of_client(Client::new(service, "default")), asked)
}

fn get() -> Request<Vec<u8>> {
    request(Method::GET, "/api/v1/namespaces/ns/secrets/s".to_owned(), None::<(&str, Value)>).unwrap()
}

#[tokio::test]
async fn answers_are_asked_for_as_json_and_as_they_are() {
    let (cluster, asked) = answering(|| Response::new(Body::from(br#"{"a":1}"#.to_vec())));
    let answer: Value = cluster.ask(get(), "Secret", MAX_OBJECT).await.unwrap();
    assert_eq!(answer, json!({"a": 1}));
    let mut metadata_only = get();
    metadata_only.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json;as=X"));
    let _ = cluster.ask::<Value>(metadata_only, "Secret", MAX_OBJECT).await.unwrap();
    let asked = asked.lock().unwrap();
    let accepted: Vec<_> = asked.iter().map(|headers| headers[header::ACCEPT].to_str().unwrap()).collect();
    assert_eq!(accepted, [JSON, "application/json;as=X"]);
    assert!(asked.iter().all(|headers| headers[header::ACCEPT_ENCODING] == "identity"));
}

#[tokio::test]
async fn the_words_of_the_api_are_told() {
    let long = "x".repeat(600);
    let cases = [
        (r#"{"kind":"Status","reason":"NotFound","message":"no such thing"}"#, ": NotFound: no such thing"),
        (r#"{"kind":"Status","message":"no such thing","code":404}"#, ": no such thing"),
        (r#"{"kind":"Status"}"#, ""),
        ("404 page not found\n", ""),
        ("", ""),
        (&format!(r#"{{"message":"{long}"}}"#), &format!(": {}", &long[..500])),
    ];
    for (body, expected) in cases {
        let text = body.to_owned();
        let (cluster, _) = answering(move || {
            Response::builder()
                .status(404)
                .header("retry-after", "3")
                .body(Body::from(text.clone().into_bytes()))
                .unwrap()
        });
        let failure = cluster.ask::<Value>(get(), "Secret", MAX_OBJECT).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("HTTP 404 Not Found{expected}"), "{body}");
        assert_eq!(failure.status(), Some(StatusCode::NOT_FOUND));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    }
}

#[tokio::test]
async fn answers_are_bounded_and_never_quoted() {
    let (cluster, _) = answering(|| Response::new(Body::from(vec![b' '; 101])));
    let failure = cluster.ask::<Value>(get(), "Secret", 100).await.unwrap_err();
    assert_eq!((failure.cause, failure.text.as_str()), (Cause::TooLarge, "the answer has more than 100 bytes"));

    let (cluster, _) = answering(|| Response::new(Body::from(br#""hunter2""#.to_vec())));
    let failure = cluster.ask::<Vec<u8>>(get(), "Secret", 100).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreadable);
    assert!(failure.text.starts_with("the answer is not a Secret (line 1, column "), "{failure}");
    assert!(!failure.text.contains("hunter2"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let failure = in_time(Duration::from_secs(10), std::future::pending::<Result<(), _>>()).await.unwrap_err();
    assert_eq!((failure.cause, failure.text.as_str()), (Cause::NoAnswer, "no answer within 10s"));

    for (header, expected) in [("3", Some(3)), ("9999999", Some(300)), ("-1", None), ("soon", None)] {
        let headers = http::HeaderMap::from_iter([(header::RETRY_AFTER, header.parse().unwrap())]);
        assert_eq!(retry_after(&headers).map(|wait| wait.as_secs()), expected, "{header}");
    }
}

#[test]
fn some_failures_are_of_the_question_and_some_of_the_api() {
    let refused = |status| Cause::Refused(StatusCode::from_u16(status).unwrap());
    for cause in [Cause::NoAnswer, refused(401), refused(429), refused(503)] {
        assert!(Failure::new(cause, "").is_of_the_api(), "{cause:?}");
    }
    for cause in [
        Cause::NotAsked,
        Cause::TooLarge,
        Cause::Unreadable,
        refused(403),
        refused(404),
        refused(409),
        refused(422),
        refused(500),
    ] {
        assert!(!Failure::new(cause, "").is_of_the_api(), "{cause:?}");
    }
}
