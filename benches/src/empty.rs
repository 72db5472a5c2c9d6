//! Servers that allow every check: the floor under everything that is measured.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use usher_proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;
use usher_proto::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use usher_server::listener::Http2Settings;
use usher_server::{Listener, ListenerSettings};

/// How an empty server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// As gRPC servers in Rust usually do: the generated service on tonic's own server.
    Stock,
    /// The same generated service on the listener of Usher.
    Listener,
}

impl Kind {
    /// The word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Listener => "listener",
        }
    }
}

/// Serves until the process is killed, on a free port of the loopback address. Prints the address on a line of its own.
pub(crate) fn serve(kind: Kind) -> anyhow::Result<()> {
    // As `usher serve` makes its runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match kind {
            Kind::Stock => {
                let incoming = TcpIncoming::bind(free)?.with_nodelay(Some(true));
                announce(incoming.local_addr()?)?;
                tonic::transport::Server::builder()
                    .add_service(AuthorizationServer::new(Empty))
                    .serve_with_incoming(incoming)
                    .await?;
            }
            Kind::Listener => {
                let listener = Listener::bind(ListenerSettings::new(free)).await?;
                announce(listener.address())?;
                // As for checks.
                let settings = Http2Settings { date_header: false, ..Http2Settings::default() };
                let running = listener.serve_http2(AuthorizationServer::new(Empty), settings);
                std::future::pending::<()>().await;
                drop(running);
            }
        }
        Ok(())
    })
}

fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

struct Empty;

#[tonic::async_trait]
impl Authorization for Empty {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse {
            status: Some(Default::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}
