//! Both reviews, asked of a stand-in for the Kubernetes API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may stop at the first surprise")]

mod api;

use std::{path::PathBuf, sync::Arc, time::Duration};

use api::{Api, Reply, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;
use usher_evaluators::resources::kubernetes::{
    NonResourceAttributes, ResourceAttributes, ReviewError, Reviews as _, SubjectAccessReviewSpec, TokenReviewSpec,
};
use usher_kubernetes::Cluster;

/// A folder with a kubeconfig, and the cluster that it leads to.
struct Place {
    folder: TempDir,
    cluster: Arc<Cluster>,
}

impl Place {
    /// Without a kubeconfig.
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Arc::new(Cluster::from_kubeconfig(vec![folder.path().join("config")]));
        Self { folder, cluster }
    }

    fn of(cluster: Value) -> Self {
        let place = Self::empty();
        place.write(&cluster);
        place
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn write(&self, cluster: &Value) {
        self.write_with_user(cluster, &json!({"token": "ours"}));
    }

    fn write_with_user(&self, cluster: &Value, user: &Value) {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        std::fs::write(self.file(), kubeconfig.to_string()).unwrap();
    }

    async fn token_review(&self, timeout: Option<Duration>) -> Result<Value, ReviewError> {
        let spec = TokenReviewSpec { token: "theirs".to_owned(), audiences: vec!["a".to_owned(), "b".to_owned()] };
        self.cluster.token_review(spec, timeout).await.map(|status| json!(status))
    }
}

fn detail(error: ReviewError, reason: &str) -> String {
    assert_eq!(error.reason, reason, "{error}");
    assert!(!error.detail.contains("theirs") && !error.detail.contains("ours"), "{error}");
    error.detail
}

#[tokio::test]
async fn a_token_review_is_asked_and_answered() {
    let status =
        json!({"authenticated": true, "user": {"username": "joe", "uid": "1", "groups": ["g"]}, "audiences": ["a"]});
    let answer = json!({"kind": "TokenReview", "metadata": {"creationTimestamp": null}, "spec": {"token": "theirs"}, "status": status});
    let api = Api::start(Reply::json(201, &answer)).await;
    // Some clusters are behind a path.
    let place = Place::of(json!({"server": format!("{}/k8s/c-1", api.url)}));
    assert_eq!(place.token_review(None).await, Ok(status));
    let request = api.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/k8s/c-1/apis/authentication.k8s.io/v1/tokenreviews")
    );
    let headers = ["authorization", "content-type", "accept"].map(|name| request.headers[name].to_str().unwrap());
    assert_eq!(headers, ["Bearer ours", "application/json", "application/json"]);
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("usher/"));
    let expected = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"theirs","audiences":["a","b"]}}"#;
    assert_eq!(request.body, expected);
}

#[tokio::test]
async fn a_subject_access_review_is_asked_and_answered() {
    let answer = json!({"status": {"allowed": false, "denied": true, "reason": "no", "evaluationError": "e"}});
    let api = Api::start(Reply::json(201, &answer)).await;
    let place = Place::of(json!({"server": api.url}));
    let about_path = SubjectAccessReviewSpec {
        user: "john".to_owned(),
        groups: vec!["g1".to_owned()],
        non_resource_attributes: Some(NonResourceAttributes { path: "/p".to_owned(), verb: "get".to_owned() }),
        ..SubjectAccessReviewSpec::default()
    };
    let about_resource = SubjectAccessReviewSpec {
        groups: vec!["g1".to_owned()],
        resource_attributes: Some(ResourceAttributes {
            resource: "pets".to_owned(),
            verb: "list".to_owned(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let specs = [
        (about_path, r#"{"user":"john","groups":["g1"],"nonResourceAttributes":{"path":"/p","verb":"get"}}"#),
        (about_resource, r#"{"groups":["g1"],"resourceAttributes":{"verb":"list","resource":"pets"}}"#),
    ];
    for (number, (spec, expected)) in specs.into_iter().enumerate() {
        let status = place.cluster.subject_access_review(spec, None).await.unwrap();
        assert_eq!((status.allowed, status.denied), (false, true));
        assert_eq!((status.reason.as_str(), status.evaluation_error.as_str()), ("no", "e"));
        let request = api.requests().remove(number);
        assert_eq!(request.path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let expected =
            format!(r#"{{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{expected}}}"#);
        assert_eq!(request.body, expected);
    }
    assert_eq!(api.connections(), 1);
}

#[tokio::test]
async fn what_is_no_review_is_an_error() {
    let api = Api::start(Reply::Silence).await;
    let place = Place::of(json!({"server": api.url}));
    let status = |reason: &str, message: &str| json!({"kind": "Status", "reason": reason, "message": message});
    let large = json!({"status": {"authenticated": true}, "more": "x".repeat(1 << 20)});
    let cases = [
        (
            Reply::json(500, &status("InternalError", "it broke")),
            "HTTP 500 Internal Server Error: InternalError: it broke",
        ),
        (Reply::json(403, &status("Forbidden", "forbidden: you")), "HTTP 403 Forbidden: Forbidden: forbidden: you"),
        (Reply::json(429, &status("TooManyRequests", "later")), "HTTP 429 Too Many Requests: TooManyRequests: later"),
        (Reply::text(502, "<html>theirs</html>"), "HTTP 502 Bad Gateway"),
        (Reply::redirect(&format!("{}/elsewhere", api.url)), "HTTP 307 Temporary Redirect"),
        (Reply::text(201, "{}"), "the answer is not a TokenReview (line 1, column 2)"),
        (Reply::text(201, ""), "the answer is not a TokenReview (line 1, column 0)"),
        (Reply::text(201, r#"{"status":"theirs"}"#), "the answer is not a TokenReview (line 1, column 18)"),
        (
            Reply::text(201, r#"{"status":{"authenticated":"true"}}"#),
            "the answer is not a TokenReview (line 1, column 33)",
        ),
        (Reply::text(201, &"[".repeat(5000)), "the answer is not a TokenReview (line 1, column 2)"),
        (Reply::json(201, &large), "the answer has more than 1048576 bytes"),
        (
            Reply::json(500, &status("R", &"x".repeat(600))),
            &format!("HTTP 500 Internal Server Error: R: {}", "x".repeat(500)),
        ),
    ];
    for (number, (reply, expected)) in cases.into_iter().enumerate() {
        api.set(reply);
        let error = place.token_review(None).await.unwrap_err();
        assert_eq!(detail(error, "kubernetes API failed"), format!("TokenReview: {expected}"));
        assert_eq!(api.requests().len(), number + 1, "{expected}");
    }
}

#[tokio::test]
async fn a_silent_api_is_not_waited_for() {
    let api = Api::start(Reply::Silence).await;
    let place = Place::of(json!({"server": api.url}));
    let error = place.token_review(Some(Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(detail(error, "kubernetes API timed out"), "TokenReview: no answer within 50ms");
    api.set(Reply::json(201, &json!({"status": {"authenticated": false}})));
    assert_eq!(place.token_review(None).await, Ok(json!({"authenticated": false, "user": {}})));
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_no_failure() {
    // What a real API server says: that it is not authenticated is not written.
    let answer = json!({"status": {"user": {}, "error": "invalid bearer token"}});
    let api = Api::start(Reply::json(201, &answer)).await;
    let place = Place::of(json!({"server": api.url}));
    assert_eq!(place.token_review(None).await, Ok(json!({"authenticated": false, "user": {}})));
}

#[tokio::test]
async fn a_program_for_credentials_that_takes_its_time_is_started_once() {
    let api = Api::start(Reply::json(201, &json!({"status": {"authenticated": true}}))).await;
    let place = Place::empty();
    let (started, go) = (place.folder.path().join("started"), place.folder.path().join("go"));
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "ours"},
    });
    let script = format!(
        "echo once >> {}; until test -e {}; do sleep 0.01; done; echo '{credential}'",
        started.display(),
        go.display()
    );
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]});
    place.write_with_user(&json!({"server": api.url}), &json!({"exec": exec}));
    for _ in 0..3 {
        let error = place.token_review(Some(Duration::from_millis(50))).await.unwrap_err();
        assert_eq!(error.reason, "kubernetes API timed out");
    }
    assert_eq!(std::fs::read_to_string(started).unwrap(), "once\n");
    std::fs::write(go, "").unwrap();
    assert!(place.token_review(None).await.is_ok());
    assert_eq!(api.requests().remove(0).headers["authorization"], "Bearer ours");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_questions_are_under_way() {
    let api = Api::start(Reply::Silence).await;
    let place = Place::of(json!({"server": api.url}));
    let mut waiting = Vec::new();
    for _ in 0..Cluster::CONCURRENCY {
        let cluster = Arc::clone(&place.cluster);
        waiting.push(tokio::spawn(async move {
            cluster.subject_access_review(SubjectAccessReviewSpec::default(), None).await
        }));
    }
    while api.requests().len() < Cluster::CONCURRENCY {
        tokio::task::yield_now().await;
    }
    let error = place.token_review(Some(Duration::from_secs(30))).await.unwrap_err();
    assert_eq!(detail(error, "kubernetes API is busy"), "TokenReview: 64 questions are under way");
    let error = place.token_review(Some(Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(error.reason, "kubernetes API timed out");
    for question in waiting {
        let error = question.await.unwrap().unwrap_err();
        assert_eq!(error.detail, "SubjectAccessReview: no answer within 60s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_read_is_tried_again_later() {
    let api = Api::start(Reply::json(201, &json!({"status": {"authenticated": false}}))).await;
    let place = Place::empty();
    let error = place.token_review(None).await.unwrap_err();
    let first = detail(error, "kubernetes API failed");
    assert!(first.starts_with("TokenReview: the Kubernetes API cannot be asked: "), "{first}");
    place.write(&json!({"server": api.url}));
    assert_eq!(detail(place.token_review(None).await.unwrap_err(), "kubernetes API failed"), first);
    tokio::time::advance(Cluster::SET_UP_PAUSE).await;
    tokio::time::resume();
    assert!(place.token_review(None).await.is_ok());
}

#[tokio::test]
async fn configurations_that_would_not_work_say_why() {
    let cases = [
        (json!({}), "cluster url is missing"),
        (json!({"server": "http://h", "proxy-url": "http://user:secret@proxy"}), "`proxy-url` is not supported"),
    ];
    for (cluster, expected) in cases {
        let error = detail(Place::of(cluster).token_review(None).await.unwrap_err(), "kubernetes API failed");
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_answer() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::of(json!({"server": format!("http://127.0.0.1:{port}")}));
    let error = detail(place.token_review(None).await.unwrap_err(), "kubernetes API failed");
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn the_api_must_be_who_the_kubeconfig_says() {
    let (tls, another) = (Tls::new(), Tls::new());
    let api = Api::start_with(Reply::json(201, &json!({"status": {"authenticated": false}})), Some(&tls)).await;
    let place = Place::of(json!({"server": api.url, "certificate-authority-data": tls.authority()}));
    assert!(place.token_review(None).await.is_ok());
    let place = Place::of(json!({"server": api.url, "certificate-authority-data": another.authority()}));
    let error = detail(place.token_review(None).await.unwrap_err(), "kubernetes API failed");
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(api.requests().len(), 1);
}
