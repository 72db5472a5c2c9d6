//! A steady load of checks.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};
use usher_proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};

use crate::support::{usher::Usher, wait::until};

/// The pause between two checks of a host: 200 a second for each.
const PAUSE: Duration = Duration::from_millis(5);

/// Checks that go on until this is ended. Each waits for the answer to the one before, as one connection of a gateway
/// would.
pub(super) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    done: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Asks about these hosts over gRPC, each with an API key unless that is empty, and expects this status.
    pub(super) fn start(usher: &Usher, asked: &[(&'static str, &'static str, u16)]) -> Self {
        let shared = Arc::new(Shared::default());
        let (told, asked, port) = (Arc::clone(&shared), asked.to_vec(), usher.grpc_port());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
                let mut tasks = tokio::task::JoinSet::new();
                for (host, key, expected) in asked {
                    tasks.spawn(ask(channel.clone(), Arc::clone(&told), host, key, expected));
                }
                tasks.join_all().await;
            });
        });
        Self { shared, thread: Some(thread) }
    }

    /// Waits for so many more checks.
    pub(super) fn until_more(&self, count: u64) {
        let goal = self.shared.done.load(Ordering::SeqCst) + count;
        until("more checks", || match self.shared.done.load(Ordering::SeqCst) {
            done if done >= goal => Ok(()),
            done => Err(format!("{done} of {goal}")),
        });
    }

    /// Ends it.
    pub(super) fn end_without_failures(mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let (done, failures) = (self.shared.done.load(Ordering::SeqCst), self.shared.failures.lock().unwrap());
        assert!(done > 0, "no check was answered");
        assert!(failures.is_empty(), "{} of {done} checks failed; the first: {}", failures.len(), failures[0]);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

async fn ask(channel: Channel, shared: Arc<Shared>, host: &str, key: &str, expected: u16) {
    let mut client = AuthorizationClient::new(channel);
    while !shared.is_over.load(Ordering::SeqCst) {
        let asked = tokio::time::timeout(Duration::from_secs(5), client.check(request(host, key))).await;
        let answer = match asked {
            Ok(Ok(answer)) => status(&answer.into_inner()).to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if answer != expected.to_string() {
            shared.failures.lock().unwrap().push(format!("{host}: {answer}"));
        }
        shared.done.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
}

fn request(host: &str, key: &str) -> CheckRequest {
    let key = (!key.is_empty()).then(|| ("authorization".to_owned(), format!("Bearer {key}")));
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: "/".to_owned(),
        headers: key.into_iter().collect(),
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

fn status(response: &CheckResponse) -> i32 {
    match &response.http_response {
        Some(HttpResponse::OkResponse(_)) => 200,
        Some(HttpResponse::DeniedResponse(denied)) => denied.status.as_ref().map_or(403, |status| status.code),
        _ => 0,
    }
}
