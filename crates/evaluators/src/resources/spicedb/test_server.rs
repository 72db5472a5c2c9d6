//! A small SpiceDB for tests, on a port of its own: it answers every question alike.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Code, Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};
use usher_proto::authzed::api::v1::{
    CheckPermissionRequest, CheckPermissionResponse, ZedToken,
    permissions_service_server::{PermissionsService, PermissionsServiceServer},
};

/// Listens until it is dropped.
pub(crate) struct TestSpiceDb {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    identity: Option<Identity>,
    /// Connections live and die with it.
    runtime: Option<Runtime>,
}

/// What to answer.
#[derive(Clone)]
pub(crate) enum Reply {
    /// This permissionship, with this token.
    Permissionship(i32, Option<String>),
    /// An error.
    Error(Code),
    /// Nothing, ever.
    Silence,
}

struct Shared {
    reply: Mutex<Reply>,
    questions: Mutex<Vec<Question>>,
    traceparents: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

/// A question and the `authorization` that came with it.
pub(crate) type Question = (CheckPermissionRequest, Option<String>);

impl TestSpiceDb {
    pub(crate) fn start(reply: Reply) -> Self {
        Self::start_with(reply, None)
    }

    /// With TLS if there is an identity.
    pub(crate) fn start_with(reply: Reply, identity: Option<Identity>) -> Self {
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            questions: Mutex::default(),
            traceparents: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let (runtime, address) = serve(([127, 0, 0, 1], 0).into(), &shared, identity.clone());
        Self { address, shared, identity, runtime: Some(runtime) }
    }

    /// Breaks all connections and listens again at the same port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let (runtime, _) = serve(self.address, &self.shared, self.identity.clone());
        self.runtime = Some(runtime);
    }

    pub(crate) fn set(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// How many connections were made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What it was asked so far.
    /// Of the questions that have one.
    pub(crate) fn traceparents(&self) -> Vec<String> {
        self.shared.traceparents.lock().unwrap().clone()
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        self.shared.questions.lock().unwrap().clone()
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Blocking is not allowed where tests run.
            std::thread::spawn(move || drop(runtime)).join().unwrap();
        }
    }
}

impl Drop for TestSpiceDb {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Reply {
    pub(crate) fn yes() -> Self {
        Self::Permissionship(2, Some("t1".to_owned()))
    }
}

fn serve(address: SocketAddr, shared: &Arc<Shared>, identity: Option<Identity>) -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let counted = Arc::clone(&shared);
        let incoming = futures_util::stream::unfold((listener, counted), |(listener, counted)| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            counted.connections.fetch_add(1, Ordering::SeqCst);
            Some((accepted, (listener, counted)))
        });
        let mut server = Server::builder();
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        server.add_service(PermissionsServiceServer::from_arc(shared)).serve_with_incoming(incoming).await.unwrap();
    });
    (runtime, address)
}

#[tonic::async_trait]
impl PermissionsService for Shared {
    async fn check_permission(
        &self,
        request: Request<CheckPermissionRequest>,
    ) -> Result<Response<CheckPermissionResponse>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if let Some(traceparent) = request.metadata().get("traceparent") {
            self.traceparents.lock().unwrap().push(traceparent.to_str().unwrap().to_owned());
        }
        self.questions.lock().unwrap().push((request.into_inner(), authorization));
        let reply = self.reply.lock().unwrap().clone();
        match reply {
            Reply::Permissionship(permissionship, token) => Ok(Response::new(CheckPermissionResponse {
                checked_at: token.map(|token| ZedToken { token }),
                permissionship,
            })),
            Reply::Error(code) => Err(Status::new(code, "it says")),
            Reply::Silence => std::future::pending().await,
        }
    }
}
